//! Aligned columns for people, tab-separated lines for programs. Never: what the cells mean.

use super::terminal::clean;

/// Two spaces stand between columns.
const GAP: &str = "  ";

/// Rows under a heading, each column as wide as its widest cell; no space at the ends of lines.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let heading = heading.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = std::iter::once(&heading).chain(rows).map(|row| cleaned(row)).collect();
    let mut widths = vec![0; heading.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// Names and values under each other, the values aligned.
pub(super) fn sheet(pairs: &[(&str, String)]) -> Vec<String> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(&str, String)| format!("{name:<width$}{GAP}{}", one_line(value));
    pairs.iter().map(line).collect()
}

/// One line for each row, its cells parted by tabs.
pub(super) fn plain(rows: &[Vec<String>]) -> Vec<String> {
    rows.iter().map(|row| cleaned(row).join("\t")).collect()
}

fn cleaned(row: &[String]) -> Vec<String> {
    row.iter().map(|cell| one_line(cell)).collect()
}

fn one_line(cell: &str) -> String {
    clean(cell).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let rows = vec![vec!["a".to_string(), String::new()], vec!["béta".to_string(), "x".to_string()]];
        assert_eq!(table(&["NAME", "ID"], &rows), ["NAME  ID", "a", "béta  x"]);
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_through() {
        let rows = vec![vec!["a\u{1b}[31m\tb\nc\u{202e}".to_string()]];
        for line in
            table(&["N"], &rows).into_iter().chain(plain(&rows)).chain(sheet(&[("n", rows[0][0].clone())]))
        {
            assert!(!line.contains(['\u{1b}', '\n', '\t', '\u{202e}']), "{line:?}");
        }
    }
}
