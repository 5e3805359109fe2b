//! The body of an answer on its way out: counted, logged at its end, and broken off honestly when it can't be
//! finished. Never: where it comes from.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::types::Ending;
use crate::upstream::RelayBody;
use crate::upstream::tap::error_event;

use super::access::Access;
use super::error::ApiError;
use super::socket::OpenRequest;

/// What an answer is made of.
pub(super) enum Content {
    Full(Bytes),
    Relay(Box<RelayBody>),
}

/// The answer can't be finished; the connection has to be broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer could not be finished")]
pub(super) struct BrokenOff;

/// How long what was said already gets to reach the client before the connection is broken off.
const FLUSH_TIME: Duration = Duration::from_secs(5);

enum Stage {
    Flowing(Content),
    /// Waits until what was said has gone out: an error right behind it would swallow it.
    Breaking(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

/// A body that keeps its request open until its end.
pub(super) struct AnswerBody {
    stage: Stage,
    access: Access,
    /// When what was last said is known to have gone out.
    said: u64,
    // Dropped last: the request is open until everything else is settled.
    open: OpenRequest,
}

impl AnswerBody {
    pub(super) fn new(content: Content, access: Access, open: OpenRequest) -> Self {
        let said = open.pulse().flush_mark();
        Self { stage: Stage::Flowing(content), access, said, open }
    }

    fn say(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.access.bytes_out += bytes.len() as u64;
        self.said = self.open.pulse().flush_mark();
        Frame::data(bytes)
    }

    fn break_off(&self) -> Stage {
        let flushed = std::sync::Arc::clone(self.open.pulse()).flushed_since(self.said);
        Stage::Breaking(Box::pin(async move {
            // A client that takes nothing does not get to hear it.
            let _ = timeout(FLUSH_TIME, flushed).await;
        }))
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let Stage::Flowing(Content::Relay(relay)) = &mut self.stage else { return Poll::Ready(None) };
        match ready!(Pin::new(relay.as_mut()).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => Poll::Ready(Some(self.say(bytes))),
                Err(_) => Poll::Ready(None),
            },
            None => Poll::Ready(None),
            Some(Err(broken)) => {
                let model = self.access.model.clone().unwrap_or_default();
                let error = ApiError::of_fault(broken.fault, &model);
                self.access.code = Some(error.code());
                if broken.is_stream && broken.at_boundary {
                    let frame = self.say(error_event(&error.json_text()));
                    self.stage = self.break_off();
                    return Poll::Ready(Some(frame));
                }
                self.stage = self.break_off();
                Poll::Pending
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Breaking(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    self.stage = Stage::Over;
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                Stage::Flowing(Content::Full(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.stage = Stage::Over;
                    return Poll::Ready((!bytes.is_empty()).then(|| Ok(self.say(bytes))));
                }
                Stage::Flowing(Content::Relay(_)) => match self.poll_relay(cx) {
                    Poll::Pending if matches!(self.stage, Stage::Breaking(_)) => {}
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Poll::Ready(None) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(None);
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.stage {
            Stage::Over => true,
            Stage::Breaking(_) => false,
            Stage::Flowing(Content::Full(bytes)) => bytes.is_empty(),
            Stage::Flowing(Content::Relay(relay)) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stage {
            Stage::Over | Stage::Breaking(_) => SizeHint::default(),
            Stage::Flowing(Content::Full(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Stage::Flowing(Content::Relay(relay)) => relay.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    /// The relay settles before the access line is printed; an answer of Ember's own is done once handed over.
    fn drop(&mut self) {
        let handed_over = self.is_end_stream() || self.access.method == http::Method::HEAD;
        self.stage = Stage::Over;
        if handed_over && self.access.ending == Ending::ClientGone {
            self.access.ending = Ending::Done;
        }
    }
}
