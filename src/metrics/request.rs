//! What is counted of requests, by which labels, in which buckets. Never: keys, accounts, addresses, what was said.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::case::{Case, Cases, Times};
use super::names::{Bounded, Name, Names, OTHER};
use crate::types::{Ending, Tokens, TokensSource};

/// Models with labels of their own; more are [`OTHER`] together.
const MODELS_MAX: usize = 1000;
/// Model servers with labels of their own.
const UPSTREAMS_MAX: usize = 1000;
/// Label sets of one family.
const SETS_MAX: usize = 5000;
/// Label sets of one family of histograms: each is a text of 15 to 20 lines.
const HISTOGRAMS_MAX: usize = 1000;

/// Kinds of requests whose metrics are found with one look-up.
const CASES_MAX: usize = 5000;

/// The kinds of tokens.
const KINDS: [&str; 3] = ["prompt", "completion", "cached"];

/// Ember, as the conventions' `gen_ai.provider.name` has it.
const PROVIDER: &str = "ember";

/// The buckets that the GenAI conventions give for durations, and three more: an answer may take half an hour.
const DURATION: [f64; 17] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 655.36,
    1800.0,
];
/// As the GenAI conventions give them, and two more for a prompt that waits.
const FIRST_TOKEN: [f64; 18] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 120.0];
/// As the GenAI conventions give them, and two below for small models.
const PER_TOKEN: [f64; 15] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const QUEUE_WAIT: [f64; 12] = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const OVERHEAD: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// The model that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model<'a> {
    /// It names none.
    None,
    /// One of the catalogue.
    Known(&'a str),
    /// One that is not there; its name may be anything.
    Unknown,
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The pattern of its route, `-` where there is none.
    pub route: &'static str,
    /// What the GenAI conventions call what was asked; none for what no model server answers.
    pub operation: Option<&'static str>,
    /// What it asked for.
    pub model: Model<'a>,
    /// The model server that it went to.
    pub upstream: Option<&'a str>,
    /// The status of the answer, if one began.
    pub status: Option<u16>,
    /// The word of Ember's refusal or error.
    pub code: Option<&'static str>,
    /// How it ended.
    pub ending: Ending,
    /// From its head to the last byte of the answer.
    pub took: Duration,
    /// The part of it before the answer began in which Ember itself was at work.
    pub overhead: Option<Duration>,
    /// How long it stood in line.
    pub queued: Option<Duration>,
    /// What is known of the answer's pace, if it was a stream.
    pub stream: Option<Pace>,
    /// What it used, and who says so.
    pub tokens: Option<(Tokens, TokensSource)>,
}

/// When parts of a stream came, counted from the call of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first token.
    pub first_token: Duration,
    /// The end.
    pub end: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    model: Name,
    upstream: Name,
    status: Option<u16>,
    ending: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    model: Name,
    upstream: Name,
    kind: &'static str,
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    upstream: Name,
}

/// The attributes of the GenAI conventions, and the model server's name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GenAi {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Name,
    upstream: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GenAiEnd {
    #[prometheus(flatten)]
    of: GenAi,
    error_type: Option<Fault>,
}

/// Why an operation is an error: a word, or the status of the model server's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Fault {
    Word(&'static str),
    Status(u16),
}

impl EncodeLabelValue for Fault {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => word.encode(encoder),
            Self::Status(status) => status.encode(encoder),
        }
    }
}

type Histograms<S> = Bounded<S, Histogram, fn() -> Histogram>;

/// The metrics of requests.
#[derive(Debug)]
pub(super) struct Requests {
    cases: Cases,
    models: Names,
    upstreams: Names,
    requests: Bounded<Request, Counter>,
    pub(super) errors: Bounded<Code, Counter>,
    tokens: Bounded<Kind, Counter>,
    queue_wait: Histograms<Server>,
    overhead: Histogram,
    duration: Histograms<GenAiEnd>,
    first_token: Histograms<GenAi>,
    per_token: Histograms<GenAi>,
}

fn counters<S: Clone + std::hash::Hash + Eq + EncodeLabelSet>() -> Bounded<S, Counter> {
    Bounded::new(Family::default(), SETS_MAX)
}

fn histograms<S: Clone + std::hash::Hash + Eq + EncodeLabelSet>(make: fn() -> Histogram) -> Histograms<S> {
    Bounded::new(Family::new_with_constructor(make), HISTOGRAMS_MAX)
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            cases: Cases::new(CASES_MAX),
            models: Names::new(MODELS_MAX),
            upstreams: Names::new(UPSTREAMS_MAX),
            requests: counters(),
            errors: counters(),
            tokens: counters(),
            queue_wait: histograms(|| Histogram::new(QUEUE_WAIT)),
            overhead: Histogram::new(OVERHEAD),
            duration: histograms(|| Histogram::new(DURATION)),
            first_token: histograms(|| Histogram::new(FIRST_TOKEN)),
            per_token: histograms(|| Histogram::new(PER_TOKEN)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("ember_requests", "Requests that have ended", self.requests.family.clone());
        let help = "Requests that Ember refused or whose answer it broke off, by the error's code";
        registry.register("ember_errors", help, self.errors.family.clone());
        registry.register("ember_tokens", "Tokens that requests used", self.tokens.family.clone());
        let help = "How long those requests stood in line that did, whether or not they came to a server";
        let wait = self.queue_wait.family.clone();
        registry.register_with_unit("ember_queue_wait", help, Unit::Seconds, wait);
        let help = "Ember's own share of the time until a model's answer began";
        registry.register_with_unit("ember_overhead", help, Unit::Seconds, self.overhead.clone());
        let help = "From a request's head to the last byte of a model server's answer";
        let duration = self.duration.family.clone();
        registry.register_with_unit("gen_ai_server_request_duration", help, Unit::Seconds, duration);
        let help = "From the relay of a request to the first token of a stream";
        let first = self.first_token.family.clone();
        registry.register_with_unit("gen_ai_server_time_to_first_token", help, Unit::Seconds, first);
        let help = "Time for each token of a stream after its first";
        let each = self.per_token.family.clone();
        registry.register_with_unit("gen_ai_server_time_per_output_token", help, Unit::Seconds, each);
    }

    pub(super) fn ended(&self, ended: &Ended<'_>) {
        self.cases.with(ended, || self.case(ended), |case| self.count(ended, case));
    }

    fn case(&self, ended: &Ended<'_>) -> Case {
        let model = match ended.model {
            Model::None => self.models.none(),
            Model::Known(name) => self.models.of(name),
            Model::Unknown => self.models.other(),
        };
        let upstream = ended.upstream.map_or_else(|| self.upstreams.none(), |name| self.upstreams.of(name));
        let set = Request {
            route: ended.route,
            model: model.clone(),
            upstream: upstream.clone(),
            status: ended.status,
            ending: ended.ending.as_str(),
        };
        let instead =
            || Request { model: self.models.other(), upstream: self.upstreams.other(), ..set.clone() };
        let requests = self.requests.of(&set, instead);
        let error = ended.code.map(|code| self.errors.of(&Code { code }, || Code { code: OTHER }));
        let operation = ended.operation.filter(|_| ended.upstream.is_some());
        let times = operation.map(|operation| self.times(ended, operation, &model, &upstream));
        Case::new(ended, (model, upstream), (requests, error), times)
    }

    fn times(&self, ended: &Ended<'_>, operation: &'static str, model: &Name, upstream: &Name) -> Times {
        let of = GenAi {
            gen_ai_operation_name: operation,
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: model.clone(),
            upstream: upstream.clone(),
        };
        let end = GenAiEnd { of: of.clone(), error_type: fault(ended) };
        let duration = self.duration.of(&end, || GenAiEnd { of: self.others(&of), ..end.clone() });
        Times { of, duration, first_token: OnceLock::new(), per_token: OnceLock::new() }
    }

    fn count(&self, ended: &Ended<'_>, case: &Case) {
        case.requests.inc();
        if let Some(error) = &case.error {
            error.inc();
        }
        self.count_tokens(ended, case);
        if let Some(queued) = ended.queued {
            let server = || Server { upstream: case.upstream.clone() };
            let instead = || Server { upstream: self.upstreams.other() };
            observe(case.queue_wait.get_or_init(|| self.queue_wait.of(&server(), instead)), queued);
        }
        if let Some(times) = &case.times {
            self.time(ended, times);
        }
    }

    fn count_tokens(&self, ended: &Ended<'_>, case: &Case) {
        let Some((tokens, source)) = ended.tokens else { return };
        let counters = &case.tokens[usize::from(source == TokensSource::Estimated)];
        let counts = [tokens.prompt, tokens.completion, tokens.cached];
        for ((kind, count), counter) in KINDS.into_iter().zip(counts).zip(counters) {
            if count > 0 {
                let set = || {
                    let (model, upstream) = (case.model.clone(), case.upstream.clone());
                    Kind { model, upstream, kind, source: source.as_str() }
                };
                let instead =
                    || Kind { model: self.models.other(), upstream: self.upstreams.other(), ..set() };
                counter.get_or_init(|| self.tokens.of(&set(), instead)).inc_by(count);
            }
        }
    }

    fn time(&self, ended: &Ended<'_>, times: &Times) {
        if let Some(overhead) = ended.overhead {
            observe(&self.overhead, overhead);
        }
        let instead = || self.others(&times.of);
        if let Some(Pace { first_token, end }) = ended.stream.filter(|_| is_success(ended)) {
            let first = times.first_token.get_or_init(|| self.first_token.of(&times.of, instead));
            observe(first, first_token);
            if let Some(rest) = rest_tokens(ended) {
                let each = times.per_token.get_or_init(|| self.per_token.of(&times.of, instead));
                observe(each, end.saturating_sub(first_token) / rest);
            }
        }
        observe(&times.duration, ended.took);
    }

    /// The label set that stands for those beyond the bound.
    fn others(&self, of: &GenAi) -> GenAi {
        let (gen_ai_request_model, upstream) = (self.models.other(), self.upstreams.other());
        GenAi { gen_ai_request_model, upstream, ..of.clone() }
    }
}

fn observe(histogram: &Histogram, time: Duration) {
    histogram.observe(time.as_secs_f64());
}

fn is_success(ended: &Ended<'_>) -> bool {
    ended.status.is_some_and(|status| (200..300).contains(&status))
}

/// The tokens after the first of a whole answer, where the model server said how many there were.
fn rest_tokens(ended: &Ended<'_>) -> Option<u32> {
    match ended.tokens {
        Some((tokens, TokensSource::Reported)) if ended.ending == Ending::Done => {
            u32::try_from(tokens.completion.checked_sub(1)?).ok().filter(|rest| *rest > 0)
        }
        _ => None,
    }
}

/// The conventions' `error.type`.
fn fault(ended: &Ended<'_>) -> Option<Fault> {
    if let Some(code) = ended.code {
        return Some(Fault::Word(code));
    }
    if ended.ending != Ending::Done {
        return Some(Fault::Word(ended.ending.as_str()));
    }
    ended.status.filter(|status| *status >= 400).map(Fault::Status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, Moment};

    fn ended<'a>(model: Model<'a>, status: u16) -> Ended<'a> {
        Ended {
            route: "/v1/chat/completions",
            operation: Some("chat"),
            model,
            upstream: Some("local"),
            status: Some(status),
            code: None,
            ending: Ending::Done,
            took: Duration::from_secs(4),
            overhead: Some(Duration::from_micros(80)),
            queued: None,
            stream: None,
            tokens: None,
        }
    }

    fn requests_of(metrics: &Metrics, model: &str) -> u64 {
        let text = metrics.text(&Moment::default());
        let mine = format!("model=\"{model}\"");
        let lines =
            text.lines().filter(|line| line.starts_with("ember_requests_total{") && line.contains(&mine));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    #[test]
    fn each_label_that_differs_is_counted_apart() {
        let metrics = Metrics::default();
        let usual = ended(Model::Known("m"), 200);
        let all = [
            usual,
            Ended { route: "/v1/completions", ..usual },
            Ended { operation: Some("text_completion"), ..usual },
            Ended { model: Model::Known("n"), ..usual },
            Ended { model: Model::Unknown, ..usual },
            Ended { model: Model::None, ..usual },
            Ended { upstream: Some("other-server"), ..usual },
            Ended { upstream: None, ..usual },
            Ended { status: Some(404), ..usual },
            Ended { status: None, ..usual },
            Ended { code: Some("timeout"), ..usual },
            Ended { ending: Ending::ClientGone, ..usual },
        ];
        for _ in 0..3 {
            all.iter().for_each(|one| metrics.request_ended(one));
        }
        assert_eq!(metrics.requests.cases.len(), all.len());
        assert_eq!(requests_of(&metrics, "m"), 3 * 9);
        for (model, requests) in [("n", 3), (OTHER, 3), ("", 3)] {
            assert_eq!(requests_of(&metrics, model), requests, "{model}");
        }
        assert_eq!(metrics.figures().errors, [("timeout", 3)]);
    }

    #[test]
    fn law_12_kinds_beyond_the_bound_are_counted_all_the_same() {
        let metrics = Metrics::default();
        let beyond = u16::try_from(CASES_MAX).unwrap() + 10;
        for status in 0..beyond {
            (0..2).for_each(|_| metrics.request_ended(&ended(Model::Known("m"), status)));
        }
        assert_eq!(metrics.requests.cases.len(), CASES_MAX);
        let all = requests_of(&metrics, "m") + requests_of(&metrics, OTHER);
        assert_eq!(all, 2 * u64::from(beyond));
    }
}
