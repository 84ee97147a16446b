//! How many hosts are asked at a time, and how many may fail before nobody else is asked.
//!
//! A roster is cut into *waves*, in its own order, so that the rank of a host is its place in the roster. What
//! is decided here is values in, values out; `verb` waits and signs.
//!
//! Always holds: the waves of a roster have each host once and none is empty; what exceeds the budget in one
//! wave starts no other, so that at most the hosts of the wave under way fail beyond it.
//!
//! A wave begins when all of the wave before it have answered or are not waited for any longer, as with Ansible's
//! `serial`. Systems Manager starts one host for each that ends; it then never looks at a wave as a whole, which
//! is what `--waves 1,10%,100%` is for. Where there is a budget and no pace, a stop would come when all have
//! begun: then the waves grow as Systems Manager's do, 1, 2, 4 … [`RAMP_MAX`] hosts. Its budget is taken over as it
//! is: a stop comes when *more* than N failed, and a percentage of hosts is rounded down.

use crate::targets::{Share, ShareError};

/// The largest wave where only a budget was given, in hosts.
pub const RAMP_MAX: usize = 50;
/// Stages that `--waves` may have.
const STAGES_MAX: usize = 64;

/// What is no share, or no list of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    /// Neither a number nor a percentage.
    #[error("{0:?} is neither a number of hosts, such as 5, nor a part of them, such as 20%")]
    NoShare(String),
    /// A wave of nobody.
    #[error("{0} hosts at a time are none")]
    Nobody(Share),
    /// A stage that adds nobody, whatever the roster.
    #[error("each stage must reach further than the one before: {after} comes after {before}")]
    NotRising {
        /// The stage before.
        before: Share,
        /// The one at fault.
        after: Share,
    },
    /// Hosts that no stage reaches.
    #[error("the last stage reaches {reached} of {hosts} hosts: end with 100%")]
    Short {
        /// How many it reaches.
        reached: usize,
        /// How many there are.
        hosts: usize,
    },
    /// More stages than anybody watches.
    #[error("{0} stages, where {STAGES_MAX} are the most")]
    TooMany(usize),
}

impl From<ShareError> for PaceError {
    fn from(error: ShareError) -> Self {
        Self::NoShare(error.0)
    }
}

/// In which waves hosts are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// All at once.
    #[default]
    AtOnce,
    /// So many at a time.
    Batch(Share),
    /// Until so many have been asked, then until so many have, and so on.
    Stages(Vec<Share>),
    /// One, then two, then twice as many each time, up to [`RAMP_MAX`].
    Ramp,
}

impl Pace {
    /// The pace of `--batch`.
    ///
    /// # Errors
    /// [`PaceError`] where nobody would be asked.
    pub fn batch(text: &str) -> Result<Self, PaceError> {
        let share: Share = text.parse()?;
        some(share).map(Self::Batch)
    }

    /// The pace of `--waves`, such as `1,10%,100%`: each stage says how many have been asked when it ends.
    ///
    /// # Errors
    /// [`PaceError`] where a stage cannot be read or adds nobody.
    pub fn stages(text: &str) -> Result<Self, PaceError> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        if parts.len() > STAGES_MAX {
            return Err(PaceError::TooMany(parts.len()));
        }
        let mut stages: Vec<Share> = Vec::new();
        for part in parts {
            let share = some(part.parse()?)?;
            // A number and a percentage can be compared only once the roster is known.
            let falls = match (stages.last(), share) {
                (Some(Share::Hosts(before)), Share::Hosts(after))
                | (Some(Share::Percent(before)), Share::Percent(after)) => after <= *before,
                _ => false,
            };
            if let Some(before) = stages.last().copied().filter(|_| falls) {
                return Err(PaceError::NotRising { before, after: share });
            }
            stages.push(share);
        }
        Ok(Self::Stages(stages))
    }

    /// The sizes of the waves of a roster: each at least 1, their sum is `hosts`.
    ///
    /// # Errors
    /// [`PaceError::Short`] where some would never be asked.
    pub fn waves(&self, hosts: usize) -> Result<Vec<usize>, PaceError> {
        let mut waves = Vec::new();
        let mut done = 0;
        let push = |size: usize, waves: &mut Vec<usize>, done: &mut usize| {
            let size = size.min(hosts - *done);
            if size > 0 {
                waves.push(size);
                *done += size;
            }
        };
        match self {
            Self::AtOnce => push(hosts, &mut waves, &mut done),
            Self::Batch(share) => {
                let size = share.of(hosts).max(1);
                while done < hosts {
                    push(size, &mut waves, &mut done);
                }
            }
            Self::Stages(stages) => {
                for stage in stages {
                    let reached = stage.of(hosts);
                    push(reached.saturating_sub(done), &mut waves, &mut done);
                }
                if done < hosts {
                    return Err(PaceError::Short { reached: done, hosts });
                }
            }
            Self::Ramp => {
                let mut size = 1;
                while done < hosts {
                    push(size, &mut waves, &mut done);
                    size = (size * 2).min(RAMP_MAX);
                }
            }
        }
        Ok(waves)
    }
}

fn some(share: Share) -> Result<Share, PaceError> {
    match share {
        Share::Hosts(0) | Share::Percent(0) => Err(PaceError::Nobody(share)),
        share => Ok(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(text: &str, hosts: usize) -> Vec<usize> {
        Pace::batch(text).unwrap().waves(hosts).unwrap()
    }

    fn stages(text: &str, hosts: usize) -> Result<Vec<usize>, PaceError> {
        Pace::stages(text)?.waves(hosts)
    }

    #[test]
    fn a_batch_is_so_many_hosts_and_the_last_is_what_is_left() {
        for (text, hosts, waves) in [
            ("5", 12, vec![5, 5, 2]),
            ("5", 5, vec![5]),
            ("50", 3, vec![3]),
            ("20%", 12, vec![3, 3, 3, 3]),
            ("1%", 3, vec![1, 1, 1]),
            ("100%", 7, vec![7]),
        ] {
            assert_eq!(batch(text, hosts), waves, "--batch {text} of {hosts}");
        }
    }

    #[test]
    fn stages_say_how_many_have_been_asked() {
        for (text, hosts, waves) in [
            ("1,10%,100%", 100, vec![1, 9, 90]),
            ("1,10%,100%", 5, vec![1, 4]),
            ("1,10%,100%", 1, vec![1]),
            ("2, 4, 100%", 10, vec![2, 2, 6]),
            ("50%,12", 12, vec![6, 6]),
            ("3,400", 7, vec![3, 4]),
        ] {
            assert_eq!(stages(text, hosts).unwrap(), waves, "--waves {text} of {hosts}");
        }
        assert_eq!(stages("1,10%", 50), Err(PaceError::Short { reached: 5, hosts: 50 }));
    }

    #[test]
    fn without_a_pace_a_budget_ramps_up() {
        assert_eq!(Pace::Ramp.waves(1).unwrap(), [1]);
        assert_eq!(Pace::Ramp.waves(10).unwrap(), [1, 2, 4, 3]);
        assert_eq!(Pace::Ramp.waves(200).unwrap(), [1, 2, 4, 8, 16, 32, 50, 50, 37]);
    }

    #[test]
    fn the_errors_that_may_be_are_those_of_systems_manager() {
        for (text, hosts, errors) in [("3", 50, 3), ("0", 50, 0), ("10%", 50, 5), ("10%", 9, 0), ("0%", 9, 0)]
        {
            assert_eq!(text.parse::<Share>().unwrap().at_most(hosts), errors, "{text} of {hosts}");
        }
    }

    #[test]
    fn what_is_no_pace_is_refused_with_its_reason() {
        for text in ["", "x", "-1", "+1", "1.5", "1.555%", "5 %", "101%", "%", "99999999999999999999999"] {
            assert!(matches!(text.parse::<Share>(), Err(ShareError(_))), "{text:?}");
        }
        assert_eq!(Pace::batch("0"), Err(PaceError::Nobody(Share::Hosts(0))));
        assert_eq!(Pace::batch("0%"), Err(PaceError::Nobody(Share::Percent(0))));
        assert!(matches!(Pace::stages("1,,100%"), Err(PaceError::NoShare(_))));
        assert!(matches!(Pace::stages("5,2"), Err(PaceError::NotRising { .. })));
        assert!(matches!(Pace::stages("50%,50%"), Err(PaceError::NotRising { .. })));
        assert_eq!(Pace::stages(&"1,".repeat(99)), Err(PaceError::TooMany(100)));
    }

    proptest! {
        #[test]
        fn waves_have_each_host_once_and_none_is_empty(
            hosts in 1_usize..600,
            pace in prop_oneof![
                Just(Pace::AtOnce),
                Just(Pace::Ramp),
                (1_u32..700).prop_map(|size| Pace::Batch(Share::Hosts(size))),
                (1_u32..=10_000).prop_map(|percent| Pace::Batch(Share::Percent(percent))),
                prop::collection::vec(1_u32..10_000, 0..5).prop_map(|percents| {
                    let percents = percents.into_iter().chain([10_000]);
                    Pace::Stages(percents.map(Share::Percent).collect())
                }),
            ],
        ) {
            let waves = pace.waves(hosts).unwrap();
            prop_assert_eq!(waves.iter().sum::<usize>(), hosts);
            prop_assert!(waves.iter().all(|size| *size > 0));
        }
    }
}
