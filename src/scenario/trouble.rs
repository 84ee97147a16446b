//! What went wrong with a throw-away fleet, and what to look at.

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something did not come about.
    Failed,
    /// What was given is wrong.
    Usage,
    /// This machine has not what it takes.
    Unavailable,
}

/// In words, as a person is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// One sentence, without a full stop.
    pub message: String,
    /// Lines to look at: the end of a log, what was expected and what was seen.
    pub pointer: Option<String>,
    /// What to do next.
    pub hints: Vec<String>,
    /// What kind.
    pub kind: Kind,
}

impl Trouble {
    /// Something that did not come about.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), pointer: None, hints: Vec::new(), kind: Kind::Failed }
    }

    /// A mistake in what was given.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, ..Self::new(message) }
    }

    /// Something that this machine does not let us do.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, ..Self::new(message) }
    }

    /// Adds lines to look at.
    #[must_use]
    pub fn point(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// Adds a line on what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
