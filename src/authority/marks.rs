//! Whom a request is for: hosts by their ids, or some of a list by their places.
//!
//! Decides whether that is said in the one way it may be, how many hosts they are, and whether one of them is meant. A
//! request for many is judged for its form by the request alone, so that whoever lacks the list takes and passes on
//! the same requests as who has it; only who acts needs to know where it stands itself.

use super::{
    ListId, ListPlace, Refusal,
    members::{MEMBERS_MAX, stands},
};
use crate::identity::HostId;

/// Most hosts that a request names one by one; above that they are marked in a list.
pub const ROSTER_INLINE_MAX: usize = 512;

/// The hosts that a request is for.
#[derive(Clone, Copy, Debug)]
pub enum Meant<'a> {
    /// By id, each once and in order.
    Named(&'a [HostId]),
    /// Some of a list.
    Marked(Marks<'a>),
}

/// Some of a list.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// The list.
    pub list: ListId,
    /// How many hosts it has.
    pub members: u32,
    /// One bit for each, the first of eight in the lowest place of its byte; set where it is meant.
    pub bits: &'a [u8],
}

impl Meant<'_> {
    /// How many hosts there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Named(hosts) => hosts.len(),
            Self::Marked(marks) => marks.count(),
        }
    }

    /// Checks that it is said as it must be: there is one way for every set of hosts and list.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Named(hosts) if !hosts.is_sorted_by(|a, b| a < b) => {
                Err(Refusal::Malformed("the roster is not in order"))
            }
            Self::Named(hosts) if hosts.len() > ROSTER_INLINE_MAX => {
                Err(Refusal::Malformed("the roster names too many hosts one by one"))
            }
            Self::Named(_) => Ok(()),
            Self::Marked(marks) => marks.check(),
        }
    }

    /// Whether a host is meant. Where it is marked, it has to prove its place.
    pub(super) fn includes(&self, host: &HostId, place: Option<&ListPlace>) -> Result<(), Refusal> {
        match (self, place) {
            (Self::Named(hosts), _) if hosts.binary_search(host).is_ok() => Ok(()),
            (Self::Named(_), _) => Err(Refusal::NotInRoster),
            (Self::Marked(marks), Some(place)) if stands(&marks.list, marks.members, host, place) => {
                if marks.is_set(place.index) { Ok(()) } else { Err(Refusal::NotInRoster) }
            }
            (Self::Marked(_), _) => Err(Refusal::NotProven),
        }
    }
}

impl Marks<'_> {
    fn check(&self) -> Result<(), Refusal> {
        let members = usize::try_from(self.members).unwrap_or(usize::MAX);
        if members > MEMBERS_MAX {
            return Err(Refusal::TooMany { what: "hosts in the list of a roster", limit: MEMBERS_MAX });
        }
        if self.bits.len() != members.div_ceil(8) {
            return Err(Refusal::Malformed("the roster is not as long as its list"));
        }
        let past = members % 8;
        if past != 0 && self.bits.last().is_some_and(|last| last >> past != 0) {
            return Err(Refusal::Malformed("the roster marks what is past its list"));
        }
        if self.count() <= ROSTER_INLINE_MAX {
            return Err(Refusal::Malformed("the roster marks so few that it must name them"));
        }
        Ok(())
    }

    /// The bits, 64 at a time: an accounting of thousands asks for each of their places.
    fn words(&self) -> impl Iterator<Item = u64> {
        let word = |bytes: &[u8]| {
            let whole = bytes.try_into().map(u64::from_le_bytes);
            whole.unwrap_or_else(|_| bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)))
        };
        self.bits.chunks(8).map(word)
    }

    /// How many are marked.
    pub fn count(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the host at a place of the list is marked.
    pub fn is_set(&self, index: u32) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// How many are marked before a place of the list: where that one stands among the marked.
    pub fn before(&self, index: u32) -> u32 {
        let mut words = self.words();
        let whole = usize::try_from(index / 64).unwrap_or(usize::MAX);
        let count: u32 = words.by_ref().take(whole).map(u64::count_ones).sum();
        count + words.next().map_or(0, |word| (word & ((1 << (index % 64)) - 1)).count_ones())
    }

    /// The place in the list of the one that stands at `nth` among the marked.
    pub fn nth(&self, nth: u32) -> Option<u32> {
        let mut left = nth;
        for (at, mut word) in (0_u32..).zip(self.words()) {
            let ones = word.count_ones();
            if left < ones {
                // Without those before it, it is the lowest.
                (0..left).for_each(|_| word &= word - 1);
                return Some(at * 64 + word.trailing_zeros());
            }
            left -= ones;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(members: u32, set: impl IntoIterator<Item = u32>) -> Vec<u8> {
        let mut bits = vec![0; usize::try_from(members).unwrap().div_ceil(8)];
        for at in set {
            bits[at as usize / 8] |= 1 << (at % 8);
        }
        bits
    }

    fn checked(members: u32, bits: &[u8]) -> Result<(), Refusal> {
        Meant::Marked(Marks { list: ListId([1; 32]), members, bits }).check()
    }

    #[test]
    fn there_is_one_way_to_say_whom_a_request_is_for() {
        assert_eq!(checked(600, &marks(600, 0..513)), Ok(()));
        assert_eq!(checked(16_384, &marks(16_384, 0..16_384)), Ok(()));
        assert_eq!(checked(10_000, &marks(10_000, 9_000..10_000)), Ok(()));
        assert_eq!(marks(10_000, []).len(), 1_250);
        let malformed = |members, bits: &[u8]| {
            assert!(matches!(checked(members, bits), Err(Refusal::Malformed(_))), "{members}");
        };
        malformed(600, &marks(600, 0..512));
        malformed(600, &marks(608, 0..601));
        malformed(600, &marks(609, 0..600));
        malformed(600, &marks(592, 0..592));
        malformed(601, &marks(608, 0..602));
        malformed(0, &[]);
        malformed(0, &[0xff; 100]);
        assert!(matches!(
            checked(16_385, &marks(16_385, 0..600)),
            Err(Refusal::TooMany { limit: MEMBERS_MAX, .. })
        ));
        assert!(checked(u32::MAX, &[0xff; 100]).is_err());
        let named: Vec<HostId> =
            (0..513_u32).map(|at| HostId([at.to_be_bytes(); 8].concat().try_into().unwrap())).collect();
        assert_eq!(Meant::Named(&named[..512]).check(), Ok(()));
        assert!(Meant::Named(&named).check().is_err());
    }

    #[test]
    fn places_among_the_marked_and_in_the_list_belong_together() {
        let set: Vec<u32> = (0..10_000).filter(|at| at % 7 < 3 || at % 11 == 0).collect();
        let bits = marks(10_000, set.iter().copied());
        let marks = Marks { list: ListId([1; 32]), members: 10_000, bits: &bits };
        assert_eq!(marks.count(), set.len());
        for (nth, at) in (0_u32..).zip(&set) {
            assert_eq!((marks.nth(nth), marks.before(*at), marks.is_set(*at)), (Some(*at), nth, true));
        }
        assert_eq!(marks.nth(u32::try_from(set.len()).unwrap()), None);
        assert!(!marks.is_set(3) && !marks.is_set(10_000) && !marks.is_set(u32::MAX));
        assert_eq!(marks.before(u32::MAX), u32::try_from(set.len()).unwrap());
    }
}
