//! The embedded style sheet, script and icon, each under a name that changes with its content. Never: pages.

use std::sync::LazyLock;

use ring::digest::{SHA256, digest};

/// A file in the binary.
pub(in crate::http) struct Asset {
    /// Like `dashboard-1f2e3d4c5b6a7988.css`.
    pub(in crate::http) name: String,
    pub(in crate::http) media_type: &'static str,
    pub(in crate::http) content: &'static [u8],
}

/// Every embedded file.
pub(in crate::http) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) icon: Asset,
}

pub(in crate::http) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: asset("css", "text/css; charset=utf-8", include_bytes!("assets/dashboard.css")),
    script: asset("js", "text/javascript; charset=utf-8", include_bytes!("assets/dashboard.js")),
    icon: asset("svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
});

impl Assets {
    /// The file with this name.
    pub(in crate::http) fn find(&self, name: &str) -> Option<&Asset> {
        [&self.style, &self.script, &self.icon].into_iter().find(|asset| asset.name == name)
    }
}

impl Asset {
    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

fn asset(kind: &str, media_type: &'static str, content: &'static [u8]) -> Asset {
    let hash: String =
        digest(&SHA256, content).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Asset { name: format!("dashboard-{hash}.{kind}"), media_type, content }
}
