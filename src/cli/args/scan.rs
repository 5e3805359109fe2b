//! The command that looks for keys where they must not lie. Never: anything else.

use std::path::PathBuf;

const AFTER: &str = "\
Exit codes:
  0  no secret was found
  1  one was found, whatever became of it
  2  the command line makes no sense
  4  none was found, but not everything could be read
  5  git can't be run, or a key could not be revoked for good
  6  there is no such PATH, or no git repository there

Example:
  ember scan .
  ember scan --git .
  ember scan --staged     (as a pre-commit hook)
  docker logs app | ember scan -";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct ScanOptions {
    /// Files and directories, or - for stdin; with --git or --staged, repositories
    #[arg(value_name = "PATH", default_value = ".")]
    pub(in crate::cli) paths: Vec<PathBuf>,
    /// Look into the whole history of the git repository at PATH instead of its files
    #[arg(long, conflicts_with = "staged")]
    pub(in crate::cli) git: bool,
    /// Look into the files that the next `git commit` would commit
    #[arg(long)]
    pub(in crate::cli) staged: bool,
    /// Look into what a .gitignore leaves out, too
    #[arg(long, conflicts_with_all = ["git", "staged"])]
    pub(in crate::cli) no_ignore: bool,
    /// Revoke the keys that were found and could still be used, without asking
    #[arg(long)]
    pub(in crate::cli) revoke: bool,
}
