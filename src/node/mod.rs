//! The agent as a whole: where its files are, in which order its parts start and stop.
//!
//! It decides nothing about orders or entries; it makes the parts and hands each what it needs. The
//! executor is the process that was started ([`agent`]); the mesh process is its child
//! ([`mesh_process`]) and ends when the socket pair between them closes.

mod acquaintances;
mod agent;
pub mod clock;
mod confine;
mod control;
mod epoch;
mod mesh;
mod places;
mod settings;
mod start;
mod unable;
mod unit;

pub use agent::{StartError, agent};
pub use mesh::{MeshError, mesh_process};
pub use places::{Places, Source};
pub use settings::{Settings, SettingsError};
pub use unit::unit;
