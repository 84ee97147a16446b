//! What a supervisor says when it is done.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::replica::Output;
use crate::wire::{FRAME_HEADER_BYTES, FrameReader, Value, Wire, WireError, decode, encode, frame};
use crate::{wire_choice, wire_record};

/// A report is written in one piece: a pipe takes this much at once or nothing.
const REPORT_BYTES_MAX: usize = 4000;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited.
    Exited {
        /// With this code.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// This one.
        signal: i32,
    },
    /// Its time was up, and it was ended.
    TimedOut,
    /// It was cancelled, and ended.
    Cancelled,
    /// It never ran.
    NotStarted {
        /// The system's reason.
        errno: i32,
        /// The step that failed.
        stage: Stage,
    },
}
wire_choice!(Outcome {
    0 = Exited { code },
    1 = Signaled { signal },
    2 = TimedOut {},
    3 = Cancelled {},
    4 = NotStarted { errno, stage },
});

/// The steps before a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Making the supervisor ready.
    Supervise,
    /// Opening the files for the output.
    Spool,
    /// Making arguments and environment: empty, or with a zero byte.
    Arguments,
    /// Forking.
    Fork,
    /// Taking the limits and standard descriptors.
    Prepare,
    /// Becoming the user.
    Account,
    /// Finding and executing the program.
    Exec,
}
impl Stage {
    const ALL: [Self; 7] =
        [Self::Supervise, Self::Spool, Self::Arguments, Self::Fork, Self::Prepare, Self::Account, Self::Exec];

    /// Its number on the wire.
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    pub(super) fn numbered(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }
}

impl Wire for Stage {
    fn to_value(&self) -> Value {
        self.number().to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let number = u32::from_value(value, field)?;
        Self::numbered(number).ok_or(WireError::UnknownTag { what: "Stage", tag: number.into() })
    }
}

/// All that a supervisor has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the command ended.
    pub outcome: Outcome,
    /// Milliseconds from the fork to the command's end.
    pub took_ms: u64,
    /// Its standard output.
    pub stdout: Output,
    /// Its standard error.
    pub stderr: Output,
    /// Processes that outlived the command and were killed.
    pub left_behind: u32,
    /// Processes that could not be ended (of another user, or stuck in the kernel) and may still run.
    pub survivors: u32,
}
wire_record!(Report { outcome, took_ms, stdout, stderr, left_behind, survivors });

impl Report {
    /// The report on a command that never ran.
    pub(super) fn not_started(stage: Stage, errno: Errno) -> Self {
        Self {
            outcome: Outcome::NotStarted { errno: errno.raw_os_error(), stage },
            took_ms: 0,
            stdout: Output::nothing(),
            stderr: Output::nothing(),
            left_behind: 0,
            survivors: 0,
        }
    }

    /// Writes it; if nobody reads any more, nobody is told.
    pub(super) fn send(&self, pipe: impl AsFd) {
        if let Ok(bytes) = frame(&encode(self), REPORT_BYTES_MAX) {
            let _ = rustix::io::retry_on_intr(|| rustix::io::write(&pipe, &bytes));
        }
    }
}

/// Reads the report once its pipe is readable or closed; waits if it is neither. `None` when the
/// supervisor ended without one: then nobody knows what became of the command, and it is indeterminate.
///
/// # Errors
/// When the pipe cannot be read, or what comes is no report.
pub fn read_report(pipe: impl AsFd) -> io::Result<Option<Report>> {
    // Written in one piece, it is read in one.
    let mut buffer = [0; FRAME_HEADER_BYTES + REPORT_BYTES_MAX];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&pipe, &mut buffer))?;
    let mut reader = FrameReader::new(REPORT_BYTES_MAX);
    reader.push(buffer.get(..read).unwrap_or_default());
    match reader.next_frame().map_err(io::Error::other)? {
        Some(body) => decode(&body, REPORT_BYTES_MAX).map(Some).map_err(io::Error::other),
        None if read == 0 => Ok(None),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
