//! The body of an answer on its way to the caller. Never: bytes that the model server did not send.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::RelayFault;
use super::answer::Answer;
use super::early::{Early, Step};
use super::report::{BYTES_PER_TOKEN, Settlement};
use super::server::{Blame, ServerSlot};
use super::tap::{Forward, SseTap};
use super::usage::AnswerTap;
use super::watch::{Alarm, Ear, Now, Patience, Signals};
use crate::types::{Ending, KeyId, Tokens, TokensSource};

/// An answer's body: chunk by chunk as they come, each looked at and none collected.
///
/// It holds the request's slot and settles its pass once, at the last byte or when it is dropped; dropped early, it
/// closes the server's connection there and then.
pub struct RelayBody(Stage);

enum Stage {
    /// No server has begun to answer.
    Early(Box<Early>),
    /// A server answers.
    Flowing(Box<Exchange>),
    /// A server's own error was the last word.
    Refused,
    Over,
}

/// The answer ended before it was whole. The connection to the caller must not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer ended early: {fault}")]
pub struct Broken {
    /// Why.
    pub fault: RelayFault,
    /// Whether an event can follow what was sent on so far.
    pub at_boundary: bool,
    /// Whether the answer is a stream of events.
    pub is_stream: bool,
}

/// A request under way, with all that lasts as long as its answer. Made when the request begins, and never moved.
pub(super) struct Exchange {
    pub(super) source: Source,
    pub(super) watcher: Watcher,
    pub(super) signals: Signals,
    pub(super) patience: Patience,
    pub(super) settlement: Settlement,
    /// It is JSON whose length the server did not say, so its end must be seen in it.
    pub(super) json_of_any_length: bool,
    /// The caller would take an empty answer for a stream that has come to its end.
    pub(super) asked_for_stream: bool,
    /// When the answer was shown, as long as nothing was asked of the body.
    pub(super) fresh: Option<Instant>,
    /// The bytes of the request.
    request_bytes: u64,
    /// Whose request it is.
    key: KeyId,
    /// Of the server that answers; given back with the exchange.
    pub(super) slot: Option<ServerSlot>,
    /// Hears of all that is waited for; none of an answer that comes at once.
    ear: Option<Box<Ear>>,
}

/// Where the bytes come from.
pub(super) enum Source {
    /// From the server, as they come.
    Live(Answer),
    /// They are here already.
    Whole(Option<Bytes>),
}

/// What looks at the bytes as they pass.
pub(super) enum Watcher {
    /// A stream's tap, and what it has given out that is not yet sent on.
    Stream(Box<SseTap>, Forward),
    /// The tap of an answer that is none; its bytes so far, if their number says something about tokens.
    Answer(AnswerTap, Option<u64>),
    /// Nobody: an error uses no tokens.
    Nobody,
}

impl RelayBody {
    /// Of a server that answers, in the same step as it is shown.
    pub(super) fn new(mut exchange: Box<Exchange>) -> Self {
        let mut now = exchange.fresh.map_or_else(Now::default, Now::at);
        if exchange.is_whole(&mut now) {
            exchange.settle(Ending::Done, &mut now);
            return Self(Stage::Over);
        }
        Self(Stage::Flowing(exchange))
    }

    pub(super) fn early(early: Early) -> Self {
        Self(Stage::Early(Box::new(early)))
    }

    /// Whether a server's stream of events comes.
    pub(super) fn is_stream(&self) -> bool {
        matches!(&self.0, Stage::Flowing(exchange) if matches!(exchange.watcher, Watcher::Stream(..)))
    }

    /// The server's answer is of no use.
    pub(super) fn give_up(self, fault: RelayFault) {
        if let Stage::Flowing(mut exchange) = self.0 {
            exchange.settle(fault.ending(), &mut Now::default());
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Stage::Flowing(exchange) = &mut self.0 else { return Poll::Ready(None) };
        // Nobody knows how long after its head a body is asked for the first time.
        let mut now = Now::default();
        let next = ready!(exchange.poll(cx, &mut now));
        let ending = match &next {
            Ok(Some(_)) if !exchange.is_whole(&mut now) => None,
            Ok(_) => Some(Ending::Done),
            Err(broken) => {
                exchange.blame(broken.fault);
                Some(broken.fault.ending())
            }
        };
        if let Some(ending) = ending {
            exchange.settle(ending, &mut now);
            self.0 = Stage::Over;
        }
        Poll::Ready(next.transpose())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let broken = |fault, at_boundary| Some(Err(Broken { fault, at_boundary, is_stream: true }));
            let step = match &mut self.0 {
                Stage::Early(early) => ready!(early.poll(cx)),
                Stage::Flowing(_) => return self.poll_exchange(cx),
                Stage::Refused => {
                    self.0 = Stage::Over;
                    return Poll::Ready(broken(RelayFault::Refused, false));
                }
                Stage::Over => return Poll::Ready(None),
            };
            match step {
                Step::Beat(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Step::Stream(body) => *self = body,
                Step::Words(bytes) => {
                    self.0 = Stage::Refused;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Step::Fault(fault) => {
                    self.0 = Stage::Over;
                    return Poll::Ready(broken(fault, true));
                }
            }
        }
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.poll_next(cx).map(|next| next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Stage::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Stage::Early(_) | Stage::Refused => SizeHint::default(),
            Stage::Flowing(exchange) => exchange.size_hint(),
            Stage::Over => SizeHint::with_exact(0),
        }
    }
}

impl std::fmt::Debug for RelayBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayBody").field("ended", &self.is_end_stream()).finish_non_exhaustive()
    }
}

impl Exchange {
    /// Of a request that begins.
    pub(super) fn new(signals: Signals, settlement: Settlement, request_bytes: u64, key: KeyId) -> Self {
        Self {
            source: Source::Whole(None),
            watcher: Watcher::Nobody,
            signals,
            patience: Patience::new(Duration::ZERO, None),
            settlement,
            json_of_any_length: false,
            asked_for_stream: false,
            fresh: None,
            request_bytes,
            key,
            slot: None,
            ear: None,
        }
    }

    /// The next bytes to send on; none at a clean end. hyper asks several times for each that come.
    fn poll(&mut self, cx: &mut Context<'_>, now: &mut Now) -> Poll<Result<Option<Bytes>, Broken>> {
        // Most answers are whole with their head, and nobody needs to be woken for those that come at once.
        if self.fresh.take().is_some()
            && let Poll::Ready(next) = self.poll_next(cx, true, now)
        {
            return Poll::Ready(next);
        }
        let mut ear = self.ear.take().unwrap_or_else(|| Box::new(Ear::new(cx.waker())));
        let polled = ear.poll(cx, |cx| self.poll_next(cx, false, now));
        self.ear = Some(ear);
        polled
    }

    /// The next bytes to send on; none at a clean end. As long as it `is_fresh` it is asked again when there are none.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut is_fresh: bool,
        now: &mut Now,
    ) -> Poll<Result<Option<Bytes>, Broken>> {
        loop {
            if let Some(bytes) = self.watcher.next() {
                return Poll::Ready(Ok(Some(bytes)));
            }
            let is_fresh = std::mem::take(&mut is_fresh);
            if !is_fresh && let Poll::Ready(fault) = self.signals.poll(cx) {
                return Poll::Ready(self.break_off(fault));
            }
            match self.source.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    // The caller may not take it, so nobody may ask for more.
                    if is_fresh
                        && !self.is_whole(now)
                        && let Poll::Ready(fault) = self.signals.poll(cx)
                    {
                        return Poll::Ready(self.break_off(fault));
                    }
                    self.patience.renew();
                    let next = self.watcher.look(chunk);
                    self.tell(now);
                    if let Some(bytes) = next {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
                Poll::Ready(Some(Err(fault))) => return Poll::Ready(self.break_off(fault)),
                Poll::Ready(None) => return Poll::Ready(self.finish()),
                Poll::Pending if is_fresh => return Poll::Pending,
                Poll::Pending => {
                    let Some(alarm) = self.source.alarm() else { return Poll::Pending };
                    ready!(self.patience.poll(cx, alarm));
                    return Poll::Ready(self.break_off(RelayFault::Timeout));
                }
            }
        }
    }

    /// Whether the bytes just given out were the last. hyper does not ask again after as many as were announced.
    fn is_whole(&mut self, now: &mut Now) -> bool {
        match (&mut self.source, &self.watcher) {
            (_, Watcher::Stream(..)) => false,
            // Whether it is, is seen in what came.
            _ if self.json_of_any_length => false,
            (Source::Live(answer), Watcher::Answer(..) | Watcher::Nobody) => answer.is_whole(now),
            (Source::Whole(rest), Watcher::Answer(..) | Watcher::Nobody) => rest.is_none(),
        }
    }

    /// The server's answer ended cleanly; a stream's must also have said so, JSON must be whole, and what comes in place of a
    /// stream must not be nothing.
    fn finish(&mut self) -> Result<Option<Bytes>, Broken> {
        self.source = Source::Whole(None);
        let tap = match &mut self.watcher {
            Watcher::Stream(tap, _) => tap,
            Watcher::Answer(tap, _) if self.json_of_any_length && tap.is_cut_short() => {
                return self.break_off(RelayFault::BrokeOff);
            }
            Watcher::Answer(tap, _) if self.asked_for_stream && tap.is_empty() => {
                return self.break_off(RelayFault::BrokeOff);
            }
            Watcher::Answer(..) | Watcher::Nobody => return Ok(None),
        };
        let at_boundary = tap.at_boundary();
        let held = tap.finish();
        if tap.ended() {
            Ok((!held.is_empty()).then_some(held))
        } else {
            Err(Broken { fault: RelayFault::BrokeOff, at_boundary, is_stream: true })
        }
    }

    /// What comes after a stream's end mark spoils nothing.
    fn break_off(&mut self, fault: RelayFault) -> Result<Option<Bytes>, Broken> {
        let (at_boundary, is_stream) = match &self.watcher {
            Watcher::Stream(tap, _) if tap.ended() => return Ok(None),
            Watcher::Stream(tap, _) => (tap.at_boundary(), true),
            Watcher::Answer(..) | Watcher::Nobody => (false, false),
        };
        Err(Broken { fault, at_boundary, is_stream })
    }

    /// Remembers it when the server is at fault.
    fn blame(&self, fault: RelayFault) {
        if matches!(fault, RelayFault::BrokeOff | RelayFault::Timeout)
            && let Some(slot) = &self.slot
        {
            slot.server().failed(fault, Blame::Either(self.key));
        }
    }

    /// Tells what was used so far. An answer is not read for it: that it is once, at its end.
    fn tell(&mut self, now: &mut Now) {
        let estimate =
            |completion| Tokens { prompt: self.request_bytes / BYTES_PER_TOKEN, completion, cached: 0 };
        let so_far = match &self.watcher {
            Watcher::Stream(tap, _) => {
                let completion = tap.completion_estimate();
                if completion == 0 && tap.tokens().is_none() {
                    return;
                }
                tap.tokens().unwrap_or(estimate(completion))
            }
            Watcher::Answer(_, bytes) => estimate(bytes.unwrap_or(0) / BYTES_PER_TOKEN),
            Watcher::Nobody => return,
        };
        self.settlement.progress().used(so_far);
        self.settlement.began(now);
    }

    fn settle(&mut self, ending: Ending, now: &mut Now) {
        // Reading the tokens out of an answer is not for nothing.
        if self.settlement.is_settled() {
            return;
        }
        let tokens = self.watcher.tokens(self.request_bytes / BYTES_PER_TOKEN);
        self.settlement.settle(tokens, ending, now.get());
        if let Some(slot) = &mut self.slot {
            slot.ends(now.get());
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.source, &self.watcher) {
            (_, Watcher::Stream(..)) => SizeHint::default(),
            (source, Watcher::Answer(..) | Watcher::Nobody) => source.size_hint(),
        }
    }
}

impl Drop for Exchange {
    /// Nobody reads on. One who has read the end mark has what he asked for.
    fn drop(&mut self) {
        if self.slot.is_none() {
            // There was no answer: the settlement knows what that means.
            return;
        }
        let ended = matches!(&self.watcher, Watcher::Stream(tap, _) if tap.ended());
        self.settle(if ended { Ending::Done } else { Ending::ClientGone }, &mut Now::default());
    }
}

impl Source {
    /// How many bytes are to come, as far as is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Live(answer) => answer.size_hint(),
            Self::Whole(rest) => SizeHint::with_exact(rest.as_ref().map_or(0, |rest| rest.len() as u64)),
        }
    }

    fn alarm(&mut self) -> Option<&mut Alarm> {
        if let Self::Live(answer) = self { answer.alarm() } else { None }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RelayFault>>> {
        match self {
            Self::Live(answer) => answer.poll_chunk(cx),
            Self::Whole(rest) => Poll::Ready(rest.take().map(Ok)),
        }
    }
}

impl Watcher {
    pub(super) fn stream(tap: SseTap) -> Self {
        Self::Stream(Box::new(tap), Forward::default())
    }

    /// `text`: whether the length of the answer says something about the tokens in it.
    pub(super) fn answer(text: bool) -> Self {
        Self::Answer(AnswerTap::default(), text.then_some(0))
    }

    /// Looks at a chunk and gives back what of it is to be sent on first.
    fn look(&mut self, chunk: Bytes) -> Option<Bytes> {
        match self {
            Self::Stream(tap, forward) => {
                *forward = tap.push(chunk);
                forward.next()
            }
            Self::Answer(tap, bytes) => {
                tap.push(&chunk);
                *bytes = bytes.map(|bytes| bytes + chunk.len() as u64);
                Some(chunk)
            }
            Self::Nobody => Some(chunk),
        }
    }

    /// What was looked at and is still to be sent on.
    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Stream(_, forward) => forward.next(),
            Self::Answer(..) | Self::Nobody => None,
        }
    }

    fn tokens(&self, prompt: u64) -> Option<(Tokens, TokensSource)> {
        let (reported, completion) = match self {
            Self::Stream(tap, _) => (tap.tokens(), tap.completion_estimate()),
            Self::Answer(tap, bytes) => (tap.tokens(), bytes.unwrap_or(0) / BYTES_PER_TOKEN),
            Self::Nobody => return None,
        };
        let estimated = (Tokens { prompt, completion, cached: 0 }, TokensSource::Estimated);
        Some(reported.map_or(estimated, |tokens| (tokens, TokensSource::Reported)))
    }
}
