//! Reads Rust sources as far as the architecture needs: tokens without comments and literals, the
//! paths that they name, and which of them stand in test code.

/// One token: a name, or a sign. `::` is one sign; all others are single characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub text: String,
    pub line: usize,
}

/// A path as written in a module, made absolute: `["crate", "store", "Store"]`. A glob ends in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub path: Vec<String>,
    pub line: usize,
}

/// Cuts a source into tokens. Comments, strings, characters and numbers are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let (mut found, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let c = at(i);
        let start = i;
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if let Some(end) = string_end(&chars, i) {
            i = end;
        } else if c == '\'' {
            // A character ends in a quote; a lifetime is a name without one.
            i += if at(i + 1) == '\\' {
                3 + chars.iter().skip(i + 3).position(|c| *c == '\'').unwrap_or(0)
            } else if at(i + 2) == '\'' {
                3
            } else {
                1 + name_length(&chars, i + 1)
            };
        } else if c.is_ascii_digit() {
            i += name_length(&chars, i);
        } else if is_name(c) {
            // A raw name is the name.
            if c == 'r' && at(i + 1) == '#' && is_name(at(i + 2)) {
                i += 2;
            }
            let length = name_length(&chars, i);
            found.push(Token { text: chars[i..i + length].iter().collect(), line });
            i += length;
        } else if c == ':' && at(i + 1) == ':' {
            found.push(Token { text: "::".into(), line });
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push(Token { text: c.into(), line });
            }
            i += 1;
        }
        line += chars[start..i.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn name_length(chars: &[char], from: usize) -> usize {
    chars[from.min(chars.len())..].iter().take_while(|c| is_name(**c)).count()
}

/// If a string starts at `from` (`"`, `r#"`, `b"`, `br"`, `c"`), where it ends.
fn string_end(chars: &[char], from: usize) -> Option<usize> {
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    if from > 0 && is_name(at(from - 1)) {
        return None;
    }
    let mut i = from;
    if matches!(at(i), 'b' | 'c') {
        i += 1;
    }
    let raw = at(i) == 'r';
    if raw {
        i += 1;
    }
    let hashes = chars[i.min(chars.len())..].iter().take_while(|c| raw && **c == '#').count();
    i += hashes;
    if at(i) != '"' {
        return None;
    }
    i += 1;
    while i < chars.len() {
        match at(i) {
            '\\' if !raw => i += 2,
            '"' if (1..=hashes).all(|n| at(i + n) == '#') => return Some(i + 1 + hashes),
            _ => i += 1,
        }
    }
    Some(chars.len())
}

/// The lines that stand in items under `#[cfg(test)]` or `#[test]`, from the attribute to the end of the item.
pub(crate) fn test_lines(tokens: &[Token]) -> Vec<std::ops::RangeInclusive<usize>> {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let cfg =
            ["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(n, text)| is(i + n, text));
        let test = ["#", "[", "test", "]"].iter().enumerate().all(|(n, text)| is(i + n, text));
        if !cfg && !test {
            i += 1;
            continue;
        }
        let start = tokens[i].line;
        // The item ends with a `;` outside all brackets, or with its first closed pair of braces.
        let mut depth = 0_i32;
        i += if cfg { 7 } else { 4 };
        while i < tokens.len() {
            match tokens[i].text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(tokens[i].text.as_str(), ";" | "}") {
                break;
            }
            i += 1;
        }
        found.push(start..=tokens.get(i).or(tokens.last()).map_or(start, |token| token.line));
        i += 1;
    }
    found
}

/// All paths of a source with at least two parts or in a `use`, made absolute. `module` is where the
/// source stands: `["crate", "net", "hop"]`. Names that are not followed through aliases.
pub(crate) fn paths(tokens: &[Token], module: &[&str]) -> Vec<Named> {
    let mut reader = Reader { tokens, at: 0, found: Vec::new() };
    // Modules written inside the file, each with the depth of braces at which it ends.
    let mut inner: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    while let Some(token) = tokens.get(reader.at) {
        let here: Vec<String> = module
            .iter()
            .map(ToString::to_string)
            .chain(inner.iter().map(|(name, _)| name.clone()))
            .collect();
        match token.text.as_str() {
            "mod" if reader.text(2) == Some("{") => {
                inner.push((tokens[reader.at + 1].text.clone(), depth));
                depth += 1;
                reader.at += 3;
            }
            "{" => {
                depth += 1;
                reader.at += 1;
            }
            "}" => {
                depth -= 1;
                if inner.last().is_some_and(|(_, ends)| *ends == depth) {
                    inner.pop();
                }
                reader.at += 1;
            }
            "use" => {
                reader.at += 1;
                reader.tree(&here, Vec::new(), true);
            }
            _ if is_word(&token.text) && reader.text(1) == Some("::") => {
                reader.tree(&here, Vec::new(), false);
            }
            // A path from the root of all crates: `::std::fs`.
            "::" if reader.text(1).is_some_and(is_word) => {
                reader.at += 1;
                reader.tree(&here, Vec::new(), false);
            }
            _ => reader.at += 1,
        }
    }
    reader.found
}

fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(is_name)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    found: Vec<Named>,
}

impl Reader<'_> {
    fn text(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.at + ahead).map(|token| token.text.as_str())
    }

    /// Reads one path or tree of paths that continues `path`, and leaves `at` after it.
    fn tree(&mut self, here: &[String], mut path: Vec<String>, in_use: bool) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.text(0) {
                Some("{") if in_use => {
                    self.at += 1;
                    while let Some(text) = self.text(0) {
                        match text {
                            "}" => {
                                self.at += 1;
                                return;
                            }
                            "," => self.at += 1,
                            _ => {
                                let before = self.at;
                                self.tree(here, path.clone(), true);
                                // Whatever this is, it is no tree; go on.
                                self.at = self.at.max(before + 1);
                            }
                        }
                    }
                    return;
                }
                Some("*") if in_use => {
                    self.at += 1;
                    path.push("*".into());
                    break;
                }
                // `use ::std::fs`.
                Some("::") if path.is_empty() => self.at += 1,
                Some(word) if is_word(word) => {
                    let word = word.to_owned();
                    self.at += 1;
                    step(&mut path, &word, here);
                    if self.text(0) != Some("::") {
                        break;
                    }
                    self.at += 1;
                }
                // `Vec::<u8>::new`, or the end of something that is no path.
                _ => break,
            }
        }
        // Skip `as name`.
        if in_use && self.text(0) == Some("as") {
            self.at += 2;
        }
        if !path.is_empty() {
            self.found.push(Named { path, line });
        }
    }
}

/// Goes one part further along a path.
fn step(path: &mut Vec<String>, word: &str, here: &[String]) {
    match word {
        "crate" => *path = vec!["crate".into()],
        "self" if path.is_empty() => *path = here.to_vec(),
        "self" => {}
        "super" => {
            if path.is_empty() {
                *path = here.to_vec();
            }
            // Above the crate is nothing; the compiler says so.
            if path.len() > 1 {
                path.pop();
            }
        }
        _ => path.push(word.into()),
    }
}
