//! tokio's cell that is set once, with the order it gives to those who read it told to loom. Never: what is in it.

use std::future::Future;

use loom::sync::atomic::{AtomicUsize, Ordering};

/// loom does not see the atomics in tokio, and so would find that who reads what another put in may be too early.
pub(crate) struct OnceCell<T> {
    cell: tokio::sync::OnceCell<T>,
    /// Who reads comes after the one who put it in, and not after others who read: a read-modify-write always meets the last
    /// one, and hands on what was released.
    order: AtomicUsize,
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self { cell: tokio::sync::OnceCell::default(), order: AtomicUsize::new(0) }
    }
}

impl<T> OnceCell<T> {
    pub(crate) async fn get_or_init<F: Future<Output = T>>(&self, make: impl FnOnce() -> F) -> &T {
        let value = self
            .cell
            .get_or_init(|| async {
                let value = make().await;
                self.order.fetch_add(1, Ordering::Release);
                value
            })
            .await;
        self.order.fetch_add(1, Ordering::Acquire);
        value
    }

    pub(crate) fn initialized(&self) -> bool {
        self.cell.initialized()
    }
}
