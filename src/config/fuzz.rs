//! What the fuzzer holds the configuration to: any text is settings, or faults that say where; and settings that are
//! written down again are the same. Never: files (those of keys and certificates are another's).

use std::path::PathBuf;

use figment::Provider;
use figment::value::{Dict, Value};
use toml_edit::{DocumentMut, ImDocument, Item};

use super::fault::Faults;
use super::file::{self, Document};
use super::kind::to_toml;
use super::{Flags, Loaded, Sources, judged};

const FILE: &str = "/nowhere/ember.toml";

/// Panics unless a text, and behind a zero byte the lines of an environment, are settings that come again from what is
/// written of them, or faults of which each says in one line where it is.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, lines) = text.split_once('\0').unwrap_or((text, ""));
    let mut environment = vec![("HOME".to_string(), "/nowhere".to_string())];
    let variables = lines.lines().filter_map(|line| line.split_once('='));
    let variables = variables.filter(|(name, _)| !name.contains(char::is_control));
    environment.extend(variables.map(|(name, text)| (name.to_string(), text.to_string())));
    let is_elsewhere = |(name, text): &(String, String)| name.ends_with("FILE") && text.contains('/');
    if names_a_file(text) || environment.iter().any(is_elsewhere) {
        return;
    }
    match load(text, &environment) {
        Ok(loaded) => written_again(text, &environment, &loaded),
        Err(faults) => told(text, &faults),
    }
}

fn load(text: &str, environment: &[(String, String)]) -> Result<Loaded, Faults> {
    let document = Document { path: PathBuf::from(FILE), text: text.to_string() };
    let sources = Sources { file: None, environment, flags: Flags::default(), directory: None };
    judged(&sources, Some(document), Faults::default())
}

/// Whether a setting names a file by more than its name: what is read there is not for the fuzzer to say.
fn names_a_file(text: &str) -> bool {
    fn in_item(item: &Item) -> bool {
        let tables =
            item.as_array_of_tables().into_iter().flatten().map(|table| table as &dyn toml_edit::TableLike);
        let inline = item.as_array().into_iter().flatten().filter_map(toml_edit::Value::as_inline_table);
        let inline = inline.map(|table| table as &dyn toml_edit::TableLike);
        let all = item.as_table_like().into_iter().chain(tables).chain(inline);
        all.into_iter().any(|table| {
            table.iter().any(|(name, item)| {
                let is_far = name.ends_with("_file") && item.as_str().is_some_and(|file| file.contains('/'));
                is_far || in_item(item)
            })
        })
    }
    ImDocument::parse(text).is_ok_and(|document| in_item(document.as_item()))
}

fn told(text: &str, faults: &Faults) {
    let lines = text.matches('\n').count() + 1;
    assert!(faults.iter().next().is_some(), "refused for nothing");
    for fault in faults.iter().map(ToString::to_string) {
        assert!(!fault.contains(char::is_control), "not fit for a terminal: {fault:?}");
        let place = fault.strip_prefix(FILE).and_then(|rest| rest.strip_prefix(':'));
        let line = place.and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "beyond the text: {fault}");
    }
}

fn written_again(text: &str, environment: &[(String, String)], loaded: &Loaded) {
    let document = Document { path: PathBuf::from(FILE), text: text.to_string() };
    let layer = file::layer(Some(&document), &mut Faults::default());
    let Some(settings) = layer.data().ok().and_then(|data| data.into_values().next()) else { return };
    let written = written(settings);
    let again = match load(&written, environment) {
        Ok(again) => again,
        Err(faults) => panic!("refused when it is written down: {faults}\n{written}"),
    };
    let values = |loaded: &Loaded| -> Vec<(String, String)> {
        loaded.settings().into_iter().map(|setting| (setting.path, setting.value)).collect()
    };
    assert_eq!(values(&again), values(loaded), "other settings:\n{written}");
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config), "another meaning:\n{written}");
}

/// Settings as TOML: each section in a line, the model servers as a list of them.
fn written(settings: Dict) -> String {
    let mut document = DocumentMut::new();
    for (name, value) in settings {
        let value = if name == "upstream" { Value::from(in_order(&value)) } else { value };
        document.insert(&name, Item::Value(to_toml(&value)));
    }
    document.to_string()
}

fn in_order(upstreams: &Value) -> Vec<Value> {
    let numbered = upstreams.as_dict().into_iter().flatten();
    let mut numbered: Vec<(usize, &Value)> =
        numbered.filter_map(|(number, value)| Some((number.parse().ok()?, value))).collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, value)| value.clone()).collect()
}
