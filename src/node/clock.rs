//! The one place where the clock is read.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// The time by this machine's clock; 1970 if that is before it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads it; everywhere else `now` is an argument"
)]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
