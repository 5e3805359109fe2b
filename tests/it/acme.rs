//! Certificates by ACME, against a small server that checks what real ones check.

mod jose;
mod server;
mod wire;
mod x509;

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ember_gateway::tls::acme::{Retry, Settings, keep_renewed};
use ember_gateway::tls::{ACME_PROTOCOL, Identity};
use ember_gateway::types::{Clock, Random, RandomUnavailable, Timestamp};
use rustls::crypto::ring;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::subscriber::DefaultGuard;

use super::ember::{Ember, Home, PATIENCE, files_below};
use server::{Ca, Trouble};

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

struct NoSpread;

impl Random for NoSpread {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(0);
        Ok(())
    }
}

/// What listens on port 443 of all domains, and the care for its certificate.
struct House {
    folder: tempfile::TempDir,
    port: u16,
    ca: Ca,
    care: Option<JoinHandle<()>>,
    log: Log,
    _logging: DefaultGuard,
}

impl House {
    async fn new() -> Self {
        let ca = Ca::start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &ca.root).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let log = Log::default();
        let _logging = log.begin();
        Self { folder, port: 0, ca, care: None, log, _logging }
    }

    /// A house with one domain whose care has begun.
    async fn with_trouble(endpoint: &str, troubles: &[Trouble]) -> Self {
        let mut house = Self::new().await;
        house.ca.script(endpoint, troubles);
        house.start(&["ai.example.test"]).await;
        house
    }

    /// Listens and cares, in the place of what did before.
    async fn start(&mut self, domains: &[&str]) {
        let identity = Arc::new(Identity::default());
        self.listen(Arc::clone(&identity)).await;
        self.ca.connects_back_to(self.port);
        let settings = Settings {
            domains: domains.iter().map(ToString::to_string).collect(),
            email: Some("ops@example.test".to_string()),
            directory: self.ca.directory.clone(),
            ca_file: Some(self.folder.path().join("ca.pem")),
            retry: Retry { first: Duration::from_millis(50), most: Duration::from_millis(100) },
        };
        let data = self.folder.path().join("data");
        let care = async move {
            keep_renewed(settings, &data, identity, Arc::new(Wall), Arc::new(NoSpread)).await;
        };
        if let Some(before) = self.care.replace(tokio::spawn(care)) {
            before.abort();
        }
    }

    async fn listen(&mut self, identity: Arc<Identity>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = config.with_no_client_auth().with_cert_resolver(identity);
        config.alpn_protocols = vec![b"http/1.1".to_vec(), ACME_PROTOCOL.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.read(&mut [0]).await;
                    }
                });
            }
        });
    }

    /// The chain that a client gets who trusts the CA; `None` when it takes none.
    async fn chain(&self, domain: &str) -> Option<Vec<Vec<u8>>> {
        let stream = wire::connect(domain, self.port, &self.ca.root).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain.iter().map(|certificate| certificate.to_vec()).collect())
    }

    /// Waits for a certificate that clients take.
    async fn certified(&self, domain: &str) -> Vec<Vec<u8>> {
        self.eventually("a certificate", async || self.chain(domain).await).await
    }

    /// A file in the CA's folder.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let folder = std::fs::read_dir(self.folder.path().join("data/acme")).ok()?.next()?.ok()?;
        Some(folder.path().join(name)).filter(|path| path.exists())
    }

    /// Waits for the kept certificate with its key, until it is another one than `before`.
    async fn kept(&self, before: &str) -> String {
        self.eventually("the file", async || {
            let kept = std::fs::read_to_string(self.file("certificate.pem")?).ok()?;
            (kept != before).then_some(kept)
        })
        .await
    }

    async fn eventually<T>(&self, what: &str, mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = is_so().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| {
            let lines = self.log.lines("");
            panic!("waited in vain for {what}: {:#?}", lines.iter().take(3).collect::<Vec<_>>())
        })
    }
}

/// What is logged on this thread while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin(&self) -> DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines with a text in them.
    fn lines(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_string).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn two_domains_are_proven_and_get_one_certificate_that_outlives_a_restart() {
    let mut house = House::new().await;
    let domains = ["ai.example.test", "api.example.test"];
    house.start(&domains).await;
    let chain = house.certified(domains[0]).await;
    assert_eq!(chain.len(), 2);
    assert_eq!(house.certified(domains[1]).await, chain);
    assert!(house.chain("other.example.test").await.is_none());
    // No proof stays.
    assert!(wire::look(domains[0], house.port).await.is_err());
    assert_eq!(house.ca.accounts(), [["mailto:ops@example.test"]]);
    house.kept("").await;
    for name in ["account.pem", "certificate.pem"] {
        let facts = std::fs::metadata(house.file(name).unwrap()).unwrap();
        assert_eq!(facts.mode() & 0o777, 0o600, "{name}");
    }
    let requests = house.ca.requests();
    house.start(&domains).await;
    assert_eq!(house.certified(domains[1]).await, chain);
    assert_eq!(house.ca.requests(), requests, "what was kept is enough");
}

#[tokio::test]
async fn another_domain_brings_another_certificate_with_another_key_from_the_same_account() {
    let mut house = House::new().await;
    house.start(&["ai.example.test"]).await;
    let first = house.certified("ai.example.test").await;
    let before = house.kept("").await;
    house.start(&["ai.example.test", "new.example.test"]).await;
    // The old one is shown until then.
    assert_eq!(house.certified("ai.example.test").await, first);
    assert_ne!(house.certified("new.example.test").await, first);
    let now = house.kept(&before).await;
    let key = |pem: &str| pem.split("-----END").next().unwrap().to_string();
    assert!(key(&now).contains("PRIVATE KEY") && key(&now) != key(&before));
    assert_eq!(house.ca.accounts().len(), 1);
}

#[tokio::test]
async fn a_nonce_that_the_ca_does_not_take_is_replaced_without_a_new_order() {
    let house = House::with_trouble("/new-order", &[Trouble::BadNonce]).await;
    house.certified("ai.example.test").await;
    assert_eq!(house.ca.asked_at("/new-order").len(), 2);
    assert_eq!(house.ca.asked_at("/directory").len(), 1);
}

#[tokio::test]
async fn a_ca_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says() {
    let house = House::with_trouble("/new-order", &[Trouble::RateLimited(1)]).await;
    house.certified("ai.example.test").await;
    let asked_at = house.ca.asked_at("/directory");
    assert_eq!(asked_at.len(), 2);
    // Without the header it would come back after 50 ms.
    assert!(asked_at[1] - asked_at[0] >= Duration::from_secs(1));
    let lines = house.log.lines("too many orders; come back later (urn:ietf:params:acme:error:rateLimited)");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("next_try=20"), "{lines:?}");
}

#[tokio::test]
async fn a_domain_that_can_not_be_reached_is_said_once_for_each_try_and_tried_again() {
    let mut house = House::new().await;
    house.start(&["ai.example.test"]).await;
    house.ca.connects_back_to(1);
    let said = "ai.example.test was not proven; the CA says: ai.example.test can't be reached";
    house.eventually("two failures", async || (house.log.lines(said).len() >= 2).then_some(())).await;
    assert!(house.chain("ai.example.test").await.is_none());
    house.ca.connects_back_to(house.port);
    house.certified("ai.example.test").await;
    assert_eq!(house.log.lines(said).len() + 1, house.ca.asked_at("/new-order").len());
    assert_eq!(house.ca.accounts().len(), 1);
}

#[tokio::test]
async fn an_order_that_turns_out_invalid_is_said_in_the_cas_words() {
    let house = House::with_trouble("/order", &[Trouble::Invalid]).await;
    house.certified("ai.example.test").await;
    assert_eq!(house.log.lines("the CA says: CAA forbids it (urn:ietf:params:acme:error:caa)").len(), 1);
}

#[tokio::test]
async fn a_ca_that_was_down_is_asked_until_it_is_up() {
    let mut house = House::new().await;
    house.ca.set_down(true);
    house.start(&["ai.example.test"]).await;
    let said = "TLS with localhost failed";
    house.eventually("two failures", async || (house.log.lines(said).len() >= 2).then_some(())).await;
    house.ca.set_down(false);
    house.certified("ai.example.test").await;
}

#[tokio::test]
async fn answers_that_make_no_sense_are_said_and_tried_again() {
    for (endpoint, trouble, said) in [
        ("/directory", Trouble::Garbage, "the CA's answer can't be understood"),
        ("/directory", Trouble::Html(502), "localhost answered 502 without saying why"),
        ("/directory", Trouble::NoNonces, "the order broke off: nothing can be made of what the CA answered"),
        ("/new-nonce", Trouble::Html(503), "localhost answered 503 without saying why"),
        ("/new-account", Trouble::Html(500), "localhost answered 500 without saying why"),
        ("/new-order", Trouble::Garbage, "the CA's answer can't be understood"),
        ("/new-order", Trouble::OtherChallenge, "does not offer tls-alpn-01 for ai.example.test"),
        ("/authz", Trouble::Garbage, "the CA's answer can't be understood"),
        ("/challenge", Trouble::Html(400), "localhost answered 400 without saying why"),
        ("/finalize", Trouble::Garbage, "the CA's answer can't be understood"),
        ("/finalize", Trouble::AnotherKey, "the private key does not fit the certificate"),
        ("/finalize", Trouble::AnotherName, "the CA gave a certificate without ai.example.test"),
        ("/certificate", Trouble::Garbage, "has no certificate in PEM"),
    ] {
        let house = House::with_trouble(endpoint, &[trouble]).await;
        house.certified("ai.example.test").await;
        let lines = house.log.lines("no certificate for ai.example.test");
        assert_eq!(lines.len(), 1, "{endpoint} {trouble:?}: {lines:?}");
        assert!(lines[0].contains(said), "{endpoint} {trouble:?}: {lines:?}");
    }
}

#[tokio::test]
async fn bug_an_order_outlives_answers_that_say_nothing_of_it() {
    for (endpoint, trouble) in [
        ("/order", Trouble::Wait("18446744073709551615")),
        ("/order", Trouble::Html(502)),
        ("/certificate", Trouble::Html(503)),
    ] {
        let house = House::with_trouble(endpoint, &[trouble]).await;
        house.certified("ai.example.test").await;
        assert_eq!(house.ca.asked_at("/new-order").len(), 1, "{endpoint} {trouble:?}");
        assert!(house.log.lines("no certificate for").is_empty(), "{endpoint} {trouble:?}");
    }
}

#[tokio::test]
async fn no_key_is_logged_and_none_lies_about() {
    let house = House::with_trouble("/finalize", &[Trouble::AnotherKey]).await;
    house.certified("ai.example.test").await;
    house.kept("").await;
    assert!(!house.log.lines("").is_empty() && house.log.lines("PRIVATE KEY").is_empty());
    let files = files_below(&house.folder.path().join("data"));
    let name = |(path, _): &(PathBuf, Vec<u8>)| path.file_name().unwrap().to_str().unwrap().to_string();
    let names: HashSet<String> = files.iter().map(name).collect();
    assert_eq!(names, HashSet::from(["account.pem".to_string(), "certificate.pem".to_string()]));
}

/// Until somebody asks for the end, on a thread that may wait.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn ember_itself_is_certified_serves_and_needs_no_ca_when_it_starts_again() {
    let ca = Ca::start().await;
    let home = Home::new(&format!(
        "[server.acme]\ndomains = [\"ai.example.test\"]\ndirectory = \"{}\"\nca_file = \"ca.pem\"\n[models]\necho = true\n",
        ca.directory
    ));
    std::fs::write(home.file("ca.pem"), &ca.root).unwrap();
    for said in [
        "a new certificate for ai.example.test is shown",
        "the kept certificate for ai.example.test is shown",
    ] {
        let served = home.command(&["serve"]);
        let ember = waiting(move || Ember::start(served)).await;
        let port = ember.address.port();
        ca.connects_back_to(port);
        let ember = waiting(move || {
            ember.wait_for_log(said);
            ember
        })
        .await;
        let mut stream = wire::connect("ai.example.test", port, &ca.root).await.unwrap();
        let asked = "GET /v1/models HTTP/1.1\r\nHost: ai.example.test\r\nConnection: close\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(waiting(move || ember.stop()).await.success());
    }
    assert_eq!(ca.asked_at("/new-order").len(), 1);
}

#[test]
fn the_settings_are_checked_all_at_once() {
    let home = Home::new("[server.acme]\ndomains = [\"ai.example.com\"]\nemail = \"ops@example.com\"\n");
    home.ok(&["config", "check"]);
    let faults = |acme: &str| {
        let output = Home::new(&format!("[server.acme]\n{acme}\n")).run(&["config", "check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        said
    };
    let said = faults(
        "domains = [\"*.example.com\", \"a.example\"]\nemail = \"ops\"\ndirectory = \"http://ca\"\nca_file = \"absent.pem\"",
    );
    for part in [
        "'*.example.com' is a wildcard, and TLS-ALPN-01 proves none; list each domain",
        "'ops' is not an e-mail address",
        "'http://ca' is no https:// URL",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let said = faults(
        "domains = [\"a.example\", \"A.example\"]\nca_file = \"absent.pem\"\n[server.tls]\ncert_file = \"c\"\nkey_file = \"k\"",
    );
    for part in [
        "server.acme.domains has a.example twice",
        "absent.pem can't be read",
        "server.acme.domains and server.tls.cert_file are both set",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}
