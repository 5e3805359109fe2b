//! Finds a setting by its path, and what was meant where there is none. Never: what anybody wrote.

pub(super) use super::settings::{Row, SETTINGS};

/// Longer ones resemble nothing.
const TYPED_MAX: usize = 200;

/// A setting's path, part by part: `["upstream", "0", "url"]`.
pub(super) type Trail = Vec<String>;

/// What a path means.
pub(super) enum Found {
    Setting(&'static Row),
    Section,
    Nothing,
}

/// Looks a path up.
pub(super) fn find(trail: &[String]) -> Found {
    let mut found = Found::Nothing;
    for row in SETTINGS {
        let parts: Vec<&str> = row.path.split('.').collect();
        if trail.len() <= parts.len()
            && trail.iter().zip(&parts).all(|(part, pattern)| matches(part, pattern))
        {
            if trail.len() == parts.len() {
                return Found::Setting(row);
            }
            found = Found::Section;
        }
    }
    found
}

/// Whether a change of the setting with that path holds only after a restart.
pub(super) fn needs_restart(path: &str) -> bool {
    SETTINGS.iter().any(|row| row.needs_restart && row.path == path)
}

/// A path as people write it: without the number of an upstream.
pub(super) fn said(trail: &[String]) -> String {
    let numbered = |index: usize| index == 1 && trail.first().is_some_and(|first| first == "upstream");
    let parts = trail.iter().enumerate().filter(|(index, _)| !numbered(*index));
    parts.map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(".")
}

/// The setting or section that was probably meant, as the path of a row or of its beginning.
pub(super) fn meant(trail: &[String]) -> Option<&'static str> {
    let typed = said(trail);
    if typed.len() > TYPED_MAX {
        return None;
    }
    let typed_last = typed.rsplit('.').next().unwrap_or_default();
    let mut best: Option<((usize, usize), &'static str)> = None;
    for path in SETTINGS.iter().flat_map(|row| beginnings(row.path)) {
        let plain = path.replace(".#", "").replace(".*", "");
        let last = plain.rsplit('.').next().unwrap_or_default();
        let whole = strsim::damerau_levenshtein(&typed, &plain);
        let end = strsim::damerau_levenshtein(typed_last, last);
        let score = (whole.min(end + 1), whole);
        let near = whole.min(end) <= (typed_last.chars().count() / 3).max(1);
        if near && best.is_none_or(|(least, _)| score < least) {
            best = Some((score, path));
        }
    }
    best.map(|(_, path)| path)
}

/// The path itself and every section that it is in, but for those that are only a number or a model's name.
fn beginnings(path: &'static str) -> impl Iterator<Item = &'static str> {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).filter(|start| !start.ends_with(['#', '*']))
}

fn matches(part: &str, pattern: &str) -> bool {
    match pattern {
        "#" => part.len() <= 3 && part.parse::<u16>().is_ok_and(|number| number.to_string() == part),
        "*" => true,
        _ => part == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(path: &str) -> Trail {
        path.split('.').map(str::to_string).collect()
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for row in SETTINGS {
            if let Some(default) = row.default {
                assert_eq!(row.kind.check(&row.kind.value_of(default)), Ok(()), "{}", row.path);
            }
        }
    }

    #[test]
    fn the_wrong_word_brings_the_right_one_to_mind() {
        for (typed, wish) in [
            ("server.lisen", Some("server.listen")),
            ("sever", Some("server")),
            ("listen", Some("server.listen")),
            ("idle_timeout", Some("server.idle_timeout")),
            ("upstream.0.idel_timeout", Some("upstream.#.idle_timeout")),
            ("upstream.0.metadata.qwen.nmae", Some("upstream.#.metadata.*.name")),
            ("upstreams", Some("upstream")),
            ("foo", None),
            ("server.colour", None),
        ] {
            assert_eq!(meant(&trail(typed)), wish, "{typed}");
        }
    }

    #[test]
    fn paths_are_found_with_their_wildcards() {
        assert!(
            matches!(find(&trail("upstream.12.url")), Found::Setting(row) if row.path == "upstream.#.url")
        );
        assert!(matches!(find(&trail("upstream.0.metadata.qwen")), Found::Section));
        for path in
            ["upstream.01.url", "upstream.1000.url", "upstream.local.url", "server.listen.x", "nothing"]
        {
            assert!(matches!(find(&trail(path)), Found::Nothing), "{path}");
        }
    }
}
