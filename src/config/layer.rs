//! What one source said: defaults, the file, variables or flags; and the four on top of each other. Never: what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::types::Gather;

use super::address;
use super::fault::{Faults, Place};
use super::kind::to_toml;
use super::raw::Raw;
use super::secret::variable;
use super::table::{self, Found, Row, SETTINGS, Trail};
use super::{Flags, Setting};

/// The settings of one source. A value that was refused leaves its place, so that it doesn't count as missing.
pub(super) struct Layer {
    name: &'static str,
    entries: BTreeMap<Trail, (Place, Option<Value>)>,
}

impl Layer {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, entries: BTreeMap::new() }
    }

    /// Takes a value for `row`, or says what is wrong with it.
    pub(super) fn take(&mut self, row: &Row, trail: Trail, value: Value, place: Place, faults: &mut Faults) {
        let checked = row.kind.check(&value);
        if let Err(problem) = &checked {
            let subject = match &place {
                Place::Variable(_) | Place::Flag(_) => String::new(),
                Place::Line { .. } | Place::File(_) | Place::Default => format!("{}: ", table::said(&trail)),
            };
            faults.add(place.clone(), format!("{subject}{problem} ({})", row.doc));
        }
        self.entries.insert(trail, (place, checked.is_ok().then_some(value)));
    }

    fn take_text(&mut self, path: &str, text: &str, flag: &'static str, faults: &mut Faults) {
        match table::find(&split(path)) {
            Found::Setting(row) => self.take(row, split(path), Value::from(text), Place::Flag(flag), faults),
            Found::Section | Found::Nothing => {
                faults.add(Place::Flag(flag), "there are more than 1000 upstreams")
            }
        }
    }

    /// Marks that something stands here without a value of its own.
    pub(super) fn mark(&mut self, trail: Trail, place: Place) {
        self.entries.entry(trail).or_insert((place, None));
    }

    /// The texts given for settings of that name, wherever they are.
    fn texts<'l>(&'l self, name: &'l str) -> impl Iterator<Item = &'l str> {
        let named =
            self.entries.iter().filter(move |(trail, _)| trail.last().is_some_and(|last| last == name));
        named.filter_map(|(_, (_, value))| value.as_ref()?.as_str())
    }

    fn upstreams(&self) -> impl Iterator<Item = usize> {
        let upstreams =
            self.entries.keys().filter(|trail| trail.first().is_some_and(|first| first == "upstream"));
        upstreams.filter_map(|trail| trail.get(1)?.parse().ok())
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (trail, (_, value)) in &self.entries {
            if let Some(value) = value {
                put(&mut dict, trail, value.clone());
            }
        }
        Ok(Profile::Default.collect(dict))
    }
}

/// All sources, the strongest last.
pub(super) struct Layers([Layer; 4]);

impl Layers {
    /// Puts flags on variables on the file on the defaults.
    pub(super) fn pile(
        file: Layer,
        variables: &[(String, String)],
        flags: &Flags,
        warnings: &mut Vec<String>,
        faults: &mut Faults,
    ) -> Self {
        let environment = from_environment(variables, &file, warnings, faults);
        let upstreams: BTreeSet<usize> = file.upstreams().chain(environment.upstreams()).gather();
        let flags = from_flags(flags, upstreams.last().map_or(0, |last| last + 1), faults);
        let upstreams: BTreeSet<usize> = upstreams.into_iter().chain(flags.upstreams()).gather();
        Self([defaults(&upstreams), file, environment, flags])
    }

    /// The strongest value of every setting.
    pub(super) fn merged(&self) -> Result<Raw, String> {
        let bottom = Figment::new().select(Profile::Default);
        self.0
            .iter()
            .fold(bottom, |below, layer| below.merge(layer))
            .extract()
            .map_err(|error| error.to_string())
    }

    /// Where the strongest value is, refused or not.
    pub(super) fn place(&self, trail: &[&str]) -> Option<&Place> {
        let trail: Trail = trail.iter().map(ToString::to_string).collect();
        self.0.iter().rev().find_map(|layer| layer.entries.get(&trail)).map(|(place, _)| place)
    }

    /// Whether the strongest value stands, not refused.
    pub(super) fn stands(&self, trail: &[&str]) -> bool {
        let trail: Trail = trail.iter().map(ToString::to_string).collect();
        let strongest = self.0.iter().rev().find_map(|layer| layer.entries.get(&trail));
        strongest.is_some_and(|(_, value)| value.is_some())
    }

    /// Where the first thing in that section is.
    pub(super) fn place_within(&self, trail: &[&str]) -> Option<&Place> {
        let within = |candidate: &Trail| candidate.iter().zip(trail).all(|(part, wish)| part == wish);
        let entries = self.0.iter().rev().flat_map(|layer| &layer.entries);
        entries.into_iter().find(|(trail, _)| within(trail)).map(|(_, (place, _))| place)
    }

    /// Every setting with its strongest value, as TOML, and where it comes from.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let all: BTreeMap<&Trail, &(Place, Option<Value>)> =
            self.0.iter().flat_map(|layer| &layer.entries).gather();
        let line = |(trail, (place, value)): (&Trail, &(Place, Option<Value>))| {
            let value = to_toml(value.as_ref()?).to_string();
            Some(Setting { path: trail.join("."), value, origin: place.origin() })
        };
        all.into_iter().filter_map(line).collect()
    }
}

fn put(dict: &mut Dict, trail: &[String], value: Value) {
    if let [last] = trail {
        dict.insert(last.clone(), value);
    } else if let [first, rest @ ..] = trail {
        let section = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, inner) = section {
            put(inner, rest, value);
        }
    }
}

fn defaults(upstreams: &BTreeSet<usize>) -> Layer {
    let mut layer = Layer::new("default");
    for row in SETTINGS {
        let Some(default) = row.default else { continue };
        let mut take = |path: &str| {
            layer.entries.insert(split(path), (Place::Default, Some(row.kind.value_of(default))));
        };
        if row.path.contains('#') {
            upstreams.iter().for_each(|number| take(&row.path.replace('#', &number.to_string())));
        } else {
            take(row.path);
        }
    }
    layer
}

fn from_environment(
    variables: &[(String, String)],
    file: &Layer,
    warnings: &mut Vec<String>,
    faults: &mut Faults,
) -> Layer {
    let mut layer = Layer::new("environment");
    let naming = variables.iter().filter(|(name, _)| name.ends_with("__API_KEY_ENV"));
    let keys: BTreeSet<&str> = file
        .texts("api_key_env")
        .chain(naming.map(|(_, text)| text.as_str()))
        .chain(["EMBER_CONFIG"])
        .collect();
    if let (Some(data), Found::Setting(row)) =
        (variable("EMBER_DATA", variables), table::find(&["data".to_string()]))
    {
        let place = Place::Variable("EMBER_DATA".to_string());
        layer.take(row, vec!["data".to_string()], Value::from(data), place, faults);
    }
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix("EMBER_") else { continue };
        if keys.contains(name.as_str()) || name == "EMBER_DATA" {
            continue;
        }
        if !rest.contains("__") {
            warnings.push(format!(
                "{name} is not a variable of Ember's and has no effect; settings are EMBER_SECTION__KEY"
            ));
            continue;
        }
        let trail: Trail = rest.split("__").map(str::to_lowercase).collect();
        let place = Place::Variable(name.clone());
        match table::find(&trail) {
            Found::Setting(row) if *rest == rest.to_uppercase() => {
                layer.take(row, trail, row.kind.value_of(text), place, faults);
            }
            Found::Setting(_) | Found::Section | Found::Nothing => {
                let number = trail.get(1).filter(|part| part.parse::<usize>().is_ok());
                let written = |path: &str| {
                    let path = path.replace('#', number.map_or("0", String::as_str)).replace('*', "model");
                    format!("EMBER_{}", path.replace('.', "__").to_uppercase())
                };
                faults.add(place, unknown("unknown setting", &trail, written));
            }
        }
    }
    layer
}

/// The sentence about a setting that there isn't. `written` gives a row's path in the form of the source.
pub(super) fn unknown(subject: &str, trail: &[String], written: impl Fn(&str) -> String) -> String {
    if trail.last().is_some_and(|last| last == "api_key") {
        return "a key is never written into the configuration; put it into a file and name that with api_key_file, \
                or into a variable and name that with api_key_env"
            .to_string();
    }
    table::meant(trail)
        .map_or_else(|| subject.to_string(), |meant| format!("{subject}; did you mean '{}'?", written(meant)))
}

fn from_flags(flags: &Flags, upstream_first: usize, faults: &mut Faults) -> Layer {
    let mut layer = Layer::new("flags");
    match flags.data.as_ref().map(|data| data.to_str()) {
        Some(Some(data)) => layer.take_text("data", data, "--data", faults),
        Some(None) => faults.add(Place::Flag("--data"), "the path is not valid UTF-8"),
        None => {}
    }
    if let Some(listen) = &flags.listen {
        layer.take_text("server.listen", listen, "--listen", faults);
    }
    for (number, url) in (upstream_first..).zip(&flags.upstreams) {
        layer.take_text(&format!("upstream.{number}.url"), url, "--upstream", faults);
        let name = format!("upstream.{number}.name");
        match address::upstream(url) {
            Ok(located) => {
                layer.take_text(&name, &address::upstream_name(&located.address), "--upstream", faults)
            }
            Err(_) => layer.mark(split(&name), Place::Flag("--upstream")),
        }
    }
    layer
}

fn split(path: &str) -> Trail {
    path.split('.').map(str::to_string).collect()
}

/// A relative path counts from the directory of the file that it is written in.
pub(super) fn resolved(text: &str, place: Option<&Place>) -> PathBuf {
    match place {
        Some(Place::Line { file, .. } | Place::File(file)) => {
            file.parent().map_or_else(|| PathBuf::from(text), |directory| directory.join(text))
        }
        Some(Place::Variable(_) | Place::Flag(_) | Place::Default) | None => PathBuf::from(text),
    }
}
