//! Scenario files: a fleet, steps and faults, and what must come of them, as data.
//!
//! Decides what a file may say, when a step has come true, and what is told of it; and holds what throw-away fleets
//! of real processes are made of, which `muster demo` has too. Always holds: what is told came true; a file is
//! refused before anything is started; every host is an agent of this program as anyone starts it, and knows of
//! the others only the addresses of a proxy, a process of its own; at the end no process is left, and files only
//! where something failed. It does not know how anything that it plays is done: it types command lines and reads
//! what they print.

mod trouble;
mod ground;
mod agent;
mod words;
mod expect;
mod file;
mod parse;
mod links;
mod proxy;
mod story;
mod engine;
mod simulate;

pub use agent::{Agent, LOOK_EVERY};
pub use engine::{Played, end_all, play};
pub use expect::{Expect, Said};
pub use file::{
    Act, Always, AlwaysCheck, Command, FILE_BYTES_MAX, Forgery, Groups, HostPlan, Scenario, Slow, Step, Wait,
};
pub use ground::{Ground, left_over};
pub use parse::parse;
pub use proxy::proxy;
pub use simulate::{Simulated, simulable, simulate};
pub use story::{Teller, Told};
pub use trouble::{Kind, Trouble};
