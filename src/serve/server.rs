//! The running server: its parts put together, its tasks, its end. Never: rules, how it was asked for.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::admin::Running;
use crate::config::Config;
use crate::gate::{EndMet, Gate, Limiter};
use crate::http::admin::Terms;
use crate::http::{Conduct, Listener, Parts, Stop, admin};
use crate::meter::{Ledger, Meter};
use crate::metrics::{Exposition, Metrics};
use crate::registry::{Door, Registry, changes};
use crate::store::{RedbStore, Store};
use crate::tls::server_config;
use crate::types::{Clock, Current, Origin, Random};
use crate::upstream::Upstreams;

use super::background::Background;
use super::certificates::Certificates;
use super::data_dir::DataDir;
use super::exposition::{self, Sources};
use super::ledger::{self, DiskLedger};
use super::logging::Log;
use super::machine::{IdRandom, MachineRandom, SystemClock, SystemStopwatch};
use super::myself::{Myself, TESTS_MAX};
use super::notifier::{self, Notifier};
use super::reload::{self, Basis, Reloader, Upkeep};
use super::signals::Signals;
use super::source::RegistrySource;
use super::{
    ServeFault, commands, idle, listening, settings, snapshot, socket_path, traces, trail, usage, watchdog,
};

/// What a server is made of: everything open, nothing served yet.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) dir: DataDir,
    pub(super) store: Arc<RedbStore>,
    pub(super) listener: Listener,
    pub(super) notifier: Notifier,
    /// How long the service manager waits for a sign of life.
    pub(super) watchdog: Option<Duration>,
    pub(super) log: Log,
}

/// How the server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Asked once: drained.
    Drained,
    /// Asked twice: at once.
    Interrupted,
}

/// How often denials that the disk refused are tried again.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

struct Built {
    gate: Arc<Gate>,
    registry: Arc<Registry>,
    upstreams: Arc<Upstreams>,
    meter: Arc<Meter>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    limiter: Arc<Limiter>,
    conduct: Arc<Current<Conduct>>,
    terms: Arc<Current<Terms>>,
    upkeep: watch::Sender<Upkeep>,
    /// Keys and secrets that were met after their end.
    ends: mpsc::Receiver<EndMet>,
}

/// Called once everything is bound, before the first request.
pub(super) type Announce = Box<dyn FnOnce(&Upstreams, &str) -> Result<(), ServeFault>>;

/// How long the model servers get to name their models before the announcement.
const LOOK_TIME: Duration = Duration::from_secs(3);

/// How long commands that were sent before the end get to be answered.
const COMMANDS_TIME: Duration = Duration::from_secs(10);

/// What the service manager is told that the end takes beyond the drain.
const LAST_TIME: Duration = Duration::from_secs(20);

impl Server {
    /// Serves until a signal asks for the end.
    pub(super) async fn run(mut self, basis: Basis, announce: Option<Announce>) -> Result<End, ServeFault> {
        let (mut signals, hangups) = Signals::new(basis.hangup_ends)?;
        let mut built = self.build()?;
        let certificates = Certificates::begin(&self.config.server, self.dir.path(), &built.clock);
        let exposition = self.exposition(&built);
        let reloader = self.reloader(&built, basis, certificates.as_ref());
        let (socket, door) = self.open_door(&built, &exposition, Arc::clone(&reloader))?;
        let parts = self.parts(&built, Arc::clone(&door));
        let (closing, closed) = watch::channel(());
        let mut tasks = Background::default();
        if let Some(certificates) = certificates {
            let tls = server_config(certificates.identity());
            let tls = tls.map_err(|error| ServeFault::Tls(error.to_string()))?;
            self.listener = self.listener.with_tls(tls);
            tasks.spawn("the care for the certificate", certificates.care());
        }
        built.begin_upkeep(&mut tasks);
        if let Some(address) = self.config.metrics.listen {
            let shared = exposition::shared(exposition, Arc::new(SystemStopwatch::start()));
            tasks.spawn("the address for metrics", exposition::listener(address)?.serve(shared));
        }
        if let Some(hangups) = hangups {
            tasks.spawn(
                "loading anew by SIGHUP",
                reload::with_hangups(hangups, reloader, Arc::clone(&built.registry)),
            );
        }
        let commands = tokio::spawn(commands::accept(socket, door, closed));
        let stop = Stop::default();
        if let Some(announce) = announce
            && !self.introduce(announce, &built, &mut signals).await?
        {
            return Ok(End::Drained);
        }
        listening::say(&self.config.server, &self.listener.addresses());
        self.report(&built, &mut tasks);
        let serving = self.listener.serve(parts, &stop);
        let end = tokio::select! {
            end = until_asked(serving, signals, &stop, &built.conduct, &self.notifier) => end?,
            never = tasks.watch() => never,
        };
        if end == End::Drained {
            drop(closing);
            let _ = timeout(COMMANDS_TIME, commands).await;
            settle_once(&built.registry).await;
            trail::write_down(&built.registry, true).await;
            usage::write_down_once(&built.meter, false).await;
            if let Err(error) = built.limiter.close(built.clock.now()).await {
                tracing::error!(%error, "what was used of limits since was not written down");
            }
            traces::write_down_once(&built.meter, false).await;
        }
        Ok(end)
    }

    /// Announces what is served, once the model servers were asked. Whether nobody asked for the end meanwhile.
    async fn introduce(
        &self,
        announce: Announce,
        built: &Built,
        signals: &mut Signals,
    ) -> Result<bool, ServeFault> {
        tokio::select! {
            biased;
            () = signals.next() => return Ok(false),
            // Whoever has not answered by then is not named.
            _ = timeout(LOOK_TIME, built.upstreams.look()) => {}
        }
        match self.listener.addresses().first() {
            Some(address) => {
                announce(&built.upstreams, &self.config.server.base_url(*address)).map(|()| true)
            }
            None => Ok(true),
        }
    }

    /// Tells the service manager that all is bound, and goes on telling it how it goes.
    fn report(&self, built: &Built, tasks: &mut Background) {
        let listen: Vec<_> = self.listener.addresses().iter().map(ToString::to_string).collect();
        self.notifier.ready(&listen, &built.upstreams);
        tasks.spawn(
            "the status line",
            notifier::keep_status(self.notifier.clone(), listen, Arc::clone(&built.upstreams)),
        );
        if let Some(longest) = self.watchdog {
            tasks.spawn(
                "the sign of life",
                watchdog::keep_fed(self.notifier.clone(), longest, Arc::clone(&self.store)),
            );
        }
    }

    fn parts(&self, built: &Built, door: Arc<admin::AdminDoor>) -> Parts {
        Parts {
            admin: door,
            revoke: revoker(Arc::clone(&built.registry)),
            gate: Arc::clone(&built.gate),
            upstreams: Arc::clone(&built.upstreams),
            clock: Arc::clone(&built.clock),
            random: Arc::new(MachineRandom::new()),
            ids: Arc::new(IdRandom::new(MachineRandom::new())),
            log: Arc::new(self.log.access(Arc::clone(&built.clock))),
            store_ready: readiness(Arc::clone(&self.store)),
            metrics: Arc::clone(&built.metrics),
            conduct: Arc::clone(&built.conduct),
        }
    }

    fn build(&mut self) -> Result<Built, ServeFault> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random = Arc::new(MachineRandom::new());
        let metrics = Arc::new(Metrics::default());
        let watched = Arc::clone(&metrics);
        self.store.watch_commits(Box::new(move |took, is_durable| watched.committed(took, is_durable)));
        let store: Arc<dyn Store> = self.store.clone();
        let reading = Registry::new(Arc::clone(&store), Arc::clone(&clock), random.clone(), None);
        let meter = Meter::new(Arc::clone(&clock), Arc::clone(&store)).keeping(self.config.usage.retention);
        let meter = Arc::new(meter);
        usage::begin(&meter);
        let (ends, met) = mpsc::channel(ledger::ENDS_MAX);
        let source = Arc::new(RegistrySource::new(Arc::new(reading), ends));
        let limiter = self.limiter(Arc::clone(&store));
        let kept = self.config.keys.cached_max;
        let gate = Arc::new(Gate::new(source, Arc::clone(&meter), Arc::clone(&limiter), kept));
        // The gate holds the store; were it held in turn, the store would never be closed.
        let told = Arc::downgrade(&gate);
        store.observe(Box::new(move |writes| {
            if let Some(gate) = told.upgrade() {
                changes(writes).iter().for_each(|change| gate.changed(change));
            }
        }));
        let door: Arc<dyn Door> = gate.clone();
        let registry = Registry::new(store, Arc::clone(&clock), random, Some(door));
        let registry = Arc::new(registry.with_rules(self.config.rules()));
        if let Err(error) = registry.begin_chain() {
            tracing::warn!(%error, "where the chain of the audit trail begins is not written down yet");
        }
        let models_file = Some(self.dir.file(DataDir::MODELS));
        let servers = std::mem::take(&mut self.config.upstreams).into_iter().map(settings::server).collect();
        let dice: Arc<dyn Random> = Arc::new(MachineRandom::new());
        let upstreams = Upstreams::new(servers, models_file, self.config.models.refresh, &*clock, &dice)
            .map_err(|fault| ServeFault::Upstream(fault.to_string()))?;
        let conduct = Arc::new(Current::new(settings::conduct(&self.config)));
        let terms = Arc::new(Current::new(settings::terms(&self.config, self.address())));
        let (upkeep, _) = watch::channel(Upkeep::of(&self.config));
        Ok(Built {
            gate,
            registry,
            upstreams,
            meter,
            metrics,
            clock,
            limiter,
            conduct,
            terms,
            upkeep,
            ends: met,
        })
    }

    /// The first address that is listened on.
    fn address(&self) -> Option<SocketAddr> {
        self.listener.addresses().first().copied()
    }

    /// Every part of the server that can go by another configuration.
    fn reloader(
        &self,
        built: &Built,
        mut basis: Basis,
        certificates: Option<&Certificates>,
    ) -> Arc<Reloader> {
        basis.parts.extend([
            reload::upstreams(Arc::clone(&built.upstreams), std::mem::take(&mut basis.found)),
            reload::rules(Arc::clone(&built.limiter), Arc::clone(&built.registry)),
            reload::door(Arc::clone(&built.conduct)),
            reload::terms(Arc::clone(&built.terms), self.address()),
            reload::upkeep(built.upkeep.clone(), Arc::clone(&built.meter)),
        ]);
        basis.parts.extend(certificates.and_then(Certificates::part));
        Arc::new(Reloader::new(basis))
    }

    fn exposition(&self, built: &Built) -> Exposition {
        let sources = Sources {
            metrics: Arc::clone(&built.metrics),
            gate: Arc::clone(&built.gate),
            upstreams: Arc::clone(&built.upstreams),
            registry: Arc::clone(&built.registry),
            store: Arc::clone(&self.store),
            log: self.log.clone(),
            connections_max: self.config.server.connections_max,
            started_at: built.clock.now(),
        };
        sources.exposition()
    }

    fn limiter(&self, store: Arc<dyn Store>) -> Arc<Limiter> {
        let ledger = Arc::new(DiskLedger::new(Ledger::new(store)));
        let limits = &self.config.limits;
        Arc::new(Limiter::new(ledger, Arc::new(SystemStopwatch::start()), limits.key, limits.account))
    }
}

impl Server {
    /// Binds the socket for commands. Whoever holds the store's lock may: a socket that lies there is a dead one's.
    fn open_door(
        &self,
        built: &Built,
        exposition: &Exposition,
        reloader: Arc<Reloader>,
    ) -> Result<(UnixListener, Arc<admin::AdminDoor>), ServeFault> {
        let listener = socket_path::bind(&self.dir).map_err(ServeFault::Socket)?;
        let listen = listening::urls(&self.config.server, &self.listener.addresses());
        let running: Arc<dyn Running> = Arc::new(Myself {
            started_at: built.clock.now(),
            listen,
            meter: Arc::clone(&built.meter),
            metrics: Arc::clone(&built.metrics),
            upstreams: Arc::clone(&built.upstreams),
            clock: Arc::clone(&built.clock),
            reloader,
            runtime: tokio::runtime::Handle::current(),
            tests: tokio::sync::Semaphore::new(TESTS_MAX),
        });
        let (store, dir) = (Arc::clone(&self.store), self.dir.clone());
        let snapshot = Box::new(move || snapshot::take(&store, &dir));
        let (registry, clock) = (Arc::clone(&built.registry), Arc::clone(&built.clock));
        let meter = Arc::clone(&built.meter);
        let door = admin::AdminDoor::new(registry, meter, clock, running, snapshot, String::new())
            .with_user(self.dir.owner())
            .with_terms(Arc::clone(&built.terms))
            .with_metrics(Arc::clone(exposition));
        Ok((listener, Arc::new(door)))
    }
}

impl Built {
    /// What is done from time to time, whatever the configuration says.
    fn begin_upkeep(&mut self, tasks: &mut Background) {
        tasks.spawn("the watch over model servers", Arc::clone(&self.upstreams).watch());
        tasks.spawn("writing down denials", settle(Arc::clone(&self.registry)));
        tasks.spawn("the audit trail", trail::keep(Arc::clone(&self.registry), self.upkeep.subscribe()));
        tasks.spawn(
            "writing down usage",
            usage::write_down(Arc::clone(&self.meter), Arc::clone(&self.metrics)),
        );
        tasks.spawn(
            "writing down limits",
            ledger::write_down(Arc::clone(&self.limiter), Arc::clone(&self.clock)),
        );
        let met = std::mem::replace(&mut self.ends, mpsc::channel(1).1);
        tasks.spawn("writing down ends", ledger::note_ends(Arc::clone(&self.registry), met));
        tasks.spawn("writing down traces", traces::write_down(Arc::clone(&self.meter)));
        let (registry, meter) = (Arc::clone(&self.registry), Arc::clone(&self.meter));
        tasks.spawn("the end of unused keys", idle::keep(registry, meter, self.upkeep.subscribe()));
    }
}

fn revoker(registry: Arc<Registry>) -> crate::http::Revoker {
    Arc::new(move |held| registry.asked_from(Origin::address(held.address)).give_up(held))
}

fn readiness(store: Arc<RedbStore>) -> crate::http::Readiness {
    Arc::new(move || store.health().is_ok())
}

/// Serves until a signal asks for the end, then drains; a second signal ends it at once.
async fn until_asked(
    serving: impl Future<Output = ()>,
    mut signals: Signals,
    stop: &Stop,
    conduct: &Current<Conduct>,
    notifier: &Notifier,
) -> Result<End, ServeFault> {
    let mut serving = pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(End::Drained),
        () = signals.next() => {}
    }
    let drain_timeout = conduct.get().drain_timeout;
    tracing::info!(longest_s = drain_timeout.as_secs(), "draining; a second signal ends it at once");
    notifier.stopping(drain_timeout + LAST_TIME);
    stop.drain();
    tokio::select! {
        () = &mut serving => Ok(End::Drained),
        () = signals.next() => Ok(End::Interrupted),
    }
}

/// Writes down denials that the disk refused, as soon as it takes them.
async fn settle(registry: Arc<Registry>) {
    let mut ticks = interval(SETTLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        settle_once(&registry).await;
    }
}

async fn settle_once(registry: &Arc<Registry>) {
    if !registry.owes_denials() {
        return;
    }
    let registry = Arc::clone(registry);
    let settled = tokio::task::spawn_blocking(move || registry.settle_denials());
    if let Ok(left @ 1..) = settled.await {
        tracing::error!(left, "denied in memory only: the disk does not take it, and a restart forgets it");
    }
}

#[cfg(test)]
mod tests;
