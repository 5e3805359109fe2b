//! What is told of the audit trail beside its pages, as JSON. Never: events themselves.

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, AuditNews};
use crate::registry::{TrailFault, Verification};

use super::account::EventJson;
use super::unreadable;

#[derive(Serialize, Deserialize)]
pub(super) struct NewsJson {
    object: String,
    data: Vec<EventJson>,
    next: u64,
    has_more: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct VerificationJson {
    object: String,
    checked: u64,
    head: String,
    anchor: u64,
    fault: Option<FaultJson>,
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct FaultJson {
    sequence: Option<u64>,
    event: Option<String>,
    what: String,
}

impl NewsJson {
    pub(super) fn of(news: &AuditNews) -> Self {
        Self {
            object: "audit_news".to_string(),
            data: EventJson::all(&news.entries),
            next: news.next,
            has_more: news.has_more,
        }
    }

    pub(super) fn read(&self) -> Result<AuditNews, AdminError> {
        let entries = EventJson::read_all(&self.data)?;
        Ok(AuditNews { entries, next: self.next, has_more: self.has_more })
    }
}

impl VerificationJson {
    pub(super) fn of(found: &Verification) -> Self {
        let fault = found.fault.as_ref().map(|fault| FaultJson {
            sequence: fault.sequence,
            event: fault.event.clone(),
            what: fault.what.clone(),
        });
        Self {
            object: "audit_verification".to_string(),
            checked: found.checked,
            head: found.head.to_string(),
            anchor: found.anchor,
            fault,
            next: found.next.map(|next| next.to_string()),
        }
    }

    pub(super) fn read(self) -> Result<Verification, AdminError> {
        let fault = self.fault.map(|fault| TrailFault {
            sequence: fault.sequence,
            event: fault.event,
            what: fault.what,
        });
        Ok(Verification {
            checked: self.checked,
            head: self.head.parse().map_err(unreadable)?,
            anchor: self.anchor,
            fault,
            next: self.next.as_deref().map(str::parse).transpose().map_err(unreadable)?,
        })
    }
}
