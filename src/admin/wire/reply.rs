//! Replies to JSON and back. Never: what is asked.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::{AdminError, AuditPage, Command, KeyView, Reply, UpstreamAsk};
use crate::registry::Page;
use crate::types::{Account, Key};

use super::account::{AccountJson, EventJson};
use super::audit::{NewsJson, VerificationJson};
use super::key::{KeyJson, KeysRevokedJson, VerdictJson};
use super::people::{InviteJson, ResetJson, SessionJson, TokenJson};
use super::reload::ReloadJson;
use super::served::{ModelJson, UsageJson};
use super::status::StatusJson;
use super::upstream::{UpstreamJson, UpstreamTestJson};
use super::usage::{UsageProofJson, UsageReportJson};
use super::{ListJson, unreadable};

/// Any of the documents below.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ReplyJson {
    Account(AccountJson),
    Accounts(ListJson<AccountJson>),
    Key(KeyJson),
    Keys(ListJson<KeyJson>),
    KeysRevoked(KeysRevokedJson),
    Verdict(VerdictJson),
    Invite(InviteJson),
    Invites(ListJson<InviteJson>),
    Reset(ResetJson),
    Session(SessionJson),
    Sessions(ListJson<SessionJson>),
    Token(TokenJson),
    Tokens(ListJson<TokenJson>),
    Events(ListJson<EventJson>),
    News(NewsJson),
    Verification(VerificationJson),
    Models(ListJson<ModelJson>),
    Upstreams(ListJson<UpstreamJson>),
    Upstream(UpstreamJson),
    UpstreamTest(UpstreamTestJson),
    Usage(UsageJson),
    UsageReport(Box<UsageReportJson>),
    UsageProof(UsageProofJson),
    Reload(ReloadJson),
    Status(StatusJson),
}

impl ReplyJson {
    fn forget_secret(&mut self) {
        match self {
            Self::Key(key) => key.key = None,
            Self::Invite(invite) => invite.link = None,
            Self::Reset(reset) => reset.link = None,
            Self::Token(token) => token.token = None,
            Self::Account(_)
            | Self::Accounts(_)
            | Self::Keys(_)
            | Self::KeysRevoked(_)
            | Self::Verdict(_)
            | Self::Invites(_)
            | Self::Session(_)
            | Self::Sessions(_)
            | Self::Tokens(_)
            | Self::Events(_)
            | Self::News(_)
            | Self::Verification(_)
            | Self::Models(_)
            | Self::Upstreams(_)
            | Self::Upstream(_)
            | Self::UpstreamTest(_)
            | Self::Usage(_)
            | Self::UsageReport(_)
            | Self::UsageProof(_)
            | Self::Reload(_)
            | Self::Status(_) => {}
        }
    }
}

pub(super) fn with_json<T>(reply: &Reply, write: &dyn Fn(&ReplyJson) -> T) -> T {
    write(&document(reply))
}

/// The same, with a secret left out.
pub(super) fn without_secret<T>(reply: &Reply, write: &dyn Fn(&ReplyJson) -> T) -> T {
    let mut document = document(reply);
    document.forget_secret();
    write(&document)
}

fn document(reply: &Reply) -> ReplyJson {
    match reply {
        Reply::Account(account) => ReplyJson::Account(AccountJson::of(account)),
        Reply::Accounts(page) => {
            let data = page.entries.iter().map(AccountJson::of).collect();
            ReplyJson::Accounts(ListJson::of(data, page.has_more, |account: &AccountJson| account.id.clone()))
        }
        Reply::AccountDetail(detail) => ReplyJson::Account(AccountJson::of_detail(detail)),
        Reply::Key(key) => ReplyJson::Key(KeyJson::of(key)),
        Reply::Keys(page) => {
            let data = page.entries.iter().map(KeyJson::of).collect();
            ReplyJson::Keys(ListJson::of(data, page.has_more, |key: &KeyJson| key.id.clone()))
        }
        Reply::KeysRevoked(count) => ReplyJson::KeysRevoked(KeysRevokedJson::of(*count)),
        Reply::KeyDetail(detail) => ReplyJson::Key(KeyJson::of_detail(detail)),
        Reply::Issued { key, secret } => ReplyJson::Key(KeyJson::of_issued(key, secret)),
        Reply::Verdict(verdict) => ReplyJson::Verdict(VerdictJson::of(verdict)),
        Reply::Reset { account, expires_at, link } => {
            ReplyJson::Reset(ResetJson::of(account, *expires_at, link))
        }
        Reply::Invited { invite, link } => ReplyJson::Invite(InviteJson::of_new(invite, link)),
        Reply::Invite(invite) => ReplyJson::Invite(InviteJson::of(invite)),
        Reply::Invites(invites) => {
            ReplyJson::Invites(whole(invites.iter().map(InviteJson::of), |invite| invite.id.clone()))
        }
        Reply::Session(session) => ReplyJson::Session(SessionJson::of(session)),
        Reply::Sessions(sessions) => {
            ReplyJson::Sessions(whole(sessions.iter().map(SessionJson::of), |session| session.id.clone()))
        }
        Reply::TokenIssued { token, secret } => ReplyJson::Token(TokenJson::of_issued(token, secret)),
        Reply::Token(token) => ReplyJson::Token(TokenJson::of(token)),
        Reply::Tokens(tokens) => {
            ReplyJson::Tokens(whole(tokens.iter().map(TokenJson::of), |token| token.id.clone()))
        }
        Reply::Audit(page) => {
            let data = EventJson::all(&page.entries);
            let mut list = ListJson::of(data, page.next.is_some(), |event: &EventJson| event.id.clone());
            list.last_id = page.next.map(|next| next.to_string()).or(list.last_id);
            ReplyJson::Events(list)
        }
        Reply::AuditNews(news) => ReplyJson::News(NewsJson::of(news)),
        Reply::AuditVerified(found) => ReplyJson::Verification(VerificationJson::of(found)),
        Reply::Models(models) => {
            ReplyJson::Models(whole(models.iter().map(ModelJson::of), |model| model.id.clone()))
        }
        Reply::Upstreams(servers) => {
            ReplyJson::Upstreams(whole(servers.iter().map(UpstreamJson::of), |server| server.name.clone()))
        }
        Reply::Upstream(server) => ReplyJson::Upstream(UpstreamJson::of(server)),
        Reply::UpstreamTested(test) => ReplyJson::UpstreamTest(UpstreamTestJson::of(test)),
        Reply::Usage(usage) => ReplyJson::Usage(UsageJson::of(usage)),
        Reply::UsageReport(report) => ReplyJson::UsageReport(Box::new(UsageReportJson::of(report))),
        Reply::UsageProof(proof) => ReplyJson::UsageProof(UsageProofJson::of(proof)),
        Reply::Reloaded(reloaded) => ReplyJson::Reload(ReloadJson::of(reloaded)),
        Reply::Status(status) => ReplyJson::Status(StatusJson::of(status)),
    }
}

pub(super) fn decode(command: &Command, json: &[u8]) -> Result<Reply, AdminError> {
    Ok(match command {
        Command::AccountCreate(_)
        | Command::AccountDisable { .. }
        | Command::AccountEnable { .. }
        | Command::AccountDelete { .. }
        | Command::AccountPassword { .. }
        | Command::AccountUpdate { .. } => Reply::Account(parse::<AccountJson>(json)?.read()?),
        Command::AccountList { .. } => Reply::Accounts(accounts(&parse(json)?)?),
        Command::AccountShow { .. } => Reply::AccountDetail(parse::<AccountJson>(json)?.read_detail()?),
        Command::KeyCreate(_) | Command::KeyRotate { .. } => issued(&parse(json)?)?,
        Command::KeyList { .. } => Reply::Keys(keys(&parse(json)?)?),
        Command::KeyShow { .. } => Reply::KeyDetail(parse::<KeyJson>(json)?.read_detail()?),
        Command::KeyUpdate { .. }
        | Command::KeyDisable { .. }
        | Command::KeyEnable { .. }
        | Command::KeyRevoke { .. } => Reply::Key(parse::<KeyJson>(json)?.read()?),
        Command::KeyRevokeAll { .. } => Reply::KeysRevoked(parse::<KeysRevokedJson>(json)?.revoked),
        Command::KeyVerify { .. } => Reply::Verdict(parse::<VerdictJson>(json)?.read()?),
        Command::AccountReset { .. } => parse::<ResetJson>(json)?.read()?,
        Command::InviteCreate(_) => parse::<InviteJson>(json)?.read_new()?,
        Command::InviteRevoke { .. } => Reply::Invite(parse::<InviteJson>(json)?.read()?),
        Command::InviteList => Reply::Invites(all(json, InviteJson::read)?),
        Command::SessionList { .. } | Command::SessionsEnd { .. } => {
            Reply::Sessions(all(json, SessionJson::read)?)
        }
        Command::SessionEnd { .. } => Reply::Session(parse::<SessionJson>(json)?.read()?),
        Command::TokenCreate(_) => parse::<TokenJson>(json)?.read_issued()?,
        Command::TokenRevoke { .. } => Reply::Token(parse::<TokenJson>(json)?.read()?),
        Command::TokenList => Reply::Tokens(all(json, TokenJson::read)?),
        Command::AuditList { .. } => Reply::Audit(events(&parse(json)?)?),
        Command::AuditNews { .. } => Reply::AuditNews(parse::<NewsJson>(json)?.read()?),
        Command::AuditVerify { .. } => Reply::AuditVerified(parse::<VerificationJson>(json)?.read()?),
        Command::Models => {
            let list = parse::<ListJson<ModelJson>>(json)?.data.into_iter().map(ModelJson::read);
            Reply::Models(list.collect::<Result<_, _>>()?)
        }
        Command::Upstream(UpstreamAsk::List) => {
            let list = parse::<ListJson<UpstreamJson>>(json)?.data.into_iter().map(UpstreamJson::read);
            Reply::Upstreams(list.collect::<Result<_, _>>()?)
        }
        Command::Upstream(UpstreamAsk::Drain { .. } | UpstreamAsk::Undrain { .. }) => {
            Reply::Upstream(parse::<UpstreamJson>(json)?.read()?)
        }
        Command::Upstream(UpstreamAsk::Test { .. }) => {
            Reply::UpstreamTested(parse::<UpstreamTestJson>(json)?.read()?)
        }
        Command::Usage { .. } => Reply::Usage(parse::<UsageJson>(json)?.read()),
        Command::UsageReport(_) => Reply::UsageReport(Box::new(parse::<UsageReportJson>(json)?.read()?)),
        Command::UsageVerify => Reply::UsageProof(parse::<UsageProofJson>(json)?.read()),
        Command::Reload => Reply::Reloaded(parse::<ReloadJson>(json)?.read()),
        Command::Status => Reply::Status(parse::<StatusJson>(json)?.read()?),
    })
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, AdminError> {
    // What serde says of a fault may quote the text, and the text may hold a key.
    serde_json::from_slice(json).map_err(|error| unreadable(format!("fault at column {}", error.column())))
}

/// A list that is always given whole.
fn whole<T>(data: impl Iterator<Item = T>, id: impl Fn(&T) -> String) -> ListJson<T> {
    ListJson::of(data.collect(), false, id)
}

fn all<T: DeserializeOwned, R>(
    json: &[u8],
    read: impl Fn(&T) -> Result<R, AdminError>,
) -> Result<Vec<R>, AdminError> {
    parse::<ListJson<T>>(json)?.data.iter().map(read).collect()
}

fn events(list: &ListJson<EventJson>) -> Result<AuditPage, AdminError> {
    let next = list.last_id.as_deref().filter(|_| list.has_more).map(str::parse).transpose();
    Ok(AuditPage { entries: EventJson::read_all(&list.data)?, next: next.map_err(unreadable)? })
}

fn accounts(list: &ListJson<AccountJson>) -> Result<Page<Account>, AdminError> {
    let entries = list.data.iter().map(AccountJson::read).collect::<Result<_, _>>()?;
    Ok(Page { entries, has_more: list.has_more })
}

fn keys(list: &ListJson<KeyJson>) -> Result<Page<KeyView>, AdminError> {
    let entries = list.data.iter().map(KeyJson::read).collect::<Result<_, _>>()?;
    Ok(Page { entries, has_more: list.has_more })
}

fn issued(json: &KeyJson) -> Result<Reply, AdminError> {
    let text = json.key.as_deref().ok_or_else(|| unreadable("it has no key"))?;
    let secret = Key::parse(text.as_bytes()).map_err(unreadable)?;
    Ok(Reply::Issued { key: json.read()?, secret })
}
