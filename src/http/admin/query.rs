//! The parameters of a query of the admin API. Never: what a route takes.

use crate::admin::AdminError;
use crate::registry::PAGE_MAX;

use super::target::pairs;

/// Entries of a list that says nothing about its length.
const LIMIT_DEFAULT: usize = 100;

/// The parameters of a query; each is taken once, and what is left over is refused.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, AdminError> {
        pairs(query).map(Self).ok_or_else(|| AdminError::invalid("the query is not properly encoded"))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, AdminError> {
        let value = self.take(name).map(|text| text.parse());
        value.transpose().map_err(|error| AdminError::invalid(format!("'{name}': {error}")))
    }

    pub(super) fn limit(&mut self) -> Result<usize, AdminError> {
        match self.parsed("limit")?.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=PAGE_MAX => Ok(limit),
            _ => Err(AdminError::invalid(format!("'limit' is a number from 1 to {PAGE_MAX}"))),
        }
    }

    pub(super) fn done<T>(self, result: T) -> Result<T, AdminError> {
        match self.0.first() {
            None => Ok(result),
            Some((name, _)) => Err(AdminError::invalid(format!(
                "'{}' is not a parameter of this, or stands there twice",
                name.escape_default()
            ))),
        }
    }
}
