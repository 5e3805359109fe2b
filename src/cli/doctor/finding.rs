//! What a check found, what to do about it, and how that is printed. Never: the checks.

use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::cli::args::Format;
use crate::cli::error::CliError;
use crate::cli::table::plain;
use crate::cli::terminal::{Screen, clean};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but something will go wrong or can be abused.
    Warn,
    /// Something does not work.
    Fail,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default().bold(),
            Self::Fail => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The check's name.
    pub(super) check: String,
    /// What was found.
    pub(super) found: String,
    /// The next step; with everything that is not ok.
    pub(super) next: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check: check.to_string(), found: found.into(), next: None }
    }

    pub(super) fn warn(check: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::bad(Level::Warn, check, found.into(), next.into())
    }

    pub(super) fn fail(check: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::bad(Level::Fail, check, found.into(), next.into())
    }

    /// What kept a check from being made.
    pub(super) fn of_error(check: &str, error: CliError) -> Self {
        let next =
            error.hint.unwrap_or_else(|| "see docs/operate.md, \"When something is wrong\"".to_string());
        Self::fail(check, error.message, next)
    }

    fn bad(level: Level, check: &str, found: String, next: String) -> Self {
        Self { level, check: check.to_string(), found, next: Some(next) }
    }

    fn json(&self) -> Value {
        json!({ "object": "finding", "level": self.level.as_str(), "check": self.check, "found": self.found,
            "next": self.next })
    }
}

/// `findings`, unless there are none; then that it is as it should be.
pub(super) fn or_ok(findings: Vec<Finding>, check: &str, found: impl Into<String>) -> Vec<Finding> {
    if findings.is_empty() { vec![Finding::ok(check, found)] } else { findings }
}

/// The worst of all.
pub(super) fn verdict(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

pub(super) fn print(findings: &[Finding], screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match screen.format {
        Format::Json => {
            let data: Vec<_> = findings.iter().map(Finding::json).collect();
            let level = verdict(findings).as_str();
            screen.data(&format!("{:#}", json!({ "object": "doctor", "level": level, "data": data })))
        }
        Format::Plain | Format::Csv => {
            let row = |finding: &Finding| {
                let Finding { level, check, found, next } = finding;
                vec![
                    level.as_str().to_string(),
                    check.clone(),
                    found.clone(),
                    next.clone().unwrap_or_default(),
                ]
            };
            screen.data(&plain(&findings.iter().map(row).collect::<Vec<_>>()).join("\n"))
        }
        Format::Table => {
            let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
            let lines: Vec<_> = findings.iter().map(|finding| lines(finding, width, screen)).collect();
            screen.data(&lines.join("\n"))
        }
    }
}

/// The next step stands below what was found.
fn lines(finding: &Finding, width: usize, screen: &Screen<'_, '_>) -> String {
    let level = screen.on_stdout(finding.level.style(), &format!("{:<4}", finding.level.as_str()));
    let one_line = |text: &str| clean(text).replace('\n', " ");
    let line = format!("{level}  {:<width$}  {}", one_line(&finding.check), one_line(&finding.found));
    match &finding.next {
        Some(next) => format!("{line}\n{:indent$}-> {}", "", one_line(next), indent = width + 8),
        None => line,
    }
}
