//! Reads bytes piece by piece and finds the secrets in them, with line and column. Never: where the bytes come from.

use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::types::Sighting;

/// Bytes looked at at once.
const PIECE_BYTES: usize = 256 * 1024;
/// A secret that begins in the last bytes of a piece may end in the next.
const OVERLAP_BYTES: usize = Sighting::BYTES_MAX - 1;

/// Where a secret begins: its line, and its byte in the line, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Spot {
    const START: Self = Self { line: 1, column: 1 };

    /// Where one is behind these bytes.
    fn after(self, bytes: &[u8]) -> Self {
        match memchr::memrchr(b'\n', bytes) {
            None => Self { column: self.column + bytes.len() as u64, ..self },
            Some(last) => {
                let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
                Self { line: self.line + lines, column: (bytes.len() - last) as u64 }
            }
        }
    }
}

/// The one piece that is in memory; wiped at the end.
pub(super) struct Sieve(Zeroizing<Vec<u8>>);

impl Sieve {
    pub(super) fn new() -> Self {
        Self::with_piece(PIECE_BYTES)
    }

    fn with_piece(bytes: usize) -> Self {
        Self(Zeroizing::new(vec![0; bytes + OVERLAP_BYTES]))
    }

    /// Reads to the end and hands out every secret, whatever the pieces are. The result is how many bytes there were.
    ///
    /// # Errors
    /// What reading them says; what was found before that was handed out.
    pub(super) fn sift(
        &mut self,
        from: &mut dyn Read,
        found: &mut dyn FnMut(Spot, Sighting),
    ) -> io::Result<u64> {
        let piece = &mut self.0;
        let (mut spot, mut kept, mut total) = (Spot::START, 0, 0);
        loop {
            let length = match from.read(&mut piece[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            total += length as u64;
            let filled = kept + length;
            // What begins behind `end` is found again, whole, with the next piece.
            let end = if length == 0 { filled } else { filled.saturating_sub(OVERLAP_BYTES) };
            for seen in Sighting::all_in(&piece[..filled]).take_while(|seen| seen.start < end) {
                found(spot.after(&piece[..seen.start]), seen);
            }
            if length == 0 {
                return Ok(total);
            }
            spot = spot.after(&piece[..end]);
            piece.copy_within(end..filled, 0);
            kept = filled - end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Environment, Key, Random, RandomUnavailable};
    use proptest::prelude::*;

    struct Same(u8);
    impl Random for Same {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    fn key(byte: u8) -> String {
        Key::generate(Environment::Prod, &Same(byte)).unwrap().expose().to_string()
    }

    /// Gives so many bytes at a time.
    struct Drops<'a>(&'a [u8], usize);
    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(into.len()).min(self.0.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn sifted(bytes: &[u8], piece: usize, drops: usize) -> Vec<(u64, u64, String)> {
        let mut found = Vec::new();
        let mut sieve = Sieve::with_piece(piece);
        let total = sieve.sift(&mut Drops(bytes, drops), &mut |spot, seen| {
            found.push((spot.line, spot.column, seen.mark));
        });
        assert_eq!(total.unwrap(), bytes.len() as u64);
        found
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            gaps in proptest::collection::vec("[a\n\u{0}_]{0,150}", 1..6), piece in 1_usize..200, drops in 1_usize..200
        ) {
            let (mut text, mut wanted) = (String::new(), Vec::new());
            for (number, gap) in gaps.iter().enumerate() {
                text.push_str(gap);
                let line = text.matches('\n').count() as u64 + 1;
                let column = text.len() - text.rfind('\n').map_or(0, |at| at + 1) + 1;
                let key = key(number as u8);
                wanted.push((line, column as u64, format!("ember_prod_...{}", &key[key.len() - 4..])));
                text.push_str(&key);
            }
            prop_assert_eq!(sifted(text.as_bytes(), piece, drops), wanted);
        }
    }

    #[test]
    fn an_error_comes_after_what_was_found() {
        struct Breaks(Option<Vec<u8>>);
        impl Read for Breaks {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let bytes = self.0.take().ok_or(io::ErrorKind::ConnectionReset)?;
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
        let bytes = format!("{}\n{}", key(1), "x".repeat(100)).into_bytes();
        let mut found = 0;
        let error = Sieve::new().sift(&mut Breaks(Some(bytes)), &mut |_, _| found += 1).unwrap_err();
        assert_eq!((error.kind(), found), (io::ErrorKind::ConnectionReset, 1));
    }
}
