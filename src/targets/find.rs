//! Hosts by their names, and groups by theirs.

use std::{cell::RefCell, collections::BTreeSet};

use super::TargetError;
use crate::{
    authority::{Authority, GroupState, Host},
    control::did_you_mean,
    identity::HostId,
    replica::Replica,
    selector::{Selector, SelectorError},
    terminal::{escape, nodeset},
};

/// Fewest characters by which an id may be named instead of a name.
const ID_PREFIX_CHARS_MIN: usize = 4;
/// Hosts that an ambiguous name is shown to stand for.
const SHOWN_MAX: usize = 4;

/// The members that `text` (a set of names, unique prefixes, ids) names, of which it may have `limit`.
pub(super) fn named(text: &str, limit: usize, replica: &Replica) -> Result<BTreeSet<HostId>, TargetError> {
    let names = nodeset::expand_within(text, limit)
        .map_err(|error| TargetError::Names { text: text.to_owned(), error })?;
    names.iter().map(|name| find(name, replica).map(Host::id)).collect()
}

/// The member of this name, or else the one whose name, or else whose id, begins so.
pub(super) fn find<'a>(name: &str, replica: &'a Replica) -> Result<&'a Host, TargetError> {
    let members = || replica.authority().members();
    let exact: Vec<&Host> = members().filter(|host| host.name() == name).collect();
    let prefix = || members().filter(|host| host.name().starts_with(name)).collect::<Vec<_>>();
    let id = || {
        let enough = name.len() >= ID_PREFIX_CHARS_MIN;
        members().filter(|host| enough && host.id().to_string().starts_with(name)).collect::<Vec<_>>()
    };
    let mut found = exact;
    if found.is_empty() && !name.is_empty() {
        found = prefix();
    }
    if found.is_empty() {
        found = id();
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let near = did_you_mean(name, members().map(Host::name)).map(escape::line);
            Err(TargetError::UnknownName { name: name.to_owned(), near })
        }
        many => Err(TargetError::Ambiguous {
            name: name.to_owned(),
            hosts: many
                .iter()
                .take(SHOWN_MAX)
                .map(|host| format!("{} ({})", escape::line(host.name()), host.id().short()))
                .chain((many.len() > SHOWN_MAX).then(|| format!("{} more", many.len() - SHOWN_MAX)))
                .collect(),
        }),
    }
}

/// What the group `name` stands for, as it was saved.
///
/// # Errors
/// When there is none, it is in conflict, or this version cannot read it.
pub fn group_selector(name: &str, authority: &Authority) -> Result<Selector, TargetError> {
    match authority.group(name) {
        None => {
            let near = did_you_mean(name, authority.groups().map(|(name, _)| name)).map(escape::line);
            Err(TargetError::UnknownGroup { name: name.to_owned(), near })
        }
        Some(GroupState::Conflict(written)) => Err(TargetError::GroupConflict {
            name: name.to_owned(),
            written: written
                .iter()
                .map(|text| text.as_ref().map_or_else(|| "removed".to_owned(), |text| escape::line(text)))
                .collect(),
        }),
        Some(GroupState::Set(text)) => Selector::parse(&text).map_err(|error| TargetError::GroupText {
            name: name.to_owned(),
            text,
            error,
        }),
    }
}

/// Puts in the place of every group of `selector` what it stands for now.
///
/// # Errors
/// When a group cannot be read, or it would be too much.
pub fn with_groups(selector: &Selector, authority: &Authority) -> Result<Selector, TargetError> {
    let why: RefCell<Option<TargetError>> = RefCell::new(None);
    let look_up = |name: &str| match group_selector(name, authority) {
        Ok(selector) => Some(selector),
        // That there is none, the language itself points at.
        Err(TargetError::UnknownGroup { near: None, .. }) => None,
        Err(error) => {
            why.borrow_mut().get_or_insert(error);
            None
        }
    };
    let expanded = selector.expand(&look_up);
    expanded.map_err(|error| match why.take() {
        Some(why) => why,
        None => in_text(selector.text())(error),
    })
}

pub(super) fn in_text(text: &str) -> impl FnOnce(SelectorError) -> TargetError {
    let text = text.to_owned();
    move |error| TargetError::Selector { text, error }
}
