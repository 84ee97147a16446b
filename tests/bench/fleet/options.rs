//! What can be told to the program.

use std::{env, fs, path::PathBuf, time::Duration};

pub(crate) struct Options {
    pub(crate) muster: PathBuf,
    pub(crate) sizes: Vec<usize>,
    pub(crate) runs: usize,
    pub(crate) idle: Duration,
    pub(crate) stall: Duration,
    pub(crate) split: Duration,
    pub(crate) only: Vec<(String, Option<usize>)>,
}

impl Options {
    pub(crate) fn read() -> Self {
        let mut options = Self {
            muster: PathBuf::from(option_env!("CARGO_BIN_EXE_muster").unwrap_or("target/release/muster")),
            sizes: vec![10, 30, 100],
            runs: 7,
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(120),
            split: Duration::from_secs(300),
            only: Vec::new(),
        };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            let seconds = |value: String| Duration::from_secs(value.parse().unwrap());
            match word.as_str() {
                "--muster" => options.muster = value().into(),
                "--sizes" => options.sizes = value().split(',').map(|n| n.parse().unwrap()).collect(),
                "--runs" => options.runs = value().parse().unwrap(),
                "--idle" => options.idle = seconds(value()),
                "--stall" => options.stall = seconds(value()),
                "--split" => options.split = seconds(value()),
                "--only" => options.only = value().split(',').map(measure).collect(),
                // Cargo adds it.
                "--bench" => {}
                other => panic!("{other}? see the first lines of tests/bench/fleet/main.rs"),
            }
        }
        options.muster = fs::canonicalize(&options.muster)
            .unwrap_or_else(|error| panic!("{}: {error}; build it first", options.muster.display()));
        options
    }

    pub(crate) fn wants(&self, measure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|(only, _)| only == measure)
    }

    /// The numbers of hosts at which a measure is taken, when it is: as told (`change:20`), or the usual ones.
    pub(crate) fn sizes_of(&self, measure: &str, usual: &[usize]) -> Vec<usize> {
        if self.only.is_empty() {
            return usual.to_vec();
        }
        let told = self.only.iter().filter(|(only, _)| only == measure);
        told.flat_map(|(_, size)| size.map_or_else(|| usual.to_vec(), |size| vec![size])).collect()
    }
}

/// `WORD` or `WORD:HOSTS`.
fn measure(text: &str) -> (String, Option<usize>) {
    text.split_once(':').map_or_else(
        || (text.to_owned(), None),
        |(word, size)| (word.to_owned(), Some(size.parse().unwrap())),
    )
}
