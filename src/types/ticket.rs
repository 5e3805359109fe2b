//! Secrets that let people and administrators' programs in: of a session, an invitation, a password reset, an
//! administrator's token. The shape is a key's, with another word. Never: who holds one, whether it is valid.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::branded;
use super::{KeyHint, Random, RandomUnavailable};

/// What a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketKind {
    /// A browser that is signed in; in its cookie.
    Session,
    /// A link that makes an account, once.
    Invite,
    /// A link that sets a password, once.
    Reset,
    /// An administrator's program, as a bearer of the admin API.
    Admin,
}

impl TicketKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Session, Self::Invite, Self::Reset, Self::Admin];

    /// The word in the ticket.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Invite => "invite",
            Self::Reset => "reset",
            Self::Admin => "admin",
        }
    }
}

/// A whole ticket in clear, with the right shape and checksum; wiped when dropped. As with [`Key`](super::Key), it has
/// no `Debug`, `Display`, `Clone` or `Serialize`:
///
/// ```compile_fail
/// fn show(ticket: &ember_gateway::types::Ticket) { println!("{ticket:?}"); }
/// ```
/// ```compile_fail
/// fn copy(ticket: &ember_gateway::types::Ticket) -> ember_gateway::types::Ticket { ticket.clone() }
/// ```
/// ```
/// fn digest(ticket: &ember_gateway::types::Ticket) -> ember_gateway::types::TicketDigest { ticket.digest() }
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Ticket(String);

impl Ticket {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`RandomUnavailable`] when the random source fails.
    pub fn generate(kind: TicketKind, random: &dyn Random) -> Result<Self, RandomUnavailable> {
        branded::generate(kind.as_str(), random).map(Self)
    }

    /// Takes a text for a ticket of this kind, when shape and checksum are right.
    #[must_use]
    pub fn parse(kind: TicketKind, text: &[u8]) -> Option<Self> {
        let (text, word) = branded::parse(text)?;
        (word == kind.as_str()).then(|| Self(text.to_string()))
    }

    /// The whole ticket, to be handed over once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> TicketDigest {
        TicketDigest(branded::digest(self.0.as_bytes()))
    }

    /// What is shown of it ever after.
    #[must_use]
    pub fn hint(&self) -> Option<KeyHint> {
        KeyHint::from_bytes(branded::last4(&self.0))
    }
}

/// SHA-256 of a whole ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketDigest([u8; 32]);

impl TicketDigest {
    /// The digest with these bytes, as read from a record.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The thirty-two bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::branded::tests::Sevens;

    #[test]
    fn a_ticket_is_good_for_its_own_kind_only() {
        for kind in TicketKind::ALL {
            let ticket = Ticket::generate(kind, &Sevens).unwrap();
            for other in TicketKind::ALL {
                let parsed = Ticket::parse(other, ticket.expose().as_bytes());
                assert_eq!(parsed.is_some(), kind == other, "{kind:?} as {other:?}");
            }
            assert!(super::super::Key::parse(ticket.expose().as_bytes()).is_err());
            assert!(super::super::Key::may_be_in(&format!("see {}", ticket.expose())));
        }
    }

    #[test]
    fn a_ticket_with_another_character_is_none() {
        let ticket = Ticket::generate(TicketKind::Reset, &Sevens).unwrap();
        let text = ticket.expose();
        for place in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[place] = if other[place] == b'x' { b'y' } else { b'x' };
            assert!(Ticket::parse(TicketKind::Reset, &other).is_none(), "{place}");
        }
    }
}
