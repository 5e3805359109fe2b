//! What a request has taken of limits, until it is settled and over. Never: whether it may be taken.

use std::sync::Arc;

use crate::types::{Timestamp, Tokens};

use super::share::{Got, Shares};
use super::tally::{Moment, Need, Tally};
use super::{Allowances, Limited, Limiter};

/// What a request has taken; its places come back when this is dropped. None of one whom nothing limits.
pub(in crate::gate) struct Hold(pub(super) Option<Box<Held>>);

/// Apart, so that a pass stays small wherever it goes.
pub(super) struct Held {
    limiter: Arc<Limiter>,
    pub(super) shares: Shares,
    got: Got,
    need: Need,
    taken_at: Timestamp,
    is_settled: bool,
}

impl Hold {
    /// What is left beside it.
    pub(in crate::gate) fn allowances(&self) -> Allowances {
        self.0.as_ref().map(|held| held.got.allowances).unwrap_or_default()
    }

    /// Puts what was really used in the place of what was taken; none when the request never left Ember. Only the
    /// first word counts.
    pub(in crate::gate) fn settle(&mut self, used: Option<Tokens>, now: Timestamp) {
        if let Some(held) = &mut self.0
            && !std::mem::replace(&mut held.is_settled, true)
        {
            held.settle(used, now);
        }
    }
}

impl Held {
    /// Of one who has taken nothing yet.
    pub(super) fn nothing(limiter: &Arc<Limiter>, shares: Shares, need: Need, now: Timestamp) -> Self {
        let (limiter, got) = (Arc::clone(limiter), Got::default());
        Self { limiter, shares, got, need, taken_at: now, is_settled: false }
    }

    /// Takes what is needed; says false when more has to be written down first.
    pub(super) fn take(&mut self, now: Moment) -> Result<bool, Box<Limited>> {
        let list = |tally: &Arc<Tally>| self.limiter.list(tally);
        self.shares.take(self.need, now, list, &mut self.got)
    }

    fn settle(&self, used: Option<Tokens>, now: Timestamp) {
        let used = used.map(|tokens| Need { tokens: tokens.prompt.saturating_add(tokens.completion) });
        let now = self.limiter.moment(now);
        for (share, taken) in self.shares.iter().zip(&self.got.taken) {
            let was_clean = share.tally.state().settle(&share.bounds, self.need, used, taken, now);
            if was_clean {
                self.limiter.list(&share.tally);
            }
        }
    }
}

impl Drop for Hold {
    /// What was never settled belongs to a request that went nowhere.
    fn drop(&mut self) {
        let Some(taken_at) = self.0.as_ref().map(|held| held.taken_at) else { return };
        self.settle(None, taken_at);
        self.0.iter().flat_map(|held| held.shares.iter()).for_each(|share| share.tally.state().close());
    }
}
