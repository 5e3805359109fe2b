//! A model as a server's own list tells of it. Never: under which names callers know it.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::types::ModelId;

/// Members that are never taken over: Ember writes its own, or they change with every reading (vLLM).
const DROPPED: [&str; 2] = ["object", "permission"];

/// The most models a server may have.
const MODELS_MAX: usize = 4096;

/// One entry of a server's list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listing {
    pub(super) id: ModelId,
    /// Seconds since 1970.
    pub(super) created: Option<i64>,
    pub(super) owned_by: Option<String>,
    /// Everything else, as the server has it.
    pub(super) extras: Map<String, Value>,
}

impl Listing {
    /// The entries of a list as `GET /v1/models` answers it; those that can't name a model are left out. None when
    /// it is no such list, or has more than 4,096 entries. A list that names no model must say that it is one.
    pub(super) fn read_all(body: &[u8]) -> Option<Vec<Self>> {
        let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
        // Ollama without models has null.
        let entries: Vec<&RawValue> =
            serde_json::from_str::<Option<_>>(answer.data.get()).ok()?.unwrap_or_default();
        if entries.len() > MODELS_MAX {
            return None;
        }
        let read = |entry: &&RawValue| Self::read(&serde_json::from_str(entry.get()).ok()?);
        let listings: Vec<Self> = entries.iter().filter_map(read).collect();
        let says_so = answer.object.is_some_and(|object| object.get() == "\"list\"");
        (says_so || !listings.is_empty()).then_some(listings)
    }

    /// One entry.
    pub(super) fn read(entry: &Value) -> Option<Self> {
        let mut extras = entry.as_object()?.clone();
        let id = extras.remove("id")?.as_str()?.parse().ok()?;
        let created = extras.remove("created").and_then(|created| created.as_i64());
        let owned_by = extras.remove("owned_by").and_then(|owner| owner.as_str().map(str::to_string));
        extras.retain(|name, _| !DROPPED.contains(&name.as_str()));
        Some(Self { id, created, owned_by, extras })
    }

    /// The entry, so that [`Listing::read`] reads the same again.
    pub(super) fn write(&self) -> Value {
        let mut entry = self.extras.clone();
        entry.insert("id".to_string(), self.id.as_str().into());
        entry.extend(self.created.map(|created| ("created".to_string(), created.into())));
        entry.extend(self.owned_by.as_ref().map(|owner| ("owned_by".to_string(), owner.as_str().into())));
        Value::Object(entry)
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Option<Vec<String>> {
        let list = Listing::read_all(body.as_bytes())?;
        Some(list.into_iter().map(|listing| listing.id.to_string()).collect())
    }

    #[test]
    fn lists_of_known_servers_are_read() {
        let llama_cpp = r#"{"models":[{"name":"m.gguf","model":"m.gguf"}],"object":"list","data":[{"id":"m.gguf",
            "object":"model","created":1,"owned_by":"llamacpp","meta":{"n_ctx_train":4096}}]}"#;
        assert_eq!(ids(llama_cpp), Some(vec!["m.gguf".to_string()]));
        assert_eq!(ids(r#"{"object":"list","data":null}"#), Some(vec![]));
        assert_eq!(ids(r#"{"data":[{"id":"a/b"}]}"#), Some(vec!["a/b".to_string()]));
    }

    #[test]
    fn what_is_no_list_is_none_and_bad_entries_are_left_out() {
        for body in ["", "[]", "{}", r#"{"data":"x"}"#, r#"{"data":{}}"#, "<html>", r#"{"data":[]} x"#] {
            assert_eq!(ids(body), None, "{body}");
        }
        let mixed = r#"{"data":[{"id":7},{"id":""},{"name":"x"},"x",null,{"id":"a\nb"},{"id":"good"}]}"#;
        assert_eq!(ids(mixed), Some(vec!["good".to_string()]));
    }

    #[test]
    fn a_listing_is_written_as_it_is_read() {
        let vllm = r#"{"data":[{"id":"q","object":"model","created":7,"owned_by":"vllm","root":"/m","max_model_len":9,
            "permission":[{"id":"modelperm-1"}]}]}"#;
        let list = Listing::read_all(vllm.as_bytes()).unwrap();
        assert_eq!(Listing::read(&list[0].write()).as_ref(), Some(&list[0]));
        assert_eq!(list[0].extras.keys().collect::<Vec<_>>(), ["max_model_len", "root"]);
    }

    #[test]
    fn bug_a_list_without_end_is_none() {
        let list = |count: usize| {
            let entries: Vec<String> = (0..count).map(|number| format!(r#"{{"id":"{number}"}}"#)).collect();
            ids(&format!(r#"{{"object":"list","data":[{}]}}"#, entries.join(",")))
        };
        assert_eq!(list(MODELS_MAX).unwrap().len(), MODELS_MAX);
        assert_eq!(list(MODELS_MAX + 1), None);
    }

    #[test]
    fn bug_an_answer_of_something_else_is_no_empty_list() {
        for body in [
            r#"{"code":404,"data":null}"#,
            r#"{"data":[]}"#,
            r#"{"data":[{"name":"x"}]}"#,
            r#"{"object":"error","data":null}"#,
            r#"{"object":"list"}"#,
        ] {
            assert_eq!(ids(body), None, "{body}");
        }
        assert_eq!(ids(r#"{"object":"list","data":[]}"#), Some(vec![]));
    }
}
