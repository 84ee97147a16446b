//! What a person or a script reads: tables, JSON, prompts, times, and text from hosts made harmless.
//!
//! Decides how values look, never what they are. Always holds: text that a host chose reaches the
//! terminal only through [`escape`], and a column of states holds this program's own words alone.
//! Everything here takes terminal tests, environment and `now` as arguments, so that all of it is
//! tested without a terminal. It knows nothing of hosts, orders or exit codes.
//!
//! After kubectl's output formats, `ClusterShell`'s folded node sets, and the escaping rules that
//! `OpenSSH`'s `vis` and git's `quotePath` arrived at.

pub mod change;
pub mod escape;
pub mod hanging;
pub mod nodeset;
pub mod output;
pub mod prompt;
pub mod raw;
pub mod style;
pub mod table;
pub mod talk;
pub mod time;
pub mod watch;
pub mod wrap;

pub use change::{Change, Outcome};
pub use output::{Format, Output, OutputError, Sheet};
pub use style::{HOST_STATES, Mark, Style};
pub use table::{Column, Kind};
pub use talk::{AskError, Talk};
pub use watch::Watch;
