//! Which hosts an order is for, whether they could accept it, and who keeps its results.

use std::collections::BTreeSet;

use super::Target;
use crate::{
    authority::{Admitted, Authority, Host, Refusal},
    identity::{HostId, Signed},
    replica::{KEEPERS_MAX, Order, ROSTER_INLINE_MAX, Replica},
    selector::{Selector, SelectorError, TagError, Truth, parse_label},
    targets,
    terminal::{
        escape,
        nodeset::{self, NodesetError},
    },
    time::Timestamp,
};

/// Fewest characters by which an id may be named instead of a name.
const ID_PREFIX_CHARS_MIN: usize = 4;
/// Hosts that an ambiguous name is shown to stand for.
const SHOWN_MAX: usize = 4;

/// Why it cannot be told which hosts are meant. Nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was given.
    #[error("no target: say which hosts this is for")]
    Missing,
    /// `--all` and something that narrows.
    #[error("--all and a narrower target contradict each other")]
    AllAndMore,
    /// The selector cannot be read.
    #[error("{}", error.render(text))]
    Selector {
        /// What was given.
        text: String,
        /// Why not.
        error: SelectorError,
    },
    /// A group in the selector cannot be put in its place.
    #[error(transparent)]
    Group(#[from] targets::TargetError),
    /// A label cannot be read.
    #[error("{}: {error}", escape::line(label))]
    Label {
        /// What was given.
        label: String,
        /// Why not.
        error: TagError,
    },
    /// A set of names cannot be read.
    #[error("{error}\n  {}\n  {}^", escape::line(text), " ".repeat(escape::width(&escape::line(text.get(..error.at).unwrap_or_default()))))]
    Names {
        /// What was given.
        text: String,
        /// Why not.
        error: NodesetError,
    },
    /// No member has this name.
    #[error("no host is called {}", escape::line(name))]
    UnknownName {
        /// What was given.
        name: String,
        /// The name that is nearest.
        near: Option<String>,
    },
    /// More than one member has this name, or begins with it.
    #[error("{} could be {}", escape::line(name), hosts.join(", "))]
    Ambiguous {
        /// What was given.
        name: String,
        /// What it could be; not all, if there are many.
        hosts: Vec<String>,
    },
    /// The target is clear, and no member is in it.
    #[error("no host matches {selector}")]
    NoHost {
        /// The selector's text.
        selector: String,
        /// For how many members it cannot be told.
        unknown: usize,
    },
    /// More hosts than a roster can name.
    #[error("{hosts} hosts, where one order can name {ROSTER_INLINE_MAX}")]
    TooMany {
        /// How many.
        hosts: usize,
    },
}

impl TargetError {
    /// The exit code, as the contract with scripts has it.
    pub fn code(&self) -> u8 {
        match self {
            Self::NoHost { .. } | Self::UnknownName { .. } => 3,
            _ => 2,
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing => [
                "muster run -l role=web -- uptime",
                "muster run -H web-1 -- uptime",
                "muster run -t 'tag.role = web and not tag.env = prod' -- uptime",
                "muster run --all -- uptime",
            ]
            .map(str::to_owned)
            .into(),
            Self::AllAndMore => vec!["leave out --all".to_owned()],
            Self::Selector { error, .. } => error.hint.iter().cloned().collect(),
            Self::Group(error) => error.hints("muster run", "-- uptime"),
            Self::Label { .. } => vec!["write it as -l role=web".to_owned()],
            Self::Names { .. } => vec!["write it as -H web-1 or -H 'web-[01-10,12]'".to_owned()],
            Self::UnknownName { near: Some(near), .. } => vec![format!("did you mean {near}?")],
            Self::NoHost { unknown, .. } if *unknown > 0 => vec![
                format!("it cannot be told for {unknown} hosts, since they lack what it asks for"),
                "muster host ls".to_owned(),
            ],
            Self::UnknownName { near: None, .. } | Self::NoHost { .. } => vec!["muster host ls".to_owned()],
            Self::Ambiguous { .. } => vec!["write more of the name, or its id".to_owned()],
            Self::TooMany { .. } => vec!["split it: -t 'name like \"web-1*\"'".to_owned()],
        }
    }
}

/// The hosts that are meant.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// What is signed beside their ids.
    pub selector: Selector,
    /// Members, in order of ids, each once, at least one.
    pub hosts: Vec<&'a Host>,
    /// Whether this is one host, and it was called by its name.
    pub one_named: bool,
}

impl Resolved<'_> {
    /// Their ids, in order.
    pub fn ids(&self) -> Vec<HostId> {
        self.hosts.iter().map(|host| host.id()).collect()
    }
}

/// Finds the members that `target` means.
///
/// # Errors
/// [`TargetError`]; there is no such thing as an empty roster.
pub fn resolve<'a>(target: &Target, replica: &'a Replica) -> Result<Resolved<'a>, TargetError> {
    let narrower = target.expression.is_some() || !target.labels.is_empty() || !target.hosts.is_empty();
    match (target.all, narrower) {
        (false, false) => return Err(TargetError::Missing),
        (true, true) => return Err(TargetError::AllAndMore),
        _ => {}
    }
    let mut asked = Selector::all();
    if let Some(text) = &target.expression {
        asked = Selector::parse(text).map_err(|error| TargetError::Selector { text: text.clone(), error })?;
        // Hosts judge what is signed, and look up nothing.
        asked = targets::with_groups(&asked, replica.authority())?;
    }
    if !target.labels.is_empty() {
        let mut labels = Vec::new();
        for label in &target.labels {
            let wrong = |error| TargetError::Label { label: label.clone(), error };
            labels.push(parse_label(label).map_err(wrong)?);
        }
        let text = target.labels.join(" ");
        asked = Selector::from_labels(&labels)
            .and_then(|selector| asked.and(selector))
            .map_err(|error| TargetError::Selector { text, error })?;
    }
    let named = if target.hosts.is_empty() { None } else { Some(named(&target.hosts, replica)?) };
    let candidates: Vec<&Host> = match &named {
        None => replica.authority().members().collect(),
        Some(ids) => ids.iter().filter_map(|id| replica.authority().host(id)).collect(),
    };
    let (mut hosts, mut unknown) = (Vec::new(), 0);
    for host in candidates {
        let outcomes = asked.outcomes(&replica.known(host));
        if outcomes.is(Truth::True) {
            hosts.push(host);
        } else if outcomes.may_be(Truth::Unknown) {
            unknown += 1;
        }
    }
    let selector = if named.is_some() { with_names(asked, &hosts) } else { asked };
    if hosts.is_empty() {
        let selector = target.expression.clone().unwrap_or_else(|| selector.to_string());
        return Err(TargetError::NoHost { selector: escape::line(&selector), unknown });
    }
    if hosts.len() > ROSTER_INLINE_MAX {
        return Err(TargetError::TooMany { hosts: hosts.len() });
    }
    let one_named = named.is_some() && hosts.len() == 1;
    Ok(Resolved { selector, hosts, one_named })
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

/// The members that `texts` (sets of names, unique prefixes, ids) name.
fn named(texts: &[String], replica: &Replica) -> Result<BTreeSet<HostId>, TargetError> {
    let mut ids = BTreeSet::new();
    for text in texts {
        let names = nodeset::expand_within(text, ROSTER_INLINE_MAX)
            .map_err(|error| TargetError::Names { text: text.clone(), error })?;
        for name in names {
            ids.insert(find(&name, replica)?.id());
        }
    }
    Ok(ids)
}

/// The member of this name, or else the one whose name, or else whose id, begins so.
fn find<'a>(name: &str, replica: &'a Replica) -> Result<&'a Host, TargetError> {
    let members = || replica.authority().members();
    let exact: Vec<&Host> = members().filter(|host| host.name() == name).collect();
    let prefix = || members().filter(|host| host.name().starts_with(name)).collect::<Vec<_>>();
    let id = || {
        let enough = name.len() >= ID_PREFIX_CHARS_MIN;
        members().filter(|host| enough && host.id().to_string().starts_with(name)).collect::<Vec<_>>()
    };
    let found = [exact].into_iter().chain([prefix(), id()]).find(|found| !found.is_empty());
    match found.as_deref() {
        Some([one]) => Ok(one),
        Some(many) => Err(TargetError::Ambiguous {
            name: name.to_owned(),
            hosts: many
                .iter()
                .take(SHOWN_MAX)
                .map(|host| format!("{} ({})", escape::line(host.name()), host.id().short()))
                .chain((many.len() > SHOWN_MAX).then(|| format!("{} more", many.len() - SHOWN_MAX)))
                .collect(),
        }),
        None => Err(TargetError::UnknownName { name: name.to_owned(), near: near(name, members()) }),
    }
}

/// The name that takes the fewest changes of a letter, if these are few.
fn near<'a>(name: &str, members: impl Iterator<Item = &'a Host>) -> Option<String> {
    /// Longer words are not compared: nobody types them.
    const CHARS_MAX: usize = 64;
    if name.len() > CHARS_MAX {
        return None;
    }
    let slips_max = if name.len() <= 3 { 1 } else { 2 };
    members
        .map(|host| (slips(name, host.name()), host.name()))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, near)| escape::line(near))
}

/// How many letters to change, add, drop or swap with their neighbour (optimal string alignment).
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut before = None;
    for (row, x) in a.chars().enumerate() {
        let mut left = row + 1;
        let mut line = vec![left];
        let (mut b_before, mut swapped_from) = (None, None);
        for (column, (y, pair)) in b.iter().copied().zip(above.windows(2)).enumerate() {
            let [diagonal, up] = pair else { continue };
            left = (diagonal + usize::from(x != y)).min(up + 1).min(left + 1);
            if before == Some(y) && b_before == Some(x) {
                left = swapped_from.map_or(left, |from: usize| left.min(from + 1));
            }
            line.push(left);
            b_before = Some(y);
            swapped_from = older.get(column).copied();
        }
        before = Some(x);
        older = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or_default()
}

/// What hosts would answer. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not permitted: {}{refusal}", if hosts.is_empty() { String::new() } else { format!("{}: ", escape::line(hosts)) })]
pub struct Foreseen {
    /// Which hosts, folded; empty where it does not depend on the host.
    pub hosts: String,
    /// What the first of them would say.
    pub refusal: Refusal,
}

/// Applies to an order what every host will apply to it.
///
/// # Errors
/// [`Foreseen`] with every host that would give the same refusal as the first.
pub fn foresee(
    authority: &Authority,
    order: Signed<Order>,
    now: Timestamp,
) -> Result<Admitted<Order>, Foreseen> {
    let everywhere = |refusal| Foreseen { hosts: String::new(), refusal };
    let order = authority.admit(order).map_err(everywhere)?;
    let mut first: Option<(Refusal, Vec<String>)> = None;
    for id in order.body().roster.hosts() {
        let host = authority.host(id).ok_or(everywhere(Refusal::NotAMember("not known")))?;
        let Err(refusal) = authority.judge(&order, *id, host, now) else { continue };
        match &mut first {
            None => first = Some((refusal, vec![host.name().to_owned()])),
            Some((same, names)) if *same == refusal => names.push(host.name().to_owned()),
            Some(_) => {}
        }
    }
    match first {
        None => Ok(order),
        Some((refusal, names)) => Err(Foreseen { hosts: nodeset::fold(names), refusal }),
    }
}

/// Who keeps an order's results: the entry host, then members that listen, by lowest hash of nonce and
/// id, so that different orders burden different hosts and no entry host can choose the others.
pub fn keepers(replica: &Replica, entry: HostId, nonce: &[u8; 16]) -> Vec<HostId> {
    let mut others: Vec<([u8; 32], HostId)> = replica
        .authority()
        .members()
        .map(Host::id)
        .filter(|id| *id != entry)
        .filter(|id| replica.node_facet(id).is_some_and(|node| !node.listen().is_empty()))
        .map(|id| {
            let mut hasher = blake3::Hasher::new_derive_key("muster/keeper/v1");
            hasher.update(nonce).update(&id.0);
            (*hasher.finalize().as_bytes(), id)
        })
        .collect();
    others.sort_unstable();
    [entry].into_iter().chain(others.into_iter().map(|(_, id)| id)).take(KEEPERS_MAX).collect()
}
