//! What a request's body says, read where that holds up nobody else. Never: how a body comes in, what is made
//! of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::http::error::ApiError;
use crate::upstream::body::{BodyFault, RequestFacts};

/// Longer bodies are read on a thread of their own. One that is made to be dear takes two milliseconds for
/// each MiB, and the others of the thread that serves would wait for it.
const SHORT_BYTES_MAX: usize = 256 * 1024;

/// Who reads a long body now; the others wait.
pub(in crate::http) struct LongReads(Arc<Semaphore>);

impl Default for LongReads {
    /// Half of the cores read at most: the rest serve.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }
}

/// Reads a body.
pub(super) async fn read(body: &Bytes, reads: &LongReads) -> Result<RequestFacts, ApiError> {
    let facts = match body.len() <= SHORT_BYTES_MAX {
        true => RequestFacts::read(body),
        false => Box::pin(read_elsewhere(body.clone(), reads)).await?,
    };
    facts.map_err(|fault| refused(&fault))
}

async fn read_elsewhere(body: Bytes, reads: &LongReads) -> Result<Result<RequestFacts, BodyFault>, ApiError> {
    let turn = Arc::clone(&reads.0).acquire_owned().await.map_err(|_| ApiError::Internal)?;
    let read = spawn_blocking(move || {
        let _turn = turn;
        RequestFacts::read(&body)
    });
    read.await.map_err(|_| ApiError::Internal)
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

    #[tokio::test]
    async fn long_bodies_are_read_in_turn_and_short_ones_at_once() {
        let reads = LongReads(Arc::new(Semaphore::new(1)));
        let turn = reads.0.acquire().await.unwrap();
        let short = padded(SHORT_BYTES_MAX);
        assert_eq!(read(&short, &reads).await.unwrap().model.as_str(), "m");
        let long = padded(SHORT_BYTES_MAX + 1);
        let mut reading = std::pin::pin!(read(&long, &reads));
        assert!(polled_once(reading.as_mut()).await.is_none(), "it waits for its turn");
        drop(turn);
        assert_eq!(reading.await.unwrap().model.as_str(), "m");
        assert!(matches!(read(&long.slice(1..), &reads).await, Err(ApiError::InvalidJson(_))));
        assert_eq!(reads.0.available_permits(), 1);
    }

    /// What it has come to so far.
    async fn polled_once<T>(mut one: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|cx| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
