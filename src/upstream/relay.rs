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
use super::watch::{DEAF, Patience, Signals, StopSignal, deadline};
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
    /// Resolves when Ember's time to drain is over.
    pub stop: StopSignal,
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
        let mut course = Course::new(pass, request);
        async move {
            let model = course.settlement.pass().model().as_str();
            let mut choice = match Choice::among(&self.catalogue, model, course.asker) {
                Ok(choice) => choice,
                Err(fault) => return Err(course.refuse(fault)),
            };
            course.settlement.progress().is_for(Arc::clone(choice.model()));
            match course.at_once(&mut choice).await {
                Ok(Some(answered)) => Ok(course.reply(answered)),
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
    signals: Signals,
    settlement: Settlement,
}

/// A server's answer that may be shown.
struct Answered {
    slot: ServerSlot,
    shown: Shown,
}

/// The answer itself.
struct Shown {
    status: StatusCode,
    headers: Back,
    source: Source,
    is_stream: bool,
    strip_usage: bool,
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
    fn new(pass: Pass, request: RelayRequest) -> Self {
        let asker = Asker { key: pass.caller().key(), weight: pass.caller().weight() };
        Self {
            endpoint: request.endpoint,
            headers: request.headers,
            request_id: request.request_id,
            body: request.body,
            facts: request.facts,
            keepalive_after: request.keepalive_after,
            queued: Duration::ZERO,
            asker,
            signals: Signals::new(pass.caller().cut(), request.stop),
            settlement: Settlement::new(pass, request.report, Instant::now()),
        }
    }

    /// The answer of a server that has a slot now; none when all that are left are busy.
    async fn at_once(&mut self, choice: &mut Choice) -> Result<Option<Answered>, RelayFault> {
        while let Some(chosen) = choice.free() {
            let answered = self.attempt(chosen, choice).await?;
            if answered.is_some() {
                return Ok(answered);
            }
        }
        Ok(None)
    }

    /// The answer of the first server that has a slot. One who asked for a stream and has stood in line for
    /// `keepalive_after` gets the beginning of it.
    async fn after_waiting(self, choice: Choice) -> Result<Reply, RelayFault> {
        if !(self.facts.stream && self.endpoint.answers_text()) {
            return self.in_line(choice).await;
        }
        let (report, keepalive_after) = (self.settlement.report().clone(), self.keepalive_after);
        let mut rest: Rest = Box::pin(self.in_line(choice));
        tokio::select! {
            biased;
            outcome = &mut rest => outcome,
            () = report.in_line_for(keepalive_after) => Ok(Reply::early(rest, keepalive_after)),
        }
    }

    async fn in_line(mut self, mut choice: Choice) -> Result<Reply, RelayFault> {
        match self.in_turn(&mut choice).await {
            Ok(answered) => Ok(self.reply(answered)),
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    async fn in_turn(&mut self, choice: &mut Choice) -> Result<Answered, RelayFault> {
        loop {
            let Self { signals, settlement, .. } = self;
            let chosen = signals.or(choice.wait(settlement.report())).await?;
            self.queued = self.settlement.report().queued();
            match chosen {
                Ok(chosen) => {
                    if let Some(answered) = self.attempt(chosen, choice).await? {
                        return Ok(answered);
                    }
                }
                // It may have found nobody where somebody came meanwhile.
                Err(fault) if !choice.renew() => return Err(fault),
                Err(_) => {}
            }
            if let Some(answered) = self.at_once(choice).await? {
                return Ok(answered);
            }
        }
    }

    /// The answer of this server; none when it saw nothing of the request and others are left.
    async fn attempt(&mut self, chosen: Chosen, choice: &mut Choice) -> Result<Option<Answered>, RelayFault> {
        let Chosen { slot, candidate } = chosen;
        self.settlement.report().sent_to(&candidate.server.label);
        self.settlement.progress().sent_to(Arc::clone(&candidate.server.label));
        match self.ask(slot.server(), &candidate.real).await {
            Ok(shown) => {
                self.settlement.report().answered_after(self.settlement.started().elapsed());
                Ok(Some(Answered { slot, shown }))
            }
            Err(Miss::Ended(fault)) => Err(fault),
            Err(Miss::Attempt(Attempt { fault, written, blame })) => {
                // Before the slot goes to the next, who may know better then.
                candidate.server.failed(fault, blame.unwrap_or(Blame::Either(self.asker.key)));
                drop(slot);
                if written {
                    return Err(fault);
                }
                choice.tried(candidate.server);
                if choice.is_empty() && !choice.renew() { Err(fault) } else { Ok(None) }
            }
        }
    }

    async fn ask(&mut self, server: &Server, real: &ModelId) -> Result<Shown, Miss> {
        let (pieces, strip_usage) = self.pieces(real);
        let lease = self.send(server, &pieces).await?;
        drop(pieces);
        let head = lease.head();
        judge(server, head).inspect_err(|_| self.settlement.report().unanswered(None))?;
        let status = head.status();
        let is_stream = status.is_success() && headers::is_event_stream(head);
        let headers = headers::from_server(head, server);
        let answer = Answer::new(lease, Some(Arc::clone(&server.pool)));
        let source = if !status.is_success() && server.has_key() {
            self.settlement.report().unanswered(None);
            let searched = Box::pin(self.signals.or(searched(server, answer)));
            searched.await.map_err(Miss::Ended)??
        } else {
            Source::Live(answer)
        };
        learn(server, status, self.asker.key);
        Ok(Shown { status, headers, source, is_stream, strip_usage })
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

    /// Over a kept connection if there is one that lives, else over a new one. The head of the answer is there then.
    async fn send(&mut self, server: &Server, pieces: &Pieces) -> Result<Lease, Miss> {
        loop {
            let (mut lease, is_kept) = match server.pool.take() {
                Some(kept) => (kept, true),
                None => (Box::pin(self.connect(server)).await?, false),
            };
            if self.head(server, &mut lease, pieces).await? {
                return Ok(lease);
            }
            if !is_kept {
                return Err(Attempt::unwritten(RelayFault::BrokeOff).into());
            }
        }
    }

    async fn connect(&mut self, server: &Server) -> Result<Lease, Miss> {
        let connecting = connect(&server.address, server.connect_timeout);
        let wire = self.signals.or(connecting).await.map_err(Miss::Ended)?;
        Ok(Lease::new(wire.map_err(Attempt::unwritten)?))
    }

    /// Sends the request; false when nothing of it was written.
    async fn head(&mut self, server: &Server, lease: &mut Lease, pieces: &Pieces) -> Result<bool, Miss> {
        self.is_unanswered(true);
        let head = |out: &mut Vec<u8>| {
            out.extend_from_slice(server.head(self.endpoint));
            headers::to_server(&self.headers, &self.request_id, out);
            headers::end(out, pieces.len());
        };
        lease.begin(head, pieces.clone());
        let why = match self.wait_for_head(server, lease).await? {
            Ok(()) => return Ok(true),
            Err(why) => why,
        };
        server.pool.is_wary();
        if why != Unanswered::BrokeOff {
            self.is_unanswered(false);
        }
        match why {
            Unanswered::Unsent => Ok(false),
            Unanswered::BrokeOff => Err(Attempt::written(RelayFault::BrokeOff).into()),
            Unanswered::Invalid => Err(Attempt::written(RelayFault::Invalid).into()),
        }
    }

    /// A request that does not ask for a stream gets its head when all the work is done: the total counts, too.
    async fn wait_for_head(
        &mut self,
        server: &Server,
        lease: &mut Lease,
    ) -> Result<Result<(), Unanswered>, Miss> {
        let now = Instant::now();
        let mut until = deadline(now, server.first_byte_timeout);
        if !self.facts.stream {
            until = until.min(deadline(self.counted_from(), server.total_timeout));
        }
        let (signals, listens_at) = (&mut self.signals, now + DEAF);
        poll_fn(|cx| {
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
        .await
    }

    /// The time that a server may take counts from here: what was spent in line is not its fault.
    fn counted_from(&self) -> Instant {
        self.settlement.started() + self.queued
    }

    /// Whether a server has the request and may be working on it.
    fn is_unanswered(&self, is_so: bool) {
        let bytes = is_so.then_some(self.body.len() as u64);
        self.settlement.report().unanswered(bytes);
        self.settlement.progress().used(bytes.map_or(Tokens::default(), prompt_estimate));
    }

    fn refuse(mut self, fault: RelayFault) -> RelayFault {
        self.settlement.settle_unanswered(fault.ending());
        fault
    }

    fn reply(mut self, answered: Answered) -> Reply {
        let Answered { slot, shown } = answered;
        let Shown { status, headers, source, is_stream, strip_usage } = shown;
        let server = slot.server();
        self.settlement.answered(kind_of(status), is_stream);
        let watcher = match (is_stream, status.is_success()) {
            (true, _) => Watcher::stream(SseTap::new(self.endpoint.dialect(), strip_usage)),
            (false, true) => Watcher::answer(self.endpoint.answers_text()),
            (false, false) => Watcher::Nobody,
        };
        let end = (!is_stream).then(|| deadline(self.counted_from(), server.total_timeout));
        let patience = Patience::new(server.idle_timeout, end);
        let json_of_any_length = source.size_hint().exact().is_none() && headers::is_json(&headers);
        let body = RelayBody::new(Exchange {
            source,
            watcher,
            signals: self.signals,
            patience,
            settlement: self.settlement,
            json_of_any_length,
            is_fresh: true,
            request_bytes: self.body.len() as u64,
            key: self.asker.key,
            slot,
        });
        Reply { status, headers, body }
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
