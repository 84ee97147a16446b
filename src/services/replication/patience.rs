//! How much of what is refused is borne from one neighbour.

use crate::time::Timestamp;

/// Entries that a neighbour may send and that are refused: so many at once, and one a second.
const UNFIT_MAX: usize = 512;

/// How much a neighbour may still send that is refused: an honest one sends next to nothing of that kind,
/// and each costs up to three signature checks.
#[derive(Debug)]
pub(super) struct Patience {
    left: usize,
    at: Timestamp,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: UNFIT_MAX, at: Timestamp(0) }
    }
}

impl Patience {
    /// Counts `unfit` entries; false once there were too many.
    pub(super) fn bears(&mut self, unfit: usize, now: Timestamp) -> bool {
        // A clock that was set back.
        self.at = self.at.min(now);
        let seconds = now.since(self.at).as_secs();
        if seconds > 0 {
            self.at = now;
            self.left =
                self.left.saturating_add(usize::try_from(seconds).unwrap_or(UNFIT_MAX)).min(UNFIT_MAX);
        }
        let bears = unfit <= self.left;
        self.left = self.left.saturating_sub(unfit);
        bears
    }
}
