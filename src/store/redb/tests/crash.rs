//! Power lost at any moment: what a disk may hold then is built from the log of all writes and syncs, and every such
//! image must open with all that was acknowledged and nothing half there; also after power was lost once more while it
//! was opened.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard};

use ::redb::{ReadableDatabase as _, ReadableTableMetadata as _, StorageBackend};

use super::*;
use crate::types::proof;

/// What reaches a disk whole, or not at all.
const SECTORS: [usize; 2] = [512, 4096];

/// How many commits a life has; how many images are made of a moment, and of the last one before a sync, which holds
/// what the earlier ones may hold; and which image's opening is cut off, too. Of images that are the same, one is opened.
struct Size {
    commits: u32,
    each: usize,
    before_sync: usize,
    reopened: usize,
}

impl Size {
    fn of_this_run() -> Self {
        let size = proof::size;
        Self {
            commits: if proof::is_full() { 1120 } else { 45 },
            each: size(4, 120),
            before_sync: size(70, 1500),
            reopened: size(16, 16),
        }
    }
}

/// How many images of a moment within the opening of another image.
const OF_AN_OPENING: u64 = 3;

/// A disk in memory that remembers all that was done to it.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Tape>>);

#[derive(Debug, Default)]
struct Tape {
    bytes: Vec<u8>,
    log: Vec<Event>,
}

#[derive(Debug, Clone)]
enum Event {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
    /// A commit with this number is about to be made.
    Asked(u32),
    /// It was acknowledged.
    Done(u32),
}

impl Recorder {
    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap()
    }

    fn note(&self, event: Event) {
        self.tape().log.push(event);
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.tape().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let tape = self.tape();
        out.copy_from_slice(tape.bytes.get(at..at + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        let length = usize::try_from(len).unwrap();
        self.tape().bytes.resize(length, 0);
        self.note(Event::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.note(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.tape().bytes[at..at + data.len()].copy_from_slice(data);
        self.note(Event::Write(at, data.to_vec()));
        Ok(())
    }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.roll().is_multiple_of(many)
    }
}

/// Commit `number`: puts 1 to 4 rows of its own, deletes those of an earlier commit, and says that it was last.
fn commit(number: u32) -> Commit {
    let key = |number: u32, part: u32| [number.to_be_bytes(), part.to_be_bytes()].concat();
    let put = |part| Write::Put { table: T, key: key(number, part), value: value(number) };
    let mut writes: Vec<_> = (0..=number % 4).map(put).collect();
    if let Some(old) = number.checked_sub(7) {
        writes.extend((0..=old % 4).map(|part| Write::Delete { table: T, key: key(old, part) }));
    }
    writes.push(Write::Put { table: Table("last"), key: vec![], value: number.to_be_bytes().to_vec() });
    Commit { writes, ..Commit::default() }
}

fn value(number: u32) -> Vec<u8> {
    let bytes = usize::try_from(number * 131 % 1500).unwrap();
    vec![u8::try_from(number % 251).unwrap(); bytes]
}

/// A store's life on a recording disk: from its first open to its clean stop.
fn life(commits: u32) -> (Vec<u8>, Vec<Event>) {
    let disk = Recorder::default();
    create::create_on(Box::new(disk.clone()), Path::new("(memory)"), birth()).unwrap();
    let Tape { bytes: start, log } = std::mem::take(&mut *disk.tape());
    assert!(matches!(log.last(), Some(Event::Sync)), "a store that is made is all on the disk");
    disk.tape().bytes = start.clone();
    for part in 0..3 {
        let store = on_disk(disk.clone(), quick());
        for number in part * commits / 3..(part + 1) * commits / 3 {
            disk.note(Event::Asked(number));
            store.commit(commit(number)).unwrap();
            disk.note(Event::Done(number));
        }
    }
    let log = disk.tape().log.clone();
    (start, log)
}

/// What has surely reached the disk, and what may have.
struct Crash {
    synced: Vec<u8>,
    loose: Vec<Event>,
    asked: Option<u32>,
    done: Option<u32>,
}

impl Crash {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Asked(number) => self.asked = Some(*number),
            Event::Done(number) => self.done = Some(*number),
            Event::Sync => {
                for event in std::mem::take(&mut self.loose) {
                    place(&mut self.synced, &event, SECTORS[0], |_| true);
                }
            }
            Event::Write(..) | Event::Length(_) => self.loose.push(event.clone()),
        }
    }

    /// One image that the disk may hold: each loose sector is there or not.
    fn image(&self, dice: &mut Dice) -> Vec<u8> {
        let mut image = self.synced.clone();
        let (lost, torn) = (dice.roll() % 5, dice.one_in(2));
        let sector = SECTORS[usize::from(dice.one_in(2))];
        for event in &self.loose {
            let whole = dice.roll() % 4 >= lost;
            place(&mut image, event, sector, |_| if torn { dice.roll() % 4 >= lost } else { whole });
        }
        image
    }

    /// Tells images of this moment from each other: by what they hold where something is loose.
    fn mark(&self, image: &[u8]) -> u64 {
        let mut mark = DefaultHasher::new();
        image.len().hash(&mut mark);
        for event in &self.loose {
            if let Event::Write(at, bytes) = event {
                image.get(*at..image.len().min(at + bytes.len())).hash(&mut mark);
            }
        }
        mark.finish()
    }
}

/// Does to an image what was done to the disk, sector by sector, as far as `reached` says so.
fn place(image: &mut Vec<u8>, event: &Event, sector: usize, mut reached: impl FnMut(usize) -> bool) {
    match event {
        Event::Length(length) => {
            if reached(*length) {
                image.resize(*length, 0);
            }
        }
        Event::Write(at, bytes) => {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(from + sector - (at + from) % sector);
                if reached(at + from) {
                    image.resize(image.len().max(at + to), 0);
                    image[at + from..at + to].copy_from_slice(&bytes[from..to]);
                }
                from = to;
            }
        }
        Event::Sync | Event::Asked(_) | Event::Done(_) => {}
    }
}

/// Opens an image and looks at every row. Gives back what the opening, and the close after it, did to the disk.
fn examine(image: Vec<u8>, crash: &Crash, case: &str) -> Vec<Event> {
    let disk = Recorder::default();
    disk.tape().bytes = image;
    let source = Source::disk(disk.clone());
    let held = Held::open(&source, &quick()).unwrap_or_else(|error| panic!("{case}: {error}"));
    held.sentinel(FORMATS.newest).unwrap();
    let database = held.let_through().unwrap();
    look_at_rows(&database, crash, case);
    drop(database);
    std::mem::take(&mut disk.tape().log)
}

fn look_at_rows(database: &::redb::Database, crash: &Crash, case: &str) {
    let read = database.begin_read().unwrap();
    let row = |table: Table, key: &[u8]| {
        let rows = read.open_table(Definition::new(table.0)).ok()?;
        let stored = ::redb::ReadableTable::get(&rows, key).unwrap()?.value().to_vec();
        Some(unseal(table.0, key, &stored).unwrap_or_else(|| panic!("{case}: a torn row")).to_vec())
    };
    let last = row(Table("last"), &[]).map(|last| u32::from_be_bytes(last.try_into().unwrap()));
    assert!(last >= crash.done, "{case}: {:?} was acknowledged, {last:?} is there", crash.done);
    assert!(last <= crash.asked, "{case}: {last:?} was never asked for");
    let mut wanted = 0;
    for number in last.map_or(0..0, |last| last.saturating_sub(6)..last + 1) {
        for part in 0..=number % 4 {
            let found = row(T, &[number.to_be_bytes(), part.to_be_bytes()].concat());
            assert_eq!(found, Some(value(number)), "{case}: row {part} of commit {number}");
            wanted += 1;
        }
    }
    let rows = read.open_table(Definition::new(T.0)).map_or(0, |rows| rows.len().unwrap());
    assert_eq!(rows, wanted, "{case}: rows that should not be there");
}

/// Power is lost again while an image is opened, at moments that the dice choose.
fn examine_again(image: &[u8], opening: &[Event], crash: &Crash, dice: &mut Dice, case: &str) -> u64 {
    let mut again = Crash { synced: image.to_vec(), loose: Vec::new(), asked: crash.asked, done: crash.done };
    let mut images = 0;
    for (at, event) in opening.iter().enumerate() {
        again.note(event);
        if dice.one_in(1 + opening.len() as u64 / OF_AN_OPENING) {
            examine(again.image(dice), &again, &format!("{case}, event {at} of its opening"));
            images += 1;
        }
    }
    images
}

/// The images of every `shares`-th moment, from the `share`-th on: how many there were that differ from the others of their
/// moment, and how many after a second loss.
fn examine_share(start: Vec<u8>, log: &[Event], size: &Size, share: usize, shares: usize) -> (u64, u64) {
    let mut crash = Crash { synced: start, loose: Vec::new(), asked: None, done: None };
    let mut dice = Dice(7 + share as u64);
    let (mut images, mut again) = (0, 0);
    for (at, event) in log.iter().enumerate() {
        crash.note(event);
        if at % shares != share {
            continue;
        }
        let is_last = matches!(log.get(at + 1), Some(Event::Sync));
        let mut seen = HashSet::new();
        for round in 0..if is_last { size.before_sync } else { size.each } {
            let (image, case) = (crash.image(&mut dice), format!("event {at}, image {round}"));
            if !seen.insert(crash.mark(&image)) {
                continue;
            }
            let is_reopened = dice.one_in(size.reopened as u64);
            let kept = is_reopened.then(|| image.clone());
            let opening = examine(image, &crash, &case);
            images += 1;
            again += kept.map_or(0, |kept| examine_again(&kept, &opening, &crash, &mut dice, &case));
        }
    }
    (images, again)
}

#[test]
fn after_losing_power_all_that_was_acknowledged_is_there() {
    let size = Size::of_this_run();
    let (start, log) = life(size.commits);
    let shares = std::thread::available_parallelism().map_or(1, usize::from);
    let found = std::thread::scope(|scope| {
        let share = |share| {
            let (start, log, size) = (start.clone(), &log, &size);
            scope.spawn(move || examine_share(start, log, size, share, shares))
        };
        let threads: Vec<_> = (0..shares).map(share).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let (images, again) = found.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let steps = log.iter().filter(|event| !matches!(event, Event::Asked(_) | Event::Done(_))).count();
    proof::show("steps of the disk at which power was lost", steps, "10,000");
    proof::show("images of a disk after losing power, all of a moment different", images, "1,000,000");
    proof::show("images after losing it again while it was opened", again, "any");
    proof::show_none("images that were lost, torn or did not open", images + again);
    let least = if proof::is_full() { (1_000_000, 10_000) } else { (3000, 100) };
    assert!(images >= least.0 && again >= least.1, "only {images} and {again} images of {steps} steps");
    assert!(!proof::is_full() || steps >= 10_000, "only {steps} steps");
}
