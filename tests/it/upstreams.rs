//! `ember upstream` and the same over the admin API: how servers are, one tried, one taken out of service and put back.

use std::net::TcpListener;

use serde_json::Value;

use crate::door;
use crate::ember::{Ember, Home, eventually, request};
use crate::model::{Call, ModelServer, STREAM, home};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";

fn section(name: &str, address: impl std::fmt::Display, more: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\nurl = \"http://{address}\"\nmodels = [\"m\"]\n{more}\n")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn upstream(home: &Home, name: &str) -> Value {
    let list = json(&home.ok(&["upstream", "list", "-o", "json"]));
    list["data"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

fn send(ember: &Ember, key: &str, user: &str, more: &str) -> Wire {
    let mut wire = Wire::open(ember);
    wire.send(request("POST", CHAT, Some(key), &format!("{{\"model\":\"m\",\"user\":\"{user}\"{more}}}")));
    wire
}

fn user(call: &Call) -> String {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    body["user"].as_str().unwrap().to_string()
}

#[test]
fn the_list_says_how_each_server_is() {
    let (model, dead) = (ModelServer::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let dead = { dead }.local_addr().unwrap();
    let home = home(
        &[
            section("gpu", model.address, "priority = 3\nweight = 7"),
            section("cold", dead, "health_path = \"/health\"\nhealth_interval = \"50ms\""),
        ]
        .concat(),
    );
    let ember = home.serve();
    eventually("both are checked", || {
        upstream(&home, "gpu")["state"] == "up" && upstream(&home, "cold")["state"] == "down"
    });
    let gpu = upstream(&home, "gpu");
    assert_eq!(gpu["address"], model.address.to_string());
    assert_eq!((&gpu["priority"], &gpu["weight"], &gpu["models"]), (&3.into(), &7.into(), &1.into()));
    assert!(gpu["latency_ms"].as_f64().unwrap() > 0.0 && gpu["since"].is_string() && gpu["detail"] == "");
    let cold = upstream(&home, "cold");
    assert_eq!((&cold["healthy"], &cold["detail"]), (&false.into(), &"unreachable".into()));
    let lines = home.ok(&["upstream", "list", "-o", "plain"]);
    let first: Vec<&str> = lines.lines().next().unwrap().split('\t').collect();
    assert_eq!((first.len(), &first[..2]), (11, ["gpu", "up"].as_slice()));
    assert!(home.ok(&["upstream", "list"]).starts_with("NAME"));
    assert!(home.ok(&["status"]).contains("cold is down"));
    assert!(home.ok(&["model", "list"]).contains("gpu (up), cold (down)"));
    drop(ember);
    assert_eq!(home.run(&["upstream", "list"]).status.code(), Some(5));
}

/// Answers `/health` with a status that can be changed.
fn health_server(status: &std::sync::Arc<std::sync::Mutex<&'static str>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, status) = (listener.local_addr().unwrap(), std::sync::Arc::clone(status));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let Some((head, _)) = crate::model::read_request(&mut stream) else { continue };
            let status = match head.starts_with("GET /health ") {
                true => *status.lock().unwrap(),
                false => "404 Not Found",
            };
            let answer = crate::model::json_answer(status, "Connection: close\r\n", "{}");
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_health_path_decides_whether_a_server_is_up() {
    let status = std::sync::Arc::new(std::sync::Mutex::new("200 OK"));
    let address = health_server(&status);
    let home = home(&section("gpu", address, "health_path = \"/health\"\nhealth_interval = \"20ms\""));
    let _ember = home.serve();
    eventually("up", || upstream(&home, "gpu")["state"] == "up");
    *status.lock().unwrap() = "503 Loading";
    eventually("down", || upstream(&home, "gpu")["state"] == "down");
    assert_eq!(upstream(&home, "gpu")["detail"], "answered with an error");
    *status.lock().unwrap() = "200 OK";
    eventually("up again", || upstream(&home, "gpu")["state"] == "up");
    for (setting, word) in [
        ("health_path = \"health\"", "is not a path such as /health"),
        ("health_interval = \"1ms\"", "health_interval is 0s, or 10ms and more"),
        ("priority = 101", "0 to 100"),
        ("weight = 0", "1 to 1000"),
    ] {
        let wrong = Home::new(&section("gpu", address, setting));
        let output = wrong.run(&["config", "check"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && error.contains(word), "{setting}: {error}");
    }
}

#[test]
fn a_server_is_tried_step_by_step() {
    let (model, dead) = (ModelServer::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let dead = { dead }.local_addr().unwrap();
    let home = home(&[section("gpu", model.address, ""), section("dead", dead, "")].concat());
    let _ember = home.serve();
    let run = |args: &[&str], script: &dyn Fn(Call)| {
        let mut child = home.command(&[&["upstream", "test"], args].concat());
        let child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
        let child = child.unwrap();
        if args.contains(&"--model") {
            script(model.call());
        }
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), out)
    };
    let nothing = |_| {};
    let (code, out) = run(&["gpu"], &nothing);
    assert!(
        code == 0 && out.contains("connect") && out.contains("1 model") && !out.contains("fail"),
        "{out}"
    );
    assert!(model.is_untouched(), "it cost tokens");
    let whole = |mut call: Call| {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(
            (&body["model"], &body["max_tokens"], &body["stream"]),
            (&"m".into(), &1.into(), &false.into())
        );
        call.json("200 OK", r#"{"choices":[]}"#);
    };
    let (code, out) = run(&["gpu", "--model", "m"], &whole);
    assert!(code == 0 && out.contains("answer") && out.contains("HTTP 200"), "{out}");
    let refused = |mut call: Call| call.json("404 Not Found", r#"{"error":{"message":"secret words"}}"#);
    let (code, out) = run(&["gpu", "--model", "other"], &refused);
    assert!(code == 1 && out.contains("HTTP 404") && !out.contains("secret words"), "{out}");
    let stream = |mut call: Call| {
        call.say(STREAM);
        call.event("a");
        call.event("b");
        call.done();
    };
    let (code, out) = run(&["gpu", "--model", "m", "--stream"], &stream);
    assert!(code == 0 && out.contains("first_byte") && out.contains("the end mark"), "{out}");
    let cut = |mut call: Call| {
        call.say(STREAM);
        call.event("a");
        call.say("0\r\n\r\n");
    };
    let (code, out) = run(&["gpu", "--model", "m", "--stream", "-o", "json"], &cut);
    assert!(code == 1 && out.contains("no end mark") && out.contains("\"ok\": false"), "{out}");
    let (code, out) = run(&["dead"], &nothing);
    assert!(code == 1 && out.contains("unreachable"), "{out}");
    assert_eq!(run(&["nobody"], &nothing).0, 6);
    assert_eq!(run(&["gpu", "--stream"], &nothing).0, 2);
    let status = json(&home.ok(&["status", "-o", "json"]));
    assert_eq!(status["server"]["requests"], 0, "nobody's key is charged");
}

#[test]
fn a_drained_server_gets_nothing_new_and_what_is_under_way_goes_on() {
    let model = ModelServer::start();
    let home = home(&section("gpu", model.address, "in_flight_max = 1"));
    let key = home.key("app");
    let ember = home.serve();
    let mut running =
        send(&ember, &key, "runs", ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    let mut call = model.call();
    call.say(STREAM);
    call.event("a");
    running.read_until("\"a\"");
    let mut waiting = send(&ember, &key, "waits", "");
    eventually("one waits", || upstream(&home, "gpu")["waiting"] == 1);

    let said = home.run(&["upstream", "drain", "gpu"]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("1 request under way goes on") && said.contains("restart of Ember"), "{said}");
    let answer = waiting.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(send(&ember, &key, "late", "").answer().status, 503);
    let drained = upstream(&home, "gpu");
    assert_eq!(
        (&drained["state"], &drained["healthy"], &drained["in_flight"]),
        (&"draining".into(), &false.into(), &1.into())
    );
    assert!(home.ok(&["status"]).contains("gpu is draining"));
    assert_eq!(ember.get("/readyz", None).status, 503);
    assert!(ember.get("/v1/models", Some(&key)).text().contains("\"m\""), "the model is not gone");
    call.event("b");
    call.done();
    running.read_until("[DONE]");
    assert!(model.is_untouched());

    home.ok(&["upstream", "undrain", "gpu"]);
    let mut again = send(&ember, &key, "again", "");
    let mut call = model.call();
    assert_eq!(user(&call), "again");
    call.json("200 OK", "{}");
    assert_eq!(again.answer().status, 200);
    let audit = json(&home.ok(&["audit", "--action", "upstream", "-o", "json"]));
    let told: Vec<_> = audit["data"].as_array().unwrap().iter().collect();
    let uid = format!("uid:{}", rustix::process::geteuid().as_raw());
    let lines: Vec<_> = told.iter().map(|one| (&one["action"], &one["detail"], &one["actor"])).collect();
    let (uid, gpu) = (Value::from(uid), Value::from("gpu"));
    assert_eq!(lines, [(&"upstream.undrained".into(), &gpu, &uid), (&"upstream.drained".into(), &gpu, &uid)]);
}

#[test]
fn whoever_waits_for_a_drained_server_is_sent_on_to_the_next_priority() {
    let (gpu, fallback) = (ModelServer::start(), ModelServer::start());
    let home = home(
        &[
            section("gpu", gpu.address, "in_flight_max = 1"),
            section("fallback", fallback.address, "priority = 9"),
        ]
        .concat(),
    );
    let key = home.key("app");
    let ember = home.serve();
    let mut first = send(&ember, &key, "first", "");
    let mut busy = gpu.call();
    let mut second = send(&ember, &key, "second", "");
    eventually("one waits", || upstream(&home, "gpu")["waiting"] == 1);
    assert!(fallback.is_untouched(), "the fallback is taken while there is a line");
    home.ok(&["upstream", "drain", "gpu"]);
    let mut call = fallback.call();
    assert_eq!(user(&call), "second");
    call.json("200 OK", "{}");
    assert_eq!(second.answer().status, 200);
    busy.json("200 OK", "{}");
    assert_eq!(first.answer().status, 200);
}

#[test]
fn the_api_does_the_same_for_the_machine_and_for_administrators_tokens() {
    let model = ModelServer::start();
    let home = home(&section("gpu", model.address, ""));
    let token = home.ok(&["token", "create", "ops"]);
    let ember = home.serve();
    let ask = |method: &str, path: &str, body: &str| {
        let answer = door::ask(&home.data(), method, path, "", body).unwrap();
        (answer.status, answer.json())
    };
    for _ in 0..2 {
        let (status, answer) = ask("POST", "/admin/v1/upstreams/gpu/drain", "");
        assert_eq!((status, &answer["state"]), (200, &"draining".into()));
    }
    assert_eq!(ask("GET", "/admin/v1/upstreams", "").1["data"][0]["state"], "draining");
    assert_eq!(ask("POST", "/admin/v1/upstreams/nobody/drain", "").0, 404);
    assert_eq!(ask("POST", "/admin/v1/upstreams/gpu/test", "{\"stream\":true}").0, 400);
    let (status, tried) = ask("POST", "/admin/v1/upstreams/gpu/test", "");
    assert_eq!((status, &tried["ok"]), (200, &true.into()), "a drained server can be tried: {tried}");

    let undrained = ember.post("/admin/v1/upstreams/gpu/undrain", Some(&token), "");
    assert_eq!((undrained.status, undrained.json()["state"] == "draining"), (200, false));
    let key = home.key("app");
    for stranger in [None, Some(key.as_str())] {
        assert_eq!(ember.post("/admin/v1/upstreams/gpu/drain", stranger, "").status, 401);
    }
    let (_, audit) = ask("GET", "/admin/v1/audit?action=upstream", "");
    let actors: Vec<_> =
        audit["data"].as_array().unwrap().iter().map(|one| one["actor"].as_str().unwrap()).collect();
    assert!(
        actors.len() == 2 && actors[0].starts_with("tok_") && actors[1].starts_with("uid:"),
        "{actors:?}"
    );
}

#[test]
fn bug_few_servers_are_tried_at_once_and_what_costs_tokens_leaves_an_event() {
    let model = ModelServer::start();
    let home = home(&section("gpu", model.address, ""));
    let _ember = home.serve();
    let (data, path) = (home.data(), "/admin/v1/upstreams/gpu/test");
    std::thread::scope(|scope| {
        let test = |body| door::ask(&data, "POST", path, "", body).unwrap();
        let slow: Vec<_> = (0..2).map(|_| scope.spawn(move || test("{\"model\":\"m\"}"))).collect();
        let mut calls = [model.call(), model.call()];
        let refused = test("");
        assert_eq!(refused.status, 409);
        assert!(refused.text().contains("2 model servers are being tried"), "{}", refused.text());
        home.key("others");
        for call in &mut calls {
            call.json("200 OK", "{\"choices\":[]}");
        }
        for one in slow {
            assert_eq!(one.join().unwrap().json()["ok"], true);
        }
        assert_eq!(test("").status, 200);
    });
    let audit = json(&home.ok(&["audit", "--action", "upstream", "-o", "json"]));
    let told: Vec<_> = audit["data"].as_array().unwrap().iter().collect();
    assert!(told.len() == 2 && told.iter().all(|one| one["action"] == "upstream.tested"), "{audit}");
    assert!(told.iter().all(|one| one["detail"] == "gpu m"), "{audit}");
}
