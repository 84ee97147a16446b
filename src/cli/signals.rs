//! The signals that end what stays.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{ExitCode, Failure};

/// Those signals, taken: from here on none of them ends this process by itself.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    /// Takes them.
    pub(super) fn take() -> Result<Self, Failure> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let taken: io::Result<Vec<Signal>> = kinds.into_iter().map(signal).collect();
        let failed =
            |error: String| Failure::new(ExitCode::Internal, format!("cannot take signals: {error}"));
        let taken = taken.map_err(|error| failed(error.to_string()))?;
        Ok(Self(taken.try_into().map_err(|_| failed("not all of them".to_owned()))?))
    }

    /// Waits for the next one. Dropping the future loses none.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Waits for the next one, at most `within`; true if one came.
    pub(super) async fn next_within(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, self.next()).await.is_ok()
    }
}
