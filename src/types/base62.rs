//! Random text of digits and letters, every character equally likely. Never: what it is for.

use zeroize::Zeroizing;

use super::{Random, RandomUnavailable};

/// The sixty-two digits, in the order of their bytes.
pub(super) const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Adds `length` random digits. Bytes of 248 and above are thrown away, since 62 does not divide 256.
pub(super) fn push_random(
    text: &mut String,
    length: usize,
    random: &dyn Random,
) -> Result<(), RandomUnavailable> {
    const FAIR: u8 = 248;
    let wanted = text.len() + length;
    // Grown, a text would leave a copy of its secret behind.
    text.reserve_exact(length);
    let mut pool = Zeroizing::new([0; 64]);
    while text.len() < wanted {
        random.fill(&mut pool[..])?;
        let missing = wanted - text.len();
        let fair = pool.iter().filter(|&&byte| byte < FAIR).take(missing);
        text.extend(fair.map(|byte| char::from(DIGITS[usize::from(byte % 62)])));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Gives these bytes, one after the other, then the first again; says how many it gave.
    struct Tape(Vec<u8>, Mutex<usize>);

    impl Random for Tape {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            let mut given = self.1.lock().unwrap();
            for byte in bytes {
                *byte = self.0[*given % self.0.len()];
                *given += 1;
            }
            Ok(())
        }
    }

    /// What is added to `start`, and how many random bytes that took.
    fn pushed(start: &str, length: usize, bytes: Vec<u8>) -> (String, usize) {
        let (mut text, tape) = (start.to_string(), Tape(bytes, Mutex::new(0)));
        push_random(&mut text, length, &tape).unwrap();
        (text.strip_prefix(start).unwrap().to_string(), tape.1.into_inner().unwrap())
    }

    #[test]
    fn every_digit_is_equally_likely() {
        let (text, taken) = pushed("", 248, (0..=255).collect());
        for digit in DIGITS {
            assert_eq!(text.bytes().filter(|byte| byte == digit).count(), 4, "{}", char::from(*digit));
        }
        assert_eq!(taken, 256);
        assert_eq!(pushed("", 4, vec![247, 248, 255, 0, 61, 62]).0, "z0z0");
    }

    #[test]
    fn so_many_are_added_as_are_asked_for_and_no_random_byte_is_wasted() {
        let digits = |range: std::ops::Range<usize>| -> String {
            range.map(|number| char::from(DIGITS[number % 62])).collect()
        };
        for (start, length) in [("", 0), ("", 1), ("ember_key_", 32), ("ab", 64), ("ab", 65), ("abc", 200)] {
            let (text, taken) = pushed(start, length, (0..248).collect());
            assert_eq!((text, taken), (digits(0..length), length.div_ceil(64) * 64), "{start} {length}");
        }
    }
}
