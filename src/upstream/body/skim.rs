//! Values that nobody reads, gone over fast: checked to be JSON, not kept. Never: what they are, a verdict.
//!
//! serde_json searches strings that it is asked for as bytes with vector instructions, and those that it ignores not. So
//! long texts are asked for. Whatever does not look as it mostly does is left to a reader of every value.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::members::Name;
use super::span;

/// Bodies below it are gone over as fast otherwise.
const BYTES_MIN: usize = 2 << 10;
/// A string with escapes is copied while it is gone over, which no bound on bodies counts: so a thread takes no more than
/// this, and what a vector grows beyond it, and only while it goes over a body.
const BYTES_MAX: usize = 1 << 20;
/// So deep do requests have texts: in a member of an item of a member of an item of a member.
const DEPTH_MAX: usize = 5;

/// Whether a body is one to be skimmed. Control characters are refused in strings that are ignored and not in those that
/// are asked for as bytes, so there must be none anywhere.
pub(super) fn pays(body: &str) -> bool {
    let least = || body.trim_ascii().bytes().fold(u8::MAX, u8::min);
    (BYTES_MIN..=BYTES_MAX).contains(&body.len()) && least() >= b' '
}

/// What stands behind a member's name in `body` and before whose value; none when that is not at hand.
pub(super) fn value_behind<'b>(body: &'b str, name: &Cow<'b, str>) -> Option<&'b str> {
    let Cow::Borrowed(name) = name else { return None };
    let behind = body[span(body, name).end..].strip_prefix('"')?;
    Some(behind.trim_ascii_start().strip_prefix(':')?.trim_ascii_start())
}

/// A value to be gone over.
#[derive(Clone, Copy)]
pub(super) struct Skim<'b> {
    body: &'b str,
    /// From the value's first byte on, or what it is taken to look like; empty when it is to be ignored.
    value: &'b str,
    depth: usize,
}

impl<'b> Skim<'b> {
    /// A value of the outermost object.
    pub(super) const fn outermost(body: &'b str, value: &'b str) -> Self {
        Self { body, value, depth: DEPTH_MAX }
    }

    /// A value in this one.
    fn inner(&self, value: &'b str) -> Self {
        Self { body: self.body, value, depth: self.depth.saturating_sub(1) }
    }
}

impl<'b> DeserializeSeed<'b> for Skim<'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<(), D::Error> {
        match self.value.as_bytes() {
            [b'"', ..] => json.deserialize_bytes(self),
            [b'[', ..] if self.depth > 0 && self.has_items_to_skim() => json.deserialize_seq(self),
            [b'{', ..] if self.depth > 0 => json.deserialize_map(self),
            _ => IgnoredAny::deserialize(json).map(drop),
        }
    }
}

impl<'b> Skim<'b> {
    /// The items of a list, taken for alike. Looks at all blanks before the first, so it is asked once a list.
    fn item(&self) -> Self {
        // What was taken for a string may be a list all the same.
        self.inner(self.value.strip_prefix('[').unwrap_or_default().trim_ascii_start())
    }

    fn has_items_to_skim(self) -> bool {
        self.item().value.starts_with(['"', '{'])
    }
}

impl<'b> Visitor<'b> for Skim<'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kind of value that it begins like")
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut items: A) -> Result<(), A::Error> {
        let item = self.item();
        while items.next_element_seed(item)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key_seed(Name)? {
            match value_behind(self.body, &name) {
                Some(value) => members.next_value_seed(self.inner(value))?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::members::{Members, Rest, walk};
    use super::super::tests::{json, request};
    use super::*;

    fn is_read(body: &str, rest: Rest) -> bool {
        walk(body, rest, &mut Members::default()).is_ok()
    }

    /// A request as they mostly are, with this text in it.
    fn usual(text: &str) -> String {
        let parts = format!(r#"[{{"type":"text","text":"{text}"}}]"#);
        let messages = format!(r#"[{{"role":"user","content":{parts}}},{{"content":"{text}"}}]"#);
        let tools = r#"[{"a":{"b":{"c":{"d":{"e":["x",1]}}}}}]"#;
        format!(r#"{{"messages":{messages},"prompt":["{text}"],"input" : "{text}","tools":{tools}}}"#)
    }

    #[test]
    fn what_requests_mostly_look_like_is_skimmed() {
        for text in ["", "x", r#"\"\\\n\u00fc\ud800"#, "\u{fc}\u{1f600}"] {
            let body = usual(text);
            assert!(is_read(&body, Rest::Skimmed), "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_read_whoever_reads_it() {
        for text in [r"\x", r"\u12", r"\", "\"", "\u{1}"] {
            let body = usual(&text.repeat(3));
            assert!(!is_read(&body, Rest::Ignored), "{body}");
            let has_controls = text < " ";
            assert_eq!(is_read(&body, Rest::Skimmed), has_controls, "{body}");
            assert_eq!(pays(&long(&body)), !has_controls, "{body}");
        }
    }

    #[test]
    fn a_long_body_has_the_facts_and_the_faults_of_a_short_one() {
        let members = |body: &str| {
            let read =
                Members::read(body).map(|members| members.values.map(|value| value.map(str::to_string)));
            read.map_err(|fault| fault.to_string().split(':').next().map(str::to_string))
        };
        for body in [
            r#"{"model":"a","stream":true,"messages":[{"a\ud800":"b"}],"max_tokens":[{"x":1}]}"#,
            r#"{"model":"a","x":[{"a":1},"b"],"y":["a",{"b":1},["c"]],"z":"{[","\u0061":"b"}"#,
            r#"{"model":"a","x":1,"\u0078":"b"}"#,
            r#"{"model":"a","x":["b"],"model":"a"}"#,
            r#"{"x":["b"],"Model":"a"}"#,
            r#"{"model":"a","x":["b}"#,
            r#"{"model":"a","x":"b"} {}"#,
            r#"{"model":"a","x":"a"b"}"#,
            r#"["model"]"#,
        ] {
            assert_eq!(members(&long(body)), members(body), "{body}");
        }
    }

    /// The same body with many spaces behind it.
    fn long(body: &str) -> String {
        body.to_string() + &" ".repeat(BYTES_MIN)
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
            let (deep, seed) = (200_000, r#""""#);
            let body = format!(r#"{{"x":{}{seed}{}}}"#, open.repeat(deep), close.repeat(deep));
            assert!(is_read(&body, Rest::Ignored) && is_read(&body, Rest::Skimmed), "{open}");
        }
    }

    /// Not by the clock: as many times as long as a reader of every value takes is what a loaded machine cannot make of
    /// one walk, and what a look at all blanks for each item exceeds a hundredfold.
    #[test]
    fn bug_blanks_are_looked_at_once_however_many_items_stand_behind_them() {
        let (blanks, times) = (" ".repeat(BYTES_MAX / 2), 50);
        for (first, item) in [(blanks.clone() + r#""""#, r#","""#), (format!(r#""{blanks}""#), r#",[""]"#)] {
            let body = format!(r#"{{"model":"m","x":[{first}{}]}}"#, item.repeat(BYTES_MAX / 2 / 8));
            assert!(pays(&body));
            let took = |rest| {
                let began = std::time::Instant::now();
                assert!(is_read(&body, rest));
                began.elapsed()
            };
            let ignored = took(Rest::Ignored);
            assert!(took(Rest::Skimmed) < ignored * times, "{item}");
        }
    }

    proptest! {
        #[test]
        fn what_is_skimmed_is_json(
            body in prop_oneof![request(), json().prop_map(|value| format!(r#"{{"x":{value}}}"#))],
            place in any::<prop::sample::Index>(),
            other in prop_oneof![Just(String::new()), "[{}\\[\\]\":,\\\\ua1 ]{0,3}"],
        ) {
            let places: Vec<usize> = body.char_indices().map(|(at, _)| at).collect();
            let at = places[place.index(places.len())];
            let next = at + body[at..].chars().next().map_or(0, char::len_utf8);
            let changed = format!("{}{other}{}", &body[..at], &body[next..]);
            for body in [body, changed] {
                let has_controls = body.trim_ascii().bytes().any(|byte| byte < b' ');
                if !has_controls && is_read(&body, Rest::Skimmed) {
                    prop_assert!(is_read(&body, Rest::Ignored), "{}", body);
                }
            }
        }
    }
}
