//! The operator keys of this user: where they are, and their signatures for others to check.
//!
//! Decides what is shown of a key and in which form a signature is handed out: files that OpenSSH's own
//! `ssh-keygen -Y verify` takes, so that what was ordered can be proved to who does not trust this program.
//! Asks no agent of the fleet, and writes nothing but those files.

mod verb;

pub use verb::{Exported, KeysError, export, list};
