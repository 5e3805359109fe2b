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
