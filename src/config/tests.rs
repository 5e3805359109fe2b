//! The configuration as a whole: layers, faults, secrets, the example.

mod change;
mod faults;

use std::path::Path;
use std::time::Duration;

use super::kind::from_toml;
use super::table::SETTINGS;
use super::*;

/// A directory with an `ember.toml`, and the variables of a process.
struct Place {
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Place {
    fn new(toml: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ember.toml"), toml).unwrap();
        let variables = [("HOME", "/home/a")].iter().chain(variables);
        let environment = variables.map(|(name, text)| (name.to_string(), text.to_string())).collect();
        Self { directory, environment }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn load(&self, flags: Flags) -> Result<Loaded, Faults> {
        let environment = &self.environment;
        load(&Sources { file: None, environment, flags, directory: Some(self.path()) })
    }

    /// The faults, one per line, without the directory.
    fn faults(&self, flags: Flags) -> String {
        self.load(flags).unwrap_err().to_string().replace(&format!("{}/", self.path().display()), "")
    }
}

fn load_toml(toml: &str) -> Result<Loaded, Faults> {
    Place::new(toml, &[]).load(Flags::default())
}

fn faults_of(toml: &str) -> String {
    Place::new(toml, &[]).faults(Flags::default())
}

fn upstream(name: &str, more: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\nurl = \"http://a\"\n{more}\n")
}

/// The example with the lines of `[[upstream]]` taken in.
fn whole_example() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_names_every_setting_at_its_default() {
    let toml: toml_edit::DocumentMut = whole_example().parse().unwrap();
    for row in SETTINGS {
        let mut item = toml.as_item();
        for part in row.path.split('.') {
            item = match part {
                "#" => &item[0],
                "*" => item.as_table_like().unwrap().iter().next().unwrap().1,
                name => item.get(name).unwrap_or_else(|| panic!("{} is not in ember.toml", row.path)),
            };
        }
        let value = from_toml(item.as_value().unwrap());
        if let Some(default) = row.default {
            assert_eq!(value, row.kind.value_of(default), "{}", row.path);
        }
        assert!(
            EXAMPLE.to_lowercase().contains(&row.doc.to_lowercase()),
            "ember.toml does not say: {}",
            row.doc
        );
    }
}

#[test]
fn the_example_loads_and_changes_nothing() {
    let values =
        |toml| load_toml(toml).unwrap().settings().into_iter().map(|s| (s.path, s.value)).collect::<Vec<_>>();
    assert_eq!(values(EXAMPLE), values(""));
    let whole = load_toml(&whole_example()).unwrap().config;
    let [upstream] = whole.upstreams.as_slice() else { panic!("{whole:?}") };
    assert_eq!(upstream.address, UpstreamAddress::Tcp { host: "127.0.0.1".to_string(), port: 8000 });
    let extras = &upstream.metadata["qwen3-8b"];
    assert_eq!(extras["context_length"], 32768);
    assert_eq!(extras["pricing"], serde_json::json!({ "prompt": "0", "completion": "0" }));
    let echo = UpstreamConfig::echo();
    assert_eq!(
        (
            echo.connect_timeout,
            echo.first_byte_timeout,
            echo.idle_timeout,
            echo.total_timeout,
            echo.in_flight_max,
            echo.queue_max,
            echo.queue_timeout
        ),
        (
            upstream.connect_timeout,
            upstream.first_byte_timeout,
            upstream.idle_timeout,
            upstream.total_timeout,
            upstream.in_flight_max,
            upstream.queue_max,
            upstream.queue_timeout
        )
    );
}

#[test]
fn ranges_in_the_example_are_those_of_the_table() {
    use super::kind::Kind;
    for row in SETTINGS {
        let range = match row.kind {
            Kind::Count(min, max) => format!("{min} to {max}."),
            Kind::Size(min, max) => format!("{min} to {max}"),
            Kind::Time(min, max) => format!("{min} to {max}."),
            Kind::Text(_)
            | Kind::Texts(_)
            | Kind::TextOrTexts(_)
            | Kind::Word(_)
            | Kind::Switch
            | Kind::Any => continue,
        };
        let about = EXAMPLE.to_lowercase().find(&row.doc.to_lowercase()).unwrap();
        let until = EXAMPLE[about..].find(" = ").unwrap();
        assert!(EXAMPLE[about..about + until].contains(&range), "{}: {range}", row.path);
    }
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let toml =
        "[log]\nlevel = \"warn\"\nformat = \"text\"\n[server]\nlisten = \"127.0.0.1:1\"\nstreams_max = 5\n";
    let variables = [
        ("EMBER_LOG__FORMAT", "json"),
        ("EMBER_SERVER__LISTEN", "127.0.0.1:2"),
        ("EMBER_STORE__CACHE_BYTES", "2097152"),
    ];
    let place = Place::new(toml, &variables);
    let flags = Flags { listen: Some("[::1]:3".to_string()), ..Flags::default() };
    let loaded = place.load(flags).unwrap();
    assert_eq!((loaded.config.log.level, loaded.config.log.format), (LogLevel::Warn, LogFormat::Json));
    assert_eq!(loaded.config.server.listen, ["[::1]:3".parse().unwrap()]);
    assert_eq!((loaded.config.server.streams_max, loaded.config.store.cache_bytes), (5, 2 << 20));
    assert_eq!(loaded.file.as_deref(), Some(place.path().join("ember.toml").as_path()));
    let file = place.path().join("ember.toml");
    for (path, value, origin) in [
        ("server.listen", "\"[::1]:3\"", "--listen".to_string()),
        ("log.format", "\"json\"", "EMBER_LOG__FORMAT".to_string()),
        ("store.cache_bytes", "2097152", "EMBER_STORE__CACHE_BYTES".to_string()),
        ("log.level", "\"warn\"", format!("{}:2", file.display())),
        ("server.idle_timeout", "\"75s\"", "default".to_string()),
        ("data", "\"/home/a/.local/share/ember\"", "default".to_string()),
    ] {
        let found = loaded.settings().into_iter().find(|setting| setting.path == path).unwrap();
        assert_eq!((found.value.as_str(), found.origin), (value, origin), "{path}");
    }
}

#[test]
fn the_data_directory_has_its_order() {
    let data = |toml: &str, variables: &[(&str, &str)], flag: Option<&str>| {
        let place = Place::new(toml, variables);
        let flags = Flags { data: flag.map(PathBuf::from), ..Flags::default() };
        let loaded = place.load(flags).unwrap();
        let path = loaded.config.data.display().to_string();
        path.replace(&place.path().display().to_string(), "HERE")
    };
    let mut variables = vec![("XDG_DATA_HOME", "/xdg")];
    assert_eq!(data("", &variables, None), "/xdg/ember");
    variables.push(("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"));
    assert_eq!(data("", &variables, None), "/var/lib/a");
    assert_eq!(data("data = \"store\"", &variables, None), "HERE/store");
    variables.push(("EMBER_DATA", "elsewhere"));
    assert_eq!(data("data = \"store\"", &variables, None), "elsewhere");
    assert_eq!(data("data = \"store\"", &variables, Some("/flag")), "/flag");
    let lost = load(&Sources { directory: Some(Path::new("/nowhere")), ..Sources::default() }).unwrap_err();
    assert!(lost.to_string().starts_with("there is no place for the data directory"), "{lost}");
}

#[test]
fn upstreams_come_from_the_file_from_variables_and_from_flags() {
    let toml = "models.echo = true\n[[upstream]]\nname = \"a\"\nurl = \"http://a:1\"\naliases = { \"x/y.z\" = \"q\" }\n";
    let variables = [
        ("EMBER_UPSTREAM__0__IN_FLIGHT_MAX", "3"),
        ("EMBER_UPSTREAM__1__NAME", "b"),
        ("EMBER_UPSTREAM__1__URL", "unix:/run/b.sock"),
        ("EMBER_UPSTREAM__1__MODELS", "[\"m\"]"),
    ];
    let flags = Flags { upstreams: vec!["http://127.0.0.1:8000/v1".to_string()], ..Flags::default() };
    let upstreams = Place::new(toml, &variables).load(flags).unwrap().config.upstreams;
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "127.0.0.1-8000", "echo"]);
    assert_eq!(upstreams[0].in_flight_max, 3);
    assert_eq!(upstreams[0].aliases["x/y.z"].as_str(), "q");
    assert_eq!(upstreams[1].models[0].as_str(), "m");
    assert_eq!(upstreams[2].idle_timeout, Duration::from_secs(300));
    assert_eq!(upstreams[3].models[0].as_str(), "ember-echo");
    let twice =
        Flags { upstreams: vec!["http://a:1".to_string(), "http://a:1".to_string()], ..Flags::default() };
    assert_eq!(Place::new("", &[]).faults(twice), "--upstream: two upstreams have the name 'a-1'");
    let odd = Flags { upstreams: vec!["a".to_string(), "b".to_string()], ..Flags::default() };
    assert_eq!(Place::new("", &[]).faults(odd).lines().count(), 2);
}

#[test]
fn other_variables_are_only_warned_of() {
    let toml = "[[upstream]]\nname = \"a\"\nurl = \"http://a\"\napi_key_env = \"EMBER_A__KEY\"\n";
    let variables = [
        ("EMBER_A__KEY", "sk-hunter2"),
        ("EMBER_PORT", "tcp://x"),
        ("EMBER_CONFIG", ""),
        ("EMBER_DATA", "/d"),
        ("OTHER__X", "y"),
    ];
    let loaded = Place::new(toml, &variables).load(Flags::default()).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("EMBER_PORT "));
    assert_eq!(loaded.config.upstreams[0].api_key.as_ref().unwrap().expose(), "sk-hunter2");
}

#[test]
fn keys_are_read_and_never_shown() {
    let toml = [
        upstream("file", "api_key_file = \"keys/a\""),
        upstream("env", "api_key_env = \"A_KEY\""),
        upstream("systemd", "api_key_file = \"credential:c\""),
    ];
    let mut place = Place::new(&toml.concat(), &[("A_KEY", "sk-hunter2-env")]);
    std::fs::create_dir(place.path().join("keys")).unwrap();
    std::fs::write(place.path().join("keys/a"), "sk-hunter2-file\n").unwrap();
    std::fs::write(place.path().join("keys/c"), "sk-hunter2-systemd\n").unwrap();
    let credentials = place.path().join("keys").display().to_string();
    place.environment.push(("CREDENTIALS_DIRECTORY".to_string(), credentials));
    let loaded = place.load(Flags::default()).unwrap();
    for upstream in &loaded.config.upstreams {
        assert_eq!(upstream.api_key.as_ref().unwrap().expose(), format!("sk-hunter2-{}", upstream.name));
    }
    let shown = format!("{loaded:?} {:?}", loaded.settings());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(loaded.settings().iter().filter(|setting| setting.value == "(secret)").count(), 3);
}

fn serving() -> Flags {
    Flags { purpose: Purpose::Serve, ..Flags::default() }
}

#[test]
fn bug_a_command_beside_the_service_needs_none_of_its_credentials() {
    let place = Place::new(&upstream("a", "api_key_file = \"credential:c\""), &[]);
    let loaded = place.load(Flags::default()).unwrap();
    assert!(loaded.config.upstreams[0].api_key.is_none());
    assert!(loaded.warnings[0].contains("credential:c is handed to the service"), "{:?}", loaded.warnings);
    assert!(place.faults(serving()).contains("needs CREDENTIALS_DIRECTORY"));
    let odd = Place::new(&upstream("a", "api_key_file = \"credential:../c\""), &[]);
    assert!(odd.faults(Flags::default()).contains("takes a plain name"));
}

#[test]
fn bug_a_command_needs_no_file_that_only_a_server_needs() {
    let toml = [
        "[server.tls]\ncert_file = \"absent.pem\"\nkey_file = \"absent.key\"\n".to_string(),
        "[[upstream]]\nname = \"a\"\nurl = \"https://gpu\"\nca_file = \"absent.ca\"\n".to_string(),
    ];
    let place = Place::new(&toml.concat(), &[]);
    let server = place.load(Flags::default()).unwrap().config.server;
    assert!(server.speaks_tls() && server.base_url("127.0.0.1:1".parse().unwrap()).starts_with("https://"));
    for purpose in [Purpose::Check, Purpose::Serve] {
        let faults = place.faults(Flags { purpose, ..Flags::default() });
        assert!(faults.contains("absent.pem") && faults.contains("absent.ca"), "{faults}");
    }
}

#[test]
fn keys_that_can_not_be_read_are_named_and_not_shown() {
    let toml = [
        upstream("a", "api_key_file = \"sk-hunter2\""),
        upstream("b", "api_key_env = \"sk-hunter2\""),
        upstream("c", "api_key_env = \"ABSENT\""),
        upstream("d", "api_key_env = \"ODD\""),
        upstream("e", "api_key_file = \"./absent\""),
        upstream("f", "api_key_file = \"a\"\napi_key_env = \"ODD\""),
        upstream("g", "api_key = [\"sk-hunter2\"]"),
        upstream("h", "api_key_file = \"credential:x\""),
    ];
    let faults = Place::new(&toml.concat(), &[("ODD", "hunter2\u{e9}")]).faults(serving());
    assert_eq!(faults.lines().count(), 8, "{faults}");
    assert!(!faults.contains("hunter2"), "{faults}");
    for part in [
        "4:16: ",
        "8:15: ",
        "12:15: the variable ABSENT is not set",
        "16:15: the variable ODD holds",
        "absent can't be read",
    ] {
        assert!(faults.contains(part), "{part}\n{faults}");
    }
    let syntax = faults_of("[[upstream]]\napi_key = sk-hunter2\n");
    assert!(syntax.starts_with("ember.toml:2:11: ") && !syntax.contains("hunter2"), "{syntax}");
}
