//! The overview, the models and the audit trail. Never: where the figures come from.

use crate::admin::{Command, HistoryLine, ModelServer, ModelView, Reply, UpstreamState, UpstreamStatus};
use crate::registry::{AuditFilter, KeyFilter, PAGE_MAX};
use crate::types::{AccountId, KeyId, KeyStatus, Tokens};

use super::Dashboard;
use super::frame::{choices, counted, grouped, model_to_copy};
use super::page::{AuditPage, AuditRow, CheckList, ModelRow, ModelsPage, OverviewPage, ServerRow};
use super::visit::{PageAnswer, Refused, Visit};

type Outcome = Result<PageAnswer, Refused>;

const ACTIONS: [(&str, &str); 8] = [
    ("", "Everything"),
    ("key", "Keys"),
    ("account", "Accounts and sign-ins"),
    ("invite", "Invitations"),
    ("token", "Tokens"),
    ("upstream", "Model servers"),
    ("refused", "Refused sign-ins"),
    ("audit", "The log itself"),
];
/// Events on one page.
const ROWS: usize = 50;

impl Dashboard {
    pub(super) fn overview(&self, visit: &Visit) -> Outcome {
        let person = visit.person()?;
        let is_whole = person.is_admin();
        let account = (!is_whole).then(|| person.account.id.to_string());
        let Reply::Usage(usage) = self.ask(visit, &Command::Usage { account: account.clone() })? else {
            return Err(Refused::Broken);
        };
        let active_keys = self.active_keys(visit, account)?;
        let own = self.active_keys(visit, Some(person.account.id.to_string()))?;
        let models = self.models();
        let steps = CheckList { has_key: own != "0", has_models: !models.is_empty() };
        PageAnswer::page(&OverviewPage {
            frame: self.frame(visit, "Overview", "overview"),
            base_url: format!("{}/v1", visit.ground.base_url),
            first_steps: Some(steps).filter(|_| usage.week.requests == 0),
            model: model_to_copy(models),
            active_keys,
            requests_day: grouped(usage.day.requests),
            tokens_day: grouped(sum(usage.day.tokens)),
            requests_week: grouped(usage.week.requests),
            tokens_week: grouped(sum(usage.week.tokens)),
            is_whole,
            servers: self.server_rows(),
        })
    }

    pub(super) fn models_page(&self, visit: &Visit) -> Outcome {
        let Reply::Models(models) = self.ask(visit, &Command::Models)? else { return Err(Refused::Broken) };
        let server = |one: &ModelServer, model: &ModelView| {
            let real = if one.model == model.name { String::new() } else { one.model.clone() };
            (one.name.clone(), real, seen(one.state))
        };
        let row = |model: &ModelView| ModelRow {
            name: model.name.clone(),
            servers: model.servers.iter().map(|one| server(one, model)).collect(),
        };
        PageAnswer::page(&ModelsPage {
            frame: self.frame(visit, "Models", "models"),
            servers: self.server_rows(),
            models: models.iter().map(row).collect(),
        })
    }

    pub(super) fn audit(&self, visit: &Visit) -> Outcome {
        let (action, search) = (visit.query.text("action"), visit.query.text("search"));
        let filter = AuditFilter {
            action: visit.query.some("action").map(str::to_string),
            search: visit.query.some("search").map(str::to_string),
        };
        let is_filtered = filter != AuditFilter::default();
        let before = visit.query.text("after").parse().ok();
        let command = Command::AuditList { filter, before, limit: ROWS };
        let Reply::Audit(page) = self.ask(visit, &command)? else { return Err(Refused::Broken) };
        let link = |after: &str| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            let words = [("action", action), ("search", search), ("after", after)];
            query.extend_pairs(words.into_iter().filter(|(_, value)| !value.is_empty()));
            format!("/dashboard/audit?{}", query.finish())
        };
        let Reply::Status(status) = self.ask(visit, &Command::Status)? else { return Err(Refused::Broken) };
        let next = page.next.map(|id| id.to_string());
        PageAnswer::page(&AuditPage {
            frame: self.frame(visit, "Audit log", "audit"),
            rows: page.entries.iter().map(|line| self.audit_row(visit, line)).collect(),
            actions: choices(&ACTIONS, action),
            search: search.to_string(),
            is_filtered,
            newest: if before.is_some() { link("") } else { String::new() },
            older: next.map(|id| link(&id)).unwrap_or_default(),
            head: status.audit_head.to_string(),
        })
    }

    fn audit_row(&self, visit: &Visit, line: &HistoryLine) -> AuditRow {
        let key = line.target.parse::<KeyId>().ok().map(|id| format!("/dashboard/keys/{id}"));
        let account = || line.target.parse::<AccountId>().ok().and_then(|id| self.account_link(visit, id));
        AuditRow {
            event: self.event(line),
            origin: line.origin.to_string(),
            target: line.target_name.clone(),
            link: key.or_else(account).unwrap_or_default(),
        }
    }

    /// The page of an account, while there is one: not when it is deleted.
    fn account_link(&self, visit: &Visit, id: AccountId) -> Option<String> {
        let actor = visit.person.as_ref()?.actor();
        self.registry().account(actor, &id.to_string()).is_ok().then(|| format!("/dashboard/accounts/{id}"))
    }

    /// How many keys of an account work, or of all.
    fn active_keys(&self, visit: &Visit, account: Option<String>) -> Result<String, Refused> {
        let active = KeyFilter { account, status: Some(KeyStatus::Active), ..KeyFilter::default() };
        let command = Command::KeyList { filter: active, unused: None, after: None, limit: PAGE_MAX };
        let Reply::Keys(page) = self.ask(visit, &command)? else { return Err(Refused::Broken) };
        let more = if page.has_more { "+" } else { "" };
        Ok(format!("{}{more}", grouped(page.entries.len() as u64)))
    }

    fn server_rows(&self) -> Vec<ServerRow> {
        let row = |server: &UpstreamStatus| ServerRow {
            name: server.name.clone(),
            state: seen(server.state),
            models: counted(usize::try_from(server.models).unwrap_or(usize::MAX), "model"),
            load: load(server),
            detail: server.detail.clone(),
        };
        self.door.running.status().upstreams.iter().map(row).collect()
    }
}

/// Whether it is well, and the word for how it is.
fn seen(state: UpstreamState) -> (bool, &'static str) {
    let word = match state {
        UpstreamState::Unknown => "Not checked yet",
        UpstreamState::Up => "Healthy",
        UpstreamState::Down => "Down",
        UpstreamState::Open => "Failing",
        UpstreamState::Draining => "Draining",
    };
    (state.is_healthy(), word)
}

fn load(server: &UpstreamStatus) -> String {
    match (server.in_flight, server.waiting) {
        (0, 0) => String::new(),
        (in_flight, 0) => format!("{} in flight", grouped(in_flight)),
        (in_flight, waiting) => format!("{} in flight, {} waiting", grouped(in_flight), grouped(waiting)),
    }
}

fn sum(tokens: Tokens) -> u64 {
    tokens.prompt.saturating_add(tokens.completion)
}
