//! What is fuzzed, and what must hold of it.

use std::path::Path;

use muster::executor::message;
use muster::sync;

use crate::chance::Chance;
use crate::records::{self, Messages};
use crate::{files, selector, texts};

/// A reader of bytes that strangers or people may have written.
pub(crate) trait Target {
    /// How it is called on the command line; its corpus has the same name.
    fn name(&self) -> &'static str;

    /// How long a run without `--seconds` lasts.
    fn seconds(&self) -> u64 {
        10
    }

    /// The longest input: a little longer than the reader's own bound, so that the bound is met.
    fn bytes_max(&self) -> usize;

    /// What to start from, besides the files of the corpus.
    fn seeds(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Words that mutation puts in.
    fn words(&self) -> &'static [&'static [u8]] {
        &[]
    }

    /// Makes an input up by the rules of what is read; none where nobody wrote such rules down.
    fn made(&self, _chance: &mut Chance) -> Option<Vec<u8>> {
        None
    }

    /// Changes an input by the rules of what is read; nothing where it has no such form.
    fn changed(&self, _chance: &mut Chance, _input: &[u8], _other: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Reads `input` and checks all that must hold. An error is what did not. May panic: that is a finding too.
    fn check(&self, input: &[u8]) -> Result<Said, String>;
}

/// What a reader said of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// Whether it was read, and not refused.
    pub(crate) read: bool,
    /// Stands for the answer: an input with a new one is kept and changed further.
    pub(crate) answer: u64,
}

pub(crate) fn all() -> Vec<Box<dyn Target>> {
    let mut all: Vec<Box<dyn Target>> = vec![
        Box::new(selector::Selectors),
        Box::new(Messages::<sync::Message>::new("sync", sync::MESSAGE_BYTES_MAX)),
        Box::new(Messages::<message::ToMesh>::new("to-mesh", message::MESSAGE_BYTES_MAX)),
        Box::new(Messages::<message::ToExecutor>::new("to-executor", message::MESSAGE_BYTES_MAX)),
        Box::new(records::Bodies),
        Box::new(records::Envelopes::new()),
        Box::new(records::Facets),
        Box::new(records::Frames),
        Box::new(texts::Tokens),
        Box::new(files::Ssh),
        Box::new(files::Journal::new()),
    ];
    all.extend(of_the_agent());
    all
}

#[cfg(not(feature = "agent"))]
fn of_the_agent() -> Vec<Box<dyn Target>> {
    Vec::new()
}

#[cfg(feature = "agent")]
fn of_the_agent() -> Vec<Box<dyn Target>> {
    use muster::control::{MESSAGE_BYTES_MAX, Reply, Request};
    vec![
        Box::new(Messages::<Request>::new("control-request", MESSAGE_BYTES_MAX)),
        Box::new(Messages::<Reply>::new("control-reply", MESSAGE_BYTES_MAX)),
        Box::new(texts::Nodesets),
        Box::new(texts::Scenarios),
        Box::new(files::KeyFiles),
        Box::new(files::SettingsFiles),
    ]
}

/// The inputs of a folder: each file is one; and each line of a file that ends in `.lines`, where `#` starts a
/// comment, or in `.hex`.
pub(crate) fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    files.sort_unstable();
    let mut inputs = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if file.extension().is_some_and(|end| end == "hex") {
            inputs.extend(
                bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(records::unhex_line),
            );
        } else if file.extension().is_some_and(|end| end == "lines") {
            let lines = bytes.split(|byte| *byte == b'\n');
            inputs.extend(lines.filter(|line| !line.starts_with(b"#")).map(<[u8]>::to_vec));
        } else {
            inputs.push(bytes);
        }
    }
    inputs
}

/// Inputs of one run that stay, at most; each short enough for a line.
const KEPT_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 1024;

/// Writes inputs into the corpus, evenly chosen, a line each.
pub(crate) fn keep(folder: &Path, mut inputs: Vec<Vec<u8>>) {
    use std::fmt::Write as _;
    inputs.retain(|input| !input.is_empty() && input.len() <= KEPT_BYTES_MAX);
    inputs.sort_unstable();
    inputs.dedup();
    let step = inputs.len().div_ceil(KEPT_MAX).max(1);
    let mut text = String::new();
    for input in inputs.iter().step_by(step) {
        for byte in input {
            let _always = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    std::fs::create_dir_all(folder).expect("a folder for the corpus");
    std::fs::write(folder.join("kept.hex"), text).expect("the corpus is written");
}

/// Says that something did not hold.
macro_rules! holds {
    ($condition:expr, $($said:tt)+) => {
        if !$condition {
            return Err(format!($($said)+));
        }
    };
}
pub(crate) use holds;
