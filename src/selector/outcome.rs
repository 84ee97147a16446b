//! Three truths, and sets of those that are still possible. After S. C. Kleene's strong logic.

use std::fmt;

/// What a selector says of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Truth {
    /// The host is not selected.
    False,
    /// It cannot be told, because something is absent or in conflict; the host is not selected.
    Unknown,
    /// The host is selected.
    True,
}

impl Truth {
    /// All truths, from false to true.
    pub const EVERY: [Self; 3] = [Self::False, Self::Unknown, Self::True];

    const fn bit(self) -> u8 {
        match self {
            Self::False => 1,
            Self::Unknown => 2,
            Self::True => 4,
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The truths that are possible, given what is known.
///
/// With everything known there is exactly one. With less known there are more, and always those among them
/// that would come out if all were known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcomes(u8);

impl Outcomes {
    /// Nothing is known: any truth is possible.
    pub const ANY: Self = Self(7);
    /// True or false, but one of them.
    pub const DECIDABLE: Self = Self(Truth::False.bit() | Truth::True.bit());

    /// Exactly this truth is possible.
    pub const fn only(truth: Truth) -> Self {
        Self(truth.bit())
    }

    /// Whether `truth` is possible.
    pub const fn may_be(self, truth: Truth) -> bool {
        self.0 & truth.bit() != 0
    }

    /// Whether true is possible. Without it, no knowledge whatever would select the host.
    pub const fn may_be_true(self) -> bool {
        self.may_be(Truth::True)
    }

    /// Whether `truth` is the only possibility.
    pub const fn is(self, truth: Truth) -> bool {
        self.0 == truth.bit()
    }

    /// Whether all of `other` is possible here too.
    pub const fn covers(self, other: Self) -> bool {
        self.0 | other.0 == self.0
    }

    /// The possibilities of `self and other`: the lesser of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.pairs(other, Ord::min)
    }

    /// The possibilities of `self or other`: the greater of the two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.pairs(other, Ord::max)
    }

    /// The possibilities of `not self`.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::collect(self.each().map(Truth::negated))
    }

    /// What is possible by the one or by the other.
    #[must_use]
    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The one truth, if there is but one; else it cannot be told.
    pub(super) fn truth(self) -> Truth {
        Truth::EVERY.into_iter().find(|truth| self.is(*truth)).unwrap_or(Truth::Unknown)
    }

    fn pairs(self, other: Self, join: impl Fn(Truth, Truth) -> Truth) -> Self {
        let join = &join;
        Self::collect(self.each().flat_map(|a| other.each().map(move |b| join(a, b))))
    }

    fn each(self) -> impl Iterator<Item = Truth> {
        Truth::EVERY.into_iter().filter(move |truth| self.may_be(*truth))
    }

    fn collect(truths: impl Iterator<Item = Truth>) -> Self {
        Self(truths.fold(0, |bits, truth| bits | truth.bit()))
    }
}

impl From<Truth> for Outcomes {
    fn from(truth: Truth) -> Self {
        Self::only(truth)
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.each()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> impl Iterator<Item = Outcomes> {
        (1..=7).map(Outcomes)
    }

    #[test]
    fn the_tables_are_kleenes() {
        use Truth::{False, True, Unknown};
        let and = [
            (True, True, True),
            (True, Unknown, Unknown),
            (True, False, False),
            (Unknown, Unknown, Unknown),
            (Unknown, False, False),
            (False, False, False),
        ];
        for (a, b, expected) in and {
            let (a, b) = (Outcomes::only(a), Outcomes::only(b));
            assert!(a.and(b).is(expected), "{a:?} and {b:?}");
            assert_eq!(a.and(b), b.and(a));
        }
        let or = [
            (True, True, True),
            (True, Unknown, True),
            (True, False, True),
            (Unknown, Unknown, Unknown),
            (Unknown, False, Unknown),
            (False, False, False),
        ];
        for (a, b, expected) in or {
            let (a, b) = (Outcomes::only(a), Outcomes::only(b));
            assert!(a.or(b).is(expected), "{a:?} or {b:?}");
            assert_eq!(a.or(b), b.or(a));
        }
        for (a, expected) in [(True, False), (Unknown, Unknown), (False, True)] {
            assert!(Outcomes::only(a).negated().is(expected));
        }
    }

    #[test]
    fn the_laws_hold_for_sets() {
        let (yes, no) = (Outcomes::only(Truth::True), Outcomes::only(Truth::False));
        for a in every() {
            assert_eq!(a.negated().negated(), a);
            assert_eq!(a.and(yes), a);
            assert_eq!(a.or(no), a);
            assert_eq!(a.and(no), no);
            assert_eq!(a.or(yes), yes);
            for b in every() {
                assert_eq!(a.and(b), b.and(a));
                assert_eq!(a.and(b).negated(), a.negated().or(b.negated()));
                assert_eq!(a.or(b).negated(), a.negated().and(b.negated()));
                for c in every() {
                    assert_eq!(a.and(b).and(c), a.and(b.and(c)));
                    assert_eq!(a.or(b).or(c), a.or(b.or(c)));
                }
            }
        }
    }

    #[test]
    fn knowing_less_takes_no_possibility_away() {
        for (a, wide_a) in every().flat_map(|a| every().map(move |w| (a, w))).filter(|(a, w)| w.covers(*a)) {
            assert!(wide_a.negated().covers(a.negated()));
            for b in every() {
                assert!(wide_a.and(b).covers(a.and(b)));
                assert!(wide_a.or(b).covers(a.or(b)));
            }
        }
    }
}
