//! What the admin API answers, whoever asks and through whichever door. Never: who asks, sockets.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use crate::admin::{AdminError, Desk, run, wire};
use crate::metrics::MEDIA_TYPE as METRICS;
use crate::registry::{Registry, RegistryError};
use crate::types::{Actor, Origin};

use super::problem::{MEDIA_TYPE, ProblemJson};
use super::route::{Found, Operation, Row, command, find};
use super::{AdminDoor, Terms};

const JSON: &str = "application/json";

/// An answer before it is HTTP.
pub(in crate::http) enum Answered {
    /// A document.
    Text {
        status: StatusCode,
        media_type: &'static str,
        text: Bytes,
        /// For the header `Allow`.
        allow: Option<String>,
        /// For the header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// A copy of the store, and the slot that is held until it was read.
    Copy { file: File, length: u64, slot: OwnedSemaphorePermit },
}

impl Answered {
    /// Whether it says that it is not known who asks.
    pub(in crate::http) fn is_stranger(&self) -> bool {
        matches!(self, Self::Text { status, .. } if *status == StatusCode::UNAUTHORIZED)
    }
}

/// A request whose route is known; its body was not read yet.
pub(in crate::http) struct Routed {
    row: &'static Row,
    subject: Option<String>,
    query: String,
}

impl Routed {
    /// The pattern of the path, for the log.
    pub(in crate::http) const fn pattern(&self) -> &'static str {
        self.row.pattern
    }
}

impl AdminDoor {
    /// Finds the route by the raw path.
    ///
    /// # Errors
    /// The answer when there is none.
    pub(in crate::http) fn route(
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Routed, Answered> {
        match find(method, path) {
            Found::Row(row, subject) => {
                Ok(Routed { row, subject, query: query.unwrap_or_default().to_string() })
            }
            Found::OtherMethods(methods) => Err(other_method(&methods)),
            Found::Nothing => Err(refusal(
                StatusCode::NOT_FOUND,
                "unknown_path",
                "There is no such path",
                "see docs/api.md, or /admin/openapi.json",
            )),
        }
    }

    /// Carries out what is asked, and from where. `base_url` stands at the beginning of links that are made.
    pub(in crate::http) async fn answer(
        self: Arc<Self>,
        actor: Actor,
        origin: Origin,
        routed: Routed,
        body: Bytes,
        base_url: String,
    ) -> Answered {
        let underway = match actor {
            Actor::Person { account, .. } => self.crowd.enter(account).map(Some),
            Actor::Machine { .. } | Actor::Token { .. } | Actor::Key { .. } | Actor::Ember => Ok(None),
        };
        let _underway = match underway {
            Ok(underway) => underway,
            Err(error) => return failure(&error),
        };
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return failure(&AdminError::unavailable("the server is stopping; try again when it is back"));
        };
        let Routed { row, subject, query } = routed;
        match command(row, subject, &query, &body) {
            Err(error) => failure(&error),
            Ok(None) if row.operation == Operation::Metrics => self.metrics(actor, slot).await,
            Ok(None) => self.copy(actor, slot).await,
            Ok(Some(command)) => {
                let done = spawn_blocking(move || {
                    let _slot = slot;
                    let (registry, terms) = (self.registry.asked_from(origin), self.terms());
                    run(&self.desk(&registry, &base_url, &terms), actor, &command)
                        .and_then(|reply| wire::encode(&reply))
                });
                match done.await {
                    Ok(Ok(json)) => document(StatusCode::OK, JSON, json),
                    Ok(Err(error)) => failure(&error),
                    Err(_) => failure(&AdminError::unavailable(
                        "the command failed inside the server; its log says why, and the change may have been made",
                    )),
                }
            }
        }
    }

    /// What commands are carried out with: the registry as it is asked from somewhere.
    pub(in crate::http) fn desk<'a>(
        &'a self,
        registry: &'a Registry,
        base_url: &'a str,
        terms: &'a Terms,
    ) -> Desk<'a> {
        let (meter, clock, server) = (&*self.meter, &*self.clock, Some(&*self.running));
        Desk { registry, meter, clock, server, base_url, prices: &terms.prices }
    }

    async fn metrics(self: Arc<Self>, actor: Actor, slot: OwnedSemaphorePermit) -> Answered {
        if let Err(error) = self.registry.administrators_only(actor) {
            return failure(&error.into());
        }
        let read = spawn_blocking(move || {
            let _slot = slot;
            (self.exposition)()
        });
        match read.await {
            Ok(text) => document(StatusCode::OK, METRICS, text),
            Err(_) => failure(&AdminError::unavailable("the metrics could not be read; the log says why")),
        }
    }

    async fn copy(self: Arc<Self>, actor: Actor, slot: OwnedSemaphorePermit) -> Answered {
        if !matches!(actor, Actor::Machine { .. }) {
            let sentence = "backups are made on the machine; use `ember backup`";
            return failure(&RegistryError::NotAllowed(sentence.to_string()).into());
        }
        let made = spawn_blocking(move || {
            let file = (self.snapshot)()?;
            let length = file.metadata().map_err(|error| AdminError::unavailable(error.to_string()))?.len();
            Ok((file, length))
        });
        match made.await {
            Ok(Ok((file, length))) => Answered::Copy { file, length, slot },
            Ok(Err(error)) => failure(&error),
            Err(_) => {
                failure(&AdminError::unavailable("the backup failed inside the server; its log says why"))
            }
        }
    }
}

/// The answer to a command that was refused.
pub(in crate::http) fn failure(error: &AdminError) -> Answered {
    let (status, problem) = ProblemJson::of(error);
    let text = serde_json::to_string(&problem).unwrap_or_default().into();
    Answered::Text { status, media_type: MEDIA_TYPE, text, allow: None, retry_after: error.retry_after() }
}

/// The answer to a request that is no command.
pub(in crate::http) fn refusal(status: StatusCode, code: &str, title: &str, detail: &str) -> Answered {
    let problem = ProblemJson::new(status, code, title, detail);
    document(status, MEDIA_TYPE, serde_json::to_string(&problem).unwrap_or_default())
}

fn document(status: StatusCode, media_type: &'static str, text: impl Into<Bytes>) -> Answered {
    Answered::Text { status, media_type, text: text.into(), allow: None, retry_after: None }
}

fn other_method(methods: &[Method]) -> Answered {
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let problem =
        ProblemJson::new(status, "unknown_method", "Another method is needed", &format!("use {allowed}"));
    let text = serde_json::to_string(&problem).unwrap_or_default().into();
    Answered::Text { status, media_type: MEDIA_TYPE, text, allow: Some(allowed), retry_after: None }
}
