//! In which lines the output of some hosts differs from what most of them said.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Output longer than this is not compared line by line, in bytes.
pub(in crate::services::run) const COMPARED_BYTES_MAX: u64 = 64 * 1024;
/// Nor is output of more lines: comparing costs up to their square.
const COMPARED_LINES_MAX: usize = 1000;

/// What is in one text and not at its place in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// How many lines differ: one that stands in place of another counts once.
    pub(super) lines: usize,
    /// What shows it: lines that are here alone, and lines that are missing without a replacement.
    pub(super) shown: Vec<Line>,
}

/// A line that shows a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The others do not have it.
    Here(Vec<u8>),
    /// Only the others have it.
    Missing(Vec<u8>),
}

/// How `these` differ from what `most` said. None: too much to compare.
pub(super) fn between(most: &[u8], these: &[u8]) -> Option<Difference> {
    let (old, new) = (lines(most)?, lines(these)?);
    let mut difference = Difference::default();
    let mut say = |line: fn(Vec<u8>) -> Line, of: &[&[u8]], from: usize, many: usize| {
        difference.shown.extend(of.iter().skip(from).take(many).map(|text| line(text.to_vec())));
    };
    let mut count = 0;
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        match op {
            DiffOp::Equal { .. } => {}
            DiffOp::Insert { new_index, new_len, .. } => {
                count += new_len;
                say(Line::Here, &new, new_index, new_len);
            }
            DiffOp::Delete { old_index, old_len, .. } => {
                count += old_len;
                say(Line::Missing, &old, old_index, old_len);
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                count += old_len.max(new_len);
                say(Line::Here, &new, new_index, new_len);
                say(Line::Missing, &old, old_index + new_len.min(old_len), old_len.saturating_sub(new_len));
            }
        }
    }
    difference.lines = count;
    Some(difference)
}

/// The lines of a text; a line end at its end begins no other. None: too many.
fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    if text.len() as u64 > COMPARED_BYTES_MAX {
        return None;
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Some(Vec::new());
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    (lines.len() <= COMPARED_LINES_MAX).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(text: &str) -> Line {
        Line::Here(text.into())
    }

    #[test]
    fn a_line_in_place_of_another_is_one_difference_and_shows_what_is_here() {
        let difference = between(b"a\nb\nc\n", b"a\nB\nc\n").unwrap();
        assert_eq!(difference, Difference { lines: 1, shown: vec![here("B")] });
    }

    #[test]
    fn a_line_put_in_does_not_make_all_that_follow_differ() {
        let difference = between(b"a\nb\nc\nd\n", b"x\na\nb\nc\nd\n").unwrap();
        assert_eq!(difference, Difference { lines: 1, shown: vec![here("x")] });
    }

    #[test]
    fn what_is_missing_shows_as_that() {
        let difference = between(b"a\nb\nc\n", b"a\nc\n").unwrap();
        assert_eq!(difference, Difference { lines: 1, shown: vec![Line::Missing(b"b".to_vec())] });
        let difference = between(b"a\nb\nc\nd\n", b"a\nx\nd\n").unwrap();
        assert_eq!(difference.lines, 2);
        assert_eq!(difference.shown, [here("x"), Line::Missing(b"c".to_vec())]);
        assert_eq!(between(b"", b"").unwrap(), Difference::default());
        assert_eq!(between(b"", b"a").unwrap().lines, 1);
    }

    #[test]
    fn what_is_too_much_to_compare_is_not_compared() {
        assert_eq!(between(&b"a\n".repeat(1001), b"b"), None);
        assert_eq!(between(b"b", &vec![b'x'; 64 * 1024 + 1]), None);
        // The worst there is: nothing in common, as many lines as may be.
        let (a, b): (String, String) = (0..1000).map(|n| (format!("a{n}\n"), format!("b{n}\n"))).unzip();
        assert_eq!(between(a.as_bytes(), b.as_bytes()).unwrap().lines, 1000);
    }
}
