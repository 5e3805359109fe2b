//! What is asked about people, and of the trail of what they did. Never: rules.

use std::collections::HashMap;

use crate::registry::{AuditFilter, Event, NewInvite};
use crate::types::{AccountId, Actor, EventId, KeyId, Secret, Ticket, TicketKind};

use super::{AdminError, AuditNews, AuditPage, Desk, HistoryLine, Reply, Running};

impl Desk<'_> {
    pub(super) fn reset(&self, actor: Actor, account: &str) -> Result<Reply, AdminError> {
        let reset = self.registry.issue_reset(actor, account)?;
        let link = self.link(TicketKind::Reset, &reset.ticket);
        Ok(Reply::Reset { account: reset.account, expires_at: reset.expires_at, link })
    }

    pub(super) fn invited(&self, actor: Actor, new: &NewInvite) -> Result<Reply, AdminError> {
        let (invite, ticket) = self.registry.create_invite(actor, new)?;
        Ok(Reply::Invited { invite, link: self.link(TicketKind::Invite, &ticket) })
    }

    /// The URL that a ticket is handed over in.
    pub(super) fn link(&self, kind: TicketKind, ticket: &Ticket) -> Secret {
        Secret::new(format!("{}/{}/{}", self.base_url, kind.as_str(), ticket.expose()))
    }

    pub(super) fn audit(
        &self,
        actor: Actor,
        filter: &AuditFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Reply, AdminError> {
        let page = self.registry.events(actor, filter, before, limit)?;
        Ok(Reply::Audit(AuditPage { entries: self.lines(page.entries)?, next: page.next }))
    }

    pub(super) fn audit_news(
        &self,
        actor: Actor,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Reply, AdminError> {
        let news = self.registry.news(actor, filter, after, limit)?;
        let (next, has_more) = (news.next, news.has_more);
        Ok(Reply::AuditNews(AuditNews { entries: self.lines(news.entries)?, next, has_more }))
    }

    pub(super) fn models(&self, actor: Actor) -> Result<Reply, AdminError> {
        self.registry.administrators_only(actor)?;
        Ok(Reply::Models(self.server.map(Running::models).unwrap_or_default()))
    }

    /// Events with their actors as people know them.
    pub(super) fn lines(&self, events: Vec<Event>) -> Result<Vec<HistoryLine>, AdminError> {
        // Apart, since whoever holds a key is told by the key's id, too.
        let (mut actors, mut targets) = (HashMap::new(), HashMap::new());
        let mut lines = Vec::with_capacity(events.len());
        for event in events {
            let (actor, target) = (event.actor.to_string(), event.target_id());
            if !actors.contains_key(&actor) {
                actors.insert(actor.clone(), self.actor_name(event.actor)?);
            }
            if !targets.contains_key(&target) {
                targets.insert(target.clone(), self.target_name(&target)?);
            }
            let name = |names: &HashMap<String, String>, id: &String| names.get(id).unwrap_or(id).clone();
            let (actor, target) = (name(&actors, &actor), name(&targets, &target));
            lines.push(HistoryLine::of(event, actor, target));
        }
        Ok(lines)
    }

    fn target_name(&self, id: &str) -> Result<String, AdminError> {
        let key = id.parse::<KeyId>().ok().map(|key| self.registry.key_name(key)).transpose()?.flatten();
        let account = id.parse::<AccountId>().ok().map(|account| self.owner(account)).transpose()?.flatten();
        let name = key.map(|name| name.to_string()).or_else(|| account.map(|email| email.to_string()));
        Ok(name.unwrap_or_else(|| id.to_string()))
    }

    fn actor_name(&self, actor: Actor) -> Result<String, AdminError> {
        Ok(match actor {
            Actor::Machine { uid: 0 } => "root on the machine".to_string(),
            Actor::Machine { uid } => format!("user {uid} on the machine"),
            Actor::Person { account, .. } => {
                self.owner(account)?.map_or_else(|| account.to_string(), |email| email.to_string())
            }
            Actor::Token { token } => format!("token {token}"),
            Actor::Key { .. } => "whoever holds the key".to_string(),
            Actor::Ember => "Ember".to_string(),
        })
    }
}
