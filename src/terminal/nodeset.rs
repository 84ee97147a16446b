//! Many names as one short text, and back: `web-[01-10,12]`.
//!
//! [`fold`] and [`expand`] are inverse on sets of names: order and repeats are lost, nothing else.
//! Numbers keep their padding: `01` and `1` are different names. A character that the notation uses
//! is written with a backslash, so a host cannot name itself like a set. What is folded must still
//! pass [`super::escape`] before a person sees it. After `ClusterShell`'s node sets.
//!
//! [`expand`] is bounded: a short text cannot name more than [`NAMES_MAX`] hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Names that one text may stand for.
pub const NAMES_MAX: usize = 100_000;
/// Bytes that one name may have.
pub const NAME_BYTES_MAX: usize = 255;
/// Longer runs of digits are text: they count nothing, and must fit a `u64`.
const DIGITS_MAX: usize = 18;
/// Runs of digits of one name that may be the one that counts, from the end.
const RUNS_MAX: usize = 4;

/// Why a text is not a set of names. `at` is where, in bytes, for a caret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct NodesetError {
    /// The offending byte of the text.
    pub at: usize,
    /// What is wrong.
    pub problem: NodesetProblem,
}

/// What is wrong with a text that should be a set of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodesetProblem {
    /// No name between two commas, or none at all.
    #[error("a name is missing")]
    NoName,
    /// `[` without `]`.
    #[error("this [ is never closed")]
    Unclosed,
    /// `]` without `[`.
    #[error("this ] closes nothing")]
    Unopened,
    /// Something in brackets that is no number and no range.
    #[error("expected a number or a range such as 01-10")]
    NotARange,
    /// A range whose end lies before its start, or whose padding differs.
    #[error("a range counts up, and 01-10 keeps its zeros: {0} does neither")]
    NotRising(String),
    /// More names than allowed.
    #[error("this names {names} hosts, over the limit of {limit}")]
    TooMany {
        /// How many it would be; the largest number if more.
        names: u64,
        /// The limit.
        limit: usize,
    },
    /// A name longer than [`NAME_BYTES_MAX`].
    #[error("a name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A backslash at the end.
    #[error("a backslash stands before nothing")]
    LoneBackslash,
}

/// Writes a set of names in short. The same set gives the same text.
#[must_use]
pub fn fold<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let owned: BTreeSet<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    // A name counts where most others differ from it in that number alone.
    let mut together: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for name in &owned {
        for (before, _, after) in number_places(name) {
            *together.entry((before, after)).or_default() += 1;
        }
    }
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&str>> = BTreeMap::new();
    for name in &owned {
        let size = |place: &(&str, &str, &str)| together.get(&(place.0, place.2)).copied().unwrap_or(0);
        // `max_by_key` takes the last of equals, and places come from the end: so turn them round.
        match number_places(name).into_iter().rev().max_by_key(size) {
            Some((before, digits, after)) => groups.entry((before, Some(after))).or_default().push(digits),
            None => groups.entry((name, None)).or_default().push(""),
        }
    }
    let mut out = String::new();
    for ((before, after), mut numbers) in groups {
        if !out.is_empty() {
            out.push(',');
        }
        quote(before, &mut out);
        let Some(after) = after else { continue };
        numbers.sort_by_key(|digits| (digits.len(), *digits));
        match numbers.as_slice() {
            [single] => out.push_str(single),
            _ => fold_numbers(&numbers, &mut out),
        }
        quote(after, &mut out);
    }
    out
}

/// The runs of digits of `name` that could be the one that counts, the last first: what stands
/// before, the digits, what stands after.
fn number_places(name: &str) -> Vec<(&str, &str, &str)> {
    let mut places = Vec::new();
    let mut end = name.len();
    while places.len() < RUNS_MAX {
        let Some(head) = name.get(..end) else { break };
        let stop = head.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
        let start =
            head.get(..stop).map_or(0, |head| head.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        let (Some(before), Some(digits), Some(after)) =
            (name.get(..start), name.get(start..stop), name.get(stop..))
        else {
            break;
        };
        if digits.is_empty() {
            break;
        }
        if digits.len() <= DIGITS_MAX {
            places.push((before, digits, after));
        }
        end = start;
    }
    places
}

/// Writes `[1-3,7]`. `numbers` are unlike, the shorter first.
fn fold_numbers(numbers: &[&str], out: &mut String) {
    let mut ranges: Vec<(&str, &str)> = Vec::new();
    for digits in numbers {
        match ranges.last_mut() {
            Some((first, last)) if follows(first, last, digits) => *last = digits,
            _ => ranges.push((digits, digits)),
        }
    }
    out.push('[');
    for (index, (first, last)) in ranges.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ =
            if first == last { write!(out, "{comma}{first}") } else { write!(out, "{comma}{first}-{last}") };
    }
    out.push(']');
}

/// Whether `next` goes on with the range `first`-`last`: the same padding, one more.
fn follows(first: &str, last: &str, next: &str) -> bool {
    let (Ok(last_number), Ok(next_number)) = (last.parse::<u64>(), next.parse::<u64>()) else { return false };
    let same_form = last.len() == next.len() && first.len() == last.len();
    next_number == last_number + 1 && (same_form || (!padded(first) && !padded(next)))
}

fn padded(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0')
}

fn is_special(c: char) -> bool {
    matches!(c, '\\' | '[' | ']' | ',') || c.is_whitespace()
}

fn quote(text: &str, out: &mut String) {
    for c in text.chars() {
        if is_special(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Reads a set of names, at most [`NAMES_MAX`]. The names come sorted, each once.
///
/// # Errors
/// Says what is wrong and where. Nothing is expanded before the number of names is known to fit.
pub fn expand(text: &str) -> Result<Vec<String>, NodesetError> {
    expand_within(text, NAMES_MAX)
}

/// As [`expand`], with another limit.
///
/// # Errors
/// As [`expand`].
pub fn expand_within(text: &str, limit: usize) -> Result<Vec<String>, NodesetError> {
    let patterns = Reader { text, at: 0 }.patterns()?;
    let names = patterns.iter().fold(0_u64, |sum, pattern| sum.saturating_add(pattern.count()));
    if names > limit as u64 {
        // The caret goes to the first pattern that alone or with those before it is too much.
        let mut sum = 0_u64;
        let at = patterns.iter().find_map(|pattern| {
            sum = sum.saturating_add(pattern.count());
            (sum > limit as u64).then_some(pattern.at)
        });
        let problem = NodesetProblem::TooMany { names, limit };
        return Err(NodesetError { at: at.unwrap_or(0), problem });
    }
    let mut all = BTreeSet::new();
    for pattern in &patterns {
        pattern.expand_into(&mut all);
    }
    Ok(all.into_iter().collect())
}

/// One name, or many that differ in numbers.
struct Pattern {
    at: usize,
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Numbers(Vec<Range>),
}

/// Numbers from `first` to `last`, with zeros before them up to `digits`.
struct Range {
    first: u64,
    last: u64,
    digits: usize,
}

impl Range {
    fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl Pattern {
    fn count(&self) -> u64 {
        self.parts.iter().fold(1_u64, |product, part| match part {
            Part::Text(_) => product,
            Part::Numbers(ranges) => {
                product.saturating_mul(ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count())))
            }
        })
    }

    /// The longest name's bytes.
    fn longest(&self) -> usize {
        let longest =
            |range: &Range| range.digits.max(range.last.checked_ilog10().map_or(1, |log| log as usize + 1));
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::Numbers(ranges) => ranges.iter().map(longest).max().unwrap_or(0),
            })
            .sum()
    }

    fn expand_into(&self, all: &mut BTreeSet<String>) {
        let mut names = vec![String::new()];
        for part in &self.parts {
            match part {
                Part::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
                Part::Numbers(ranges) => {
                    names = names
                        .iter()
                        .flat_map(|name| {
                            ranges.iter().flat_map(move |range| {
                                let digits = range.digits;
                                (range.first..=range.last)
                                    .map(move |number| format!("{name}{number:0digits$}"))
                            })
                        })
                        .collect();
                }
            }
        }
        all.extend(names);
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn patterns(mut self) -> Result<Vec<Pattern>, NodesetError> {
        let mut patterns = Vec::new();
        loop {
            patterns.push(self.pattern()?);
            // `pattern` stopped at a comma or at the end.
            if self.next().is_none() {
                return Ok(patterns);
            }
        }
    }

    fn pattern(&mut self) -> Result<Pattern, NodesetError> {
        self.spaces();
        let start = self.at;
        let (mut parts, mut text) = (Vec::new(), String::new());
        loop {
            let here = self.at;
            match self.peek() {
                None | Some(',') => break,
                Some('[') => {
                    self.next();
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(Part::Numbers(self.numbers(here)?));
                }
                Some(']') => return Err(error(here, NodesetProblem::Unopened)),
                Some('\\') => {
                    self.next();
                    text.push(self.next().ok_or_else(|| error(here, NodesetProblem::LoneBackslash))?);
                }
                Some(c) if c.is_whitespace() => {
                    self.spaces();
                    if !matches!(self.peek(), None | Some(',')) {
                        // Two names without a comma: more likely a slip than a name with a space.
                        return Err(error(here, NodesetProblem::NoName));
                    }
                }
                Some(c) => {
                    self.next();
                    text.push(c);
                }
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let pattern = Pattern { at: start, parts };
        match pattern.longest() {
            0 => Err(error(start, NodesetProblem::NoName)),
            bytes if bytes > NAME_BYTES_MAX => Err(error(start, NodesetProblem::TooLong)),
            _ => Ok(pattern),
        }
    }

    /// What stands in brackets, up to and with the closing one. `open` is where they open.
    fn numbers(&mut self, open: usize) -> Result<Vec<Range>, NodesetError> {
        let mut ranges = Vec::new();
        loop {
            ranges.push(self.range(open)?);
            let here = self.at;
            match self.next() {
                Some(',') => {}
                Some(']') => return Ok(ranges),
                None => return Err(error(open, NodesetProblem::Unclosed)),
                Some(_) => return Err(error(here, NodesetProblem::NotARange)),
            }
        }
    }

    fn range(&mut self, open: usize) -> Result<Range, NodesetError> {
        let start = self.at;
        let first = self.digits(open)?;
        let last = if self.peek() == Some('-') {
            self.next();
            self.digits(open)?
        } else {
            first
        };
        let written = || if first == last { first.to_owned() } else { format!("{first}-{last}") };
        let wrong = || error(start, NodesetProblem::NotRising(written()));
        let same_form = first.len() == last.len() || (!padded(first) && !padded(last));
        let (Ok(low), Ok(high)) = (first.parse::<u64>(), last.parse::<u64>()) else { return Err(wrong()) };
        if !same_form || low > high {
            return Err(wrong());
        }
        let digits = if first.len() == last.len() { first.len() } else { 0 };
        Ok(Range { first: low, last: high, digits })
    }

    fn digits(&mut self, open: usize) -> Result<&'a str, NodesetError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
        }
        match self.text.get(start..self.at) {
            Some(digits) if !digits.is_empty() && digits.len() <= DIGITS_MAX => Ok(digits),
            _ if self.peek().is_none() => Err(error(open, NodesetProblem::Unclosed)),
            _ => Err(error(start, NodesetProblem::NotARange)),
        }
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
}

fn error(at: usize, problem: NodesetProblem) -> NodesetError {
    NodesetError { at, problem }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn web(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
        numbers.into_iter().map(|number| format!("web-{number:02}")).collect()
    }

    fn problem(text: &str) -> (usize, String) {
        let error = expand(text).unwrap_err();
        (error.at, error.to_string())
    }

    #[test]
    fn hosts_fold_as_the_contract_shows() {
        assert_eq!(fold(web((1..=10).chain([12]))), "web-[01-10,12]");
        assert_eq!(expand("web-[01-10,12]").unwrap(), web((1..=10).chain([12])));
    }

    #[test]
    fn padding_is_part_of_a_name() {
        assert_eq!(fold(["n9", "n10", "n11"]), "n[9-11]");
        assert_eq!(fold(["n09", "n10", "n11"]), "n[09-11]");
        assert_eq!(fold(["n1", "n01", "n2"]), "n[1-2,01]");
        assert_eq!(fold(["n099", "n100"]), "n[099-100]");
        assert_eq!(expand("n[0-10]").unwrap().len(), 11);
        assert_eq!(expand("n[08-10]").unwrap(), ["n08", "n09", "n10"]);
    }

    #[test]
    fn names_fold_at_the_number_that_differs() {
        assert_eq!(fold(["web-1.dc2", "web-2.dc2", "web-3.dc2"]), "web-[1-3].dc2");
        assert_eq!(fold(["db", "cache-7", "db"]), "cache-7,db");
        assert_eq!(fold(Vec::<String>::new()), "");
    }

    #[test]
    fn several_brackets_multiply() {
        assert_eq!(expand("r[1-2]n[1-2], x").unwrap(), ["r1n1", "r1n2", "r2n1", "r2n2", "x"]);
    }

    #[test]
    fn a_host_cannot_name_itself_like_a_set() {
        assert_eq!(fold(["web-[01-99]"]), "web-\\[01-99\\]");
        assert_eq!(fold(["a,b c\\"]), "a\\,b\\ c\\\\");
        assert_eq!(expand("web-\\[01-99\\]").unwrap(), ["web-[01-99]"]);
    }

    #[test]
    fn too_many_names_are_refused_before_any_is_made() {
        let (at, text) = problem("db,web-[1-9999999]");
        assert_eq!(at, 3);
        assert_eq!(text, "this names 10000000 hosts, over the limit of 100000");
        assert_eq!(
            problem("[1-999999999999999999][1-999999999999999999]").1.split(' ').nth(2),
            Some("18446744073709551615")
        );
        assert_eq!(expand("w[1-100000]").unwrap().len(), NAMES_MAX);
        assert!(expand("w[1-100000],x").is_err());
        assert!(expand(&format!("{}[1-100000]", "x".repeat(NAME_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_wrong_text_is_pointed_at() {
        assert_eq!(problem(""), (0, "a name is missing".into()));
        assert_eq!(problem("a,,b"), (2, "a name is missing".into()));
        assert_eq!(problem("a b"), (1, "a name is missing".into()));
        assert_eq!(problem("web-[1-3"), (4, "this [ is never closed".into()));
        assert_eq!(problem("web-1]"), (5, "this ] closes nothing".into()));
        assert_eq!(problem("w[a]"), (2, "expected a number or a range such as 01-10".into()));
        assert_eq!(problem("w[]"), (2, "expected a number or a range such as 01-10".into()));
        assert_eq!(problem("w[1-]"), (4, "expected a number or a range such as 01-10".into()));
        assert_eq!(problem("w[[1]]").0, 2);
        assert!(problem("w[10-1]").1.contains("10-1"));
        assert!(problem("w[01-100]").1.contains("01-100"));
        assert!(problem("w[99999999999999999999]").1.contains("expected a number"));
        assert_eq!(problem("a\\"), (1, "a backslash stands before nothing".into()));
    }

    proptest! {
        #[test]
        fn fold_and_expand_are_inverse(
            names in prop::collection::btree_set("[a-c]{0,2}-?[0-9]{0,3}[.,\\[\\]\\\\ é]?[0-9]{0,2}", 0..60),
        ) {
            let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
            prop_assume!(!names.is_empty());
            let folded = fold(&names);
            let read = expand(&folded);
            prop_assert_eq!(read, Ok(names), "{}", folded);
        }

        #[test]
        fn any_name_survives(name in any::<String>()) {
            prop_assume!(!name.is_empty() && name.len() <= NAME_BYTES_MAX);
            prop_assert_eq!(expand(&fold([&name])), Ok(vec![name]));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a\\[\\]0-9,\\\\ -]{0,24}") {
            if let Ok(names) = expand_within(&text, 1_000) {
                prop_assert!(!names.is_empty() && names.len() <= 1_000);
                prop_assert_eq!(expand(&fold(&names)), Ok(names));
            }
        }
    }
}
