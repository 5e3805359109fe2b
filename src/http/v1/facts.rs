//! What a request's body says, read where that holds up nobody else. Never: how a body comes in, what is made
//! of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::http::error::ApiError;
use crate::types::KeyId;
use crate::upstream::body::{BodyFault, RequestFacts};

/// Longer bodies are read on a thread of their own. One that is made to be dear takes two milliseconds for
/// each MiB, and the others of the thread that serves would wait for it.
const SHORT_BYTES_MAX: usize = 256 * 1024;

/// Who reads a long body now; the others wait, each key in a line of its own. The first of each line waits for one of
/// the turns, so that of each other key no more than one body is before anyone's.
pub(in crate::http) struct LongReads {
    turns: Arc<Semaphore>,
    lines: Arc<Lines>,
}

/// The one place at the head of each key's line, and how many are in that line: none stays when all have left.
type Lines = Mutex<HashMap<KeyId, (Arc<Semaphore>, usize)>>;

impl Default for LongReads {
    /// Half of the cores read at most: the rest serve.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of((cores / 2).max(1))
    }
}

impl LongReads {
    fn of(turns: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(turns)), lines: Arc::default() }
    }

    fn line(&self, key: KeyId) -> Line {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, length) = lines.entry(key).or_insert_with(|| (Arc::new(Semaphore::new(1)), 0));
        *length += 1;
        Line { lines: Arc::clone(&self.lines), key, head: Arc::clone(head) }
    }
}

/// A place in a key's line.
struct Line {
    lines: Arc<Lines>,
    key: KeyId,
    head: Arc<Semaphore>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut line) = lines.entry(self.key) {
            line.get_mut().1 -= 1;
            if line.get().1 == 0 {
                line.remove();
            }
        }
    }
}

/// Reads a body that came with a key.
pub(super) async fn read(body: &Bytes, key: KeyId, reads: &LongReads) -> Result<RequestFacts, ApiError> {
    let facts = match body.len() <= SHORT_BYTES_MAX {
        true => RequestFacts::read(body),
        false => Box::pin(read_elsewhere(body.clone(), key, reads)).await?,
    };
    facts.map_err(|fault| refused(&fault))
}

async fn read_elsewhere(
    body: Bytes,
    key: KeyId,
    reads: &LongReads,
) -> Result<Result<RequestFacts, BodyFault>, ApiError> {
    let line = reads.line(key);
    let turns = (turn(&line.head).await?, turn(&reads.turns).await?);
    let read = spawn_blocking(move || {
        // Given up in this order, also when nobody waits for what is read any more.
        let _held = (turns, line);
        RequestFacts::read(&body)
    });
    read.await.map_err(|_| ApiError::Internal)
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(turns).acquire_owned().await.map_err(|_| ApiError::Internal)
}

fn refused(fault: &BodyFault) -> ApiError {
    if *fault == BodyFault::MissingModel {
        return ApiError::MissingModel;
    }
    ApiError::InvalidJson(fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(bytes: usize) -> Bytes {
        let start = br#"{"model":"m","x":""#;
        [start, "x".repeat(bytes - start.len() - 2).as_bytes(), b"\"}"].concat().into()
    }

    fn key(number: u8) -> KeyId {
        KeyId::from_bytes(&[number; 16]).unwrap()
    }

    #[tokio::test]
    async fn long_bodies_are_read_in_turn_and_short_ones_at_once() {
        let reads = LongReads::of(1);
        let turn = reads.turns.acquire().await.unwrap();
        let short = padded(SHORT_BYTES_MAX);
        assert_eq!(read(&short, key(1), &reads).await.unwrap().model.as_str(), "m");
        let long = padded(SHORT_BYTES_MAX + 1);
        let mut reading = std::pin::pin!(read(&long, key(1), &reads));
        assert!(is_pending(reading.as_mut()).await, "it waits for its turn");
        drop(turn);
        assert_eq!(reading.await.unwrap().model.as_str(), "m");
        assert!(matches!(read(&long.slice(1..), key(1), &reads).await, Err(ApiError::InvalidJson(_))));
        assert_eq!(reads.turns.available_permits(), 1);
        assert!(reads.lines.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn bug_the_many_long_bodies_of_one_key_are_before_another_by_one_at_most() {
        let reads = LongReads::of(1);
        let long = padded(SHORT_BYTES_MAX + 1);
        let turn = reads.turns.acquire().await.unwrap();
        let mut greedy: Vec<_> = (0..8).map(|_| Box::pin(read(&long, key(1), &reads))).collect();
        for one in &mut greedy {
            assert!(is_pending(one.as_mut()).await);
        }
        let mut modest = Box::pin(read(&long, key(2), &reads));
        assert!(is_pending(modest.as_mut()).await);
        drop(turn);
        let mut first = greedy.remove(0);
        assert!(first.as_mut().await.is_ok());
        // The greedy one's next has its place in the line behind.
        assert!(is_pending(greedy[0].as_mut()).await);
        let long_enough = std::time::Duration::from_secs(20);
        let read = tokio::time::timeout(long_enough, modest).await;
        assert!(read.is_ok_and(|facts| facts.is_ok()), "it waits for all that another has sent");
        // Some are given up, and hold up nobody.
        greedy.truncate(3);
        for one in greedy {
            assert!(one.await.is_ok());
        }
        assert!(reads.lines.lock().unwrap().is_empty());
    }

    async fn is_pending<T>(mut one: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx).is_pending())).await
    }
}
