//! Names that people choose: e-mail addresses, key names, display names. Never: whether one is taken.

use std::fmt;
use std::str::FromStr;

/// An e-mail address, in lower case: one `@`, something before it, a domain after it, no spaces or controls.
/// Whether mail arrives there is not Ember's business.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// Why a text is not an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an e-mail address: {reason}; write one like ana@example.com")]
pub struct EmailError {
    text: String,
    reason: &'static str,
}

impl Email {
    /// The longest address accepted, in bytes (RFC 5321, 4.5.3.1.3).
    pub const BYTES_MAX: usize = 254;

    /// The address, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Lower case can be longer than what it was made of.
        let address = text.to_lowercase();
        match fault_of_email(&address) {
            Some(reason) => Err(EmailError { text: shown(text), reason }),
            None => Ok(Self(address)),
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn fault_of_email(text: &str) -> Option<&'static str> {
    if text.len() > Email::BYTES_MAX {
        return Some("it is longer than 254 bytes");
    }
    if text.chars().any(|c| is_control(c) || c.is_whitespace() || "<>()[],;:\\\"".contains(c)) {
        return Some("it has a space, a control character or punctuation that addresses do not have");
    }
    match text.split_once('@') {
        None => Some("it has no @"),
        Some((_, domain)) if domain.contains('@') => Some("it has more than one @"),
        Some(("", _)) => Some("nothing stands before the @"),
        Some((_, domain)) if domain.split('.').any(str::is_empty) => Some("what follows the @ is no domain"),
        Some(_) => None,
    }
}

/// Why a text can't be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' can't be a {what}: {reason}")]
pub struct NameError {
    text: String,
    what: &'static str,
    reason: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match fault_of_name(text) {
                    Some(reason) => Err(NameError { text: shown(text), what: $what, reason }),
                    None => Ok(Self(text.to_string())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// What a key is called: 1 to 64 characters, no controls, no space at either end. Need not be unique.
    KeyName,
    "key name"
);
name!(
    /// What a person is called: 1 to 64 characters, no controls, no space at either end.
    DisplayName,
    "name"
);

const NAME_CHARS_MAX: usize = 64;

fn fault_of_name(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty; use 1 to 64 characters")
    } else if text.chars().count() > NAME_CHARS_MAX {
        Some("it is longer than 64 characters")
    } else if text.chars().any(is_control) {
        Some("it has a control or invisible character")
    } else if text.trim() != text {
        Some("it begins or ends with a space")
    } else {
        None
    }
}

/// Controls, and the marks that turn or hide text on a terminal or a page.
#[must_use]
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// The text as an error may show it: short, and without anything that acts on a terminal.
fn shown(text: &str) -> String {
    let mut safe: String =
        text.chars().take(80).map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(80).is_some() {
        safe.push_str("...");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_in_lower_case() {
        assert_eq!("Ana@Example.COM".parse::<Email>().unwrap().as_str(), "ana@example.com");
        assert!("admin@localhost".parse::<Email>().is_ok());
    }

    #[test]
    fn each_bad_address_is_refused_with_its_reason() {
        for (text, reason) in [
            ("ana", "no @"),
            ("@example.com", "nothing stands before"),
            ("ana@", "no domain"),
            ("ana@example..com", "no domain"),
            ("a@b@c", "more than one"),
            ("ana maria@example.com", "space"),
            ("ana\u{202e}@example.com", "control"),
        ] {
            let error = text.parse::<Email>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_name_has_1_to_64_characters_and_no_controls() {
        assert!("é".repeat(64).parse::<KeyName>().is_ok());
        for text in ["", &"x".repeat(65), "a\nb", "a\u{1b}[31m", " a", "a\u{200b}b"] {
            assert!(text.parse::<KeyName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_never_carries_a_control_to_the_terminal() {
        let error = "a\u{1b}[2Jb".parse::<KeyName>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'));
    }
}
