//! A secret that was just made: its text, and the words that go with its kind. Never: where it is shown.

use crate::admin::{KeyView, Reply};
use crate::cli::moment::{both, both_or_never};
use crate::cli::show;
use crate::types::{Account, AdminToken, Invite, Key, Role, Secret, Ticket, Timestamp};

/// What an answer hands over once.
pub(super) struct Fresh<'a> {
    /// The secret itself.
    pub(super) text: &'a str,
    /// What it is called.
    pub(super) noun: &'static str,
    /// What a person is to do with it.
    pub(super) advice: &'static str,
    /// What is known of it.
    pub(super) facts: Vec<(&'static str, String)>,
    /// What was done; the beginning of a sentence.
    pub(super) done: String,
    /// What to do when nobody got to see it.
    pub(super) remedy: String,
}

impl<'a> Fresh<'a> {
    /// The secret in a reply, if it has one.
    pub(super) fn of(reply: &'a Reply, now: Timestamp) -> Option<Self> {
        match reply {
            Reply::Issued { key, secret } => Some(Self::key(key, secret, now)),
            Reply::Invited { invite, link } => Some(Self::invitation(invite, link, now)),
            Reply::Reset { account, expires_at, link } => Some(Self::reset(account, *expires_at, link, now)),
            Reply::TokenIssued { token, secret } => Some(Self::token(token, secret, now)),
            Reply::Account(_)
            | Reply::Accounts(_)
            | Reply::AccountDetail(_)
            | Reply::Key(_)
            | Reply::Keys(_)
            | Reply::KeyDetail(_)
            | Reply::Verdict(_)
            | Reply::Invite(_)
            | Reply::Invites(_)
            | Reply::Session(_)
            | Reply::Sessions(_)
            | Reply::Token(_)
            | Reply::Tokens(_)
            | Reply::Audit(_)
            | Reply::AuditNews(_)
            | Reply::AuditVerified(_)
            | Reply::Models(_)
            | Reply::Upstreams(_)
            | Reply::Upstream(_)
            | Reply::UpstreamTested(_)
            | Reply::Usage(_)
            | Reply::KeysRevoked(_)
            | Reply::UsageReport(_)
            | Reply::UsageProof(_)
            | Reply::Reloaded(_)
            | Reply::Status(_) => None,
        }
    }

    /// Whether it is a link that leads to the machine it is opened on.
    pub(super) fn stays_here(&self) -> bool {
        let host = self.text.strip_prefix("http://").unwrap_or_default();
        ["127.", "localhost", "[::1]", "0.0.0.0", "[::]"].iter().any(|start| host.starts_with(start))
    }

    fn key(key: &KeyView, secret: &'a Key, now: Timestamp) -> Self {
        let mut facts = vec![
            ("Key", format!("{} ({})", key.name, key.environment)),
            ("Account", show::owner(key)),
            ("Id", key.id.to_string()),
            ("Expires", both_or_never(key.expires_at, now)),
        ];
        let old = key.secrets.get(1).and_then(|old| old.valid_until.map(|end| (old.last4, end)));
        facts.extend(
            old.map(|(last4, end)| ("Old one", format!("...{last4} works until {}", both(end, now)))),
        );
        Self {
            text: secret.expose(),
            noun: "key",
            advice: "This is shown once; put it where your application finds it.",
            facts,
            done: format!("key {} ({}) was issued", key.name, key.id),
            remedy: format!("get a new one with `ember key rotate {} --now` or revoke it", key.id),
        }
    }

    fn invitation(invite: &Invite, link: &'a Secret, now: Timestamp) -> Self {
        let (email, id) = (&invite.email, invite.id);
        let flag = if invite.role == Role::Admin { " --admin" } else { "" };
        Self {
            text: link.expose(),
            noun: "link",
            advice: "This is shown once; whoever has it can make the account, so hand it over in private.",
            facts: vec![
                ("Invited", format!("{email} ({})", invite.role.as_str())),
                ("Id", id.to_string()),
                ("Expires", both(invite.expires_at, now)),
            ],
            done: format!("a link that invites {email} ({id}) was made"),
            remedy: format!("`ember invite create {email}{flag}` makes a new one and ends this one"),
        }
    }

    fn reset(account: &Account, expires_at: Timestamp, link: &'a Secret, now: Timestamp) -> Self {
        let email = &account.email;
        Self {
            text: link.expose(),
            noun: "link",
            advice: "This is shown once; whoever has it can set the password, so hand it over in private.",
            facts: vec![
                ("Account", email.to_string()),
                ("Id", account.id.to_string()),
                ("Expires", both(expires_at, now)),
            ],
            done: format!("a link that sets the password of {email} was made"),
            remedy: format!("`ember account reset {email}` makes a new one and ends this one"),
        }
    }

    fn token(token: &AdminToken, secret: &'a Ticket, now: Timestamp) -> Self {
        let (name, id) = (&token.name, token.id);
        Self {
            text: secret.expose(),
            noun: "token",
            advice: "This is shown once; whoever has it may do what an administrator may.",
            facts: vec![
                ("Token", name.to_string()),
                ("Id", id.to_string()),
                ("Expires", both_or_never(token.expires_at, now)),
            ],
            done: format!("token {name} ({id}) was issued"),
            remedy: format!("revoke it with `ember token revoke {id}` and make a new one"),
        }
    }
}
