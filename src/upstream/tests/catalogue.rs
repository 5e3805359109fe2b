//! Which models there are, and how that is learnt.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::*;

fn discovering(model: &Model) -> ServerSettings {
    ServerSettings { models: Vec::new(), aliases: BTreeMap::new(), ..model.settings() }
}

fn upstreams(servers: Vec<ServerSettings>, file: Option<PathBuf>) -> Arc<Upstreams> {
    Upstreams::new(servers, file, Duration::from_millis(20), &Fixed, &dice()).unwrap()
}

fn names(upstreams: &Upstreams) -> Vec<String> {
    upstreams.entries(&ModelScope::All).iter().map(|entry| entry.name().to_string()).collect()
}

const LIST: &str = r#"{"object":"list","data":[
    {"id":"qwen","object":"model","created":7,"owned_by":"vllm","max_model_len":4096},{"id":"bge"}]}"#;

#[tokio::test]
async fn lists_are_asked_for_with_the_servers_key_and_shown_with_what_they_say() {
    let model = Model::start().await;
    let mut settings = discovering(&model);
    settings.aliases = BTreeMap::from([(id("small"), id("qwen"))]);
    settings.metadata = BTreeMap::from([(
        "small".to_string(),
        json!({"name": "Small", "owned_by": "me", "id": "no"}).as_object().unwrap().clone(),
    )]);
    let upstreams = upstreams(vec![settings], None);
    assert_eq!(upstreams.entry(&ModelScope::All, "qwen"), Err(RelayFault::ModelsNotRead));
    assert_eq!(upstreams.entry(&ModelScope::All, "small").map(drop), Ok(()));
    let (seen, ()) = tokio::join!(model.answer(json_answer(LIST)), upstreams.look());
    assert!(seen.starts_with("GET /v1/models HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("authorization: Bearer {SERVER_KEY}\r\n")));

    let shown: Vec<Value> =
        upstreams.entries(&ModelScope::All).iter().map(|e| serde_json::to_value(e).unwrap()).collect();
    let since = 1_700_000_000;
    let (qwen, bge) = (json!("qwen"), json!("bge"));
    assert_eq!(
        shown,
        [
            json!({"id": bge, "object": "model", "created": since, "owned_by": "ember"}),
            json!({"id": qwen, "object": "model", "created": 7, "owned_by": "vllm", "max_model_len": 4096}),
            json!({"id": "small", "object": "model", "created": 7, "owned_by": "me", "max_model_len": 4096,
                "name": "Small"}),
        ]
    );
    assert_eq!(upstreams.entry(&ModelScope::All, "other"), Err(RelayFault::UnknownModel));
    let health = &upstreams.health()[0];
    assert_eq!((health.up, health.fault, health.models), (true, None, 3));
}

#[tokio::test]
async fn a_key_sees_only_its_models() {
    let model = Model::start().await;
    let upstreams = upstreams(vec![model.settings()], None);
    let scope = ModelScope::Only([id("alias"), id("nobodys")].into());
    let seen: Vec<String> = upstreams.entries(&scope).iter().map(|e| e.name().to_string()).collect();
    assert_eq!(seen, ["alias"]);
    assert!(upstreams.entry(&scope, "alias").is_ok());
    for name in ["real", "nobodys"] {
        assert_eq!(upstreams.entry(&scope, name), Err(RelayFault::UnknownModel), "{name}");
    }
}

#[tokio::test]
async fn the_last_lists_outlive_a_start_while_the_server_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("models.json");
    let model = Model::start().await;
    let first = upstreams(vec![discovering(&model)], Some(file.clone()));
    tokio::join!(model.answer(json_answer(LIST)), first.look());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(SERVER_KEY));

    let again = upstreams(vec![discovering(&model)], Some(file.clone()));
    assert_eq!(again.entries(&ModelScope::All), first.entries(&ModelScope::All));
    assert_eq!(again.entry(&ModelScope::All, "other"), Err(RelayFault::UnknownModel));

    let elsewhere = Model::start().await;
    assert!(names(&upstreams(vec![discovering(&elsewhere)], Some(file.clone()))).is_empty());
    for damaged in ["", "{", r#"{"version":2,"servers":[]}"#, r#"{"version":1,"servers":7}"#] {
        std::fs::write(&file, damaged).unwrap();
        assert!(names(&upstreams(vec![discovering(&model)], Some(file.clone()))).is_empty());
    }
}

#[tokio::test]
async fn what_is_no_list_leaves_the_last_one_and_says_why() {
    let model = Model::start().await;
    let upstreams = upstreams(vec![discovering(&model)], None);
    tokio::join!(model.answer(json_answer(LIST)), upstreams.look());
    let leaky = json_answer(&format!(r#"{{"data":[{{"id":"{SERVER_KEY}"}}]}}"#));
    for (answer, fault) in [
        (json_answer("[]"), RelayFault::Invalid),
        (leaky, RelayFault::Invalid),
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_string(), RelayFault::Invalid),
        ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_string(), RelayFault::AuthRefused),
        ("garbage\r\n\r\n".to_string(), RelayFault::Invalid),
        (String::new(), RelayFault::BrokeOff),
    ] {
        tokio::join!(model.answer(&answer), upstreams.look());
        let health = &upstreams.health()[0];
        assert_eq!((health.up, health.fault), (false, Some(fault)), "{answer}");
        assert_eq!(names(&upstreams), ["bge", "qwen"]);
    }
}

#[tokio::test]
async fn a_server_with_models_by_hand_is_up_without_a_list() {
    let model = Model::start().await;
    let upstreams = upstreams(vec![model.settings()], None);
    tokio::join!(model.answer("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"), upstreams.look());
    assert!(upstreams.health()[0].up);
    tokio::join!(
        model.answer(json_answer(r#"{"data":[{"id":"real","x":1},{"id":"more"}]}"#)),
        upstreams.look()
    );
    assert_eq!(names(&upstreams), ["alias", "real"]);
    let real = upstreams.entry(&ModelScope::All, "real").unwrap();
    assert_eq!(serde_json::to_value(real).unwrap()["x"], 1);
}

#[tokio::test]
async fn watching_sees_a_server_come_back() {
    let model = Model::start().await;
    let upstreams = upstreams(vec![discovering(&model)], None);
    let watching = tokio::spawn(Arc::clone(&upstreams).watch());
    drop(model.accept().await);
    model.answer(json_answer(r#"{"object":"list","data":[]}"#)).await;
    model.answer(json_answer(LIST)).await;
    // The next reading begins when the last has been taken in.
    model.accept().await;
    assert_eq!(names(&upstreams), ["bge", "qwen"]);
    watching.abort();
}

#[tokio::test]
async fn an_age_that_changes_with_every_reading_is_kept() {
    let model = Model::start().await;
    let upstreams = upstreams(vec![discovering(&model)], None);
    for created in [5, 6] {
        let list = format!(r#"{{"data":[{{"id":"m","created":{created}}}]}}"#);
        tokio::join!(model.answer(json_answer(&list)), upstreams.look());
    }
    let entry = upstreams.entry(&ModelScope::All, "m").unwrap();
    assert_eq!(serde_json::to_value(entry).unwrap()["created"], 5);
}

#[tokio::test]
async fn bug_discovery_tells_of_servers_that_want_a_key() {
    let (vllm, web, open) = (Model::start().await, Model::start().await, Model::start().await);
    let ports = [("vllm", vllm.port()), ("web", web.port()), ("open", open.port())];
    let (found, ..) = tokio::join!(
        discover(&ports),
        vllm.answer("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"),
        web.answer("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"),
        open.answer(json_answer(LIST)),
    );
    let at = |name: &str, model: &Model| (name.to_string(), ([127, 0, 0, 1], model.port()).into());
    assert_eq!(found, Discovered { servers: vec![at("open", &open)], locked: vec![at("vllm", &vllm)] });
}

#[tokio::test]
async fn discovery_knows_servers_by_what_they_answer() {
    let (web, silent, ollama) = (Model::start().await, Model::start().await, Model::start().await);
    let ports = [
        ("closed", closed_port().await),
        ("web", web.port()),
        ("mute", silent.port()),
        ("ollama", ollama.port()),
    ];
    let html = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>";
    let (found, ..) = tokio::join!(
        discover(&ports),
        web.answer(html),
        ollama.answer(json_answer(r#"{"object":"list","data":null}"#)),
    );
    assert_eq!(found.servers, [("ollama".to_string(), ([127, 0, 0, 1], ollama.port()).into())]);
    assert!(found.locked.is_empty());
}

#[tokio::test]
async fn bug_a_key_that_is_a_common_word_does_not_hide_a_list() {
    let model = Model::start().await;
    let settings = ServerSettings { api_key: Some(Secret::new("vllm".into())), ..discovering(&model) };
    let upstreams = upstreams(vec![settings], None);
    tokio::join!(model.answer(json_answer(LIST)), upstreams.look());
    assert_eq!(names(&upstreams), ["bge", "qwen"]);
}

#[tokio::test]
async fn bug_a_list_cannot_take_a_name_that_was_given_by_hand() {
    let (liar, named) = (Model::start().await, Model::start().await);
    let lying = ServerSettings { name: "liar".to_string(), ..discovering(&liar) };
    let upstreams = upstreams(vec![lying, named.settings()], None);
    let list = json_answer(
        r#"{"object":"list","data":[{"id":"alias","owned_by":"liar"},{"id":"real"},{"id":"own"}]}"#,
    );
    tokio::join!(liar.answer(&list), named.answer(json_answer(LIST)), upstreams.look());
    for (name, server) in [("alias", "one"), ("real", "one"), ("own", "liar")] {
        let candidates = upstreams.catalogue.candidates(name).unwrap();
        let servers: Vec<&str> = candidates.iter().map(|candidate| candidate.server.name.as_str()).collect();
        assert_eq!(servers, [server], "{name}");
    }
    let entry = upstreams.entry(&ModelScope::All, "alias").unwrap();
    assert_eq!(serde_json::to_value(entry).unwrap()["owned_by"], "ember");
}

#[tokio::test]
async fn bug_a_model_nobody_can_know_yet_is_told_apart_from_one_that_is_not_allowed() {
    let model = Model::start().await;
    let upstreams = upstreams(vec![discovering(&model)], None);
    let scope = ModelScope::Only([id("mine")].into());
    assert_eq!(upstreams.entry(&scope, "mine"), Err(RelayFault::ModelsNotRead));
    assert_eq!(upstreams.entry(&scope, "other"), Err(RelayFault::UnknownModel));
}
