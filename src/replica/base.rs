//! Which facet another is packed against: the one with most rows in common.
//!
//! Every host chooses among what its own replica holds alone; hosts of one image so find one base without a
//! coordinator (`REPLICATION.md`, section 3.1). Likeness is estimated by the lowest of eight hashes over all
//! rows (`MinHash`, A. Broder 1997); then the smallest result wins.

use super::{FacetHalf, Packed, Tables};

/// Bases that are tried.
pub(super) const BASES_TRIED_MAX: usize = 8;
/// A facet of more rows is no base: hashing them all takes long, and whoever merges waits for it.
const ROWS_MAX: usize = 64 * 1024;
/// A table of at most so many rows is compared cell by cell: its rows hold what is each host's own.
const SMALL_TABLE_ROWS: usize = 4;
/// Below this size alone, a difference need only be smaller by a third: a further base would serve nobody.
const SMALL_BYTES: usize = 2 * 1024;

/// The lowest hashes over a facet's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sketch([u32; 8]);

impl Sketch {
    /// The sketch of a facet that holds tables, with rows.
    pub(super) fn of(canonical: &[u8]) -> Option<Self> {
        let tables = Tables::read(canonical).ok()?;
        if tables.tables.iter().map(|table| table.rows.len()).sum::<usize>() > ROWS_MAX {
            return None;
        }
        let mut lowest = Self([u32::MAX; 8]);
        let mut any = false;
        for table in &tables.tables {
            for row in &table.rows {
                any = true;
                if table.rows.len() <= SMALL_TABLE_ROWS {
                    for (column, cell) in table.columns.iter().zip(row) {
                        lowest.take(&[&table.name, column, cell]);
                    }
                } else {
                    let cells: Vec<&String> = std::iter::once(&table.name).chain(row).collect();
                    lowest.take(&cells);
                }
            }
        }
        any.then_some(lowest)
    }

    fn take(&mut self, words: &[&String]) {
        let mut hasher = blake3::Hasher::new();
        for word in words {
            hasher.update(word.as_bytes()).update(&[0]);
        }
        let hash = hasher.finalize();
        for (lowest, bytes) in self.0.iter_mut().zip(hash.as_bytes().chunks_exact(4)) {
            let mut four = [0; 4];
            four.copy_from_slice(bytes);
            *lowest = (*lowest).min(u32::from_le_bytes(four));
        }
    }

    /// In how many of the eight they agree.
    pub(super) fn likeness(&self, other: &Self) -> usize {
        self.0.iter().zip(other.0).filter(|(one, other)| **one == *other).count()
    }
}

/// A facet to pack another against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Which.
    pub half: FacetHalf,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// Packs canonical bytes against that base which makes them smallest; alone if none helps much, so that they
/// become a base for others. Takes some milliseconds a base: not for a short lock.
pub fn choose_base(canonical: &[u8], bases: &[Base]) -> Packed {
    let alone = Packed::alone(canonical);
    let patches = bases.iter().take(BASES_TRIED_MAX);
    let patches = patches.filter_map(|base| Packed::against(canonical, base.half, &base.bytes));
    let Some(best) = patches.min_by_key(Packed::weight) else { return alone };
    let (patch, plain) = (best.weight(), alone.weight());
    let helps = patch * 4 <= plain || (plain <= SMALL_BYTES && patch * 3 <= plain * 2);
    if helps { best } else { alone }
}
