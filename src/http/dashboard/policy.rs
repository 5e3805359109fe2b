//! Policies on the dashboard: what a form says, read; and what is, as a form or as facts. Never: who may set what.

use std::collections::BTreeSet;

use crate::admin::AdminError;
use crate::types::{
    AddressScope, Bounds, Gather, Key, Limit, LimitKind, ModelId, ModelScope, Policy, PolicyChanges,
    RouteName, RouteScope, Weight, network,
};

use super::fields::Fields;
use super::frame::{capitalised, grouped, sentence};
use super::page::{AccessForm, Choice, LimitFact, ModelChoice, PolicyFacts, PolicyForm, TypedField};

const WEIGHT: &str = "weight";
const BROWSER: &str = "allow_browser";

/// What a form says about a policy. A field that was not sent changes nothing.
///
/// # Errors
/// The first fault, with the name of its field.
pub(super) fn wanted(form: &Fields) -> Result<PolicyChanges, AdminError> {
    let mut limits = Vec::new();
    for kind in LimitKind::ALL {
        limits.extend(limit(form, kind).map_err(|fault| named(&label(kind), &fault))?.map(|one| (kind, one)));
    }
    Ok(PolicyChanges {
        models: models(form).map_err(|fault| named("Models", &fault))?,
        routes: routes(form).map_err(|fault| named("Routes", &fault))?,
        addresses: addresses(form).map_err(|fault| named("Addresses", &fault))?,
        limits,
    })
}

/// Whether a form lets browsers use a key; none where it does not ask.
pub(super) fn wanted_browser(form: &Fields) -> Option<bool> {
    // A box that is not ticked is not sent; the choice above it always is.
    form.has("routes").then(|| form.has(BROWSER))
}

/// The weight that a form gives a key; none where it does not ask.
///
/// # Errors
/// With the name of the field.
pub(super) fn wanted_weight(form: &Fields) -> Result<Option<Weight>, AdminError> {
    weight(form).map_err(|fault| named("Weight", &fault))
}

/// The form as it was sent, with all its faults.
pub(super) fn sent(form: &Fields, served: Vec<String>, defaults: &Bounds) -> PolicyForm {
    let chosen = form.all("model").map(str::to_string).gather();
    let routes_chosen: BTreeSet<&str> = form.all("route").gather();
    let fields = LimitKind::ALL.map(|kind| TypedField {
        value: form.text(&field(kind)).to_string(),
        fault: shown(limit(form, kind)),
        ..limit_field(kind, defaults)
    });
    finished(PolicyForm {
        is_limited: form.text("scope") == "only",
        models: model_choices(served, &chosen),
        models_fault: shown(models(form)),
        is_routed: form.text("routes") == "only",
        routes: route_choices(|route| routes_chosen.contains(route.as_str())),
        routes_fault: shown(routes(form)),
        addresses: TypedField {
            value: form.text("addresses").to_string(),
            fault: shown(addresses(form)),
            ..address_field()
        },
        limits: fields.to_vec(),
        is_set: false,
    })
}

/// The form that would make the policy what it is.
pub(super) fn of(policy: &Policy, served: Vec<String>, defaults: &Bounds) -> PolicyForm {
    let typed =
        |(kind, limit): (LimitKind, Limit)| TypedField { value: short(limit), ..limit_field(kind, defaults) };
    let is_routed = policy.routes != RouteScope::All;
    finished(PolicyForm {
        is_limited: policy.models != ModelScope::All,
        models: model_choices(served, &policy.models.names().unwrap_or_default().into_iter().gather()),
        models_fault: String::new(),
        is_routed,
        routes: route_choices(|route| is_routed && policy.routes.allows(route)),
        routes_fault: String::new(),
        addresses: TypedField {
            value: policy.addresses.names().unwrap_or_default().join("\n"),
            ..address_field()
        },
        limits: policy.limits.each().map(typed).collect(),
        is_set: false,
    })
}

/// What keys have besides, as it was sent. Only administrators are asked for a weight.
pub(super) fn access_sent(form: &Fields, is_admin: bool) -> AccessForm {
    let field =
        TypedField { value: form.text(WEIGHT).to_string(), fault: shown(weight(form)), ..weight_field() };
    access(form.has(BROWSER), field, is_admin)
}

/// What a key has besides.
pub(super) fn access_of(allow_browser: bool, weight: Weight, is_admin: bool) -> AccessForm {
    let value = if weight == Weight::default() { String::new() } else { weight.to_string() };
    access(allow_browser, TypedField { value, ..weight_field() }, is_admin)
}

/// What holds, in words.
pub(super) fn facts(policy: &Policy, defaults: &Bounds) -> PolicyFacts {
    let fact = |(kind, limit): (LimitKind, Limit)| {
        let is_own = limit != Limit::Default;
        let bound = limit.or(defaults.get(kind)).map(|most| grouped(most.get()));
        let value = bound.or_else(|| is_own.then(|| "Unlimited".to_string()))?;
        Some(LimitFact { label: label(kind), value, is_own })
    };
    PolicyFacts {
        models: policy.models.names().unwrap_or_default(),
        routes: policy.routes.names().unwrap_or_default(),
        addresses: policy.addresses.names().unwrap_or_default(),
        limits: policy.limits.each().filter_map(fact).collect(),
    }
}

fn models(form: &Fields) -> Result<Option<ModelScope>, String> {
    let chosen = form.all("model").map(str::parse::<ModelId>).try_gather::<BTreeSet<_>, _, _>();
    match form.text("scope") {
        "" => Ok(None),
        "only" => match chosen.map_err(|error: crate::types::ModelIdError| error.to_string())? {
            none if none.is_empty() => Err("choose at least one model, or allow them all".to_string()),
            models => Ok(Some(ModelScope::Only(models))),
        },
        _ => Ok(Some(ModelScope::All)),
    }
}

fn routes(form: &Fields) -> Result<Option<RouteScope>, String> {
    let chosen = form.all("route").map(str::parse::<RouteName>).try_gather::<BTreeSet<_>, _, _>();
    match form.text("routes") {
        "" => Ok(None),
        "only" => match chosen.map_err(|error| error.to_string())? {
            none if none.is_empty() => Err("choose at least one route, or allow them all".to_string()),
            routes => Ok(Some(RouteScope::Only(routes))),
        },
        _ => Ok(Some(RouteScope::All)),
    }
}

/// One a line, or parted by commas.
fn addresses(form: &Fields) -> Result<Option<AddressScope>, String> {
    if !form.has("addresses") {
        return Ok(None);
    }
    let parts = form.text("addresses").split(['\n', ',']).map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        let hint = "write one address or network a line, like 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32";
        network(part).map_err(|_| format!("{} is no address or network; {hint}", quoted(part)))
    };
    let networks = parts.map(read).try_gather::<BTreeSet<_>, _, _>()?;
    Ok(Some(if networks.is_empty() { AddressScope::All } else { AddressScope::Only(networks) }))
}

fn limit(form: &Fields, kind: LimitKind) -> Result<Option<Limit>, String> {
    let name = field(kind);
    let refused = |typed: &str| {
        let more = match typed {
            "0" => "; to let nothing through, disable it".to_string(),
            _ if typed.starts_with(|first: char| first.is_ascii_digit()) => {
                format!("; {} is the most", grouped(Limit::MAX))
            }
            _ => String::new(),
        };
        let typed = quoted(typed);
        format!("{typed} is no limit; write a number, 10k, 5M or unlimited, or leave it empty{more}")
    };
    match form.some(&name) {
        None => Ok(form.has(&name).then_some(Limit::Default)),
        Some(typed) => typed.parse().map(Some).map_err(|_| refused(typed)),
    }
}

fn weight(form: &Fields) -> Result<Option<Weight>, String> {
    match form.some(WEIGHT) {
        None => Ok(form.has(WEIGHT).then(Weight::default)),
        Some(typed) => typed
            .parse()
            .map(Some)
            .map_err(|error: crate::types::WeightError| format!("{} was typed; {error}", quoted(typed))),
    }
}

/// What was typed, for a sentence; a key typed into the wrong field is not repeated there.
fn quoted(typed: &str) -> String {
    const SHOWN_MAX: usize = 60;
    if Key::may_be_in(typed) {
        return "what was typed".to_string();
    }
    let start: String = typed.chars().take(SHOWN_MAX).collect();
    if start.len() < typed.len() { format!("'{start}...'") } else { format!("'{start}'") }
}

/// A limit as people would type it: `10k`.
fn short(limit: Limit) -> String {
    const LETTERS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    match limit {
        Limit::Default => String::new(),
        Limit::Unlimited => limit.to_string(),
        Limit::Max(max) => {
            let whole = LETTERS.into_iter().find(|(factor, _)| max.get().is_multiple_of(*factor));
            whole.map_or_else(
                || limit.to_string(),
                |(factor, letter)| format!("{}{letter}", max.get() / factor),
            )
        }
    }
}

/// A fault beside its field, or nothing.
fn shown<T>(read: Result<T, String>) -> String {
    read.err().map(|fault| capitalised(&fault)).unwrap_or_default()
}

fn named(label: &str, fault: &str) -> AdminError {
    AdminError::invalid(format!("{label}: {fault}"))
}

fn label(kind: LimitKind) -> String {
    sentence(kind.in_words())
}

fn field(kind: LimitKind) -> String {
    format!("limit_{kind}")
}

fn limit_field(kind: LimitKind, defaults: &Bounds) -> TypedField {
    let default = defaults.get(kind);
    TypedField {
        name: field(kind),
        label: label(kind),
        placeholder: default
            .map_or_else(|| "no limit".to_string(), |most| format!("{} by default", grouped(most.get()))),
        ..TypedField::default()
    }
}

fn address_field() -> TypedField {
    TypedField {
        name: "addresses".to_string(),
        label: "Addresses".to_string(),
        placeholder: "from anywhere".to_string(),
        ..TypedField::default()
    }
}

fn weight_field() -> TypedField {
    TypedField {
        name: WEIGHT.to_string(),
        label: "Weight".to_string(),
        placeholder: format!("{} by default", Weight::default()),
        ..TypedField::default()
    }
}

fn model_choices(served: Vec<String>, chosen: &BTreeSet<String>) -> Vec<ModelChoice> {
    // A model that is served no more stays chosen until it is taken off.
    let all: BTreeSet<String> = served.into_iter().chain(chosen.iter().cloned()).gather();
    all.into_iter().map(|name| ModelChoice { is_chosen: chosen.contains(&name), name }).collect()
}

fn route_choices(is_chosen: impl Fn(RouteName) -> bool) -> Vec<Choice> {
    let choice = |route: RouteName| Choice {
        value: route.to_string(),
        label: format!("/v1/{route}"),
        is_chosen: is_chosen(route),
    };
    RouteName::ALL.into_iter().map(choice).collect()
}

fn finished(form: PolicyForm) -> PolicyForm {
    let has_limit = form.limits.iter().any(|field| !field.value.is_empty());
    PolicyForm { is_set: form.is_routed || !form.addresses.value.is_empty() || has_limit, ..form }
}

fn access(allow_browser: bool, weight: TypedField, is_admin: bool) -> AccessForm {
    let is_set = allow_browser || (is_admin && !weight.value.is_empty());
    AccessForm { allow_browser, weight: is_admin.then_some(weight), is_set }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Fields {
        Fields::parse(text.as_bytes())
    }

    #[test]
    fn a_form_gives_back_the_policy_that_it_was_made_of() {
        let mut policy =
            Policy::from(ModelScope::Only(["a", "b/c"].map(|name| name.parse().unwrap()).into()));
        policy.routes = RouteScope::Only([RouteName::Models, RouteName::ChatCompletions].into());
        policy.addresses =
            AddressScope::Only(["192.0.2.7", "2001:db8::/32"].map(|text| network(text).unwrap()).into());
        policy.limits.set(LimitKind::TokensPerDay, Limit::max(5_000_000).unwrap());
        policy.limits.set(LimitKind::RequestsPerMinute, Limit::Unlimited);
        for policy in [policy, Policy::default()] {
            let shown = of(&policy, vec!["a".to_string()], &Bounds::default());
            let mut again = form_urlencoded::Serializer::new(String::new());
            again.append_pair("scope", if shown.is_limited { "only" } else { "all" });
            again.append_pair("routes", if shown.is_routed { "only" } else { "all" });
            again.append_pair("addresses", &shown.addresses.value.replace('\n', "\r\n"));
            for model in shown.models.iter().filter(|model| model.is_chosen) {
                again.append_pair("model", &model.name);
            }
            for route in shown.routes.iter().filter(|route| route.is_chosen) {
                again.append_pair("route", &route.value);
            }
            for limit in &shown.limits {
                again.append_pair(&limit.name, &limit.value);
            }
            let changes = wanted(&form(&again.finish())).unwrap();
            let other = Policy::from(ModelScope::Only(["z".parse().unwrap()].into()));
            assert_eq!(changes.applied_to(&other), policy);
            assert_eq!(shown.is_set, policy != Policy::default());
        }
    }

    #[test]
    fn a_limit_is_shown_as_short_as_it_can_be_typed() {
        for number in [1, 999, 1000, 1001, 60_000, 5_000_000, 5_000_001, Limit::MAX] {
            let limit = Limit::max(number).unwrap();
            assert_eq!(short(limit).parse(), Ok(limit));
        }
        assert_eq!(short(Limit::max(60_000).unwrap()), "60k");
        assert_eq!((short(Limit::Default).as_str(), short(Limit::Unlimited).as_str()), ("", "unlimited"));
    }

    #[test]
    fn what_was_not_asked_stays() {
        assert!(wanted(&form("name=x")).unwrap().is_empty());
        assert_eq!((wanted_browser(&form("name=x")), wanted_weight(&form("")).unwrap()), (None, None));
        assert_eq!(wanted_browser(&form("routes=all")), Some(false));
        assert_eq!(wanted_browser(&form("routes=all&allow_browser=yes")), Some(true));
        assert_eq!(wanted_weight(&form("weight=")).unwrap(), Some(Weight::default()));
    }

    #[test]
    fn a_fault_names_its_field_and_what_was_typed() {
        for (typed, field, value) in [
            ("limit_tokens_per_day=5x", "Tokens per day: ", "'5x'"),
            ("limit_concurrent_requests=0", "Requests at once: ", "disable"),
            ("addresses=10.0.0.0/8%0A10.0.0.0/40", "Addresses: ", "'10.0.0.0/40'"),
            ("routes=only", "Routes: ", "at least one"),
            ("routes=only&route=files", "Routes: ", "'files'"),
            ("scope=only", "Models: ", "at least one"),
        ] {
            let error = wanted(&form(typed)).unwrap_err().detail;
            assert!(error.starts_with(field) && error.contains(value), "{error}");
            let shown = sent(&form(typed), Vec::new(), &Bounds::default());
            let limits = shown.limits.iter().map(|field| &field.fault);
            let mut faults = limits.chain([&shown.models_fault, &shown.routes_fault, &shown.addresses.fault]);
            let beside = capitalised(error.strip_prefix(field).unwrap());
            assert!(faults.any(|fault| *fault == beside), "{typed}");
            assert!(shown.is_set || field == "Models: ", "{typed}: it stands open");
        }
        assert!(wanted_weight(&form("weight=101")).unwrap_err().detail.starts_with("Weight: '101'"));
    }

    #[test]
    fn a_key_in_the_wrong_field_is_not_repeated() {
        let key = format!("ember_dev_{}", "a".repeat(38));
        for name in ["addresses", "limit_tokens_total", WEIGHT] {
            let form = form(&format!("{name}={key}"));
            let error = wanted(&form).err().or_else(|| wanted_weight(&form).err()).unwrap().detail;
            assert!(!error.contains(&key), "{error}");
        }
    }
}
