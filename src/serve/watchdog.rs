//! The signs of life that a service manager's watchdog waits for: sent only while the runtime turns and the store's
//! writer thread goes on. Never: judges a slow or full disk or a model server, which a restart would not mend.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::store::RedbStore;

use super::notifier::Notifier;

/// Sends a sign of life twice within `longest`, as sd_watchdog_enabled(3) advises, as long as there is life. Goes on for
/// ever. That this task has its turn at all shows that the runtime does.
pub(super) async fn keep_fed(notifier: Notifier, longest: Duration, store: Arc<RedbStore>) {
    let mut ticks = interval((longest / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut judge = Judge::default();
    loop {
        ticks.tick().await;
        if judge.goes_on(store.writer_turns(), store.is_at_disk()) {
            notifier.tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the store's writer thread is stuck; the service manager is told nothing more");
        }
    }
}

/// Compares what the writer thread showed last with what it shows now.
#[derive(Default)]
struct Judge {
    turns: Option<u64>,
}

impl Judge {
    fn goes_on(&mut self, turns: u64, is_at_disk: bool) -> bool {
        let before = self.turns.replace(turns);
        is_at_disk || before != Some(turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_twice_is_no_life_but_for_a_call_to_the_disk() {
        let mut judge = Judge::default();
        assert!(judge.goes_on(4, false), "nothing to compare with yet");
        assert!(judge.goes_on(5, false));
        assert!(judge.goes_on(5, true), "a disk may take its time");
        assert!(!judge.goes_on(5, false));
        assert!(!judge.goes_on(5, false));
        assert!(judge.goes_on(6, false));
    }
}
