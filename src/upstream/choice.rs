//! Which server a request goes to next, and the wait while all are busy. Never: what becomes of it there.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::RelayFault;
use super::catalogue::{Candidate, Catalogue, Route};
use super::report::{InLine, ReportHandle};
use super::server::{Server, Standing};
use super::slots::{Asker, Slot, Wait};
use super::watch::{Now, deadline};

/// What a caller is told to wait, at least and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The servers that a request may still go to.
pub(super) struct Choice {
    /// The model, and all servers that had it at first.
    route: Arc<Route>,
    /// Those that are left; none before they were listed.
    left: Vec<Candidate>,
    is_listed: bool,
    /// Which of the model's servers was taken before they were listed.
    first: Option<usize>,
    asker: Asker,
    /// Where they are taken from.
    catalogue: Arc<Catalogue>,
    /// Which generation of servers it is made among.
    generation: u64,
    /// Those that saw nothing of the request.
    tried: Vec<Arc<Server>>,
    /// When the request began to wait for one that has a slot, the first time.
    waits_since: Option<Instant>,
}

/// A server with a slot for the request, and what the model is called there.
pub(super) struct Chosen {
    pub(super) slot: Slot,
    pub(super) candidate: Candidate,
}

/// The first of the servers, when they are sorted.
#[derive(Clone, Copy)]
struct Preferred {
    count: usize,
    /// Whether they are well; else they are all that there are, but for drained ones.
    well: bool,
}

/// What a server's place depends on, the first before the second and so on.
struct Rank {
    standing: Standing,
    priority: u32,
    in_flight: u64,
    turn: u64,
}

impl Choice {
    /// Among the servers that have the model.
    ///
    /// # Errors
    /// [`RelayFault::UnknownModel`], [`RelayFault::ModelsNotRead`].
    pub(super) fn among(catalogue: &Arc<Catalogue>, model: &str, asker: Asker) -> Result<Self, RelayFault> {
        let generation = catalogue.generation();
        let route = catalogue.find(model)?;
        Ok(Self::of(Arc::clone(catalogue), route, asker, generation))
    }

    fn of(catalogue: Arc<Catalogue>, route: Arc<Route>, asker: Asker, generation: u64) -> Self {
        let (left, tried) = (Vec::new(), Vec::new());
        let (is_listed, first) = (false, None);
        Self { route, left, is_listed, first, asker, catalogue, generation, tried, waits_since: None }
    }

    /// The model's public name.
    pub(super) fn model(&self) -> &Arc<str> {
        &self.route.name
    }

    /// Chooses anew, among all that have the model now and saw nothing of the request yet, when the servers were
    /// replaced meanwhile; says whether there are any.
    pub(super) fn renew(&mut self) -> bool {
        let generation = self.catalogue.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return false;
        }
        let mut left = self.catalogue.candidates(&self.route.name).unwrap_or_default();
        left.retain(|one| !self.tried.iter().any(|tried| Arc::ptr_eq(tried, &one.server)));
        (self.left, self.is_listed) = (left, true);
        !self.left.is_empty()
    }

    /// A server saw nothing of the request, and is not asked again.
    pub(super) fn tried(&mut self, server: Arc<Server>) {
        self.tried.push(server);
    }

    /// Whether no server is left that takes requests.
    pub(super) fn is_empty(&self) -> bool {
        let (left, first) =
            if self.is_listed { (&self.left, None) } else { (&self.route.candidates, self.first) };
        left.iter().enumerate().all(|(at, one)| first == Some(at) || one.server.is_drained())
    }

    /// All that have the model are left but the one that was taken.
    fn list(&mut self) {
        if !std::mem::replace(&mut self.is_listed, true) {
            self.left.clone_from(&self.route.candidates);
            if let Some(first) = self.first {
                self.left.remove(first);
            }
        }
    }

    /// One that has a slot now. As long as some are well, it is one of them, and of the best priority.
    pub(super) fn free(&mut self, now: &mut Now) -> Option<Chosen> {
        if !self.is_listed && self.first.is_none() {
            let foremost = self.foremost(now);
            if foremost.is_some() {
                return foremost;
            }
        }
        self.list();
        let preferred = self.sort();
        let tier = self.tier_behind(None, preferred)?;
        self.free_among(tier, preferred.well)
    }

    /// The one that would be first if they were sorted, when all of its priority are plainly well and it has a slot: then
    /// a look at each is enough, however many there are.
    fn foremost(&mut self, now: &mut Now) -> Option<Chosen> {
        let all = &self.route.candidates;
        let priority = all.iter().map(|one| one.server.priority).min()?;
        let tier = || all.iter().enumerate().filter(|(_, one)| one.server.priority == priority);
        let least = tier().map(|(_, one)| one.server.weight).min()?;
        let (mut best, mut most) = (None, 0);
        for (at, one) in tier() {
            let server = &one.server;
            let in_flight = server.slots.load().filter(|_| server.is_plainly_well())?;
            let turn = server.turn();
            most = most.max(turn);
            let place = (portions(in_flight as u64, least, server.weight), turn, at);
            best = Some(best.map_or(place, |best| place.min(best)));
        }
        let (.., at) = best?;
        let candidate = all[at].clone();
        let slot = candidate.server.slots.take_at(self.asker, now)?;
        if !candidate.server.is_plainly_well() {
            return None;
        }
        candidate.server.takes_turn(most);
        self.first = Some(at);
        Some(Chosen { slot, candidate })
    }

    /// One that has a slot, as soon as it has: in line at all that are well and of the best priority. Where there is no
    /// place in line, or nothing comes of it, those of the next priority; at last one that is not well will do. Where
    /// none is well, in line at all. Whenever a server may be a better or worse place than it was, he stands where he
    /// would if he came then; in the lines that stay the same he keeps his place.
    ///
    /// # Errors
    /// [`RelayFault::Overloaded`], [`RelayFault::Drained`].
    pub(super) async fn wait(&mut self, report: &ReportHandle) -> Result<Chosen, RelayFault> {
        self.list();
        let began = *self.waits_since.get_or_insert_with(Instant::now);
        let (mut past, mut backlog) = (None, None);
        let mut line = self.left.first().map(|one| Line::new(self.asker, one.server.changes(), began));
        while let Some(line) = &mut line {
            line.hears_anew();
            if self.renew() {
                past = None;
            }
            let preferred = self.sort();
            let Some(tier) = self.tier_behind(past, preferred) else { break };
            match line.stand(&self.left[tier.clone()], report).await {
                Turn::Slot(slot) => {
                    if let Some(chosen) = self.choose_with(slot) {
                        return Ok(chosen);
                    }
                }
                Turn::Changed => {
                    if self.renew() {
                        past = None;
                    }
                    // A better place than where he stands may have come free.
                    if let Some(chosen) = self.free(&mut Now::default()) {
                        return Ok(chosen);
                    }
                }
                // He was sent on, not away.
                Turn::Nothing if line.has_news() => {}
                Turn::Nothing => {
                    backlog = backlog.or_else(|| self.backlog(tier.clone()));
                    // Whoever was sent away from a drained server may find a place at its neighbours.
                    if !self.left[tier.clone()].iter().any(|one| one.server.is_drained()) {
                        past = Some(if preferred.well {
                            self.left[tier.start].server.priority
                        } else {
                            u32::MAX
                        });
                    }
                }
            }
        }
        if self.left.iter().any(|one| one.server.is_draining()) && self.is_empty() {
            return Err(RelayFault::Drained);
        }
        let retry_after = backlog.unwrap_or_default().clamp(RETRY.0, RETRY.1);
        self.free_among(0..self.left.len(), false).ok_or(RelayFault::Overloaded { retry_after })
    }

    /// The server that a slot he waited for is of, as it is now. None when it is not one of those he may go to any more,
    /// or when it has failed meanwhile and there is a better one.
    fn choose_with(&mut self, slot: Slot) -> Option<Chosen> {
        self.renew();
        let at = self.left.iter().position(|one| slot.is_of(&one.server.slots))?;
        let now = Instant::now();
        let is_well = |one: &Candidate| Rank::of(one, now).standing == Standing::Well;
        let may_go = self.left[at].server.begins()
            || !self.left.iter().enumerate().any(|(other, one)| other != at && is_well(one));
        may_go.then(|| self.choose(at, slot))
    }

    /// Sorts the servers: those first that are well, then those that failed lately, those known to be down, and those
    /// that are drained; among them by priority, then the least busy for its weight, then whose turn it is.
    fn sort(&mut self) -> Preferred {
        let now = Instant::now();
        let mut ranked: Vec<(Rank, Candidate)> = std::mem::take(&mut self.left)
            .into_iter()
            .map(|candidate| (Rank::of(&candidate, now), candidate))
            .collect();
        if ranked.len() > 1 {
            ranked.sort_by_key(|(rank, _)| rank.tier());
            ranked.chunk_by_mut(|(one, _), (other, _)| one.tier() == other.tier()).for_each(sort_tier);
        }
        let count = |wanted: fn(Standing) -> bool| {
            ranked.iter().take_while(|(rank, _)| wanted(rank.standing)).count()
        };
        let preferred = match count(|standing| standing == Standing::Well) {
            0 => Preferred { count: count(|standing| standing != Standing::Drained), well: false },
            count => Preferred { count, well: true },
        };
        self.left.extend(ranked.into_iter().map(|(_, candidate)| candidate));
        preferred
    }

    /// The best of the preferred whose priority comes after one that is done with. Those that are not well stand
    /// together.
    fn tier_behind(&self, past: Option<u32>, preferred: Preferred) -> Option<Range<usize>> {
        let all = &self.left[..preferred.count];
        if !preferred.well {
            return (past.is_none() && !all.is_empty()).then_some(0..all.len());
        }
        let start = all.iter().position(|one| past.is_none_or(|past| one.server.priority > past))?;
        let priority = all[start].server.priority;
        let count = all[start..].iter().take_while(|one| one.server.priority == priority).count();
        Some(start..start + count)
    }

    /// The first of them that has a slot; of those that are `well`, one that is so still.
    fn free_among(&mut self, mut range: Range<usize>, well: bool) -> Option<Chosen> {
        let (at, slot) = range.find_map(|at| {
            let server = &self.left.get(at)?.server;
            let slot = server.slots.take(self.asker)?;
            (server.begins() || !well).then_some((at, slot))
        })?;
        Some(self.choose(at, slot))
    }

    fn choose(&mut self, at: usize, slot: Slot) -> Chosen {
        let priority = self.left[at].server.priority;
        let equals = self.left.iter().filter(|one| one.server.priority == priority);
        let most = equals.map(|one| one.server.turn()).max().unwrap_or_default();
        let candidate = self.left.remove(at);
        candidate.server.takes_turn(most);
        Chosen { slot, candidate }
    }

    /// When it makes sense to ask again.
    fn backlog(&self, tier: Range<usize>) -> Option<Duration> {
        self.left[tier].iter().filter_map(|one| one.server.slots.backlog()).min()
    }
}

/// One who waits.
struct Line<'a> {
    wait: Wait,
    changes: watch::Receiver<()>,
    began: Instant,
    in_line: Option<InLine<'a>>,
}

/// What came of standing in line.
enum Turn {
    Slot(Slot),
    /// Another line may be better now.
    Changed,
    /// There was no place, or it was lost, or the time is over.
    Nothing,
}

impl<'a> Line<'a> {
    fn new(asker: Asker, changes: watch::Receiver<()>, began: Instant) -> Self {
        Self { wait: Wait::new(asker), changes, began, in_line: None }
    }

    /// What changed until now is known.
    fn hears_anew(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Whether something has changed since.
    fn has_news(&self) -> bool {
        self.changes.has_changed().unwrap_or(false)
    }

    async fn stand(&mut self, tier: &[Candidate], report: &'a ReportHandle) -> Turn {
        let slots: Vec<_> = tier.iter().map(|one| &one.server.slots).collect();
        if self.wait.stand_at(&slots).is_err() {
            return Turn::Nothing;
        }
        let longest = tier.iter().map(|one| one.server.queue_timeout).max().unwrap_or_default();
        self.in_line.get_or_insert_with(|| report.stands_in_line());
        tokio::select! {
            biased;
            turn = timeout_at(deadline(self.began, longest), &mut self.wait) => {
                turn.ok().and_then(Result::ok).map_or(Turn::Nothing, Turn::Slot)
            }
            Ok(()) = self.changes.changed() => Turn::Changed,
        }
    }
}

impl Rank {
    fn of(candidate: &Candidate, now: Instant) -> Self {
        let server = &candidate.server;
        let (standing, in_flight) = match server.slots.load() {
            Some(in_flight) => (server.standing(now), in_flight as u64),
            None => (Standing::Drained, 0),
        };
        Self { standing, priority: server.priority, in_flight, turn: server.turn() }
    }

    const fn tier(&self) -> (Standing, u32) {
        (self.standing, self.priority)
    }
}

/// The least busy first. Requests count in portions, as many to a portion as a server has times the least weight:
/// so few requests are shared out by turns, as the weights say, and not by who happens to have none.
fn sort_tier(tier: &mut [(Rank, Candidate)]) {
    let least = tier.iter().map(|(_, one)| one.server.weight).min().unwrap_or(1);
    tier.sort_by_key(|(rank, one)| (portions(rank.in_flight, least, one.server.weight), rank.turn));
}

fn portions(in_flight: u64, least: u32, weight: u32) -> u64 {
    in_flight * u64::from(least) / u64::from(weight)
}

#[cfg(test)]
mod tests;
