//! What an operator's directory remembers of jobs beyond one order: the waves of a roster, who paces them, and
//! that a person cancelled them.
//!
//! ```text
//! jobs/ID/waves      the whole roster, where each wave ends, the orders that were signed, why no other will be
//! jobs/ID/pacing     locked by the command line that signs the waves, for as long as it lives
//! jobs/ID/step       locked for each step: a wave is signed, or the job is cancelled, but not both at once
//! jobs/ID/cancelled  nobody signs another wave
//! jobs/ID/paused     nobody signs another wave for now
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::FlockOperation;

use super::operator::{OperatorError, OperatorHome, read_file, write_file};
use crate::{
    identity::{EntryId, HostId},
    wire_choice, wire_record,
};

/// Why a job's later waves will not be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// More hosts failed than may.
    Budget {},
    /// The person who watched it left.
    Detached {},
    /// It was cancelled.
    Cancelled {},
    /// A wave could not be signed or handed over.
    Broken {
        /// Why, in words.
        why: String,
    },
}
wire_choice!(Stop { 0 = Budget {}, 1 = Detached {}, 2 = Cancelled {}, 3 = Broken { why } });

/// The waves of a job. Its id is that of the first order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waves {
    /// Every host, in order of ids.
    pub roster: Vec<HostId>,
    /// How many of them each wave has, in order.
    pub sizes: Vec<u32>,
    /// The orders that were signed, one a wave, the first wave's first.
    pub orders: Vec<EntryId>,
    /// How many may fail.
    pub errors_max: Option<u64>,
    /// Why no more are signed.
    pub stop: Option<Stop>,
}
wire_record!(Waves { roster, sizes, orders, errors_max, stop });

/// A lock that ends with this value, or with its process.
#[derive(Debug)]
pub struct JobLock {
    _file: File,
}

impl OperatorHome {
    /// Remembers how far the waves of a job are, synced, before a wave is handed over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_waves(&self, job: &EntryId, waves: &Waves) -> Result<(), OperatorError> {
        make_dir(&self.job_dir(job))?;
        write_file(&self.job_dir(job).join("waves"), waves, true)
    }

    /// The waves of a job; none for one that was ordered all at once, or not from here.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn waves(&self, job: &EntryId) -> Result<Option<Waves>, OperatorError> {
        read_file(&self.job_dir(job).join("waves"))
    }

    /// Says, for as long as the lock lives, that this process paces the job.
    ///
    /// # Errors
    /// When the file cannot be used, or another process paces it.
    pub fn pace(&self, job: &EntryId) -> Result<JobLock, OperatorError> {
        make_dir(&self.job_dir(job))?;
        lock(&self.job_dir(job).join("pacing"), FlockOperation::NonBlockingLockExclusive)
    }

    /// Whether a process that lives paces the job.
    pub fn is_paced(&self, job: &EntryId) -> bool {
        let path = self.job_dir(job).join("pacing");
        path.exists() && lock(&path, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// Keeps other processes from signing a wave of the job, or cancelling it, meanwhile. Waits for its turn,
    /// which is a matter of milliseconds.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn step(&self, job: &EntryId) -> Result<JobLock, OperatorError> {
        make_dir(&self.job_dir(job))?;
        lock(&self.job_dir(job).join("step"), FlockOperation::LockExclusive)
    }

    /// Remembers that a job was cancelled.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_cancelled(&self, job: &EntryId) -> Result<(), OperatorError> {
        make_dir(&self.job_dir(job))?;
        write_file(&self.job_dir(job).join("cancelled"), &true, true)
    }

    /// Whether it was.
    pub fn is_cancelled(&self, job: &EntryId) -> bool {
        self.job_dir(job).join("cancelled").exists()
    }

    /// Remembers that nobody is to sign another wave of a job for now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_paused(&self, job: &EntryId) -> Result<(), OperatorError> {
        make_dir(&self.job_dir(job))?;
        write_file(&self.job_dir(job).join("paused"), &true, true)
    }

    /// Takes that back. That it never was is no error.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn lift_pause(&self, job: &EntryId) -> Result<(), OperatorError> {
        let path = self.job_dir(job).join("paused");
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(OperatorError::Io { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether it is paused.
    pub fn is_paused(&self, job: &EntryId) -> bool {
        self.job_dir(job).join("paused").exists()
    }
}

fn make_dir(dir: &Path) -> Result<(), OperatorError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| OperatorError::Io { path: dir.to_owned(), source })
}

fn lock(path: &Path, how: FlockOperation) -> Result<JobLock, OperatorError> {
    let io = |source: io::Error| OperatorError::Io { path: path.to_owned(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(io)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, how)).map_err(|error| io(error.into()))?;
    Ok(JobLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::sample,
        identity::{Operator, SecretKey},
    };

    fn home(dir: &Path) -> OperatorHome {
        let key: SecretKey<Operator> = sample::key(1);
        let (fleet, _) = sample::Fleet::with(&[sample::certificate("ana", &key)]);
        OperatorHome::create(&dir.join("operator"), &key, &fleet.chain).unwrap()
    }

    #[test]
    fn the_waves_of_a_job_are_read_back_and_other_jobs_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let (job, other) = (EntryId([1; 32]), EntryId([2; 32]));
        let waves = Waves {
            roster: vec![sample::host_id(1), sample::host_id(2)],
            sizes: vec![1, 1],
            orders: vec![job],
            errors_max: Some(0),
            stop: Some(Stop::Budget {}),
        };
        home.keep_waves(&job, &waves).unwrap();
        assert_eq!(home.waves(&job).unwrap(), Some(waves));
        assert_eq!(home.waves(&other).unwrap(), None);
        assert!(!home.is_cancelled(&job));
        home.keep_cancelled(&job).unwrap();
        assert!(home.is_cancelled(&job) && !home.is_cancelled(&other));
        assert!(!home.is_paused(&job));
        home.keep_paused(&job).unwrap();
        assert!(home.is_paused(&job) && !home.is_paused(&other));
        home.lift_pause(&job).unwrap();
        home.lift_pause(&job).unwrap();
        assert!(!home.is_paused(&job));
        assert!(home.orders().unwrap().is_empty(), "none of this is an order");
    }

    #[test]
    fn one_process_paces_a_job_and_others_see_for_how_long() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let job = EntryId([1; 32]);
        assert!(!home.is_paced(&job));
        let lock = home.pace(&job).unwrap();
        assert!(home.is_paced(&job));
        assert!(home.pace(&job).is_err());
        drop(lock);
        assert!(!home.is_paced(&job));
    }
}
