//! The agent as a whole: where its files are, in which order its parts start and stop.

mod places;
mod settings;

pub use places::Places;
pub use settings::{Settings, SettingsError};
