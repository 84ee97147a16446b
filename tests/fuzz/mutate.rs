//! Inputs from inputs: a few small changes of bytes, or a part of one in the place of a part of another.

use crate::chance::Chance;

/// Bytes at which programs turn: ends of ranges, marks, and first bytes of CBOR's items.
const BYTES: &[u8] = &[
    0, 1, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x40, 0x58, 0x5a, 0x5b, 0x5f, 0x60, 0x7f, 0x80, 0x9a, 0x9b,
    0x9f, 0xa0, 0xbb, 0xbf, 0xc0, 0xe2, 0xf4, 0xf6, 0xf9, 0xfb, 0xff, b'\n', b'"', b'\\', b'(', b')', b'[',
    b',', b'=', b'.',
];
const CHANGES_MAX: usize = 6;

/// Changes `input`, with `other` to take parts from and `words` to put in; at most `bytes_max` long.
pub(crate) fn mutated(
    chance: &mut Chance,
    input: &[u8],
    other: &[u8],
    words: &[&[u8]],
    bytes_max: usize,
) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=chance.below(CHANGES_MAX) {
        change(chance, &mut bytes, other, words);
    }
    bytes.truncate(bytes_max);
    bytes
}

fn change(chance: &mut Chance, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let part = part_of(chance, bytes.len());
    match chance.below(12) {
        0 if !part.is_empty() => bytes[part.start] ^= 1 << chance.below(8),
        1 if !part.is_empty() => bytes[part.start] = chance.one(BYTES),
        2 if !part.is_empty() => {
            bytes[part.start] = bytes[part.start].wrapping_add(chance.one(&[1, 2, 0xff, 0xfe, 0x20, 0x80]));
        }
        3 => bytes.insert(part.start, chance.one(BYTES)),
        4 => drop(bytes.drain(part)),
        5 => bytes.truncate(part.start),
        6 => {
            let again = bytes[part.clone()].repeat(1 + chance.below(4));
            drop(bytes.splice(part.end..part.end, again));
        }
        7 => {
            // A length, or any number: as large as it gets.
            let size = chance.one(&[1_usize, 2, 4, 8]);
            let end = bytes.len().min(part.start + size);
            let fill = chance.one(&[0_u8, 0x7f, 0x80, 0xff]);
            bytes[part.start..end].fill(fill);
        }
        8 if !words.is_empty() => {
            let word = chance.one(words);
            let end = if chance.once_in(2) { part.start } else { part.end };
            drop(bytes.splice(part.start..end, word.iter().copied()));
        }
        _ => {
            let from = part_of(chance, other.len());
            drop(bytes.splice(part, other[from].iter().copied()));
        }
    }
}

/// A part of `length` bytes: mostly a short one.
fn part_of(chance: &mut Chance, length: usize) -> std::ops::Range<usize> {
    let start = chance.below(length + 1);
    let most = if chance.once_in(4) { length } else { 8 };
    start..length.min(start + chance.below(most + 1))
}

/// The shortest input found that still `fails`: whole parts go first, then single bytes; then what is left is made
/// plain.
pub(crate) fn minimised(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut size = best.len().div_ceil(2).max(1);
    loop {
        let (before, mut at) = (best.len(), 0);
        while at < best.len() {
            let mut less = best.clone();
            drop(less.drain(at..best.len().min(at + size)));
            if fails(&less) {
                best = less;
            } else {
                at += size;
            }
        }
        if size == 1 && best.len() == before {
            break;
        }
        size = (size / 2).max(1);
    }
    for at in 0..best.len() {
        let mut plain = best.clone();
        plain[at] = b'a';
        if best[at] != b'a' && fails(&plain) {
            best = plain;
        }
    }
    best
}
