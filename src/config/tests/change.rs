//! What changed between two configurations, and what docs/reload.md says of each setting.

use super::*;

fn said(toml: &str) -> Said {
    load_toml(toml).unwrap().said()
}

fn changes(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
    let Changes { live, restart } = said(old).changes(&said(new));
    (live, restart)
}

#[test]
fn what_changed_is_named_and_model_servers_by_their_names() {
    let (a, b) = (upstream("a", ""), upstream("b", "queue_max = 5"));
    let both = format!("{a}{b}");
    for (old, new, live) in [
        ("", "", &[][..]),
        ("", "# a word\n[log]\nlevel = \"info\"\n", &[]),
        ("", "[log]\nlevel = \"warn\"\n[models]\nrefresh = \"1m\"\n", &["log.level", "models.refresh"]),
        ("", &a, &["upstream.a"]),
        (&a, &upstream("c", ""), &["upstream.a", "upstream.c"]),
        (&both, &b, &["upstream.a"]),
        (&both, &format!("{b}{a}"), &["upstream"]),
        (&both, &format!("{a}{}", upstream("b", "")), &["upstream.b.queue_max"]),
        (&both, &format!("{}{b}", upstream("a", "aliases = { x = \"y\" }")), &["upstream.a.aliases.x"]),
        (&a, &upstream("a.b", ""), &["upstream.a", "upstream.a.b"]),
        (
            &upstream("a.b", ""),
            &format!("{a}{}", upstream("a.b", "queue_max = 1")),
            &["upstream.a", "upstream.a.b.queue_max"],
        ),
        ("", "[models.prices.\"m.1\"]\nprompt = \"1\"\n", &["models.prices.m.1.prompt"]),
        ("", "[models]\necho = true\n", &["models.echo", "upstream.echo"]),
    ] {
        let (changed, restart) = changes(old, new);
        assert_eq!(changed, live, "{old} -> {new}");
        assert!(restart.is_empty(), "{restart:?}");
    }
}

#[test]
fn another_key_in_the_same_file_is_a_change_and_is_not_kept() {
    let place = Place::new(&upstream("a", "api_key_file = \"key\""), &[]);
    let load = |key: &str| {
        std::fs::write(place.path().join("key"), key).unwrap();
        place.load(Flags::default()).unwrap()
    };
    let first = load("hunter2-1");
    let changed = |key: &str| first.said().changes(&load(key).said()).live;
    assert!(changed("hunter2-1").is_empty());
    assert_eq!(changed("hunter2-2"), ["upstream.a.api_key"]);
    let again = first.kept.load().unwrap();
    assert_eq!(again.config.upstreams[0].api_key.as_ref().unwrap().expose(), "hunter2-2", "read anew");
    assert!(!format!("{first:?}").contains("hunter2"));
}

#[test]
fn what_needs_a_restart_stays_different_until_then() {
    let (old, new) = (said(""), said("[store]\ncache_bytes = \"9MiB\"\n[log]\nlevel = \"warn\"\n"));
    let expected = Changes { live: vec!["log.level".into()], restart: vec!["store.cache_bytes".into()] };
    assert_eq!(old.changes(&new), expected);
    let holds = new.over(&old);
    assert_eq!(holds.changes(&said("[log]\nlevel = \"warn\"\n")), Changes::default());
}

#[test]
fn a_file_that_was_found_must_stay() {
    let place = Place::new("", &[]);
    let kept = place.load(Flags::default()).unwrap().kept;
    std::fs::remove_file(place.path().join("ember.toml")).unwrap();
    let faults = kept.load().unwrap_err().to_string();
    assert!(faults.contains("ember.toml: the configuration can't be read"), "{faults}");
    assert!(place.load(Flags::default()).is_ok(), "whoever never had one needs none");
}

/// Each setting stands in the one table of the page that it belongs to, alone or with its section.
#[test]
fn the_page_about_reloads_says_what_the_table_says() {
    const PAGE: &str = include_str!("../../../docs/reload.md");
    let part = |heading: &str| {
        let (_, rest) = PAGE.split_once(heading).unwrap_or_else(|| panic!("{heading} is not there"));
        rest.split("\n## ").next().unwrap().to_string()
    };
    let (live, restart) = (part("## What holds at once"), part("## What needs a restart"));
    for row in SETTINGS {
        let path = row.path.replace(".#", "");
        assert!(
            !(row.needs_restart && path != row.path),
            "{path}: model servers come and go without a restart"
        );
        let names = |page: &str, path: &str| page.contains(&format!("`{path}`"));
        let section = |page: &str| {
            let ends = path.match_indices('.').map(|(end, _)| format!("{}.*", &path[..end]));
            ends.into_iter().any(|section| names(page, &section))
        };
        let (here, there) = if row.needs_restart { (&restart, &live) } else { (&live, &restart) };
        assert!(names(here, &path) || section(here), "{path} is not where it belongs in docs/reload.md");
        assert!(
            !names(there, &path) && !section(there),
            "{path} is where it does not belong in docs/reload.md"
        );
    }
}
