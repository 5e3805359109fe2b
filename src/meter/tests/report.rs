//! Records are added up by what was asked for, each once, at today's prices.

use super::*;
use crate::types::ModelPrice;

/// Two models on two servers, in three hours over two days.
fn house() -> House {
    let house = House::new();
    house.clock.0.store(22 * 3_600_000, Ordering::SeqCst);
    for (account, key, model, upstream) in
        [(1, 1, "a", "u"), (1, 2, "b", "u"), (2, 3, "a", "v"), (2, 3, "a", "v")]
    {
        let used = Use {
            key: key_id(key),
            model: Some(model.into()),
            upstream: Some(upstream.into()),
            ..used(account)
        };
        house.meter.record(used);
        house.wait(HOUR);
    }
    house
}

fn lines(house: &House, ask: &Ask) -> Vec<(i64, String, u64)> {
    let report = house.meter.report(ask, &Prices::default()).unwrap();
    let sum: u64 = report.lines.iter().map(|line| line.figures.requests).sum();
    assert_eq!(report.total.figures.requests, sum);
    let name = |line: &ReportLine| match (line.key, line.account) {
        (Some(key), _) => key.to_string(),
        (None, Some(account)) => account.to_string(),
        (None, None) => line.name.as_deref().unwrap_or("-").to_string(),
    };
    let hour = |line: &ReportLine| line.start.map_or(-1, |start| start.as_millis() / 3_600_000);
    report.lines.iter().map(|line| (hour(line), name(line), line.figures.requests)).collect()
}

#[test]
fn by_each_of_what_records_have() {
    for is_flushed in [false, true] {
        let house = house();
        if is_flushed {
            house.meter.flush().unwrap();
        }
        let of = |name: &str, requests| (-1, name.to_string(), requests);
        let [one, two] = [1, 2].map(|account| account_id(account).to_string());
        let [first, second, third] = [1, 2, 3].map(|key| key_id(key).to_string());
        for (group, wanted) in [
            (Group::Key, vec![of(&third, 2), of(&first, 1), of(&second, 1)]),
            (Group::Account, vec![of(&one, 2), of(&two, 2)]),
            (Group::Model, vec![of("a", 3), of("b", 1)]),
            (Group::Upstream, vec![of("u", 2), of("v", 2)]),
        ] {
            assert_eq!(lines(&house, &ask(Some(group), None)), wanted, "{group:?}");
        }
        let days = [(0, "-".to_string(), 2), (24, "-".to_string(), 2)];
        assert_eq!(lines(&house, &ask(None, Some(Step::Day))), days);
        let hours = [(22, "a", 1), (23, "b", 1), (24, "a", 1), (25, "a", 1)];
        let hours = hours.map(|(hour, model, requests)| (hour, model.to_string(), requests));
        assert_eq!(lines(&house, &ask(Some(Group::Model), Some(Step::Hour))), hours);
    }
}

#[test]
fn of_one_account_of_one_key_and_of_a_part_of_the_time() {
    let house = house();
    for flushes in 0..2 {
        let of_account = Ask { account: Some(account_id(1)), ..ask(Some(Group::Model), None) };
        assert_eq!(lines(&house, &of_account), [(-1, "a".to_string(), 1), (-1, "b".to_string(), 1)]);
        let of_key = Ask { key: Some(key_id(2)), ..of_account };
        assert_eq!(lines(&house, &of_key), [(-1, "b".to_string(), 1)]);
        let hour = |number: i64| Timestamp::from_millis(number * 3_600_000);
        let part = Ask { from: hour(23), until: hour(25), ..ask(None, None) };
        assert_eq!(lines(&house, &part), [(-1, "-".to_string(), 2)], "{flushes}");
        let none = Ask { from: hour(25), until: hour(25), ..ask(None, None) };
        assert_eq!(lines(&house, &none), []);
        house.meter.flush().unwrap();
    }
}

#[test]
fn tokens_cost_what_their_model_costs() {
    let house = house();
    let price = ModelPrice { prompt: "1000000".parse().unwrap(), ..ModelPrice::default() };
    let prices = Prices { models: [("b".parse().unwrap(), price)].into(), currency: None };
    let report = house.meter.report(&ask(Some(Group::Model), None), &prices).unwrap();
    let costs: Vec<_> = report.lines.iter().map(|line| line.cost.map(|cost| cost.to_string())).collect();
    // Of the one token of the prompt, all is cached, which costs nothing here.
    assert_eq!(
        (costs, report.total.cost.map(|cost| cost.to_string())),
        (vec![None, Some("0".into())], Some("0".into()))
    );
    let price = ModelPrice { completion: "0.5".parse().unwrap(), ..price };
    let prices = Prices { models: [("a".parse().unwrap(), price)].into(), currency: None };
    let report = house.meter.report(&ask(Some(Group::Key), None), &prices).unwrap();
    let costs: Vec<_> = report.lines.iter().map(|line| line.cost.map(|cost| cost.to_string())).collect();
    assert_eq!(costs, [Some("0.000002".to_string()), Some("0.000001".to_string()), None]);
}

#[test]
fn more_lines_than_fit_are_refused_with_what_to_do() {
    let house = House::new();
    (0..u32::try_from(crate::meter::report::LINES_MAX).unwrap() + 1)
        .for_each(|account| house.record(account));
    let refused = house.meter.report(&ask(Some(Group::Key), None), &Prices::default());
    assert_eq!(refused, Err(ReportError::TooMuch("20,000 lines")));
    assert!(house.meter.report(&ask(Some(Group::Model), None), &Prices::default()).is_ok());
}
