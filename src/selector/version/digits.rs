//! Numbers of any length, as digits.

use std::cmp::Ordering;

/// Compares two runs of digits by the number they write; no digits are 0.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// What `accept` takes from the front of `text`, and what follows.
pub(super) fn take(text: &str, accept: fn(u8) -> bool) -> (&str, &str) {
    let count = text.bytes().take_while(|b| accept(*b)).count();
    // Only ASCII characters are accepted, so that this is a boundary.
    text.split_at_checked(count).unwrap_or((text, ""))
}

pub(super) fn is_digit(b: u8) -> bool {
    b.is_ascii_digit()
}
