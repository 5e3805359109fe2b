//! Runs a model in every order of its threads' steps. Never: what is modelled.

#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use loom::thread::JoinHandle;

use crate::types::proof;

/// Stacks of loom's own are too small for what is not made for it. In its units, words.
const STACK_WORDS: usize = 128 * 1024;

/// One of the threads of a model.
pub(crate) type Racer = Box<dyn FnOnce() + Send>;

/// As std's, with a stack that is large enough.
pub(super) struct Builder(loom::thread::Builder);

impl Builder {
    pub(super) fn new() -> Self {
        Self(loom::thread::Builder::new().stack_size(STACK_WORDS))
    }

    pub(super) fn name(self, name: String) -> Self {
        Self(self.0.name(name))
    }

    pub(super) fn spawn<T: Send + 'static>(
        self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        self.0.spawn(run)
    }
}

/// How often threads are stopped in the midst of their work: every day, and to prove it; none for as often as can be.
pub(crate) fn preemptions(every_day: usize, full: Option<usize>) -> Option<usize> {
    if proof::is_full() { full } else { Some(every_day) }
}

/// Tries a scene in every order in which its racers and the threads that it begins itself can come: `set` makes it
/// ready and says who races, the last racer takes the place of the one who set it, and `look` is what must hold when all
/// are done. With `preemptions_max` only orders in which threads are stopped so often in the midst of their work.
pub(crate) fn every_order<S: 'static>(
    name: &str,
    preemptions_max: Option<usize>,
    set: impl Fn() -> (S, Vec<Racer>) + Send + Sync + 'static,
    look: impl Fn(S) + Send + Sync + 'static,
) {
    let orders = Arc::new(AtomicUsize::new(0));
    let (counted, set, look) = (Arc::clone(&orders), Arc::new(set), Arc::new(look));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions_max;
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let (set, look) = (Arc::clone(&set), Arc::clone(&look));
        let stage = Builder::new().spawn(move || {
            let (scene, mut racers) = set();
            let last = racers.pop();
            let others: Vec<_> =
                racers.into_iter().map(|racer| Builder::new().spawn(racer).unwrap()).collect();
            last.into_iter().for_each(|racer| racer());
            others.into_iter().for_each(|other| other.join().unwrap());
            look(scene);
        });
        stage.unwrap().join().unwrap();
    });
    let which = preemptions_max.map_or("all".to_string(), |max| format!("all with up to {max} preemptions"));
    proof::show(&format!("orders of {name}"), orders.load(Ordering::Relaxed), &which);
}

/// Drives a future; its thread sleeps while it waits. Its waker is cloned and dropped without a step that loom would
/// see, so that this may happen under locks that are not loom's.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let bell = Arc::new(Bell { has_rung: Mutex::new(false), rung: Condvar::new() });
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut has_rung = bell.has_rung.lock().unwrap();
        while !std::mem::replace(&mut *has_rung, false) {
            has_rung = bell.rung.wait(has_rung).unwrap();
        }
    }
}

struct Bell {
    has_rung: Mutex<bool>,
    rung: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.has_rung.lock().unwrap() = true;
        self.rung.notify_one();
    }
}
