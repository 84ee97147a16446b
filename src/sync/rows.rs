//! Rows: what an announcement or a question is made of, packed without a byte too many.
//!
//! A head's row is the first bytes of its host's id, its epoch and its sequence (LEB128, shortest form only);
//! how many bytes of the ids, all rows of a message have in common, and its first byte says: as few as tell
//! these hosts from all others that the sender knows, two most often, eight at most. An epoch that all have in
//! common stands before them, once. Any other entry's row,
//! and a facet's, is the first half of its id. A prefix that two hosts share costs an answer too many and
//! nothing else. Reading makes no more rows than there are bytes for, and no bytes make it panic.

use crate::{identity::HostId, wire::Bytes};

/// Rows of either kind in one message.
pub const ROWS_MAX: usize = 2048;
/// A short prefix and a number.
const HEAD_ROW_BYTES_MIN: usize = 3;
/// Fewest bytes of an id that stand for a host: not every row is to mean many of them.
pub(super) const WIDTH_MIN: usize = 2;
/// The bit of the first byte that says that the rows have one epoch.
const ONE_EPOCH: u8 = 0x80;
/// Bytes of a prefix that is not cut short.
pub(super) const WIDTH_MAX: usize = 8;

/// The first bytes of a host's id.
pub(super) type Prefix = [u8; 8];
/// The first half of an entry's id, or of a facet's hash.
pub(super) type Half = [u8; 16];

/// Why bytes are no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what should be rows is cut short, too long or not in its shortest form")]
pub struct NoRows;

/// A host's head, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadRow {
    /// Of the host's id.
    pub host: Prefix,
    /// The head's epoch.
    pub epoch: u32,
    /// The head's sequence.
    pub sequence: u64,
}

/// The prefix that stands for a host.
pub fn prefix(host: &HostId) -> Prefix {
    host.0.first_chunk().copied().unwrap_or_default()
}

/// Packs rows of heads, with so many bytes of the hosts' ids: two to eight.
pub fn pack_heads(rows: &[HeadRow], width: usize) -> Bytes {
    let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
    let mut bytes = Vec::with_capacity(1 + rows.len() * (width + 3));
    let Some(first) = rows.first() else { return Bytes::default() };
    let one = rows.iter().all(|row| row.epoch == first.epoch);
    bytes.extend(u8::try_from(width).map(|width| if one { width | ONE_EPOCH } else { width }));
    if one {
        put(&mut bytes, u64::from(first.epoch));
    }
    for row in rows {
        bytes.extend(row.host.iter().take(width));
        if !one {
            put(&mut bytes, u64::from(row.epoch));
        }
        put(&mut bytes, row.sequence);
    }
    Bytes(bytes)
}

/// Reads rows of heads. How many bytes of the ids they had; the others are zeros.
///
/// # Errors
/// When they are none, or too many.
pub fn unpack_heads(bytes: &Bytes) -> Result<(usize, Vec<HeadRow>), NoRows> {
    let Some((width, mut rest)) = bytes.0.split_first() else { return Ok((WIDTH_MAX, Vec::new())) };
    let has_one = width & ONE_EPOCH != 0;
    let width = usize::from(width & !ONE_EPOCH);
    let epoch = |rest: &mut &[u8]| u32::try_from(take(rest).ok_or(NoRows)?).map_err(|_| NoRows);
    let one = if has_one { Some(epoch(&mut rest)?) } else { None };
    if !(WIDTH_MIN..=WIDTH_MAX).contains(&width) || rest.is_empty() {
        return Err(NoRows);
    }
    let mut rows = Vec::with_capacity((rest.len() / HEAD_ROW_BYTES_MIN).min(ROWS_MAX));
    while let Some((start, after)) = rest.split_at_checked(width) {
        if start.is_empty() || after.is_empty() {
            break;
        }
        rest = after;
        let mut host = Prefix::default();
        host.iter_mut().zip(start).for_each(|(byte, known)| *byte = *known);
        let epoch = one.map_or_else(|| epoch(&mut rest), Ok)?;
        let sequence = take(&mut rest).ok_or(NoRows)?;
        if rows.len() == ROWS_MAX {
            return Err(NoRows);
        }
        rows.push(HeadRow { host, epoch, sequence });
    }
    // One encoding each.
    let are_one = rows.windows(2).all(|pair| matches!(pair, [a, b] if a.epoch == b.epoch));
    if rest.is_empty() && are_one == has_one { Ok((width, rows)) } else { Err(NoRows) }
}

/// Packs halves.
pub fn pack_halves(halves: &[Half]) -> Bytes {
    Bytes(halves.concat())
}

/// Reads halves.
///
/// # Errors
/// When they are none, or too many.
pub fn unpack_halves(bytes: &Bytes) -> Result<Vec<Half>, NoRows> {
    let (halves, rest) = bytes.0.as_chunks::<16>();
    if rest.is_empty() && halves.len() <= ROWS_MAX { Ok(halves.to_vec()) } else { Err(NoRows) }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(first & 0x7f);
        if (low << shift) >> shift != low || (*first == 0 && shift > 0) {
            return None;
        }
        number |= low << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of bytes that lean towards what varints are made of.
    fn noise(seed: u64) -> impl FnMut() -> u8 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 5 {
                0 => 0,
                1 => 0x80,
                2 => 0xff,
                _ => state.to_be_bytes()[2],
            }
        }
    }

    #[test]
    fn rows_come_back_as_they_were_and_take_little() {
        let sizes = [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 63, u64::MAX];
        let rows: Vec<HeadRow> = sizes
            .iter()
            .map(|n| HeadRow {
                host: n.to_le_bytes(),
                epoch: u32::try_from(*n).unwrap_or(u32::MAX),
                sequence: *n,
            })
            .collect();
        let packed = pack_heads(&rows, 8);
        assert_eq!(unpack_heads(&packed).unwrap(), (8, rows.clone()));
        let short = unpack_heads(&pack_heads(&rows, 2)).unwrap();
        assert_eq!((short.0, short.1[6].sequence), (2, rows[6].sequence));
        assert_eq!(pack_heads(&[rows[0]; 10], 2).0.len(), 2 + 10 * 3, "an epoch once");
        assert_eq!(short.1[8].host, [255, 255, 0, 0, 0, 0, 0, 0], "the first two bytes");
        for (width, length) in [(8, 11), (2, 5)] {
            let one = pack_heads(&rows[..1], width).0;
            assert_eq!(one.len(), length);
            for cut in 1..length {
                assert!(unpack_heads(&Bytes(one[..cut].to_vec())).is_err(), "{cut} of {width}");
            }
        }
        for width in [0, 1, 9, 127, 255] {
            assert!(unpack_heads(&Bytes(vec![width, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])).is_err(), "{width}");
        }
        let halves = [[1; 16], [2; 16]];
        assert_eq!(unpack_halves(&pack_halves(&halves)).unwrap(), halves);
        assert!(unpack_halves(&Bytes(vec![0; 17])).is_err());
    }

    #[test]
    fn whatever_is_read_as_rows_is_what_those_rows_pack_to_and_never_more_than_there_are_bytes_for() {
        let mut read = 0;
        for seed in 0..20_000 {
            let mut next = noise(seed);
            let length = usize::from(next()) % 48;
            let mut bytes = Bytes((0..length).map(|_| next()).collect());
            if let Some(width) = bytes.0.first_mut().filter(|_| seed % 8 > 0) {
                *width = (*width % 7 + 2) | if seed % 2 == 0 { ONE_EPOCH } else { 0 };
            }
            if let Ok((width, rows)) = unpack_heads(&bytes) {
                assert!(rows.len() * (width + 1) <= bytes.0.len(), "{bytes:?}");
                assert_eq!(pack_heads(&rows, width), bytes, "one encoding each, seed {seed}");
                read += usize::from(!rows.is_empty());
            }
            if let Ok(halves) = unpack_halves(&bytes) {
                assert_eq!(pack_halves(&halves), bytes);
            }
        }
        assert!(read > 100, "{read} of these were rows at all");
    }

    #[test]
    fn too_many_rows_are_none() {
        let row = HeadRow { host: [7; 8], epoch: 0, sequence: 1 };
        assert!(unpack_heads(&pack_heads(&vec![row; ROWS_MAX], 8)).is_ok());
        assert_eq!(unpack_heads(&pack_heads(&vec![row; ROWS_MAX + 1], 8)), Err(NoRows));
        assert_eq!(unpack_halves(&pack_halves(&vec![[0; 16]; ROWS_MAX + 1])), Err(NoRows));
    }
}
