//! Finding `ember.toml`, and what it says line by line. Never: other sources.

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{ImDocument, Item, Key, TableLike};

use super::fault::{Faults, Place};
use super::kind::from_toml;
use super::layer::{Layer, unknown};
use super::secret::variable;
use super::table::{self, Found, Trail};

/// The largest configuration file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// A file and its text.
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// The file that was named, else the first one that is there.
pub(super) fn find(
    named: Option<&Path>,
    directory: Option<&Path>,
    environment: &[(String, String)],
    faults: &mut Faults,
) -> Option<Document> {
    let named =
        named.map(Path::to_path_buf).or_else(|| variable("EMBER_CONFIG", environment).map(PathBuf::from));
    let must_be = named.is_some();
    let candidates = named.map_or_else(|| searched(directory, environment), |path| vec![path]);
    for path in candidates {
        match read(&path) {
            Ok(text) => return Some(Document { path, text }),
            Err(error)
                if !must_be && [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {}
            Err(error) => {
                faults.add(Place::File(path), format!("the configuration can't be read: {error}"));
                return None;
            }
        }
    }
    None
}

/// What the file says.
pub(super) fn layer(document: Option<&Document>, faults: &mut Faults) -> Layer {
    let mut reader = Reader { document, layer: Layer::new("file"), faults };
    let Some(text) = document.map(|document| document.text.as_str()) else { return reader.layer };
    match ImDocument::parse(text) {
        Ok(toml) => reader.section(&Trail::new(), toml.as_table()),
        Err(error) => {
            let place = reader.place(error.span());
            reader.faults.add(place, error.message().trim().replace('\n', ", "));
        }
    }
    reader.layer
}

/// Where the file is looked for when none is named.
fn searched(directory: Option<&Path>, environment: &[(String, String)]) -> Vec<PathBuf> {
    let here = directory.map_or_else(PathBuf::new, Path::to_path_buf).join("ember.toml");
    let absolute = |name| variable(name, environment).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let home = home.map(|home| home.join("ember/ember.toml"));
    [here].into_iter().chain(home).chain([PathBuf::from("/etc/ember/ember.toml")]).collect()
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let bytes = std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if bytes as u64 > FILE_MAX { Err(std::io::Error::other("it is larger than 1 MiB")) } else { Ok(text) }
}

struct Reader<'a> {
    document: Option<&'a Document>,
    layer: Layer,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn section(&mut self, above: &Trail, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let trail: Trail = above.iter().cloned().chain([name.to_string()]).collect();
            let key = table.get_key_value(name).map(|(key, _)| key);
            match table::find(&trail) {
                Found::Setting(row) => match item.clone().into_value() {
                    Ok(value) => {
                        let place = self.place(item.span().or_else(|| key.and_then(Key::span)));
                        self.layer.take(row, trail, from_toml(&value), place, self.faults);
                    }
                    Err(_) => self.fault(key, format!("{} has no value", table::said(&trail))),
                },
                Found::Section if trail == ["upstream"] => self.upstreams(&trail, key, item),
                Found::Section => match item.as_table_like() {
                    Some(inner) => self.section(&trail, inner),
                    None => {
                        let said = table::said(&trail);
                        self.fault(key, format!("'{said}' is a section, not a setting; write [{said}]"));
                    }
                },
                Found::Nothing => {
                    let subject = format!("unknown setting '{}'", table::said(&trail));
                    self.fault(key, unknown(&subject, &trail, written));
                }
            }
        }
    }

    fn upstreams(&mut self, trail: &Trail, key: Option<&Key>, item: &Item) {
        let headed = item
            .as_array_of_tables()
            .map(|list| list.iter().map(|table| (table as &dyn TableLike, table.span())).collect::<Vec<_>>());
        let inline = || {
            let tables = item.as_array()?.iter().map(toml_edit::Value::as_inline_table);
            tables.map(|table| table.map(|table| (table as &dyn TableLike, table.span()))).collect()
        };
        let Some(list) = headed.or_else(inline) else {
            return self
                .fault(key, "each model server is a section of its own; write [[upstream]]".to_string());
        };
        if list.len() > 1000 {
            return self.fault(key, "there are more than 1000 upstreams".to_string());
        }
        for (number, (table, span)) in list.into_iter().enumerate() {
            let trail: Trail = trail.iter().cloned().chain([number.to_string()]).collect();
            let place = self.place(span);
            self.layer.mark(trail.clone(), place);
            self.section(&trail, table);
        }
    }

    fn fault(&mut self, key: Option<&Key>, message: String) {
        let place = self.place(key.and_then(Key::span));
        self.faults.add(place, message);
    }

    fn place(&self, span: Option<Range<usize>>) -> Place {
        let Some(document) = self.document else { return Place::Default };
        let Some(before) = span.and_then(|span| document.text.get(..span.start)) else {
            return Place::File(document.path.clone());
        };
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Place::Line {
            file: document.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// A row's path as the file writes it.
fn written(path: &str) -> String {
    path.replace(".#", "").replace('*', "MODEL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
    }

    #[test]
    fn the_search_goes_from_here_to_the_system() {
        let paths = |pairs| {
            let found = searched(None, &environment(pairs));
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(paths(&[]), "ember.toml /etc/ember/ember.toml");
        assert_eq!(
            paths(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "relative")]),
            "ember.toml /home/a/.config/ember/ember.toml /etc/ember/ember.toml"
        );
        assert_eq!(
            paths(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/x")]),
            "ember.toml /x/ember/ember.toml /etc/ember/ember.toml"
        );
    }

    #[test]
    fn a_named_file_must_be_there_and_a_searched_one_need_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut faults, absent) = (Faults::default(), directory.path().join("absent.toml"));
        assert!(find(None, Some(directory.path()), &[], &mut faults).is_none());
        assert_eq!(faults.iter().count(), 0);
        assert!(find(Some(&absent), None, &[], &mut faults).is_none());
        let named = environment(&[("EMBER_CONFIG", absent.to_str().unwrap())]);
        assert!(find(None, Some(directory.path()), &named, &mut faults).is_none());
        assert_eq!(faults.iter().count(), 2);
    }
}
