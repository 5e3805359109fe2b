//! What the fuzzer holds the reading of requests and their splices to: serde_json must see the same value but for the named
//! change, and every other byte stays (law 7). Never: what a request means.

use bytes::Bytes;
use serde_json::Value;

use super::members::{Members as Own, Rest, folds_to, walk};
use super::{BodyFault, MEMBERS_MAX, RequestFacts, Splice, StateMember, apply};
use crate::types::ModelId;
use crate::upstream::Endpoint;
use crate::upstream::fuzz::Members;

/// So many spaces make a body one to be skimmed.
const SPACES: usize = 2 << 10;
/// The members that are read, so that no other spelling of theirs is let through.
const READ: [&str; 11] = [
    "model",
    "stream",
    "stream_options",
    "previous_response_id",
    "conversation",
    "background",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
];

/// Panics unless a body is refused for a reason that is true, or its splices change what they name and nothing else;
/// whether it is short or long. The first byte chooses the model's real name.
pub fn splice(bytes: &[u8]) {
    let Some((how, body)) = bytes.split_first() else { return };
    let real = ["b", "org/real:1", "\"q\\uote\u{fc}\""][usize::from(*how) % 3];
    let Ok(real) = real.parse::<ModelId>() else { panic!("no name") };
    let long = [body, &[b' '; SPACES]].concat();
    let (facts, others) = (read(body, &real), read(&long, &real));
    match (&facts, &others) {
        (Err(BodyFault::NotJson { .. }), Err(BodyFault::NotJson { .. })) => {}
        _ => assert_eq!(facts, others, "spaces behind it make a difference"),
    }
    if let Ok(text) = std::str::from_utf8(body) {
        skimmed(text);
    }
}

/// What is read fast is what is read slowly.
fn skimmed(text: &str) {
    let (mut fast, mut slow) = (Own::default(), Own::default());
    if text.bytes().all(|byte| byte >= b' ') && walk(text, Rest::Skimmed, &mut fast).is_ok() {
        assert!(walk(text, Rest::Ignored, &mut slow).is_ok(), "no JSON");
        assert_eq!(fast.values, slow.values, "other members");
    }
}

fn read(body: &[u8], real: &ModelId) -> Result<RequestFacts, BodyFault> {
    let facts = RequestFacts::read(body);
    let Ok(text) = std::str::from_utf8(body) else {
        assert_eq!(facts, Err(BodyFault::InvalidUtf8));
        return facts;
    };
    match (&facts, Members::read(text)) {
        (Err(fault), read) => assert!(is_true(fault, text, &read), "refused for nothing: {fault}"),
        (Ok(_), Err((_, error))) => panic!("not refused: {error}"),
        (Ok(facts), Ok(members)) => {
            agrees(facts, &members);
            renamed(text, facts, &members, real);
            asked(text, facts, &members, real);
        }
    }
    facts
}

/// Whether a refusal says what is so.
fn is_true(fault: &BodyFault, text: &str, read: &Result<Members, (Members, serde_json::Error)>) -> bool {
    let names = match read {
        Ok(members) | Err((members, _)) => &members.names,
    };
    let whole = read.as_ref().ok();
    let model = || whole.and_then(|members| members.value("model"));
    match fault {
        BodyFault::InvalidUtf8 => false,
        BodyFault::NotJson { .. } => read.as_ref().is_err_and(|(_, error)| !error.is_data()),
        BodyFault::TrailingData => {
            let mut values =
                serde_json::Deserializer::from_str(text).into_iter::<&serde_json::value::RawValue>();
            values.next().is_some_and(|value| value.is_ok()) && whole.is_none()
        }
        BodyFault::NotAnObject => !text.trim_start().starts_with('{'),
        BodyFault::TooManyMembers => names.len() > MEMBERS_MAX,
        BodyFault::DuplicateMember { name: Some(name) } => {
            names.iter().filter(|known| known == name).count() > 1
        }
        BodyFault::DuplicateMember { name: None } => has_one_twice(names),
        BodyFault::OddSpelling { name } => names.iter().any(|known| known != name && folds_to(known, name)),
        BodyFault::MissingModel => whole.is_some() && model().is_none(),
        BodyFault::ModelNotAString => model().is_some_and(|model| !model.starts_with('"')),
        BodyFault::BadModelName => model().is_some_and(|model| name_in(model).is_none()),
    }
}

fn has_one_twice(names: &[String]) -> bool {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

fn name_in(written: &str) -> Option<ModelId> {
    serde_json::from_str::<String>(written).ok()?.parse().ok()
}

/// What was read is what serde_json reads.
fn agrees(facts: &RequestFacts, members: &Members) {
    assert!(members.names.len() <= MEMBERS_MAX && !has_one_twice(&members.names), "not refused");
    let is_odd = |known: &&String| READ.iter().any(|name| known != name && folds_to(known, name));
    assert_eq!(members.names.iter().find(is_odd), None, "not refused");
    assert_eq!(members.value("model").and_then(name_in).as_ref(), Some(&facts.model));
    assert_eq!(facts.stream, members.value("stream") == Some("true"));
    let said = |name| members.value(name).filter(|value| *value != "null");
    let state = said("previous_response_id")
        .map(|_| StateMember::PreviousResponseId)
        .or(said("conversation").map(|_| StateMember::Conversation))
        .or(said("background").filter(|value| *value != "false").map(|_| StateMember::Background));
    assert_eq!(facts.state, state);
    let is_plain = ["n", "best_of"].iter().all(|name| members.value(name).is_none());
    if let (true, Some(Ok(most))) = (is_plain, members.value("max_tokens").map(str::parse::<u64>)) {
        assert_eq!(facts.completion_tokens_max(Endpoint::Completions, 7), most);
    }
}

fn renamed(text: &str, facts: &RequestFacts, before: &Members, real: &ModelId) {
    let after = spliced(text, &[facts.rename_model(real)]);
    let Ok(members) = Members::read(&after) else { panic!("no object any more") };
    assert_eq!(members.names, before.names, "other names");
    for ((name, value), old) in members.names.iter().zip(&members.values).zip(&before.values) {
        if name == "model" {
            assert_eq!(name_in(value).as_ref(), Some(real));
        } else {
            assert_eq!(value, old, "another {name}");
        }
    }
    same_but(text, &after, |value| value["model"] = Value::from(real.as_str()));
}

fn asked(text: &str, facts: &RequestFacts, before: &Members, real: &ModelId) {
    let splice = facts.ask_for_usage();
    let is_wanted = facts.stream && !is_stated(before.value("stream_options"));
    assert_eq!(splice.is_some(), is_wanted, "asked for usage, or not");
    let Some(splice) = splice else { return };
    let after = spliced(text, std::slice::from_ref(&splice));
    let Ok(members) = Members::read(&after) else { panic!("no object any more") };
    let others = |members: &Members| -> Vec<(String, String)> {
        let all = members.names.iter().cloned().zip(members.values.iter().cloned());
        all.filter(|(name, _)| name != "stream_options").collect()
    };
    assert_eq!(others(&members), others(before), "other members");
    let options =
        |members: &Members| members.value("stream_options").and_then(|text| Members::read(text).ok());
    let (old, new) = (options(before).unwrap_or_default(), options(&members).unwrap_or_default());
    assert_eq!(new.value("include_usage"), Some("true"));
    let rest = |members: Members| -> Vec<(String, String)> {
        members.names.into_iter().zip(members.values).filter(|(name, _)| name != "include_usage").collect()
    };
    assert_eq!(rest(new), rest(old), "other options");
    same_but(text, &after, |value| value["stream_options"]["include_usage"] = Value::Bool(true));
    if members.names.len() <= MEMBERS_MAX {
        let Ok(again) = RequestFacts::read(after.as_bytes()) else { panic!("refused when it is read again") };
        assert_eq!(again.ask_for_usage(), None, "asked for twice");
        let both = spliced(text, &[splice, facts.rename_model(real)]);
        assert_eq!(both, spliced(&after, &[again.rename_model(real)]), "both are one after the other");
    }
}

/// Whether the caller said something of usage chunks that stays.
fn is_stated(options: Option<&str>) -> bool {
    const NAME: &str = "include_usage";
    let Some(options) = options.filter(|options| *options != "null") else { return false };
    let Ok(options) = Members::read(options) else { return true };
    let like: Vec<&String> = options.names.iter().filter(|name| folds_to(name, NAME)).collect();
    match like.as_slice() {
        [] => false,
        [one] if *one == NAME => !matches!(options.value(NAME), Some("false" | "null")),
        _ => true,
    }
}

/// The body with its splices made: whatever lies between them is as it was.
fn spliced(text: &str, splices: &[Splice]) -> String {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let spliced = apply(&body, splices.to_vec());
    assert!(spliced.pieces.iter().all(|piece| !piece.is_empty()), "an empty piece");
    let whole = spliced.pieces.concat();
    assert_eq!(whole.len() as u64, spliced.bytes, "the length");
    let mut sorted: Vec<&Splice> = splices.iter().collect();
    sorted.sort_by_key(|splice| splice.range.start);
    let (mut wanted, mut done) = (Vec::new(), 0);
    for splice in sorted {
        wanted.extend_from_slice(&body[done..splice.range.start]);
        wanted.extend_from_slice(&splice.with);
        done = splice.range.end;
    }
    wanted.extend_from_slice(&body[done..]);
    assert_eq!(whole, wanted, "another byte");
    let Ok(whole) = String::from_utf8(whole) else { panic!("no text any more") };
    whole
}

/// Where serde_json can hold all of it (numbers that are not too large, no nesting that is too deep), it sees the same
/// value but for the change.
fn same_but(before: &str, after: &str, change: impl Fn(&mut Value)) {
    let (before, after) = (serde_json::from_str::<Value>(before), serde_json::from_str::<Value>(after));
    match (before, after) {
        (Ok(mut before), Ok(after)) => {
            change(&mut before);
            assert_eq!(after, before, "another value");
        }
        (before, after) => assert_eq!(before.is_ok(), after.is_ok(), "no value any more"),
    }
}
