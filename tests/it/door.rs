//! The admin socket, spoken to without the command line: faster, and with any header.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::ember::{Answer, Home, PATIENCE};

/// Sends one request to the server on a data directory; none when it goes away before it has answered.
pub fn ask(data: &Path, method: &str, path: &str, headers: &str, json: &str) -> Option<Answer> {
    let mut stream = UnixStream::connect(data.join("ember.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = json.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: ember\r\n{headers}Content-Length: {length}\r\n\r\n{json}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    if answer.is_empty() {
        return None;
    }
    Some(Answer::parse(&answer)).filter(|answer| answer.whole)
}

/// A new key's id and text, once that is acknowledged.
pub fn create(home: &Home, name: &str) -> Option<(String, String)> {
    let body = serde_json::json!({ "account": "ana@example.com", "name": name, "environment": "dev" });
    let answer = ask(&home.data(), "POST", "/admin/v1/keys", "", &body.to_string())?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let key = answer.json();
    Some((key["id"].as_str().unwrap().to_string(), key["key"].as_str().unwrap().to_string()))
}

/// Whether a revocation was acknowledged.
pub fn revoke(home: &Home, id: &str) -> bool {
    let answer = ask(&home.data(), "POST", &format!("/admin/v1/keys/{id}/revoke"), "", "{}");
    answer.is_some_and(|answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        true
    })
}
