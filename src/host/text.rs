//! Small files of text that the system makes.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Longest text that is told of one thing, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 256;

/// Reads a file of text, at most `most` bytes of it; what is not UTF-8 is shown as such.
pub(super) fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first line of a file, without the spaces around it; empty if there is none or it is not for us.
pub(super) fn line(path: &Path) -> String {
    let text = read(path, VALUE_BYTES_MAX as u64).unwrap_or_default();
    // Texts that firmware hands over end with a zero.
    bounded(text.split(['\n', '\0']).next().unwrap_or_default())
}

/// A text without the spaces around it, and without what is over the limit.
pub(super) fn bounded(text: &str) -> String {
    let text = text.trim();
    let end = (0..=VALUE_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// The names in a directory, in order; none if it is not there. No more than `most`, and whether there were.
pub(super) fn names(dir: &Path, most: usize) -> (Vec<String>, bool) {
    // Bounded twice: what is read, and what is kept of it once it is in order.
    let entries = dir.read_dir().into_iter().flatten().take(most.saturating_mul(16));
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let more = names.len() > most;
    names.truncate(most);
    (names, more)
}
