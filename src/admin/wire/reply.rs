//! Replies to JSON and back. Never: what is asked.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::{AdminError, Command, KeyView, Reply};
use crate::registry::Page;
use crate::types::{Account, Key};

use super::account::AccountJson;
use super::key::{KeyJson, VerdictJson};
use super::status::StatusJson;
use super::{ListJson, unreadable};

/// Any of the documents below.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ReplyJson {
    Account(AccountJson),
    Accounts(ListJson<AccountJson>),
    Key(KeyJson),
    Keys(ListJson<KeyJson>),
    Verdict(VerdictJson),
    Status(StatusJson),
}

pub(super) fn with_json<T>(reply: &Reply, write: &dyn Fn(&ReplyJson) -> T) -> T {
    write(&match reply {
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
        Reply::KeyDetail(detail) => ReplyJson::Key(KeyJson::of_detail(detail)),
        Reply::Issued { key, secret } => ReplyJson::Key(KeyJson::of_issued(key, secret)),
        Reply::Verdict(verdict) => ReplyJson::Verdict(VerdictJson::of(verdict)),
        Reply::Status(status) => ReplyJson::Status(StatusJson::of(status)),
    })
}

pub(super) fn decode(command: &Command, json: &[u8]) -> Result<Reply, AdminError> {
    Ok(match command {
        Command::AccountCreate(_)
        | Command::AccountDisable { .. }
        | Command::AccountEnable { .. }
        | Command::AccountDelete { .. }
        | Command::AccountPassword { .. } => Reply::Account(parse::<AccountJson>(json)?.read()?),
        Command::AccountList { .. } => Reply::Accounts(accounts(&parse(json)?)?),
        Command::AccountShow { .. } => Reply::AccountDetail(parse::<AccountJson>(json)?.read_detail()?),
        Command::KeyCreate(_) | Command::KeyRotate { .. } => issued(&parse(json)?)?,
        Command::KeyList { .. } => Reply::Keys(keys(&parse(json)?)?),
        Command::KeyShow { .. } => Reply::KeyDetail(parse::<KeyJson>(json)?.read_detail()?),
        Command::KeyUpdate { .. }
        | Command::KeyDisable { .. }
        | Command::KeyEnable { .. }
        | Command::KeyRevoke { .. } => Reply::Key(parse::<KeyJson>(json)?.read()?),
        Command::KeyVerify { .. } => Reply::Verdict(parse::<VerdictJson>(json)?.read()?),
        Command::Status => Reply::Status(parse::<StatusJson>(json)?.read()?),
    })
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, AdminError> {
    // What serde says of a fault may quote the text, and the text may hold a key.
    serde_json::from_slice(json).map_err(|error| unreadable(format!("fault at column {}", error.column())))
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
