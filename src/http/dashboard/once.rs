//! Forms that count once, however often they are sent: reloading the page that shows a new key must not make another.
//! In memory, bounded. Never: what the forms do.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::types::{Random, RandomUnavailable, Secret};

/// Forms remembered; the oldest are forgotten first.
const USED_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Once(Mutex<Used>);

#[derive(Default)]
struct Used {
    order: VecDeque<String>,
    set: HashSet<String>,
}

impl Once {
    /// A text for a new form.
    pub(super) fn mint(random: &dyn Random) -> Result<String, RandomUnavailable> {
        Secret::generate(random).map(|text| text.expose().to_string())
    }

    /// Whether this form was not sent before; from now on it was. A form without a text never counts.
    pub(super) fn is_first(&self, form: &str) -> bool {
        if form.is_empty() || form.len() > 64 {
            return false;
        }
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.set.insert(form.to_string()) {
            return false;
        }
        used.order.push_back(form.to_string());
        if used.order.len() > USED_MAX
            && let Some(oldest) = used.order.pop_front()
        {
            used.set.remove(&oldest);
        }
        true
    }

    /// Takes it back: the form was refused and may be sent again.
    pub(super) fn forget(&self, form: &str) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.set.remove(form) {
            used.order.retain(|known| known != form);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_counts_once_and_the_memory_is_bounded() {
        let once = Once::default();
        assert!(once.is_first("a") && !once.is_first("a"));
        assert!(!once.is_first(""));
        once.forget("a");
        assert!(once.is_first("a"));
        for number in 0..2 * USED_MAX {
            assert!(once.is_first(&format!("form {number}")));
        }
        assert!(once.0.lock().unwrap().set.len() <= USED_MAX);
    }
}
