//! A request on its way to a model server, until the head of the answer is there. Never: the caller's key, words or
//! status codes of Ember's own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::body::{RequestFacts, apply};
use super::choice::{Choice, Chosen};
use super::connect::connect;
use super::early::Rest;
use super::headers;
use super::pieces::Pieces;
use super::pool::Lease;
use super::relay_body::{Exchange, RelayBody, Source, Watcher};
use super::report::{ReportHandle, Settlement, prompt_estimate};
use super::server::{Blame, Server, ServerSlot};
use super::slots::Asker;
use super::tap::SseTap;
use super::verdict::{Attempt, judge, learn, searched};
use super::watch::{Patience, Signals, StopSignal, deadline};
use super::{Endpoint, RelayFault, Upstreams};
use crate::gate::Pass;
use crate::meter::Progress;
use crate::types::{AnswerKind, KeyId, ModelId, Tokens};

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
    pub headers: HeaderMap,
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
    pub async fn relay(&self, pass: Pass, request: RelayRequest) -> Result<Reply, RelayFault> {
        let signals = Signals { cut: pass.caller().cut(), stop: request.stop };
        let asker = Asker { key: pass.caller().key(), weight: pass.caller().weight() };
        let started = Instant::now();
        let mut settlement = Settlement::new(pass, request.report.clone(), started);
        let job = Job {
            endpoint: request.endpoint,
            headers: request.headers,
            request_id: request.request_id,
            body: request.body,
            facts: request.facts,
            started,
            report: request.report,
            progress: settlement.progress().clone(),
            key: asker.key,
        };
        let choice = match Choice::among(&self.catalogue, settlement.pass().model().as_str(), asker) {
            Ok(choice) => {
                job.progress.is_for(settlement.pass().model().shared());
                choice
            }
            Err(fault) => {
                settlement.settle_unanswered(fault.ending());
                return Err(fault);
            }
        };
        let mut course = Course { job, choice, signals, settlement };
        match course.at_once().await {
            Ok(Some(answered)) => Ok(course.reply(answered)),
            Ok(None) => course.after_waiting(request.keepalive_after).await,
            Err(fault) => Err(course.refuse(fault)),
        }
    }
}

/// A request with all that hangs on it, until the head of the answer is there.
struct Course {
    job: Job,
    choice: Choice,
    signals: Signals,
    settlement: Settlement,
}

impl Course {
    /// The answer of a server that has a slot now; none when all that are left are busy.
    async fn at_once(&mut self) -> Result<Option<Answered>, RelayFault> {
        let Self { job, choice, signals, .. } = self;
        tokio::select! {
            biased;
            fault = signals.heard() => Err(fault),
            outcome = job.at_once(choice) => outcome,
        }
    }

    /// The answer of the first server that has a slot. One who asked for a stream and has stood in line for
    /// `keepalive_after` gets the beginning of it.
    async fn after_waiting(self, keepalive_after: Duration) -> Result<Reply, RelayFault> {
        if !(self.job.facts.stream && self.job.endpoint.answers_text()) {
            return self.in_line().await;
        }
        let report = self.job.report.clone();
        let mut rest: Rest = Box::pin(self.in_line());
        tokio::select! {
            biased;
            outcome = &mut rest => outcome,
            () = report.in_line_for(keepalive_after) => Ok(Reply::early(rest, keepalive_after)),
        }
    }

    async fn in_line(mut self) -> Result<Reply, RelayFault> {
        let Self { job, choice, signals, .. } = &mut self;
        let outcome = tokio::select! {
            biased;
            fault = signals.heard() => Err(fault),
            outcome = job.in_line(choice) => outcome,
        };
        match outcome {
            Ok(answered) => Ok(self.reply(answered)),
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    fn reply(self, answered: Answered) -> Reply {
        answered.into_reply(&self.job, self.signals, self.settlement)
    }

    fn refuse(mut self, fault: RelayFault) -> RelayFault {
        self.settlement.settle_unanswered(fault.ending());
        fault
    }
}

/// A request that may be sent to one server after the other.
struct Job {
    endpoint: Endpoint,
    headers: HeaderMap,
    request_id: HeaderValue,
    body: Bytes,
    facts: RequestFacts,
    started: Instant,
    report: ReportHandle,
    progress: Progress,
    key: KeyId,
}

/// A server's answer that may be shown.
struct Answered {
    slot: ServerSlot,
    answer: Shown,
}

struct Shown {
    status: StatusCode,
    headers: HeaderMap,
    source: Source,
    is_stream: bool,
    strip_usage: bool,
}

impl Job {
    async fn at_once(&self, choice: &mut Choice) -> Result<Option<Answered>, RelayFault> {
        while let Some(chosen) = choice.free() {
            let answered = self.attempt(chosen, choice).await?;
            if answered.is_some() {
                return Ok(answered);
            }
        }
        Ok(None)
    }

    async fn in_line(&self, choice: &mut Choice) -> Result<Answered, RelayFault> {
        loop {
            match choice.wait(&self.report).await {
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
    async fn attempt(&self, chosen: Chosen, choice: &mut Choice) -> Result<Option<Answered>, RelayFault> {
        let Chosen { slot, candidate } = chosen;
        self.report.sent_to(&candidate.server.name);
        self.progress.sent_to(&candidate.server.name);
        match self.ask(&slot, &candidate.real).await {
            Ok(answer) => {
                self.report.answered_after(self.started.elapsed());
                Ok(Some(Answered { slot, answer }))
            }
            Err(Attempt { fault, written, blame }) => {
                // Before the slot goes to the next, who may know better then.
                candidate.server.failed(fault, blame.unwrap_or(Blame::Either(self.key)));
                drop(slot);
                if written {
                    return Err(fault);
                }
                choice.tried(candidate.server);
                if choice.is_empty() && !choice.renew() { Err(fault) } else { Ok(None) }
            }
        }
    }

    async fn ask(&self, slot: &ServerSlot, real: &ModelId) -> Result<Shown, Attempt> {
        let server = Arc::clone(slot.server());
        let (request, strip_usage) = self.request(&server, real);
        let (lease, head) = self.send(&server, request).await?;
        judge(&server, &head)?;
        let is_stream = head.status().is_success() && headers::is_event_stream(&head);
        let (head, body) = head.into_parts();
        let answer = Answer::new(body, lease, Some(Arc::clone(&server.pool)));
        let source = if !head.status.is_success() && server.has_key() {
            searched(&server, answer).await?
        } else {
            Source::Live(answer)
        };
        learn(&server, head.status, self.key);
        let headers = headers::from_server(&head.headers, &server);
        Ok(Shown { status: head.status, headers, source, is_stream, strip_usage })
    }

    /// The request as `server` is to get it, and whether it asks for a usage chunk that the caller did not ask for.
    fn request(&self, server: &Server, real: &ModelId) -> (Request<Pieces>, bool) {
        let mut splices = Vec::new();
        if self.facts.model != *real {
            splices.push(self.facts.rename_model(real));
        }
        let usage = self.facts.ask_for_usage().filter(|_| self.endpoint.asks_for_usage());
        let asks = usage.is_some();
        splices.extend(usage);
        let mut request = Request::new(Pieces::from(apply(&self.body, splices)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = server.uri(self.endpoint);
        *request.headers_mut() = headers::to_server(&self.headers, &self.request_id, server);
        (request, asks)
    }

    /// Over a kept connection if there is one that lives, else over a new one.
    async fn send(
        &self,
        server: &Server,
        mut request: Request<Pieces>,
    ) -> Result<(Lease, Response<Incoming>), Attempt> {
        while let Some(mut lease) = server.pool.take() {
            match self.head(server, &mut lease, request).await? {
                Ok(head) => return Ok((lease, head)),
                Err(unsent) => request = unsent,
            }
        }
        let wire = connect(&server.address, server.connect_timeout).await.map_err(Attempt::unwritten)?;
        let unreachable = |_| Attempt::unwritten(RelayFault::Unreachable);
        let mut lease = Lease::open(wire).await.map_err(unreachable)?;
        match self.head(server, &mut lease, request).await? {
            Ok(head) => Ok((lease, head)),
            Err(_) => Err(Attempt::unwritten(RelayFault::BrokeOff)),
        }
    }

    /// The head of the answer, or the request again when nothing of it was written.
    async fn head(
        &self,
        server: &Server,
        lease: &mut Lease,
        request: Request<Pieces>,
    ) -> Result<Result<Response<Incoming>, Request<Pieces>>, Attempt> {
        self.is_unanswered(true);
        let mut error = match self.in_time(server, lease.send(request)).await? {
            Ok(head) => {
                self.report.unanswered(None);
                return Ok(Ok(head));
            }
            Err(error) => error,
        };
        let unsent = error.take_message();
        let fault = fault_of(error.error());
        if unsent.is_some() || fault == RelayFault::Invalid {
            self.is_unanswered(false);
        }
        unsent.map(Err).ok_or(Attempt::written(fault))
    }

    /// The time that a server may take counts from here: what was spent in line is not its fault.
    fn counted_from(&self) -> Instant {
        self.started + self.report.queued()
    }

    /// Whether a server has the request and may be working on it.
    fn is_unanswered(&self, is_so: bool) {
        let bytes = is_so.then_some(self.body.len() as u64);
        self.report.unanswered(bytes);
        self.progress.used(bytes.map_or(Tokens::default(), prompt_estimate));
    }

    /// A request that does not ask for a stream gets its head when all the work is done: the total counts, too.
    async fn in_time<T>(&self, server: &Server, sending: impl Future<Output = T>) -> Result<T, Attempt> {
        let mut until = deadline(Instant::now(), server.first_byte_timeout);
        if !self.facts.stream {
            until = until.min(deadline(self.counted_from(), server.total_timeout));
        }
        timeout_at(until, sending).await.map_err(|_| Attempt::written(RelayFault::Timeout))
    }
}

/// What went wrong when no head came.
fn fault_of(error: &hyper::Error) -> RelayFault {
    if error.is_parse() { RelayFault::Invalid } else { RelayFault::BrokeOff }
}

/// An answer that may be shown is of one of these.
fn kind_of(status: StatusCode) -> AnswerKind {
    match status {
        _ if status.is_server_error() => AnswerKind::ServerError,
        _ if status.is_client_error() => AnswerKind::ClientError,
        _ => AnswerKind::Success,
    }
}

impl Answered {
    fn into_reply(self, job: &Job, signals: Signals, mut settlement: Settlement) -> Reply {
        let Self { slot, answer } = self;
        let server = slot.server();
        settlement.answered(kind_of(answer.status), answer.is_stream);
        let watcher = match (answer.is_stream, answer.status.is_success()) {
            (true, _) => Watcher::stream(SseTap::new(job.endpoint.dialect(), answer.strip_usage)),
            (false, true) => Watcher::answer(job.endpoint.answers_text()),
            (false, false) => Watcher::Nobody,
        };
        let end = (!answer.is_stream).then(|| deadline(job.counted_from(), server.total_timeout));
        let patience = Patience::new(server.idle_timeout, end);
        let json_of_any_length =
            headers::is_json(&answer.headers) && answer.source.size_hint().exact().is_none();
        let exchange = Exchange {
            source: answer.source,
            watcher,
            signals,
            patience,
            settlement,
            json_of_any_length,
            request_bytes: job.body.len() as u64,
            key: job.key,
            slot,
        };
        let body = RelayBody::new(exchange);
        Reply { status: answer.status, headers: answer.headers, body }
    }
}
