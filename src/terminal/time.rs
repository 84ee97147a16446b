//! Times, durations and sizes as people read and type them.
//!
//! Tables say how long ago, data says RFC 3339 in UTC. Durations are whole numbers with units, the
//! larger first: `90s`, `15m`, `2h`, `7d`, `1h30m`. Sizes are in IEC units.

use std::fmt::Write as _;
use std::time::Duration;

use crate::time::Timestamp;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 6] = [
    ("EiB", 1 << 60),
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Why a text is not a time, a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Nothing was given.
    #[error("empty: write a number and a unit, such as 90s, 15m, 2h or 7d")]
    Empty,
    /// A number has no unit.
    #[error("{0:?} has no unit: write 90s, 15m, 2h or 7d")]
    NoUnit(String),
    /// There is a unit, or something else, where a number should be.
    #[error("{0:?} is not a whole number and a unit: write 90s, 15m, 2h or 7d")]
    NoNumber(String),
    /// The unit is not known.
    #[error("unknown unit {0:?}: ms, s, m, h or d")]
    UnknownUnit(String),
    /// Units must fall: `1h30m`, not `30m1h`.
    #[error("unit {0:?} is out of order: larger units come first, each once, as in 1h30m")]
    OutOfOrder(String),
    /// More than fits.
    #[error("{0:?} is too long")]
    TooLong(String),
    /// Not an RFC 3339 time.
    #[error("{0:?} is not a time such as 2026-01-31T12:00:00Z")]
    NotATime(String),
}

/// The time in RFC 3339, UTC. What lies after the year 9999 shows as its last moment.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

/// Reads an RFC 3339 time with its offset.
///
/// # Errors
/// When `text` is no such time, or lies before 1970.
pub fn parse_rfc3339(text: &str) -> Result<Timestamp, TimeError> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .map(Timestamp)
        .ok_or_else(|| TimeError::NotATime(short(text)))
}

/// How long ago `at` was, or how far ahead it is: `3h ago`, `now`, `in 5m`. The largest unit alone.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let (past, ms) = if at <= now { (true, now.0 - at.0) } else { (false, at.0 - now.0) };
    let largest = UNITS.iter().filter(|(name, _)| *name != "ms").find(|(_, size)| ms >= *size);
    match largest {
        None => "now".to_owned(),
        Some((name, size)) if past => format!("{}{name} ago", ms / size),
        Some((name, size)) => format!("in {}{name}", ms / size),
    }
}

/// Reads a duration: `90s`, `15m`, `2h`, `7d`, `500ms`, `1h30m`.
///
/// # Errors
/// Says what is wrong with `text` and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    if text.is_empty() {
        return Err(TimeError::Empty);
    }
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(TimeError::NoNumber(short(text)));
        }
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        if unit.is_empty() {
            return Err(TimeError::NoUnit(short(text)));
        }
        if unit.starts_with(['.', ',']) {
            return Err(TimeError::NoNumber(short(text)));
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(TimeError::UnknownUnit(short(unit)));
        }
        let Some((_, size)) = units.by_ref().find(|(name, _)| *name == unit) else {
            return Err(TimeError::OutOfOrder(unit.to_owned()));
        };
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*size))
            .and_then(|ms| ms.checked_add(total))
            .ok_or_else(|| TimeError::TooLong(short(text)))?;
        rest = next;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration so that [`parse_duration`] reads it back, to the millisecond: `1h30m`, `0s`.
#[must_use]
pub fn duration(length: Duration) -> String {
    let mut ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, size) in UNITS {
        if ms >= size {
            let _ = write!(out, "{}{name}", ms / size);
            ms %= size;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// How long something took, for a table: `4ms`, `0.4s`, `12.0s`, `2m05s`, `1h02m`.
#[must_use]
pub fn took(length: Duration) -> String {
    let ms = length.as_millis();
    match ms {
        0..100 => format!("{ms}ms"),
        100..59_950 => {
            let tenths = (ms + 50) / 100;
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        59_950..3_600_000 => {
            let seconds = (ms + 500) / 1000;
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = ms / 60_000;
            format!("{}h{:02}m", minutes / 60, minutes % 60)
        }
    }
}

/// A size in IEC units: `812 B`, `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let Some((name, unit)) = SIZES.iter().find(|(_, unit)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    // Tenths, cut and not rounded: 1023.99 MiB must not read as 1024.0 MiB.
    let tenths = u128::from(bytes) * 10 / u128::from(*unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// The part of a wrong text that an error repeats.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn tables_say_how_long_ago() {
        let now = Timestamp(100 * 24 * HOUR);
        for (ms, shown) in [
            (0, "now"),
            (999, "now"),
            (1_000, "1s ago"),
            (59_999, "59s ago"),
            (60_000, "1m ago"),
            (3 * HOUR + 1, "3h ago"),
            (26 * HOUR, "1d ago"),
        ] {
            assert_eq!(ago(Timestamp(now.0 - ms), now), shown);
        }
        assert_eq!(ago(Timestamp(now.0 + 5 * 60_000), now), "in 5m");
        assert_eq!(ago(Timestamp(u64::MAX), Timestamp(0)), "in 213503982334d");
    }

    #[test]
    fn data_says_rfc_3339_in_utc() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp(1_767_225_600_250)), "2026-01-01T00:00:00.25Z");
        assert_eq!(parse_rfc3339("2026-01-01T02:00:00.25+02:00"), Ok(Timestamp(1_767_225_600_250)));
        assert!(rfc3339(Timestamp(u64::MAX)).starts_with("9999-"));
        assert!(parse_rfc3339("2026-01-01").is_err());
        assert!(parse_rfc3339("1969-12-31T23:59:59Z").is_err());
    }

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("1h30m", 5400), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn a_wrong_duration_says_how_to_write_it() {
        for (text, part) in [
            ("", "empty"),
            ("90", "has no unit"),
            ("1h30", "has no unit"),
            ("h", "not a whole number"),
            ("1.5h", "not a whole number"),
            ("-5m", "not a whole number"),
            (" 5m", "not a whole number"),
            ("5min", "unknown unit \"min\""),
            ("2w", "unknown unit \"w\""),
            ("30m1h", "out of order"),
            ("1h1h", "out of order"),
            ("99999999999999999999d", "too long"),
            ("18446744073709551615d", "too long"),
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_took_time_is_short() {
        for (ms, shown) in [
            (4, "4ms"),
            (100, "0.1s"),
            (412, "0.4s"),
            (59_949, "59.9s"),
            (59_950, "1m00s"),
            (125_000, "2m05s"),
            (3_720_000, "1h02m"),
        ] {
            assert_eq!(took(Duration::from_millis(ms)), shown);
        }
    }

    #[test]
    fn sizes_are_in_iec_units() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536 << 20, "1.5 GiB"),
            ((1 << 30) - 1, "1023.9 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(ms in any::<u64>()) {
            let length = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&duration(length)), Ok(length));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse_duration(&text);
            let _ = parse_rfc3339(&text);
        }
    }
}
