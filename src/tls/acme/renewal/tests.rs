//! The care for a certificate in paused time, with a scripted CA and a clock that goes with it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::*;
use crate::types::RandomUnavailable;

const BEGIN: &str = "2026-01-01T00:00:00Z";
const DAY: u64 = 24 * 3600;

/// Goes with tokio's time.
struct Wall(Instant);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        BEGIN.parse::<Timestamp>().unwrap().after(self.0.elapsed())
    }
}

struct NoSpread;

impl Random for NoSpread {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(0);
        Ok(())
    }
}

/// Answers by a script, and notes when it was asked, in seconds since the beginning.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<Issued, Refusal>>>>,
    asked_at: Arc<Mutex<Vec<u64>>>,
    began: Instant,
    /// At the next question.
    panics: Arc<AtomicBool>,
}

impl Issuer for Script {
    async fn issue(&self) -> Result<Issued, Refusal> {
        self.asked_at.lock().unwrap().push(self.began.elapsed().as_secs());
        assert!(!self.panics.swap(false, Ordering::SeqCst), "an answer that nobody has thought of");
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// A certificate from and to these days of 2026.
fn issued(names: &[&str], from: (u8, u8), to: (u8, u8)) -> Issued {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, from.0, from.1);
    params.not_after = rcgen::date_time_ymd(2026, to.0, to.1);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = Zeroizing::new(key.serialize_pem() + &params.self_signed(&key).unwrap().pem());
    let named = ("test", pem.as_bytes());
    Issued { certificate: Certificate::from_pem(named, named).unwrap(), pem }
}

fn refusal(asked: Option<u64>) -> Refusal {
    Refusal { said: "the CA says: no".to_string(), asked: asked.map(Duration::from_secs) }
}

struct House {
    data: tempfile::TempDir,
    identity: Arc<Identity>,
    script: Script,
}

impl House {
    fn new() -> Self {
        let (answers, asked_at, panics) = (Arc::default(), Arc::default(), Arc::default());
        let script = Script { answers, asked_at, began: Instant::now(), panics };
        Self { data: tempfile::tempdir().unwrap(), identity: Arc::default(), script }
    }

    fn folder(&self) -> Folder {
        Folder::within(self.data.path(), "https://ca.test/directory")
    }

    fn keep(&self, issued: &Issued) {
        self.folder().write(Folder::CERTIFICATE, issued.pem.as_bytes()).unwrap();
    }

    /// Lives so many seconds with these answers; when the CA was asked.
    async fn live(&self, domains: &[&str], seconds: u64, answers: Vec<Result<Issued, Refusal>>) -> Vec<u64> {
        self.script.answers.lock().unwrap().extend(answers);
        let mut renewal = Renewal::new(
            self.script.clone(),
            domains.iter().map(ToString::to_string).collect(),
            Retry::default(),
            self.folder(),
            Arc::clone(&self.identity),
            Arc::new(Wall(self.script.began)),
            Arc::new(NoSpread),
        );
        renewal.begin();
        let _ = tokio::time::timeout(Duration::from_secs(seconds), renewal.run()).await;
        self.script.asked_at.lock().unwrap().clone()
    }

    fn shows(&self, issued: &Issued) -> bool {
        self.identity.shown().is_some_and(|shown| shown.is_same_as(&issued.certificate))
    }

    fn keeps(&self, issued: &Issued) -> bool {
        self.folder().certificate().is_some_and(|kept| kept.is_same_as(&issued.certificate))
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_certificate_one_is_ordered_at_once_shown_and_kept() {
    let house = House::new();
    let first = issued(&["a.test"], (1, 1), (4, 1));
    assert_eq!(house.live(&["a.test"], DAY, vec![Ok(first.clone())]).await, [0]);
    assert!(house.shows(&first) && house.keeps(&first));
}

#[tokio::test(start_paused = true)]
async fn a_kept_certificate_is_shown_at_once_and_renewed_when_a_third_is_left() {
    let house = House::new();
    let (kept, next) = (issued(&["a.test"], (1, 1), (4, 1)), issued(&["a.test"], (3, 2), (5, 31)));
    house.keep(&kept);
    assert_eq!(house.live(&["a.test"], 59 * DAY, vec![]).await, [0; 0]);
    assert!(house.shows(&kept));
    let house = House::new();
    house.keep(&kept);
    assert_eq!(house.live(&["a.test"], 70 * DAY, vec![Ok(next.clone())]).await, [60 * DAY]);
    assert!(house.shows(&next) && house.keeps(&next));
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_and_never_take_away_what_is_shown() {
    let house = House::new();
    let (kept, next) = (issued(&["a.test"], (1, 1), (1, 4)), issued(&["a.test"], (1, 3), (6, 1)));
    house.keep(&kept);
    let answers = vec![
        Err(refusal(None)),
        Err(refusal(None)),
        Err(refusal(Some(1000))),
        Err(refusal(None)),
        Ok(next.clone()),
    ];
    let due = 2 * DAY;
    let asked_at = house.live(&["a.test"], 2 * DAY + 200, answers).await;
    assert_eq!(asked_at, [due, due + 60, due + 180]);
    assert!(house.shows(&kept) && house.keeps(&kept));
    let house = House { script: Script { asked_at: Arc::default(), ..house.script.clone() }, ..house };
    let asked_at = house.live(&["a.test"], DAY, vec![]).await;
    assert_eq!(asked_at.len(), 2, "{asked_at:?}");
    assert!(house.shows(&next));
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_the_ca_asks_for_is_kept() {
    let house = House::new();
    let first = issued(&["a.test"], (1, 1), (4, 1));
    let answers = vec![Err(refusal(Some(7200))), Err(refusal(None)), Ok(first)];
    assert_eq!(house.live(&["a.test"], DAY, answers).await, [0, 7200, 7320]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_some_of_the_domains_is_shown_until_one_for_all_is_there() {
    let house = House::new();
    let (some, all) = (issued(&["a.test"], (1, 1), (4, 1)), issued(&["A.test", "b.test"], (1, 1), (4, 1)));
    house.keep(&some);
    let domains = ["a.test", "b.test"];
    assert_eq!(house.live(&domains, 30, vec![Err(refusal(None)), Ok(all.clone())]).await, [0]);
    assert!(house.shows(&some));
    assert_eq!(house.live(&domains, 3600, vec![]).await.len(), 2);
    assert!(house.shows(&all));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_not_shown_and_ordered_anew() {
    let first = issued(&["a.test"], (1, 1), (4, 1));
    let mut other = issued(&["b.test"], (1, 1), (4, 1));
    other.pem = Zeroizing::new(other.pem.replace("MII", "????"));
    for kept in [
        issued(&["b.test"], (1, 1), (4, 1)),
        issued(&["a.test"], (2, 1), (4, 1)),
        // Its key is the other's.
        other,
    ] {
        let house = House::new();
        house.keep(&kept);
        house.live(&["a.test"], 10, vec![]).await;
        assert!(house.identity.shown().is_none());
        assert_eq!(house.live(&["a.test"], 10, vec![Ok(first.clone())]).await.len(), 2);
        assert!(house.shows(&first) && house.keeps(&first));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_does_not_take_is_shown_and_written_down_later() {
    let house = House::new();
    let first = issued(&["a.test"], (1, 1), (4, 1));
    std::fs::write(house.data.path().join("acme"), "in the way").unwrap();
    let free = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert!(house.shows(&first));
        std::fs::remove_file(house.data.path().join("acme")).unwrap();
    };
    let (asked_at, ()) = tokio::join!(house.live(&["a.test"], 600, vec![Ok(first.clone())]), free);
    assert_eq!(asked_at, [0]);
    assert!(house.keeps(&first));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_near_its_end_already_is_not_ordered_in_a_circle() {
    let house = House::new();
    let old = issued(&["a.test"], (1, 1), (1, 2));
    let asked_at = house.live(&["a.test"], 2 * DAY, (0..100).map(|_| Ok(old.clone())).collect()).await;
    // Fine until a third is left; then each comes back as if it were a failure.
    assert_eq!(asked_at[..4], [0, 16 * 3600, 16 * 3600 + 60, 16 * 3600 + 180]);
    assert!(asked_at.len() < 20, "{asked_at:?}");
}

#[tokio::test(start_paused = true)]
async fn bug_an_order_that_panics_is_a_failure_and_tried_again() {
    let house = House::new();
    house.script.panics.store(true, Ordering::SeqCst);
    let first = issued(&["a.test"], (1, 1), (4, 1));
    assert_eq!(house.live(&["a.test"], DAY, vec![Ok(first.clone())]).await, [0, 60]);
    assert!(house.shows(&first));
}

#[tokio::test(start_paused = true)]
async fn bug_a_kept_certificate_is_shown_when_the_clock_has_come_right() {
    let house = House::new();
    let kept = issued(&["a.test"], (1, 2), (4, 1));
    house.keep(&kept);
    let refusals = (0..20).map(|_| Err(refusal(None))).collect();
    house.live(&["a.test"], DAY + 60, refusals).await;
    assert!(house.shows(&kept));
}

#[tokio::test(start_paused = true)]
async fn bug_what_is_kept_is_shown_before_anything_is_awaited() {
    let house = House::new();
    let kept = issued(&["a.test"], (1, 1), (4, 1));
    house.keep(&kept);
    let settings = super::super::Settings {
        domains: vec!["a.test".to_string()],
        email: None,
        directory: "https://ca.test/directory".to_string(),
        ca_file: None,
        retry: Retry::default(),
    };
    let (identity, clock) = (Arc::clone(&house.identity), Arc::new(Wall(house.script.began)));
    let care = super::super::keep_renewed(settings, house.data.path(), identity, clock, Arc::new(NoSpread));
    assert!(house.shows(&kept));
    drop(care);
}
