//! What a command may take.

/// What a command may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory that it can write, in bytes: of each process by its own limit (setrlimit(2), `RLIMIT_DATA`), of all
    /// together where there is a control group.
    pub memory_bytes: Option<u64>,
    /// Processes: of its user, what runs already among them, by `RLIMIT_NPROC`, which does not bind root; of the
    /// command where there is a control group.
    pub processes: u64,
    /// Open files of each process.
    pub descriptors: u64,
}
