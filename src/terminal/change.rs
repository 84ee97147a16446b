//! What came of a command that changes something, for scripts: the document `muster.change/v1`.
//!
//! People read the same as a remark. One small shape serves every such command, so that a new one has a document
//! from its first day: what was recorded with [`Talk`](super::Talk), else what people were told.

use serde_json::{Value, json};

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so now, and was not before.
    Changed,
    /// It was so already: nothing was done.
    Unchanged,
    /// It would be done; this was a dry run.
    Foreseen,
    /// It waits for somebody else's signature.
    Waiting,
    /// It was done; whether it was so before is not known.
    Done,
}

impl Outcome {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Foreseen => "foreseen",
            Self::Waiting => "waiting",
            Self::Done => "done",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What became of it.
    pub outcome: Outcome,
    /// What it is about, as people read it.
    pub what: Option<String>,
    /// Ids of the entries that were signed for it.
    pub ids: Vec<String>,
}

impl Change {
    /// The document, for `command` and with the remarks that people were given.
    pub fn document(&self, command: &str, remarks: &[String]) -> Value {
        json!({
            "command": command, "outcome": self.outcome.word(), "what": self.what, "ids": self.ids,
            "remarks": remarks,
        })
    }
}
