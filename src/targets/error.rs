//! Why it cannot be told which hosts are meant.

use crate::{
    control::Mistyped,
    selector::{SelectorError, TagError},
    terminal::{escape, nodeset::NodesetError},
};

/// Why it cannot be told which hosts are meant. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was given.
    #[error("no target: say which hosts this is for")]
    Missing,
    /// `--all` and something that narrows.
    #[error("--all and a narrower target contradict each other")]
    AllAndMore,
    /// The selector cannot be read.
    #[error("{}", error.render(text))]
    Selector {
        /// What was given.
        text: String,
        /// Why not.
        error: SelectorError,
    },
    /// A label cannot be read.
    #[error("{}: {error}", escape::line(label))]
    Label {
        /// What was given.
        label: String,
        /// Why not.
        error: TagError,
    },
    /// A set of names cannot be read.
    #[error("{error}\n  {}\n  {}^", escape::line(text), " ".repeat(escape::width(&escape::line(text.get(..error.at).unwrap_or_default()))))]
    Names {
        /// What was given.
        text: String,
        /// Why not.
        error: NodesetError,
    },
    /// SSM's words for targets cannot be read, or mean nothing here.
    #[error("{problem}\n  {}\n  {}{}", escape::line(text), " ".repeat(escape::width(&escape::line(text.get(..*at).unwrap_or_default()))), "^".repeat((*length).max(1)))]
    Ssm {
        /// What was given.
        text: String,
        /// Where the fault begins, in bytes.
        at: usize,
        /// How wide it is, in characters.
        length: usize,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// No group has this name.
    #[error("no group is called {}", escape::line(name))]
    UnknownGroup {
        /// What was given.
        name: String,
        /// The name that is nearest.
        near: Option<String>,
    },
    /// Operators wrote a group differently without seeing each other.
    #[error("group {} is in conflict: {}", escape::line(name), written.join(" against "))]
    GroupConflict {
        /// The group.
        name: String,
        /// What they wrote.
        written: Vec<String>,
    },
    /// A group's text is no selector to this version.
    #[error("group {} cannot be read: {}", escape::line(name), error.render(text))]
    GroupText {
        /// The group.
        name: String,
        /// What it says.
        text: String,
        /// Why not.
        error: SelectorError,
    },
    /// No member has this name.
    #[error("no host is called {}", escape::line(name))]
    UnknownName {
        /// What was given.
        name: String,
        /// The name that is nearest.
        near: Option<String>,
    },
    /// More than one member has this name, or begins with it.
    #[error("{} could be {}", escape::line(name), hosts.join(", "))]
    Ambiguous {
        /// What was given.
        name: String,
        /// What it could be; not all, if there are many.
        hosts: Vec<String>,
    },
    /// The target is clear, and no member is in it.
    #[error("no host matches {selector}{}", mistyped.as_ref().map(|it| format!(": none has {}", escape::line(&it.typed))).unwrap_or_default())]
    NoHost {
        /// The selector's text.
        selector: String,
        /// For how many members it cannot be told.
        unknown: usize,
        /// Whether it asks for what hosts say of themselves.
        facts: bool,
        /// What in it was probably mistyped.
        mistyped: Option<Mistyped>,
    },
    /// More hosts than the command takes.
    #[error("{hosts} hosts, where one order can name {limit}")]
    TooMany {
        /// How many.
        hosts: usize,
        /// How many may be.
        limit: usize,
    },
}

impl TargetError {
    /// The exit code, as the contract with scripts has it.
    pub fn code(&self) -> u8 {
        match self {
            Self::NoHost { .. } | Self::UnknownName { .. } => 3,
            _ => 2,
        }
    }

    /// What to do next. `command` is what the flags stand behind, such as `muster run`; `rest` what follows them.
    pub fn hints(&self, command: &str, rest: &str) -> Vec<String> {
        let such = |flags: &str| {
            if rest.is_empty() { format!("{command} {flags}") } else { format!("{command} {flags} {rest}") }
        };
        match self {
            Self::Missing => vec![
                such("-l role=web"),
                such("-H 'web-[01-10,12]'"),
                such("-t 'tag.role = web and not tag.env = prod'"),
                such("--all"),
            ],
            Self::AllAndMore => vec!["leave out --all".to_owned()],
            Self::Selector { error, .. } | Self::GroupText { error, .. } => {
                error.hint.iter().cloned().collect()
            }
            Self::Label { .. } => vec!["write it as -l role=web".to_owned()],
            Self::Names { .. } => vec!["write it as -H web-1 or -H 'web-[01-10,12]'".to_owned()],
            Self::Ssm { hint, .. } => vec![hint.clone()],
            Self::UnknownName { near: Some(near), .. } | Self::UnknownGroup { near: Some(near), .. } => {
                vec![format!("did you mean {near}?")]
            }
            Self::UnknownGroup { near: None, .. } => vec!["muster group ls".to_owned()],
            Self::GroupConflict { name, .. } => {
                vec![format!(
                    "write what it shall be: muster group set {} 'tag.role = web'",
                    escape::line(name)
                )]
            }
            Self::NoHost { mistyped: Some(Mistyped { near, .. }), .. } => {
                vec![format!("did you mean {}?", escape::line(near)), "muster host ls".to_owned()]
            }
            Self::NoHost { unknown, .. } if *unknown > 0 => vec![
                format!("it cannot be told for {unknown} hosts, since they lack what it asks for"),
                "muster host ls".to_owned(),
            ],
            Self::NoHost { facts: true, selector, .. } => {
                vec![format!("muster select --explain '{selector}'")]
            }
            Self::UnknownName { near: None, .. } | Self::NoHost { .. } => vec!["muster host ls".to_owned()],
            Self::Ambiguous { .. } => vec!["write more of the name, or its id".to_owned()],
            Self::TooMany { limit, .. } => vec![such(&format!("--all --limit {limit}"))],
        }
    }
}
