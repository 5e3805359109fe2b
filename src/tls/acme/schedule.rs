//! When a certificate is renewed and when a failed order is tried again. Never: waiting.

use std::time::Duration;

use crate::tls::Certificate;
use crate::types::{Random, Timestamp};

use super::Retry;

/// The longest that a CA's `Retry-After` is heeded: whoever asks once a day is no burden.
const ASKED_MAX: Duration = Duration::from_secs(24 * 3600);

/// When it is to be renewed: a third of its lifetime before its end.
pub(super) fn due(certificate: &Certificate) -> Timestamp {
    let lifetime = certificate.not_after().since(certificate.not_before());
    certificate.not_before().after(lifetime - lifetime / 3)
}

/// Whether clients take it at `now`.
pub(super) fn is_valid(certificate: &Certificate, now: Timestamp) -> bool {
    certificate.not_before() <= now && now < certificate.not_after()
}

/// How long to wait after so many failures in a row: three to four quarters of a time that doubles, so that servers
/// that failed together do not come back together; never shorter than the CA asked for.
pub(super) fn pause(retry: Retry, failures: u32, asked: Option<Duration>, random: &dyn Random) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let whole = retry.first.saturating_mul(1 << doublings).min(retry.most);
    let own = whole - (whole / 4).mul_f64(fraction(random));
    asked.map_or(own, |asked| own.max(asked.min(ASKED_MAX)))
}

/// From 0 to 1; 0 when the random source fails, which costs only the spread.
fn fraction(random: &dyn Random) -> f64 {
    let mut bytes = [0; 4];
    let drawn = random.fill(&mut bytes).map_or(0, |()| u32::from_le_bytes(bytes));
    f64::from(drawn) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::RandomUnavailable;

    struct Always(u8);

    impl Random for Always {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    struct Broken;

    impl Random for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomUnavailable> {
            Err(RandomUnavailable)
        }
    }

    #[test]
    fn waits_double_from_a_minute_to_six_hours_and_are_spread() {
        let seconds =
            |failures, random: &dyn Random| pause(Retry::default(), failures, None, random).as_secs();
        let whole: Vec<u64> = (1..=11).map(|failures| seconds(failures, &Always(0))).collect();
        assert_eq!(whole, [60, 120, 240, 480, 960, 1920, 3840, 7680, 15_360, 21_600, 21_600]);
        let least: Vec<u64> = (1..=3).map(|failures| seconds(failures, &Always(255))).collect();
        assert_eq!(least, [45, 90, 180]);
        assert!((46..60).contains(&seconds(1, &Always(127))));
        assert_eq!(seconds(u32::MAX, &Broken), 21_600);
    }

    #[test]
    fn nobody_comes_back_before_the_ca_asked_and_nobody_waits_longer_than_a_day_for_it() {
        let hours = |asked: u64| {
            let asked = Some(Duration::from_secs(asked * 3600));
            pause(Retry::default(), 1, asked, &Always(0)).as_secs()
        };
        assert_eq!(hours(2), 7200);
        assert_eq!(hours(1000), 24 * 3600);
        assert_eq!(hours(0), 60);
    }

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_time_is_left() {
        let mut params = rcgen::CertificateParams::new(["a.test".to_string()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 4, 1));
        let key = rcgen::KeyPair::generate().unwrap();
        let (chain, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let certificate =
            Certificate::from_pem(("chain", chain.as_bytes()), ("key", key.as_bytes())).unwrap();
        assert_eq!(due(&certificate).to_string(), "2026-03-02T00:00:00.000Z");
        let at = |text: &str| is_valid(&certificate, text.parse().unwrap());
        assert!(at("2026-01-01T00:00:00Z") && at("2026-03-31T23:59:59Z"));
        assert!(!at("2025-12-31T23:59:59Z") && !at("2026-04-01T00:00:00Z"));
    }
}
