//! What pages say about policies: the fields of a form, and the facts of what is. Never: whose policy it is.

use super::{Choice, ModelChoice};

/// What may be used, as a form: `scope` (all|only), `model`*, `routes` (all|only), `route`*, `addresses` (lines), and one
/// `limit_...` for each kind of limit.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct PolicyForm {
    pub(in crate::http) is_limited: bool,
    pub(in crate::http) models: Vec<ModelChoice>,
    pub(in crate::http) models_fault: String,
    pub(in crate::http) is_routed: bool,
    pub(in crate::http) routes: Vec<Choice>,
    pub(in crate::http) routes_fault: String,
    pub(in crate::http) addresses: TypedField,
    pub(in crate::http) limits: Vec<TypedField>,
    /// Whether anything but the models is not as it is by default.
    pub(in crate::http) is_set: bool,
}

/// What keys have besides, as a form: `allow_browser`, and `weight` for administrators.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct AccessForm {
    pub(in crate::http) allow_browser: bool,
    pub(in crate::http) weight: Option<TypedField>,
    pub(in crate::http) is_set: bool,
}

/// A field that something is typed into.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct TypedField {
    pub(in crate::http) name: String,
    pub(in crate::http) label: String,
    /// As it was typed.
    pub(in crate::http) value: String,
    /// What holds while it is empty.
    pub(in crate::http) placeholder: String,
    /// What is wrong with the value and what to do, or empty.
    pub(in crate::http) fault: String,
}

/// What may be used, to be read.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct PolicyFacts {
    /// All their names; empty is all of them, and the same below.
    pub(in crate::http) models: Vec<String>,
    pub(in crate::http) routes: Vec<String>,
    pub(in crate::http) addresses: Vec<String>,
    /// Those that bound something or were chosen.
    pub(in crate::http) limits: Vec<LimitFact>,
}

/// A limit to be read.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct LimitFact {
    /// `Tokens per day`.
    pub(in crate::http) label: String,
    /// `5,000,000` or `Unlimited`.
    pub(in crate::http) value: String,
    /// Whether it was chosen for this one; else it is the configuration's.
    pub(in crate::http) is_own: bool,
}
