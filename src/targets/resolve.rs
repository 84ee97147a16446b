//! The members that are meant.

use std::collections::BTreeSet;

use super::{Asked, Share, TargetError};
use crate::{
    authority::Host,
    control::mistyped,
    identity::HostId,
    replica::Replica,
    selector::{Look, Path, Root, Selector, Subject, Truth, version},
    terminal::escape,
};

/// The hosts that are meant.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// What is signed beside their ids.
    pub selector: Selector,
    /// Members, in order of ids, each once, at least one.
    pub hosts: Vec<&'a Host>,
    /// Whether this is one host, and it was called by its name.
    pub one_named: bool,
    /// How many were meant before a sample or a limit was taken of them.
    pub matched: usize,
}

impl Resolved<'_> {
    /// Their ids, in order.
    pub fn ids(&self) -> Vec<HostId> {
        self.hosts.iter().map(|host| host.id()).collect()
    }
}

/// A host by nothing but what is signed: its tags, its name and its id. All else is open.
struct Proven<'a>(&'a Host);

impl Subject for Proven<'_> {
    fn look(&self, path: &Path) -> Look<'_> {
        match path.root() {
            Root::Name => Look::Value(self.0.name().into()),
            Root::Id => Look::Value(self.0.id().to_string().into()),
            _ => self.0.look(path),
        }
    }
}

/// Finds the members that are meant, `hosts_max` at most. `told` are those for which [`Asked::of_facts`] is true,
/// as the agent says.
///
/// What authorises is signed tags, which are judged here from their signatures. What hosts say of themselves, in
/// the agent's words, only takes hosts away from those that the tags allow: an agent that lies can leave hosts out
/// of a roster, or bring in such as the tags and the certificate cover anyway; and the roster is shown.
///
/// # Errors
/// [`TargetError`]; there is no such thing as an empty roster.
pub fn resolve<'a>(
    asked: &Asked,
    told: Option<&BTreeSet<HostId>>,
    replica: &'a Replica,
    hosts_max: usize,
) -> Result<Resolved<'a>, TargetError> {
    let candidates: Vec<&Host> = match &asked.named {
        None => replica.authority().members().collect(),
        Some(ids) => ids.iter().filter_map(|id| replica.authority().host(id)).collect(),
    };
    let (mut hosts, mut unknown) = (Vec::new(), 0);
    for host in candidates {
        let outcomes = asked.selector.outcomes(&Proven(host));
        let is_meant = match told {
            None => outcomes.is(Truth::True),
            Some(told) => outcomes.may_be_true() && told.contains(&host.id()),
        };
        if is_meant {
            hosts.push(host);
        } else if told.is_none() && outcomes.may_be(Truth::Unknown) {
            unknown += 1;
        }
    }
    if hosts.is_empty() {
        let text = if asked.text.is_empty() { asked.selector.to_string() } else { asked.text.clone() };
        let mistyped = mistyped(replica, &asked.selector);
        return Err(TargetError::NoHost {
            selector: escape::line(&text),
            unknown,
            facts: told.is_some(),
            mistyped,
        });
    }
    let matched = hosts.len();
    let mut hosts = thinned(hosts, asked);
    if hosts.len() > hosts_max {
        return Err(TargetError::TooMany { hosts: hosts.len(), limit: hosts_max });
    }
    hosts.sort_by_key(|host| host.id());
    let selector = match &asked.named {
        Some(_) => with_names(asked.selector.clone(), &hosts),
        None => asked.selector.clone(),
    };
    let one_named = asked.named.is_some() && hosts.len() == 1;
    Ok(Resolved { selector, hosts, one_named, matched })
}

/// Takes the sample, and of that the first by name.
///
/// Which hosts are in a sample depends on nothing but their ids and the selector: a dry run shows those that a
/// run will ask, a larger share has all of a smaller one, and another selector another part of the fleet.
fn thinned<'a>(mut hosts: Vec<&'a Host>, asked: &Asked) -> Vec<&'a Host> {
    if let Some(share) = asked.sample {
        let place = |host: &&Host| {
            let mut hasher = blake3::Hasher::new_derive_key("muster/sample/v1");
            hasher.update(&host.id().0).update(asked.selector.to_string().as_bytes());
            *hasher.finalize().as_bytes()
        };
        hosts.sort_by_cached_key(place);
        hosts.truncate(share.of(hosts.len()));
    }
    if let Some(limit) = asked.limit {
        hosts.sort_by(|a, b| version::natural(a.name(), b.name()).then(a.id().cmp(&b.id())));
        hosts.truncate(Share::Hosts(limit).of(hosts.len()));
    }
    hosts
}

/// Narrows a selector to the names of `hosts`, so that the record says what was asked for. Where that
/// is longer than a selector may be, the roster alone names them: it is what binds.
fn with_names(asked: Selector, hosts: &[&Host]) -> Selector {
    let names: Vec<String> = hosts.iter().map(|host| format!("\"{}\"", host.name())).collect();
    let text = match names.as_slice() {
        [] => return asked,
        [one] => format!("name = {one}"),
        many => format!("name in [{}]", many.join(", ")),
    };
    let narrowed = Selector::parse(&text).and_then(|named| asked.clone().and(named));
    narrowed.unwrap_or(asked)
}
