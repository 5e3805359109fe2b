//! Whether a value is as a schema of the document says; as much of JSON Schema as the document uses.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a `$ref` stands for.
pub(super) fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(name) => document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("no {name}")),
        None => value,
    }
}

/// Whether a value is as a schema says. Knows what the document uses, and refuses to look past anything else.
pub(super) fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let mut known = BTreeSet::new();
    fits_but_for_more(document, schema, value, &mut known)?;
    match value.as_object().and_then(|members| members.keys().find(|name| !known.contains(*name))) {
        Some(name) => Err(format!("'{name}' is not documented")),
        None => Ok(()),
    }
}

fn fits_but_for_more(
    document: &Value,
    schema: &Value,
    value: &Value,
    known: &mut BTreeSet<String>,
) -> Result<(), String> {
    let schema = resolved(document, schema);
    let no = |reason: &str| Err(format!("{value} {reason} {schema}"));
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "description" | "examples" | "default" | "format" | "readOnly" | "writeOnly" | "uniqueItems" => {}
            "type" if !types(rule).contains(&kind(value)) => return no("is not of the type of"),
            "const" if value != rule => return no("is not the one of"),
            "enum" if !rule.as_array().unwrap().contains(value) => return no("is not among those of"),
            "pattern" if !fits_id(rule.as_str().unwrap(), value) => return no("is not the id of"),
            "minimum" if value.as_u64().is_some_and(|number| number < rule.as_u64().unwrap()) => {
                return no("is below");
            }
            "maximum" if value.as_u64().is_some_and(|number| number > rule.as_u64().unwrap()) => {
                return no("is above");
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" if !fits_bound(word, rule, value) => {
                return no("is out of bounds of");
            }
            "required" if value.is_object() => {
                if let Some(name) =
                    rule.as_array().unwrap().iter().find(|name| value.get(name.as_str().unwrap()).is_none())
                {
                    return no(&format!("has no {name}, against"));
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    known.insert(name.clone());
                    value.get(name).map_or(Ok(()), |value| fits(document, schema, value))?;
                }
            }
            "items" => {
                let mut entries = value.as_array().map(Vec::as_slice).unwrap_or_default().iter();
                entries.try_for_each(|value| fits(document, rule, value))?;
            }
            "allOf" => {
                let mut parts = rule.as_array().unwrap().iter();
                parts.try_for_each(|part| fits_but_for_more(document, part, value, known))?;
            }
            "oneOf" => {
                let one =
                    |part: &&Value| fits_but_for_more(document, part, value, &mut BTreeSet::new()).is_ok();
                if rule.as_array().unwrap().iter().filter(one).count() != 1 {
                    return no("is none or several of");
                }
            }
            "additionalProperties" if *rule == false => {}
            // The names are open, the values are not.
            "additionalProperties" if rule.is_object() => {
                for (name, value) in value.as_object().unwrap() {
                    known.insert(name.clone());
                    fits(document, rule, value)?;
                }
            }
            "type" | "const" | "enum" | "pattern" | "minimum" | "maximum" | "minLength" | "maxLength"
            | "minItems" | "maxItems" | "required" => {}
            _ => return Err(format!("the test does not know '{word}'")),
        }
    }
    Ok(())
}

fn types(rule: &Value) -> Vec<&str> {
    match rule.as_array() {
        Some(several) => several.iter().filter_map(Value::as_str).collect(),
        None => vec![rule.as_str().unwrap()],
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// All patterns are ids: a word, then 26 digits of Crockford's base32.
fn fits_id(pattern: &str, value: &Value) -> bool {
    let word =
        pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix("[0-7][0-9a-hjkmnp-tv-z]{25}$")).unwrap();
    value.as_str().is_none_or(|text| text.strip_prefix(word).is_some_and(|digits| digits.len() == 26))
}

fn fits_bound(word: &str, rule: &Value, value: &Value) -> bool {
    let bound = rule.as_u64().unwrap() as usize;
    let length = value.as_str().map(|text| text.chars().count());
    match (word, length, value.as_array()) {
        ("minLength", Some(length), _) => length >= bound,
        ("maxLength", Some(length), _) => length <= bound,
        ("minItems", _, Some(entries)) => entries.len() >= bound,
        ("maxItems", _, Some(entries)) => entries.len() <= bound,
        _ => true,
    }
}
