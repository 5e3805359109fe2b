//! The end of a key's use, heard by everyone who uses it. Never: why it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use super::{Cut, CutSignal};

/// Set once, heard by all; small, since every key in memory has one.
#[derive(Default)]
pub(super) struct Signal {
    /// 0, or one more than the cut's number.
    cut: AtomicU8,
    ears: Notify,
}

const CUTS: [Cut; 4] = [Cut::Revoked, Cut::Disabled, Cut::Replaced, Cut::AccountDisabled];

impl Signal {
    pub(super) fn new(cut: Option<Cut>) -> Arc<Self> {
        let signal = Self::default();
        signal.cut.store(number(cut), Ordering::Release);
        Arc::new(signal)
    }

    /// Whether it was given, and which.
    pub(super) fn given(&self) -> Option<Cut> {
        let number = usize::from(self.cut.load(Ordering::Acquire));
        number.checked_sub(1).and_then(|number| CUTS.get(number)).copied()
    }

    /// Gives it; another one takes the place of the one before.
    pub(super) fn give(&self, cut: Cut) {
        self.cut.store(number(Some(cut)), Ordering::Release);
        self.ears.notify_waiters();
    }

    /// Resolves when it is given. Holds the signal.
    pub(super) fn heard(self: &Arc<Self>) -> CutSignal {
        let signal = Arc::clone(self);
        Box::pin(async move {
            loop {
                // Listens before it looks, so that nothing is missed in between.
                let mut next = std::pin::pin!(signal.ears.notified());
                next.as_mut().enable();
                if let Some(cut) = signal.given() {
                    return cut;
                }
                next.await;
            }
        })
    }
}

fn number(cut: Option<Cut>) -> u8 {
    let place = cut.and_then(|cut| CUTS.iter().position(|known| *known == cut));
    place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_heard_whenever_one_begins_to_listen() {
        for cut in CUTS {
            let signal = Signal::new(None);
            assert_eq!(signal.given(), None);
            let early: Vec<_> = (0..3).map(|_| tokio::spawn(signal.heard())).collect();
            tokio::task::yield_now().await;
            signal.give(cut);
            for one in early {
                assert_eq!(one.await.ok(), Some(cut));
            }
            assert_eq!((signal.heard().await, signal.given()), (cut, Some(cut)));
            assert_eq!(Signal::new(Some(cut)).heard().await, cut);
        }
    }
}
