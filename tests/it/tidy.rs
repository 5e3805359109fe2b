//! Keeps the floors of the house apart: a lower one never names a higher one (docs/architecture.md).

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up.
const FLOORS: [&str; 13] = [
    "types", "tls", "metrics", "store", "registry", "meter", "gate", "admin", "upstream", "http", "config",
    "cli", "serve",
];

/// Neighbours that must not know each other although the order would let them.
const STRANGERS: [(&str, &str); 4] =
    [("meter", "registry"), ("upstream", "registry"), ("upstream", "store"), ("http", "store")];

/// A word, and the only files that may use it.
const HOMES: [(&str, &str); 5] = [
    ("redb::", "src/store/redb"),
    ("SystemTime::now", "src/serve/machine.rs"),
    ("SystemRandom", "src/serve/machine.rs"),
    ("StatusCode::", "src/http"),
    ("argon2::", "src/registry/password.rs"),
];

const LINES_MAX: usize = 400;

struct Source {
    path: String,
    floor: String,
    /// Without its tests and comments.
    code: String,
    first_line: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 30, "the sources were not found");
    files.iter().map(|file| source(root, file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_string();
    let text = fs::read_to_string(file).unwrap();
    let floor = path.split('/').nth(1).unwrap().trim_end_matches(".rs").to_string();
    let is_test = path.contains("tests") || path.contains("contract");
    let code = if is_test { "" } else { text.split("\n#[cfg(test)]").next().unwrap() };
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    Source {
        floor,
        code: code.collect::<Vec<_>>().join("\n"),
        first_line: text.lines().next().unwrap_or_default().to_string(),
        path,
    }
}

fn height(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|known| *known == floor)
}

/// The floors that a text names: after `crate::`, one or several in braces.
fn named(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let list = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap());
        let parts: Vec<_> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            let word: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(word);
        }
    }
    found
}

#[test]
fn no_floor_names_a_higher_one() {
    for source in sources() {
        let Some(own) = height(&source.floor) else { continue };
        for word in named(&source.code) {
            let Some(other) = height(&word) else { continue };
            assert!(
                other <= own,
                "{} is on the floor '{}' and names '{word}' above it: give it what it needs as a parameter instead",
                source.path,
                source.floor
            );
        }
    }
}

#[test]
fn strangers_stay_strangers() {
    for source in sources() {
        for (floor, stranger) in STRANGERS {
            let knows = source.floor == floor && named(&source.code).iter().any(|word| word == stranger);
            assert!(!knows, "{} knows '{stranger}', which '{floor}' must not", source.path);
        }
    }
}

#[test]
fn words_stay_at_home() {
    for source in sources() {
        for (word, home) in HOMES {
            let here =
                source.path.starts_with(home) || (word == "StatusCode::" && source.floor == "upstream");
            // A module of ours may have an engine's name.
            let code = source.code.replace("self::redb::", "");
            assert!(
                here || !code.contains(word),
                "{} uses {word}, which belongs into {home} alone",
                source.path
            );
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_reads_in_one_sitting() {
    for source in sources() {
        assert!(
            source.first_line.starts_with("//! "),
            "{} does not begin by saying what it owns",
            source.path
        );
        assert!(!source.path.ends_with("/mod.rs"), "{}: modules are name.rs beside name/", source.path);
        let lines = source.code.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines of code; split it at a noun", source.path);
    }
}

#[test]
fn the_check_itself_sees_what_it_must() {
    assert_eq!(named("use crate::gate::Pass;"), ["gate"]);
    assert_eq!(named("use crate::{store::Store, types::Key};"), ["store", "types"]);
    assert_eq!(named("let x = crate::http::serve();"), ["http"]);
    assert!(height("serve") > height("cli") && height("registry") < height("gate"));
}
