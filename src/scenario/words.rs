//! A command line as a file writes it: words, quotes, and places for what is only known when it runs.

use std::collections::BTreeMap;

/// Most words of a command.
const WORDS_MAX: usize = 256;

/// What `{name}` stands for.
pub(super) type Values = BTreeMap<String, String>;

/// Splits at spaces, as a shell does without any of its expansions: single and double quotes keep what they
/// hold whole, and a backslash the character after it.
///
/// # Errors
/// In words: a quote that is not closed, too many words, none.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match rest.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("ends with a backslash".to_owned()),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is not closed"));
    }
    words.extend(word);
    match words.len() {
        0 => Err("it is empty".to_owned()),
        1..=WORDS_MAX => Ok(words),
        count => Err(format!("it has {count} words, where {WORDS_MAX} may be")),
    }
}

/// Puts in what is known for `{name}`. Braces around anything else stay: JSON has them too.
pub(super) fn fill(text: &str, values: &Values) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        match after.split_once('}') {
            Some((name, behind)) if values.contains_key(name) => {
                filled.push_str(values.get(name).map_or("", String::as_str));
                rest = behind;
            }
            _ => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell_without_its_expansions() {
        for (text, words) in [
            ("muster run --all -- true", &["muster", "run", "--all", "--", "true"][..]),
            ("  a\t'b  c'  \"d 'e'\"f ", &["a", "b  c", "d 'e'f"]),
            ("a '' \"\\\"\" b\\ c '\\'", &["a", "", "\"", "b c", "\\"]),
            ("sh -c 'echo $HOME; exit 3'", &["sh", "-c", "echo $HOME; exit 3"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for (text, why) in [
            ("a 'b", "a ' is not closed"),
            ("\"", "a \" is not closed"),
            (" ", "empty"),
            ("a \\", "backslash"),
        ] {
            assert!(split(text).unwrap_err().contains(why), "{text}");
        }
        assert!(split(&"a ".repeat(257)).unwrap_err().contains("257 words"));
    }

    #[test]
    fn only_what_is_known_is_put_in() {
        let values = Values::from([("job".to_owned(), "c96df7".to_owned())]);
        assert_eq!(fill("show {job}, {jobs}, {{job}}, {", &values), "show c96df7, {jobs}, {c96df7}, {");
        assert_eq!(fill("{\"a\":1}", &values), "{\"a\":1}");
    }
}
