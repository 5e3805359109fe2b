//! The values everything else speaks in. Pure: no disk, no network, no clock, no random source of its own.

mod account;
mod actor;
mod base62;
mod branded;
mod client;
mod count;
mod current;
mod environment;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gather;
mod id;
mod key;
mod key_record;
mod limits;
mod model;
pub mod moment;
mod name;
mod origin;
mod period;
mod place;
mod policy;
mod price;
#[cfg(test)]
pub(crate) mod proof;
mod secret;
mod session;
mod sighting;
mod sign_up;
pub(crate) mod sync;
mod ticket;
mod time;
mod trail;
mod upstream_state;
mod usage;

pub use account::{Account, AccountStatus, Role};
pub use actor::Actor;
pub use client::ClientName;
pub use count::counted;
pub use current::Current;
pub use environment::{Environment, UnknownEnvironment};
pub(crate) use gather::Gather;
pub use id::{AccountId, EventId, IdError, InviteId, KeyId, RequestId, SessionId, TokenId};
pub use key::{Key, KeyDigest, KeyHint, MalformedKey};
pub use key_record::{KeyRecord, KeySecret, KeyStanding, KeyStatus, ModelScope};
pub use limits::{Bounds, Limit, LimitError, LimitKind, Limits, Measure, Unit, UnknownLimit};
pub use model::{ModelId, ModelIdError};
pub use name::{DisplayName, Email, EmailError, KeyName, NameError, is_control};
pub use origin::Origin;
pub use period::Period;
pub use place::Place;
pub use policy::{
    AddressScope, NetworkError, Policy, PolicyChanges, RouteName, RouteScope, UnknownRoute, Weight,
    WeightError, network,
};
pub use price::{Cost, ModelPrice, Price, PriceError, Prices};
pub use secret::Secret;
pub use session::{AdminToken, Invite, Session};
pub use sighting::{SeenSecret, Sighting};
pub use sign_up::SignUp;
pub use ticket::{Ticket, TicketDigest, TicketKind};
pub use time::{Clock, DateError, Stopwatch, Timestamp};
pub use trail::{TrailHead, TrailHeadError};
pub use upstream_state::UpstreamState;
pub use usage::{AnswerKind, Ending, Tokens, TokensSource};

/// A source of random bytes. The real one is the operating system's; tests bring their own.
pub trait Random: Send + Sync {
    /// Fills `bytes` completely.
    ///
    /// # Errors
    /// [`RandomUnavailable`] when the source fails; nothing may be issued then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable>;
}

/// The random source failed; no secret can be made until it works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed; nothing was issued, try again")]
pub struct RandomUnavailable;
