//! What the fuzzer begins with, and what it has found: each held to what its target is held to (`tests/fuzz`). Never:
//! looking for more.

use std::fs;
use std::path::Path;

use crate::{config, http, meter, registry, store, upstream};

/// What is done with the bytes of a target.
type Hold = fn(&[u8]);

/// Each target as in `tests/fuzz/fuzz_targets`.
const TARGETS: [(&str, Hold); 9] = [
    ("admin", http::admin::fuzz::admin),
    ("answer", upstream::fuzz::answer),
    ("bearer", http::fuzz::bearer),
    ("config", config::fuzz::config),
    ("head", http::fuzz::head),
    ("records", records),
    ("router", http::fuzz::router),
    ("splice", upstream::body::fuzz::splice),
    ("tap", upstream::tap::fuzz::tap),
];

fn records(bytes: &[u8]) {
    registry::fuzz::records(bytes);
    meter::fuzz::records(bytes);
    store::fuzz::rows(bytes);
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_seed_of_the_fuzzer_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let names: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_string()).collect();
    let files: Vec<String> = names.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!((names_in(&folder.join("seeds")), names_in(&folder.join("fuzz_targets"))), (names, files));
    for (name, hold) in TARGETS {
        let folder = folder.join("seeds").join(name);
        for file in names_in(&folder) {
            let bytes = fs::read(folder.join(&file)).unwrap();
            println!("{name}/{file}");
            hold(&bytes);
        }
    }
}
