//! `muster demo`: a throw-away fleet of real processes, and the story of what they did.
//!
//! Decides what is shown, in which order, and what must have happened for a line of it to be told. Always
//! holds: every line is told after it came true and with the time that it really took; the hosts are
//! agents as anyone starts them, which join, carry and run by the same code; when the command has ended,
//! for whatever reason but the loss of the machine, no process of it is left, and no file either, except
//! where `--once` keeps the logs of a story that did not come true, and after a SIGKILL, which leaves
//! files that the next demo names. It knows nothing of how anything that it shows is done.
//!
//! *Why the agents end with the demo:* each asks the kernel for a signal at the end of its parent
//! (`agent --with-parent`), which also holds when nothing here can run any more. A pipe that closes was
//! the other way; it costs the executor one more descriptor to watch, for this command alone.

mod fleet;
mod inventory;
mod orders;
mod packages;
mod story;
mod suggestions;
mod verb;

pub(super) use verb::demo;
