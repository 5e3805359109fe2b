//! Pages about API keys.

use askama::Template;

use super::{AccessForm, Choice, Frame, HistoryRow, Moment, PolicyFacts, PolicyForm, Spark};

/// `/dashboard/keys`: a GET form with `search`, `environment`, `status`, `sort` (and `account` for administrators).
#[derive(Template)]
#[template(path = "keys.html")]
pub(in crate::http) struct KeysPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) keys: Vec<KeyRow>,
    /// Whether the account has no key at all: shows the empty state that explains what a key is.
    pub(in crate::http) has_none: bool,
    pub(in crate::http) search: String,
    /// Empty value is all.
    pub(in crate::http) environments: Vec<Choice>,
    /// Empty value is all.
    pub(in crate::http) statuses: Vec<Choice>,
    /// How long not used; empty value is whether used or not.
    pub(in crate::http) unused: Vec<Choice>,
    /// created, name, used, expires.
    pub(in crate::http) sorts: Vec<Choice>,
    /// For administrators: `` is own keys, `all` everyone's; empty for members.
    pub(in crate::http) owners: Vec<Choice>,
    /// Whether rows have an owner.
    pub(in crate::http) shows_owner: bool,
    /// `1-50 of 120 keys`, or empty.
    pub(in crate::http) range: String,
    /// Links to the pages before and after; empty where there is none.
    pub(in crate::http) previous: String,
    pub(in crate::http) next: String,
    /// Whether any filter is set: then an empty table says that nothing fits and links to `/dashboard/keys`.
    pub(in crate::http) is_filtered: bool,
}

#[derive(Debug, Clone, Default)]
pub(in crate::http) struct KeyRow {
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    /// Four characters; shown as `...Ab12`.
    pub(in crate::http) last4: String,
    /// dev, staging or prod.
    pub(in crate::http) environment: String,
    /// `All models`, one name, or `3 models`.
    pub(in crate::http) models: String,
    pub(in crate::http) owner: String,
    pub(in crate::http) created: Moment,
    /// None is never used.
    pub(in crate::http) used: Option<Moment>,
    /// The dot: `fresh` (7 days), `stale` or `never`.
    pub(in crate::http) freshness: String,
    /// None when it was not used in the last 7 days.
    pub(in crate::http) spark: Option<Spark>,
    /// None is never.
    pub(in crate::http) expires: Option<Moment>,
    /// active, disabled, expired or revoked.
    pub(in crate::http) status: String,
}

/// A model that a key may be limited to: checkbox `model`, one for each.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct ModelChoice {
    pub(in crate::http) name: String,
    pub(in crate::http) is_chosen: bool,
}

/// `/dashboard/keys/new` -> POST `/dashboard/keys`: `name`, `environment`, `expiry` (never, 30d, 90d, 365d, date) and
/// `date` (yyyy-mm-dd), `once`, and what stands at `PolicyForm` and `AccessForm`.
#[derive(Template)]
#[template(path = "key_new.html")]
pub(in crate::http) struct KeyNewPage {
    pub(in crate::http) frame: Frame,
    /// A hidden field `once`: the form counts once, however often it is sent.
    pub(in crate::http) once: String,
    pub(in crate::http) name: String,
    pub(in crate::http) environments: Vec<Choice>,
    pub(in crate::http) policy: PolicyForm,
    pub(in crate::http) access: AccessForm,
    pub(in crate::http) expiries: Vec<Choice>,
    pub(in crate::http) date: String,
}

/// The answer to creating or rotating: the only page that ever has the key. Links on with "I have stored it" to
/// `/dashboard/keys/{id}`.
#[derive(Template)]
#[template(path = "key_issued.html")]
pub(in crate::http) struct KeyIssuedPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    pub(in crate::http) environment: String,
    /// The whole key.
    pub(in crate::http) key: String,
    /// Like `https://ai.example.com/v1`.
    pub(in crate::http) base_url: String,
    /// A model to put into the ready lines.
    pub(in crate::http) model: String,
    /// When rotated: what becomes of the old secret, in a sentence; else empty.
    pub(in crate::http) old: String,
}

/// A secret of a key.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct SecretLine {
    pub(in crate::http) last4: String,
    pub(in crate::http) created: Moment,
    /// Until when an old secret works.
    pub(in crate::http) until: Option<Moment>,
}

/// `/dashboard/keys/{id}`.
#[derive(Template)]
#[template(path = "key.html")]
pub(in crate::http) struct KeyPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) key: KeyRow,
    pub(in crate::http) policy: PolicyFacts,
    pub(in crate::http) allow_browser: bool,
    /// Empty where it is that of most keys.
    pub(in crate::http) weight: String,
    pub(in crate::http) secrets: Vec<SecretLine>,
    pub(in crate::http) revoked: Option<Moment>,
    pub(in crate::http) reason: String,
    pub(in crate::http) history: Vec<HistoryRow>,
    pub(in crate::http) seen: SeenLines,
}

/// Who used a key.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct SeenLines {
    /// The most recent first.
    pub(in crate::http) users: Vec<UserLine>,
    /// Browsers that were refused, in a sentence; else empty.
    pub(in crate::http) browsers: String,
    /// The last use of the old secret, in a sentence; else empty.
    pub(in crate::http) old_secret: String,
    /// That it may be shared by applications, in a sentence; else empty.
    pub(in crate::http) hint: String,
}

/// An address and a client that used a key.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct UserLine {
    pub(in crate::http) client: String,
    pub(in crate::http) address: String,
    /// `12 requests`.
    pub(in crate::http) requests: String,
    pub(in crate::http) first: Moment,
    pub(in crate::http) last: Moment,
}

/// `/dashboard/keys/{id}/edit` -> POST there: as `KeyNewPage` without `environment` and `once`.
#[derive(Template)]
#[template(path = "key_edit.html")]
pub(in crate::http) struct KeyEditPage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    pub(in crate::http) policy: PolicyForm,
    pub(in crate::http) access: AccessForm,
    /// keep, never, 30d, 90d, 365d, date.
    pub(in crate::http) expiries: Vec<Choice>,
    pub(in crate::http) date: String,
}

/// `/dashboard/keys/{id}/rotate` -> POST there: `grace` (now, 1h, 24h, 7d), `once`.
#[derive(Template)]
#[template(path = "key_rotate.html")]
pub(in crate::http) struct KeyRotatePage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) once: String,
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    pub(in crate::http) last4: String,
    pub(in crate::http) graces: Vec<Choice>,
}

/// `/dashboard/keys/{id}/delete` -> POST there: `name`, typed by hand.
#[derive(Template)]
#[template(path = "key_delete.html")]
pub(in crate::http) struct KeyDeletePage {
    pub(in crate::http) frame: Frame,
    pub(in crate::http) id: String,
    pub(in crate::http) name: String,
    pub(in crate::http) last4: String,
    pub(in crate::http) environment: String,
}
