//! What the fuzzer holds the admin API to: every path, query and body is refused or a command, and a command is written as
//! what makes it again. Never: what commands do.

use super::route::{Call, Found, ROUTES, call, command, find};
use crate::admin::Command;

/// Panics unless the route (by the first byte), what stands for `{}` and the query (a line each) and the body (the rest)
/// are refused, or make a command that comes back when it is asked for as `ember` itself asks.
pub fn admin(bytes: &[u8]) {
    let Some((number, rest)) = bytes.split_first() else { return };
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(subject), Ok(query)) = (text(), text()) else { return };
    let body = parts.next().unwrap_or_default();
    let row = &ROUTES[usize::from(*number) % ROUTES.len()];
    let path = row.pattern.replace("{}", subject);
    let Found::Row(row, named) = find(&row.method, &path) else {
        assert_ne!(path, row.pattern, "a route that is not found");
        return;
    };
    if let Ok(Some(command)) = command(row, named, query, body) {
        comes_back(&command);
    }
}

/// An escaped text as the admin API reads it.
pub(in crate::http) fn unescaped(text: &str) -> Option<String> {
    super::target::decode(text)
}

fn comes_back(asked: &Command) {
    let Ok(first) = call(asked) else { panic!("a command that can't be written") };
    let (path, query) = first.target.split_once('?').unwrap_or((&first.target, ""));
    let Found::Row(row, named) = find(&first.method, path) else { panic!("nothing at {path}") };
    let body = first.body.as_deref().unwrap_or_default();
    match command(row, named, query, body).map(|again| again.map(|again| call(&again))) {
        Ok(Some(Ok(again))) => assert_eq!(parts_of(&again), parts_of(&first), "another command"),
        Ok(Some(Err(error))) | Err(error) => panic!("refused when it comes back: {error}"),
        Ok(None) => panic!("no command when it comes back"),
    }
}

fn parts_of(call: &Call) -> (&str, &str, Option<String>) {
    let body = call.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
    (call.method.as_str(), &call.target, body)
}
