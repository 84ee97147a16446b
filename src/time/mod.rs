//! Points in time as values: nothing here reads a clock, `now` is always an argument.
//!
//! A [`Timestamp`] is what entries carry. A [`Hlc`] orders writes that saw each other even when
//! clocks disagree (Kulkarni et al., "Logical Physical Clocks", 2014: 48 bits of milliseconds, 16
//! bits of counter); it only ever breaks ties and is never compared with a local clock when an entry
//! is stored.

use std::time::Duration;

use crate::wire::{Value, Wire, WireError};

/// How far an issuer's clock may be ahead of the reader's, in an order that is otherwise valid.
pub const SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time `by` later; the end of time instead of a wrap.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time `by` earlier; 1970 instead of a wrap.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long since `earlier`; zero if that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Wire for Timestamp {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        u64::from_value(value, field).map(Self)
    }
}

/// A hybrid logical clock's reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The reading of a writer at `now` who has seen everything up to `self`: later than both.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        let physical = now.0.min(u64::MAX >> 16) << 16;
        Self(physical.max(self.0.saturating_add(1)))
    }
}

impl Wire for Hlc {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        u64::from_value(value, field).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_later_than_all_it_saw_whatever_the_clock_says() {
        let ahead = Hlc::default().next(Timestamp(5_000));
        let behind = ahead.next(Timestamp(10));
        assert!(behind > ahead);
        assert!(behind.next(Timestamp(6_000)) > behind);
        assert_eq!(Hlc(u64::MAX).next(Timestamp(u64::MAX)), Hlc(u64::MAX));
    }

    #[test]
    fn times_saturate_instead_of_wrapping() {
        assert_eq!(Timestamp(u64::MAX).after(Duration::MAX), Timestamp(u64::MAX));
        assert_eq!(Timestamp(5).before(Duration::from_secs(1)), Timestamp(0));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
