//! Reading a request's body: whole, within bounds of size, time and memory. Never: what is in it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::ApiError;

/// A body in memory, with its share of the memory that all bodies have together.
pub(super) struct HeldBody {
    pub(super) bytes: Bytes,
    pub(super) share: OwnedSemaphorePermit,
}

/// What is reserved at once when a body does not say how long it is.
const STEP_BYTES: usize = 64 * 1024;
/// A body that says it is long gets its buffer as it comes.
const FIRST_BYTES_MAX: usize = 1024 * 1024;

/// Reads a body of up to `bytes_max` bytes; `wait` is the longest pause between two parts of it.
pub(super) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    wait: Duration,
    memory: &Arc<Semaphore>,
) -> Result<HeldBody, ApiError> {
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(ApiError::BodyTooLarge(bytes_max));
    }
    let mut share = reserve(memory, announced.unwrap_or(STEP_BYTES))?;
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0).min(FIRST_BYTES_MAX));
    loop {
        let frame = timeout(wait, body.frame()).await.map_err(|_| bad("its body stopped coming"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| bad("its body broke off or is malformed"))?;
        // Trailers say nothing that Ember or a model server would listen to.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(ApiError::BodyTooLarge(bytes_max));
        }
        while bytes.len() + data.len() > share.num_permits() {
            share.merge(reserve(memory, STEP_BYTES)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(HeldBody { bytes: bytes.freeze(), share })
}

fn reserve(memory: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let bytes = u32::try_from(bytes).map_err(|_| ApiError::MemoryFull)?;
    Arc::clone(memory).try_acquire_many_owned(bytes).map_err(|_| ApiError::MemoryFull)
}

fn bad(detail: &str) -> ApiError {
    ApiError::BadRequest(detail.to_string())
}
