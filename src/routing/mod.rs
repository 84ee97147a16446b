//! Which links to have. (Paths over several of them come with sessions.)
//!
//! Decides whom to dial and which link to give up, from what is known of the members and of earlier
//! failures. Always holds: a host aims at [`LINKS_MIN`] to [`LINKS_MAX`] links; one of them is its
//! successor in the order of ids, past those that cannot be reached, so that the whole is connected
//! (Stoica et al., "Chord", section 4.4, keeps successors for the same reason); the others are its own
//! random choice, so that nobody can choose them for it; whoever cannot be reached, or with whom no link lasts, is
//! tried again more and more rarely, but at least every half a minute. It dials nothing itself.

mod neighbours;

pub use neighbours::{Candidate, LINKS_MAX, LINKS_MIN, Neighbours, Plan};
