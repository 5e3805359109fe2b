//! The members of a JSON object: their names, unescaped, and their values, as written. Never: what they mean.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::skim::{self, Skim};
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
        let all = || Self::ALL.into_iter();
        all()
            .find(|member| member.name() == name)
            .or_else(|| all().find(|member| folds_to(name, member.name())))
    }
}

/// Whether `name` is `plain` (lower-case ASCII) to a reader blind to case; Go's folds two more letters.
pub(super) fn folds_to(name: &str, plain: &str) -> bool {
    // Those two are longer than what they are folded to.
    name.eq_ignore_ascii_case(plain) || (name.len() > plain.len() && folds_oddly_to(name, plain))
}

fn folds_oddly_to(name: &str, plain: &str) -> bool {
    let folded = |c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(folded).eq(plain.chars())
}

/// The top level's members: the values of those that are read, as written.
#[derive(Default)]
pub(super) struct Members<'b> {
    count: usize,
    others: Others<'b>,
    pub(super) values: [Option<&'b str>; Member::ALL.len()],
}

/// The names of the members that are not read. Most requests have few.
#[derive(Default)]
struct Others<'b> {
    few: [&'b str; OTHERS_FEW],
    count: usize,
    more: Vec<Cow<'b, str>>,
}

const OTHERS_FEW: usize = 8;

impl<'b> Members<'b> {
    pub(super) fn read(text: &'b str) -> Result<Self, BodyFault> {
        if skim::pays(text) {
            match Self::gone_over(text, Rest::Skimmed) {
                // What is not read so says nothing about the request.
                Err(BodyFault::NotJson { .. } | BodyFault::NotAnObject | BodyFault::TrailingData) => {}
                outcome => return outcome,
            }
        }
        Self::gone_over(text, Rest::Ignored)
    }

    fn gone_over(text: &'b str, rest: Rest) -> Result<Self, BodyFault> {
        let mut members = Self::default();
        walk(text, rest, &mut members)?;
        match members.others.has_one_twice() {
            true => Err(BodyFault::DuplicateMember { name: None }),
            false => Ok(members),
        }
    }
}

impl<'b> Places<'b> for Members<'b> {
    fn of(&mut self, name: Cow<'b, str>) -> Result<Option<&mut Option<&'b str>>, BodyFault> {
        if self.count == MEMBERS_MAX {
            return Err(BodyFault::TooManyMembers);
        }
        self.count += 1;
        let Some(member) = Member::like(&name) else {
            self.others.push(name);
            return Ok(None);
        };
        if name != member.name() {
            return Err(BodyFault::OddSpelling { name: member.name() });
        }
        let place = &mut self.values[member as usize];
        match place {
            Some(_) => Err(BodyFault::DuplicateMember { name: Some(member.name()) }),
            None => Ok(Some(place)),
        }
    }
}

impl<'b> Others<'b> {
    fn push(&mut self, name: Cow<'b, str>) {
        match (name, self.few.get_mut(self.count)) {
            (Cow::Borrowed(name), Some(place)) => {
                *place = name;
                self.count += 1;
            }
            (name, _) => self.more.push(name),
        }
    }

    fn has_one_twice(&mut self) -> bool {
        let few = &self.few[..self.count];
        if self.more.is_empty() {
            return few.iter().enumerate().any(|(place, name)| few[..place].contains(name));
        }
        self.more.extend(few.iter().map(|name| Cow::Borrowed(*name)));
        self.more.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        self.more.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Where the values that somebody wants are put, as written.
pub(super) trait Places<'b> {
    /// The place of a member's value, by its name, unescaped; none when nobody wants it.
    fn of(&mut self, name: Cow<'b, str>) -> Result<Option<&mut Option<&'b str>>, BodyFault>;
}

/// How a value is gone over that nobody wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Any value, as serde_json ignores it.
    Ignored,
    /// As fast as may be, and not every one that is right.
    Skimmed,
}

/// Goes once over the members of the object that is `text`; whatever is inside their values is checked, not kept.
pub(super) fn walk<'b>(text: &'b str, rest: Rest, places: &mut dyn Places<'b>) -> Result<(), BodyFault> {
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(text);
    if let Err(error) = json.deserialize_map(Walk { text, rest, places, fault: &mut fault }) {
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
    text: &'b str,
    rest: Rest,
    places: &'f mut dyn Places<'b>,
    fault: &'f mut Option<BodyFault>,
}

impl<'b> Visitor<'b> for Walk<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let behind = if self.rest == Rest::Skimmed { skim::value_behind(self.text, &name) } else { None };
            match (self.places.of(name), behind) {
                (Ok(Some(place)), _) => *place = Some(map.next_value::<&'b RawValue>()?.get()),
                (Ok(None), Some(value)) => map.next_value_seed(Skim::outermost(self.text, value))?,
                (Ok(None), None) => drop(map.next_value::<IgnoredAny>()?),
                (Err(fault), _) => {
                    *self.fault = Some(fault);
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        Ok(())
    }
}

/// A member's name: borrowed from the body unless it has escapes.
pub(super) struct Name;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_judged_before_its_value_is_read() {
        for (body, fault) in [
            (r#"{"model":"a","model":"#, BodyFault::DuplicateMember { name: Some("model") }),
            (r#"{"MODEL":@"#, BodyFault::OddSpelling { name: "model" }),
        ] {
            for body in [body.to_string(), body.to_string() + &" ".repeat(4 << 10)] {
                let refused = Members::read(&body).err().unwrap();
                assert_eq!(refused.to_string(), fault.to_string(), "{body}");
            }
        }
    }
}
