//! What an operator can ask and what he is answered: a table of calls into the registry. The audit trail and its log
//! lines are the registry's, written with each change.
//! Never: rules, how a command arrived, how an answer is shown.

mod command;
mod error;
mod idle;
mod people;
mod reply;
mod status;
mod upstream;
mod usage;
pub mod wire;

use std::collections::HashMap;

use crate::gate::{Grant, Owner, Stop};
use crate::meter::{KeyTrace, Meter};
use crate::registry::{DenialTarget, Page, Registry, RegistryError};
use crate::types::{AccountId, Actor, Clock, Email, Key, KeyRecord, KeyStanding, ModelId, Prices, Timestamp};

pub use crate::types::UpstreamState;
pub use command::{Command, UpstreamAsk, UsageAsk};
pub use error::AdminError;
pub use reply::{
    AccountDetail, AuditNews, AuditPage, HistoryLine, KeyDetail, KeyView, ModelServer, ModelView, Reloaded,
    Reply, SecretView, UsageProof, UsageReport, UsageRow, UsageSums, UsageView, Verdict, WrongCounter,
};
pub use status::{ServerStatus, Status, UpstreamStatus, UpstreamStep, UpstreamTest};
pub use usage::lately;

/// What a command is carried out with.
pub struct Desk<'a> {
    /// Where the rules are.
    pub registry: &'a Registry,
    /// What was used.
    pub meter: &'a Meter,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What the running server says of itself; none where no server runs.
    pub server: Option<&'a dyn Running>,
    /// Scheme, host and port of the links that are made, with no slash at the end.
    pub base_url: &'a str,
    /// What tokens cost.
    pub prices: &'a Prices,
}

/// A server that runs, as it tells of itself.
pub trait Running: Send + Sync {
    /// How it is.
    fn status(&self) -> ServerStatus;

    /// The models it serves, by name.
    fn models(&self) -> Vec<ModelView>;

    /// Takes a model server out of service, or puts it back; none when there is no such server.
    fn drain(&self, name: &str, drained: bool) -> Option<UpstreamStatus>;

    /// Tries a model server, for 45 s at most. Blocks. None when there is no such server.
    ///
    /// # Errors
    /// [`AdminError`] when others are being tried.
    fn test(
        &self,
        name: &str,
        model: Option<&ModelId>,
        stream: bool,
    ) -> Result<Option<UpstreamTest>, AdminError>;

    /// Loads the configuration anew and goes by it. `record` is told what is going to change once all of it was found
    /// good; nothing changes before, nor when it fails. Blocks.
    ///
    /// # Errors
    /// [`AdminError`] with every fault of the configuration, or what `record` said.
    fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError>;
}

/// Writes down that the configuration is loaded anew.
pub type Record<'a> = &'a dyn Fn(&Reloaded) -> Result<(), AdminError>;

/// Carries out one command. May block on the disk.
///
/// # Errors
/// [`AdminError`], in the registry's words.
pub fn run(desk: &Desk<'_>, actor: Actor, command: &Command) -> Result<Reply, AdminError> {
    let registry = desk.registry;
    Ok(match command {
        Command::AccountCreate(new) => Reply::Account(registry.create_account(actor, new)?),
        Command::AccountList { after, limit } => Reply::Accounts(registry.accounts(actor, *after, *limit)?),
        Command::AccountShow { account } => desk.account(actor, account)?,
        Command::AccountDisable { account } => Reply::Account(registry.disable_account(actor, account)?),
        Command::AccountEnable { account } => Reply::Account(registry.enable_account(actor, account)?),
        Command::AccountDelete { account } => Reply::Account(registry.delete_account(actor, account)?),
        Command::AccountPassword { account, password, current } => {
            Reply::Account(registry.set_password(actor, account, password, current.as_ref())?)
        }
        Command::AccountUpdate { account, changes } => {
            Reply::Account(registry.update_account(actor, account, changes)?)
        }
        Command::AccountReset { account } => desk.reset(actor, account)?,
        Command::InviteCreate(new) => desk.invite(actor, new)?,
        Command::InviteList => Reply::Invites(registry.invites(actor)?),
        Command::InviteRevoke { invite } => Reply::Invite(registry.revoke_invite(actor, *invite)?),
        Command::SessionList { account } => Reply::Sessions(registry.sessions(actor, account)?),
        Command::SessionEnd { session } => Reply::Session(registry.end_session(actor, *session)?),
        Command::SessionsEnd { account, keep } => {
            Reply::Sessions(registry.end_sessions(actor, account, *keep)?)
        }
        Command::TokenCreate(new) => {
            let (token, secret) = registry.create_token(actor, new)?;
            Reply::TokenIssued { token, secret }
        }
        Command::TokenList => Reply::Tokens(registry.tokens(actor)?),
        Command::TokenRevoke { token } => Reply::Token(registry.revoke_token(actor, token)?),
        Command::AuditList { filter, before, limit } => desk.audit(actor, filter, *before, *limit)?,
        Command::AuditNews { filter, after, limit } => desk.audit_news(actor, filter, *after, *limit)?,
        Command::AuditVerify { noted, after } => {
            Reply::AuditVerified(registry.verify_trail(actor, *noted, *after)?)
        }
        Command::Models => desk.models(actor)?,
        Command::Upstream(ask) => desk.upstream(actor, ask)?,
        Command::Usage { account } => desk.usage(actor, account.as_deref())?,
        Command::UsageReport(ask) => desk.usage_report(actor, ask)?,
        Command::UsageVerify => desk.usage_verify(actor)?,
        Command::KeyCreate(new) => desk.issued(registry.create_key(actor, new)?)?,
        Command::KeyList { filter, unused, after, limit } => {
            let page = desk.page_of_keys(actor, filter, *unused, *after, *limit)?;
            desk.keys(page)?
        }
        Command::KeyShow { key } => desk.key(actor, key)?,
        Command::KeyUpdate { key, changes } => desk.changed(registry.update_key(actor, key, changes)?)?,
        Command::KeyDisable { key } => desk.changed(registry.disable_key(actor, key)?)?,
        Command::KeyEnable { key } => desk.changed(registry.enable_key(actor, key)?)?,
        Command::KeyRevoke { key, reason } => {
            desk.changed(registry.revoke_key(actor, key, reason.as_deref())?)?
        }
        Command::KeyRevokeAll { account, environment, reason } => {
            Reply::KeysRevoked(registry.revoke_keys(actor, account, *environment, reason.as_deref())?)
        }
        Command::KeyRotate { key, rotation } => desk.issued(registry.rotate_key(actor, key, *rotation)?)?,
        Command::KeyVerify { key } => desk.verdict(actor, key)?,
        Command::Reload => desk.reload(actor)?,
        Command::Status => desk.status(actor)?,
    })
}

impl Desk<'_> {
    fn account(&self, actor: Actor, text: &str) -> Result<Reply, AdminError> {
        let account = self.registry.account(actor, text)?;
        let history = self.lines(self.registry.account_history(account.id)?)?;
        Ok(Reply::AccountDetail(AccountDetail { account, history }))
    }

    fn keys(&self, page: Page<KeyRecord>) -> Result<Reply, AdminError> {
        let mut owners = HashMap::new();
        let mut entries = Vec::with_capacity(page.entries.len());
        for record in page.entries {
            let owner = match owners.get(&record.account) {
                Some(known) => Option::clone(known),
                None => self.owner(record.account)?,
            };
            owners.insert(record.account, owner.clone());
            entries.push(self.view(record, owner)?);
        }
        Ok(Reply::Keys(Page { entries, has_more: page.has_more }))
    }

    fn key(&self, actor: Actor, text: &str) -> Result<Reply, AdminError> {
        let record = self.registry.key(actor, text)?;
        let history = self.lines(self.registry.key_history(record.id)?)?;
        let owner = self.owner(record.account)?;
        let trace = self.trace(&record)?;
        let spread = trace.spread(self.clock.now());
        Ok(Reply::KeyDetail(KeyDetail { key: self.view(record, owner)?, history, trace, spread }))
    }

    /// Who used a key; of its old secret only what concerns the last rotation, while that still works.
    fn trace(&self, record: &KeyRecord) -> Result<KeyTrace, AdminError> {
        let mut trace = self.meter.traces().of(record.id).map_err(RegistryError::from)?;
        let now = self.clock.now();
        let in_grace = record.secrets.iter().any(|secret| secret.valid_until.is_some_and(|end| end > now));
        let rotated_at = record.secrets.first().map(|newest| newest.created_at);
        trace.old_secret = trace.old_secret.filter(|old| in_grace && Some(old.last_at) >= rotated_at);
        Ok(trace)
    }

    fn changed(&self, record: KeyRecord) -> Result<Reply, AdminError> {
        let owner = self.owner(record.account)?;
        Ok(Reply::Key(self.view(record, owner)?))
    }

    fn issued(&self, (record, secret): (KeyRecord, Key)) -> Result<Reply, AdminError> {
        // The key is out: a failure to say more about it must not lose it.
        let owner = self.owner(record.account).ok().flatten();
        let last_used_at = self.meter.last_used(record.account, record.id).ok().flatten();
        Ok(Reply::Issued { key: self.view_used(record, owner, last_used_at), secret })
    }

    fn verdict(&self, actor: Actor, key: &Key) -> Result<Reply, AdminError> {
        let (record, digest) = self.registry.verify_key(actor, key)?;
        let account = self.registry.owner(record.account)?;
        let owner = account.as_ref().map(Owner::of).unwrap_or_default();
        let targets = [
            DenialTarget::Key(record.id),
            DenialTarget::Secret(digest),
            DenialTarget::Account(record.account),
        ];
        let owed = self.registry.owed_denial(&targets).map(|reason| Stop::Cut(reason.into()));
        let stop = owed.or_else(|| Grant::of(&record, &digest, owner).stop(self.clock.now()));
        let key = self.view(record, account.map(|account| account.email))?;
        Ok(Reply::Verdict(Verdict { key, stop }))
    }

    fn status(&self, actor: Actor) -> Result<Reply, AdminError> {
        self.registry.administrators_only(actor)?;
        Ok(Reply::Status(Status {
            accounts: self.registry.account_count()?,
            keys: self.registry.key_count()?,
            denials_owed: self.registry.owes_denials(),
            audit_head: self.registry.trail_head()?,
            server: self.server.map(Running::status),
        }))
    }

    fn reload(&self, actor: Actor) -> Result<Reply, AdminError> {
        self.registry.administrators_only(actor)?;
        let server =
            self.server.ok_or_else(|| AdminError::unavailable("no server runs that could reload"))?;
        let record = |reloaded: &Reloaded| Ok(self.registry.note_reload(actor, &reloaded.changed)?);
        Ok(Reply::Reloaded(server.reload(&record)?))
    }

    fn owner(&self, account: AccountId) -> Result<Option<Email>, AdminError> {
        Ok(self.registry.owner(account)?.map(|account| account.email))
    }

    fn view(&self, record: KeyRecord, owner: Option<Email>) -> Result<KeyView, AdminError> {
        let last_used_at = self.meter.last_used(record.account, record.id).map_err(RegistryError::from)?;
        Ok(self.view_used(record, owner, last_used_at))
    }

    fn view_used(&self, record: KeyRecord, owner: Option<Email>, last_used_at: Option<Timestamp>) -> KeyView {
        let (revoked_at, revoked_reason) = match &record.standing {
            KeyStanding::Revoked { at, reason } => (Some(*at), reason.clone()),
            KeyStanding::Active | KeyStanding::Disabled => (None, None),
        };
        KeyView {
            id: record.id,
            status: record.status(self.clock.now()),
            last4: record.hint(),
            secrets: record.secrets.iter().filter_map(SecretView::of).collect(),
            name: record.name,
            owner,
            account: record.account,
            environment: record.environment,
            policy: record.policy,
            allow_browser: record.allow_browser,
            weight: record.weight,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at,
            revoked_at,
            revoked_reason,
        }
    }
}
