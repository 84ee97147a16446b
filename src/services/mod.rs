//! What a fleet can do, one folder a capability; none uses another.

pub mod run;
