//! Finds as a table, lines or JSON. Never: a secret.

use serde_json::{Value, json};

use crate::cli::args::Format;
use crate::cli::error::CliError;
use crate::cli::show;
use crate::cli::table::{plain, table};
use crate::cli::terminal::Screen;

use super::haul::Find;
use super::standing::Known;

const HEADING: [&str; 6] = ["PLACE", "SECRET", "STATUS", "NAME", "ACCOUNT", "ID"];

/// Prints one line for each place.
pub(super) fn print(finds: &[Find], known: &[Known], screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let with_known = finds.iter().filter_map(|find| Some((find, known.get(find.secret)?)));
    let lines = match screen.format {
        Format::Json => {
            let data: Vec<Value> = with_known.map(|(find, known)| object(find, known)).collect();
            return screen.data(&format!("{:#}", json!({ "object": "list", "data": data })));
        }
        Format::Table if !finds.is_empty() => {
            let rows: Vec<_> = with_known.map(|(find, known)| row(find, known, false)).collect();
            table(&HEADING, &rows)
        }
        Format::Table => return Ok(()),
        Format::Plain | Format::Csv => {
            plain(&with_known.map(|(find, known)| row(find, known, true)).collect::<Vec<_>>())
        }
    };
    if lines.is_empty() { Ok(()) } else { screen.data(&lines.join("\n")) }
}

fn row(find: &Find, known: &Known, stable: bool) -> Vec<String> {
    let words = known.standing.words(&known.mark);
    let mut row = vec![
        find.place.to_string(),
        known.mark.clone(),
        if stable { stable_word(words) } else { words.to_string() },
    ];
    match known.standing.key() {
        Some(key) => row.extend([key.name.to_string(), show::owner(key), key.id.to_string()]),
        None => row.extend([String::new(), String::new(), String::new()]),
    }
    row
}

fn object(find: &Find, known: &Known) -> Value {
    let key = known.standing.key();
    json!({
        "object": "find",
        "commit": find.place.commit,
        "path": find.place.path,
        "line": find.place.spot.map(|(line, _)| line),
        "column": find.place.spot.map(|(_, column)| column),
        "secret": known.mark,
        "status": stable_word(known.standing.words(&known.mark)),
        "id": key.map(|key| key.id.to_string()),
        "name": key.map(|key| key.name.to_string()),
        "account": key.map(show::owner),
    })
}

/// One word for programs.
fn stable_word(words: &str) -> String {
    words.replace(' ', "_")
}
