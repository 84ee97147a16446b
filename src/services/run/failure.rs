//! Why a command about orders did not come to its end.

use super::Foreseen;
use crate::{control::ControlError, journal::OperatorError, targets::TargetError, terminal::OutputError};

/// Why a command about orders did not come to its end. Unless a variant says otherwise, no order was
/// sent.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flags contradict each other, or lack something.
    #[error("{problem}")]
    Usage {
        /// What.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// It cannot be told which hosts are meant.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The hosts would refuse it.
    #[error(transparent)]
    Foreseen(#[from] Foreseen),
    /// It would ask first, and nobody can be asked.
    #[error("{}", crate::terminal::prompt::REFUSED)]
    NobodyToAsk,
    /// Asked, and the answer was not yes.
    #[error("not sent: the answer was not yes")]
    Declined,
    /// The agent cannot be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The agent did not take the order.
    #[error("the agent did not take the order: {0}")]
    NotTaken(#[source] ControlError),
    /// The connection broke while the order was handed over: hosts may run it.
    #[error("the agent went away while it took job {job}; hosts may run it all the same")]
    Unconfirmed {
        /// The job.
        job: String,
        /// Why.
        source: ControlError,
    },
    /// The operator's directory cannot be used.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The terminal cannot be asked or written to.
    #[error("cannot use the terminal")]
    Terminal(#[from] std::io::Error),
    /// No job of this name.
    #[error("no job {0:?} here")]
    NoJob(String),
    /// More than one job of this name.
    #[error("{prefix:?} could be {}", jobs.join(" or "))]
    AmbiguousJob {
        /// What was given.
        prefix: String,
        /// What it could be; not all, if there are many.
        jobs: Vec<String>,
    },
    /// Somebody else ordered it, so only they can end it.
    #[error("job {job} was ordered by {person}, and only who ordered it can cancel it")]
    NotYours {
        /// The job.
        job: String,
        /// Who ordered it.
        person: String,
    },
    /// What this operator says on an order that needs approvals would not count.
    #[error("not permitted: {why} (job {job})")]
    NoSay {
        /// The job.
        job: String,
        /// Why.
        why: String,
    },
    /// Asked about an approval, and the answer was not yes.
    #[error("nothing was signed: the answer was not yes")]
    NotAgreed,
    /// The host gave no result that could have output.
    #[error("no output of {host}: {why}")]
    NoOutput {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
}

impl RunError {
    /// The exit code, as the contract with scripts has it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::NobodyToAsk | Self::NoJob(_) | Self::AmbiguousJob { .. } => 2,
            Self::Target(error) => error.code(),
            Self::Foreseen(_) | Self::NotYours { .. } | Self::NoSay { .. } => 4,
            Self::Declined
            | Self::NotAgreed
            | Self::Output(_)
            | Self::Terminal(_)
            | Self::NoOutput { .. } => 1,
            Self::Control(error) | Self::NotTaken(error) => match error {
                ControlError::NotAllowed { .. } | ControlError::Refused { right: true, .. } => 4,
                ControlError::Refused { right: false, .. } | ControlError::Malformed(_) => 1,
                ControlError::NoAgent { .. }
                | ControlError::Offline { .. }
                | ControlError::Version { .. }
                | ControlError::Gone(_)
                | ControlError::Slow(_) => 5,
            },
            Self::Unconfirmed { .. } => 5,
            Self::Operator(error) => match error {
                OperatorError::Key(_) | OperatorError::Sign(_) | OperatorError::NoCertificate { .. } => 4,
                OperatorError::Io { .. } | OperatorError::Damaged { .. } => 1,
            },
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::Usage { hint, .. } => one(hint),
            Self::Target(error) => error.hints("muster run", "-- uptime"),
            Self::Foreseen(_) => one("nothing was sent; muster status says who you are in this fleet"),
            Self::Control(ControlError::NoAgent { .. }) => one("start it: muster agent"),
            Self::Control(ControlError::Offline { .. }) => {
                one("which addresses were tried says: muster context show")
            }
            Self::Control(ControlError::NotAllowed { .. }) => {
                one("use sudo, or join the group that owns the socket")
            }
            Self::Control(ControlError::Version { .. }) => one("run the same muster on both sides"),
            Self::Control(_) | Self::NotTaken(_) => one("muster status says how the agent is"),
            Self::Unconfirmed { job, .. } => vec![format!("muster job show {job}")],
            Self::NoJob(_) | Self::AmbiguousJob { .. } => one("muster job ls"),
            Self::NotYours { job, .. } => vec![format!("muster job watch {job}")],
            Self::NoSay { job, .. } => vec![format!("who may: muster approval show {job}")],
            Self::NobodyToAsk
            | Self::Declined
            | Self::NotAgreed
            | Self::Operator(_)
            | Self::Output(_)
            | Self::Terminal(_)
            | Self::NoOutput { .. } => Vec::new(),
        }
    }
}
