//! What pages have in common: the frame, points in time, numbers, histories. Never: one page's content.

use crate::admin::{AdminError, HistoryLine};
use crate::types::{Timestamp, moment};

use super::asset::ASSETS;
use super::page::{Choice, Frame, HistoryRow, Moment, Notice, Viewer};
use super::visit::Visit;
use super::{Dashboard, csrf};

impl Dashboard {
    /// The frame of a page, with what was just done, where the query says so.
    pub(super) fn frame(&self, visit: &Visit, title: &str, section: &str) -> Frame {
        let viewer = visit.person.as_ref().map(|person| Viewer {
            name: person
                .account
                .name
                .as_ref()
                .map_or_else(|| person.account.email.to_string(), ToString::to_string),
            email: person.account.email.to_string(),
            is_admin: person.is_admin(),
        });
        Frame {
            title: title.to_string(),
            theme: visit.theme.clone(),
            style: ASSETS.style.path(),
            script: ASSETS.script.path(),
            icon: ASSETS.icon.path(),
            viewer,
            csrf: csrf::token(visit.form_secret()),
            section: section.to_string(),
            notice: done(visit.query.text("done")),
        }
    }

    pub(super) fn moment(&self, point: Timestamp) -> Moment {
        Moment { iso: point.to_string(), text: moment::relative(point, self.now()) }
    }

    pub(super) fn history(&self, lines: &[HistoryLine]) -> Vec<HistoryRow> {
        lines.iter().rev().map(|line| self.event(line)).collect()
    }

    pub(super) fn event(&self, line: &HistoryLine) -> HistoryRow {
        HistoryRow {
            at: self.moment(line.at),
            action: sentence(&line.action),
            actor: line.actor_name.clone(),
            detail: line.detail.clone(),
        }
    }
}

/// The frame with what went wrong at its top.
pub(super) fn with_error(frame: Frame, text: impl Into<String>) -> Frame {
    Frame { notice: Some(Notice { is_error: true, text: text.into() }), ..frame }
}

/// The frame with what was refused, where something was.
pub(super) fn told(frame: Frame, error: Option<&AdminError>) -> Frame {
    match error {
        Some(error) => with_error(frame, capitalised(&error.detail)),
        None => frame,
    }
}

pub(super) fn choices(options: &[(&str, &str)], chosen: &str) -> Vec<Choice> {
    let choice = |(value, label): &(&str, &str)| Choice {
        value: (*value).to_string(),
        label: (*label).to_string(),
        is_chosen: *value == chosen,
    };
    options.iter().map(choice).collect()
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_string();
    for (place, digit) in digits[first..].chars().enumerate() {
        if place % 3 == 0 && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{} {thing}s", grouped(count as u64)) }
}

/// The first model whose name can stand in a line for a shell or a program as it is.
pub(super) fn model_to_copy(models: Vec<String>) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-@+".contains(&byte);
    models.into_iter().find(|name| name.bytes().all(plain)).unwrap_or_else(|| "MODEL".to_string())
}

/// `key.created` as `Key created`.
pub(super) fn sentence(word: &str) -> String {
    let plain = word.replace(['.', '_'], " ");
    let mut letters = plain.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A sentence of the registry's at the beginning of a line.
pub(super) fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let mut text: String =
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// What was just done, in fixed words: what stands in a URL is never shown.
fn done(word: &str) -> Option<Notice> {
    const WORDS: [(&str, &str); 21] = [
        ("signed-out", "You are signed out."),
        ("signed-up", "Sign in with the address and the password that you gave."),
        ("key-stored", "The key is ready to use."),
        ("key-updated", "The key was changed."),
        ("key-disabled", "The key is disabled. Requests that were running on it were cut."),
        ("key-enabled", "The key is enabled."),
        ("key-deleted", "The key was deleted. No request gets through with it any more."),
        ("name", "Your name was changed."),
        ("password", "Your password was changed. All other sessions are signed out."),
        ("theme", "The theme was changed."),
        ("session-ended", "The session is signed out."),
        ("sessions-ended", "All other sessions are signed out."),
        (
            "account-disabled",
            "The account is disabled. Its keys stopped working and its sessions are signed out.",
        ),
        ("account-updated", "The account was changed."),
        ("account-enabled", "The account is enabled."),
        ("account-signed-out", "The account is signed out everywhere."),
        ("account-deleted", "The account was deleted and its keys were revoked."),
        ("invite-revoked", "The invitation was taken back."),
        ("signed-in-again", "You were signed out meanwhile. Sign in to go on."),
        ("reset", "Your password was changed. All other sessions are signed out."),
        ("joined", "Welcome. Your account is ready."),
    ];
    const AGAIN: [(&str, &str); 2] = [
        (
            "sent-before",
            "This form was sent before, and it counts once. If you did not store the key that it made, rotate or delete \
             that key.",
        ),
        (
            "link-sent-before",
            "This form was sent before, and it makes one link. If you did not copy it, make a new one.",
        ),
    ];
    if let Some((_, text)) = AGAIN.iter().find(|(known, _)| *known == word) {
        return Some(Notice { is_error: true, text: (*text).to_string() });
    }
    let found = WORDS.iter().find(|(known, _)| *known == word);
    found.map(|(_, text)| Notice { is_error: false, text: (*text).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn words_become_sentences() {
        assert_eq!(sentence("account.reset_issued"), "Account reset issued");
        assert_eq!(sentence(""), "");
    }
}
