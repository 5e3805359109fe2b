//! Whole secrets among the arguments, which must not be there. Never: what arguments mean.

use std::ffi::OsStr;

use crate::types::{SeenSecret, Sighting, TicketKind};

/// What kind of secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leak {
    Key,
    Ticket(TicketKind),
}

/// The first whole secret anywhere in the text, alone or inside a link.
pub(super) fn find(argument: &OsStr) -> Option<Leak> {
    let seen = Sighting::all_in(argument.as_encoded_bytes()).next()?;
    Some(match seen.secret {
        SeenSecret::Key(_) => Leak::Key,
        SeenSecret::Ticket(kind, _) => Leak::Ticket(kind),
    })
}

impl Leak {
    /// What is said instead of doing anything; the secret is not repeated.
    pub(super) fn refusal(self) -> String {
        let (what, hint) = self.words();
        format!(
            "error: {what} stands on the command line, where the machine's other users and the shell's history can \
             see it\n\nhint: {hint}\n"
        )
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Key => (
                "a whole key",
                "name a key by its id, its name or its last 4 characters; `ember key verify` reads one from stdin; if \
                 this key is in use, rotate it",
            ),
            Self::Ticket(TicketKind::Admin) => (
                "a whole token",
                "name a token by its id, its name or its last 4 characters; if this token is in use, make another \
                 one and revoke it",
            ),
            Self::Ticket(TicketKind::Invite) => (
                "a whole invitation",
                "name an invitation by its id, as `ember invite list` shows it; a new one to the same address ends \
                 this one",
            ),
            Self::Ticket(TicketKind::Reset) => (
                "a whole reset link",
                "name the account by its address; `ember account reset EMAIL` makes a new link and ends this one",
            ),
            Self::Ticket(TicketKind::Session) => (
                "a whole session cookie",
                "name a session by its id, as `ember account sessions EMAIL` shows it; `ember account sign-out EMAIL` \
                 ends it",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Environment, Key, Random, RandomUnavailable, Ticket};

    struct Sevens;
    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(7);
            Ok(())
        }
    }

    #[test]
    fn a_secret_is_found_whatever_stands_around_it() {
        let key = Key::generate(Environment::Prod, &Sevens).unwrap().expose().to_string();
        let mut secrets = vec![(key, Leak::Key)];
        secrets.extend(
            TicketKind::ALL.map(|kind| {
                (Ticket::generate(kind, &Sevens).unwrap().expose().to_string(), Leak::Ticket(kind))
            }),
        );
        for (text, kind) in secrets {
            for argument in [
                text.clone(),
                format!("https://ember.example.com/invite/{text}?x=1"),
                format!("--name=ember_{text}x"),
                format!("ember_dev_ {text}\n"),
            ] {
                assert_eq!(find(OsStr::new(&argument)), Some(kind), "{kind:?}");
            }
            for cut in [&text[1..], &text[..text.len() - 1], &text[text.len() - 4..]] {
                assert_eq!(find(OsStr::new(cut)), None, "{kind:?}");
            }
            assert!(!kind.refusal().contains(&text));
        }
    }
}
