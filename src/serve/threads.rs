//! The threads that serve, and how they share their time. Never: what they do.

use tokio::runtime::Builder;

/// After how many turns of tasks a busy thread looks who has sent something. With tokio's 61, others waited three times as
/// long beside a flood of SETTINGS.
const TASKS_BETWEEN_LOOKS: u32 = 8;

/// One thread for each processor, with clock and sockets.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.event_interval(TASKS_BETWEEN_LOOKS).enable_all();
    builder
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::task::Poll;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    use super::*;

    /// What two tasks on one thread share.
    #[derive(Default)]
    struct Shared {
        turns: AtomicU32,
        is_wanted: AtomicBool,
        sent_after: AtomicU32,
    }

    /// Is always ready for its next turn, and sends a byte in one of them when it is wanted.
    async fn busy(shared: Arc<Shared>, mut wire: std::os::unix::net::UnixStream) {
        poll_fn(|cx| {
            let turns = shared.turns.fetch_add(1, Ordering::SeqCst);
            if shared.is_wanted.swap(false, Ordering::SeqCst) {
                shared.sent_after.store(turns, Ordering::SeqCst);
                wire.write_all(b"x").unwrap();
            }
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
    }

    /// The most turns that another task had between the sending of a byte and its arrival.
    async fn longest_wait() -> u32 {
        let (mut near, far) = UnixStream::pair().unwrap();
        let shared = Arc::new(Shared::default());
        let other = tokio::spawn(busy(Arc::clone(&shared), far.into_std().unwrap()));
        let mut longest = 0;
        for _ in 0..200 {
            shared.is_wanted.store(true, Ordering::SeqCst);
            near.read_u8().await.unwrap();
            let waited = shared.turns.load(Ordering::SeqCst) - shared.sent_after.load(Ordering::SeqCst);
            longest = longest.max(waited);
        }
        other.abort();
        longest
    }

    #[test]
    fn law_12_who_has_sent_something_is_heard_after_a_few_turns_of_a_busy_task() {
        let runtime = builder().worker_threads(1).build().unwrap();
        let longest = runtime.block_on(runtime.spawn(longest_wait())).unwrap();
        assert!((1..=10).contains(&longest), "{longest} turns");
    }
}
