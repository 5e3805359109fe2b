//! The ways in that a restored backup must not open again: sessions, links and administrators' tokens that were ended
//! after it was made. Never: passwords, which are the backup's.

use crate::store::{Commit, Urgency, Write};
use crate::types::{AccountId, Actor};

use super::super::audit::Action;
use super::super::record::people::{decode_invite, decode_reset, decode_session, decode_token};
use super::super::session::Kept;
use super::super::table::{INVITES, RESETS, SESSIONS, TICKETS, TOKENS};
use super::super::{PAGE_MAX, Registry, RegistryError, invite, session};
use super::Carried;

/// For the audit trail.
const DETAIL: &str = "carried over at a restore";

impl Registry {
    pub(super) fn carry_people(&self, actor: Actor, present: &Self) -> Result<Vec<Carried>, RegistryError> {
        let mut carried = Vec::new();
        self.each_row(TOKENS, |id, bytes| {
            if present.store.get(TOKENS, id)?.is_none() {
                let kept = decode_token(id, bytes)?;
                let mut writes =
                    self.event(actor, Action::TokenRevoked, kept.token.id.as_bytes(), DETAIL.to_string())?;
                writes.push(Write::Delete { table: TOKENS, key: id.to_vec() });
                writes.push(Write::Delete { table: TICKETS, key: kept.digest.to_vec() });
                self.take_away(writes)?;
                carried.push(Carried::Token(kept.token));
            }
            Ok(())
        })?;
        self.each_row(INVITES, |id, bytes| {
            if present.store.get(INVITES, id)?.is_none() {
                let kept = decode_invite(id, bytes)?;
                let mut writes =
                    self.event(actor, Action::InviteRevoked, kept.invite.id.as_bytes(), DETAIL.to_string())?;
                writes.extend(invite::removal(&kept));
                self.take_away(writes)?;
                carried.push(Carried::Invite(kept.invite));
            }
            Ok(())
        })?;
        self.each_row(RESETS, |id, bytes| {
            if present.store.get(RESETS, id)?.as_deref() != Some(bytes) {
                let digest = decode_reset(bytes)?.digest.to_vec();
                let row = Write::Delete { table: RESETS, key: id.to_vec() };
                self.take_away(vec![row, Write::Delete { table: TICKETS, key: digest }])?;
                let account = AccountId::from_bytes(id).map(|id| self.owner(id)).transpose()?;
                carried.extend(account.flatten().map(Carried::Reset));
            }
            Ok(())
        })?;
        let ended = self.ended_sessions(present)?;
        for part in ended.chunks(PAGE_MAX) {
            self.take_away(part.iter().flat_map(session::removal).collect())?;
        }
        if !ended.is_empty() {
            carried.push(Carried::Sessions(ended.len()));
        }
        Ok(carried)
    }

    /// Sessions here that are not there, or of an epoch that is over there.
    fn ended_sessions(&self, present: &Self) -> Result<Vec<Kept>, RegistryError> {
        let mut ended = Vec::new();
        self.each_row(SESSIONS, |id, bytes| {
            let kept = decode_session(id, bytes)?;
            let is_there = present.store.get(SESSIONS, id)?.is_some();
            if !is_there || present.epoch(kept.session.account)? != kept.epoch {
                ended.push(kept);
            }
            Ok(())
        })?;
        Ok(ended)
    }

    /// Nobody else has a restored store open, so nothing is checked.
    fn take_away(&self, writes: Vec<Write>) -> Result<(), RegistryError> {
        let commit = Commit { writes, urgency: Urgency::Denial, ..Commit::default() };
        self.commit_linked(&commit).map(drop).map_err(|error| RegistryError::Store(error.to_string()))
    }
}
