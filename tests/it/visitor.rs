//! Owns a browser without a screen: it keeps cookies and fills in forms. Never: what a test is about.

use std::collections::BTreeMap;

use crate::ember::{Answer, Ember};

pub const PASSWORD: &str = "correct horse battery staple";

/// A browser without a screen: keeps cookies, reads the token of forms.
pub struct Browser<'a> {
    ember: &'a Ember,
    pub cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub fn new(ember: &'a Ember) -> Self {
        Self::with(ember, BTreeMap::new())
    }

    pub fn with(ember: &'a Ember, cookies: BTreeMap<String, String>) -> Self {
        Self { ember, cookies }
    }

    /// Signed in.
    pub fn of(ember: &'a Ember, email: &str) -> Self {
        let mut browser = Self::new(ember);
        let answer = browser.sign_in(email, PASSWORD);
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    pub fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.try_sign_in(email, password).unwrap()
    }

    /// None when the server goes away before it has answered.
    pub fn try_sign_in(&mut self, email: &str, password: &str) -> Option<Answer> {
        self.try_submit("/sign-in", "/sign-in", &[("email", email), ("password", password)])
    }

    /// None when the server goes away before it has answered.
    pub fn try_sign_out(&mut self) -> Option<Answer> {
        self.try_submit("/dashboard", "/sign-out", &[])
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", "")
    }

    /// A form, sent as a page of this site sends it.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.try_post(path, fields).unwrap()
    }

    fn try_post(&mut self, path: &str, fields: &[(&str, &str)]) -> Option<Answer> {
        let origin = format!("Origin: {}\r\n", self.origin());
        self.try_send("POST", path, &origin, &encoded(fields))
    }

    /// A form with the token that the page at `from` has.
    pub fn submit(&mut self, from: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.try_submit(from, path, fields).unwrap()
    }

    fn try_submit(&mut self, from: &str, path: &str, fields: &[(&str, &str)]) -> Option<Answer> {
        let csrf = csrf(&self.try_send("GET", from, "", "")?.text());
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        self.try_post(path, &all)
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.ember.address)
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.try_send(method, path, headers, body).unwrap()
    }

    fn try_send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = match cookies.is_empty() {
            true => String::new(),
            false => format!("Cookie: {}\r\n", cookies.join("; ")),
        };
        let kind = if headers.to_ascii_lowercase().contains("content-type") {
            ""
        } else {
            "Content-Type: application/x-www-form-urlencoded\r\n"
        };
        let answer = self.ember.try_send(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\n{cookie}{headers}{kind}Connection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                self.ember.address,
                body.len()
            )
            .as_bytes(),
        )?;
        for (_, line) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, rest) = line.split_once('=').unwrap();
            match rest.split(';').next().unwrap() {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_string(), value.to_string()),
            };
        }
        Some(answer)
    }
}

pub fn encoded(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    fields
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// The token that a page's forms have.
pub fn csrf(page: &str) -> String {
    value(page, "name=\"csrf\" value=\"")
}

/// What stands behind a mark, up to the next quote.
pub fn value(page: &str, mark: &str) -> String {
    let (_, rest) = page.split_once(mark).unwrap_or_else(|| panic!("no {mark:?} in {page}"));
    rest.split('"').next().unwrap().to_string()
}
