//! Who may do what, for people: `operator ls/suspend/lift/revoke`, `halt`, `unhalt`.
//!
//! What is signed here is signed by this process alone: a suspension or a halt with the operator's key, what ends
//! one or takes something for ever with as many root keys as the fleet demands, which may come one after the other,
//! each where it is kept, by way of a file. Agents only carry it; every host judges it by itself.

mod cut;
mod request;
mod roots;
#[cfg(test)]
mod tests;
mod verb;
mod view;

pub use request::{AuthorityError, HaltRequest, Rooted, StopRequest};
pub use verb::{Named, halt, lift, list, revoke, suspend, unhalt};
