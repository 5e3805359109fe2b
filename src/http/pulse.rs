//! What is known about one connection: its open requests, when which side last moved, what its bytes looked like.
//! Shared by its socket, its requests and its supervisor. Never: reads or writes anything itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;
use super::ending::EndSignal;
use super::framing::{Framing, FramingFault};
use super::stop::StopWatch;
use crate::gate::CutSignal;

/// How long an answer that has to end gets to say so; then its connection is broken off.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) struct Pulse {
    state: Mutex<State>,
    flushes: AtomicU64,
    flushed: Notify,
    /// hyper has asked for bytes last, and none were there.
    awaits_bytes: AtomicBool,
}

struct State {
    /// None on HTTP/2, whose frames need no watching.
    framing: Option<Framing>,
    open: Vec<Course>,
    /// Requests so far.
    requests: u64,
    idle_since: Instant,
    head_since: Option<Instant>,
    /// Since when the kernel takes no more bytes for the client.
    blocked_since: Option<Instant>,
    /// Everything of the answers so far has gone to the kernel when the flushes are more than this.
    answered_at: Option<u64>,
    /// What hyper wanted to answer by itself to bytes that it could not read.
    unasked: Option<u16>,
    /// The connection must end with a reset: a proper close would look like the end of an answer.
    reset: bool,
    /// The time, read once for all that a connection of HTTP/1 does between two looks of its supervisor.
    now: Option<Instant>,
    /// Only of HTTP/2, where requests have tasks of their own.
    supervisor: Option<Waker>,
}

/// What the supervisor has to know.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// A hang-up, and nothing else, is expected from the client.
    pub(super) is_answering: bool,
    /// When this connection has to go if nothing happens on it until then; none while only Ember is at work.
    pub(super) ends: Option<Instant>,
    /// Since when every answer has gone to the kernel and hyper waits for the first byte of another request; none when
    /// that is not so, and on HTTP/2.
    pub(super) quiet_since: Option<Instant>,
}

impl State {
    /// Whether a request has come whole and its answer is under way.
    fn is_answering(&self, awaits_bytes: bool) -> bool {
        let Some(framing) = &self.framing else { return false };
        let is_under_way = !self.open.is_empty() || self.blocked_since.is_some();
        (is_under_way && framing.is_whole() && !awaits_bytes)
            || self.open.iter().any(|course| course.body_done)
    }

    fn ends(&self, limits: &Limits) -> Option<Instant> {
        let mut ends = self.blocked_since.map(|since| since + limits.write_timeout);
        for course in &self.open {
            ends = earlier(ends, course.clients_turn.map(|since| since + limits.write_timeout));
            ends = earlier(ends, course.end_heard.map(|heard| heard + LAST_WORDS));
        }
        if !self.open.is_empty() {
            return ends;
        }
        let idle = match self.head_since {
            Some(since) => since + limits.header_timeout,
            None if self.requests == 0 => self.idle_since + limits.header_timeout,
            None => self.idle_since + limits.idle_timeout,
        };
        earlier(ends, Some(idle))
    }

    fn course(&mut self, id: u64) -> Option<&mut Course> {
        self.open.iter_mut().find(|course| course.id == id)
    }

    fn now(&mut self) -> Instant {
        match self.framing {
            Some(_) => *self.now.get_or_insert_with(Instant::now),
            None => Instant::now(),
        }
    }

    fn listen(&mut self, cx: &mut Context<'_>) {
        self.now = None;
        if self.framing.is_none()
            && !self.supervisor.as_ref().is_some_and(|known| known.will_wake(cx.waker()))
        {
            self.supervisor = Some(cx.waker().clone());
        }
        for course in &mut self.open {
            if course.end.as_mut().is_some_and(|end| end.is_heard(cx)) {
                course.end = None;
                course.end_heard = Some(Instant::now());
            }
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The course of one request.
struct Course {
    id: u64,
    /// Its body has come whole, so whatever comes now is no part of it.
    body_done: bool,
    /// Since when it is the client's turn to take what was handed over.
    clients_turn: Option<Instant>,
    end: Option<EndSignal>,
    end_heard: Option<Instant>,
}

impl Pulse {
    pub(super) fn new(framing: Option<Framing>) -> Self {
        let state = State {
            framing,
            open: Vec::new(),
            requests: 0,
            idle_since: Instant::now(),
            head_since: None,
            blocked_since: None,
            answered_at: None,
            unasked: None,
            reset: false,
            now: None,
            supervisor: None,
        };
        let (flushes, flushed) = (AtomicU64::new(0), Notify::new());
        Self { state: Mutex::new(state), flushes, flushed, awaits_bytes: AtomicBool::new(false) }
    }

    /// A request has come; it is open until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.state();
        let fault = state.framing.as_mut().and_then(Framing::take_judgement);
        state.requests += 1;
        state.head_since = None;
        let id = state.requests;
        let course = Course { id, body_done: false, clients_turn: None, end: None, end_heard: None };
        state.open.push(course);
        drop(state);
        OpenRequest { pulse: Arc::clone(self), id, fault }
    }

    /// How it is, for the supervisor. Listens to the end signals of all open requests.
    pub(super) fn look(&self, cx: &mut Context<'_>, limits: &Limits) -> Look {
        let mut state = self.state();
        state.listen(cx);
        let quiet_since = self.is_between_requests(&state).then_some(state.idle_since);
        let is_answering = state.is_answering(self.awaits_bytes.load(Ordering::Relaxed));
        Look { is_answering, ends: state.ends(limits), quiet_since }
    }

    /// Whether requests come side by side, as on HTTP/2.
    pub(super) fn has_streams(&self) -> bool {
        self.state().framing.is_none()
    }

    /// Whether no answer is under way, and what was answered has gone to the kernel.
    pub(super) fn is_idle(&self) -> bool {
        self.is_quiet(&self.state())
    }

    fn is_quiet(&self, state: &State) -> bool {
        state.open.is_empty() && state.answered_at.is_none_or(|mark| self.flush_mark() > mark)
    }

    fn is_between_requests(&self, state: &State) -> bool {
        state.framing.as_ref().is_some_and(Framing::is_between_requests)
            && self.awaits_bytes.load(Ordering::Relaxed)
            && state.requests > 0
            && self.is_quiet(state)
    }

    /// Whether no further request may be read from this connection.
    pub(super) fn must_close(&self) -> bool {
        self.state().framing.as_ref().is_some_and(Framing::must_close)
    }

    /// Whether the client has sent, or may still be sending, what nobody reads.
    pub(super) fn has_unread(&self) -> bool {
        self.state().framing.as_ref().is_some_and(|framing| framing.must_close() || framing.is_in_body())
    }

    pub(super) fn must_reset(&self) -> bool {
        self.state().reset
    }

    /// Whether `bytes` are hyper's own answer to a head that it could not read: empty, and without a request id. It is
    /// kept from the client, and its status noted.
    pub(super) fn takes_unasked(&self, bytes: &[u8]) -> bool {
        let mut state = self.state();
        let unread = state.framing.as_ref().is_some_and(Framing::is_unclaimed);
        if !(self.is_quiet(&state) && unread && bytes.starts_with(b"HTTP/1.1 4")) {
            return false;
        }
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        state.unasked = status.and_then(|digits| digits.parse().ok());
        state.unasked.is_some()
    }

    /// The status that hyper wanted to answer by itself.
    pub(super) fn unasked(&self) -> Option<u16> {
        self.state().unasked
    }

    /// How often everything written has gone to the kernel.
    pub(super) fn flush_mark(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Resolves with the next flush after the mark.
    pub(super) async fn flushed_since(self: Arc<Self>, mark: u64) {
        loop {
            let notified = self.flushed.notified();
            if self.flush_mark() > mark {
                return;
            }
            notified.await;
        }
    }

    /// Keeps no memory for requests until the next one.
    pub(super) fn let_go(&self) {
        self.state().open.shrink_to_fit();
    }

    /// Takes note of hyper asking for bytes, and whether it has to wait for them. All of it happens in one task.
    pub(super) fn awaits_bytes(&self, waits: bool) {
        self.awaits_bytes.store(waits, Ordering::Relaxed);
    }

    /// Takes note of bytes that came from the client.
    pub(super) fn has_read(&self, bytes: &[u8]) {
        let mut state = self.state();
        if let Some(framing) = &mut state.framing {
            framing.read(bytes);
            if framing.is_in_head() && state.head_since.is_none() {
                state.head_since = Some(state.now());
            }
        }
    }

    /// Takes note of bytes that came from the client and were thrown away.
    pub(super) fn has_thrown_away(&self) {
        if let Some(framing) = &mut self.state().framing {
            framing.lost();
        }
    }

    /// Takes note of the kernel taking bytes for the client, or not.
    pub(super) fn has_written(&self, blocked: bool) {
        let mut state = self.state();
        if blocked != state.blocked_since.is_some() {
            state.blocked_since = blocked.then(|| state.now());
        }
    }

    /// Takes note of the kernel having taken everything.
    pub(super) fn has_flushed(&self) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.flushed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held from a request's head until the last byte of its answer was handed over.
pub(super) struct OpenRequest {
    pulse: Arc<Pulse>,
    id: u64,
    fault: Option<FramingFault>,
}

impl OpenRequest {
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// What is wrong with how the request was framed.
    pub(super) fn fault(&self) -> Option<FramingFault> {
        self.fault
    }

    /// The request's body has come whole: what comes before the answer is over can only be a hang-up.
    pub(super) fn body_done(&self) {
        let mut state = self.pulse.state();
        if let Some(course) = state.course(self.id) {
            course.body_done = true;
        }
        if let Some(framing) = &mut state.framing {
            framing.body_done();
        }
    }

    /// Whether it is the client's turn: to take what was handed over.
    pub(super) fn clients_turn(&self, turn: bool) {
        let mut state = self.pulse.state();
        let since = turn.then(|| state.now());
        if let Some(course) = state.course(self.id) {
            course.clients_turn = since;
        }
    }

    /// From now on a cut of the key, or Ember's own end, ends the answer, whether or not the client takes it.
    pub(super) fn ends_with(&self, cut: CutSignal, stop: StopWatch) {
        let mut state = self.pulse.state();
        let end = match state.framing {
            // The supervisor lives in the task that relays the answer, and is woken with it.
            Some(_) => EndSignal::seen(cut, stop),
            None => EndSignal::heard(cut, stop),
        };
        if let Some(course) = state.course(self.id) {
            course.end = Some(end);
        }
        let supervisor = state.supervisor.clone();
        drop(state);
        if let Some(supervisor) = supervisor {
            supervisor.wake();
        }
    }

    /// The answer was broken off, and a proper close of the connection would hide it.
    pub(super) fn must_reset(&self) {
        self.pulse.state().reset = true;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        state.open.retain(|course| course.id != self.id);
        state.idle_since = state.now();
        state.answered_at = Some(self.pulse.flush_mark());
        if let Some(framing) = &mut state.framing {
            framing.answered();
            return;
        }
        // On HTTP/2 requests end in tasks of their own: the supervisor has to look at its deadlines anew.
        let supervisor = state.supervisor.clone();
        drop(state);
        if let Some(supervisor) = supervisor {
            supervisor.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hang_up_is_expected_while_the_end_of_an_answer_is_stuck() {
        for framing in ["Content-Length: 0", "Transfer-Encoding: chunked"] {
            let pulse = Arc::new(Pulse::new(Some(Framing::new(1000))));
            pulse.has_read(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
            let is_answering = || pulse.state().is_answering(false);
            let open = pulse.begin();
            open.body_done();
            pulse.has_written(true);
            assert!(is_answering(), "{framing}");
            drop(open);
            assert!(is_answering(), "handed over, {framing}");
            pulse.has_written(false);
            assert!(!is_answering(), "sent, {framing}");
        }
    }
}
