//! What can be typed to get a shell's completions and the manual pages. Never: how these are made.

use std::path::PathBuf;

use clap_complete::Shell;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  source <(ember completions bash)\n  \
                        ember completions fish > ~/.config/fish/completions/ember.fish\n  \
                        ember completions zsh > \"${fpath[1]}/_ember\"")]
pub(in crate::cli) struct CompletionsOptions {
    /// The shell
    #[arg(value_enum)]
    pub(in crate::cli) shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ember man | man -l -\n  ember man --dir ~/.local/share/man/man1")]
pub(in crate::cli) struct ManOptions {
    /// Write the pages of all commands into this directory, which is made when it is not there
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) dir: Option<PathBuf>,
}
