//! Who may do what: a pure fold over signed objects, in layers (root chain, certificates, hosts and
//! their tags).
//!
//! Decides which hosts belong, which tags they bear, and whether a signed request may be acted on by a
//! host. Always holds: the result is a function of the set of objects, not of the order or number of
//! their arrivals; nothing a host says of itself gives it a right; what is not understood gives
//! nothing. Recognising (for storing and relaying) never looks at the time, only acting does. It does
//! not know where objects come from or how they are kept.
//!
//! After Tailscale's `tka` (a hash-linked chain with deterministic fork choice) and OpenSSH's
//! certificates (closed struct, principals, short validity); see also TUF, section 5.

mod admission;
mod admit;
mod certificate;
mod chain;
mod change;
mod enrolment;
mod fold;
mod grant;
mod groups;
mod held;
mod marks;
mod members;
mod notices;
mod op;
mod refusal;
#[cfg(test)]
pub(crate) mod sample;
mod stop;
#[cfg(test)]
mod stops_tests;
#[cfg(test)]
mod tests;
mod whom;

pub use admission::Admission;
pub use admit::{Admitted, Ask, Asks, ORDER_VALID_MAX};
pub use certificate::{AGENT_USER, ANY, Certificate, Verb};
pub use chain::{ChainError, RootChain, RootUpdate};
pub use change::{Genesis, Lift, Revocation, RootChange, Roots};
pub use enrolment::{
    Departure, Enrolled, Enrolment, HostCertificate, HostKeys, INVITATION_VALID_MAX, Invitation,
    NAME_CHARS_MAX, OfflineRequest, check_name,
};
pub use fold::{Authority, Host, Standing, TagState};
pub use grant::Grant;
pub use groups::GroupState;
pub use held::{Halted, Stop};
pub use marks::{Marks, Meant, ROSTER_INLINE_MAX};
pub use members::{ListError, ListId, ListPlace, Listing, MEMBERS_MAX, MemberList, stands};
pub use op::{Op, OpAction, TagChange};
pub use refusal::Refusal;
pub use stop::{Halt, Suspension};
pub use whom::{Cut, Mark, REASON_BYTES_MAX, Whom, half};
