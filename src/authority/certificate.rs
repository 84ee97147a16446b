//! An operator's certificate: a closed struct, so that a field that a reader does not know makes it
//! worthless to that reader rather than wider.

use crate::{
    identity::ssh::OperatorKey,
    selector::Selector,
    time::Timestamp,
    wire::{Value, Wire, WireError},
    wire_record,
};

/// In a list of users, tag keys or tag values: any.
pub const ANY: &str = "*";
/// The user that the agent itself runs as; what an order runs as where no user is named.
pub const AGENT_USER: &str = "@agent";

/// What a certificate can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verb {
    /// Run commands.
    Run = 0,
    /// Open sessions.
    Session = 1,
    /// Invite hosts.
    Invite = 2,
    /// Put tags on hosts.
    Tag = 3,
    /// Pass certificates on, narrowed.
    Grant = 4,
    /// Suspend and halt.
    Suspend = 5,
    /// Read the output of orders that others signed.
    Read = 6,
    /// Approve what others ask for.
    Approve = 9,
}

impl Verb {
    /// Every verb, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::Session,
        Self::Invite,
        Self::Tag,
        Self::Grant,
        Self::Suspend,
        Self::Read,
        Self::Approve,
    ];

    /// The word that people use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Session => "session",
            Self::Invite => "invite",
            Self::Tag => "tag",
            Self::Grant => "grant",
            Self::Suspend => "suspend",
            Self::Read => "read",
            Self::Approve => "approve",
        }
    }
}

impl Wire for Verb {
    fn to_value(&self) -> Value {
        (*self as u8).to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let number = u8::from_value(value, field)?;
        Self::ALL
            .into_iter()
            .find(|verb| *verb as u8 == number)
            .ok_or(WireError::UnknownTag { what: "Verb", tag: u64::from(number) })
    }
}

/// What one person's key may do, where, as whom and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Who; approvals and suspensions count persons.
    pub person: String,
    /// The key it is for; one on a FIDO token is named with its application.
    pub key: OperatorKey,
    /// What may be done.
    pub verbs: Vec<Verb>,
    /// On which hosts: a selector over tags only, in its text.
    pub scope: String,
    /// The `key=value` pairs it may put on hosts; [`ANY`] in either place.
    pub tags: Vec<(String, String)>,
    /// The users it may run as; [`ANY`] and [`AGENT_USER`] have their meaning.
    pub run_as: Vec<String>,
    /// Most hosts in one order.
    pub hosts_max: Option<u32>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Approvals by other persons that an order needs. What is not an order cannot be approved: where this is not
    /// zero, nothing else is allowed.
    pub approvals: u8,
}
wire_record!(Certificate closed {
    person, key, verbs, scope, tags, run_as, hosts_max, not_before, not_after, approvals,
});

impl Certificate {
    /// Whether `verb` is among its verbs, and its holder needs nobody's approval.
    pub fn allows(&self, verb: Verb) -> bool {
        self.approvals == 0 && self.verbs.contains(&verb)
    }

    /// Whether it was valid at `at`.
    pub fn valid_at(&self, at: Timestamp) -> bool {
        self.not_before <= at && at <= self.not_after
    }

    /// Whether it may put `key=value` on a host.
    pub fn may_tag(&self, key: &str, value: &str) -> bool {
        self.tags.iter().any(|(k, v)| (k == ANY || k == key) && (v == ANY || v == value))
    }

    /// Whether it may take the tag `key` off a host, whatever its value.
    pub fn may_untag(&self, key: &str) -> bool {
        self.tags.iter().any(|(k, _)| k == ANY || k == key)
    }

    /// Whether it may run as `user`. [`ANY`] covers [`AGENT_USER`].
    pub fn may_run_as(&self, user: &str) -> bool {
        self.run_as.iter().any(|allowed| allowed == ANY || allowed == user)
    }

    /// Its scope, if that is a selector over tags only.
    pub fn scope(&self) -> Option<Selector> {
        Selector::parse(&self.scope).ok().filter(Selector::uses_tags_only)
    }
}
