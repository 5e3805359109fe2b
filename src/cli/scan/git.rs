//! What a git repository holds, read through the `git` command: every version of every file that a branch, tag or stash
//! leads to, and every message; or what is about to be committed. Never: the files of the work tree, the network.
//!
//! Objects are read once each, not differences: half the time of `git log -p` (docs/performance.md), and nothing that a
//! merge brought, or a difference leaves out, is missed.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use zeroize::Zeroizing;

use crate::cli::error::{CliError, Exit};
use crate::types::Sighting;

use super::haul::Haul;
use super::sieve::Sieve;

/// No object's head line is longer; it has the file's path.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;
/// An object's id, kind and size, and what followed its id in the question: the path.
const HEAD: &str = "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)";
/// The mode of a submodule, whose commits are in another repository.
const SUBMODULE: &str = "160000";

/// Every version of everything, the oldest commit first and each object behind the commit that brought it.
///
/// # Errors
/// [`CliError`] when there is no repository or git can't be run.
pub(super) fn history(repository: &Path, haul: &mut Haul, sieve: &mut Sieve) -> Result<(), CliError> {
    if is_shallow(repository)? {
        let sentence = "is a shallow clone: earlier commits are not here and were not read; `git fetch --unshallow` \
                        brings them";
        haul.warn(&format!("{} {sentence}", repository.display()));
    }
    let mut list = git(repository);
    list.args([
        "rev-list",
        "--objects",
        "--all",
        "--reflog",
        "--topo-order",
        "--reverse",
        "--in-commit-order",
    ]);
    list.arg("--missing=print");
    let (list, names) = start(&mut list)?;
    let mut cat = git(repository);
    cat.args(["cat-file", "--buffer", HEAD]).stdin(Stdio::from(names));
    let (cat, objects) = start(&mut cat)?;
    Reader::new(objects, true).all(haul, sieve);
    list.end("git rev-list", haul);
    cat.end("git cat-file", haul);
    Ok(())
}

/// The files that the next commit adds or changes, as they would be committed.
///
/// # Errors
/// [`CliError`] when there is no repository or git can't be run.
pub(super) fn staged(repository: &Path, haul: &mut Haul, sieve: &mut Sieve) -> Result<(), CliError> {
    is_shallow(repository)?;
    let mut diff = git(repository);
    diff.args(["diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--diff-filter=d"]);
    let listed = diff.output().map_err(|error| not_run(&error))?;
    if !listed.status.success() {
        haul.warn(&format!("git diff ended with {}; nothing staged was read", listed.status));
        return Ok(());
    }
    let mut cat = git(repository);
    cat.args(["cat-file", "--buffer", HEAD]).stdin(Stdio::piped());
    let (mut cat, objects) = start(&mut cat)?;
    let questions = cat.0.stdin.take();
    let names = staged_names(&listed.stdout);
    std::thread::scope(|scope| {
        scope.spawn(move || questions.map(|mut questions| questions.write_all(&names)));
        Reader::new(objects, false).all(haul, sieve);
    });
    cat.end("git cat-file", haul);
    Ok(())
}

/// Ids and paths, a line each, of what `git diff --raw -z` lists.
fn staged_names(listed: &[u8]) -> Vec<u8> {
    let mut names = Vec::new();
    let mut parts = listed.split(|byte| *byte == 0);
    while let (Some(facts), Some(path)) = (parts.next(), parts.next()) {
        let facts = String::from_utf8_lossy(facts);
        let facts: Vec<_> = facts.split(' ').collect();
        if let [_, mode, _, id, _] = facts[..]
            && mode != SUBMODULE
        {
            names.extend_from_slice(id.as_bytes());
            names.push(b' ');
            names.extend(path.iter().map(|byte| if *byte == b'\n' { b'?' } else { *byte }));
            names.push(b'\n');
        }
    }
    names
}

/// Git on a repository, such that nothing but git itself is run, nothing is written and nothing fetched.
fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["--no-optional-locks", "-c", "core.fsmonitor=false"]);
    // Neither fetched nor replaced: what is there is read as it is.
    command
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("GIT_NO_REPLACE_OBJECTS", "1");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether a part of the history alone is here; an error when there is no repository.
fn is_shallow(repository: &Path) -> Result<bool, CliError> {
    let mut command = git(repository);
    let asked = command.args(["rev-parse", "--is-shallow-repository"]).stderr(Stdio::piped()).output();
    let asked = asked.map_err(|error| not_run(&error))?;
    if asked.status.success() {
        return Ok(asked.stdout.starts_with(b"true"));
    }
    let said = String::from_utf8_lossy(&asked.stderr);
    let said = said.lines().next().unwrap_or_default().trim_start_matches("fatal: ");
    let sentence = format!("{} is no git repository that can be read: {said}", repository.display());
    Err(CliError::new(Exit::NotFound, Sighting::mask(&sentence)).hint("`ember scan PATH` reads plain files"))
}

fn not_run(error: &io::Error) -> CliError {
    CliError::new(Exit::Unreachable, format!("git can't be run: {error}"))
        .hint("install git, or look into the files alone with `ember scan PATH`")
}

fn start(command: &mut Command) -> Result<(Running, ChildStdout), CliError> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| not_run(&error))?;
    let stdout = child.stdout.take().ok_or_else(|| not_run(&io::ErrorKind::BrokenPipe.into()))?;
    Ok((Running(child), stdout))
}

/// A process of ours; gone when this is dropped.
struct Running(Child);

impl Running {
    fn end(mut self, name: &str, haul: &mut Haul) {
        match self.0.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => haul.warn(&format!("{name} ended with {status}; not everything was read")),
            Err(error) => haul.warn(&format!("{name} was lost: {error}; not everything was read")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself when everything went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An object's head.
struct Head {
    id: String,
    kind: String,
    bytes: u64,
    /// The path as it is.
    path: Vec<u8>,
}

impl Head {
    /// None for an object that is not here.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let mut word = || Some(String::from_utf8_lossy(parts.next()?).into_owned());
        let (id, kind, bytes) = (word()?, word()?, word()?.parse().ok()?);
        Some(Self { id, kind, bytes, path: parts.next().unwrap_or_default().to_vec() })
    }
}

/// The objects that `git cat-file` gives, one after the other.
struct Reader {
    from: Wiped,
    /// Whether finds are told with their commits.
    with_commits: bool,
    commit: Option<String>,
    missing: u64,
}

impl Reader {
    fn new(from: ChildStdout, with_commits: bool) -> Self {
        let buffer = Zeroizing::new(vec![0; BUFFER_BYTES]);
        Self { from: Wiped { from, buffer, start: 0, end: 0 }, with_commits, commit: None, missing: 0 }
    }

    fn all(mut self, haul: &mut Haul, sieve: &mut Sieve) {
        loop {
            match self.next(haul, sieve) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    haul.warn(&format!("what git gave can't be read: {error}; not everything was read"));
                    break;
                }
            }
        }
        if self.missing > 0 {
            let sentence = "objects are not in this repository (a partial clone) and were not read";
            haul.warn(&format!("{} {sentence}", self.missing));
        }
    }

    /// Whether there was one more.
    fn next(&mut self, haul: &mut Haul, sieve: &mut Sieve) -> io::Result<bool> {
        let mut line = Zeroizing::new(Vec::new());
        (&mut self.from).take(HEAD_BYTES_MAX).read_until(b'\n', &mut line)?;
        match line.pop() {
            None => return Ok(false),
            Some(b'\n') => {}
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
        let Some(head) = Head::parse(&line) else {
            self.missing += 1;
            return Ok(true);
        };
        self.object(&head, haul, sieve)?;
        let mut end = [0];
        self.from.read_exact(&mut end)?;
        Ok(true)
    }

    fn object(&mut self, head: &Head, haul: &mut Haul, sieve: &mut Sieve) -> io::Result<()> {
        let mut content = (&mut self.from).take(head.bytes);
        match head.kind.as_str() {
            "blob" => {
                let path = Sighting::mask(&String::from_utf8_lossy(&head.path));
                let commit = self.commit.as_deref().filter(|_| self.with_commits);
                haul.add_name(&head.path, commit, &path);
                haul.add_text(commit, Some(&path), |found| sieve.sift(&mut content, found))?;
            }
            "commit" => {
                self.commit = Some(head.id.clone());
                haul.add_text(Some(&head.id), None, |found| sieve.sift(&mut content, found))?;
            }
            "tag" => haul.add_text(Some(&head.id), None, |found| sieve.sift(&mut content, found))?,
            // A directory's names come with the files in it.
            _ => drop(io::copy(&mut content, &mut io::sink())?),
        }
        match content.limit() {
            0 => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A buffered reader whose buffer is wiped at the end.
struct Wiped {
    from: ChildStdout,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
}

impl BufRead for Wiped {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, self.from.read(&mut self.buffer)?);
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
    }
}

impl Read for Wiped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // A large object goes around the buffer.
        if self.start == self.end && into.len() >= self.buffer.len() {
            return self.from.read(into);
        }
        let mut ready = self.fill_buf()?;
        let length = ready.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_files_are_asked_for_by_id_and_submodules_are_not() {
        let listed =
            b":000000 100644 00 aa A\0a b\nc\0:000000 160000 00 bb A\0module\0:100644 120000 11 cc T\0link\0";
        assert_eq!(staged_names(listed), b"aa a b?c\ncc link\n");
        assert_eq!(staged_names(b""), b"");
    }

    #[test]
    fn a_head_has_a_path_with_spaces_or_none() {
        let head = Head::parse(b"aa blob 12 a b").unwrap();
        assert_eq!(
            (head.id.as_str(), head.kind.as_str(), head.bytes, &head.path[..]),
            ("aa", "blob", 12, &b"a b"[..])
        );
        assert!(Head::parse(b"aa commit 3 ").unwrap().path.is_empty());
        assert!(Head::parse(b"?aa missing").is_none());
    }
}
