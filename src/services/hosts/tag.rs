//! Which ops change the tags of hosts, and where they stand in this operator's stream. Decides only.
//!
//! A new op names every live write that it saw to the keys it changes, so that it replaces them and
//! settles a conflict among them. Where it stands is [`crate::journal::stream_place`]'s to say.

use crate::{
    authority::{Authority, Host, Op, OpAction, Refusal, TagChange, TagState, Verb, Want},
    identity::{EntryId, HostId, Signed},
    journal::{NO_CERTIFICATE, OperatorHome, WriterState},
    replica::Replica,
    time::{Hlc, Timestamp},
};

/// What a person wants changed on some hosts, and what of it there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The hosts that change, and how, in the order they were given.
    pub changes: Vec<(HostId, Vec<TagChange>)>,
    /// How many hosts are so already.
    pub already: usize,
}

/// Why there is nothing to sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// No change was given.
    #[error("no tag was given")]
    NoChange,
    /// Two changes to one key.
    #[error("the tag {0} is given twice")]
    Twice(String),
    /// The host has left, or does not count.
    #[error("{0} is no member of the fleet, so its tags are settled")]
    NotAMember(String),
}

/// Finds what there is to do: changes that are so already are left out.
///
/// # Errors
/// When the wish makes no sense for these hosts.
pub fn plan(hosts: &[&Host], wanted: &[TagChange]) -> Result<Plan, TagError> {
    if wanted.is_empty() {
        return Err(TagError::NoChange);
    }
    for (at, change) in wanted.iter().enumerate() {
        if wanted.iter().take(at).any(|earlier| earlier.key == change.key) {
            return Err(TagError::Twice(change.key.clone()));
        }
    }
    let mut plan = Plan { changes: Vec::new(), already: 0 };
    for host in hosts {
        if host.standing() != crate::authority::Standing::Member {
            return Err(TagError::NotAMember(host.name().to_owned()));
        }
        let missing = wanted.iter().filter(|change| match (&change.value, host.tags().get(&change.key)) {
            (None, None) => false,
            (Some(value), Some(TagState::Set(now))) => value != now,
            _ => true,
        });
        let missing: Vec<TagChange> = missing.cloned().collect();
        if missing.is_empty() {
            plan.already += 1;
        } else {
            plan.changes.push((host.id(), missing));
        }
    }
    Ok(plan)
}

/// Makes the plan's ops, one a host, from `place` on, and has each signed, or foreseen as signed. Returns them with
/// the place after them, which must be stored before any of them is handed out.
///
/// # Errors
/// When the certificate does not allow one of them, or `signed` fails; nothing is signed that counts.
pub(super) fn sign<E: From<Refusal>>(
    plan: &Plan,
    replica: &Replica,
    operator: &OperatorHome,
    place: WriterState,
    now: Timestamp,
    signed: impl Fn(Op) -> Result<Signed<Op>, E>,
) -> Result<(Vec<Signed<Op>>, WriterState), E> {
    let authority = replica.authority();
    let certificate = under(plan, authority, operator, now);
    let at = reading(plan, replica, operator, certificate, now);
    let (mut ops, mut place) = (Vec::new(), place);
    for (host, changes) in &plan.changes {
        let mut supersedes: Vec<_> =
            changes.iter().flat_map(|change| authority.live_writes(host, &change.key)).collect();
        supersedes.sort_unstable();
        supersedes.dedup();
        let op = Op {
            writer: place.writer,
            sequence: place.next,
            previous: place.previous,
            at,
            certificate,
            supersedes,
            action: OpAction::Tag { host: *host, changes: changes.clone() },
        };
        let op = signed(op)?;
        authority.recognise_op(&op)?;
        place = WriterState { writer: place.writer, next: place.next + 1, previous: Some(op.id()) };
        ops.push(op);
    }
    Ok((ops, place))
}

/// The certificate of the operator that allows all of it, if one does.
fn under(plan: &Plan, authority: &Authority, operator: &OperatorHome, now: Timestamp) -> EntryId {
    let changes = plan.changes.iter().flat_map(|(_, changes)| changes);
    let mut tags: Vec<_> = changes.map(|change| (change.key.as_str(), change.value.as_deref())).collect();
    tags.sort_unstable();
    tags.dedup();
    let want = Want { tags: &tags, ..Want::of(Verb::Tag, now) };
    authority.suited(operator.name(), &want).unwrap_or(NO_CERTIFICATE)
}

/// A clock reading later than all writes that the plan's hosts have seen, unless that is later than the
/// certificate lasts (somebody's clock was far ahead): then the time itself. The reading only breaks ties.
fn reading(
    plan: &Plan,
    replica: &Replica,
    operator: &OperatorHome,
    certificate: EntryId,
    now: Timestamp,
) -> Hlc {
    let seen = plan.changes.iter().flat_map(|(host, _)| replica.ops_about(host)).map(|op| op.body().at);
    let later = seen.max().unwrap_or_default().next(now);
    let lasts = |authority: &Authority| {
        let certificate = authority.certificate_of(&certificate, operator.name());
        certificate.is_ok_and(|certificate| certificate.valid_at(Timestamp(later.0 >> 16)))
    };
    if lasts(replica.authority()) { later } else { Hlc::default().next(now) }
}
