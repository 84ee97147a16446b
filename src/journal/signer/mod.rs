//! Where an operator's key is, and how it signs: in a file, in a file under a passphrase, or in an SSH
//! agent, on a FIDO token too.
//!
//! Decides who is asked for a signature and how long that may take. Always holds: the secret half is in
//! memory only where it came from a file; what an agent gives is checked like what came from a stranger,
//! before anything is made of it; an agent's answer has a bound and a deadline; a passphrase comes from a
//! terminal or a descriptor, never from arguments or the environment. It knows nothing of what is signed.
//!
//! **What a forwarded agent is.** Whoever runs the machine at which an agent ends can have it sign what it
//! likes, for us too; that this program does not use it there protects from habit, not from that machine.
//! So it is refused unless told. Who listens on the socket is asked of the kernel: `sshd` forwards, whatever
//! the path is. Where the kernel cannot say (another namespace, a listener that is gone), a session that came
//! by SSH counts as forwarded. Both are good guesses, no proof.

mod agent;
mod choice;
mod error;
mod held;
mod passphrase;
mod root;
#[cfg(test)]
mod tests;
mod ways;

pub use agent::SshAgent;
pub use choice::{Choice, ChoiceError, choose};
pub use error::SignError;
pub use held::{OperatorSigner, Place};
pub use root::{RootSigner, root_public};
pub use ways::{Ways, set_ways, ways};
