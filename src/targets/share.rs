//! A part of some hosts: `10%`, or `5`.

use std::{fmt, str::FromStr};

/// How many of the hosts that are meant to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many, or all if there are fewer.
    Hosts(u32),
    /// So many hundredths of a percent, rounded up, so that of some hosts there is always one.
    Percent(u32),
}

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share is written 10% or 5, and is more than nothing and at most all")]
pub struct ShareError;

impl Share {
    /// How many that are of `hosts`.
    pub fn of(self, hosts: usize) -> usize {
        match self {
            Self::Hosts(count) => hosts.min(usize::try_from(count).unwrap_or(usize::MAX)),
            Self::Percent(hundredths) => {
                let parts = (hosts as u64).saturating_mul(u64::from(hundredths)).div_ceil(10_000);
                usize::try_from(parts).unwrap_or(usize::MAX).min(hosts)
            }
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let Some(percent) = text.strip_suffix('%') else {
            let count = if digits(text) { text.parse().map_err(|_| ShareError)? } else { 0 };
            return if count == 0 { Err(ShareError) } else { Ok(Self::Hosts(count)) };
        };
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(ShareError);
        }
        let whole: u32 = whole.parse().map_err(|_| ShareError)?;
        let part: u32 = format!("{part:0<2}").parse().map_err(|_| ShareError)?;
        match whole.checked_mul(100).and_then(|whole| whole.checked_add(part)) {
            Some(hundredths @ 1..=10_000) => Ok(Self::Percent(hundredths)),
            _ => Err(ShareError),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(count) => write!(f, "{count}"),
            Self::Percent(hundredths) if hundredths % 100 == 0 => write!(f, "{}%", hundredths / 100),
            Self::Percent(hundredths) => write!(f, "{}.{:02}%", hundredths / 100, hundredths % 100),
        }
    }
}
