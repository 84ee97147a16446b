//! What a fleet can do, one folder a capability; none uses another.

pub mod audit;
pub mod authority;
pub mod context;
pub mod doctor;
pub mod groups;
pub mod hosts;
pub mod inventory;
pub mod keys;
pub mod membership;
pub mod past;
pub mod replication;
pub mod run;
pub mod status;
pub mod upkeep;
pub mod registry;
