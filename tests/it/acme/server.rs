//! A small ACME server (RFC 8555) that checks what real ones check, and fails by a script.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::jose::{AccountKey, Jws, decode};
use super::wire;
use super::x509::{self, Root};

/// What goes wrong once, at an endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The nonce counts as used.
    BadNonce,
    /// Refused for so many seconds.
    RateLimited(u64),
    /// An answer of a proxy in between, say.
    Html(u16),
    /// 200 with something else.
    Garbage,
    /// The certificate is another key's.
    AnotherKey,
    /// The certificate is for another name.
    AnotherName,
    /// No tls-alpn-01 is offered.
    OtherChallenge,
    /// No URL for nonces.
    NoNonces,
    /// Answered as always, with this wait.
    Wait(&'static str),
    /// The order turns out invalid, for a reason of its own.
    Invalid,
}

/// A running one.
pub struct Ca {
    pub directory: String,
    pub root: String,
    desk: Arc<Desk>,
}

struct Desk {
    base: String,
    root: Root,
    /// Where all domains are, on this machine; 0 until it is known.
    port: watch::Sender<u16>,
    down: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    nonces: HashSet<String>,
    count: u64,
    accounts: Vec<(AccountKey, Vec<String>)>,
    orders: Vec<Order>,
    proofs: Vec<Proof>,
    script: HashMap<String, VecDeque<Trouble>>,
    requests: Vec<(String, Instant)>,
}

struct Order {
    account: usize,
    names: Vec<String>,
    proofs: Vec<usize>,
    /// In the words of RFC 8555, 7.1.6.
    status: &'static str,
    error: Option<Value>,
    chain: String,
}

struct Proof {
    order: usize,
    name: String,
    token: String,
    status: &'static str,
    error: Option<Value>,
    /// Of its challenge.
    kind: &'static str,
}

type Answer = Response<Full<Bytes>>;

impl Ca {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let root = Root::new();
        let (chain, key) = root.server("localhost");
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let pem = root.pem();
        let (port, down, books) = (watch::channel(0).0, AtomicBool::new(false), Mutex::default());
        let desk = Arc::new(Desk { base: base.clone(), root, port, down, books });
        tokio::spawn(listen(listener, acceptor, Arc::clone(&desk)));
        Self { directory: format!("{base}/directory"), root: pem, desk }
    }

    /// Where all domains are found from now on.
    pub fn connects_back_to(&self, port: u16) {
        self.desk.port.send_replace(port);
    }

    /// Takes connections and says nothing.
    pub fn set_down(&self, down: bool) {
        self.desk.down.store(down, Ordering::SeqCst);
    }

    /// What goes wrong next at `/directory`, `/new-order` and so on; `/order` stands for all orders.
    pub fn script(&self, endpoint: &str, troubles: &[Trouble]) {
        self.desk.books().script.entry(endpoint.to_string()).or_default().extend(troubles);
    }

    /// When an endpoint was asked.
    pub fn asked_at(&self, endpoint: &str) -> Vec<Instant> {
        let books = self.desk.books();
        books.requests.iter().filter(|(path, _)| path == endpoint).map(|(_, at)| *at).collect()
    }

    pub fn requests(&self) -> usize {
        self.desk.books().requests.len()
    }

    /// The contacts of each account.
    pub fn accounts(&self) -> Vec<Vec<String>> {
        self.desk.books().accounts.iter().map(|(_, contacts)| contacts.clone()).collect()
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, desk: Arc<Desk>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if desk.down.load(Ordering::SeqCst) {
            continue;
        }
        let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let desk = Arc::clone(&desk);
                async move { Ok::<_, Infallible>(desk.answer(request).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let body = problem_of(kind, detail).to_string();
    Response::builder().status(status).body(Full::from(body)).unwrap()
}

fn problem_of(kind: &str, detail: &str) -> Value {
    json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail })
}

fn said(body: &Value) -> Answer {
    Response::new(Full::from(body.to_string()))
}

fn at(mut answer: Answer, location: &str) -> Answer {
    answer.headers_mut().insert("location", location.parse().unwrap());
    answer
}

impl Desk {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_string();
        let endpoint = format!("/{}", path.split('/').nth(1).unwrap_or_default());
        assert!(request.headers()["host"].to_str().unwrap().starts_with("localhost:"));
        let trouble = {
            let mut books = self.books();
            books.requests.push((endpoint.clone(), Instant::now()));
            books.script.get_mut(&endpoint).and_then(VecDeque::pop_front)
        };
        let is_post = request.method() == Method::POST;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut answer = match trouble {
            Some(Trouble::RateLimited(seconds)) => {
                let mut answer = problem(429, "rateLimited", "too many orders; come back later");
                answer.headers_mut().insert("retry-after", seconds.into());
                answer
            }
            Some(Trouble::Html(status)) => {
                Response::builder().status(status).body(Full::from("<html>Bad Gateway</html>")).unwrap()
            }
            Some(Trouble::Garbage) => Response::new(Full::from("{\"status\":7")),
            Some(Trouble::BadNonce) => problem(400, "badNonce", "the nonce was used"),
            Some(Trouble::NoNonces) => {
                let mut directory = self.directory();
                directory["newNonce"] = json!("no URL");
                said(&directory)
            }
            Some(Trouble::Wait(text)) => {
                let mut answer = self.signed(&path, &endpoint, &body, None);
                answer.headers_mut().insert("retry-after", text.parse().unwrap());
                answer
            }
            trouble if is_post => self.signed(&path, &endpoint, &body, trouble),
            _ if endpoint == "/directory" => said(&self.directory()),
            _ => Response::new(Full::default()),
        };
        answer.headers_mut().insert("replay-nonce", self.nonce().parse().unwrap());
        answer
    }

    fn directory(&self) -> Value {
        let url = |path: &str| format!("{}/{path}", self.base);
        json!({
            "newNonce": url("new-nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
            "revokeCert": url("revoke"), "keyChange": url("key-change"),
        })
    }

    fn nonce(&self) -> String {
        let mut books = self.books();
        books.count += 1;
        let nonce = format!("nonce-{}", books.count);
        books.nonces.insert(nonce.clone());
        nonce
    }

    /// A POST, once its URL, its nonce and its signature are right.
    fn signed(self: &Arc<Self>, path: &str, endpoint: &str, body: &[u8], trouble: Option<Trouble>) -> Answer {
        let Some(jws) = Jws::parse(body) else { return problem(400, "malformed", "no JWS") };
        if jws.header["url"] != format!("{}{path}", self.base) {
            return problem(401, "unauthorized", "the URL is another");
        }
        if !self.books().nonces.remove(jws.header["nonce"].as_str().unwrap_or_default()) {
            return problem(400, "badNonce", "the nonce was used or never given");
        }
        if endpoint == "/new-account" {
            let key = AccountKey::from_jwk(&jws.header["jwk"]).filter(|key| jws.is_signed_by(key));
            let Some(key) = key else { return problem(401, "unauthorized", "the signature is wrong") };
            return self.new_account(key, &jws.payload);
        }
        let kid = jws.header["kid"].as_str().unwrap_or_default();
        let account = kid.rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
        let key = account.and_then(|account| Some(self.books().accounts.get(account)?.0.clone()));
        let (Some(account), Some(key)) = (account, key) else {
            return problem(400, "accountDoesNotExist", "nobody has that account");
        };
        if !jws.is_signed_by(&key) || jws.header.get("jwk").is_some() {
            return problem(401, "unauthorized", "the signature is wrong");
        }
        let number = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
        match endpoint {
            "/account" => self.change_account(account, &jws.payload),
            "/new-order" => self.new_order(account, &jws.payload, trouble),
            "/order" => self.order(number, account, trouble),
            "/authz" => said(&self.authorization(number)),
            "/challenge" => self.challenge(number, key),
            "/finalize" => self.finalize(number, &jws.payload, trouble),
            "/certificate" => Response::new(Full::from(self.books().orders[number].chain.clone())),
            _ => problem(404, "malformed", "there is nothing here"),
        }
    }

    fn new_account(&self, key: AccountKey, payload: &[u8]) -> Answer {
        let payload: Value = serde_json::from_slice(payload).unwrap();
        if payload["termsOfServiceAgreed"] != true {
            return problem(403, "userActionRequired", "agree to the terms");
        }
        let mut books = self.books();
        let known = books.accounts.iter().position(|(known, _)| *known == key);
        let number = known.unwrap_or_else(|| {
            books.accounts.push((key, Vec::new()));
            books.accounts.len() - 1
        });
        at(said(&json!({ "status": "valid" })), &format!("{}/account/{number}", self.base))
    }

    fn change_account(&self, account: usize, payload: &[u8]) -> Answer {
        let payload: Value = serde_json::from_slice(payload).unwrap();
        self.books().accounts[account].1 = serde_json::from_value(payload["contact"].clone()).unwrap();
        said(&json!({ "status": "valid" }))
    }

    fn new_order(&self, account: usize, payload: &[u8], trouble: Option<Trouble>) -> Answer {
        let payload: Value = serde_json::from_slice(payload).unwrap();
        let identifiers = payload["identifiers"].as_array().unwrap();
        assert!(identifiers.iter().all(|identifier| identifier["type"] == "dns"));
        let name = |identifier: &Value| identifier["value"].as_str().unwrap().to_string();
        let names: Vec<String> = identifiers.iter().map(name).collect();
        let mut books = self.books();
        let (order, first) = (books.orders.len(), books.proofs.len());
        let kind = if matches!(trouble, Some(Trouble::OtherChallenge)) { "dns-01" } else { "tls-alpn-01" };
        for (index, name) in names.iter().enumerate() {
            let token = format!("token-{}", first + index);
            let (name, status, error) = (name.clone(), "pending", None);
            books.proofs.push(Proof { order, name, token, status, error, kind });
        }
        let proofs = (first..books.proofs.len()).collect();
        let (status, error, chain) = ("pending", None, String::new());
        books.orders.push(Order { account, names, proofs, status, error, chain });
        drop(books);
        at(said(&self.order_of(order)), &format!("{}/order/{order}", self.base))
    }

    fn order_of(&self, number: usize) -> Value {
        let books = self.books();
        let order = &books.orders[number];
        let url = |kind: &str, number: usize| format!("{}/{kind}/{number}", self.base);
        let identifier = |name: &String| json!({ "type": "dns", "value": name });
        json!({
            "status": order.status,
            "identifiers": order.names.iter().map(identifier).collect::<Vec<_>>(),
            "authorizations": order.proofs.iter().map(|proof| url("authz", *proof)).collect::<Vec<_>>(),
            "finalize": url("finalize", number),
            "certificate": (order.status == "valid").then(|| url("certificate", number)),
            "error": order.error,
        })
    }

    fn order(&self, number: usize, account: usize, trouble: Option<Trouble>) -> Answer {
        let mut books = self.books();
        let Some(order) = books.orders.get_mut(number).filter(|order| order.account == account) else {
            return problem(404, "malformed", "nobody has that order");
        };
        if matches!(trouble, Some(Trouble::Invalid)) {
            order.status = "invalid";
            order.error = Some(problem_of("caa", "CAA forbids it"));
        } else if order.status == "processing" {
            order.status = "valid";
        }
        drop(books);
        said(&self.order_of(number))
    }

    fn authorization(&self, number: usize) -> Value {
        let books = self.books();
        let Proof { name, token, status, error, kind, .. } = &books.proofs[number];
        let url = |path: &str| format!("{}/{path}", self.base);
        json!({
            "status": status,
            "identifier": { "type": "dns", "value": name },
            "challenges": [
                { "type": "http-01", "status": "pending", "token": token, "url": url("nowhere/1") },
                {
                    "type": kind, "status": status, "token": token, "error": error,
                    "url": url(&format!("challenge/{number}")),
                },
            ],
        })
    }

    /// Looks at the proof, meanwhile.
    fn challenge(self: &Arc<Self>, number: usize, key: AccountKey) -> Answer {
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            let (name, digest) = {
                let books = desk.books();
                let proof = &books.proofs[number];
                (proof.name.clone(), key.key_authorization_digest(&proof.token))
            };
            let port = *desk.port.subscribe().wait_for(|port| *port != 0).await.unwrap();
            let fault = match wire::look(&name, port).await {
                Ok(shown) => x509::fault_of_proof(&shown, &name, &digest),
                Err(error) => Some(format!("{name} can't be reached: {error}")),
            };
            desk.settle(number, fault);
        });
        said(&self.authorization(number)["challenges"][1])
    }

    fn settle(&self, number: usize, fault: Option<String>) {
        let mut books = self.books();
        let proof = &mut books.proofs[number];
        proof.status = if fault.is_some() { "invalid" } else { "valid" };
        proof.error = fault.as_ref().map(|fault| problem_of("connection", fault));
        let order = proof.order;
        let all = books.orders[order].proofs.iter().all(|proof| books.proofs[*proof].status == "valid");
        if fault.is_some() {
            books.orders[order].status = "invalid";
        } else if all {
            books.orders[order].status = "ready";
        }
    }

    fn finalize(&self, number: usize, payload: &[u8], trouble: Option<Trouble>) -> Answer {
        let payload: Value = serde_json::from_slice(payload).unwrap();
        let request = payload["csr"].as_str().and_then(decode).and_then(|der| x509::Request::parse(&der));
        let Some(request) = request else { return problem(400, "badCSR", "it can't be read") };
        let mut books = self.books();
        let order = &mut books.orders[number];
        if order.status != "ready" {
            return problem(403, "orderNotReady", "prove the names first");
        }
        if request.names != order.names {
            return problem(400, "badCSR", "it is for other names");
        }
        let request = match trouble {
            Some(Trouble::AnotherKey) => request.with_another_key(),
            Some(Trouble::AnotherName) => request.for_another_name(),
            _ => request,
        };
        order.chain = self.root.issue(&request);
        order.status = "processing";
        drop(books);
        at(said(&self.order_of(number)), &format!("{}/order/{number}", self.base))
    }
}
