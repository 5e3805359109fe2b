//! The socket for commands while the server runs, and its end. Never: what is asked there.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::http::admin::{AdminDoor, serve_connection};

/// When accepting fails (too many open files, say), others must get to close theirs first.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes commands until `closed` says that no more are taken, then waits for those under way.
pub(super) async fn accept(listener: UnixListener, door: Arc<AdminDoor>, mut closed: watch::Receiver<()>) {
    let mut underway = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = closed.changed() => break,
            Some(_) = underway.join_next(), if !underway.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                underway.spawn(serve_connection(stream, Arc::clone(&door)));
            }
            Err(error) => {
                tracing::warn!(%error, "a command's connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while underway.join_next().await.is_some() {}
}
