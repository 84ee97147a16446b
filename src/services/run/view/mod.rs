//! A job as a person or a script sees it.
//!
//! Standard output gets what hosts said and how they ended, standard error the talk around it. What a
//! host chose is escaped, except the bytes of a raw view that no terminal shows; on a terminal those pass
//! a filter. [`Screen`] decides what shows, from events alone; [`Job`] knows the order and its hosts, makes
//! events of what comes in, and fetches what must be shown and is not here.

mod difference;
mod fetch;
mod fold;
mod group;
mod job;
mod line;
mod names;
mod progress;
mod record;
mod screen;
mod show;
mod words;

pub(super) use job::{Job, heading, last_seen};
pub(super) use record::HOSTS;
pub(super) use screen::Effect;
pub(super) use words::{clock_time, counted, next_step, summary};

#[cfg(test)]
mod tests;
