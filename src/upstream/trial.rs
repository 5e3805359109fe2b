//! One server tried for an operator, step by step, with times. Never: slots, turns, what is known of the server's health;
//! so it can be tried while it is drained.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::connect::connect;
use super::pieces::Pieces;
use super::pool::Lease;
use super::reading::{READING_TIMEOUT, health_of, list_of};
use super::server::Server;
use super::tap::SseTap;
use super::{Endpoint, RelayFault, Upstreams, headers};
use crate::types::{ModelId, counted};

/// The longest that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that all of it may take: whoever asked waits a minute.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(45);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How a server did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTest {
    /// What the configuration calls it.
    pub name: String,
    /// One after the other; the last one may have failed.
    pub steps: Vec<Step>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `connect`, `health`, `models`, `answer`, `first_byte` or `stream`.
    pub name: &'static str,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
    /// What came of it, in words. None of the server's own.
    pub detail: String,
}

impl Upstreams {
    /// Connects to a server, asks for its health and its list, and with a `model` for the shortest of answers, which
    /// costs tokens. Takes 45 s at most. None when there is no server of this name.
    pub async fn test(&self, name: &str, model: Option<&ModelId>, stream: bool) -> Option<ServerTest> {
        let server = self.server(name)?;
        let is_discovering = self.catalogue.is_discovering(&server)?;
        let mut trial = Trial::new();
        let real = model.map(|model| self.real(&server, model));
        trial.run(&server, is_discovering, real.as_ref(), stream).await;
        Some(ServerTest { name: name.to_string(), steps: trial.steps })
    }

    /// What a server calls a model; a name that does not lead to it is taken as its own.
    fn real(&self, server: &Arc<Server>, model: &ModelId) -> ModelId {
        let candidates = self.catalogue.candidates(model.as_str()).unwrap_or_default();
        let own = candidates.into_iter().find(|one| Arc::ptr_eq(&one.server, server));
        own.map_or_else(|| model.clone(), |own| ModelId::clone(&own.real))
    }
}

struct Trial {
    steps: Vec<Step>,
    until: Instant,
}

impl Trial {
    fn new() -> Self {
        Self { steps: Vec::new(), until: Instant::now() + TRIAL_TIMEOUT }
    }

    /// Goes on as long as all goes well.
    async fn run(
        &mut self,
        server: &Server,
        is_discovering: bool,
        model: Option<&ModelId>,
        stream: bool,
    ) -> Option<()> {
        self.step("connect", READING_TIMEOUT, async {
            connect(&server.address, READING_TIMEOUT).await.map_err(words)?;
            Ok((server.address.to_string(), ()))
        })
        .await?;
        if let Some(uri) = &server.health_uri {
            let health =
                async { health_of(server, uri).await.map(|()| (uri.to_string(), ())).map_err(words) };
            self.step("health", READING_TIMEOUT, health).await?;
        }
        let models = async {
            let list = list_of(server, is_discovering).await.map_err(words)?;
            Ok((list.map_or_else(|| "no list".to_string(), |list| counted(list.len(), "model")), ()))
        };
        self.step("models", READING_TIMEOUT, models).await?;
        let model = model?;
        let lease = self.step("answer", ANSWER_TIMEOUT, head(server, ask(model, stream), stream)).await?;
        let mut answer = Answer::new(lease, None);
        if !stream {
            let whole = async {
                let body = answer.collect(ANSWER_BYTES_MAX).await.map_err(words)?;
                let is_answer =
                    serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["choices"].is_array());
                let detail = format!("{} bytes", body.len());
                if is_answer { Ok((detail, ())) } else { Err(format!("no chat completion in {detail}")) }
            };
            return self.step("body", ANSWER_TIMEOUT, whole).await;
        }
        let mut tap = SseTap::new(Endpoint::ChatCompletions.dialect(), false);
        let first = async {
            let chunk = next(&mut answer).await?.ok_or("it ended before its first byte")?;
            let detail = format!("{} bytes", chunk.len());
            let _ = tap.push(chunk);
            Ok((detail, ()))
        };
        self.step("first_byte", ANSWER_TIMEOUT, first).await?;
        self.step("stream", ANSWER_TIMEOUT, to_the_end(&mut answer, &mut tap)).await
    }

    async fn step<T>(
        &mut self,
        name: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<(String, T), String>>,
    ) -> Option<T> {
        let began = Instant::now();
        let until = self.until.min(began + limit);
        let outcome = timeout_at(until, work).await.unwrap_or_else(|_| Err(words(RelayFault::Timeout)));
        let (ok, detail, value) = match outcome {
            Ok((detail, value)) => (true, detail, Some(value)),
            Err(detail) => (false, detail, None),
        };
        self.steps.push(Step { name, ok, took: began.elapsed(), detail });
        value
    }
}

/// The shortest question there is.
fn ask(model: &ModelId, stream: bool) -> Bytes {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let body = json!({ "model": model.as_str(), "messages": messages, "max_tokens": 1, "stream": stream });
    body.to_string().into()
}

/// The head of the answer, if it is one.
async fn head(server: &Server, body: Bytes, stream: bool) -> Result<(String, Lease), String> {
    let mut lease = Lease::new(connect(&server.address, READING_TIMEOUT).await.map_err(words)?);
    let accept = if stream { "text/event-stream" } else { "application/json" };
    let mut asking = server.head(Endpoint::ChatCompletions).to_vec();
    for (name, value) in [("content-type", "application/json"), ("accept", accept)] {
        headers::line(&mut asking, name, value.as_bytes());
    }
    headers::end(&mut asking, body.len());
    lease.send(&asking, Pieces::One(body)).await.map_err(words)?;
    let head = lease.head();
    let detail = format!("HTTP {}", head.status().as_u16());
    if !head.status().is_success() {
        return Err(detail);
    }
    if stream && !headers::is_event_stream(head) {
        return Err(format!("{detail}, but no stream of events"));
    }
    Ok((detail, lease))
}

/// The rest of a stream, which must say where it ends.
async fn to_the_end(answer: &mut Answer, tap: &mut SseTap) -> Result<(String, ()), String> {
    let (mut chunks, mut bytes) = (1, 0);
    while let Some(chunk) = next(answer).await? {
        chunks += 1;
        bytes += chunk.len();
        if bytes > ANSWER_BYTES_MAX {
            return Err(format!("no end within {ANSWER_BYTES_MAX} bytes"));
        }
        let _ = tap.push(chunk);
    }
    let _ = tap.finish();
    let chunks = counted(chunks, "chunk");
    if tap.ended() {
        Ok((format!("{chunks}, and the end mark"), ()))
    } else {
        Err(format!("{chunks}, but no end mark"))
    }
}

async fn next(answer: &mut Answer) -> Result<Option<Bytes>, String> {
    poll_fn(|cx| answer.poll_chunk(cx)).await.transpose().map_err(words)
}

fn words(fault: RelayFault) -> String {
    fault.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bug_all_steps_together_take_no_longer_than_whoever_asked_waits() {
        let (mut trial, began) = (Trial::new(), Instant::now());
        for is_in_time in [true, true, false] {
            let work = async {
                tokio::time::sleep(Duration::from_secs(20)).await;
                Ok((String::new(), ()))
            };
            let done = trial.step("connect", ANSWER_TIMEOUT, work).await;
            assert_eq!(done.is_some(), is_in_time);
        }
        assert_eq!(began.elapsed(), TRIAL_TIMEOUT);
        assert_eq!(trial.steps[2].detail, "too slow");
    }
}
