//! A part of some hosts: `10%`, or `5`.

use std::{fmt, str::FromStr};

/// So many of some hosts: of those that are meant, of a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many, or all if there are fewer.
    Hosts(u32),
    /// So many hundredths of a percent, at most all.
    Percent(u32),
}

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a number of hosts, such as 5, nor a part of them, such as 20%")]
pub struct ShareError(pub String);

impl Share {
    /// Reads one that some of any hosts are: not nothing.
    ///
    /// # Errors
    /// [`ShareError`], also of `0` and `0%`.
    pub fn some(text: &str) -> Result<Self, ShareError> {
        match text.parse()? {
            Self::Hosts(0) | Self::Percent(0) => Err(no_share(text)),
            share => Ok(share),
        }
    }

    /// How many of `hosts` that is, a part of a host not counted: 10 % of 19 hosts are one.
    pub fn at_most(self, hosts: usize) -> usize {
        match self {
            Self::Hosts(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(hundredths) => {
                let parts = (hosts as u64).saturating_mul(u64::from(hundredths)) / 10_000;
                usize::try_from(parts).unwrap_or(usize::MAX)
            }
        }
    }

    /// How many of `hosts` that is at most, a part of a host counted as one: of some hosts it is never none.
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

fn no_share(text: &str) -> ShareError {
    ShareError(text.chars().take(32).collect())
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let Some(percent) = text.strip_suffix('%') else {
            // No sign: "+5" parses as a number.
            let count = if digits(text) { text.parse().ok() } else { None };
            return count.map(Self::Hosts).ok_or_else(|| no_share(text));
        };
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(no_share(text));
        }
        let whole: u32 = whole.parse().map_err(|_| no_share(text))?;
        let part: u32 = format!("{part:0<2}").parse().map_err(|_| no_share(text))?;
        match whole.checked_mul(100).and_then(|whole| whole.checked_add(part)) {
            Some(hundredths @ 0..=10_000) => Ok(Self::Percent(hundredths)),
            _ => Err(no_share(text)),
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
