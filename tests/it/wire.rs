//! A client's connection in the hand of a test: sends in pieces, reads one answer at a time, tells how it ended.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::ember::{Answer, Ember, PATIENCE};
use crate::pipe::Pipe;

/// How the server's side of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order, as after a whole answer.
    Closed,
    /// Broken off.
    Reset,
}

pub struct Wire {
    stream: Pipe,
    /// Read and not yet looked at.
    unread: Vec<u8>,
}

impl Wire {
    pub fn open(ember: &Ember) -> Self {
        Self::over(Pipe::open(ember))
    }

    pub fn over(stream: Pipe) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.offer(bytes), "the server closed too early");
    }

    /// Sends; says whether the server was still there.
    pub fn offer(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Goes on sending in a thread of its own, as long as the server takes it.
    pub fn send_beside(&mut self, bytes: Vec<u8>) {
        let bytes = self.stream.sealed(bytes);
        let mut stream = self.stream.socket().try_clone().unwrap();
        std::thread::spawn(move || stream.write_all(&bytes));
    }

    /// Says that nothing more comes.
    pub fn half_close(&mut self) {
        self.stream.half_close();
    }

    /// Breaks the connection off.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.stream.socket(), Some(Duration::ZERO)).unwrap();
    }

    /// The bytes up to and with `mark`.
    pub fn read_until(&mut self, mark: &str) -> String {
        loop {
            let found = self.unread.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(at) = found {
                let rest = self.unread.split_off(at + mark.len());
                let bytes = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            if let Some(end) = self.read_more() {
                panic!("{end:?} before {mark:?}: {:?}", String::from_utf8_lossy(&self.unread));
            }
        }
    }

    /// One whole answer; the connection stays open.
    pub fn answer(&mut self) -> Answer {
        let head = self.read_until("\r\n\r\n");
        self.rest_of(&head)
    }

    /// The rest of an answer whose head was read.
    pub fn rest_of(&mut self, head: &str) -> Answer {
        let mut bytes = head.as_bytes().to_vec();
        let head = Answer::parse(&bytes);
        if let Some(length) = head.header("content-length") {
            let length = length.parse().unwrap();
            while self.unread.len() < length {
                assert_eq!(self.read_more(), None, "an answer that is not whole");
            }
            let rest = self.unread.split_off(length);
            bytes.append(&mut std::mem::replace(&mut self.unread, rest));
        } else if head.header("transfer-encoding").is_some() {
            bytes.extend(self.read_until("\r\n0\r\n\r\n").into_bytes());
        }
        Answer::parse(&bytes)
    }

    /// Everything that still comes, and how it ends.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.read_more() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// How long the server takes to end the connection from now on.
    pub fn time_to_end(&mut self) -> Duration {
        let began = Instant::now();
        self.rest();
        began.elapsed()
    }

    /// Whether nothing comes for a while. The wait can only hide a defect, not show one that is not there.
    pub fn is_silent(&mut self, wait: Duration) -> bool {
        self.stream.socket().set_read_timeout(Some(wait)).unwrap();
        let silent = self.stream.is_silent(&mut self.unread);
        self.stream.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        silent && self.unread.is_empty()
    }

    fn read_more(&mut self) -> Option<End> {
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part) {
            Ok(0) => Some(End::Closed),
            Ok(count) => {
                self.unread.extend_from_slice(&part[..count]);
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the server says nothing"),
            Err(_) => Some(End::Reset),
        }
    }
}
