//! The facets that are held: packed, each as often as heads name it and differences need it.
//!
//! Always holds: a facet is held exactly while a head names it or a held difference is to it; what a held
//! difference is to is held, and no difference itself; every one was unpacked and checked against its hash on
//! its way in. Which packing stands is nobody's business but this host's: the first that came, until another
//! facet needs it as base.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    FACET_BYTES_MAX, FacetHalf, FacetHash, FacetRef, PACKED_BYTES_MAX, Packed,
    base::{BASES_TRIED_MAX, Base, Sketch},
};
use crate::authority::Refusal;

/// Facets that come along with a head: those that it names, and a base for each.
const ALONG_MAX: usize = 64;
/// Bytes that are unpacked of what came along with one head: all that it may name, twice, and the bases of it.
const OPENED_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug)]
struct Kept {
    packed: Packed,
    length: usize,
    /// The whole hash of what it is a difference to.
    base: Option<FacetHash>,
    /// Heads that name it.
    heads: usize,
    /// Held differences to it.
    patches: usize,
    /// Of what could be a base.
    sketch: Option<Sketch>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Facets {
    held: BTreeMap<FacetHash, Kept>,
    /// Came, went or were packed anew since somebody asked.
    touched: BTreeSet<FacetHash>,
    /// Whether heads are taken without some of their facets, and nothing is ever dropped.
    partial: bool,
}

/// What came along, unpacked and hashed.
#[derive(Debug, Default)]
pub(super) struct Opened {
    found: BTreeMap<FacetHash, Kept>,
    /// Differences to what is not here.
    unopened: Vec<FacetHalf>,
    /// What it took, in bytes that were unpacked.
    work: usize,
}

impl Opened {
    pub(super) fn work(&self) -> usize {
        self.work
    }

    /// Unpacks one, unless that would be too much in all. What cannot be unpacked counts as if it were long.
    fn unpack(&mut self, packed: &Packed, limit: usize, prefix: &[u8]) -> Option<Vec<u8>> {
        if self.work >= OPENED_BYTES_MAX {
            return None;
        }
        let unpacked = packed.unpack_within(limit, prefix).ok();
        self.work += unpacked.as_ref().map_or(limit, Vec::len);
        unpacked
    }
}

impl Facets {
    /// For who only looks on, for a while.
    pub(super) fn partial() -> Self {
        Self { partial: true, ..Self::default() }
    }

    pub(super) fn holds(&self, hash: &FacetHash) -> bool {
        self.held.contains_key(hash)
    }

    pub(super) fn packed(&self, hash: &FacetHash) -> Option<&Packed> {
        self.held.get(hash).map(|kept| &kept.packed)
    }

    pub(super) fn base_of(&self, hash: &FacetHash) -> Option<FacetHash> {
        self.held.get(hash).and_then(|kept| kept.base)
    }

    /// Those whose hash begins so: one, unless somebody searched for more.
    fn beginning(&self, half: &FacetHalf) -> impl Iterator<Item = (&FacetHash, &Kept)> {
        let bound = |fill: u8| {
            let mut hash = [fill; 32];
            hash.split_at_mut(16).0.copy_from_slice(&half.0);
            FacetHash(hash)
        };
        self.held.range(bound(0)..=bound(u8::MAX))
    }

    pub(super) fn find(&self, half: &FacetHalf) -> Option<&Packed> {
        self.beginning(half).next().map(|(_, kept)| &kept.packed)
    }

    /// The canonical bytes of a facet that is held.
    pub(super) fn bytes(&self, hash: &FacetHash) -> Option<Vec<u8>> {
        let kept = self.held.get(hash)?;
        let base = kept.base.and_then(|base| self.held.get(&base));
        let base = base.and_then(|base| base.packed.unpack(base.length, |_| None).ok());
        kept.packed.unpack(kept.length, |_| base).ok()
    }

    /// Unpacks what came along with a head that names `wanted`; work and memory are bounded by the limits of
    /// facets.
    pub(super) fn open(&self, along: &[Packed], wanted: &[FacetRef]) -> Opened {
        let mut opened = Opened::default();
        if wanted.iter().all(|facet| self.holds(&facet.hash)) {
            return opened;
        }
        let fits = |packed: &&Packed| packed.weight() <= PACKED_BYTES_MAX;
        let along: Vec<&Packed> = along.iter().take(ALONG_MAX).filter(fits).collect();
        let needed: BTreeSet<FacetHalf> = along.iter().filter_map(|packed| packed.base()).collect();
        let mut bases: Vec<(FacetHash, Vec<u8>)> = Vec::new();
        for packed in along.iter().filter(|packed| packed.base().is_none()) {
            let Some(bytes) = opened.unpack(packed, FACET_BYTES_MAX, &[]) else { continue };
            let hash = FacetHash::of(&bytes);
            opened.found.entry(hash).or_insert_with(|| Kept::new((*packed).clone(), &bytes, None));
            if needed.contains(&hash.half()) {
                bases.push((hash, bytes));
            }
        }
        let longest = wanted.iter().map(|facet| facet.bytes as usize).max().unwrap_or(0).min(FACET_BYTES_MAX);
        for packed in along {
            let Some(half) = packed.base() else { continue };
            let came = bases.iter().filter(|(hash, _)| hash.half() == half).cloned();
            let held = self.beginning(&half).filter_map(|(hash, _)| Some((*hash, self.bytes(hash)?)));
            let mut there = false;
            for (base, bytes) in came.chain(held) {
                there = true;
                opened.work += bytes.len();
                let Some(bytes) = opened.unpack(packed, longest, &bytes) else { continue };
                let hash = FacetHash::of(&bytes);
                if wanted.iter().any(|facet| facet.hash == hash) {
                    let kept = || Kept::new(packed.clone(), &bytes, Some(base));
                    opened.found.entry(hash).or_insert_with(kept);
                    break;
                }
            }
            if !there {
                opened.unopened.push(half);
            }
        }
        opened
    }

    /// What is lacking, of those wanted and of what those that came are differences to.
    pub(super) fn lacking(&self, wanted: &[FacetRef], opened: &Opened) -> Vec<FacetHalf> {
        let mut lacking: Vec<FacetHalf> = wanted
            .iter()
            .filter(|facet| !self.holds(&facet.hash) && !opened.found.contains_key(&facet.hash))
            .map(|facet| facet.hash.half())
            .collect();
        if lacking.is_empty() {
            return lacking;
        }
        // Those that came and cannot be opened yet are, as it seems, those that are lacking.
        if opened.unopened.len() >= lacking.len() {
            lacking.clear();
        }
        lacking.extend(&opened.unopened);
        lacking.sort_unstable();
        lacking.dedup();
        lacking
    }

    /// Counts a head that names these in. Nothing changes unless all are there.
    pub(super) fn name(&mut self, wanted: &[FacetRef], opened: Opened) -> Result<(), Refusal> {
        let Opened { mut found, .. } = opened;
        for facet in wanted {
            // Who holds the facet and who does not must judge alike.
            let kept = self.held.get(&facet.hash).or_else(|| found.get(&facet.hash));
            if self.partial && kept.is_none() {
                continue;
            }
            if kept.ok_or(Refusal::Gap)?.length != facet.bytes as usize {
                return Err(Refusal::Malformed("a facet of another length than its head says"));
            }
        }
        let news: BTreeSet<FacetHash> =
            wanted.iter().map(|facet| facet.hash).filter(|hash| !self.holds(hash)).collect();
        let bases: BTreeSet<FacetHash> =
            news.iter().filter_map(|hash| found.get(hash).and_then(|kept| kept.base)).collect();
        let (mut added, mut repacked) = (Vec::new(), Vec::new());
        for base in bases {
            let came = found.get(&base).filter(|kept| kept.base.is_none());
            match self.held.get(&base) {
                Some(held) if held.base.is_none() => {}
                Some(_) => {
                    let again =
                        || self.bytes(&base).map(|bytes| Kept::new(Packed::quickly(&bytes), &bytes, None));
                    let kept = came.cloned().or_else(again).ok_or(Refusal::Gap)?;
                    if kept.packed.weight() > PACKED_BYTES_MAX {
                        return Err(Refusal::TooMany { what: "bytes in a base", limit: PACKED_BYTES_MAX });
                    }
                    repacked.push((base, kept));
                }
                None => added.push((base, came.ok_or(Refusal::Gap)?.clone())),
            }
        }
        for (hash, kept) in added {
            self.take(hash, kept);
        }
        for hash in news {
            if let Some(kept) = found.remove(&hash) {
                self.take(hash, kept);
            }
        }
        for facet in wanted {
            if let Some(kept) = self.held.get_mut(&facet.hash) {
                kept.heads += 1;
            }
        }
        // Last: what these were differences to may be needed by what came.
        for (hash, kept) in repacked {
            self.stand_alone(&hash, kept);
        }
        Ok(())
    }

    /// Takes a facet whose base, if it has one, is held.
    fn take(&mut self, hash: FacetHash, kept: Kept) {
        if self.held.contains_key(&hash) {
            return;
        }
        if let Some(base) = kept.base.and_then(|base| self.held.get_mut(&base)) {
            base.patches += 1;
        }
        self.held.insert(hash, kept.sketched());
        self.touched.insert(hash);
    }

    /// Packs a facet that is held anew, as no difference, so that it can be a base.
    fn stand_alone(&mut self, hash: &FacetHash, kept: Kept) {
        let Some(held) = self.held.get_mut(hash) else { return };
        let kept = kept.sketched();
        let old = held.base.take();
        (held.packed, held.sketch) = (kept.packed, kept.sketch);
        self.touched.insert(*hash);
        if let Some(old) = old {
            self.unbase(&old);
        }
    }

    fn unbase(&mut self, base: &FacetHash) {
        if let Some(kept) = self.held.get_mut(base) {
            kept.patches = kept.patches.saturating_sub(1);
        }
        self.drop_unused(base);
    }

    /// Counts a head that named these out.
    pub(super) fn let_go(&mut self, named: &[FacetRef]) {
        if self.partial {
            return;
        }
        for facet in named {
            if let Some(kept) = self.held.get_mut(&facet.hash) {
                kept.heads = kept.heads.saturating_sub(1);
            }
            self.drop_unused(&facet.hash);
        }
    }

    fn drop_unused(&mut self, hash: &FacetHash) {
        if self.held.get(hash).is_none_or(|kept| kept.heads + kept.patches > 0) {
            return;
        }
        let base = self.held.remove(hash).and_then(|kept| kept.base);
        self.touched.insert(*hash);
        // One step only: a base has no base.
        if let Some(base) = base {
            self.unbase(&base);
        }
    }

    /// Takes facets from disk, of which no head is known yet; returns those that are damaged.
    pub(super) fn restore(&mut self, rows: Vec<(FacetHash, Packed)>) -> Vec<FacetHash> {
        let mut damaged = Vec::new();
        let (patches, alone): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, packed)| packed.base().is_some());
        for (hash, packed) in alone.into_iter().chain(patches) {
            let kept = match packed.base() {
                None => open_one(&hash, &packed, None),
                Some(half) => {
                    let bases: Vec<FacetHash> = self
                        .beginning(&half)
                        .filter(|(_, kept)| kept.base.is_none())
                        .map(|(base, _)| *base)
                        .collect();
                    let mut bases = bases.into_iter();
                    bases.find_map(|base| open_one(&hash, &packed, Some((base, &self.bytes(&base)?))))
                }
            };
            match kept {
                Some(kept) => self.take(hash, kept),
                None => damaged.push(hash),
            }
        }
        self.touched.clear();
        damaged
    }

    /// Drops what no head names after a start.
    pub(super) fn drop_unnamed(&mut self) {
        let unused: Vec<FacetHash> = self
            .held
            .iter()
            .filter(|(_, kept)| kept.heads + kept.patches == 0)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in unused {
            self.drop_unused(&hash);
        }
    }

    /// What came, was packed anew, or (without packing) went, since the last call.
    pub(super) fn take_touched(&mut self) -> Vec<(FacetHash, Option<Packed>)> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|hash| (hash, self.packed(&hash).cloned())).collect()
    }

    /// The bases that are most like this facet, the likest first.
    pub(super) fn near(&self, canonical: &[u8]) -> Vec<Base> {
        let Some(sketch) = Sketch::of(canonical) else { return Vec::new() };
        let itself = FacetHash::of(canonical);
        let mut near: Vec<(usize, &FacetHash)> = self
            .held
            .iter()
            .filter(|(hash, _)| **hash != itself)
            .filter_map(|(hash, kept)| Some((kept.sketch?.likeness(&sketch), hash)))
            .filter(|(likeness, _)| *likeness > 0)
            .collect();
        near.sort_unstable_by_key(|(likeness, hash)| (std::cmp::Reverse(*likeness), **hash));
        // One that is half as like as the likest does not win.
        let likest = near.first().map_or(0, |(likeness, _)| *likeness);
        near.retain(|(likeness, _)| likeness * 2 > likest);
        near.truncate(BASES_TRIED_MAX);
        let open =
            |(_, hash): (usize, &FacetHash)| Some(Base { half: hash.half(), bytes: self.bytes(hash)? });
        near.into_iter().filter_map(open).collect()
    }

    /// The bases: whatever is held alone and has rows.
    pub(super) fn bases(&self) -> impl Iterator<Item = &FacetHash> {
        self.held.iter().filter(|(_, kept)| kept.sketch.is_some()).map(|(hash, _)| hash)
    }
}

impl Kept {
    fn new(packed: Packed, canonical: &[u8], base: Option<FacetHash>) -> Self {
        Self { packed, length: canonical.len(), base, heads: 0, patches: 0, sketch: None }
    }

    /// With its sketch, which is made when it is taken: not for whatever a neighbour sends.
    fn sketched(mut self) -> Self {
        if self.base.is_none() {
            self.sketch = self.packed.unpack(self.length, |_| None).ok().and_then(|bytes| Sketch::of(&bytes));
        }
        self
    }
}

fn open_one(hash: &FacetHash, packed: &Packed, base: Option<(FacetHash, &Vec<u8>)>) -> Option<Kept> {
    let prefix = base.map_or(&[][..], |(_, bytes)| bytes.as_slice());
    let bytes = packed.unpack_within(FACET_BYTES_MAX, prefix).ok()?;
    (FacetHash::of(&bytes) == *hash).then(|| Kept::new(packed.clone(), &bytes, base.map(|(base, _)| base)))
}

#[cfg(test)]
#[path = "facets_tests.rs"]
mod tests;
