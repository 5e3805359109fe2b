//! The signals that ask for the end, and the one that asks for another configuration. Never: what is done about them.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ServeFault;

/// The signals that ask for the end. A closed terminal asks for it, too.
pub(super) struct Signals(Vec<Signal>);

impl Signals {
    /// Hang-ups are given apart when they do not ask for the end.
    pub(super) fn new(hangup_ends: bool) -> Result<(Self, Option<Signal>), ServeFault> {
        let handler = |kind| signal(kind).map_err(ServeFault::Process);
        let mut ends = vec![handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?];
        let mut hangups = Some(handler(SignalKind::hangup())?);
        if hangup_ends {
            ends.extend(hangups.take());
        }
        Ok((Self(ends), hangups))
    }

    /// Resolves with the next of them.
    pub(super) async fn next(&mut self) {
        let mut came = |cx: &mut Context<'_>| self.0.iter_mut().any(|one| one.poll_recv(cx).is_ready());
        poll_fn(|cx| if came(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
