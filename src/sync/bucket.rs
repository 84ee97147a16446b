//! A token bucket: so much at once, so much a second.

use crate::time::Timestamp;

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Tokens at most.
    pub(super) burst: u64,
    /// Milliseconds until there is one more.
    pub(super) every_ms: u64,
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    left: u64,
    at: Timestamp,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(rate: Rate, now: Timestamp) -> Self {
        Self { left: rate.burst, at: now }
    }

    fn refill(&mut self, rate: Rate, now: Timestamp) {
        if now < self.at {
            // The clock was set back: what had been waited for counts from here.
            self.at = now;
        }
        let more = (now.0 - self.at.0) / rate.every_ms.max(1);
        if self.left.saturating_add(more) >= rate.burst {
            *self = Self::full(rate, now);
        } else {
            self.left += more;
            self.at = Timestamp(self.at.0 + more * rate.every_ms);
        }
    }

    /// Takes up to `wanted` tokens; returns how many there were.
    pub(super) fn take(&mut self, rate: Rate, wanted: u64, now: Timestamp) -> u64 {
        self.refill(rate, now);
        let taken = wanted.min(self.left);
        self.left -= taken;
        taken
    }

    /// Gives tokens back.
    pub(super) fn give(&mut self, rate: Rate, back: u64) {
        self.left = self.left.saturating_add(back).min(rate.burst);
    }

    /// Whether a take would get something.
    pub(super) fn any(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.refill(rate, now);
        self.left > 0
    }

    /// Whether it is as good as new.
    pub(super) fn is_full(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.refill(rate, now);
        self.left >= rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_whatever_the_clock_does() {
        let rate = Rate { burst: 10, every_ms: 100 };
        let start = Timestamp(10_000_000);
        let mut bucket = Bucket::full(rate, start);
        assert_eq!(bucket.take(rate, 25, start), 10);
        assert_eq!(bucket.take(rate, 1, start), 0);
        assert_eq!(bucket.take(rate, 25, Timestamp(start.0 + 399)), 3);
        assert_eq!(bucket.take(rate, 25, Timestamp(start.0 + 400)), 1, "a part of a token is not lost");
        // Set back by an hour: it goes on at its rate from there.
        let back = Timestamp(start.0 - 3_600_000);
        assert_eq!(bucket.take(rate, 25, back), 0);
        assert_eq!(bucket.take(rate, 25, Timestamp(back.0 + 200)), 2);
        bucket.give(rate, 100);
        assert!(bucket.is_full(rate, back));
        assert_eq!(bucket.take(rate, u64::MAX, Timestamp(u64::MAX)), 10);
    }
}
