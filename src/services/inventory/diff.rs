//! From what was said last and what the host looks like now to what is said next, and how often.
//!
//! A facet that did not change keeps its hash and the time since when it is so, over a restart as well. One that
//! could not be looked at this time stays as it was said last: a disk that is busy does not make a host without
//! packages. One that is not there any more is gone, which is all the deleting there is.

use std::collections::BTreeMap;

use crate::{
    replica::{FACET_BYTES_MAX, FacetHash, FacetRef},
    time::Timestamp,
};

/// Heads that may follow each other at once; then there is one as often as [`EVERY_MS`]. Under what others let
/// through (30, and one every 5 s), so that nobody throttles a host that keeps to it.
const BURST: u64 = 20;
/// Milliseconds between heads in the long run.
const EVERY_MS: u64 = 30_000;

/// A facet, as it was looked at: its canonical bytes, nothing where there is nothing of the kind, or why it
/// could not be looked at.
pub(super) type Looked = Result<Option<Vec<u8>>, String>;

/// What a host says next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Its facets, by name in order.
    pub(super) facets: Vec<FacetRef>,
    /// Those that it did not have before, each once.
    pub(super) new: BTreeMap<FacetHash, Vec<u8>>,
}

/// A facet that is not over the limit, or why it cannot be said.
pub(super) fn fitting(facet: &str, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    match bytes.len() {
        length if length <= FACET_BYTES_MAX => Ok(bytes),
        length => Err(format!("{facet} has {length} bytes, where {FACET_BYTES_MAX} are the most")),
    }
}

/// What to say, where `before` was said last and some facets were looked at since. Those that were not stay.
pub(super) fn next(before: &[FacetRef], looked: &BTreeMap<&'static str, Looked>, now: Timestamp) -> Next {
    let mut facets: BTreeMap<String, FacetRef> =
        before.iter().map(|facet| (facet.name.clone(), facet.clone())).collect();
    let mut new = BTreeMap::new();
    for (name, looked) in looked {
        match looked {
            Err(_) => {}
            Ok(None) => drop(facets.remove(*name)),
            Ok(Some(bytes)) => {
                let hash = FacetHash::of(bytes);
                if facets.get(*name).is_some_and(|facet| facet.hash == hash) {
                    continue;
                }
                if !before.iter().any(|facet| facet.hash == hash) {
                    new.insert(hash, bytes.clone());
                }
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let facet = FacetRef { name: (*name).to_owned(), hash, bytes: length, at: Some(now) };
                facets.insert((*name).to_owned(), facet);
            }
        }
    }
    Next { facets: facets.into_values().collect(), new }
}

/// When the next head may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    left: u64,
    at: Timestamp,
}

impl Pace {
    /// Nothing was said yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { left: BURST, at: now }
    }

    /// Takes leave to say something now, or says in how many milliseconds to come again.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), u64> {
        // The clock was set back: what had been waited for counts from here.
        self.at = self.at.min(now);
        let more = (now.0 - self.at.0) / EVERY_MS;
        self.at = Timestamp(self.at.0 + more * EVERY_MS);
        self.left = self.left.saturating_add(more).min(BURST);
        if self.left == BURST {
            self.at = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err((self.at.0 + EVERY_MS).saturating_sub(now.0).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: Timestamp = Timestamp(1_000_000);
    const NOW: Timestamp = Timestamp(2_000_000);

    fn looked(facets: &[(&'static str, Looked)]) -> BTreeMap<&'static str, Looked> {
        facets.iter().cloned().collect()
    }

    fn is(bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    fn said() -> Vec<FacetRef> {
        next(
            &[],
            &looked(&[
                ("node", Ok(Some(is(b"n1")))),
                ("deb", Ok(Some(is(b"d1")))),
                ("system", Ok(Some(is(b"s1")))),
            ]),
            THEN,
        )
        .facets
    }

    #[test]
    fn the_first_time_all_is_new_and_in_order() {
        let first = next(&[], &looked(&[("node", Ok(Some(is(b"n1")))), ("deb", Ok(Some(is(b"d1"))))]), THEN);
        let names: Vec<&str> = first.facets.iter().map(|facet| facet.name.as_str()).collect();
        assert_eq!(names, ["deb", "node"]);
        assert!(first.facets.iter().all(|facet| facet.at == Some(THEN) && facet.bytes == 2));
        assert_eq!(first.new.len(), 2);
    }

    #[test]
    fn what_did_not_change_keeps_its_hash_and_its_age() {
        let again = next(
            &said(),
            &looked(&[
                ("system", Ok(Some(is(b"s1")))),
                ("deb", Ok(Some(is(b"d2")))),
                ("node", Ok(Some(is(b"n1")))),
            ]),
            NOW,
        );
        let ats: Vec<Option<Timestamp>> = again.facets.iter().map(|facet| facet.at).collect();
        assert_eq!(ats, [Some(NOW), Some(THEN), Some(THEN)]);
        assert_eq!(again.new, BTreeMap::from([(FacetHash::of(b"d2"), b"d2".to_vec())]));
        let same =
            next(&said(), &looked(&[("system", Ok(Some(is(b"s1")))), ("deb", Ok(Some(is(b"d1"))))]), NOW);
        assert_eq!(same, Next { facets: said(), new: BTreeMap::new() });
    }

    #[test]
    fn what_cannot_be_looked_at_stays_and_what_is_not_there_goes() {
        let later = next(&said(), &looked(&[("deb", Err("busy".to_owned())), ("system", Ok(None))]), NOW);
        let names: Vec<&str> = later.facets.iter().map(|facet| facet.name.as_str()).collect();
        assert_eq!(names, ["deb", "node"]);
        assert_eq!(later.facets[0], said()[0]);
        // Never said, and not to be had: nothing is said of it.
        assert!(next(&[], &looked(&[("deb", Err("gone".to_owned()))]), NOW).facets.is_empty());
    }

    #[test]
    fn a_facet_over_the_limit_is_none() {
        assert!(
            fitting("deb", vec![0; FACET_BYTES_MAX + 1])
                .is_err_and(|why| why.contains("deb has 1048577 bytes"))
        );
        assert!(fitting("deb", vec![0; FACET_BYTES_MAX]).is_ok());
    }

    #[test]
    fn after_a_burst_there_is_a_head_every_half_minute_and_a_clock_that_goes_back_stops_nothing() {
        let mut pace = Pace::new(NOW);
        for _ in 0..BURST {
            assert_eq!(pace.take(NOW), Ok(()));
        }
        assert_eq!(pace.take(NOW), Err(EVERY_MS));
        assert_eq!(pace.take(Timestamp(NOW.0 + 10_000)), Err(20_000));
        assert_eq!(pace.take(Timestamp(NOW.0 + EVERY_MS)), Ok(()));
        assert_eq!(pace.take(Timestamp(NOW.0 + EVERY_MS)), Err(EVERY_MS));
        assert_eq!(pace.take(THEN), Err(EVERY_MS));
        assert_eq!(pace.take(Timestamp(THEN.0 + EVERY_MS)), Ok(()));
        let (mut idle, mut count) = (Pace::new(THEN), 0);
        while idle.take(Timestamp(THEN.0 + 1000 * EVERY_MS)).is_ok() {
            count += 1;
        }
        assert_eq!(count, BURST);
    }
}
