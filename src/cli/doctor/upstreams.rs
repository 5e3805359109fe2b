//! Each model server: whether it answers, and whether it can be used without Ember. Never: sends it a prompt.

use crate::admin::{ServerStatus, UpstreamStatus};
use crate::cli::Services;
use crate::config::{UpstreamAddress, UpstreamConfig};
use crate::types::ModelId;
use crate::upstream::{Probe, RelayFault};

use super::finding::Finding;
use super::reach;

/// What is kept of a server's settings while it is asked.
struct Asked {
    check: String,
    address: UpstreamAddress,
    models: Vec<ModelId>,
}

pub(super) fn check(
    upstreams: Vec<UpstreamConfig>,
    running: Option<&ServerStatus>,
    services: &dyn Services,
) -> Vec<Finding> {
    if upstreams.is_empty() {
        return none_configured(running.map_or(&[], |server| &server.upstreams));
    }
    let upstreams = upstreams.into_iter().filter(|upstream| upstream.address != UpstreamAddress::Echo);
    let upstreams: Vec<_> = upstreams.collect();
    let asked: Vec<_> = upstreams.iter().map(asked).collect();
    match services.probe(upstreams) {
        Ok(probes) => asked.iter().zip(&probes).flat_map(|(asked, probe)| one(asked, probe)).collect(),
        Err(sentence) => vec![Finding::fail("upstream", sentence, "correct it in ember.toml")],
    }
}

/// `used` are those of the running server: `ember up` may have found them, or been given them.
fn none_configured(used: &[UpstreamStatus]) -> Vec<Finding> {
    let used: Vec<_> = used.iter().filter(|one| one.name != UpstreamConfig::ECHO_NAME).map(in_use).collect();
    if !used.is_empty() {
        return used;
    }
    let next = "add an [[upstream]] to ember.toml; without one only `ember up` looks for model servers";
    vec![Finding::warn("upstream", "no model server is configured", next)]
}

fn in_use(upstream: &UpstreamStatus) -> Finding {
    let UpstreamStatus { name, address, state, .. } = upstream;
    let check = format!("upstream {name}");
    let found =
        format!("{address}, which the running server uses and nobody configured, is {}", state.as_str());
    if state.is_healthy() {
        Finding::ok(&check, found)
    } else {
        Finding::warn(&check, found, "start it; `ember upstream list` says what is wrong")
    }
}

fn asked(upstream: &UpstreamConfig) -> Asked {
    Asked {
        check: format!("upstream {}", upstream.name),
        address: upstream.address.clone(),
        models: upstream.models.clone(),
    }
}

fn one(asked: &Asked, probe: &Probe) -> Vec<Finding> {
    let Asked { check, address, models } = asked;
    let listed = match &probe.models {
        Ok(listed) => listed,
        Err(fault) => {
            let found = format!("{}: {fault}", address.authority());
            return vec![Finding::fail(check, found, next(*fault))];
        }
    };
    let answered = format!("answered within {} ms", probe.latency.as_millis().max(1));
    let mut findings = vec![match listed {
        Some(listed) if listed.is_empty() => {
            Finding::warn(check, format!("{answered}, and has no model"), "load a model there")
        }
        Some(listed) => match models.iter().find(|model| !listed.contains(model)) {
            Some(missing) => {
                let found = format!("{answered}, and does not list its model {missing}");
                Finding::warn(check, found, "load it there, or correct `models` in ember.toml")
            }
            None => Finding::ok(check, format!("{answered}, models: {}", names(listed))),
        },
        None => Finding::ok(check, format!("{answered}; it has no list, and needs none")),
    }];
    if probe.is_open {
        findings.extend(reach::around(check, address));
    }
    findings
}

fn names(models: &[ModelId]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<_> = models.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = models.len().saturating_sub(SHOWN_MAX);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

fn next(fault: RelayFault) -> &'static str {
    match fault {
        RelayFault::Unreachable => "start it, or correct its url in ember.toml",
        RelayFault::TlsFailed => {
            "correct the host in its url, its certificate, or ca_file in ember.toml; the warning on stderr says what does not fit"
        }
        RelayFault::AuthRefused => "correct its api_key_file or api_key_env in ember.toml",
        RelayFault::Timeout => "look at the server's load and at the network on the way",
        RelayFault::Invalid => {
            "its url must lead to an OpenAI-compatible server, which answers GET /v1/models"
        }
        RelayFault::BrokeOff
        | RelayFault::UnknownModel
        | RelayFault::ModelsNotRead
        | RelayFault::Overloaded { .. }
        | RelayFault::Drained
        | RelayFault::Refused
        | RelayFault::Cut(_)
        | RelayFault::Stopped => "look into the server's log",
    }
}
