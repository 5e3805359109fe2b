//! Where a command reads and writes: data to stdout, everything else to stderr, nothing that acts on a terminal.
//! Never: what is said.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Style};

use crate::types::Secret;

use super::args::{Color, Format, Global};
use super::error::{CliError, Exit};

/// The process's streams and surroundings, as facts; tests bring their own.
pub struct Terminal<'a> {
    /// Standard input.
    pub stdin: Box<dyn Read + 'a>,
    /// Standard output.
    pub stdout: Box<dyn Write + 'a>,
    /// Standard error.
    pub stderr: Box<dyn Write + 'a>,
    /// Whether standard input is a terminal.
    pub stdin_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
    /// The environment, but for what is not UTF-8.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The effective user id.
    pub uid: u32,
}

impl Terminal<'_> {
    /// A variable of the environment; an empty one counts as none.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether colour is wanted on a stream, when nothing on the command line says so.
    pub(super) fn wants_color(&self, is_terminal: bool) -> bool {
        let dumb = self.variable("TERM").is_some_and(|term| term == "dumb");
        is_terminal && !dumb && self.variable("NO_COLOR").is_none()
    }
}

/// The terminal, used as the command line said.
pub struct Screen<'a, 'b> {
    /// The streams and surroundings.
    pub terminal: &'a mut Terminal<'b>,
    /// How data is written.
    pub format: Format,
    quiet: bool,
    yes: bool,
    color: Color,
}

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

impl<'a, 'b> Screen<'a, 'b> {
    pub(super) fn new(terminal: &'a mut Terminal<'b>, global: &Global) -> Self {
        let Global { output, quiet, yes, color, .. } = global;
        Self { terminal, format: *output, quiet: *quiet, yes: *yes, color: *color }
    }

    /// Data, with a line end; text must be clean already.
    ///
    /// # Errors
    /// [`CliError`]; a silent one when nobody reads any more.
    pub fn data(&mut self, text: &str) -> Result<(), CliError> {
        let stdout = &mut self.terminal.stdout;
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        written.map_err(|error| CliError::of_stdout(&error))
    }

    /// Something worth knowing; not said with -q.
    pub fn note(&mut self, text: &str) {
        if !self.quiet {
            self.say(&clean(text));
        }
    }

    /// Something to look after.
    pub fn warn(&mut self, text: &str) {
        let start = self.on_stderr(YELLOW, "warning:");
        self.say(&format!("{start} {}", clean(text)));
    }

    /// How far something is, in a line of its own that the next one replaces; an empty one takes it away. Only a person at
    /// a terminal sees it, and not with -q.
    pub(super) fn progress(&mut self, text: &str) {
        let dumb = self.terminal.variable("TERM").is_some_and(|term| term == "dumb");
        if self.terminal.stderr_is_terminal && !dumb && !self.quiet {
            let _ = write!(self.terminal.stderr, "\r\u{1b}[K{}", clean(text));
            let _ = self.terminal.stderr.flush();
        }
    }

    /// The end of a command that failed.
    pub(super) fn error(&mut self, error: &CliError) {
        if error.message.is_empty() {
            return;
        }
        let start = self.on_stderr(RED, "error:");
        self.say(&format!("{start} {}", clean(&error.message)));
        if let Some(hint) = &error.hint {
            let start = self.on_stderr(BOLD, "hint:");
            self.say(&format!("\n{start} {}", clean(hint)));
        }
    }

    /// Text for stdout, emphasised where that is wanted.
    pub(super) fn bold(&self, text: &str) -> String {
        self.painted(BOLD, text, self.terminal.stdout_is_terminal)
    }

    /// Whether what was written to stdout can be written over.
    pub(super) fn can_redraw(&self) -> bool {
        let is_dumb = self.terminal.variable("TERM").is_none_or(|term| term == "dumb");
        self.terminal.stdout_is_terminal && !is_dumb
    }

    /// Text for stdout in a style, where colour is wanted.
    pub(super) fn on_stdout(&self, style: Style, text: &str) -> String {
        self.painted(style, text, self.terminal.stdout_is_terminal)
    }

    /// Whether a person can be asked.
    pub(super) fn can_ask(&self) -> bool {
        self.terminal.stdin_is_terminal && self.terminal.stderr_is_terminal
    }

    /// Whether -y was given.
    pub(super) fn yes(&self) -> bool {
        self.yes
    }

    /// Asks a person, when there is one and -y was not given.
    ///
    /// # Errors
    /// [`CliError`] when the answer is not yes; no is what Enter says.
    pub(super) fn confirm(&mut self, question: &str) -> Result<(), CliError> {
        if self.yes || !self.can_ask() {
            return Ok(());
        }
        let _ = write!(self.terminal.stderr, "{} [y/N] ", clean(question));
        let _ = self.terminal.stderr.flush();
        let answer = self.read(16, true)?;
        match answer.expose().trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::new(Exit::Failure, "nothing was changed")),
        }
    }

    /// What is on standard input, or its first line, without the line end.
    ///
    /// # Errors
    /// [`CliError`] when it can't be read, is longer than `bytes_max`, or is not UTF-8.
    pub(super) fn read(&mut self, bytes_max: usize, line: bool) -> Result<Secret, CliError> {
        let mut bytes = Vec::with_capacity(bytes_max + 2);
        let mut byte = [0];
        while bytes.len() < bytes_max + 2 {
            match self.terminal.stdin.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => bytes.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(CliError::new(Exit::Failure, format!("stdin could not be read: {error}")));
                }
            }
            if line && byte[0] == b'\n' {
                break;
            }
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| CliError::new(Exit::Usage, "what came on stdin is not text in UTF-8"))?;
        let text = Secret::new(text);
        let trimmed = text.expose().strip_suffix('\n').unwrap_or(text.expose());
        let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
        if trimmed.len() > bytes_max {
            let sentence = format!("what came on stdin is longer than {bytes_max} bytes");
            return Err(CliError::new(Exit::Usage, sentence));
        }
        Ok(Secret::new(trimmed.to_string()))
    }

    fn say(&mut self, text: &str) {
        // Nobody can be told that stderr is gone.
        let _ = writeln!(self.terminal.stderr, "{text}");
    }

    fn on_stderr(&self, style: Style, text: &str) -> String {
        self.painted(style, text, self.terminal.stderr_is_terminal)
    }

    fn painted(&self, style: Style, text: &str, is_terminal: bool) -> String {
        let wanted = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => self.terminal.wants_color(is_terminal),
        };
        if wanted { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// The text without anything that acts on a terminal; line ends stay.
pub(super) fn clean(text: &str) -> String {
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}
