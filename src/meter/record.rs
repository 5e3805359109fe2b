//! The meter's tables and their bytes: a version, then postcard. A changed record gets a new version and the old one
//! stays readable here. Never: what is counted.

use serde::{Deserialize, Serialize};

use crate::store::{Table, Trouble};
use crate::types::{Ending, Timestamp, Tokens};

use super::figures::Figures;
use super::hour::Hour;
use super::line::{Line, Name, Owner};

/// Hour, owner, model, upstream -> figures; with the owner [`Owner::WHOLE`] the same of all owners together. Hours come
/// first, so that one flush writes rows that lie together and old ones are taken off one end.
pub(super) const USAGE: Table = Table("usage");
/// Owner -> when the key was last used, its figures since ever, and those of them that are in no record any more.
pub(super) const KEYS: Table = Table("usage_keys");
/// Account id (zeros for the whole server) -> its figures since ever, and those that are in no record any more.
pub(super) const ACCOUNTS: Table = Table("usage_accounts");
/// Number -> a request that was under way when it was last written down.
pub(super) const OPEN: Table = Table("usage_open");
/// One row: how many batches were written to the tables above.
pub(super) const USAGE_BATCHES: Table = Table("usage_batches");
/// The key of that row.
pub(super) const WRITTEN: &[u8] = b"written";

/// Key id -> when it was last used. Written before there was [`KEYS`]; read where that has no row.
pub(super) const LAST_USED: Table = Table("last_used");
/// Account id (zeros for the whole server) and hour -> sums. Written before there was [`USAGE`]; carried over.
pub(super) const USAGE_HOURS: Table = Table("usage_hours");

const VERSION_1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct LastUsedV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct SumsV1 {
    requests: u64,
    prompt: u64,
    completion: u64,
    cached: u64,
}

#[derive(Serialize, Deserialize)]
struct BatchesV1 {
    written: u64,
}

/// `endings` may be shorter or longer than today's list: an ending keeps its place.
#[derive(Serialize, Deserialize)]
struct FiguresV1 {
    requests: u64,
    prompt: u64,
    completion: u64,
    cached: u64,
    estimated: u64,
    errors: u64,
    client_errors: u64,
    server_errors: u64,
    endings: Vec<u64>,
    first_tokens: u64,
    first_token_ms: u64,
    duration_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct TallyV1 {
    at: i64,
    total: FiguresV1,
    removed: FiguresV1,
}

#[derive(Serialize, Deserialize)]
struct OpenV1 {
    account: [u8; 16],
    key: [u8; 16],
    model: Option<String>,
    upstream: Option<String>,
    began: i64,
    seen: i64,
    prompt: u64,
    completion: u64,
    cached: u64,
}

/// Counters of a key, an account or the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// When the last request ended.
    pub(super) at: Timestamp,
    /// Since ever.
    pub(super) total: Figures,
    /// What of it is in no record any more.
    pub(super) removed: Figures,
}

/// A request under way as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenRow {
    pub(super) owner: Owner,
    pub(super) model: Name,
    pub(super) upstream: Name,
    pub(super) began: Timestamp,
    /// When this was written down.
    pub(super) seen: Timestamp,
    pub(super) tokens: Tokens,
}

impl FiguresV1 {
    fn of(figures: &Figures) -> Self {
        let Tokens { prompt, completion, cached } = figures.tokens;
        Self {
            requests: figures.requests,
            prompt,
            completion,
            cached,
            estimated: figures.estimated,
            errors: figures.errors,
            client_errors: figures.client_errors,
            server_errors: figures.server_errors,
            endings: figures.endings.to_vec(),
            first_tokens: figures.first_tokens,
            first_token_ms: figures.first_token_ms,
            duration_ms: figures.duration_ms,
        }
    }

    fn read(self) -> Figures {
        let mut endings = [0; Ending::ALL.len()];
        for (one, stored) in endings.iter_mut().zip(self.endings) {
            *one = stored;
        }
        Figures {
            requests: self.requests,
            tokens: Tokens { prompt: self.prompt, completion: self.completion, cached: self.cached },
            estimated: self.estimated,
            errors: self.errors,
            client_errors: self.client_errors,
            server_errors: self.server_errors,
            endings,
            first_tokens: self.first_tokens,
            first_token_ms: self.first_token_ms,
            duration_ms: self.duration_ms,
        }
    }
}

/// The key of a line's row.
pub(super) fn line_key(line: &Line) -> Vec<u8> {
    let (model, upstream) = (name_bytes(&line.model), name_bytes(&line.upstream));
    // A model's name has 256 bytes at most.
    let length = u16::try_from(model.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&line.hour.to_bytes()[..], line.owner.as_bytes(), &length, model, upstream].concat()
}

/// The line that a row is about.
pub(super) fn read_line_key(bytes: &[u8]) -> Result<Line, Trouble> {
    let damaged = Trouble::Damaged { table: USAGE.0 };
    let parsed = || {
        let (hour, rest) = bytes.split_first_chunk::<4>()?;
        let (owner, rest) = rest.split_first_chunk::<32>()?;
        let (length, names) = rest.split_first_chunk::<2>()?;
        let (model, upstream) = names.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Line {
            hour: Hour::from_bytes(*hour),
            owner: Owner::from_bytes(owner)?,
            model: name(model)?,
            upstream: name(upstream)?,
        })
    };
    parsed().ok_or(damaged)
}

fn name_bytes(name: &Name) -> &[u8] {
    name.as_ref().map_or(&[], |name| name.as_bytes())
}

/// No name is empty.
fn name(bytes: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some((!text.is_empty()).then(|| text.into()))
}

pub(super) fn encode_figures(figures: &Figures) -> Vec<u8> {
    encode(&FiguresV1::of(figures))
}

pub(super) fn decode_figures(bytes: &[u8]) -> Result<Figures, Trouble> {
    decode::<FiguresV1>(USAGE, bytes).map(FiguresV1::read)
}

pub(super) fn encode_tally(tally: &Tally) -> Vec<u8> {
    let (total, removed) = (FiguresV1::of(&tally.total), FiguresV1::of(&tally.removed));
    encode(&TallyV1 { at: tally.at.as_millis(), total, removed })
}

pub(super) fn decode_tally(table: Table, bytes: &[u8]) -> Result<Tally, Trouble> {
    let TallyV1 { at, total, removed } = decode(table, bytes)?;
    Ok(Tally { at: Timestamp::from_millis(at), total: total.read(), removed: removed.read() })
}

pub(super) fn encode_open(row: &OpenRow) -> Vec<u8> {
    let (mut account, mut key) = ([0; 16], [0; 16]);
    account.copy_from_slice(&row.owner.as_bytes()[..16]);
    key.copy_from_slice(&row.owner.as_bytes()[16..]);
    encode(&OpenV1 {
        account,
        key,
        model: row.model.as_ref().map(ToString::to_string),
        upstream: row.upstream.as_ref().map(ToString::to_string),
        began: row.began.as_millis(),
        seen: row.seen.as_millis(),
        prompt: row.tokens.prompt,
        completion: row.tokens.completion,
        cached: row.tokens.cached,
    })
}

pub(super) fn decode_open(bytes: &[u8]) -> Result<OpenRow, Trouble> {
    let row: OpenV1 = decode(OPEN, bytes)?;
    let owner = Owner::from_bytes(&[row.account, row.key].concat());
    Ok(OpenRow {
        owner: owner.ok_or(Trouble::Damaged { table: OPEN.0 })?,
        model: row.model.map(Into::into),
        upstream: row.upstream.map(Into::into),
        began: Timestamp::from_millis(row.began),
        seen: Timestamp::from_millis(row.seen),
        tokens: Tokens { prompt: row.prompt, completion: row.completion, cached: row.cached },
    })
}

/// An hour's account and sums, as they were written before [`USAGE`].
pub(super) fn decode_old_hour(key: &[u8], value: &[u8]) -> Result<(Hour, [u8; 16], Figures), Trouble> {
    let damaged = Trouble::Damaged { table: USAGE_HOURS.0 };
    let (account, hour) = key.split_first_chunk::<16>().ok_or(damaged.clone())?;
    let hour = Hour::from_bytes(hour.try_into().map_err(|_| damaged)?);
    let SumsV1 { requests, prompt, completion, cached } = decode(USAGE_HOURS, value)?;
    let tokens = Tokens { prompt, completion, cached };
    Ok((hour, *account, Figures { requests, tokens, ..Figures::default() }))
}

pub(super) fn decode_last_used(bytes: &[u8]) -> Result<Timestamp, Trouble> {
    let record: LastUsedV1 = decode(LAST_USED, bytes)?;
    Ok(Timestamp::from_millis(record.at))
}

pub(super) fn encode_batches(written: u64) -> Vec<u8> {
    encode(&BatchesV1 { written })
}

pub(super) fn decode_batches(bytes: &[u8]) -> Result<u64, Trouble> {
    let record: BatchesV1 = decode(USAGE_BATCHES, bytes)?;
    Ok(record.written)
}

pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    encode_as(VERSION_1, record)
}

pub(super) fn decode<'a, T: Deserialize<'a>>(table: Table, bytes: &'a [u8]) -> Result<T, Trouble> {
    decode_as(VERSION_1, table, bytes)
}

pub(super) fn encode_as(version: u8, record: &impl Serialize) -> Vec<u8> {
    // Serialising plain data into memory has no way to fail; an empty record would be found as damaged.
    postcard::to_extend(record, vec![version]).unwrap_or_default()
}

pub(super) fn decode_as<'a, T: Deserialize<'a>>(
    version: u8,
    table: Table,
    bytes: &'a [u8],
) -> Result<T, Trouble> {
    let record = match bytes.split_first() {
        Some((found, body)) if *found == version => postcard::take_from_bytes(body).ok(),
        Some(_) | None => None,
    };
    match record {
        Some((record, [])) => Ok(record),
        Some(_) | None => Err(Trouble::Damaged { table: table.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_stays_readable() {
        let tokens = Tokens { prompt: 300, completion: 2, cached: u64::MAX };
        let bytes = [&[1, 1, 0xac, 2, 2][..], &[0xff; 9], &[1]].concat();
        let key = [&[7; 16][..], &[0, 0, 1, 2]].concat();
        let old = Figures { requests: 1, tokens, ..Figures::default() };
        assert_eq!(decode_old_hour(&key, &bytes), Ok((Hour::from_bytes([0, 0, 1, 2]), [7; 16], old)));
        assert_eq!(decode_last_used(&[1, 0xac, 2]), Ok(Timestamp::from_millis(150)));
        assert_eq!((decode_batches(&[1, 7]), encode_batches(7)), (Ok(7), vec![1, 7]));

        let figures = Figures {
            requests: 3,
            tokens: Tokens { prompt: 5, completion: 6, cached: 7 },
            estimated: 1,
            errors: 2,
            client_errors: 1,
            server_errors: 1,
            endings: [1, 0, 1, 0, 0, 0, 0, 1],
            first_tokens: 2,
            first_token_ms: 150,
            duration_ms: 9,
        };
        let of_figures = [3, 5, 6, 7, 1, 2, 1, 1, 8, 1, 0, 1, 0, 0, 0, 0, 1, 2, 0x96, 1, 9];
        let bytes = [&[1][..], &of_figures].concat();
        assert_eq!((decode_figures(&bytes), encode_figures(&figures)), (Ok(figures), bytes));
        let tally = Tally { at: Timestamp::from_millis(1), total: figures, removed: figures };
        let bytes = [&[1, 2][..], &of_figures, &of_figures].concat();
        assert_eq!((decode_tally(KEYS, &bytes), encode_tally(&tally)), (Ok(tally), bytes));
    }

    #[test]
    fn a_request_under_way_is_read_as_it_was_written() {
        let row = OpenRow {
            owner: Owner::from_bytes(&[[3; 16], [4; 16]].concat()).unwrap(),
            model: Some("m".into()),
            upstream: None,
            began: Timestamp::from_millis(1),
            seen: Timestamp::from_millis(2),
            tokens: Tokens { prompt: 5, completion: 6, cached: 7 },
        };
        let bytes = [&[1][..], &[3; 16], &[4; 16], &[1, 1, b'm', 0, 2, 4, 5, 6, 7]].concat();
        assert_eq!((decode_open(&bytes), encode_open(&row)), (Ok(row), bytes));
    }

    #[test]
    fn an_ending_that_is_not_known_yet_leaves_the_rest_readable() {
        let shorter = [1, 3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 9];
        let read = decode_figures(&shorter).unwrap();
        assert_eq!((read.ended(Ending::Refused), read.ended(Ending::Cut), read.duration_ms), (2, 0, 9));
    }

    #[test]
    fn a_line_goes_into_a_key_and_back() {
        let hour = Hour::from_bytes([0, 7, 1, 2]);
        let owner = Owner::from_bytes(&[9; 32]).unwrap();
        for (model, upstream) in
            [(None, None), (Some("m"), None), (None, Some("u")), (Some("org/é"), Some("u"))]
        {
            let line = Line { hour, owner, model: model.map(Into::into), upstream: upstream.map(Into::into) };
            assert_eq!(read_line_key(&line_key(&line)), Ok(line));
        }
        assert!(read_line_key(&[0; 38]).is_ok());
        for bad in
            [&[0; 37][..], &[[0; 36].as_slice(), &[0, 1]].concat(), &[[0; 38].as_slice(), &[0xff]].concat()]
        {
            assert_eq!(read_line_key(bad), Err(Trouble::Damaged { table: "usage" }));
        }
    }

    #[test]
    fn anything_else_is_damage() {
        let damaged = Err(Trouble::Damaged { table: "usage_batches" });
        for bytes in [&[][..], &[1], &[2, 7], &[1, 7, 0]] {
            assert_eq!(decode_batches(bytes), damaged, "{bytes:?}");
        }
    }
}
