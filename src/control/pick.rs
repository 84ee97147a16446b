//! Which hosts a person means: by name, by a unique beginning of a name or id, or by a selector. One
//! rule for every command.

use std::collections::BTreeSet;

use crate::{
    authority::{Host, Standing, TagState},
    replica::Replica,
    selector::{Root, Selector, SelectorError},
};

/// Most names that an error lists.
const LISTED_MAX: usize = 5;

/// Why no host, or not one host, is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// No host has this name, and none begins with it.
    #[error("no host is called {name}")]
    NoSuch {
        /// What was typed.
        name: String,
        /// The name that comes nearest, if one is near.
        near: Option<String>,
    },
    /// Several hosts begin with it.
    #[error("{name} could be {}", listed(.candidates))]
    Ambiguous {
        /// What was typed.
        name: String,
        /// Some of the names, each with the beginning of its id where names are equal.
        candidates: Vec<String>,
    },
    /// Not a selector.
    #[error("{error}")]
    Selector {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        error: SelectorError,
    },
    /// The selector is true for no host, and asks for something that none has, which is spelled nearly as
    /// something that some have.
    #[error("no host matches {selector}: none has {}", mistyped.typed)]
    Mistyped {
        /// The selector.
        selector: String,
        /// What that is.
        mistyped: Mistyped,
    },
    /// The selector is true for no host.
    #[error("no host matches {selector}")]
    NoMatch {
        /// The selector.
        selector: String,
    },
}

fn listed(candidates: &[String]) -> String {
    let shown = candidates.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match candidates.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The host called `name`: by its whole name, else by a unique beginning of name or id. Among hosts of
/// one name a member goes before those that left.
///
/// # Errors
/// [`PickError::NoSuch`] or [`PickError::Ambiguous`].
pub fn host_named<'a>(replica: &'a Replica, name: &str) -> Result<&'a Host, PickError> {
    let hosts = || replica.authority().hosts();
    let mut exact: Vec<&Host> = hosts().filter(|host| host.name() == name).collect();
    if exact.iter().any(|host| host.standing() == Standing::Member) {
        exact.retain(|host| host.standing() == Standing::Member);
    }
    let mut found = exact;
    if found.is_empty() && !name.is_empty() {
        found = hosts()
            .filter(|host| host.name().starts_with(name) || host.id().to_string().starts_with(name))
            .collect();
        // Who only wants to belong is in nobody's way.
        if found.iter().any(|host| !host.standing().waits()) {
            found.retain(|host| !host.standing().waits());
        }
    }
    match found.as_slice() {
        [host] => Ok(host),
        [] => Err(PickError::NoSuch {
            name: name.to_owned(),
            near: did_you_mean(name, hosts().map(Host::name)).map(str::to_owned),
        }),
        several => {
            let unique = |host: &Host| several.iter().filter(|other| other.name() == host.name()).count() < 2;
            let mut candidates: Vec<String> = several
                .iter()
                .map(|host| {
                    if unique(host) {
                        host.name().to_owned()
                    } else {
                        format!("{} ({})", host.name(), host.id().short())
                    }
                })
                .collect();
            candidates.sort();
            Err(PickError::Ambiguous { name: name.to_owned(), candidates })
        }
    }
}

/// The hosts that `selector` is true for, members or not, in order of their names.
///
/// # Errors
/// [`PickError::NoMatch`] or [`PickError::Mistyped`] when there is none.
pub fn hosts_selected<'a>(replica: &'a Replica, selector: &Selector) -> Result<Vec<&'a Host>, PickError> {
    let mut hosts: Vec<&Host> =
        replica.authority().hosts().filter(|host| selector.selects(&replica.known(host))).collect();
    if hosts.is_empty() {
        return Err(nobody(replica, selector));
    }
    hosts.sort_by(|a, b| a.name().cmp(b.name()).then(a.id().cmp(&b.id())));
    Ok(hosts)
}

/// Why a selector is true for no host: perhaps a word in it was mistyped.
pub fn nobody(replica: &Replica, selector: &Selector) -> PickError {
    let text = selector.text().to_owned();
    match mistyped(replica, selector) {
        Some(mistyped) => PickError::Mistyped { selector: text, mistyped },
        None => PickError::NoMatch { selector: text },
    }
}

/// What a selector that is true for nobody asks for, and what was probably meant: as it is written in a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistyped {
    /// What no host has.
    pub typed: String,
    /// What comes nearest of what some have.
    pub near: String,
}

/// The first tag, value of a tag, or name in `selector` that no host has and that is spelled nearly as one that
/// some have.
pub fn mistyped(replica: &Replica, selector: &Selector) -> Option<Mistyped> {
    let hosts = || replica.authority().hosts();
    let keys: BTreeSet<&str> = hosts().flat_map(|host| host.tags().keys().map(String::as_str)).collect();
    let near = |typed: &str, known: &BTreeSet<&str>| {
        if known.contains(typed) {
            None
        } else {
            did_you_mean(typed, known.iter().copied()).map(str::to_owned)
        }
    };
    let key = selector.paths().into_iter().filter_map(|path| path.tag()).find_map(|key| {
        let near = near(key, &keys)?;
        Some(Mistyped { typed: format!("tag.{key}"), near: format!("tag.{near}") })
    });
    key.or_else(|| {
        selector.wanted().into_iter().find_map(|(path, value)| {
            let known: BTreeSet<String> = match path.tag() {
                Some(key) => {
                    let set = |host: &'_ Host| match host.tags().get(key) {
                        Some(TagState::Set(value)) => Some(value.clone()),
                        _ => None,
                    };
                    hosts().filter_map(set).collect()
                }
                None if path.root() == Root::Name => hosts().map(|host| host.name().to_owned()).collect(),
                None => return None,
            };
            let near = near(value, &known.iter().map(String::as_str).collect())?;
            Some(Mistyped { typed: format!("{path} = {value}"), near: format!("{path} = {near}") })
        })
    })
}

/// The candidate that `typed` was probably meant to be: a third of its letters may be wrong, missing,
/// too many or swapped (the optimal string alignment distance). The first of equally near ones.
pub fn did_you_mean<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.chars().take(64).collect();
    let limit = (typed.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = distance(&typed, &candidate.chars().take(64).collect::<Vec<_>>());
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = at(&above, j) + usize::from(left != right);
            let mut least = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(right) && b.get(j - 1) == Some(left);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    at(&above, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_another_word_is_not() {
        let names = ["web-1", "web-2", "db-1"];
        assert_eq!(did_you_mean("wbe-1", names), Some("web-1"));
        assert_eq!(did_you_mean("we-2", names), Some("web-2"));
        assert_eq!(did_you_mean("bd-1", names), Some("db-1"));
        assert_eq!(did_you_mean("cache", names), None);
        assert_eq!(did_you_mean("", ["a-very-long-name"]), None);
    }

    #[test]
    fn distances_count_edits_and_swaps() {
        let of = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ab", "ba"), 1);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("same", "same"), 0);
    }
}
