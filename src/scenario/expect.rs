//! What a command must have said, and what of it is missing.

use serde_json::Value;

use super::words::{self, Values};

/// Longest text of what was seen that a person is shown, in characters.
const SHOWN_MAX: usize = 2_000;

/// What a command said and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; 128 and the signal if one ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// What it must have said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// Its exit code.
    pub exit: i32,
    /// What standard output has in it.
    pub stdout: Vec<String>,
    /// What it has not.
    pub without: Vec<String>,
    /// All lines of it, with blanks between words as one.
    pub lines: Option<Vec<String>>,
    /// What standard error has in it.
    pub stderr: Vec<String>,
    /// What stands at places of the JSON that standard output is.
    pub json: Vec<(String, Value)>,
}

impl Expect {
    /// Whether it says more than how the command ends.
    pub fn is_of_output(&self) -> bool {
        !(self.stdout.is_empty()
            && self.without.is_empty()
            && self.lines.is_none()
            && self.stderr.is_empty()
            && self.json.is_empty())
    }

    /// The first of it that is not so, in words: what was expected and what was seen.
    pub fn unmet(&self, said: &Said, values: &Values) -> Option<String> {
        if said.code != self.exit {
            return Some(format!("exit code {} and not {}", said.code, self.exit));
        }
        let fill = |text: &String| words::fill(text, values);
        if let Some(text) = self.stdout.iter().map(fill).find(|text| !said.stdout.contains(text)) {
            return Some(format!("standard output has no {text:?}"));
        }
        if let Some(text) = self.without.iter().map(fill).find(|text| said.stdout.contains(text)) {
            return Some(format!("standard output has {text:?}"));
        }
        if let Some(text) = self.stderr.iter().map(fill).find(|text| !said.stderr.contains(text)) {
            return Some(format!("standard error has no {text:?}"));
        }
        if let Some(lines) = &self.lines {
            let even = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let expected: Vec<String> = lines.iter().map(|line| even(&fill(line))).collect();
            let seen: Vec<String> = said.stdout.lines().map(even).collect();
            if expected != seen {
                let at = expected.iter().zip(&seen).take_while(|(one, other)| one == other).count();
                let line =
                    |lines: &[String]| lines.get(at).map_or("nothing".to_owned(), |line| format!("{line:?}"));
                return Some(format!("line {} is {} and not {}", at + 1, line(&seen), line(&expected)));
            }
        }
        if self.json.is_empty() {
            return None;
        }
        let Some(document) = json(&said.stdout) else {
            return Some("standard output is not JSON".to_owned());
        };
        self.json.iter().find_map(|(path, expected)| {
            let expected = match expected {
                Value::String(text) => Value::String(fill(text)),
                other => other.clone(),
            };
            let seen = look(&document, &fill(path));
            (seen.as_ref() != Some(&expected)).then(|| match seen {
                Some(seen) => format!("{path} is {} and not {expected}", clipped(&seen.to_string())),
                None => format!("there is no {path}, which should be {expected}"),
            })
        })
    }
}

/// What a command said, as a person is shown it.
pub(super) fn shown(said: &Said) -> String {
    let part = |name: &str, text: &str| match text.trim_end() {
        "" => format!("  {name}: nothing"),
        text => format!("  {name}:\n    {}", clipped(text).replace('\n', "\n    ")),
    };
    format!("  exit code {}\n{}\n{}", said.code, part("stdout", &said.stdout), part("stderr", &said.stderr))
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// One document, or one for each line.
fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| {
        let lines: Option<Vec<Value>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        lines.map(Value::Array)
    })
}

/// What stands at a place: names and numbers with a point between; `name[key=text]` is the element of a list that
/// has that; `#` is how many there are.
pub(super) fn look(document: &Value, path: &str) -> Option<Value> {
    path.split('.').try_fold(document.clone(), |value, part| {
        let (name, pick) = match part.split_once('[') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.split_once('=')?)),
            None => (part, None),
        };
        let value = match name {
            "" => value,
            "#" => return Some(Value::from(value.as_array()?.len())),
            name => match name.parse::<usize>() {
                Ok(at) if value.is_array() => value.get(at)?.clone(),
                _ => value.get(name)?.clone(),
            },
        };
        let Some((key, text)) = pick else { return Some(value) };
        value
            .as_array()?
            .iter()
            .find(|element| element.get(key).and_then(Value::as_str) == Some(text))
            .cloned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(code: i32, stdout: &str) -> Said {
        Said { code, stdout: stdout.to_owned(), stderr: "hint: muster status\n".to_owned() }
    }

    #[test]
    fn what_is_missing_is_named_with_what_was_seen() {
        let values = Values::from([("who".to_owned(), "web-1".to_owned())]);
        let text = |text: &str| vec![text.to_owned()];
        let out = said(0, "NAME  STATE\nweb-1   up\n");
        let table: [(Expect, Option<&str>); 9] = [
            (Expect::default(), None),
            (Expect { exit: 7, ..Expect::default() }, Some("exit code 0 and not 7")),
            (Expect { stdout: text("{who}"), ..Expect::default() }, None),
            (Expect { stdout: text("web-2"), ..Expect::default() }, Some("has no \"web-2\"")),
            (Expect { without: text("{who}"), ..Expect::default() }, Some("has \"web-1\"")),
            (Expect { stderr: text("error"), ..Expect::default() }, Some("error has no \"error\"")),
            (Expect { lines: Some(vec!["NAME STATE".into(), "{who} up".into()]), ..Expect::default() }, None),
            (
                Expect { lines: Some(vec!["NAME STATE".into(), "{who} away".into()]), ..Expect::default() },
                Some("line 2 is \"web-1 up\" and not \"web-1 away\""),
            ),
            (Expect { json: vec![("a".into(), json!(1))], ..Expect::default() }, Some("is not JSON")),
        ];
        for (expect, unmet) in table {
            let found = expect.unmet(&out, &values);
            assert_eq!(found.is_some(), unmet.is_some(), "{expect:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(unmet.unwrap_or_default()), "{expect:?}");
        }
    }

    #[test]
    fn places_in_json_are_found_by_name_number_and_what_an_element_has() {
        let one =
            json!({ "items": [{ "name": "a", "state": "up" }, { "name": "b", "tags": { "role": "web" } }] });
        for (path, value) in [
            ("items.0.state", Some(json!("up"))),
            ("items[name=b].tags.role", Some(json!("web"))),
            ("items.#", Some(json!(2))),
            ("items[name=c].state", None),
            ("items.7", None),
            ("items[name", None),
            ("", Some(one.clone())),
        ] {
            assert_eq!(look(&one, path), value, "{path}");
        }
        let lines = said(0, "{\"event\":\"start\"}\n{\"event\":\"exit\",\"code\":3}\n");
        let of =
            |path: &str, value: Value| Expect { json: vec![(path.to_owned(), value)], ..Expect::default() };
        let none = Values::new();
        assert_eq!(of("[event=exit].code", json!(3)).unmet(&lines, &none), None);
        let unmet = of("[event=exit].code", json!(4)).unmet(&lines, &none).unwrap();
        assert!(unmet.contains("is 3 and not 4"), "{unmet}");
        let unmet = of("2.code", json!(4)).unmet(&lines, &none).unwrap();
        assert!(unmet.contains("there is no 2.code, which should be 4"), "{unmet}");
    }
}
