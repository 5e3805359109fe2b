//! What a setting's value may be: types, units, ranges. Never: which settings there are.

use std::time::Duration;

use figment::value::Value;
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

/// The most entries of any list.
const LIST_MAX: usize = 1000;

/// Says what is wrong with a text, in a sentence that needs no subject.
pub(super) type TextCheck = fn(&str) -> Result<(), String>;

/// The kind of value that a setting takes. Bounds are inclusive, and written as a person would.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text(TextCheck),
    Texts(TextCheck),
    TextOrTexts(TextCheck),
    Word(&'static [&'static str]),
    Switch,
    Count(u64, u64),
    Size(&'static str, &'static str),
    Time(&'static str, &'static str),
    /// Passed on as it is; only what JSON can't say is refused.
    Any,
}

impl Kind {
    /// A value from an environment variable: texts as they are, everything else as TOML where it is TOML.
    pub(super) fn value_of(self, text: &str) -> Value {
        match self {
            Self::Text(_) | Self::Word(_) | Self::Time(..) => Value::from(text),
            Self::Texts(_)
            | Self::TextOrTexts(_)
            | Self::Switch
            | Self::Count(..)
            | Self::Size(..)
            | Self::Any => text.trim().parse().map_or_else(|_| Value::from(text), |toml| from_toml(&toml)),
        }
    }

    /// Says what is wrong with `value`, if anything is.
    pub(super) fn check(self, value: &Value) -> Result<(), String> {
        match self {
            Self::Text(check) => check(text(value, "a text in quotes")?),
            Self::TextOrTexts(check) if value.as_str().is_some() => check(text(value, "a text")?),
            Self::Texts(check) | Self::TextOrTexts(check) => texts(value, check),
            Self::Word(words) => {
                let word = text(value, &format!("one of {}", words.join(", ")))?;
                ensure(words.contains(&word), || format!("{} is none of {}", shown(word), words.join(", ")))
            }
            Self::Switch => ensure(value.to_bool().is_some(), || wanted("true or false", value)),
            Self::Count(min, max) => {
                let count = value.to_i128().ok_or_else(|| wanted("a whole number", value))?;
                let range = i128::from(min)..=i128::from(max);
                ensure(range.contains(&count), || format!("{count} is outside {min} to {max}"))
            }
            Self::Size(min, max) => {
                let (bytes, said) = match value.to_i128() {
                    Some(bytes) => (bytes, bytes.to_string()),
                    None => {
                        let text = text(value, "a number of bytes, such as 1048576 or \"1MiB\"")?;
                        (i128::from(size(text)?), shown(text))
                    }
                };
                let range = i128::from(size(min)?)..=i128::from(size(max)?);
                ensure(range.contains(&bytes), || format!("{said} is outside {min} to {max}"))
            }
            Self::Time(min, max) => {
                let text = text(value, "a time with its unit in quotes, such as \"30s\"")?;
                let range = duration(min)?..=duration(max)?;
                ensure(range.contains(&duration(text)?), || {
                    format!("{} is outside {min} to {max}", shown(text))
                })
            }
            Self::Any => ensure(all_finite(value), || "nan and inf can't be passed on as JSON".to_string()),
        }
    }
}

/// A time such as `30s`, `5m`, `12h`, `90d` (a day is 24 hours).
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{} is not a time; write a number and a unit, such as 30s, 5m, 12h or 90d", shown(text));
    let span = SpanParser::new().parse_span(text.trim()).map_err(|_| refused())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
    Duration::try_from(signed).map_err(|_| refused())
}

/// How long something is kept: a time from a day to a hundred years, or `never`, which is for ever.
pub(super) fn retention(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    let range = duration("1d")?..=duration("36500d")?;
    let kept = duration(text).map_err(|error| format!("{error}; or never"))?;
    ensure(range.contains(&kept), || format!("{} is outside 1d to 36500d; or write never", shown(text)))?;
    Ok(Some(kept))
}

/// A number of bytes such as `65536`, `64KiB`, `32MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit.trim() {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| {
        format!("{} is not a size; write bytes, or a number with KiB, MiB or GiB", shown(text))
    })
}

/// A text fit for a terminal: quoted, controls escaped, cut after 80 characters.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("'{}{more}'", cut.escape_debug())
}

/// A TOML value as figment has it; dates become texts.
pub(super) fn from_toml(toml: &toml_edit::Value) -> Value {
    if let Some(text) = toml.as_str() {
        Value::from(text)
    } else if let Some(number) = toml.as_integer() {
        Value::from(number)
    } else if let Some(number) = toml.as_float() {
        Value::from(number)
    } else if let Some(switch) = toml.as_bool() {
        Value::from(switch)
    } else if let Some(array) = toml.as_array() {
        Value::from(array.iter().map(from_toml).collect::<Vec<_>>())
    } else if let Some(table) = toml.as_inline_table() {
        let pairs = table.iter().map(|(key, value)| (key.to_string(), from_toml(value)));
        Value::from(pairs.collect::<figment::value::Dict>())
    } else {
        Value::from(toml.to_string().trim())
    }
}

/// The other way.
pub(super) fn to_toml(value: &Value) -> toml_edit::Value {
    if let Some(text) = value.as_str() {
        text.into()
    } else if let Some(switch) = value.to_bool() {
        switch.into()
    } else if let Some(number) = value.to_i128() {
        i64::try_from(number).unwrap_or(i64::MAX).into()
    } else if let Some(number) = value.to_f64() {
        number.into()
    } else if let Some(array) = value.as_array() {
        array.iter().map(to_toml).collect::<toml_edit::Array>().into()
    } else {
        let pairs = value.as_dict().into_iter().flatten();
        pairs.map(|(key, value)| (key, to_toml(value))).collect::<toml_edit::InlineTable>().into()
    }
}

fn ensure(fine: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if fine { Ok(()) } else { Err(problem()) }
}

fn text<'v>(value: &'v Value, wish: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wanted(wish, value))
}

fn texts(value: &Value, check: TextCheck) -> Result<(), String> {
    let list = value.as_array().ok_or_else(|| wanted("a list of texts, such as [\"a\", \"b\"]", value))?;
    ensure(list.len() <= LIST_MAX, || format!("{} entries are more than {LIST_MAX}", list.len()))?;
    let mut seen = std::collections::BTreeSet::new();
    let mut faults = Vec::new();
    for entry in list {
        let text = text(entry, "a list of texts")?;
        let fault = check(text)
            .and_then(|()| ensure(seen.insert(text), || format!("{} is listed twice", shown(text))));
        faults.extend(fault.err());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

fn wanted(wish: &str, value: &Value) -> String {
    let found = match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "true or false",
        Value::Num(..) if value.to_i128().is_some() => "a whole number",
        Value::Num(..) => "a number with a fraction",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    };
    format!("expected {wish}, found {found}")
}

fn all_finite(value: &Value) -> bool {
    let list = value.as_array().into_iter().flatten();
    let table = value.as_dict().into_iter().flat_map(figment::value::Dict::values);
    value.to_f64().is_none_or(f64::is_finite) && list.chain(table).all(all_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_days_have_24_hours() {
        for (text, seconds) in
            [("30s", 30), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000), ("1h 30m", 5400)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "-5s", "5s ago", "1 month", "soon", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_kept_is_kept_for_a_day_at_least_or_for_ever() {
        assert_eq!(retention("never"), Ok(None));
        assert_eq!(retention("1d"), Ok(Some(Duration::from_secs(86_400))));
        assert_eq!(retention("36500d"), Ok(Some(Duration::from_secs(36_500 * 86_400))));
        for text in ["", "Never", "23h", "36501d", "0", "365"] {
            assert!(retention(text).unwrap_err().contains("never"), "{text}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("65536", 65_536), ("64KiB", 65_536), ("32 MiB", 33_554_432), ("1GiB", 1 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "32MB", "1.5GiB", "-1", "99999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_has_no_controls() {
        assert_eq!(shown("a\u{1b}[31mb"), "'a\\u{1b}[31mb'");
        assert_eq!(shown(&"x".repeat(100)).len(), 85);
    }

    #[test]
    fn bounds_are_inclusive() {
        let times = Kind::Time("1s", "1m");
        assert!(times.check(&Value::from("1s")).is_ok() && times.check(&Value::from("60s")).is_ok());
        assert_eq!(times.check(&Value::from("61s")), Err("'61s' is outside 1s to 1m".to_string()));
        assert_eq!(Kind::Count(1, 5).check(&Value::from(-1)), Err("-1 is outside 1 to 5".to_string()));
        assert!(Kind::Size("1KiB", "1MiB").check(&Value::from(1023)).is_err());
    }

    #[test]
    fn toml_goes_both_ways() {
        let text = r#"{ a = [1, 2.5, "x y"], b = { c = true } }"#;
        assert_eq!(to_toml(&from_toml(&text.parse().unwrap())).to_string(), text);
    }
}
