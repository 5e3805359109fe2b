//! Invitations, reset links, sessions and tokens, through the command line.

use super::*;
use crate::types::{Place, Secret, SessionId, Ticket, TicketKind};

const INVITE: &str =
    "[server]\npublic_url = \"https://ember.example.com\"\n[dashboard]\nsign_up = \"invite\"\n";

/// With an administrator, and a configuration that takes invitations.
fn inviting() -> House {
    let house = House::with_ana();
    std::fs::write(house.file("ember.toml"), INVITE).unwrap();
    house
}

/// The ticket in a link that is all that was printed.
fn ticket(out: &str, kind: TicketKind) -> Ticket {
    let start = format!("https://ember.example.com/{}/", kind.as_str());
    let text = out.strip_suffix('\n').and_then(|link| link.strip_prefix(&start)).expect(out);
    Ticket::parse(kind, text.as_bytes()).expect("a whole ticket")
}

fn place() -> Place {
    Place::new(std::net::Ipv4Addr::new(192, 0, 2, 7).into(), "Firefox")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_link_stands_alone_on_a_pipe_and_is_said_to_be_shown_once_on_a_terminal() {
    let house = inviting();
    for (args, kind) in [
        (&["invite", "create", "bob@example.com"][..], TicketKind::Invite),
        (&["account", "reset", "ana@example.com"], TicketKind::Reset),
    ] {
        let end = house.run(args);
        let link = end.out.trim_end().to_string();
        assert_eq!(end.code, 0, "{}", end.err);
        drop(ticket(&end.out, kind));
        assert!(!end.err.contains(&link) && end.err.contains("Expires"), "{}", end.err);
        let end = house.run_so(args, &TERMINAL);
        assert!(end.out.contains("shown once") && end.out.contains("/ember_"), "{}", end.out);
    }
}

#[test]
fn an_invitation_works_for_the_time_and_the_role_it_was_made_for() {
    let house = inviting();
    let out = house.ok(&["invite", "create", "eve@example.com", "--admin", "--expires", "3d", "-o", "json"]);
    let made = json(&out);
    assert_eq!((made["role"].as_str(), made["object"].as_str()), (Some("admin"), Some("invite")));
    assert!(made["link"].as_str().unwrap().contains("/invite/ember_invite_"));
    let lived = |made: &serde_json::Value| {
        let at = |name: &str| made[name].as_str().unwrap().parse::<Timestamp>().unwrap();
        at("expires_at").since(at("created_at")).as_secs() / 86_400
    };
    assert_eq!(lived(&made), 3);
    assert_eq!(lived(&json(&house.ok(&["invite", "create", "dan@example.com", "-o", "json"]))), 7);
    for (when, word) in
        [("31d", "30 days"), ("59s", "a minute"), ("soon", "7d"), ("2099-01-01", "7d"), ("-1h", "7d")]
    {
        let end = house.run(&["invite", "create", "x@example.com", "--expires", when]);
        assert!(end.code == 2 && end.err.contains(word), "{when}: {}", end.err);
    }
    let table = house.ok(&["invite", "list"]);
    assert!(table.starts_with("EMAIL") && table.contains("in 3 days") && !table.contains("ember_invite_"));
    let id = made["id"].as_str().unwrap();
    assert!(house.run(&["invite", "revoke", id]).err.contains("is taken back"));
    assert_eq!(house.run(&["invite", "revoke", id]).code, 6);
    assert_eq!(house.ok(&["invite", "list", "-o", "plain"]).lines().count(), 1);
}

#[test]
fn a_link_leads_to_the_account_it_was_made_for() {
    let house = inviting();
    let invite = ticket(&house.ok(&["invite", "create", "bob@example.com"]), TicketKind::Invite);
    let reset = ticket(&house.ok(&["account", "reset", "ana@example.com"]), TicketKind::Reset);
    let rules = Rules { sign_up: crate::types::SignUp::Invite, ..Rules::default() };
    let registry = house.open(&house.data(), false, &rules).ok().unwrap().registry;
    assert_eq!(registry.invite(&invite).unwrap().email.as_str(), "bob@example.com");
    assert_eq!(registry.reset_account(&reset).unwrap().email.as_str(), "ana@example.com");
}

#[test]
fn nobody_is_invited_where_sign_up_is_closed() {
    let house = House::with_ana();
    for out in [&["--out", "link.txt"][..], &[]] {
        let end = house.run(&[&["invite", "create", "bob@example.com"], out].concat());
        assert!(end.code == 4 && end.err.contains("dashboard.sign_up"), "{}", end.err);
        assert!(end.out.is_empty() && !house.file("link.txt").exists());
    }
    let end = house.run(&["account", "reset", "ana@example.com"]);
    assert!(end.code == 0 && end.err.contains("server.public_url"), "{}", end.err);
}

#[test]
fn a_link_or_token_goes_into_a_new_private_file_or_is_not_made() {
    let house = inviting();
    for args in [
        &["invite", "create", "bob@example.com"][..],
        &["account", "reset", "ana@example.com"],
        &["token", "create", "ci"],
    ] {
        let out = house.file(args[0]);
        let with_file = [args, &["-o", "json", "--out", args[0]]].concat();
        let end = house.run(&with_file);
        let told = json(&end.out);
        let secret = std::fs::read_to_string(&out).unwrap();
        assert!(secret.trim_end().contains("ember_") && secret.ends_with('\n'), "{args:?}");
        assert!(!end.out.contains(secret.trim_end()) && told["expires_at"] != "", "{}", end.out);
        assert!(told.get("link").is_none() && told.get("token").is_none(), "{}", end.out);
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(house.run(&with_file).code, 7);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), secret);
    }
    assert_eq!(house.ok(&["token", "list", "-o", "plain"]).lines().count(), 1);
}

#[test]
fn a_token_is_made_shown_once_and_revoked() {
    let house = House::with_ana();
    let secret = house.ok(&["token", "create", "ci", "--expires", "90d"]);
    let token = Ticket::parse(TicketKind::Admin, secret.trim_end().as_bytes()).expect("the token alone");
    let last4 = token.hint().unwrap().to_string();
    let list = house.ok(&["token", "list"]);
    assert!(list.contains("in 90 days") && list.contains(&format!("...{last4}")), "{list}");
    assert!(!list.contains(secret.trim_end()));
    let answer = |stdin, args: &[&str]| house.run_so(args, &Way { stdin, ..TERMINAL });
    let end = answer("\n", &["token", "revoke", "ci"]);
    assert!(end.code == 1 && end.err.contains("Revoke token ci (tok_"), "{}", end.err);
    assert_eq!(answer("", &["token", "revoke", "nothing"]).code, 6, "nothing is asked about no token");
    assert_eq!(answer("y\n", &["token", "revoke", &last4]).code, 0);
    assert_eq!(house.run(&["token", "revoke", "ci"]).code, 6);
    house.ok(&["token", "create", "two"]);
    house.ok(&["token", "create", "two"]);
    let end = house.run(&["token", "revoke", "two"]);
    assert!(end.code == 7 && end.err.contains("by its id"), "{}", end.err);
    let end = house.run(&["token", "create", "old", "--expires", "2020-01-01"]);
    assert!(end.code == 2 && end.err.contains("passed"), "{}", end.err);
}

#[test]
fn a_whole_link_or_token_in_the_arguments_is_refused_and_never_repeated() {
    let house = inviting();
    let (link, token) =
        (house.ok(&["invite", "create", "bob@example.com"]), house.ok(&["token", "create", "ci"]));
    let (link, token) = (link.trim_end(), token.trim_end());
    for (args, word) in [
        (&["invite", "revoke", link][..], "whole invitation"),
        (&["token", "revoke", token], "whole token"),
        (&["audit", "--search", &format!("see {token}")], "whole token"),
        (&["key", "list", &format!("--search={link}")], "whole invitation"),
    ] {
        let end = house.run(args);
        assert!(end.code == 2 && end.err.contains(word) && end.out.is_empty(), "{}", end.err);
        assert!(!end.err.contains(token) && !end.err.contains(link), "{}", end.err);
    }
    assert_eq!(house.ok(&["token", "list", "-o", "plain"]).lines().count(), 1);
}

/// Signs ana in this often, and says with which sessions.
fn sign_in(house: &House, times: usize) -> Vec<SessionId> {
    let way = Way { stdin: "correct horse", ..Way::default() };
    assert_eq!(house.run_so(&["account", "passwd", "ana@example.com"], &way).code, 0);
    let registry = house.open(&house.data(), false, &Rules::default()).ok().unwrap().registry;
    let password = Secret::new("correct horse".to_string());
    (0..times)
        .map(|_| registry.sign_in("ana@example.com", &password, &place()).ok().unwrap().session.id)
        .collect()
}

#[test]
fn sessions_are_listed_and_ended_one_by_one_or_all() {
    let house = House::with_ana();
    house.ok(&["account", "create", "bob@example.com"]);
    let ids = sign_in(&house, 3);
    let list = house.ok(&["account", "sessions", "ana@example.com"]);
    assert!(list.starts_with("ADDRESS") && list.contains("192.0.2.7") && list.contains("Firefox"), "{list}");
    let first = ids[0].to_string();
    let end = house.run(&["account", "sign-out", "bob@example.com", "--session", &first]);
    assert!(end.code == 6 && end.err.contains("account sessions bob@example.com"), "{}", end.err);
    let end = house.run(&["account", "sign-out", "ana@example.com", "--session", &first]);
    assert!(end.code == 0 && end.err.contains("signed out at 192.0.2.7"), "{}", end.err);
    let left = house.ok(&["account", "sessions", "ana@example.com", "-o", "plain"]);
    assert!(left.lines().count() == 2 && !left.contains(&first), "{left}");
    let ended = json(&house.ok(&["account", "sign-out", "ana@example.com", "-o", "json"]));
    assert_eq!(ended["data"].as_array().unwrap().len(), 2);
    assert!(house.run(&["account", "sessions", "ana@example.com"]).err.contains("none"));
    let end = house.run(&["account", "sign-out", "ana@example.com"]);
    assert!(end.code == 0 && end.err.contains("not signed in anywhere"), "{}", end.err);
    assert_eq!(house.run(&["account", "sign-out", "eve@example.com"]).code, 6);
}

#[test]
fn a_name_is_given_and_taken_away() {
    let house = House::with_ana();
    let update =
        |name: &str| json(&house.ok(&["account", "update", "ana@example.com", "--name", name, "-o", "json"]));
    assert_eq!(update("Ana Lima")["name"], "Ana Lima");
    assert_eq!(update("")["name"], serde_json::Value::Null);
    for args in
        [&["account", "update", "ana@example.com"][..], &["account", "update", "a@b.c", "--name", " "]]
    {
        assert_eq!(house.run(args).code, 2);
    }
}
