//! Targets in the words of AWS Systems Manager: `Key=tag:role,Values=web,api`.
//!
//! All keys must hold, and any value of a key suffices, as there. The bounds of five keys and five values are not
//! kept: what a selector may say is the bound. A value with a comma or white space stands in quotes. `InstanceIds` are names of hosts here (`*` is all of them), since
//! there are no instances. Resource groups and what else only AWS knows are refused by name.

use super::TargetError;
use crate::selector::{check_group_name, check_tag};

/// What one text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Translated {
    /// What of it is a selector; all of these must hold.
    pub(super) conditions: Vec<String>,
    /// Hosts by name; any of a list, in all of the lists.
    pub(super) names: Vec<Vec<String>>,
}

/// Reads one or several targets with white space between them.
pub(super) fn translate(text: &str) -> Result<Translated, TargetError> {
    const HINT: &str = "write it as --ssm-targets 'Key=tag:role,Values=web,api'";
    let wrong = |part: &str, problem: String, hint: &str| {
        // `part` is a part of `text`, found by where it lies.
        let at = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let length = part.chars().count();
        TargetError::Ssm { text: text.to_owned(), at, length, problem, hint: hint.to_owned() }
    };
    let mut translated = Translated::default();
    let mut some = false;
    for target in parts(text, char::is_whitespace).filter(|part| !part.is_empty()) {
        some = true;
        let pair = target.strip_prefix("Key=").and_then(|rest| rest.split_once(",Values="));
        let Some((key, values)) = pair else {
            return Err(wrong(target, "a target is Key=…,Values=…".to_owned(), HINT));
        };
        let values: Vec<&str> = parts(values, |c| c == ',').collect();
        if let Some(open) = values.iter().find(|value| !is_closed(value)) {
            return Err(wrong(open, "quotes stand around a whole value, and are closed".to_owned(), HINT));
        }
        let values: Vec<&str> = values.into_iter().map(bare).collect();
        if let Some(empty) = values.iter().find(|value| value.is_empty()) {
            return Err(wrong(empty, "a value is empty".to_owned(), HINT));
        }
        if let Some(tag) = key.strip_prefix("tag:") {
            for value in &values {
                check_tag(tag, value).map_err(|error| {
                    let hint = "no host of this fleet can have it: see what they have with muster host ls";
                    wrong(if error.is_of_key() { tag } else { value }, error.to_string(), hint)
                })?;
            }
            translated.conditions.push(format!("{} in [{}]", path(tag), quoted(&values)));
        } else if key == "tag-key" {
            for value in &values {
                check_tag(value, "v").map_err(|error| wrong(value, error.to_string(), HINT))?;
            }
            let any: Vec<String> = values.iter().map(|key| format!("has {}", path(key))).collect();
            translated.conditions.push(format!("({})", any.join(" or ")));
        } else if key == "InstanceIds" {
            if values == ["*"] {
                translated.conditions.push("all".to_owned());
            } else {
                translated.names.push(values.iter().map(|value| (*value).to_owned()).collect());
            }
        } else if let Some(what) = key.strip_prefix("resource-groups:") {
            let named = values.first().filter(|_| what == "Name").map(|name| name.to_ascii_lowercase());
            let group =
                named.filter(|name| check_group_name(name).is_ok()).unwrap_or_else(|| "web".to_owned());
            let problem = "resource groups are kept by AWS, which is not asked".to_owned();
            return Err(wrong(
                key,
                problem,
                &format!("save one here: muster group set {group} 'tag.role = web'"),
            ));
        } else {
            let problem = "the keys that are known are tag:NAME, tag-key and InstanceIds".to_owned();
            return Err(wrong(key, problem, HINT));
        }
    }
    if some { Ok(translated) } else { Err(wrong(text, "no target was given".to_owned(), HINT)) }
}

/// The parts of a text between separators, none of which stands in quotes. A quote opens where a value begins,
/// and is a letter like others elsewhere.
fn parts(text: &str, is_separator: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    let (mut quoted, mut before) = (false, None);
    text.split(move |c| {
        let begins = matches!(before, None | Some(',' | '='));
        quoted = if quoted { c != '"' } else { c == '"' && begins };
        before = Some(c);
        !quoted && is_separator(c)
    })
}

/// Whether a value does not begin with a quote, or is in quotes.
fn is_closed(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('"') else { return true };
    rest.strip_suffix('"').is_some_and(|inner| !inner.contains('"'))
}

/// A value without the quotes around it.
fn bare(value: &str) -> &str {
    if value.starts_with('"') { value.trim_matches('"') } else { value }
}

/// The path of a tag. What a key may be needs no quotes but where it is more than one word.
fn path(key: &str) -> String {
    format!("tag.\"{key}\"")
}

fn quoted(values: &[&str]) -> String {
    let quote = |value: &&str| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    values.iter().map(quote).collect::<Vec<_>>().join(", ")
}
