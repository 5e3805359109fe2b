//! A configuration that was loaded anew, as JSON. Never: its settings' values.

use serde::{Deserialize, Serialize};

use crate::admin::Reloaded;

#[derive(Serialize, Deserialize)]
pub(super) struct ReloadJson {
    object: String,
    file: Option<String>,
    changed: Vec<String>,
    restart: Vec<String>,
    warnings: Vec<String>,
}

impl ReloadJson {
    pub(super) fn of(reloaded: &Reloaded) -> Self {
        let Reloaded { file, changed, restart, warnings } = reloaded.clone();
        Self { object: "reload".to_string(), file, changed, restart, warnings }
    }

    pub(super) fn read(self) -> Reloaded {
        let Self { file, changed, restart, warnings, .. } = self;
        Reloaded { file, changed, restart, warnings }
    }
}
