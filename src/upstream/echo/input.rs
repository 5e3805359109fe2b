//! What was said to the stand-in, read out of a request's JSON. Never: what it answers.
//!
//! Lists are folded into text while they are read, so memory follows the body's size and not the number of items.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::speech::count;

/// The most texts of one prompt or input.
const TEXTS_MAX: usize = 2048;

/// The messages of a chat, or the input of a response: a text or messages.
#[derive(Default)]
pub(super) struct Conversation {
    /// What the user said last; empty if he never spoke.
    pub(super) last: String,
    /// The words of all messages.
    pub(super) words: u64,
    /// How many messages; None when it was a text alone.
    pub(super) messages: Option<u64>,
}

/// A prompt of `/v1/completions` or an input of `/v1/embeddings`: one text or several, or token numbers (one list or
/// several), which are taken for words.
#[derive(Default)]
pub(super) struct Input {
    pub(super) texts: Vec<String>,
}

impl Input {
    /// The words of all texts.
    pub(super) fn words(&self) -> u64 {
        self.texts.iter().map(|text| count(text)).sum()
    }
}

#[derive(Deserialize)]
struct Message {
    role: Option<String>,
    #[serde(default)]
    content: Option<Content>,
}

/// A message's text: a string, or the texts of its parts, one per line.
struct Content(String);

/// `{"type":"text","text":...}`, `{"type":"input_text",...}`, or something without text.
#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

/// An item of an [`Input`]'s list.
enum Item {
    Text(String),
    Token(u64),
}

impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Conversation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or messages")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Conversation, E> {
                Ok(Conversation { last: text.to_string(), words: count(text), messages: None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Conversation, A::Error> {
                let (mut said, mut messages) = (Conversation::default(), 0);
                while let Some(message) = list.next_element::<Message>()? {
                    messages += 1;
                    let text = message.content.map(|content| content.0).unwrap_or_default();
                    said.words += count(&text);
                    if message.role.as_deref() == Some("user") {
                        said.last = text;
                    }
                }
                Ok(Conversation { messages: Some(messages), ..said })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or parts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content(text.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut all = String::new();
                while let Some(part) = list.next_element::<Part>()? {
                    if let Some(text) = part.text {
                        append(&mut all, "\n", &text);
                    }
                }
                Ok(Content(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, texts, or lists of tokens")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Input, E> {
                Ok(Input { texts: vec![text.to_string()] })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Input, A::Error> {
                let (mut texts, mut tokens) = (Vec::new(), String::new());
                while let Some(item) = list.next_element::<Item>()? {
                    match item {
                        Item::Token(token) => append(&mut tokens, " ", &token.to_string()),
                        Item::Text(_) if texts.len() == TEXTS_MAX => {
                            return Err(A::Error::custom("too many texts"));
                        }
                        Item::Text(text) => texts.push(text),
                    }
                }
                if !tokens.is_empty() {
                    texts.push(tokens);
                }
                Ok(Input { texts })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a token or a list of tokens")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_string()))
            }

            fn visit_u64<E: Error>(self, token: u64) -> Result<Item, E> {
                Ok(Item::Token(token))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
                let mut tokens = String::new();
                while let Some(token) = list.next_element::<u64>()? {
                    append(&mut tokens, " ", &token.to_string());
                }
                Ok(Item::Text(tokens))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn append(all: &mut String, between: &str, text: &str) {
    if !all.is_empty() {
        all.push_str(between);
    }
    all.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_a_conversation() {
        for (json, last, words, messages) in [
            (r#""a b""#, "a b", 2, None),
            ("[]", "", 0, Some(0)),
            (r#"[{"role":"user","content":"a"},{"role":"assistant","content":null}]"#, "a", 1, Some(2)),
            (
                r#"[{"role":"user","content":[{"text":"a"},{"url":[]},{"text":"b"}]},{"x":1}]"#,
                "a\nb",
                2,
                Some(2),
            ),
            (r#"[{"role":"user","content":"a"},{"role":"user"}]"#, "", 1, Some(2)),
        ] {
            let said: Conversation = serde_json::from_str(json).unwrap();
            assert_eq!((said.last.as_str(), said.words, said.messages), (last, words, messages), "{json}");
        }
        for json in ["1", "null", "{}", "[1]", r#"[{"content":1}]"#, r#"[{"content":[1]}]"#] {
            assert!(serde_json::from_str::<Conversation>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn every_shape_of_an_input() {
        for (json, texts) in [
            (r#""a b""#, vec!["a b"]),
            (r#"["a","b"]"#, vec!["a", "b"]),
            ("[1,2,3]", vec!["1 2 3"]),
            ("[[1,2],[3]]", vec!["1 2", "3"]),
            ("[]", vec![]),
        ] {
            assert_eq!(serde_json::from_str::<Input>(json).unwrap().texts, texts, "{json}");
        }
        let many = |count: usize| format!("[{}\"\"]", "\"\",".repeat(count - 1));
        assert!(serde_json::from_str::<Input>(&many(TEXTS_MAX)).is_ok());
        for json in ["1", "{}", "[-1]", "[[[1]]]", &many(TEXTS_MAX + 1)] {
            assert!(serde_json::from_str::<Input>(json).is_err(), "{json}");
        }
    }
}
