//! Model servers out of service and back while the disk can't be written. Never: model servers.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::admin::{Command, ModelView, Record, Reloaded, ServerStatus, UpstreamStatus, UpstreamTest, run};
use crate::meter::Meter;
use crate::registry::Registry;
use crate::store::{Commit, CommitError, MemoryStore, Observer, Row, Store, Table, Trouble};
use crate::types::{Clock, Prices, Random, RandomUnavailable, Timestamp, Tokens};

const ROOT: Actor = Actor::Machine { uid: 0 };

/// Can't be written when it is told so.
#[derive(Default)]
struct Disk {
    inner: MemoryStore,
    is_gone: AtomicBool,
}

impl Store for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.inner.scan(table, from, to, rows_max)
    }

    fn scan_back(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, Trouble> {
        self.inner.scan_back(table, from, to, rows_max)
    }

    fn count(&self, table: Table) -> Result<u64, Trouble> {
        self.inner.count(table)
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(CommitError::Full);
        }
        self.inner.commit(commit)
    }

    fn observe(&self, observer: Observer) {
        self.inner.observe(observer);
    }
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }
}

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(6);
        Ok(())
    }
}

/// A server with one model server, which is drained or not.
#[derive(Default)]
struct One(Mutex<bool>);

impl One {
    fn upstream(&self) -> UpstreamStatus {
        UpstreamStatus {
            name: "gpu".to_string(),
            address: "127.0.0.1:8000".to_string(),
            state: if *self.0.lock().unwrap() { UpstreamState::Draining } else { UpstreamState::Up },
            since: None,
            models: 1,
            in_flight: 0,
            waiting: 0,
            priority: 0,
            weight: 1,
            latency: None,
            detail: String::new(),
        }
    }
}

impl Running for One {
    fn status(&self) -> ServerStatus {
        ServerStatus {
            version: String::new(),
            pid: 1,
            started_at: Fixed.now(),
            listen: Vec::new(),
            upstreams: vec![self.upstream()],
            requests: 0,
            tokens: Tokens::default(),
            in_flight: 0,
            waiting: 0,
            connections: 0,
            errors: std::collections::BTreeMap::default(),
        }
    }

    fn models(&self) -> Vec<ModelView> {
        Vec::new()
    }

    fn drain(&self, _: &str, drained: bool) -> Option<UpstreamStatus> {
        *self.0.lock().unwrap() = drained;
        Some(self.upstream())
    }

    fn test(&self, _: &str, _: Option<&ModelId>, _: bool) -> Result<Option<UpstreamTest>, AdminError> {
        Ok(None)
    }

    fn reload(&self, _: Record<'_>) -> Result<Reloaded, AdminError> {
        Ok(Reloaded::default())
    }
}

#[test]
fn bug_a_server_is_taken_out_and_put_back_while_the_disk_cannot_be_written() {
    let (store, server) = (Arc::new(Disk::default()), One::default());
    let registry = Registry::new(store.clone(), Arc::new(Fixed), Arc::new(Fixed), None);
    let meter = Meter::new(Arc::new(Fixed), store.clone());
    let prices = Prices::default();
    let desk = Desk {
        registry: &registry,
        meter: &meter,
        clock: &Fixed,
        server: Some(&server),
        base_url: "",
        prices: &prices,
    };
    let upstream = || "gpu".to_string();
    store.is_gone.store(true, Ordering::SeqCst);
    for (ask, drained, word) in [
        (UpstreamAsk::Drain { upstream: upstream() }, true, "drained, not in the trail: "),
        (UpstreamAsk::Undrain { upstream: upstream() }, false, "undrained, not in the trail: "),
    ] {
        let Ok(Reply::Upstream(said)) = run(&desk, ROOT, &Command::Upstream(ask)) else {
            panic!("it was refused")
        };
        assert!(said.detail.starts_with(word), "{}", said.detail);
        assert_eq!(*server.0.lock().unwrap(), drained);
    }
    // What costs tokens is not done unseen.
    let model = Some("m".parse().unwrap());
    let test = UpstreamAsk::Test { upstream: upstream(), model, stream: false };
    assert!(run(&desk, ROOT, &Command::Upstream(test)).is_err());

    store.is_gone.store(false, Ordering::SeqCst);
    let ask = Command::Upstream(UpstreamAsk::Drain { upstream: upstream() });
    let Ok(Reply::Upstream(said)) = run(&desk, ROOT, &ask) else { panic!("it was refused") };
    assert_eq!(said.detail, "");
}
