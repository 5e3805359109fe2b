//! A model server that does to each request what a test has written down for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::ember::PATIENCE;
use crate::model::{json_answer, read_request};

/// What its operator gave Ember to be let in with.
pub const SERVER_KEY: &str = "sk-of-the-server/0123456789";

/// A step of what is done with a request. After the last one the connection is closed.
#[derive(Debug, Clone)]
pub enum Act {
    Say(Vec<u8>),
    /// The same again and again, until it is so many bytes or nobody takes more.
    Flood(Vec<u8>, usize),
    /// The same again and again with a pause before each, until nobody takes more.
    Drip(Vec<u8>, Duration),
    /// Nothing, until the other side has gone.
    Hang,
    /// Breaks the connection off.
    Reset,
}

/// Something to say.
pub fn say(bytes: impl AsRef<[u8]>) -> Act {
    Act::Say(bytes.as_ref().to_vec())
}

/// A chunk of a chunked body.
pub fn chunk(text: &str) -> Act {
    say(format!("{:x}\r\n{text}\r\n", text.len()))
}

pub struct Rogue {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    at_work: Arc<AtomicUsize>,
}

impl Rogue {
    /// Lists its models, and does with every other request what `acts` has at the place that the request's member `case`
    /// says.
    pub fn start(acts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acts = Arc::new(acts);
        let (asked, at_work): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (counted, working) = (Arc::clone(&asked), Arc::clone(&at_work));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (acts, counted, working) =
                    (Arc::clone(&acts), Arc::clone(&counted), Arc::clone(&working));
                std::thread::spawn(move || {
                    let Some(case) = next_case(&mut stream, &counted) else { return };
                    working.fetch_add(1, Ordering::SeqCst);
                    let _ = acts[case].iter().try_for_each(|act| do_to(&mut stream, act));
                    drop(stream);
                    working.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, asked, at_work }
    }

    /// Its section in ember.toml; `more` are lines of it.
    pub fn section(&self, model: &str, more: &str) -> String {
        section(model, self.address, more)
    }

    /// How many requests came that were for its model.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How many requests it has in hand, those of callers who have gone included.
    pub fn at_work(&self) -> usize {
        self.at_work.load(Ordering::SeqCst)
    }
}

/// The section of a server that is called like its only model.
pub fn section(model: &str, address: SocketAddr, more: &str) -> String {
    format!("[[upstream]]\nname = \"{model}\"\nurl = \"http://{address}\"\nmodels = [\"{model}\"]\n{more}\n")
}

/// What the next request that is for its model names; lists its models to whoever asks for them before.
fn next_case(stream: &mut TcpStream, asked: &AtomicUsize) -> Option<usize> {
    stream.set_nodelay(true).unwrap();
    while let Some((head, body)) = read_request(stream) {
        if head.starts_with("GET /v1/models ") {
            let _ = stream.write_all(json_answer("200 OK", "", r#"{"object":"list","data":[]}"#).as_bytes());
            continue;
        }
        asked.fetch_add(1, Ordering::SeqCst);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        return Some(usize::try_from(body["case"].as_u64().unwrap()).unwrap());
    }
    None
}

/// Does it; an error says that the other side has gone.
fn do_to(stream: &mut TcpStream, act: &Act) -> std::io::Result<()> {
    match act {
        Act::Say(bytes) => stream.write_all(bytes),
        Act::Flood(bytes, sum) => {
            let times = sum.div_ceil(bytes.len());
            (0..times).try_for_each(|_| stream.write_all(bytes))
        }
        Act::Drip(bytes, pause) => loop {
            is_left_within(stream, *pause)?;
            stream.write_all(bytes)?;
        },
        Act::Hang => is_left_within(stream, PATIENCE),
        Act::Reset => {
            rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).map_err(Into::into)
        }
    }
}

/// Waits; an error says that the other side has gone meanwhile.
fn is_left_within(stream: &mut TcpStream, wait: Duration) -> std::io::Result<()> {
    stream.set_read_timeout(Some(wait))?;
    match stream.read(&mut [0; 16]) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        Ok(_) => Err(std::io::ErrorKind::ConnectionReset.into()),
        Err(error) => Err(error),
    }
}
