//! What someone may have meant who wrote a word that the language does not have.

use super::character::is_word;
use super::root::Root;
use super::tag::{check_key, check_tag};

/// Words that have a meaning of their own, and stand in quotes where they are values.
pub(super) const KEYWORDS: &[&str] = &[
    "and", "or", "not", "all", "none", "has", "missing", "any", "every", "in", "like", "matches", "ver",
    "num",
];

/// Words of other tools, and what they are called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("address", "ip"),
    ("arch", "fact.os.arch"),
    ("exists", "has"),
    ("facts", "fact"),
    ("group", "tag.group"),
    ("host", "name"),
    ("hostname", "name"),
    ("kernel", "fact.kernel"),
    ("label", "tag"),
    ("labels", "tag"),
    ("mem", "fact.mem"),
    ("memory", "fact.mem"),
    ("os", "fact.os"),
    ("package", "pkg"),
    ("packages", "pkg"),
    ("service", "unit"),
    ("status", "state"),
    ("zone", "site"),
];

/// The one of `known` that `word` may be a slip of.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let small = word.to_ascii_lowercase();
    // A short word is near to everything; one slip is all that it is given.
    let slips_max = if small.chars().count() <= 4 { 1 } else { 2 };
    let near = known.into_iter().map(|known| (distance(&small, known), known));
    near.filter(|(slips, known)| *slips <= slips_max && *slips < known.len()).min().map(|(_, known)| known)
}

/// Says how to compare, to someone who wrote `word` after a path.
pub(super) fn comparison(word: &str) -> &'static str {
    match word.to_ascii_lowercase().as_str() {
        "is" | "eq" | "equals" => "compare with =",
        "isnt" | "ne" | "neq" => "compare with !=",
        "gt" | "ge" | "gte" | "lt" | "le" | "lte" => "compare with < <= > or >=",
        "contains" | "startswith" | "endswith" | "glob" => "compare with like \"*text*\"",
        "match" | "regex" | "regexp" | "~" => "compare with matches \"pattern\"",
        "exists" | "present" => "write has before the path",
        "absent" => "write missing before the path",
        _ => "compare with = != < <= > >= in like or matches, or write has before the path",
    }
}

/// Names what `word` is short of, if it is a keyword in capitals.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.iter().copied().find(|keyword| *keyword != word && keyword.eq_ignore_ascii_case(word))
}

/// Finds what a path that starts with `word`, and goes on if `longer`, may have been meant to start with.
pub(super) fn root(word: &str, longer: bool) -> String {
    let small = word.to_ascii_lowercase();
    match small.as_str() {
        "true" => return "write all for every host".to_owned(),
        "false" => return "write none for no host".to_owned(),
        "if" | "where" | "select" => return "a selector is tests alone: tag.role = web".to_owned(),
        "key" => return "SSM's targets stand after --ssm-targets".to_owned(),
        _ => {}
    }
    if let Some((root, key)) = word.split_once([':', '/']).filter(|(root, _)| Root::named(root).is_some()) {
        return format!("did you mean {root}.{key}?");
    }
    if let Some((key, value)) = word.split_once(':')
        && check_tag(key, value).is_ok()
        && value.chars().all(is_word)
    {
        return format!("did you mean tag.{key} = {value}?");
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains('-') {
        return "a test starts with a path, such as tag.role or fact.cpu.cores".to_owned();
    }
    if let Some((_, here)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == small) {
        return format!("did you mean {here}?");
    }
    match nearest(&small, Root::EVERY.iter().map(|root| root.name())) {
        Some(root) => format!("did you mean {root}?"),
        None if !longer && word.contains('-') => {
            "names of hosts stand after -H, or as name = web-1 or name like \"web-*\"".to_owned()
        }
        None if !longer && check_key(word).is_ok() && !word.contains(['.', '/']) => {
            format!("did you mean tag.{word}?")
        }
        None => {
            let roots: Vec<&str> = Root::EVERY.iter().map(|root| root.name()).collect();
            format!("a path starts with one of {}", roots.join(" "))
        }
    }
}

/// How many letters to change, add, drop or swap with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    /// Longer words are as far from every root as this.
    const FAR: usize = 32;
    if a.len() > FAR {
        return FAR;
    }
    let b: Vec<char> = b.chars().collect();
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut before = None;
    for (row, x) in a.chars().enumerate() {
        let mut line = vec![row + 1];
        let mut left = row + 1;
        let mut b_before = None;
        for (column, y) in b.iter().copied().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(FAR);
            let mut best =
                (at(&above, column) + usize::from(x != y)).min(at(&above, column + 1) + 1).min(left + 1);
            if column > 0 && before == Some(y) && b_before == Some(x) {
                best = best.min(at(&older, column - 1) + 1);
            }
            line.push(best);
            left = best;
            b_before = Some(y);
        }
        before = Some(x);
        older = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (a, b, slips) in
            [("name", "name", 0), ("nmae", "name", 1), ("sit", "site", 1), ("tags", "tag", 1), ("", "tag", 3)]
        {
            assert_eq!(distance(a, b), slips, "{a} {b}");
        }
    }

    #[test]
    fn the_likely_meaning_is_named() {
        for (word, longer, meant) in [
            ("nmae", false, "name"),
            ("tags", true, "tag"),
            ("hostname", false, "name"),
            ("role", false, "tag.role"),
            ("tag:role", false, "tag.role"),
            ("Name", false, "name"),
            ("os", true, "fact.os"),
        ] {
            assert_eq!(root(word, longer), format!("did you mean {meant}?"));
        }
        assert!(root("zzzzzz", true).starts_with("a path starts with one of name id site"));
    }
}
