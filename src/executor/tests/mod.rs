//! The executor as a whole, in a process of its own, with a mesh process that only carries what the test
//! says: every byte that the executor reads from its pair comes from here.

mod abuse;
mod approved;
mod audit;
mod ends;
mod harness;
mod judged;
mod once;
mod past;
mod private;
mod shipped;
mod stopped;
