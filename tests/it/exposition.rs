//! The text of the metrics, taken apart.

use std::collections::{BTreeMap, BTreeSet};

/// One line: its name, its labels, its value.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All of it; panics where it is not whole.
#[derive(Debug)]
pub struct Scrape {
    /// Families with their kind.
    pub kinds: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

impl Scrape {
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "the end mark is missing");
        let (mut kinds, mut samples) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(kinds.insert(name.to_string(), kind.to_string()), None, "{name} twice");
            } else if !line.starts_with('#') {
                samples.push(sample(line));
            }
        }
        Self { kinds, samples }
    }

    /// The names that an expression may ask for: of counters with `_total`, of histograms with what they end in.
    pub fn names(&self) -> BTreeSet<String> {
        self.samples.iter().map(|sample| sample.name.clone()).collect()
    }

    /// A family's name as it stands in documents, and its labels.
    pub fn documented(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let name = |family: &str, kind: &str| match kind {
            "counter" => format!("{family}_total"),
            "info" => format!("{family}_info"),
            _ => family.to_string(),
        };
        let labels = |family: &str| {
            let of = self.samples.iter().filter(|sample| {
                let end = sample.name.strip_prefix(family);
                end.is_some_and(|end| ["", "_total", "_info", "_bucket", "_sum", "_count"].contains(&end))
            });
            of.flat_map(|sample| sample.labels.keys().filter(|label| *label != "le").cloned()).collect()
        };
        let kinds = self.kinds.iter();
        kinds.map(|(family, kind)| (name(family, kind), (kind.clone(), labels(family)))).collect()
    }

    /// The sum of all lines of this name with these labels, and perhaps others.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|own| own == value))
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Sample {
    let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once("} ").unwrap(),
        None => ("", rest.trim()),
    };
    let labels = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (label, value) = pair.split_once("=\"").unwrap();
        (label.to_string(), value.trim_end_matches('"').to_string())
    });
    Sample { name: name.to_string(), labels: labels.collect(), value: value.parse().unwrap() }
}
