//! The OpenAPI document against what is served: every route and nothing else, the members that parsers take, the
//! documents that commands answer with.

mod play;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::OPENAPI;
use super::super::answer::{Answered, failure};
use super::super::route::{Operation, ROUTES, Row};
use super::*;
use crate::admin::AdminError;
use crate::types::{Actor, Ticket, TicketKind};
use play::answers;
use schema::{fits, resolved};

const ROOT: Actor = Actor::Machine { uid: 0 };

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// The row of an operation, as documented: the path's item and the operation.
struct Documented {
    item: Value,
    operation: Value,
}

/// By method and by path, with `{}` for what stands in braces.
fn documented(document: &Value) -> BTreeMap<(String, String), Documented> {
    let mut all = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let pattern = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        let pattern = pattern.collect::<Vec<_>>().join("/");
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            let one = Documented { item: item.clone(), operation: operation.clone() };
            assert!(all.insert((method.to_uppercase(), pattern.clone()), one).is_none(), "{path} twice");
        }
    }
    all
}

/// Rows that are on the public door: a whole copy of the store is given to the machine only, on its socket.
fn public() -> impl Iterator<Item = &'static Row> {
    ROUTES.iter().filter(|row| row.operation != Operation::Backup)
}

/// Those of them that are commands, with JSON as their answer.
fn commands() -> impl Iterator<Item = &'static Row> {
    public().filter(|row| row.operation != Operation::Metrics)
}

fn of<'a>(row: &Row, all: &'a BTreeMap<(String, String), Documented>) -> &'a Documented {
    &all[&(row.method.to_string(), row.pattern.to_string())]
}

/// Everything below `value` that is under `name`.
fn all_below<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(name));
            members.values().for_each(|value| all_below(value, name, found));
        }
        Value::Array(entries) => entries.iter().for_each(|value| all_below(value, name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_route_is_documented_and_nothing_else() {
    let document = document();
    let served: BTreeSet<_> = public().map(|row| (row.method.to_string(), row.pattern.to_string())).collect();
    let all = documented(&document);
    assert_eq!(all.keys().cloned().collect::<BTreeSet<_>>(), served);
    for row in public() {
        let id = format!("{:?}", row.operation);
        let id = format!("{}{}", id[..1].to_lowercase(), &id[1..]);
        assert_eq!(of(row, &all).operation["operationId"], *id);
    }
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], super::super::VERSION);
    assert!(OPENAPI.contains("GET /admin/v1/backup"), "where the copy of the store is");
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut references = Vec::new();
    all_below(&document, "$ref", &mut references);
    let used: BTreeSet<_> = references.iter().map(|value| value.as_str().unwrap().to_string()).collect();
    let mut there = BTreeSet::new();
    for kind in ["schemas", "parameters", "responses"] {
        let names = document["components"][kind].as_object().unwrap().keys();
        there.extend(names.map(|name| format!("#/components/{kind}/{name}")));
    }
    assert_eq!(used, there);
}

#[test]
fn what_stands_in_a_path_is_declared() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let declared = item["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let declared: Vec<_> = declared.iter().map(|one| resolved(&document, one)).collect();
        assert!(declared.iter().all(|one| one["in"] == "path" && one["required"] == true), "{path}");
        let declared: Vec<_> = declared.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names.collect::<Vec<_>>(), declared, "{path}");
    }
}

/// What stands for `{}` in a row's path: its example.
fn subject(document: &Value, of: &Documented) -> Option<String> {
    let parameter = resolved(document, of.item["parameters"].get(0)?);
    Some(parameter["schema"]["examples"][0].as_str().unwrap().to_string())
}

fn read(row: &Row, subject: Option<String>, query: &str, body: &Value) -> Result<Command, AdminError> {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    command(row, subject, query, &body).map(|command| command.unwrap())
}

/// Texts that a schema's value may be in a query.
fn samples(schema: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToString::to_string);
    let listed = ["examples", "enum"].iter().filter_map(|name| schema.get(*name)?.as_array());
    let bounds = ["minimum", "maximum", "default"].iter().filter_map(|name| schema.get(*name));
    listed.flatten().chain(bounds).map(text).collect()
}

/// The body of an example, or none for a row that has no body.
fn plain_body(document: &Value, of: &Documented) -> Value {
    match body_schema(document, of) {
        Some(schema) => example(document, schema, |_| true),
        None => Value::Null,
    }
}

#[test]
fn queries_are_taken_as_documented() {
    let (document, sent) = (document(), all());
    let all = documented(&document);
    for row in commands() {
        let of = of(row, &all);
        let body = plain_body(&document, of);
        let ask = |query: &str| read(row, subject(&document, of), query, &body);
        let mut names = BTreeSet::new();
        for parameter in of.operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let parameter = resolved(&document, parameter);
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            assert_eq!(parameter["in"], "query");
            names.insert(name);
            let samples = samples(schema);
            assert!(!samples.is_empty(), "{name} has no example");
            for text in samples {
                let asked = ask(&format!("{name}={}", super::super::target::encode(&text)));
                let asked = asked.unwrap_or_else(|error| panic!("{} {name}={text}: {error}", row.pattern));
                assert!(
                    call(&asked).unwrap().target.contains(&format!("{name}=")),
                    "{name} is not looked at"
                );
            }
            for (bound, step) in [("minimum", -1), ("maximum", 1)] {
                if let Some(bound) = schema.get(bound).and_then(Value::as_i64) {
                    assert!(ask(&format!("{name}={}", bound + step)).is_err(), "{name} has no such bound");
                }
            }
            if schema.get("enum").is_some() || schema.get("pattern").is_some() {
                assert!(ask(&format!("{name}=nonsense")).is_err(), "{name} takes anything");
            }
        }
        assert!(ask("colour=red").is_err(), "{}: any parameter is taken", row.pattern);
        for asked in &sent {
            let call = call(asked).unwrap();
            let uri: http::Uri = call.target.parse().unwrap();
            if matches!(find(&call.method, uri.path()), Found::Row(found, _) if found.operation == row.operation)
            {
                for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
                    let name = pair.split('=').next().unwrap();
                    assert!(names.contains(name), "{}: '{name}' is not documented", row.pattern);
                }
            }
        }
    }
}

fn body_schema<'a>(document: &'a Value, of: &'a Documented) -> Option<&'a Value> {
    let body = of.operation.get("requestBody")?;
    Some(resolved(document, &body["content"]["application/json"]["schema"]))
}

/// The members of a schema that are wanted, each with its example; always with one of what excludes each other.
fn example(document: &Value, schema: &Value, wanted: impl Fn(&str) -> bool) -> Value {
    let members = schema["properties"].as_object().unwrap().iter();
    let choice = |name: &str| match schema.get("oneOf") {
        Some(choices) => choices[0]["required"][0] == name,
        None => true,
    };
    let value = |schema: &Value| match schema["examples"][0].as_str() {
        // A document has no key, not even a false one.
        Some("ember_prod_...") => json!(key().expose()),
        _ => resolved(document, schema)["examples"][0].clone(),
    };
    members
        .filter(|(name, _)| wanted(name) && choice(name))
        .map(|(name, schema)| (name.clone(), value(schema)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn required(schema: &Value) -> Vec<&str> {
    schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// The members that a parser says it takes.
fn taken(refusal: &AdminError) -> BTreeSet<String> {
    let (_, list) = refusal.detail.split_once(", expected").unwrap_or_else(|| panic!("{refusal}"));
    list.split('`').skip(1).step_by(2).map(ToString::to_string).collect()
}

#[test]
fn bodies_are_taken_as_documented() {
    let document = document();
    let all = documented(&document);
    for row in commands() {
        let of = of(row, &all);
        let ask = |body: &Value| read(row, subject(&document, of), "", body);
        let Some(schema) = body_schema(&document, of) else {
            ask(&Value::Null).unwrap_or_else(|error| panic!("{}: {error}", row.pattern));
            continue;
        };
        assert_eq!(schema["additionalProperties"], false, "{}", row.pattern);
        let unknown = ask(&json!({ "colour": 1 })).err().unwrap();
        let members: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(taken(&unknown), members, "{}", row.pattern);
        let is_optional = of.operation["requestBody"]["required"] == false;
        assert_eq!(ask(&Value::Null).is_ok(), is_optional, "{} without a body", row.pattern);
        let required = required(schema);
        for member in &members {
            let body = example(&document, schema, |name| name == member || required.contains(&name));
            // What it excludes was chosen in its place.
            let body = if body.get(member).is_none() {
                json!({ member: schema["properties"][member]["examples"][0] })
            } else {
                body
            };
            let fit = fits(&document, schema, &body);
            assert_eq!(fit, Ok(()), "{} {member}: an example is no example", row.pattern);
            ask(&body).unwrap_or_else(|error| panic!("{} {member}: {error}", row.pattern));
            takes_what_it_says(&document, row, of, schema, member, &body);
        }
        for member in required {
            let refusal = ask(&example(&document, schema, |name| name != member)).err();
            let refusal = refusal.unwrap_or_else(|| panic!("{}: '{member}' is not required", row.pattern));
            assert!(refusal.detail.contains(&format!("missing field `{member}`")), "{refusal}");
        }
    }
}

/// Every word of an enumeration is taken and no other; null where it is documented and nowhere else.
fn takes_what_it_says(
    document: &Value,
    row: &Row,
    of: &Documented,
    schema: &Value,
    member: &str,
    body: &Value,
) {
    let member_schema = &schema["properties"][member];
    let with = |value: Value| {
        let mut body = body.clone();
        body[member] = value;
        read(row, subject(document, of), "", &body)
    };
    for value in member_schema["enum"].as_array().map(Vec::as_slice).unwrap_or_default() {
        with(value.clone()).unwrap_or_else(|error| panic!("{} {member} {value}: {error}", row.pattern));
        assert!(with(json!("nonsense")).is_err(), "{} {member} takes any word", row.pattern);
    }
    let may_be_null = member_schema["type"]
        .as_array()
        .is_some_and(|types| types.contains(&Value::Null) || types.contains(&json!("null")));
    // Without the other, none is no choice either.
    let may_be_null = may_be_null && schema.get("oneOf").is_none();
    assert_eq!(with(Value::Null).is_ok(), may_be_null, "{} {member}: null", row.pattern);
    assert!(with(json!({ "a": 1 })).is_err(), "{} {member} takes an object", row.pattern);
}

#[test]
fn every_answer_is_as_documented() {
    let document = document();
    let all = documented(&document);
    let answers = answers();
    for row in commands() {
        let of = of(row, &all);
        let schema = &of.operation["responses"]["200"]["content"]["application/json"]["schema"];
        let mut of_row = answers.iter().filter(|(operation, _)| *operation == row.operation).peekable();
        assert!(of_row.peek().is_some(), "{:?} was never asked", row.operation);
        for (_, answer) in of_row {
            assert_eq!(fits(&document, schema, answer), Ok(()), "{:?} {answer}", row.operation);
        }
    }
}

#[test]
fn the_check_of_answers_itself_sees_what_is_wrong() {
    let document = document();
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let answers = answers();
    let find = |wanted| answers.iter().rev().find(|(operation, _)| *operation == wanted).unwrap().1.clone();
    let account = find(Operation::AccountCreate);
    assert_eq!(fits(&document, &schema("Account"), &account), Ok(()));
    for (member, value) in [
        ("role", json!("king")),
        ("email", Value::Null),
        ("object", json!("key")),
        ("id", json!("key_01kaspw4g0000000000000000a")),
        ("colour", json!("red")),
    ] {
        let mut other = account.clone();
        other[member] = value;
        assert!(fits(&document, &schema("Account"), &other).is_err(), "{member}");
    }
    let mut less = account.clone();
    less.as_object_mut().unwrap().remove("name");
    assert!(fits(&document, &schema("Account"), &less).is_err(), "a member is missing");
    assert!(fits(&document, &schema("AccountDetail"), &account).is_err(), "it has no history");
    assert!(fits(&document, &schema("Key"), &find(Operation::KeyCreate)).is_err(), "it has a key");
    let mut list = find(Operation::AuditList);
    list["data"][0]["at"] = json!(5);
    assert!(fits(&document, &schema("EventList"), &list).is_err(), "deep inside");
}

#[test]
fn every_refusal_is_documented_and_is_a_problem() {
    let document = document();
    let responses = document["components"]["responses"].as_object().unwrap();
    let all = documented(&document);
    let mut told = BTreeSet::new();
    for row in public() {
        let of = of(row, &all);
        for (status, response) in of.operation["responses"].as_object().unwrap() {
            if status != "200" {
                told.insert((status.clone(), response["$ref"].as_str().unwrap().to_string()));
            }
        }
        let has = |status: &str| of.operation["responses"].get(status).is_some();
        assert!(["400", "401", "403", "405", "503"].into_iter().all(has), "{}", row.pattern);
        assert!(has("404") || !row.pattern.contains("{}"), "{}", row.pattern);
        assert!(row.method == http::Method::GET || (has("409") && has("413")), "{}", row.pattern);
    }
    assert_eq!(told.len(), responses.len(), "one response for each status: {told:?}");
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for response in responses.values() {
        assert_eq!(response["content"]["application/problem+json"]["schema"], problem);
    }
    let problems = [
        Problem::Invalid,
        Problem::NotFound,
        Problem::NotAllowed,
        Problem::Conflict,
        Problem::TooMany,
        Problem::Unavailable,
        Problem::NotDurable,
        Problem::Configuration,
    ];
    for kind in problems {
        let faults = vec!["ember.toml:1:1: x".to_string()];
        let error = AdminError { faults, ..AdminError::new(kind, "x") };
        let Answered::Text { status, text, .. } = failure(&error) else { panic!("a copy") };
        let answer: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(fits(&document, &problem, &answer), Ok(()));
        let reference = told.iter().find(|(known, _)| *known == status.as_u16().to_string());
        let (_, name) = reference.unwrap_or_else(|| panic!("{status} is not documented"));
        let described = resolved(&document, &json!({ "$ref": name }))["description"].to_string();
        assert!(described.contains(&format!("`{}`", answer["code"].as_str().unwrap())), "{described}");
    }
}

#[test]
fn whoever_changes_something_with_a_session_must_show_where_he_is() {
    let document = document();
    let token = json!({ "adminToken": [] });
    assert_eq!(document["security"], json!([token, { "session": [], "csrf": [] }]));
    for (row, of) in public().map(|row| (row, of(row, &documented(&document)).operation.clone())) {
        match row.method == http::Method::GET {
            true => assert_eq!(of["security"], json!([token, { "session": [] }]), "{}", row.pattern),
            false => assert!(of.get("security").is_none(), "{} has what all have", row.pattern),
        }
    }
    let schemes = &document["components"]["securitySchemes"];
    let cookie = crate::http::dashboard::Jar::Session.set("x", true).unwrap();
    assert!(
        cookie.to_str().unwrap().starts_with(&format!("{}=x", schemes["session"]["name"].as_str().unwrap()))
    );
    assert_eq!(
        (&schemes["csrf"]["in"], &schemes["csrf"]["name"]),
        (&json!("header"), &json!("x-csrf-token"))
    );
    assert_eq!(
        (&schemes["adminToken"]["type"], &schemes["adminToken"]["scheme"]),
        (&json!("http"), &json!("bearer"))
    );
}

#[test]
fn no_secret_is_in_the_document_not_even_a_false_one() {
    let words = OPENAPI.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut seen = 0;
    for word in words.filter(|word| word.starts_with("ember_")) {
        seen += 1;
        assert!(Key::parse(word.as_bytes()).is_err(), "{word}");
        assert!(TicketKind::ALL.iter().all(|kind| Ticket::parse(*kind, word.as_bytes()).is_none()), "{word}");
        assert!(word.len() < 16, "{word} looks like one");
    }
    assert!(seen > 0);
}
