//! The orders of versions, asked of the tools whose orders they are: hundreds of thousands of pairs each, and no
//! answer may differ. Where a project publishes what its order must give, that is asked too.
//!
//! The pairs are two of a kind more often than not, because that is where an order goes wrong: real versions and
//! made ones, each next to a copy with a few characters changed. They come from a seed;
//! `VERSIONS_SEED=n cargo test --test versions` takes another one.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what was missing by failing"
)]

#[path = "../support/mod.rs"]
mod support;

mod asked;
mod chance;
mod dpkg;
mod npm;
mod pip;
mod published;
mod rpm;
