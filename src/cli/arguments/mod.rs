//! The argument tree. Completion, man pages and help are made from it, so it says all there is to say.
//!
//! A verb is a variant of `Verb` and a word in one of the groups of `tree.rs`; its flags stand in the file of its
//! group here, and what it does in the file of its group beside this folder, which `dispatch/verbs.rs` calls.

mod inventory;
mod job;
mod key;
mod membership;
mod hosts;
mod mesh;
mod program;
mod run;
mod tree;
mod trust;

pub(super) use hosts::{Host, HostAdmit, HostTag, HostUntag, Select};
pub(super) use inventory::{Inventory, InventoryCompare, InventorySearch, InventoryShow};
pub(super) use job::{Job, JobRerun};
pub(super) use key::{Key, KeyExport};
pub(super) use membership::{Agent, Demo, Init, Invite, Join, Leave, Listen};
pub(super) use mesh::{Audit, Scenario, ScenarioRun, ScenarioSimulate, Store};
pub(super) use program::{Complete, Config, Schema, Shell};
pub(super) use run::{Pacing, Run, RunExit, RunView};
pub use tree::{Arguments, command};
pub(super) use tree::{Global, Verb};
pub(super) use trust::{Halt, Operator, RootFlags, Unhalt};
