//! What every host of a fleet holds: signed entries, where each has its place, and how two merge.
//!
//! Decides whether an entry is new, known, older or a fork. Always holds: merging is commutative,
//! associative and idempotent (what is held and what it means is a function of the set of entries);
//! the local clock decides nothing; every table has a bound. It does not know where entries come from
//! or how they are kept on disk.

mod approvals;
mod arrived;
mod audit;
mod base;
mod entry;
mod equivocation;
mod facet;
mod facets;
mod head;
mod heads;
mod items;
mod known;
mod ledger;
mod lists;
mod operators;
mod order;
mod outcome;
mod private;
mod roots;
mod seats;
mod state;
mod tip;
mod waiting;

pub use approvals::APPROVALS_AN_ORDER_MAX;
pub use arrived::Arrived;
pub use audit::{AuditEvent, AuditFault, AuditHead, AuditRecord, AuditWalk, Audited, fork};
pub use base::{Base, choose_base};
pub use entry::{Entry, EntryError, Item, Place};
pub use equivocation::{Equivocation, TwoHeads};
pub use facet::{FACET_BYTES_MAX, FacetError, FacetHalf, FacetHash, PACKED_BYTES_MAX, Packed, Table, Tables};
pub use head::{FACET_NODE, FacetRef, Head, NODE_BYTES_MAX, NodeFacet};
pub use heads::{HeadPlace, Missing};
pub use known::Known;
pub use ledger::Element;
pub use order::{
    Action, BLOB_BYTES_MAX, Blob, CARD_VALID_MAX, Cancellation, Card, KEEPERS_MAX, Limits, Order,
    ReadRequest, Roster,
};
pub use outcome::{
    INLINE_OUTPUT_BYTES_MAX, Kept, Outcome, Output, RECEIPT_REPORTS_MAX, Receipt, Report, ResultRecord,
};
pub use private::{Command, PRIVATE_HOSTS_MAX, Private, PrivateError, Sink, output_opener};
pub use roots::{Roots, first_hour};
pub use seats::Seats;
pub use state::{Merged, Replica};
pub use tip::{HeadTips, Lacked, Sections, Tip, TipForm, put_varint, take_varint};
pub use waiting::{Cancelled, Handed, WAITING_MAX, Waiting};
