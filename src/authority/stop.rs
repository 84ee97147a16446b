//! What any one admin can sign to stop something at once: a suspension, a halt. Both end by the roots alone.
//!
//! *Cheap to stop, dear to give*: a suspension counts from the moment that it is known, whatever clocks say and
//! whoever suspends its signer. What ends it is [`super::RootChange::Lift`].

use super::{Cut, Whom, whom::REASON_BYTES_MAX};
use crate::{
    identity::{EntryId, Kind, Operator, Payload},
    selector::Selector,
    time::Timestamp,
    wire_record,
};

/// Nothing that these sign is acted on any more, but for what the cut leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// The certificate it is written under.
    pub certificate: EntryId,
    /// Who or what.
    pub whom: Whom,
    /// When it was signed.
    pub at: Timestamp,
    /// Since when what they did is suspect, as its signer believes: shown, and what the cut was made by.
    pub effective: Timestamp,
    /// What stands of what they did.
    pub cut: Cut,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Suspension closed { certificate, whom, at, effective, cut, reason });

impl Payload for Suspension {
    const KIND: Kind = Kind::Suspension;
    const BYTES_MAX: usize = 32 * 1024;
    type Signer = Operator;
}

impl Suspension {
    /// Whether it can be read in one way only.
    pub fn is_well_formed(&self) -> bool {
        self.cut.is_well_formed() && self.reason.len() <= REASON_BYTES_MAX
    }
}

/// No order is acted on where the selector is true, whoever signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The certificate it is written under; it halts within that one's scope.
    pub certificate: EntryId,
    /// Where: a selector over tags only.
    pub selector: String,
    /// When it was signed.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Halt closed { certificate, selector, at, reason });

impl Payload for Halt {
    const KIND: Kind = Kind::Halt;
    const BYTES_MAX: usize = 8 * 1024;
    type Signer = Operator;
}

impl Halt {
    /// Where, if that can be decided by tags alone.
    pub fn selector(&self) -> Option<Selector> {
        let short = self.reason.len() <= REASON_BYTES_MAX;
        Selector::parse(&self.selector).ok().filter(|selector| short && selector.uses_tags_only())
    }
}
