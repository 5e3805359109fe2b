//! Each pass is counted once, however its request ends.

use super::*;
use crate::meter::{Ask, Course, Sums, Totals};
use crate::types::{Ending, Prices, Tokens};

fn pass(hall: &Hall) -> Pass {
    let (_, key) = hall.key();
    hall.admit(&key).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

fn tokens(prompt: u64, completion: u64, cached: u64) -> Tokens {
    Tokens { prompt, completion, cached }
}

#[test]
fn a_pass_is_counted_once_with_its_first_word() {
    for (words, expected) in [
        (vec![], (1, 1, Tokens::default())),
        (vec![(None, Ending::Done)], (1, 0, Tokens::default())),
        (vec![(Some(tokens(5, 7, 1)), Ending::Done)], (1, 0, tokens(5, 7, 1))),
        (vec![(Some(tokens(5, 7, 1)), Ending::Cut)], (1, 1, tokens(5, 7, 1))),
        (
            vec![(Some(tokens(5, 7, 1)), Ending::Done), (Some(tokens(9, 9, 9)), Ending::Cut)],
            (1, 0, tokens(5, 7, 1)),
        ),
        (vec![(None, Ending::ServerDied), (None, Ending::Done)], (1, 1, Tokens::default())),
    ] {
        let hall = Hall::new();
        let mut pass = pass(&hall);
        words.iter().for_each(|(tokens, ending)| pass.settle(*tokens, *ending));
        drop(pass);
        let (requests, unfinished, tokens) = expected;
        assert_eq!(hall.meter.totals(), Totals { requests, unfinished, tokens }, "{words:?}");
    }
}

#[test]
fn a_pass_counts_for_its_key_and_its_account() {
    let hall = Hall::new();
    let ((record, key), (other, _)) = (hall.key(), hall.key());
    hall.admit(&key)
        .unwrap_or_else(|refusal| panic!("{refusal:?}"))
        .settle(Some(tokens(5, 7, 1)), Ending::Cut);
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let sums = Sums { requests: 1, tokens: tokens(5, 7, 1) };
    assert_eq!(hall.meter.sums(Some(record.account), day), Ok(sums));
    assert_eq!(hall.meter.sums(Some(other.account), day), Ok(Sums::default()));
    assert_eq!(hall.meter.last_used(record.account, record.id), Ok(Some(NOW)));
    assert_eq!(hall.meter.last_used(other.account, other.id), Ok(None));
}

#[test]
fn how_a_request_went_is_counted_with_it() {
    let hall = Hall::new();
    let mut pass = pass(&hall);
    let (first_token, duration) = (Some(Duration::from_millis(3)), Duration::from_millis(7));
    pass.went(Course { first_token, duration, ..Course::default() });
    pass.settle(None, Ending::Done);
    let until = NOW.after(Duration::from_secs(60 * 60));
    let ask = Ask { account: None, key: None, from: NOW, until, group: None, step: None };
    let figures = hall.meter.report(&ask, &Prices::default()).unwrap().total.figures;
    assert_eq!((figures.requests, figures.first_token_ms, figures.duration_ms), (1, 3, 7));
}

#[test]
fn refused_requests_and_mere_callers_are_not_counted() {
    let hall = Hall::new();
    let (record, key) = hall.draft();
    hall.commit(&only(&record, &["x"]));
    assert_eq!(refusal(hall.admit(&key)), Refusal::ModelNotAllowed);
    drop(hall.identify(&key));
    assert_eq!(hall.meter.totals(), Totals::default());
}

#[test]
fn passes_of_many_threads_add_up() {
    let hall = Hall::new();
    let (_, key) = hall.key();
    // In memory from here on, so nobody waits for anybody's look-up.
    assert!(hall.identify(&key).is_ok());
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for n in 0..500 {
                    let mut pass = hall.admit(&key).unwrap_or_else(|refusal| panic!("{refusal:?}"));
                    if n % 2 == 0 {
                        pass.settle(Some(tokens(1, 2, 3)), Ending::Done);
                    }
                }
            });
        }
    });
    let expected = Totals { requests: 4000, unfinished: 2000, tokens: tokens(2000, 4000, 6000) };
    assert_eq!(hall.meter.totals(), expected);
}

#[test]
fn bug_a_server_that_claims_endless_tokens_does_not_break_the_counter() {
    let hall = Hall::new();
    for _ in 0..2 {
        pass(&hall).settle(Some(tokens(u64::MAX, u64::MAX, u64::MAX)), Ending::Done);
    }
    let totals = hall.meter.totals();
    assert_eq!((totals.requests, totals.tokens), (2, tokens(u64::MAX, u64::MAX, u64::MAX)));
}
