//! Any order of requests, commits, denials and hang-ups against a plain account of what must hold.

use proptest::prelude::*;

use super::*;

const KEYS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    /// A request comes and goes.
    Visit(usize),
    /// A request comes and stays; it listens for the cut at once, or only when it is cut.
    Stay(usize, bool),
    Leave(usize),
    Commit(usize, Fate),
    Account(usize, bool),
    Deny(usize, Reach),
    /// Lifts one of the denials that hold.
    Lift(usize),
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Active,
    Renamed,
    Disabled,
    Replaced,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reach {
    Key,
    Secret,
    Account,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS;
    let fate =
        prop_oneof![Just(Fate::Active), Just(Fate::Renamed), Just(Fate::Disabled), Just(Fate::Replaced)];
    let reach = prop_oneof![Just(Reach::Key), Just(Reach::Secret), Just(Reach::Account)];
    let step = prop_oneof![
        4 => key.clone().prop_map(Step::Visit),
        3 => (key.clone(), any::<bool>()).prop_map(|(key, listens)| Step::Stay(key, listens)),
        2 => (0..100_usize).prop_map(Step::Leave),
        2 => (key.clone(), fate).prop_map(|(key, fate)| Step::Commit(key, fate)),
        1 => (key.clone(), any::<bool>()).prop_map(|(key, on)| Step::Account(key, on)),
        2 => (key, reach).prop_map(|(key, reach)| Step::Deny(key, reach)),
        2 => (0..100_usize).prop_map(Step::Lift),
    ];
    prop::collection::vec(step, 1..80)
}

struct Guest {
    key: usize,
    caller: Caller,
    ear: Option<CutSignal>,
    must_be_cut: bool,
}

struct Play {
    hall: Hall,
    keys: Vec<(KeyRecord, Key)>,
    stands: [bool; KEYS],
    account_on: [bool; KEYS],
    denials: Vec<(usize, Denial)>,
    guests: Vec<Guest>,
}

impl Play {
    fn new(room: usize) -> Self {
        let hall = Hall::with_room(room);
        let keys = (0..KEYS).map(|_| hall.key()).collect();
        Self {
            hall,
            keys,
            stands: [true; KEYS],
            account_on: [true; KEYS],
            denials: Vec::new(),
            guests: Vec::new(),
        }
    }

    fn is_good(&self, key: usize) -> bool {
        self.stands[key] && self.account_on[key] && !self.denials.iter().any(|(denied, _)| *denied == key)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Visit(key) => self.visit(key),
            Step::Stay(key, listens) => self.stay(key, listens),
            Step::Leave(guest) if !self.guests.is_empty() => {
                self.guests.swap_remove(guest % self.guests.len());
            }
            Step::Commit(key, fate) => self.commit(key, fate),
            Step::Account(key, on) => {
                self.account_on[key] = on;
                let status = if on { AccountStatus::Active } else { AccountStatus::Disabled };
                self.hall.commit_account(self.keys[key].0.account, status);
            }
            Step::Deny(key, reach) => self.deny(key, reach),
            Step::Lift(denial) if !self.denials.is_empty() => {
                let (_, denial) = self.denials.swap_remove(denial % self.denials.len());
                self.hall.gate.lift(denial);
            }
            Step::Leave(_) | Step::Lift(_) => {}
        }
        for key in 0..KEYS {
            let is_bad = !self.is_good(key);
            self.guests
                .iter_mut()
                .filter(|guest| guest.key == key)
                .for_each(|guest| guest.must_be_cut |= is_bad);
        }
    }

    fn visit(&mut self, key: usize) {
        let outcome = self.hall.admit(&self.keys[key].1).map(drop);
        assert_eq!(outcome.is_ok(), self.is_good(key), "key {key}: {outcome:?}");
        assert!(matches!(outcome, Ok(()) | Err(Refusal::Cut(_))));
    }

    fn stay(&mut self, key: usize, listens: bool) {
        if let Ok(caller) = self.hall.identify(&self.keys[key].1) {
            let ear = listens.then(|| caller.cut());
            self.guests.push(Guest { key, caller, ear, must_be_cut: false });
        }
    }

    fn commit(&mut self, key: usize, fate: Fate) {
        let record = &self.keys[key].0;
        let record = match fate {
            Fate::Active => record.clone(),
            Fate::Renamed => renamed(record),
            Fate::Disabled => disabled(record),
            Fate::Replaced => KeyRecord { secrets: Vec::new(), ..record.clone() },
        };
        self.hall.commit(&record);
        self.stands[key] = matches!(fate, Fate::Active | Fate::Renamed);
    }

    fn deny(&mut self, key: usize, reach: Reach) {
        let record = &self.keys[key].0;
        let denial = match reach {
            Reach::Key => denial(DenialTarget::Key(record.id), DenialReason::Disabled),
            Reach::Secret => denial(DenialTarget::Secret(record.secrets[0].digest), DenialReason::Replaced),
            Reach::Account => denial(DenialTarget::Account(record.account), DenialReason::AccountDisabled),
        };
        self.hall.gate.deny(denial);
        self.denials.push((key, denial));
    }

    /// What must hold after each step.
    fn check(&mut self, room: usize) {
        let length = self.hall.gate.cache.checked_len();
        if self.hall.asked() > 0 {
            let held = (0..KEYS).filter(|key| self.guests.iter().any(|guest| guest.key == *key)).count();
            assert!(length <= room.max(held + 1), "{length} in memory, {held} held");
        }
        for guest in &mut self.guests {
            let told = guest.caller.entry().standing(NOW).is_err();
            assert_eq!(told, guest.must_be_cut, "a guest of key {}", guest.key);
            if let Some(ear) = &mut guest.ear
                && poll(Pin::new(ear)).is_ready()
            {
                assert!(guest.must_be_cut);
                guest.ear = None;
            } else if guest.ear.is_some() {
                assert!(!guest.must_be_cut, "a guest of key {} did not hear", guest.key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_happens_only_good_keys_pass_and_every_cut_is_heard(steps in steps(), room in 1_usize..=KEYS) {
        let mut play = Play::new(room);
        for step in &steps {
            play.step(step);
            play.check(room);
        }
        (0..KEYS).for_each(|key| play.visit(key));
    }
}
