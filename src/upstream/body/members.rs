//! The members of a JSON object: their names, unescaped, and their values, as written. Never: what they mean.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{BodyFault, MEMBERS_MAX};

/// The members that are read.
#[derive(Clone, Copy)]
pub(super) enum Member {
    Model,
    Stream,
    StreamOptions,
    PreviousResponseId,
    Conversation,
    Background,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    BestOf,
}

impl Member {
    const ALL: [Self; 11] = [
        Self::Model,
        Self::Stream,
        Self::StreamOptions,
        Self::PreviousResponseId,
        Self::Conversation,
        Self::Background,
        Self::MaxTokens,
        Self::MaxCompletionTokens,
        Self::MaxOutputTokens,
        Self::N,
        Self::BestOf,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::PreviousResponseId => "previous_response_id",
            Self::Conversation => "conversation",
            Self::Background => "background",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::N => "n",
            Self::BestOf => "best_of",
        }
    }

    /// The member that `name` is, or that a parser blind to case would take it for.
    pub(super) fn like(name: &str) -> Option<Self> {
        let is_exact = |member: &Self| member.name() == name;
        let exact = Self::ALL.into_iter().find(is_exact);
        exact.or_else(|| Self::ALL.into_iter().find(|member| folds_to(name, member.name())))
    }
}

/// Whether `name` is `plain` (lower-case ASCII) to a reader blind to case; Go's folds two more letters.
pub(super) fn folds_to(name: &str, plain: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(plain);
    }
    let folded = name.chars().map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    folded.eq(plain.chars())
}

/// The top level's members: the values of those that are read, as written.
pub(super) struct Members<'b> {
    count: usize,
    /// The names of those that are not read.
    others: Vec<Cow<'b, str>>,
    pub(super) values: [Option<&'b str>; Member::ALL.len()],
}

impl<'b> Members<'b> {
    pub(super) fn read(text: &'b str) -> Result<Self, BodyFault> {
        const OTHERS_USUAL: usize = 8;
        let others = Vec::with_capacity(OTHERS_USUAL);
        let mut members = Self { count: 0, others, values: [None; Member::ALL.len()] };
        walk(text, &mut |name, value| members.take(name, value))?;
        members.refuse_duplicates()?;
        Ok(members)
    }

    fn take(&mut self, name: Cow<'b, str>, value: &'b str) -> Result<(), BodyFault> {
        if self.count == MEMBERS_MAX {
            return Err(BodyFault::TooManyMembers);
        }
        self.count += 1;
        if let Some(member) = Member::like(&name) {
            if name != member.name() {
                return Err(BodyFault::OddSpelling { name: member.name() });
            }
            if self.values[member as usize].replace(value).is_some() {
                return Err(BodyFault::DuplicateMember { name: Some(member.name()) });
            }
        } else {
            self.others.push(name);
        }
        Ok(())
    }

    fn refuse_duplicates(&mut self) -> Result<(), BodyFault> {
        self.others.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        if self.others.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(BodyFault::DuplicateMember { name: None });
        }
        Ok(())
    }
}

/// What a walk calls for each member: its name, unescaped, and its value as written.
type Each<'f, 'b> = &'f mut dyn FnMut(Cow<'b, str>, &'b str) -> Result<(), BodyFault>;

/// Goes once over the members of the object that is `text`; whatever is inside their values is checked, not kept.
pub(super) fn walk<'b>(text: &'b str, each: Each<'_, 'b>) -> Result<(), BodyFault> {
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(text);
    if let Err(error) = json.deserialize_map(Walk { each, fault: &mut fault }) {
        return Err(fault.unwrap_or_else(|| not_read(&error)));
    }
    json.end().map_err(|_| BodyFault::TrailingData)
}

fn not_read(error: &serde_json::Error) -> BodyFault {
    if error.is_data() {
        BodyFault::NotAnObject
    } else {
        BodyFault::NotJson { line: error.line(), column: error.column() }
    }
}

struct Walk<'f, 'b> {
    each: Each<'f, 'b>,
    fault: &'f mut Option<BodyFault>,
}

impl<'b> Visitor<'b> for Walk<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &'b RawValue = map.next_value()?;
            if let Err(fault) = (self.each)(name, value.get()) {
                *self.fault = Some(fault);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// A member's name: borrowed from the body unless it has escapes.
struct Name;

impl<'b> DeserializeSeed<'b> for Name {
    type Value = Cow<'b, str>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'b> Visitor<'b> for Name {
    type Value = Cow<'b, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, name: &'b str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_string()))
    }
}
