//! The fields of a form or a query (application/x-www-form-urlencoded). Never: what they mean.

use std::str::FromStr;

use crate::types::Secret;

/// Fields that are read; no form has more than a name for each of a key's thousand models.
const FIELDS_MAX: usize = 1100;

/// Names and values, in the order sent.
#[derive(Default)]
pub(in crate::http) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(in crate::http) fn parse(bytes: &[u8]) -> Self {
        let fields = form_urlencoded::parse(bytes).take(FIELDS_MAX);
        Self(fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a name, without space around it; empty where there is none.
    pub(in crate::http) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// Every value of a name.
    pub(in crate::http) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A value as it was typed, space and all.
    pub(in crate::http) fn secret(&self, name: &str) -> Secret {
        Secret::new(self.raw(name).to_string())
    }

    /// Whether there is a field of that name, empty or not.
    pub(in crate::http) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A value that is not empty.
    pub(in crate::http) fn some(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// A value that is not empty, read as something; the sentence when it can't be.
    pub(in crate::http) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, String> {
        self.some(name).map(|text| text.parse::<T>().map_err(|error| error.to_string())).transpose()
    }

    fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Drop for Fields {
    /// A password may be among them.
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.0.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}
