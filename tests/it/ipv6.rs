//! IPv6: listening on it, clients of IPv4 that come in by it, model servers behind it. A machine without IPv6 fails here
//! with a sentence: nothing is left out in silence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::ember::{Ember, Home, PATIENCE, chat, request};
use crate::model::{ModelServer, home};
use crate::secured::{Authority, MODERN, Secured, config};

const CHAT: &str = "/v1/chat/completions";

fn must_have_ipv6() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        panic!(
            "this machine has no IPv6 loopback address ({error}), so what Ember does over IPv6 is untested here"
        );
    }
}

/// A port that was free a moment ago, for IPv4 and IPv6.
fn free_port() -> u16 {
    let v6 = TcpListener::bind("[::]:0").unwrap();
    v6.local_addr().unwrap().port()
}

fn listening(listen: &str, more: &str) -> Home {
    must_have_ipv6();
    let home = Home::new("");
    let text = format!("[server]\nlisten = {listen}\n{more}\n[models]\necho = true\n");
    std::fs::write(home.file("ember.toml"), text).unwrap();
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

/// Asks over a connection to this address of this machine; the status, and the code of an error.
fn status(ember: &Ember, host: IpAddr, key: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(SocketAddr::new(host, ember.address.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = request("POST", CHAT, Some(key), &chat("hi", ""));
    let ask = ask.replacen("\r\n", &format!("\r\n{headers}"), 1);
    std::io::Write::write_all(&mut stream, ask.as_bytes()).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    crate::ember::Answer::parse(&answer).status
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[test]
fn every_address_is_reached_at_the_unspecified_one_and_a_client_of_ipv4_is_one() {
    let home = listening("\"[::]:0\"", "trusted_proxies = [\"10.9.9.9\"]");
    let only = |name: &str, address: &str| {
        let args = ["key", "create", "--account", "ana@example.com", "--name", name, "--addresses", address];
        home.ok(&args)
    };
    let (four, six) = (only("four", "127.0.0.1"), only("six", "::1"));
    let ember = home.serve();
    assert!(ember.address.ip().is_unspecified() && ember.address.is_ipv6(), "{}", ember.address);
    assert_eq!((status(&ember, V4, &four, ""), status(&ember, V6, &four, "")), (200, 401));
    assert_eq!((status(&ember, V4, &six, ""), status(&ember, V6, &six, "")), (401, 200));
    ember.wait_for_log("\"peer\":\"127.0.0.1\"");
    ember.wait_for_log("\"peer\":\"::1\"");
    assert!(!ember.log().contains("::ffff:"), "{}", ember.log());
    // Bytes that are no request are answered by another way.
    let mut stream = TcpStream::connect(SocketAddr::new(V4, ember.address.port())).unwrap();
    std::io::Write::write_all(&mut stream, b"nonsense\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
    // The trail and the clients of a key have the plain address, too.
    let clients = home.ok(&["key", "show", "four", "-o", "json"]);
    assert!(!clients.contains("::ffff:"), "{clients}");
    assert!(!home.ok(&["audit", "-o", "json"]).contains("::ffff:"));
}

#[test]
fn a_proxy_of_ipv4_that_comes_in_by_ipv6_is_trusted_by_its_ipv4_address() {
    let home = listening("\"[::]:0\"", "trusted_proxies = [\"127.0.0.1\"]");
    let args =
        ["key", "create", "--account", "ana@example.com", "--name", "far", "--addresses", "203.0.113.7"];
    let (key, ember) = (home.ok(&args), home.serve());
    assert_eq!(status(&ember, V4, &key, "X-Forwarded-For: 203.0.113.7\r\n"), 200);
    assert_eq!(status(&ember, V4, &key, "X-Forwarded-For: ::ffff:203.0.113.7\r\n"), 200);
    assert_eq!(status(&ember, V6, &key, "X-Forwarded-For: 203.0.113.7\r\n"), 401, "::1 is not named");
}

#[test]
fn loopback_of_ipv6_is_listened_on_alone() {
    let home = listening("\"[::1]:0\"", "");
    let (key, ember) = (home.key("app"), home.serve());
    assert_eq!(status(&ember, V6, &key, ""), 200);
    assert!(TcpStream::connect(SocketAddr::new(V4, ember.address.port())).is_err());
    assert!(home.ok(&["status", "-o", "json"]).contains(&format!("http://{}", ember.address)));
}

#[test]
fn both_families_may_be_named_for_one_port() {
    for v4 in ["0.0.0.0", "127.0.0.1"] {
        for turned in [false, true] {
            let port = free_port();
            let mut listen = [format!("\"{v4}:{port}\""), format!("\"[::]:{port}\"")];
            if turned {
                listen.reverse();
            }
            let home = listening(&format!("[{}]", listen.join(", ")), "");
            let (key, ember) = (home.key("app"), home.serve());
            assert_eq!((status(&ember, V4, &key, ""), status(&ember, V6, &key, "")), (200, 200));
        }
    }
}

#[test]
fn model_servers_are_reached_by_ipv6_and_by_names_that_lead_to_both_families() {
    must_have_ipv6();
    for (host, listens) in [("[::1]", "[::1]:0"), ("localhost", "127.0.0.1:0")] {
        let ca = Authority::new();
        let names = [host.trim_matches(['[', ']'])];
        let model = Secured::start_at(listens, config(ca.issue(&names), MODERN));
        let url = format!("https://{host}:{}", model.address.port());
        let section = format!(
            "[[upstream]]\nname = \"gpu\"\nurl = \"{url}\"\nmodels = [\"m\"]\nca_file = \"ca.pem\"\n"
        );
        let home = home(&section);
        std::fs::write(home.file("ca.pem"), &ca.pem).unwrap();
        let (key, ember) = (home.key("app"), home.serve());
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ember.post(CHAT, Some(&key), r#"{"model":"m","messages":[]}"#));
            let mut call = model.call();
            let host = format!("\r\nhost: {host}:{}\r\n", model.address.port());
            assert!(call.head.to_ascii_lowercase().contains(&host), "{}", call.head);
            call.json("{}");
            call.close_notify();
            asking.join().unwrap()
        });
        assert_eq!(answer.status, 200);
    }
    let plain = ModelServer::start_at("[::1]:0");
    let home = plain.home("", "");
    let (key, ember) = (home.key("app"), home.serve());
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ember.post(CHAT, Some(&key), r#"{"model":"m","messages":[]}"#));
        plain.call().json("200 OK", "{}");
        asking.join().unwrap()
    });
    assert_eq!(answer.status, 200);
}
