//! The socket pair between the two processes of an agent: what they say to each other, and the executor's
//! end of it; and what the executor says to the service manager that started it.
//!
//! Decides how long a message may be and how many bytes may wait for a mesh process that does not read.
//! Knows nothing of what a message means: who may ask for what, the executor judges. It stands before
//! [`executor`](crate::executor) so that what judges and runs can be read without what carries.

pub mod message;
mod notify;
mod socket;

pub use notify::Notify;
pub use socket::Link;
