//! Loading the configuration anew while the server runs: read, checked and built whole, then put to use at once.
//! Never: what settings mean, who may ask for it.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::admin::{AdminError, Record, Reloaded};
use crate::config::{Config, Kept, Said};
use crate::gate::Limiter;
use crate::http::{Conduct, admin::Terms};
use crate::meter::Meter;
use crate::registry::{Problem, Registry};
use crate::types::{Actor, Current};
use crate::upstream::Upstreams;

use super::{found_or_echo, settings};

/// Puts what was built in its place; nothing can go wrong any more.
pub(super) type Swap = Box<dyn FnOnce() + Send>;

/// A part of the server that can go by another configuration: gets everything ready and changes nothing, or says what
/// is wrong. It may take out of the configuration what is its own.
pub(super) type Part = Box<dyn Fn(&mut Config) -> Result<Swap, String> + Send + Sync>;

/// What the server was started with, as far as it is needed to load the configuration again.
pub(super) struct Basis {
    pub(super) kept: Kept,
    pub(super) said: Said,
    /// What goes by the configuration: first what is there before the server, then its own.
    pub(super) parts: Vec<Part>,
    /// The model servers that were looked for because none was named; none where nobody looked.
    pub(super) found: Vec<Option<SocketAddr>>,
    /// Whether a hang-up asks for the end, not for a reload.
    pub(super) hangup_ends: bool,
}

/// What is done from time to time, and for how long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upkeep {
    /// How long events are kept; for ever, without it.
    pub(super) audit_retention: Option<Duration>,
    /// How long nobody may use a key before it expires; for ever, without it.
    pub(super) unused_expiry: Option<Duration>,
}

impl Upkeep {
    pub(super) fn of(config: &Config) -> Self {
        Self { audit_retention: config.audit.retention, unused_expiry: config.keys.unused_expiry }
    }
}

/// A reload waits so long for one that is under way. That one may wait for a disk that hangs.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// So many wait at most: each keeps a command's place.
const WAITING_MAX: usize = 4;

/// Loads the configuration anew, one time after the other.
pub(super) struct Reloader {
    kept: Kept,
    /// What holds now.
    said: Mutex<Said>,
    parts: Vec<Part>,
    turns: Mutex<Turns>,
    over: Condvar,
    turn_wait: Duration,
}

/// Whose turn it is.
#[derive(Default)]
struct Turns {
    is_taken: bool,
    waiting: usize,
}

/// The turn of one reload; the next comes when it is dropped.
struct Turn<'a>(&'a Reloader);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner).is_taken = false;
        self.0.over.notify_one();
    }
}

impl Reloader {
    pub(super) fn new(basis: Basis) -> Self {
        Self {
            kept: basis.kept,
            said: Mutex::new(basis.said),
            parts: basis.parts,
            turns: Mutex::default(),
            over: Condvar::new(),
            turn_wait: TURN_WAIT,
        }
    }

    fn turn(&self) -> Result<Turn<'_>, AdminError> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.is_taken && turns.waiting < WAITING_MAX {
            turns.waiting += 1;
            let waited = self.over.wait_timeout_while(turns, self.turn_wait, |turns| turns.is_taken);
            turns = waited.unwrap_or_else(PoisonError::into_inner).0;
            turns.waiting -= 1;
        }
        if std::mem::replace(&mut turns.is_taken, true) {
            return Err(AdminError::new(
                Problem::Conflict,
                "a reload is under way, perhaps the disk hangs; try again when it is done",
            ));
        }
        drop(turns);
        Ok(Turn(self))
    }

    /// Reads everything again and goes by it. `record` is called when all of it is ready, before anything changes.
    ///
    /// # Errors
    /// [`AdminError`] with every fault, or that of `record`, or a conflict when another reload takes too long; nothing
    /// has changed then.
    pub(super) fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError> {
        let _turn = self.turn()?;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.kept.load();
        let mut loaded = loaded
            .map_err(|faults| AdminError::configuration(faults.iter().map(ToString::to_string).collect()))?;
        let now = loaded.said();
        let changes = said.changes(&now);
        let swaps = self.ready(&mut loaded.config)?;
        let reloaded = Reloaded {
            file: loaded.file.map(|file| file.display().to_string()),
            changed: changes.live,
            restart: changes.restart,
            warnings: loaded.warnings,
        };
        record(&reloaded)?;
        swaps.into_iter().for_each(|swap| swap());
        *said = now.over(&said);
        tracing::info!(changed = reloaded.changed.join(", "), "the configuration was loaded anew");
        for setting in &reloaded.restart {
            tracing::warn!("{setting} changed and needs a restart");
        }
        Ok(reloaded)
    }

    fn ready(&self, config: &mut Config) -> Result<Vec<Swap>, AdminError> {
        let (mut swaps, mut faults) = (Vec::with_capacity(self.parts.len()), Vec::new());
        for part in &self.parts {
            match part(config) {
                Ok(swap) => swaps.push(swap),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(swaps) } else { Err(AdminError::configuration(faults)) }
    }
}

/// Loads the configuration anew with each hang-up, for ever. Whoever sends the signal is this user or root.
pub(super) async fn with_hangups(mut hangups: Signal, reloader: Arc<Reloader>, registry: Arc<Registry>) {
    while hangups.recv().await.is_some() {
        let (reloader, registry) = (Arc::clone(&reloader), Arc::clone(&registry));
        let actor = Actor::Machine { uid: rustix::process::geteuid().as_raw() };
        let done = tokio::task::spawn_blocking(move || {
            reloader.reload(&|reloaded| Ok(registry.note_reload(actor, &reloaded.changed)?))
        });
        if let Ok(Err(error)) = done.await {
            tracing::error!("{error}");
            error.faults.iter().for_each(|fault| tracing::error!("{fault}"));
        }
    }
}

/// The model servers. Those that were found at the start stay as long as none is named.
pub(super) fn upstreams(upstreams: Arc<Upstreams>, found: Vec<Option<SocketAddr>>) -> Part {
    Box::new(move |config| {
        if config.upstreams.is_empty() {
            config.upstreams = found_or_echo(&found);
        }
        let servers = std::mem::take(&mut config.upstreams).into_iter().map(settings::server).collect();
        let replacement =
            upstreams.prepare(servers, config.models.refresh).map_err(|fault| fault.to_string())?;
        let upstreams = Arc::clone(&upstreams);
        Ok(Box::new(move || upstreams.replace(replacement)))
    })
}

/// The limits of keys and accounts that have none of their own, and what people may do.
pub(super) fn rules(limiter: Arc<Limiter>, registry: Arc<Registry>) -> Part {
    Box::new(move |config| {
        let (limiter, registry, rules) = (Arc::clone(&limiter), Arc::clone(&registry), config.rules());
        Ok(Box::new(move || {
            limiter.set_defaults(rules.key_limits, rules.account_limits);
            registry.set_rules(rules);
        }))
    })
}

/// The public door. No body may be larger than the memory there is for all of them.
pub(super) fn door(current: Arc<Current<Conduct>>) -> Part {
    let buffered_bytes_max = current.get().limits.buffered_bytes_max;
    Box::new(move |config| {
        config.server.body_bytes_max = config.server.body_bytes_max.min(buffered_bytes_max);
        let (current, conduct) = (Arc::clone(&current), settings::conduct(config));
        Ok(Box::new(move || current.set(conduct)))
    })
}

/// What commands are answered with, where this address is listened on.
pub(super) fn terms(current: Arc<Current<Terms>>, listening: Option<SocketAddr>) -> Part {
    Box::new(move |config| {
        let (current, terms) = (Arc::clone(&current), settings::terms(config, listening));
        Ok(Box::new(move || current.set(terms)))
    })
}

/// What is done from time to time.
pub(super) fn upkeep(sender: watch::Sender<Upkeep>, meter: Arc<Meter>) -> Part {
    Box::new(move |config| {
        let (sender, meter) = (sender.clone(), Arc::clone(&meter));
        let (upkeep, retention) = (Upkeep::of(config), config.usage.retention);
        Ok(Box::new(move || {
            meter.keep_for(retention);
            sender.send_replace(upkeep);
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use crate::serve::machine::SystemClock;
    use crate::types::ModelScope;

    /// A reloader over an `ember.toml` in a folder of its own.
    fn reloader(parts: Vec<Part>) -> (tempfile::TempDir, Reloader) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ember.toml"), "").unwrap();
        let environment = [("HOME".to_string(), "/nowhere".to_string())];
        let sources =
            Sources { environment: &environment, directory: Some(folder.path()), ..Sources::default() };
        let loaded = load(&sources).unwrap();
        let said = loaded.said();
        let basis = Basis { kept: loaded.kept, said, parts, found: Vec::new(), hangup_ends: false };
        (folder, Reloader::new(basis))
    }

    fn set(folder: &tempfile::TempDir, toml: &str) {
        std::fs::write(folder.path().join("ember.toml"), toml).unwrap();
    }

    /// Counts how often it was swapped.
    fn counting(swapped: &Arc<Mutex<u32>>) -> Part {
        let swapped = Arc::clone(swapped);
        Box::new(move |_| {
            let swapped = Arc::clone(&swapped);
            Ok(Box::new(move || *swapped.lock().unwrap() += 1))
        })
    }

    #[test]
    fn law_13_every_part_says_what_is_wrong_and_none_is_swapped() {
        let swapped: Arc<Mutex<u32>> = Arc::default();
        let broken = |word: &'static str| -> Part { Box::new(move |_| Err(word.to_string())) };
        let (_folder, reloader) = reloader(vec![counting(&swapped), broken("one"), broken("two")]);
        let refused = reloader.reload(&|_| Ok(())).unwrap_err();
        assert_eq!(refused.faults, ["one", "two"]);
        assert_eq!(*swapped.lock().unwrap(), 0);
    }

    #[test]
    fn law_13_what_can_not_be_written_down_is_not_done() {
        let swapped: Arc<Mutex<u32>> = Arc::default();
        let (folder, reloader) = reloader(vec![counting(&swapped)]);
        set(&folder, "[log]\nlevel = \"warn\"\n");
        let full = |_: &Reloaded| Err(AdminError::unavailable("the disk is full"));
        assert_eq!(reloader.reload(&full).unwrap_err().detail, "the disk is full");
        assert_eq!(*swapped.lock().unwrap(), 0);
        let done = reloader.reload(&|_| Ok(())).unwrap();
        assert_eq!((done.changed, *swapped.lock().unwrap()), (vec!["log.level".to_string()], 1));
        assert!(reloader.reload(&|_| Ok(())).unwrap().changed.is_empty(), "it holds already");
    }

    #[test]
    fn law_13_a_reload_that_hangs_keeps_others_for_a_while_only() {
        let (_folder, mut reloader) = reloader(Vec::new());
        reloader.turn_wait = Duration::from_millis(20);
        let refused = std::sync::Mutex::new(0);
        let done = reloader.reload(&|_| {
            let again = || {
                let problem = reloader.reload(&|_| Ok(())).unwrap_err().problem;
                *refused.lock().unwrap() += u32::from(problem == Problem::Conflict);
            };
            // The disk hangs here.
            std::thread::scope(|scope| (0..10).for_each(|_| drop(scope.spawn(again))));
            Ok(())
        });
        assert!(done.is_ok() && reloader.reload(&|_| Ok(())).is_ok());
        assert_eq!(*refused.lock().unwrap(), 10);
    }

    #[test]
    fn reloads_that_come_at_once_are_done_one_after_the_other() {
        let (_folder, mut reloader) = reloader(Vec::new());
        reloader.turn_wait = Duration::from_secs(60);
        let (reloader, (starts, started)) = (&reloader, std::sync::mpsc::channel());
        std::thread::scope(|scope| {
            let first = scope.spawn(move || {
                reloader.reload(&|_| {
                    starts.send(()).unwrap();
                    while reloader.turns.lock().unwrap().waiting < WAITING_MAX {
                        std::thread::yield_now();
                    }
                    Ok(())
                })
            });
            started.recv().unwrap();
            let others = (0..WAITING_MAX).map(|_| scope.spawn(move || reloader.reload(&|_| Ok(()))));
            let others: Vec<_> = others.collect();
            assert!(first.join().unwrap().is_ok());
            assert!(others.into_iter().all(|one| one.join().unwrap().is_ok()));
        });
    }

    #[test]
    fn what_was_found_at_the_start_stays_until_a_server_is_named() {
        let dice: Arc<dyn crate::types::Random> = Arc::new(crate::serve::machine::MachineRandom::new());
        let models = Upstreams::new(Vec::new(), None, Duration::from_secs(60), &SystemClock, &dice).unwrap();
        let part = upstreams(Arc::clone(&models), vec![None]);
        let (folder, reloader) = reloader(vec![part]);
        let names = || {
            reloader.reload(&|_| Ok(())).unwrap();
            models.entries(&ModelScope::All).iter().map(|one| one.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(), ["ember-echo"]);
        set(&folder, "[[upstream]]\nname = \"a\"\nurl = \"http://127.0.0.1:9\"\nmodels = [\"m\"]\n");
        assert_eq!(names(), ["m"]);
    }
}
