//! A request on its way to a model server, until the head of the answer is there. Never: the caller's key, words or
//! status codes of Ember's own.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::answer::Answer;
use super::body::{RequestFacts, apply};
use super::choice::{Choice, Chosen};
use super::connect::connect;
use super::connection::Unanswered;
use super::early::Rest;
use super::headers::{self, Back};
use super::pieces::Pieces;
use super::pool::Lease;
use super::relay_body::{Exchange, RelayBody, Source, Watcher};
use super::report::{ReportHandle, Settlement, prompt_estimate};
use super::server::{Blame, Server, ServerSlot};
use super::slots::Asker;
use super::tap::SseTap;
use super::verdict::{Attempt, judge, learn, searched};
use super::watch::{DEAF, Now, Patience, Signals, StopSource, deadline};
use super::{Endpoint, RelayFault, Upstreams};
use crate::gate::Pass;
use crate::types::{AnswerKind, ModelId, Tokens};

/// What a caller asks of a model.
pub struct RelayRequest {
    /// Of which route.
    pub endpoint: Endpoint,
    /// The caller's headers, all of them; what may cross is picked here.
    pub headers: HeaderMap,
    /// The request's id, sent along.
    pub request_id: HeaderValue,
    /// The body as it came.
    pub body: Bytes,
    /// What [`RequestFacts::read`] found in `body`.
    pub facts: RequestFacts,
    /// Knows when Ember's time to drain is over.
    pub stop: Arc<dyn StopSource>,
    /// How long one who asked for a stream stands in line for a server before it begins, with comments that keep it
    /// alive; and how often one comes.
    pub keepalive_after: Duration,
    /// Where the relay writes what becomes of the request. Keep a clone to read it.
    pub report: ReportHandle,
}

/// A model server's answer.
#[derive(Debug)]
pub struct Reply {
    /// As the server said.
    pub status: StatusCode,
    /// The headers that may go back.
    pub headers: Back,
    /// The answer itself. Holds the request's slot and settles its pass.
    pub body: RelayBody,
}

impl Upstreams {
    /// Sends a request to a server that has its model, and gives back the answer once its head is there.
    ///
    /// Another server is asked only as long as nothing was written. Dropping the future, or the answer's body,
    /// closes the server's connection at once and settles the pass.
    ///
    /// # Errors
    /// [`RelayFault`], when no answer may be shown; the request is settled then.
    pub fn relay(
        &self,
        pass: Pass,
        request: RelayRequest,
    ) -> impl Future<Output = Result<Reply, RelayFault>> + Send + '_ {
        // Made here, so that the future has it once, and not as its arguments as well.
        let begins = Instant::now();
        let mut course = Course::new(pass, request, begins);
        async move {
            let model = course.exchange.settlement.pass().model().as_str();
            let mut choice = match Choice::among(&self.catalogue, model, course.asker) {
                Ok(choice) => choice,
                Err(fault) => return Err(course.refuse(fault)),
            };
            course.exchange.settlement.progress().is_for(Arc::clone(choice.model()));
            match course.at_once(&mut choice, Now::at(begins)).await {
                Ok(Some(status)) => Ok(course.reply(status)),
                Ok(None) => Box::pin(course.after_waiting(choice)).await,
                Err(fault) => Err(course.refuse(fault)),
            }
        }
    }
}

/// A request with all that hangs on it, until the head of the answer is there. It may be sent to one server after the
/// other.
struct Course {
    endpoint: Endpoint,
    headers: HeaderMap,
    request_id: HeaderValue,
    body: Bytes,
    facts: RequestFacts,
    keepalive_after: Duration,
    /// How long it stood in line: that is no server's fault.
    queued: Duration,
    asker: Asker,
    /// The headers of the answer that go back.
    back: Back,
    /// What outlives it.
    exchange: Box<Exchange>,
}

/// A server's answer that may be shown.
struct Shown {
    status: StatusCode,
    source: Source,
    is_stream: bool,
    strip_usage: bool,
    /// When its head came.
    came: Instant,
    /// When that was known: now.
    now: Instant,
}

/// Why there is no answer.
enum Miss {
    /// This server gave none.
    Attempt(Attempt),
    /// The request is over.
    Ended(RelayFault),
}

impl From<Attempt> for Miss {
    fn from(attempt: Attempt) -> Self {
        Self::Attempt(attempt)
    }
}

impl Course {
    fn new(pass: Pass, request: RelayRequest, begins: Instant) -> Self {
        let asker = Asker { key: pass.caller().key(), weight: pass.caller().weight() };
        let signals = Signals::new(pass.caller().cut(), request.stop);
        let settlement = Settlement::new(pass, request.report, begins);
        let request_bytes = request.body.len() as u64;
        Self {
            endpoint: request.endpoint,
            headers: request.headers,
            request_id: request.request_id,
            body: request.body,
            facts: request.facts,
            keepalive_after: request.keepalive_after,
            queued: Duration::ZERO,
            asker,
            back: Back::default(),
            exchange: Box::new(Exchange::new(signals, settlement, request_bytes, asker.key)),
        }
    }

    /// The status of a server's answer, one that has a slot now; none when all that are left are busy.
    async fn at_once(&mut self, choice: &mut Choice, mut now: Now) -> Result<Option<StatusCode>, RelayFault> {
        while let Some(chosen) = choice.free(&mut now) {
            let answered = self.attempt(chosen, choice, now).await?;
            if answered.is_some() {
                return Ok(answered);
            }
            now = Now::default();
        }
        Ok(None)
    }

    /// The answer of the first server that has a slot. One who asked for a stream and has stood in line for
    /// `keepalive_after` gets the beginning of it.
    async fn after_waiting(self, choice: Choice) -> Result<Reply, RelayFault> {
        if !(self.facts.stream && self.endpoint.answers_text()) {
            return self.in_line(choice).await;
        }
        let (report, keepalive_after) = (self.exchange.settlement.report().clone(), self.keepalive_after);
        let mut rest: Rest = Box::pin(self.in_line(choice));
        tokio::select! {
            biased;
            outcome = &mut rest => outcome,
            () = report.in_line_for(keepalive_after) => Ok(Reply::early(rest, keepalive_after)),
        }
    }

    async fn in_line(mut self, mut choice: Choice) -> Result<Reply, RelayFault> {
        match self.in_turn(&mut choice).await {
            Ok(status) => Ok(self.reply(status)),
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    async fn in_turn(&mut self, choice: &mut Choice) -> Result<StatusCode, RelayFault> {
        loop {
            let Exchange { signals, settlement, .. } = &mut *self.exchange;
            let chosen = signals.or(choice.wait(settlement.report())).await?;
            self.queued = settlement.report().queued();
            match chosen {
                Ok(chosen) => {
                    if let Some(status) = self.attempt(chosen, choice, Now::default()).await? {
                        return Ok(status);
                    }
                }
                // It may have found nobody where somebody came meanwhile.
                Err(fault) if !choice.renew() => return Err(fault),
                Err(_) => {}
            }
            if let Some(status) = self.at_once(choice, Now::default()).await? {
                return Ok(status);
            }
        }
    }

    /// The status of this server's answer; none when it saw nothing of the request and others are left.
    async fn attempt(
        &mut self,
        chosen: Chosen,
        choice: &mut Choice,
        now: Now,
    ) -> Result<Option<StatusCode>, RelayFault> {
        let Chosen { slot, candidate } = chosen;
        let slot = ServerSlot::new(candidate.server, slot);
        self.exchange.settlement.sent_to(&slot.server().label);
        match self.ask(slot.server(), &candidate.real, now).await {
            Ok(status) => {
                self.exchange.slot = Some(slot);
                Ok(Some(status))
            }
            Err(Miss::Ended(fault)) => Err(fault),
            Err(Miss::Attempt(Attempt { fault, written, blame })) => {
                let server = Arc::clone(slot.server());
                // Before the slot goes to the next, who may know better then.
                server.failed(fault, blame.unwrap_or(Blame::Either(self.asker.key)));
                drop(slot);
                if written {
                    return Err(fault);
                }
                choice.tried(server);
                if choice.is_empty() && !choice.renew() { Err(fault) } else { Ok(None) }
            }
        }
    }

    /// The status of an answer that may be shown.
    async fn ask(&mut self, server: &Server, real: &ModelId, now: Now) -> Result<StatusCode, Miss> {
        let (lease, strip_usage) = self.send(server, real, now).await?;
        let came = Instant::now();
        let settlement = &mut self.exchange.settlement;
        let head = lease.head();
        judge(server, head, lease.length(), self.facts.stream)
            .inspect_err(|_| settlement.unanswered(None))?;
        let status = head.status();
        let is_stream = status.is_success() && headers::is_event_stream(head);
        self.back = headers::from_server(head, server);
        let answer = Answer::new(lease, Some(Arc::clone(&server.pool)));
        let (source, now) = if !status.is_success() && server.has_key() {
            settlement.unanswered(None);
            let searched = Box::pin(self.exchange.signals.or(searched(server, answer)));
            (searched.await.map_err(Miss::Ended)??, Instant::now())
        } else {
            (Source::Live(answer), came)
        };
        learn(server, status, self.asker.key, now);
        self.show(server, Shown { status, source, is_stream, strip_usage, came, now });
        Ok(status)
    }

    /// The body as a server is to get it, and whether it asks for a usage chunk that the caller did not ask for.
    fn pieces(&self, real: &ModelId) -> (Pieces, bool) {
        let renamed = (self.facts.model != *real).then(|| self.facts.rename_model(real));
        let usage = self.endpoint.asks_for_usage().then(|| self.facts.ask_for_usage()).flatten();
        let asks = usage.is_some();
        if renamed.is_none() && !asks {
            return (Pieces::One(self.body.clone()), false);
        }
        let splices = renamed.into_iter().chain(usage).collect();
        (Pieces::from(apply(&self.body, splices)), asks)
    }

    /// Over a kept connection if there is one that lives, else over a new one. The head of the answer is there then;
    /// says also whether a usage chunk was asked for that the caller did not ask for.
    async fn send(&mut self, server: &Server, real: &ModelId, mut now: Now) -> Result<(Lease, bool), Miss> {
        loop {
            let (mut lease, is_kept) = match server.pool.take(&mut now) {
                Some(kept) => (kept, true),
                None => {
                    let new = Box::pin(self.connect(server)).await?;
                    now = Now::default();
                    (new, false)
                }
            };
            let strip_usage = self.begin(server, real, &mut lease);
            let Err(why) = self.wait_for_head(server, &mut lease, now.get()).await? else {
                return Ok((lease, strip_usage));
            };
            self.has_no_head(server, why)?;
            if !is_kept {
                return Err(Attempt::unwritten(RelayFault::BrokeOff).into());
            }
            now = Now::default();
        }
    }

    async fn connect(&mut self, server: &Server) -> Result<Lease, Miss> {
        let connecting = connect(&server.address, server.connect_timeout);
        let wire = self.exchange.signals.or(connecting).await.map_err(Miss::Ended)?;
        Ok(Lease::new(wire.map_err(Attempt::unwritten)?))
    }

    /// Gives the connection the request; says whether it asks for a usage chunk that the caller did not ask for.
    fn begin(&mut self, server: &Server, real: &ModelId, lease: &mut Lease) -> bool {
        self.is_unanswered(true);
        let (pieces, asks_for_usage) = self.pieces(real);
        let length = pieces.len();
        let head = |out: &mut Vec<u8>| {
            out.extend_from_slice(server.head(self.endpoint));
            headers::to_server(&self.headers, &self.request_id, out);
            headers::end(out, length);
        };
        lease.begin(head, pieces);
        asks_for_usage
    }

    /// The fault, unless the request may be sent again.
    fn has_no_head(&mut self, server: &Server, why: Unanswered) -> Result<(), Attempt> {
        server.pool.is_wary();
        if why != Unanswered::BrokeOff {
            self.is_unanswered(false);
        }
        match why {
            Unanswered::Unsent => Ok(()),
            Unanswered::BrokeOff => Err(Attempt::written(RelayFault::BrokeOff)),
            Unanswered::Invalid => Err(Attempt::written(RelayFault::Invalid)),
        }
    }

    /// A request that does not ask for a stream gets its head when all the work is done: the total counts, too.
    fn wait_for_head(
        &mut self,
        server: &Server,
        lease: &mut Lease,
        now: Instant,
    ) -> impl Future<Output = Result<Result<(), Unanswered>, Miss>> {
        let mut until = deadline(now, server.first_byte_timeout);
        if !self.facts.stream {
            until = until.min(deadline(self.counted_from(), server.total_timeout));
        }
        let (signals, listens_at) = (&mut self.exchange.signals, now + DEAF);
        poll_fn(move |cx| {
            if let Poll::Ready(outcome) = lease.poll_head(cx) {
                return Poll::Ready(Ok(outcome));
            }
            if !signals.are_heard() && listens_at < until {
                ready!(lease.alarm.poll(cx, listens_at));
            }
            if let Poll::Ready(fault) = signals.poll(cx) {
                return Poll::Ready(Err(Miss::Ended(fault)));
            }
            lease.alarm.poll(cx, until).map(|()| Err(Attempt::written(RelayFault::Timeout).into()))
        })
    }

    /// The time that a server may take counts from here: what was spent in line is not its fault.
    fn counted_from(&self) -> Instant {
        self.exchange.settlement.started() + self.queued
    }

    /// Whether a server has the request and may be working on it.
    fn is_unanswered(&mut self, is_so: bool) {
        let bytes = is_so.then_some(self.body.len() as u64);
        let settlement = &mut self.exchange.settlement;
        settlement.unanswered(bytes);
        settlement.progress().used(bytes.map_or(Tokens::default(), prompt_estimate));
    }

    fn refuse(mut self, fault: RelayFault) -> RelayFault {
        self.exchange.settlement.settle_unanswered(fault.ending());
        fault
    }

    /// Makes ready for the answer's body.
    fn show(&mut self, server: &Server, shown: Shown) {
        let Shown { status, source, is_stream, strip_usage, came, now } = shown;
        let end = (!is_stream).then(|| deadline(self.counted_from(), server.total_timeout));
        let exchange = &mut *self.exchange;
        exchange.settlement.answered(kind_of(status), is_stream, came);
        exchange.watcher = match (is_stream, status.is_success()) {
            (true, _) => Watcher::stream(SseTap::new(self.endpoint.dialect(), strip_usage)),
            (false, true) => Watcher::answer(self.endpoint.answers_text()),
            (false, false) => Watcher::Nobody,
        };
        exchange.patience = Patience::new(server.idle_timeout, end);
        exchange.json_of_any_length = source.size_hint().exact().is_none() && headers::is_json(&self.back);
        exchange.asked_for_stream = self.facts.stream;
        exchange.source = source;
        exchange.fresh = Some(now);
    }

    fn reply(self, status: StatusCode) -> Reply {
        Reply { status, headers: self.back, body: RelayBody::new(self.exchange) }
    }
}

/// An answer that may be shown is of one of these.
fn kind_of(status: StatusCode) -> AnswerKind {
    match status {
        _ if status.is_server_error() => AnswerKind::ServerError,
        _ if status.is_client_error() => AnswerKind::ClientError,
        _ => AnswerKind::Success,
    }
}
