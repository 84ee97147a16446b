//! Matches a pattern of `*` (any characters, or none) and `?` (exactly one) against a whole text.

/// Whether `pattern` matches all of `text`. Nothing but `*` and `?` is special; capitals count.
///
/// Needs no memory, and time in proportion to the text for a given pattern: only the last `*` is ever
/// tried again, because what an earlier one could still take, the last one can take as well.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let text_here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = text_here;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(want), Some(got)) if want == got => {}
            _ => {
                let Some((after_star, taken_to)) = &mut last_star else { return false };
                if taken_to.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), taken_to.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word; exponential, so for short texts only.
    fn defined(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                defined(rest, text) || (!text.is_empty() && defined(pattern, &text[1..]))
            }
            (['?', rest @ ..], [_, text @ ..]) => defined(rest, text),
            ([want, rest @ ..], [got, text @ ..]) => want == got && defined(rest, text),
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks() {
        assert!(matches("db-*", "db-"));
        assert!(matches("db-*", "db-17"));
        assert!(!matches("db-*", "adb-17"));
        assert!(matches("?b", "éb"));
        assert!(!matches("?b", "b"));
        assert!(matches("*", ""));
        assert!(!matches("", "a"));
        assert!(!matches("DB", "db"));
        assert!(matches("[a]", "[a]"));
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = "*a".repeat(2000) + "b";
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }

    proptest! {
        #[test]
        fn it_is_the_definition(pattern in "[ab*?]{0,8}", text in "[abé]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), defined(&p, &t));
        }
    }
}
