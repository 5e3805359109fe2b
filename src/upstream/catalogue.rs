//! Which models there are, under which names, and who has them. Never: how lists are read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::RelayFault;
use super::listing::Listing;
use super::server::Server;
use crate::types::{Gather, ModelId, ModelScope};

/// A model in Ember's own list. Serializes to the object that `GET /v1/models` shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry(Arc<Entry>);

#[derive(Debug, PartialEq)]
struct Entry {
    name: ModelId,
    created: Value,
    owned_by: Value,
    extras: Map<String, Value>,
}

impl ModelEntry {
    /// The model's public name.
    #[must_use]
    pub fn name(&self) -> &ModelId {
        &self.0.name
    }

    fn new(
        name: &ModelId,
        listing: Option<&Listing>,
        metadata: Option<&Map<String, Value>>,
        since: i64,
    ) -> Self {
        let mut extras = listing.map(|listing| listing.extras.clone()).unwrap_or_default();
        extras.extend(metadata.cloned().unwrap_or_default());
        for own in ["id", "object"] {
            extras.remove(own);
        }
        let created = listing.and_then(|listing| listing.created).unwrap_or(since);
        let owned_by = listing.and_then(|listing| listing.owned_by.as_deref()).unwrap_or("ember");
        Self(Arc::new(Entry {
            name: name.clone(),
            created: extras.remove("created").unwrap_or(created.into()),
            owned_by: extras.remove("owned_by").unwrap_or(owned_by.into()),
            extras,
        }))
    }
}

impl Serialize for ModelEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4 + self.0.extras.len()))?;
        map.serialize_entry("id", self.0.name.as_str())?;
        map.serialize_entry("object", "model")?;
        map.serialize_entry("created", &self.0.created)?;
        map.serialize_entry("owned_by", &self.0.owned_by)?;
        for (name, value) in &self.0.extras {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A server that has a model, and what the model is called there.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) server: Arc<Server>,
    pub(super) real: Arc<ModelId>,
}

/// What the operator said about one server's models.
pub(super) struct Wanted {
    pub(super) server: Arc<Server>,
    pub(super) models: Vec<ModelId>,
    pub(super) aliases: BTreeMap<ModelId, ModelId>,
    pub(super) metadata: BTreeMap<String, Map<String, Value>>,
}

impl Wanted {
    /// The names given by hand.
    fn stated(&self) -> impl Iterator<Item = &ModelId> {
        self.models.iter().chain(self.aliases.keys())
    }

    fn states(&self, name: &ModelId) -> bool {
        self.aliases.contains_key(name) || self.models.contains(name)
    }
}

/// All models of all servers.
pub(super) struct Catalogue {
    told: Mutex<Told>,
    /// What follows from what was told.
    routes: RwLock<Arc<Routes>>,
    /// How often the servers were replaced.
    generation: AtomicU64,
    /// When Ember began, in seconds since 1970: the age of models whose server does not tell.
    since: i64,
}

/// What the operator said, and what the servers said.
struct Told {
    wanted: Vec<Wanted>,
    /// The last list of each; none when it was never read.
    lists: Vec<Option<Vec<Listing>>>,
}

impl Told {
    fn number_of(&self, server: &Arc<Server>) -> Option<usize> {
        self.wanted.iter().position(|wanted| Arc::ptr_eq(&wanted.server, server))
    }

    fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.wanted.iter().map(|wanted| &wanted.server)
    }
}

#[derive(Default)]
struct Routes {
    models: BTreeMap<ModelId, Known>,
    /// A server that might have more models has never been heard.
    unheard: bool,
}

impl Routes {
    fn find(&self, model: &str) -> Result<&Known, RelayFault> {
        let fault = if self.unheard { RelayFault::ModelsNotRead } else { RelayFault::UnknownModel };
        self.models.get(model).ok_or(fault)
    }
}

/// A model that callers may ask for.
pub(super) struct Route {
    /// Its public name, to be kept by many.
    pub(super) name: Arc<str>,
    /// In the order they are configured; at least one.
    pub(super) candidates: Vec<Candidate>,
}

struct Known {
    entry: ModelEntry,
    route: Arc<Route>,
}

impl Catalogue {
    /// Begins with the lists known from earlier, in the order of `wanted`.
    pub(super) fn new(wanted: Vec<Wanted>, lists: Vec<Option<Vec<Listing>>>, since: i64) -> Self {
        let routes = RwLock::new(Arc::new(routes(&wanted, &lists, since)));
        Self { told: Mutex::new(Told { wanted, lists }), routes, generation: AtomicU64::new(0), since }
    }

    /// Goes by these servers from now on. What was heard from one in the same place stays known; one that was drained stays
    /// so wherever it is now; whoever waits for one that is gone is sent away.
    pub(super) fn replace(&self, wanted: Vec<Wanted>) {
        let mut told = self.lock();
        for Wanted { server, .. } in &wanted {
            let Some(old) = told.servers().find(|old| old.name == server.name) else { continue };
            if old.is_draining() && !server.is_draining() {
                server.drain(true);
            }
            if old.place() == server.place() {
                server.takes_over(old);
            }
        }
        let lists = std::mem::take(&mut told.lists);
        let mut known: HashMap<_, _> = told.servers().map(|server| server.place()).zip(lists).collect();
        let lists = wanted.iter().map(|wanted| known.remove(&wanted.server.place()).flatten()).collect();
        let old = std::mem::replace(&mut *told, Told { wanted, lists });
        self.follow(&told);
        self.generation.fetch_add(1, Ordering::Release);
        let is_used = |old: &Server| told.servers().any(|server| Arc::ptr_eq(&server.slots, &old.slots));
        let gone: Vec<_> = old.servers().filter(|server| !is_used(server)).cloned().collect();
        drop(told);
        gone.iter().for_each(|server| server.slots.close());
    }

    /// Takes a server out of service, or puts it back; none when there is no server of this name.
    pub(super) fn drain(&self, name: &str, drained: bool) -> Option<Arc<Server>> {
        // Under the lock, so that it is not one that is being replaced.
        let told = self.lock();
        let server = told.servers().find(|server| server.name == name)?;
        server.drain(drained);
        Some(Arc::clone(server))
    }

    /// How often the servers were replaced. Whoever keeps candidates asks before he takes them.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// In the order they are configured.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        self.lock().servers().cloned().collect()
    }

    /// Whether the server's models are found in its own list; none when it is not one of these any more.
    pub(super) fn is_discovering(&self, server: &Arc<Server>) -> Option<bool> {
        let told = self.lock();
        let number = told.number_of(server)?;
        Some(told.wanted[number].models.is_empty())
    }

    /// Takes a server's list in; says whether it differs from the last.
    pub(super) fn heard(&self, server: &Arc<Server>, mut list: Vec<Listing>) -> bool {
        let mut told = self.lock();
        let Some(number) = told.number_of(server) else { return false };
        if let Some(known) = &told.lists[number] {
            keep_ages(known, &mut list);
        }
        if told.lists[number].as_ref() == Some(&list) {
            return false;
        }
        told.lists[number] = Some(list);
        self.follow(&told);
        true
    }

    /// Each server with its last list.
    pub(super) fn lists(&self) -> Vec<(Arc<Server>, Option<Vec<Listing>>)> {
        let told = self.lock();
        told.servers().cloned().zip(told.lists.iter().cloned()).collect()
    }

    /// Lets the routes follow from what was told.
    fn follow(&self, told: &Told) {
        let fresh = Arc::new(routes(&told.wanted, &told.lists, self.since));
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    pub(super) fn entries(&self, scope: &ModelScope) -> Vec<ModelEntry> {
        let routes = self.routes();
        let allowed = routes.models.iter().filter(|(name, _)| scope.allows(name.as_str()));
        allowed.map(|(_, known)| known.entry.clone()).collect()
    }

    pub(super) fn entry(&self, scope: &ModelScope, name: &str) -> Result<ModelEntry, RelayFault> {
        if !scope.allows(name) {
            return Err(RelayFault::UnknownModel);
        }
        self.routes().find(name).map(|known| known.entry.clone())
    }

    /// Whether some server has the model.
    pub(super) fn has(&self, model: &str) -> bool {
        self.routes().models.contains_key(model)
    }

    /// The way to a model.
    pub(super) fn find(&self, model: &str) -> Result<Arc<Route>, RelayFault> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.find(model).map(|known| Arc::clone(&known.route))
    }

    /// The servers that have a model, in the order they are configured; at least one.
    pub(super) fn candidates(&self, model: &str) -> Result<Vec<Candidate>, RelayFault> {
        self.find(model).map(|route| route.candidates.clone())
    }

    /// Every public name with the servers that have it, in the order they are asked.
    pub(super) fn served(&self) -> Vec<(ModelId, Vec<Candidate>)> {
        let routes = self.routes();
        let candidates = |known: &Known| known.route.candidates.clone();
        routes.models.iter().map(|(name, known)| (name.clone(), candidates(known))).collect()
    }

    /// How many public names lead to the server.
    pub(super) fn count_of(&self, server: &Arc<Server>) -> usize {
        let leads =
            |known: &&Known| known.route.candidates.iter().any(|one| Arc::ptr_eq(&one.server, server));
        self.routes().models.values().filter(leads).count()
    }

    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some servers make every model as old as the question: the age first heard stays.
fn keep_ages(known: &[Listing], list: &mut [Listing]) {
    let ages: HashMap<&ModelId, Option<i64>> =
        known.iter().map(|listing| (&listing.id, listing.created)).collect();
    for listing in list {
        listing.created = ages.get(&listing.id).copied().unwrap_or(listing.created);
    }
}

/// A name that the operator gave to models of some servers leads to these only, whatever other servers' lists say.
fn routes(wanted: &[Wanted], lists: &[Option<Vec<Listing>>], since: i64) -> Routes {
    let mut models: BTreeMap<ModelId, (ModelEntry, Vec<Candidate>)> = BTreeMap::new();
    let mut unheard = false;
    let stated: HashSet<&ModelId> = wanted.iter().flat_map(Wanted::stated).collect();
    for (wanted, list) in wanted.iter().zip(lists) {
        unheard |= wanted.models.is_empty() && list.is_none();
        let listings: HashMap<&ModelId, &Listing> =
            list.iter().flatten().map(|listing| (&listing.id, listing)).collect();
        for (name, real) in names(wanted, list.as_deref().unwrap_or_default()) {
            if stated.contains(name) && !wanted.states(name) {
                continue;
            }
            let listing = listings.get(real).copied();
            let metadata = wanted.metadata.get(name.as_str());
            let candidate = Candidate { server: Arc::clone(&wanted.server), real: Arc::new(real.clone()) };
            let entry = || (ModelEntry::new(name, listing, metadata, since), Vec::new());
            models.entry(name.clone()).or_insert_with(entry).1.push(candidate);
        }
    }
    let known = |(name, (entry, candidates)): (ModelId, _)| {
        let route = Arc::new(Route { name: name.as_str().into(), candidates });
        (name, Known { entry, route })
    };
    Routes { models: models.into_iter().map(known).collect(), unheard }
}

/// A server's models: the public name of each, and its own. An alias wins over a model of the same name.
fn names<'a>(wanted: &'a Wanted, list: &'a [Listing]) -> BTreeMap<&'a ModelId, &'a ModelId> {
    let own: Vec<&ModelId> = match wanted.models.as_slice() {
        [] => list.iter().map(|listing| &listing.id).collect(),
        models => models.iter().collect(),
    };
    own.into_iter().map(|model| (model, model)).chain(&wanted.aliases).gather()
}
