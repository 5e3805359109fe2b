//! Tells the service manager how it goes (sd_notify(3)), if there is one that listens. Never: decides what is true.

use std::fmt::Write as _;
use std::future::pending;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::upstream::Upstreams;

/// Where notices go. `sd_notify::notify` would read the environment itself, and knows no abstract addresses.
#[derive(Clone, Default)]
pub(super) struct Notifier {
    address: Option<SocketAddr>,
}

/// The longest wait for a manager whose queue is full.
const SEND_TIME: Duration = Duration::from_secs(1);
/// How often the line that `systemctl status` shows is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(1);

impl Notifier {
    /// To `NOTIFY_SOCKET`: a path, or `@` and an abstract name; to nobody without it.
    #[must_use]
    pub(super) fn new(socket: Option<&str>) -> Self {
        let address = socket.map(|socket| match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(socket),
        });
        let address = address.and_then(|address| {
            address.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET is no address")).ok()
        });
        Self { address }
    }

    /// Sends notices together. That nobody takes them is said, and changes nothing.
    pub(super) fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(address) = &self.address else { return };
        let mut text = String::new();
        for state in states {
            let _ = writeln!(text, "{state}");
        }
        if let Err(error) = send(address, &text) {
            tracing::warn!(%error, "the service manager does not take a notice");
        }
    }

    /// Everything is bound and requests are answered from now on.
    pub(super) fn ready(&self, listen: &[String], upstreams: &Upstreams) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status(listen, upstreams))]);
    }

    /// The end has begun and may take `longest`.
    pub(super) fn stopping(&self, longest: Duration) {
        let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        let status = format!("draining for {} s at most", longest.as_secs());
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
            NotifyState::Status(&status),
        ]);
    }
}

/// Keeps the status line true. Goes on for ever.
pub(super) async fn keep_status(notifier: Notifier, listen: Vec<String>, upstreams: Arc<Upstreams>) {
    if notifier.address.is_none() {
        return pending().await;
    }
    let mut said = status(&listen, &upstreams);
    loop {
        sleep(STATUS_EVERY).await;
        let now = status(&listen, &upstreams);
        if now != said {
            notifier.tell(&[NotifyState::Status(&now)]);
            said = now;
        }
    }
}

fn status(listen: &[String], upstreams: &Upstreams) -> String {
    let health = upstreams.health();
    let up = health.iter().filter(|server| server.up).count();
    format!("listening on {}; {up} of {} model servers up", listen.join(", "), health.len())
}

fn send(address: &SocketAddr, text: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIME))?;
    socket.send_to_addr(text.as_bytes(), address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut text = [0; 4096];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_notice_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Notifier::new(path.to_str()).tell(&[NotifyState::Ready, NotifyState::Status("well")]);
        assert_eq!(heard(&socket), "READY=1\nSTATUS=well\n");
        let name = format!("ember-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        Notifier::new(Some(&format!("@{name}"))).stopping(Duration::from_secs(40));
        assert_eq!(
            heard(&socket),
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\nSTATUS=draining for 40 s at most\n"
        );
    }

    #[test]
    fn a_manager_that_is_gone_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        Notifier::new(folder.path().join("nobody").to_str()).tell(&[NotifyState::Watchdog]);
        Notifier::new(None).tell(&[NotifyState::Watchdog]);
        Notifier::new(Some(&"x".repeat(300))).tell(&[NotifyState::Watchdog]);
    }
}
