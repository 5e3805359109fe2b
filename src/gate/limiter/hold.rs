//! What a request has taken of limits, until it is settled and over. Never: whether it may be taken.

use std::sync::Arc;

use crate::types::{Bounds, Timestamp, Tokens};

use super::tally::{Need, Taken, Tally};
use super::{Allowances, Limiter};

/// What one request has taken of one holder's limits.
pub(super) struct Held {
    pub(super) tally: Arc<Tally>,
    pub(super) bounds: Bounds,
    pub(super) taken: Taken,
}

/// What a request has taken; its places come back when this is dropped.
pub(in crate::gate) struct Hold {
    pub(super) limiter: Arc<Limiter>,
    pub(super) held: Vec<Held>,
    pub(super) need: Need,
    pub(super) allowances: Allowances,
    pub(super) taken_at: Timestamp,
    pub(super) is_settled: bool,
}

impl Hold {
    /// Of one whom nothing limits.
    pub(super) fn nothing(limiter: &Arc<Limiter>, now: Timestamp) -> Self {
        let (limiter, need) = (Arc::clone(limiter), Need { tokens: 0 });
        let allowances = Allowances::default();
        Self { limiter, held: Vec::new(), need, allowances, taken_at: now, is_settled: false }
    }

    /// What is left beside it.
    pub(in crate::gate) const fn allowances(&self) -> Allowances {
        self.allowances
    }

    /// Puts what was really used in the place of what was taken; none when the request never left Ember. Only the
    /// first word counts.
    pub(in crate::gate) fn settle(&mut self, used: Option<Tokens>, now: impl FnOnce() -> Timestamp) {
        if std::mem::replace(&mut self.is_settled, true) || self.held.is_empty() {
            return;
        }
        let used = used.map(|tokens| Need { tokens: tokens.prompt.saturating_add(tokens.completion) });
        let now = self.limiter.moment(now());
        for one in &self.held {
            let was_clean = one.tally.state().settle(&one.bounds, self.need, used, &one.taken, now);
            if was_clean {
                self.limiter.list(&one.tally);
            }
        }
    }
}

impl Drop for Hold {
    /// What was never settled belongs to a request that went nowhere.
    fn drop(&mut self) {
        let taken_at = self.taken_at;
        self.settle(None, || taken_at);
        self.held.iter().for_each(|one| one.tally.state().close());
    }
}
