//! Other servers in the place of those there are: what stays, what goes on, who chooses anew.

use super::*;

impl Relay {
    fn goes_by(&self, servers: Vec<ServerSettings>) {
        self.upstreams.replace(self.upstreams.prepare(servers, SOON).unwrap());
    }

    fn waiting(&self) -> usize {
        self.upstreams.health().iter().map(|server| server.waiting).sum()
    }

    /// Returns when so many stand in line.
    async fn has_waiting(&self, count: usize) {
        in_time(async {
            while self.waiting() != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// With one slot and a line.
fn narrow(name: &str, model: &Model) -> ServerSettings {
    ServerSettings { in_flight_max: 1, queue_max: 5, ..settings(name, model.port()) }
}

#[tokio::test]
async fn whoever_waits_for_a_server_that_is_gone_chooses_anew_and_who_is_served_goes_on() {
    let (old, new) = (Model::start().await, Model::start().await);
    let relay = Relay::to(vec![narrow("old", &old)]);
    let course = async {
        let mut peer = old.accept().await;
        peer.request().await;
        relay.has_waiting(1).await;
        relay.goes_by(vec![narrow("new", &new)]);
        new.answer(json_answer("{}")).await;
        peer.say(&json_answer("{\"late\":1}")).await;
    };
    let (first, second, ()) = tokio::join!(relay.ask(ASK), relay.ask(ASK), course);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.report.read().upstream.as_deref(), Some("old"));
    assert_eq!(second.report.read().upstream.as_deref(), Some("new"));
    assert_eq!(all(first.body).await, ("{\"late\":1}".to_string(), None));
    drop(second);
    assert_eq!(relay.upstreams.health().iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["new"]);
    relay.is_settled(2);
}

#[tokio::test]
async fn where_nothing_is_left_whoever_waits_is_refused() {
    let old = Model::start().await;
    let relay = Relay::to(vec![narrow("old", &old)]);
    let course = async {
        let mut peer = old.accept().await;
        peer.request().await;
        relay.has_waiting(1).await;
        relay.goes_by(Vec::new());
        peer.say(&json_answer("{}")).await;
    };
    let (first, second, ()) = tokio::join!(relay.ask(ASK), relay.ask(ASK), course);
    assert!(matches!(second.unwrap_err().fault, RelayFault::Overloaded { .. }));
    drop(first.unwrap());
    assert_eq!(relay.upstreams.entry(&ModelScope::All, "real"), Err(RelayFault::UnknownModel));
    relay.is_settled(2);
}

#[tokio::test]
async fn whoever_finds_nobody_asks_those_that_came_meanwhile() {
    let (full, new) = (Model::start().await, Model::start().await);
    let down = ServerSettings { in_flight_max: 1, ..settings("down", closed_port().await) };
    let relay = Relay::to(vec![narrow("full", &full), down]);
    let course = async {
        let mut peer = full.accept().await;
        peer.request().await;
        // The second was refused a connection by one and waits for the other.
        relay.has_waiting(1).await;
        relay.goes_by(vec![settings("new", new.port())]);
        new.answer(json_answer("{}")).await;
        peer.say(&json_answer("{}")).await;
    };
    let (first, second, ()) = tokio::join!(relay.ask(ASK), relay.ask(ASK), course);
    assert_eq!(second.unwrap().report.read().upstream.as_deref(), Some("new"));
    drop(first.unwrap());
}

#[tokio::test]
async fn a_server_of_which_the_same_is_said_is_the_same_one() {
    let model = Model::start().await;
    let relay = Relay::to(vec![narrow("one", &model)]);
    let before = relay.upstreams.catalogue.servers();
    let other = ServerSettings {
        aliases: BTreeMap::from([(id("new"), id("real"))]),
        in_flight_max: 2,
        ..narrow("one", &model)
    };
    let course = async {
        let mut one = model.accept().await;
        one.request().await;
        relay.has_waiting(1).await;
        // One slot more: who waited has it, and nobody was sent away.
        relay.goes_by(vec![other]);
        let mut two = model.accept().await;
        two.request().await;
        assert_eq!((relay.waiting(), relay.in_flight()), (0, 2));
        relay.goes_by(vec![narrow("one", &model)]);
        one.say(&json_answer("{}")).await;
        two.say(&json_answer("{}")).await;
    };
    let (first, second, ()) = tokio::join!(relay.ask(ASK), relay.ask(ASK), course);
    assert!(Arc::ptr_eq(&before[0], &relay.upstreams.catalogue.servers()[0]));
    assert_eq!(relay.upstreams.entry(&ModelScope::All, "new"), Err(RelayFault::UnknownModel));
    drop((first.unwrap(), second.unwrap()));
    relay.is_settled(2);
}

#[tokio::test]
async fn a_changed_server_in_the_same_place_keeps_its_bounds_and_its_list() {
    let model = Model::start().await;
    let relay = Relay::to(vec![ServerSettings { models: Vec::new(), ..narrow("one", &model) }]);
    let list = json_answer(r#"{"object":"list","data":[{"id":"real"},{"id":"more"}]}"#);
    tokio::join!(model.answer(list), relay.upstreams.look());
    let new_key = || Some(Secret::new("sk-another/0123456789".to_string()));
    let changed = |name: &str| ServerSettings {
        models: Vec::new(),
        api_key: new_key(),
        idle_timeout: SOON * 2,
        ..narrow(name, &model)
    };
    let course = async {
        let mut one = model.accept().await;
        assert!(one.request().await.contains(SERVER_KEY));
        relay.goes_by(vec![changed("one")]);
        assert!(relay.upstreams.entry(&ModelScope::All, "more").is_ok());
        let health = &relay.upstreams.health()[0];
        assert_eq!((health.up, health.in_flight), (true, 1));
        let asking = relay.ask(ASK);
        let answering = async {
            relay.has_waiting(1).await;
            one.say(&json_answer("{}")).await;
            model.answer(json_answer("{}")).await
        };
        let (second, seen) = tokio::join!(asking, answering);
        assert!(seen.contains("sk-another/0123456789") && !seen.contains(SERVER_KEY));
        drop(second.unwrap());
    };
    let first = async {
        drop(relay.ask(ASK).await.unwrap());
    };
    tokio::join!(first, course);
    relay.goes_by(vec![changed("two")]);
    assert_eq!(relay.upstreams.entry(&ModelScope::All, "more"), Err(RelayFault::ModelsNotRead));
}

#[tokio::test]
async fn what_no_request_could_be_made_for_changes_nothing() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let odd = ServerSettings { prefix: "v 1".to_string(), ..settings("odd", 1) };
    assert!(relay.upstreams.prepare(vec![odd], SOON).is_err());
    drop(relay.upstreams.prepare(Vec::new(), SOON).unwrap());
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(json_answer("{}")));
    assert_eq!(reply.unwrap().status, 200);
}

#[tokio::test]
async fn new_servers_are_asked_for_their_lists_at_once_and_the_file_follows() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("models.json");
    let (old, new) = (Model::start().await, Model::start().await);
    let discovering = |name: &str, model: &Model| ServerSettings {
        models: Vec::new(),
        aliases: BTreeMap::new(),
        ..settings(name, model.port())
    };
    let far = Duration::from_secs(3600);
    let upstreams =
        Upstreams::new(vec![discovering("old", &old)], Some(file.clone()), far, &Fixed, &dice()).unwrap();
    let watching = tokio::spawn(Arc::clone(&upstreams).watch());
    old.answer(json_answer(r#"{"data":[{"id":"a"}]}"#)).await;
    in_time(async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"a\"")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    upstreams.replace(upstreams.prepare(vec![discovering("new", &new)], far).unwrap());
    new.answer(json_answer(r#"{"data":[{"id":"b"}]}"#)).await;
    in_time(async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"b\"")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains("\"a\""));
    assert!(upstreams.entry(&ModelScope::All, "b").is_ok());
    assert!(!old.is_asked_again().await);
    watching.abort();
}

#[tokio::test]
async fn bug_a_drain_lasts_through_a_reload_that_was_under_way_and_wherever_the_server_moves() {
    let (here, there) = (Model::start().await, Model::start().await);
    let relay = Relay::to(vec![settings("one", here.port())]);
    let changed = ServerSettings { idle_timeout: SOON * 2, ..settings("one", here.port()) };
    let prepared = relay.upstreams.prepare(vec![changed], SOON).unwrap();
    relay.upstreams.drain("one", true).unwrap();
    relay.upstreams.replace(prepared);
    assert_eq!(relay.upstreams.health()[0].state, UpstreamState::Draining);
    relay.goes_by(vec![settings("one", there.port())]);
    assert_eq!(relay.upstreams.health()[0].state, UpstreamState::Draining);
    assert_eq!(relay.ask(ASK).await.unwrap_err().fault, RelayFault::Drained);
    relay.upstreams.drain("one", false).unwrap();
    let (reply, _) = tokio::join!(relay.ask(ASK), there.answer(json_answer("{}")));
    assert_eq!(reply.unwrap().status, 200);
}

#[tokio::test]
async fn bug_whoever_waited_goes_out_with_the_settings_of_now() {
    let model = Model::start().await;
    let relay = Relay::to(vec![narrow("one", &model)]);
    let api_key = Some(Secret::new("sk-another/0123456789".to_string()));
    let course = async {
        let mut one = model.accept().await;
        one.request().await;
        relay.has_waiting(1).await;
        relay.goes_by(vec![ServerSettings { api_key, ..narrow("one", &model) }]);
        one.say(&json_answer("{}")).await;
        let seen = model.answer(json_answer("{}")).await;
        assert!(seen.contains("sk-another/0123456789") && !seen.contains(SERVER_KEY));
    };
    let first = async { drop(relay.ask(ASK).await.unwrap()) };
    let second = async { drop(relay.ask(ASK).await.unwrap()) };
    tokio::join!(first, second, course);
    relay.is_settled(2);
}

#[tokio::test]
async fn bug_whoever_waits_goes_to_a_server_that_is_added() {
    let (full, new) = (Model::start().await, Model::start().await);
    let relay = Relay::to(vec![narrow("full", &full)]);
    let course = async {
        let mut peer = full.accept().await;
        peer.request().await;
        relay.has_waiting(1).await;
        relay.goes_by(vec![narrow("full", &full), narrow("new", &new)]);
        new.answer(json_answer("{}")).await;
        peer.say(&json_answer("{}")).await;
    };
    let (first, second, ()) = tokio::join!(relay.ask(ASK), relay.ask(ASK), course);
    assert_eq!(second.unwrap().report.read().upstream.as_deref(), Some("new"));
    drop(first.unwrap());
}
