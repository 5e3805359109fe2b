//! Whether the audit trail is what was written: every link is computed anew, every event must have its link, a head
//! that was noted earlier must lie on the chain. In bounded steps. Never: repairs anything.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use crate::store::Trouble;
use crate::types::{Actor, EventId, TrailHead};

use super::access::administrators_only;
use super::audit::Action;
use super::chain::{ANCHOR, BEFORE, HEAD, Link, link_at, links, mark};
use super::record::event::{decode_event, is_unlinked};
use super::retention::trimmed_to;
use super::table::AUDIT;
use super::{Registry, RegistryError};

/// Links or events looked at in one step.
const STEP: usize = 2000;

/// What one step of looking through the trail found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many events were looked at in this step. An event that is older than the chain counts once, others count when
    /// their links are computed.
    pub checked: u64,
    /// Where the chain ends now.
    pub head: TrailHead,
    /// The event before the first that is there: it, and all before it, were removed for their age. 0 when none was.
    pub anchor: u64,
    /// The first event that does not fit.
    pub fault: Option<TrailFault>,
    /// Where the next step begins; none at the end.
    pub next: Option<TrailCursor>,
}

/// An event that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailFault {
    /// Its number, where it has one.
    pub sequence: Option<u64>,
    /// Its id, where that is known.
    pub event: Option<String>,
    /// What is wrong, in words.
    pub what: String,
}

/// How far a look through the trail has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailCursor {
    /// Where the chain began when the look began; it begins anew when that has moved.
    anchor: u64,
    /// Where the chain ended then.
    end: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Links in their order; the last one that was good.
    Links(u64),
    /// Events by their ids; the last one seen, and the hash over those that are older than the chain.
    Events(Option<EventId>, TrailHead),
}

/// The text is not what an earlier step gave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not where a step of `ember audit --verify` ended")]
pub struct TrailCursorError;

impl fmt::Display for TrailCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.", self.anchor, self.end)?;
        match self.stage {
            Stage::Links(last) => write!(f, "{last}"),
            Stage::Events(None, head) => write!(f, ".{head}"),
            Stage::Events(Some(last), head) => write!(f, "{last}.{head}"),
        }
    }
}

impl FromStr for TrailCursor {
    type Err = TrailCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| TrailCursorError);
        let parts: Vec<_> = text.split('.').collect();
        let (anchor, end, stage) = match parts[..] {
            [anchor, end, last] => (anchor, end, Stage::Links(number(last)?)),
            [anchor, end, last, head] => {
                let id = |text: &str| text.parse().map_err(|_| TrailCursorError);
                let last = if last.is_empty() { None } else { Some(id(last)?) };
                (anchor, end, Stage::Events(last, head.parse().map_err(|_| TrailCursorError)?))
            }
            _ => return Err(TrailCursorError),
        };
        Ok(Self { anchor: number(anchor)?, end: number(end)?, stage })
    }
}

/// The rows that say where the chain begins and ends.
struct Marks {
    anchor: TrailHead,
    before: TrailHead,
    head: TrailHead,
}

/// What a step came to: how many were good, and where it stopped.
type Step = Result<(u64, Option<Stage>), Stop>;

enum Stop {
    Fault(TrailFault),
    Store(RegistryError),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Store(trouble.into())
    }
}

impl Registry {
    /// One step of looking through the trail, from where the last one ended; the first one looks for `noted`, a head
    /// that was noted earlier.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`], [`RegistryError::Store`].
    pub fn verify_trail(
        &self,
        actor: Actor,
        noted: Option<TrailHead>,
        after: Option<TrailCursor>,
    ) -> Result<Verification, RegistryError> {
        administrators_only(actor)?;
        let marks = self.marks()?;
        let first = Stage::Links(marks.first());
        let cursor = after.filter(|cursor| cursor.anchor == marks.anchor.sequence);
        let cursor = cursor.unwrap_or(TrailCursor {
            anchor: marks.anchor.sequence,
            end: marks.head.sequence,
            stage: first,
        });
        let begun = match cursor.stage == first {
            true => self.refuse_moved(marks.anchor).and_then(|()| self.find(&marks, noted)),
            false => Ok(()),
        };
        let step = begun.and_then(|()| self.step(&marks, &cursor));
        let (checked, stage, fault) = match step {
            Ok((checked, stage)) => (checked, stage, None),
            Err(Stop::Store(error)) => return Err(error),
            // What was removed for its age meanwhile is missing rightly; it is begun anew.
            Err(Stop::Fault(_)) if self.marks()?.anchor != marks.anchor => (0, Some(first), None),
            Err(Stop::Fault(fault)) => (0, None, Some(fault)),
        };
        let next = stage.map(|stage| TrailCursor { stage, ..cursor });
        Ok(Verification { checked, head: marks.head, anchor: marks.anchor.sequence, fault, next })
    }

    fn marks(&self) -> Result<Marks, RegistryError> {
        let read = |key| mark(&*self.store, key).map(|mark| mark.unwrap_or(TrailHead::START));
        let head = match mark(&*self.store, HEAD)? {
            Some(head) => head,
            None => self.trail_head()?,
        };
        let before = match mark(&*self.store, HEAD)? {
            Some(_) => read(BEFORE)?,
            None => head,
        };
        Ok(Marks { anchor: read(ANCHOR)?, before, head })
    }

    fn step(&self, marks: &Marks, cursor: &TrailCursor) -> Step {
        match cursor.stage {
            Stage::Links(last) => self.step_links(marks, cursor.end, last),
            Stage::Events(last, head) => self.step_events(marks, last, head),
        }
    }

    /// Whether an event tells of the removal of everything up to where the chain begins.
    fn refuse_moved(&self, anchor: TrailHead) -> Result<(), Stop> {
        let told = self.history(&trimmed_to(anchor.sequence)).map_err(Stop::Store)?;
        if anchor.sequence == 0 || told.iter().any(|event| event.action == Action::TrailTrimmed) {
            return Ok(());
        }
        let what = "the trail begins behind it, and no event tells of its removal".to_string();
        Err(fault(Some(anchor.sequence), None, what))
    }

    /// Whether a head that was noted earlier lies on the chain.
    fn find(&self, marks: &Marks, noted: Option<TrailHead>) -> Result<(), Stop> {
        let Some(noted) = noted else { return Ok(()) };
        let there = match noted.sequence {
            number if number > marks.head.sequence => {
                let what = format!(
                    "the trail ends at event {} and was at event {number} when the head was noted: its end was cut off, \
                     or an older copy of the store was put in its place",
                    marks.head.sequence
                );
                return Err(fault(Some(marks.head.sequence), None, what));
            }
            number if number < marks.anchor.sequence => {
                let what = format!(
                    "event {number} was removed for its age, so that the head can't be held against the trail any \
                     more; note a later one"
                );
                return Err(fault(Some(number), None, what));
            }
            number if number == marks.anchor.sequence => Some(marks.anchor),
            number if number == marks.before.sequence => Some(marks.before),
            number => link_at(&*self.store, number)?.map(|link| link.head),
        };
        if there == Some(noted) {
            return Ok(());
        }
        let what = "its hash is not the one that was noted: the trail was rewritten up to there, or it is another trail";
        Err(fault(Some(noted.sequence), None, what.to_string()))
    }

    /// Computes links anew, from the last good one on.
    fn step_links(&self, marks: &Marks, end: u64, last: u64) -> Step {
        let mut good = match last {
            last if last == marks.first() => marks.base(),
            last => match link_at(&*self.store, last)? {
                Some(link) => link.head,
                None => return Err(missing(last)),
            },
        };
        let part = links(&*self.store, last, STEP)?;
        let is_last = part.len() < STEP;
        let mut checked = 0;
        for link in part.iter().take_while(|link| link.head.sequence <= end) {
            good = self.follow(good, link)?;
            checked += 1;
        }
        if !is_last && good.sequence < end {
            return Ok((checked, Some(Stage::Links(good.sequence))));
        }
        if good.sequence != end {
            return Err(missing(good.sequence + 1));
        }
        if end == marks.head.sequence && good != marks.head {
            let what = "it is the last one, and its hash is not the head of the trail".to_string();
            return Err(fault(Some(end), None, what));
        }
        self.refuse_beyond(end)?;
        Ok((checked, Some(Stage::Events(None, marks.anchor))))
    }

    /// Whether a link lies beyond the head of the trail.
    fn refuse_beyond(&self, end: u64) -> Result<(), Stop> {
        let beyond = links(&*self.store, end, 1)?;
        // Read after it: what was committed meanwhile lies within.
        let head = mark(&*self.store, HEAD)?.unwrap_or(TrailHead::START);
        match beyond.first() {
            Some(link) if link.head.sequence > head.sequence => {
                let id = EventId::from_bytes(&link.event).map(|id| id.to_string());
                let what = "it lies beyond the head of the trail, which was cut off".to_string();
                Err(fault(Some(link.head.sequence), id, what))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The head after a link, if it is the one that follows and its event is what was linked.
    fn follow(&self, good: TrailHead, link: &Link) -> Result<TrailHead, Stop> {
        let number = link.head.sequence;
        if number != good.sequence + 1 {
            return Err(missing(good.sequence + 1));
        }
        let id = EventId::from_bytes(&link.event).map(|id| id.to_string());
        let Some(bytes) = self.store.get(AUDIT, &link.event)? else {
            return Err(fault(Some(number), id, "it is not there any more".to_string()));
        };
        if good.next(&link.event, &bytes) != link.head {
            let what = "it, or its link, is not what was written, or stands in another place".to_string();
            return Err(fault(Some(number), id, what));
        }
        Ok(link.head)
    }

    /// Looks whether each event has its link, and what the hash over the older ones comes to.
    fn step_events(&self, marks: &Marks, last: Option<EventId>, mut head: TrailHead) -> Step {
        let from = last.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(&id.as_bytes()[..]));
        let rows = self.store.scan(AUDIT, from, Bound::Unbounded, STEP)?;
        let mut checked = 0;
        for (id, bytes) in &rows {
            if is_unlinked(bytes) {
                head = head.next(id, bytes);
                checked += 1;
            } else {
                self.refuse_stray(marks, id, bytes)?;
            }
        }
        let last = rows.last().and_then(|(id, _)| EventId::from_bytes(id));
        if rows.len() == STEP && last.is_some() {
            return Ok((checked, Some(Stage::Events(last, head))));
        }
        if head == marks.before || (head == marks.anchor && marks.anchor.sequence >= marks.before.sequence) {
            return Ok((checked, None));
        }
        let what = format!(
            "one of the events that are older than the chain was changed, removed or put in (there were {}, there are {})",
            marks.before.sequence, head.sequence
        );
        Err(fault(None, None, what))
    }

    fn refuse_stray(&self, marks: &Marks, id: &[u8], bytes: &[u8]) -> Result<(), Stop> {
        let name = EventId::from_bytes(id).map(|id| id.to_string());
        let Ok(event) = decode_event(id, bytes) else {
            return Err(fault(None, name, "it can't be read".to_string()));
        };
        let link = link_at(&*self.store, event.sequence)?;
        let link = link.filter(|link| link.head.sequence > marks.anchor.sequence);
        if link.is_some_and(|link| link.event == id) {
            return Ok(());
        }
        Err(fault(Some(event.sequence), name, "it is not on the chain: it was put in".to_string()))
    }
}

impl Marks {
    /// What the first link follows.
    fn base(&self) -> TrailHead {
        if self.anchor.sequence >= self.before.sequence { self.anchor } else { self.before }
    }

    fn first(&self) -> u64 {
        self.base().sequence
    }
}

fn missing(number: u64) -> Stop {
    fault(Some(number), None, "its link is not there".to_string())
}

fn fault(sequence: Option<u64>, event: Option<String>, what: String) -> Stop {
    Stop::Fault(TrailFault { sequence, event, what })
}
