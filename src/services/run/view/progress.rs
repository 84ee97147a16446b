//! How far a job is, in words and as a bar.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use crate::{
    identity::HostId,
    services::run::Status,
    terminal::{escape, time::duration},
};

/// Width of the bar.
const BAR_COLUMNS: usize = 20;
/// Narrower terminals have no bar.
const WITH_BAR_COLUMNS_MIN: usize = 70;

/// Who has answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// How many there are.
    pub(super) total: usize,
    running: BTreeSet<HostId>,
    answered: BTreeMap<HostId, Status>,
}

impl Progress {
    /// Takes that a host works on it.
    pub(super) fn running(&mut self, host: HostId) {
        self.running.insert(host);
    }

    /// Takes where a host stands.
    pub(super) fn answered(&mut self, host: HostId, status: Status) {
        if !matches!(status, Status::Running | Status::Silent) {
            self.running.remove(&host);
            self.answered.insert(host, status);
        }
    }

    /// `7 of 12 answered · 1 failed · 2 running · 14s`.
    pub(super) fn text(&self, elapsed: Duration) -> String {
        let mut text = format!("{} of {} answered", self.answered.len(), self.total);
        let failed = self.answered.values().filter(|status| **status != Status::Ok).count();
        for (many, word) in [(failed, "failed"), (self.running.len(), "running")] {
            if many > 0 {
                let _ = write!(text, " · {many} {word}");
            }
        }
        let _ = write!(text, " · {}", duration(Duration::from_secs(elapsed.as_secs())));
        text
    }

    /// The same for one row of a terminal, with a bar where there is room.
    pub(super) fn bar(&self, elapsed: Duration, columns: Option<usize>) -> String {
        let text = self.text(elapsed);
        // The last column stays free: some terminals go on to the next row when it is written.
        let columns = columns.unwrap_or(80).saturating_sub(1);
        if columns < WITH_BAR_COLUMNS_MIN {
            return escape::clamp(&text, columns);
        }
        let full = (BAR_COLUMNS * self.answered.len()).checked_div(self.total).unwrap_or(0).min(BAR_COLUMNS);
        escape::clamp(&format!("[{}{}] {text}", "=".repeat(full), " ".repeat(BAR_COLUMNS - full)), columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_who_answered_failed_and_runs_and_fits_its_row() {
        let mut progress = Progress { total: 12, ..Progress::default() };
        let host = |at| HostId([at; 32]);
        (0..6).for_each(|at| progress.answered(host(at), Status::Ok));
        progress.running(host(6));
        progress.running(host(7));
        progress.answered(host(7), Status::Failed);
        progress.answered(host(8), Status::Silent);
        let at = Duration::from_millis(14_200);
        assert_eq!(progress.text(at), "7 of 12 answered · 1 failed · 1 running · 14s");
        assert_eq!(
            progress.bar(at, Some(80)),
            "[===========         ] 7 of 12 answered · 1 failed · 1 running · 14s"
        );
        assert_eq!(progress.bar(at, Some(20)), "7 of 12 answered ·…");
        assert_eq!(Progress::default().bar(at, Some(80)), "[                    ] 0 of 0 answered · 14s");
    }
}
