//! What was given on the command line, and what it asks.

use std::collections::BTreeSet;

use super::{Share, TargetError, find, ssm};
use crate::{
    identity::HostId,
    replica::Replica,
    selector::{Path, Root, Selector, parse_label},
};

/// Which hosts, as they were given. All that is given narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// `-t EXPR`: a selector.
    pub expression: Option<String>,
    /// `-l key=value`, each as written.
    pub labels: Vec<String>,
    /// `-H`: names, unique prefixes, ids, or sets such as `web-[01-10]`, each as written; any of them.
    pub hosts: Vec<String>,
    /// `-g`: saved selectors, by name; in all of them.
    pub groups: Vec<String>,
    /// `--ssm-targets`, each as written.
    pub ssm: Vec<String>,
    /// `--all`.
    pub all: bool,
    /// `--sample`: a part of them, chosen by a hash.
    pub sample: Option<Share>,
    /// `--limit`: so many at most, the first by name.
    pub limit: Option<u32>,
}

/// What is meant, in the language, before it is known for whom that is true.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What must be true, without groups.
    pub(super) selector: Selector,
    /// The hosts that were called by their names, if any were.
    pub(super) named: Option<BTreeSet<HostId>>,
    /// What was typed, for words about it.
    pub(super) text: String,
    pub(super) sample: Option<Share>,
    pub(super) limit: Option<u32>,
}

impl Asked {
    /// What must be true of a host, besides being one of those that were called by name.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The question that an agent must be asked, if what is signed does not answer it.
    pub fn of_facts(&self) -> Option<&Selector> {
        let signed = |path: &&Path| matches!(path.root(), Root::Tag | Root::Name | Root::Id);
        (!self.selector.paths().iter().all(signed)).then_some(&self.selector)
    }
}

impl Targets {
    /// Every host.
    pub fn everyone() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Whether no host was said to be meant; a part of none may have been.
    pub fn is_empty(&self) -> bool {
        !self.all && !self.narrows()
    }

    fn narrows(&self) -> bool {
        self.expression.is_some()
            || !self.labels.is_empty()
            || !self.hosts.is_empty()
            || !self.groups.is_empty()
            || !self.ssm.is_empty()
    }

    /// Reads what was given. Sets of names may have `names_max` names each.
    ///
    /// # Errors
    /// [`TargetError`], but for those that say that nobody, or too many, are meant.
    pub fn ask(&self, replica: &Replica, names_max: usize) -> Result<Asked, TargetError> {
        match (self.all, self.narrows()) {
            (false, false) => return Err(TargetError::Missing),
            (true, true) => return Err(TargetError::AllAndMore),
            _ => {}
        }
        let authority = replica.authority();
        let mut asked = Selector::all();
        let mut narrow = |by: Selector, text: &str| {
            let both = std::mem::replace(&mut asked, Selector::all()).and(by);
            both.map(|both| asked = both).map_err(find::in_text(text))
        };
        if let Some(text) = &self.expression {
            let selector = Selector::parse(text).map_err(find::in_text(text))?;
            narrow(find::with_groups(&selector, authority)?, text)?;
        }
        for name in &self.groups {
            let bare = name.strip_prefix('@').unwrap_or(name);
            let saved = find::group_selector(bare, authority)?;
            narrow(find::with_groups(&saved, authority)?, saved.text())?;
        }
        if !self.labels.is_empty() {
            let mut labels = Vec::new();
            for label in &self.labels {
                let wrong = |error| TargetError::Label { label: label.clone(), error };
                labels.push(parse_label(label).map_err(wrong)?);
            }
            let text = self.labels.join(" ");
            narrow(Selector::from_labels(&labels).map_err(find::in_text(&text))?, &text)?;
        }
        let mut named: Option<BTreeSet<HostId>> = None;
        for text in &self.hosts {
            named.get_or_insert_default().extend(find::named(text, names_max, replica)?);
        }
        for text in &self.ssm {
            let translated = ssm::translate(text)?;
            for condition in &translated.conditions {
                narrow(Selector::parse(condition).map_err(find::in_text(condition))?, condition)?;
            }
            for names in &translated.names {
                let ids: Result<BTreeSet<HostId>, TargetError> = names
                    .iter()
                    .map(|name| find::find(name, replica).map(crate::authority::Host::id))
                    .collect();
                let ids = ids?;
                named = Some(named.map_or_else(|| ids.clone(), |before| &before & &ids));
            }
        }
        Ok(Asked { selector: asked, named, text: self.text(), sample: self.sample, limit: self.limit })
    }

    /// What was typed to say who is meant, as one text.
    fn text(&self) -> String {
        let groups = self.groups.iter().map(|name| format!("@{}", name.trim_start_matches('@')));
        let mut parts: Vec<String> = self.expression.iter().cloned().chain(groups).collect();
        parts.extend(self.ssm.iter().cloned());
        parts.join(" and ")
    }
}
