//! Power lost at any moment: what a disk may hold then is built from the log of all writes and syncs, thousands of
//! times, and every such image must open with all that was acknowledged and nothing half there.

use std::sync::{Mutex, MutexGuard};

use ::redb::{ReadableDatabase as _, StorageBackend};

use super::*;

const SECTOR: usize = 512;

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
    let start = std::mem::take(&mut *disk.tape()).bytes;
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
                    place(&mut self.synced, &event, |_| true);
                }
            }
            Event::Write(..) | Event::Length(_) => self.loose.push(event.clone()),
        }
    }

    /// One image that the disk may hold: each loose sector is there or not.
    fn image(&self, dice: &mut Dice) -> Vec<u8> {
        let mut image = self.synced.clone();
        let (lost, torn) = (dice.roll() % 5, dice.one_in(2));
        for event in &self.loose {
            let whole = dice.roll() % 4 >= lost;
            place(&mut image, event, |_| if torn { dice.roll() % 4 >= lost } else { whole });
        }
        image
    }
}

/// Does to an image what was done to the disk, sector by sector, as far as `reached` says so.
fn place(image: &mut Vec<u8>, event: &Event, mut reached: impl FnMut(usize) -> bool) {
    match event {
        Event::Length(length) => {
            if reached(*length) {
                image.resize(*length, 0);
            }
        }
        Event::Write(at, bytes) => {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
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

/// Opens an image and looks at every row.
fn examine(image: Vec<u8>, crash: &Crash, case: &str) {
    let disk = Recorder::default();
    disk.tape().bytes = image;
    let source = Source::disk(disk);
    let held = Held::open(&source, &quick()).unwrap_or_else(|error| panic!("{case}: {error}"));
    held.sentinel(FORMATS.newest).unwrap();
    let read = held.database().begin_read().unwrap();
    let row = |table: Table, key: &[u8]| {
        let rows = read.open_table(Definition::new(table.0)).ok()?;
        let stored = ::redb::ReadableTable::get(&rows, key).unwrap()?.value().to_vec();
        Some(unseal(table.0, key, &stored).unwrap_or_else(|| panic!("{case}: a torn row")).to_vec())
    };
    let last = row(Table("last"), &[]).map(|last| u32::from_be_bytes(last.try_into().unwrap()));
    assert!(last >= crash.done, "{case}: {:?} was acknowledged, {last:?} is there", crash.done);
    assert!(last <= crash.asked, "{case}: {last:?} was never asked for");
    let end = crash.asked.map_or(0, |asked| asked + 2);
    for number in 0..end {
        let wanted = last.is_some_and(|last| number <= last && number + 7 > last);
        for part in 0..=number % 4 {
            let found = row(T, &[number.to_be_bytes(), part.to_be_bytes()].concat());
            assert_eq!(found, wanted.then(|| value(number)), "{case}: row {part} of commit {number}");
        }
    }
}

#[test]
fn after_losing_power_all_that_was_acknowledged_is_there() {
    let (start, log) = life(45);
    let mut crash = Crash { synced: start, loose: Vec::new(), asked: None, done: None };
    let mut dice = Dice(7);
    let mut images = 0;
    for (at, event) in log.iter().enumerate() {
        crash.note(event);
        // Between two syncs the later moments hold the earlier ones' images too.
        let rounds = if matches!(log.get(at + 1), Some(Event::Sync)) { 24 } else { 1 };
        for round in 0..rounds {
            examine(crash.image(&mut dice), &crash, &format!("event {at}, image {round}"));
            images += 1;
        }
    }
    assert!(images > 3000, "only {images} images of {} events", log.len());
}
