//! The body of an answer on its way out: counted, logged at its end, and broken off honestly when it can't be
//! finished. Never: where it comes from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::types::Ending;
use crate::upstream::tap::error_event;
use crate::upstream::{Broken, RelayBody};

use super::access::Access;
use super::error::ApiError;
use super::pulse::OpenRequest;

/// What an answer is made of.
pub(super) enum Content {
    Full(Bytes),
    Relay(RelayBody),
}

/// The answer can't be finished; the connection has to be broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer could not be finished")]
pub(super) struct BrokenOff;

/// How long what was said already gets to reach the client before the connection is broken off.
const FLUSH_TIME: Duration = Duration::from_secs(5);

enum Stage {
    Flowing(Content),
    /// The last words are said; nothing follows but the break.
    Said,
    /// Waits until what was said has gone out: an error right behind it would swallow it.
    Breaking(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

/// A body that keeps its request open until its end.
pub(super) struct AnswerBody {
    stage: Stage,
    access: Box<Access>,
    // Dropped last: the request is open until everything else is settled.
    open: OpenRequest,
    /// Only the connection's close tells the client where this answer ends.
    ends_with_connection: bool,
}

impl AnswerBody {
    /// `version` is the caller's.
    pub(super) fn new(content: Content, access: Box<Access>, open: OpenRequest, version: Version) -> Self {
        let mut body = Self { stage: Stage::Flowing(content), access, open, ends_with_connection: false };
        body.ends_with_connection = version < Version::HTTP_11 && body.size_hint().exact().is_none();
        // Before its head goes out: on HTTP/2 the supervisor may not look again after that.
        body.open.clients_turn(true);
        body
    }

    fn say(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.access.bytes_out += bytes.len() as u64;
        self.open.clients_turn(true);
        Frame::data(bytes)
    }

    fn last_words(&mut self, broken: &Broken) -> Option<Bytes> {
        let model = self.access.model.clone().unwrap_or_default();
        let error = ApiError::of_fault(broken.fault, &model);
        self.access.code = Some(error.code());
        (broken.is_stream && broken.at_boundary).then(|| error_event(&error.json_text()))
    }

    fn flushed(&self) -> Stage {
        let pulse = Arc::clone(self.open.pulse());
        let mark = pulse.flush_mark();
        Stage::Breaking(Box::pin(async move {
            // A client that takes nothing does not get to hear it.
            let _ = timeout(FLUSH_TIME, pulse.flushed_since(mark)).await;
        }))
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
                Stage::Said => self.stage = self.flushed(),
                Stage::Breaking(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                Stage::Flowing(Content::Full(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.stage = Stage::Over;
                    return Poll::Ready((!bytes.is_empty()).then(|| Ok(self.say(bytes))));
                }
                Stage::Flowing(Content::Relay(relay)) => match Pin::new(relay).poll_frame(cx) {
                    Poll::Pending => {
                        self.open.clients_turn(false);
                        return Poll::Pending;
                    }
                    Poll::Ready(None) => self.stage = Stage::Over,
                    Poll::Ready(Some(Ok(frame))) => {
                        // A relay sends nothing but data.
                        let Ok(bytes) = frame.into_data() else { return Poll::Ready(Some(Err(BrokenOff))) };
                        return Poll::Ready(Some(Ok(self.say(bytes))));
                    }
                    Poll::Ready(Some(Err(broken))) => {
                        let words = self.last_words(&broken);
                        self.stage = Stage::Said;
                        if let Some(words) = words {
                            return Poll::Ready(Some(Ok(self.say(words))));
                        }
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.stage {
            Stage::Over => true,
            Stage::Said | Stage::Breaking(_) => false,
            Stage::Flowing(Content::Full(bytes)) => bytes.is_empty(),
            Stage::Flowing(Content::Relay(relay)) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stage {
            Stage::Over | Stage::Said | Stage::Breaking(_) => SizeHint::default(),
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
        if !handed_over && self.ends_with_connection {
            self.open.must_reset();
        }
    }
}
