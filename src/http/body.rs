//! Reading a request's body: whole, within bounds of size, time and memory. Never: what is in it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use super::ear::unheard;
use super::error::ApiError;

/// What is reserved at once.
const STEP_BYTES: usize = 64 * 1024;
/// A body may take the longest pause and, on top of it, the time its bytes take at this rate.
const BYTES_PER_SECOND_MIN: usize = 16 * 1024;

/// A body and its share of the memory that all bodies have together; the share is given back with the last byte.
struct Held<B> {
    bytes: B,
    share: Option<OwnedSemaphorePermit>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Reads a body of up to `bytes_max` bytes; `wait` is the longest pause between two parts of it. On HTTP/1 a body that
/// came at once is left where it lies, since its connection keeps that buffer anyway.
pub(super) async fn read(
    mut body: Incoming,
    version: Version,
    bytes_max: usize,
    wait: Duration,
    memory: &Arc<Semaphore>,
) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(ApiError::BodyTooLarge(bytes_max));
    }
    let mut began = None;
    let mut held = Held { bytes: BytesMut::new(), share: None };
    loop {
        let earned = Duration::from_secs((held.bytes.len() / BYTES_PER_SECOND_MIN) as u64);
        let frame = Awaited { body: &mut body, began: &mut began, wait, earned, alarm: Alarm::Off };
        let frame = frame.await.ok_or_else(|| bad("its body comes too slowly"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| ApiError::BodyBrokeOff)?;
        // Trailers say nothing that Ember or a model server would listen to.
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes.len() + data.len() > bytes_max {
            return Err(ApiError::BodyTooLarge(bytes_max));
        }
        if announced == Some(data.len()) && version < Version::HTTP_2 {
            let share = Some(reserve(memory, data.len())?);
            return Ok(Bytes::from_owner(Held { bytes: data, share }));
        }
        held.take(&data, announced, memory)?;
        if body.is_end_stream() {
            break;
        }
    }
    Ok(Bytes::from_owner(held))
}

/// The next frame of a body; none when it did not come in time.
///
/// hyper hands over what it has read already when it is asked, a moment later: only who still waits then sets a timer.
struct Awaited<'a> {
    body: &'a mut Incoming,
    /// Since when the body is waited for.
    began: &'a mut Option<Instant>,
    /// How long its next part may take,
    wait: Duration,
    /// and how much longer all of it, for what has come.
    earned: Duration,
    alarm: Alarm,
}

enum Alarm {
    Off,
    Asked,
    Set(Pin<Box<Sleep>>),
}

impl Future for Awaited<'_> {
    type Output = Option<Option<hyper::Result<http_body::Frame<Bytes>>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (frame, woke) = unheard(|| Pin::new(&mut *self.body).poll_frame(cx));
        if woke && !self.body.is_end_stream() {
            // hyper has more to read.
            cx.waker().wake_by_ref();
        }
        if let Poll::Ready(frame) = frame {
            return Poll::Ready(Some(frame));
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        match &mut self.alarm {
            Alarm::Off => {
                self.alarm = Alarm::Asked;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Alarm::Asked => {
                let until = (began + self.wait + self.earned).min(Instant::now() + self.wait);
                let mut alarm = Box::pin(sleep_until(until));
                let rings = alarm.as_mut().poll(cx);
                self.alarm = Alarm::Set(alarm);
                rings.map(|()| None)
            }
            Alarm::Set(alarm) => alarm.as_mut().poll(cx).map(|()| None),
        }
    }
}

impl Held<BytesMut> {
    fn take(
        &mut self,
        data: &[u8],
        announced: Option<usize>,
        memory: &Arc<Semaphore>,
    ) -> Result<(), ApiError> {
        if self.bytes.is_empty() {
            // Room for an announced body is only addresses until its bytes come.
            self.bytes.reserve(announced.unwrap_or(0));
        }
        self.bytes.reserve(data.len());
        let used = self.bytes.len() + data.len();
        // An unannounced body's buffer doubles as it grows, and counts as it is.
        let needed = announced.map_or(self.bytes.capacity(), |_| used);
        let owned = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if needed > owned {
            let left = announced.map_or(STEP_BYTES, |bytes| bytes - owned);
            let more = reserve(memory, (needed - owned).max(STEP_BYTES.min(left)))?;
            match &mut self.share {
                Some(share) => share.merge(more),
                None => self.share = Some(more),
            }
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

fn reserve(memory: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let bytes = u32::try_from(bytes).map_err(|_| ApiError::MemoryFull)?;
    Arc::clone(memory).try_acquire_many_owned(bytes).map_err(|_| ApiError::MemoryFull)
}

fn bad(detail: &str) -> ApiError {
    ApiError::BadRequest(detail.to_string())
}
