//! Why something signed is not acted on. Each has a sentence for people and a stable word for scripts.

use crate::time::Timestamp;

/// Why a signed object gives no right here. Nothing was changed or started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The certificate it names is not one of this fleet's.
    #[error("its certificate is not known to this fleet")]
    UnknownCertificate,
    /// The certificate belongs to another key.
    #[error("its certificate is for another key")]
    NotTheHolder,
    /// The certificate was not valid when the object was made, or is not now.
    #[error("the certificate of {person} is not valid at that time")]
    CertificateExpired {
        /// Whose.
        person: String,
    },
    /// An admin suspended its signer, or the certificate.
    #[error("{person} is suspended by {by}{}", because(reason))]
    Suspended {
        /// Whose certificate.
        person: String,
        /// Who suspended.
        by: String,
        /// Why.
        reason: String,
    },
    /// The roots revoked its signer, or the certificate.
    #[error("{person} is revoked{}", because(reason))]
    Revoked {
        /// Whose certificate.
        person: String,
        /// Why.
        reason: String,
    },
    /// Ordered before its signer's suspension was lifted: it may have waited somewhere.
    #[error("ordered before the suspension of {person} was lifted; to be ordered again")]
    BeforeLift {
        /// Whose certificate.
        person: String,
    },
    /// The host is halted.
    #[error("halted by {by}{}; the roots can end that", because(reason))]
    Halted {
        /// Who halted.
        by: String,
        /// Why.
        reason: String,
    },
    /// A certificate that is passed on would allow more than the one that it is from.
    #[error("it would allow more than the certificate of {person}: {what}")]
    Wider {
        /// Whose certificate it is from.
        person: String,
        /// What is more.
        what: &'static str,
    },
    /// The verb is not in the certificate.
    #[error("the certificate of {person} does not allow {verb}")]
    VerbNotGranted {
        /// Whose.
        person: String,
        /// The verb's word.
        verb: &'static str,
    },
    /// Approvals by others are demanded, and they are too few so far. It is not refused for good.
    #[error("it needs the approval of {needed} others than {person}, and has that of {given}")]
    NeedsApproval {
        /// Who asks.
        person: String,
        /// How many approve.
        given: usize,
        /// How many have to.
        needed: u8,
    },
    /// Approvals by others are demanded, and one who may give them refused.
    #[error("{by} refused to approve it{}", because(reason))]
    NotApproved {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The user is not in the certificate.
    #[error("the certificate of {person} does not allow running as {user}")]
    RunAsNotGranted {
        /// Whose.
        person: String,
        /// The user.
        user: String,
    },
    /// More hosts than the certificate allows in one order.
    #[error("{hosts} hosts, where the certificate of {person} allows {limit}")]
    TooManyHosts {
        /// Whose.
        person: String,
        /// How many.
        hosts: usize,
        /// The cap.
        limit: u32,
    },
    /// The certificate's scope does not cover this host.
    #[error("the certificate of {person} does not cover this host (scope: {scope})")]
    OutOfScope {
        /// Whose.
        person: String,
        /// The scope's text.
        scope: String,
    },
    /// The selector, or a scope, cannot be read.
    #[error("its selector cannot be read: {0}")]
    BadSelector(String),
    /// The host is not in the roster.
    #[error("this host is not in the roster")]
    NotInRoster,
    /// The roster is some of a list, and where the host stands in that is not proven.
    #[error("where this host stands in the list of the roster is not proven")]
    NotProven,
    /// The host is, but its signed tags no longer match the selector.
    #[error("this host's tags do not match {selector}")]
    NotSelected {
        /// The selector's text.
        selector: String,
    },
    /// Past its expiry.
    #[error("expired")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Issued in the future, beyond what clocks may differ.
    #[error("issued in the future by this host's clock")]
    NotYet {
        /// When.
        issued: Timestamp,
    },
    /// Valid for longer than any order may be.
    #[error("valid for longer than 30 days")]
    ValidTooLong,
    /// An order that may have been executed and forgotten here.
    #[error("too old: it expires before what this host still remembers")]
    BelowFloor,
    /// The host was restored from an older copy of its state, so it may have run this and not know it.
    #[error(
        "this host was restored from an older copy of its state, and may have run this before: order it anew"
    )]
    Restored,
    /// The user does not exist on this host.
    #[error("no user {user} on this host")]
    NoSuchUser {
        /// The user.
        user: String,
    },
    /// The host's user database (a directory service, say) gives no answer.
    #[error("whether there is a user {user} on this host cannot be told: {why}")]
    UsersUnknown {
        /// The user.
        user: String,
        /// Why.
        why: String,
    },
    /// The agent does not run as root, so it can run commands only as its own user.
    #[error("this agent runs without root and cannot run as {user}")]
    CannotBecome {
        /// The user.
        user: String,
    },
    /// The host has left the fleet or its token was over-used.
    #[error("this host is not a member: {0}")]
    NotAMember(&'static str),
    /// A name that hosts may not have.
    #[error("not a host name: lower-case letters, digits, inner hyphens and dots, at most 63")]
    BadName,
    /// What no group may be called, or stand for.
    #[error(
        "not a group: a name of small letters, digits and . _ -, at most 63, for a selector of at most 4 KiB"
    )]
    BadGroup,
    /// A tag beyond what the certificate, or the token, allows.
    #[error("the tag {tag} is not granted")]
    TagNotGranted {
        /// `key=value`.
        tag: String,
    },
    /// The token was past its expiry.
    #[error("the token has expired")]
    TokenExpired,
    /// The token was redeemed as often as it may be.
    #[error("the token was used {uses} times, which is all it allows")]
    TokenUsedUp {
        /// How often it may be used.
        uses: u32,
    },
    /// A weak key.
    #[error("a key is weak or no key")]
    WeakKey,
    /// A bound is exceeded.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Malformed beyond what its type can say.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// What was shipped with it cannot be run or read.
    #[error("what was shipped with it {0}")]
    NotShipped(String),
    /// What is sealed in it cannot be run.
    #[error("{0}")]
    Sealed(String),
    /// The place in the stream does not follow what is held; the sender is asked again later.
    #[error("does not follow what is held of its stream")]
    Gap,
    /// The executor has no room to claim it.
    #[error("the host cannot record the claim: {0}")]
    NoClaim(String),
}

/// The reason that somebody gave, if they did.
fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}
