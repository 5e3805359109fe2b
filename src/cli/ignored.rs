//! Whether a file may end up in version control: it lies in a git work tree and no simple line of a `.gitignore`
//! covers it. Errs on the side of warning. Never: runs git.

use std::path::Path;

/// Bytes of a `.gitignore` that are looked at.
const GITIGNORE_BYTES_MAX: u64 = 256 * 1024;

/// Whether a secret in this file may be committed by mistake; a `.env` file outside any work tree may be, too.
pub(super) fn is_exposed(file: &Path) -> bool {
    let tree = file.ancestors().skip(1).find(|directory| directory.join(".git").exists());
    match tree {
        Some(tree) => !is_ignored(tree, file),
        None => is_env(file),
    }
}

fn is_env(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".env"))
}

fn is_ignored(tree: &Path, file: &Path) -> bool {
    let Ok(relative) = file.strip_prefix(tree) else { return false };
    let parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let mut ignored = false;
    let mut directory = tree.to_path_buf();
    for depth in 0..parts.len() {
        for line in lines(&directory.join(".gitignore")) {
            match line.strip_prefix('!') {
                Some(line) => ignored &= !covers(line, &parts[depth..]),
                None => ignored |= covers(&line, &parts[depth..]),
            }
        }
        directory.push(&parts[depth]);
    }
    ignored
}

fn lines(gitignore: &Path) -> Vec<String> {
    let small = std::fs::metadata(gitignore).is_ok_and(|facts| facts.len() <= GITIGNORE_BYTES_MAX);
    let text = if small { std::fs::read_to_string(gitignore).unwrap_or_default() } else { String::new() };
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(ToString::to_string).collect()
}

/// Whether a pattern covers a path: its own name or a directory on the way. Only `*` is known; what has more is taken
/// not to cover anything.
fn covers(pattern: &str, parts: &[String]) -> bool {
    let directories_only = pattern.ends_with('/');
    let pattern = pattern.trim_end_matches('/');
    let reach = if directories_only { parts.len().saturating_sub(1) } else { parts.len() };
    let anchored = pattern.strip_prefix('/').unwrap_or(pattern);
    if anchored.contains('/') || pattern.starts_with('/') {
        let wanted: Vec<&str> = anchored.split('/').collect();
        let given = parts.get(..wanted.len().min(reach)).unwrap_or_default();
        return given.len() == wanted.len() && wanted.iter().zip(given).all(|(one, part)| fits(one, part));
    }
    parts[..reach].iter().any(|part| fits(pattern, part))
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| fits(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(pattern: &str, path: &str) -> bool {
        covers(pattern, &path.split('/').map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn simple_patterns_cover_what_git_ignores() {
        for (pattern, path) in [
            (".env", ".env"),
            (".env", "app/.env"),
            ("*.env", "a/prod.env"),
            (".env*", ".env.local"),
            ("/keys/", "keys/prod.txt"),
            ("secrets/", "a/secrets/prod.txt"),
            ("a/*.txt", "a/key.txt"),
        ] {
            assert!(covered(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_not_covered_is_warned_of() {
        for (pattern, path) in [
            (".env", "prod.env"),
            ("/.env", "app/.env"),
            ("secrets/", "secrets"),
            ("a/*.txt", "b/a/key.txt"),
            ("[k]ey", "key"),
        ] {
            assert!(!covered(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_file_in_a_work_tree_must_be_ignored() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("app/.env");
        assert!(is_exposed(&file), "a .env file anywhere");
        assert!(!is_exposed(&top.path().join("key.txt")));
        std::fs::create_dir(top.path().join(".git")).unwrap();
        assert!(is_exposed(&top.path().join("key.txt")));
        std::fs::write(top.path().join(".gitignore"), "# ours\n.env\n").unwrap();
        assert!(!is_exposed(&file));
        std::fs::write(top.path().join(".gitignore"), ".env\n!.env\n").unwrap();
        assert!(is_exposed(&file));
    }
}
