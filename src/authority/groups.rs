//! Saved selectors: names for sets of hosts, which all operators of a fleet share.
//!
//! A group is only words. It gives no right: who signs an order, a document or a certificate puts in its place
//! what it stands for at that moment, and hosts judge that text alone. Two writes that did not see each other make
//! it a conflict, which stands for nothing until a write names both.
//!
//! *Who may write one*: whoever may put any tag on any host (`tag`, with `*=*`). A name such as `@prod` is what
//! others will select by, and who may put every tag could steer those selections anyway. So no certificate gets a
//! right by this that it did not have, and one that is limited to some tags cannot redirect a group that goes
//! beyond them.

use std::collections::{BTreeMap, BTreeSet};

use super::{ANY, Authority, Certificate, Mark, Op, OpAction, Refusal, Verb};
use crate::{
    identity::{EntryId, Operator, PublicKey, Signed},
    time::{Hlc, Timestamp},
};

/// Most groups that were ever written.
const GROUPS_MAX: usize = 1_000;
/// Most ops about one group.
const OPS_A_GROUP_MAX: usize = 1_000;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// Longest selector, in bytes; as long as the language takes.
const SELECTOR_BYTES_MAX: usize = 4096;

/// What a group stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// This selector.
    Set(String),
    /// Written differently by operators who had not seen each other: these, of which none is a removal.
    Conflict(Vec<Option<String>>),
}

#[derive(Clone, Debug)]
struct Write {
    certificate: EntryId,
    signer: PublicKey<Operator>,
    mark: Mark,
    at: Hlc,
    selector: Option<String>,
    supersedes: Vec<EntryId>,
}

/// All writes, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(BTreeMap<String, BTreeMap<EntryId, Write>>);

impl Groups {
    /// Takes an op about the group `name`; true if it was new.
    pub(super) fn absorb(
        &mut self,
        op: &Signed<Op>,
        name: &str,
        selector: Option<&str>,
    ) -> Result<bool, Refusal> {
        if !self.0.contains_key(name) && self.0.len() >= GROUPS_MAX {
            return Err(Refusal::TooMany { what: "groups", limit: GROUPS_MAX });
        }
        let writes = self.0.entry(name.to_owned()).or_default();
        if writes.contains_key(&op.id()) {
            return Ok(false);
        }
        if writes.len() >= OPS_A_GROUP_MAX {
            return Err(Refusal::TooMany { what: "ops for one group", limit: OPS_A_GROUP_MAX });
        }
        let body = op.body();
        let write = Write {
            certificate: body.certificate,
            signer: op.signer(),
            mark: op.mark(),
            at: body.at,
            selector: selector.map(str::to_owned),
            supersedes: body.supersedes.clone(),
        };
        writes.insert(op.id(), write);
        Ok(true)
    }

    /// Takes back an op of a stream that turned out to be forked.
    pub(super) fn retract(&mut self, op: &Signed<Op>, name: &str) {
        let Some(writes) = self.0.get_mut(name) else { return };
        writes.remove(&op.id());
        if writes.is_empty() {
            self.0.remove(name);
        }
    }
}

impl Authority {
    /// What is called `name`; nothing if that was never written, or was taken away.
    pub fn group(&self, name: &str) -> Option<GroupState> {
        let mut live = self.live_group(name).into_iter().map(|(_, write)| write.selector.clone());
        let first = live.next()?;
        let mut others: Vec<Option<String>> = live.filter(|other| *other != first).collect();
        if others.is_empty() {
            return first.map(GroupState::Set);
        }
        others.push(first);
        others.sort();
        others.dedup();
        Some(GroupState::Conflict(others))
    }

    /// Every group, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, GroupState)> {
        self.groups.0.keys().filter_map(|name| Some((name.as_str(), self.group(name)?)))
    }

    /// The writes to a group that nothing has superseded: what a new write must name.
    pub fn live_group_writes(&self, name: &str) -> Vec<EntryId> {
        self.live_group(name).into_iter().map(|(id, _)| id).collect()
    }

    /// Who wrote what a group stands for, and when: of several, the latest.
    pub fn group_author(&self, name: &str) -> Option<(&Certificate, Timestamp)> {
        let (_, write) = self.live_group(name).into_iter().max_by_key(|(id, write)| (write.at, *id))?;
        let certificate = self.certificates.stands(&write.certificate, write.signer, write.mark).ok()?;
        Some((certificate, Timestamp(write.at.0 >> 16)))
    }

    /// The latest clock reading of all writes to a group.
    pub fn group_seen(&self, name: &str) -> Hlc {
        let writes = self.groups.0.get(name).into_iter().flatten();
        writes.map(|(_, write)| write.at).max().unwrap_or_default()
    }

    fn live_group(&self, name: &str) -> Vec<(EntryId, &Write)> {
        let mut live: Vec<(EntryId, &Write)> = Vec::new();
        let mut superseded: BTreeSet<EntryId> = BTreeSet::new();
        for (id, write) in self.groups.0.get(name).into_iter().flatten() {
            let allowed = self
                .certificates
                .stands(&write.certificate, write.signer, write.mark)
                .and_then(|certificate| allows(certificate, write.at));
            if allowed.is_ok() {
                live.push((*id, write));
                superseded.extend(&write.supersedes);
            }
        }
        live.retain(|(id, _)| !superseded.contains(id));
        live
    }
}

/// Whether a certificate's holder may write such an op.
pub(super) fn check(
    certificate: &Certificate,
    at: Hlc,
    name: &str,
    selector: Option<&str>,
) -> Result<(), Refusal> {
    allows(certificate, at)?;
    if !is_name(name) || selector.is_some_and(|text| text.is_empty() || text.len() > SELECTOR_BYTES_MAX) {
        return Err(Refusal::BadGroup);
    }
    Ok(())
}

fn allows(certificate: &Certificate, at: Hlc) -> Result<(), Refusal> {
    let person = || certificate.person.clone();
    if !certificate.allows(Verb::Tag) {
        return Err(Refusal::VerbNotGranted { person: person(), verb: Verb::Tag.word() });
    }
    if !certificate.valid_at(Timestamp(at.0 >> 16)) {
        return Err(Refusal::CertificateExpired { person: person() });
    }
    if !certificate.tags.iter().any(|(key, value)| key == ANY && value == ANY) {
        return Err(Refusal::TagNotGranted { tag: format!("{ANY}={ANY}") });
    }
    Ok(())
}

/// What the language takes after `@`: small letters, digits and `. _ -`, a letter or digit first.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
}

/// The name and the selector of an op about a group.
pub(super) fn about(action: &OpAction) -> Option<(&str, Option<&str>)> {
    match action {
        OpAction::Group { name, selector } => Some((name, selector.as_deref())),
        OpAction::Tag { .. }
        | OpAction::Rename { .. }
        | OpAction::Retire { .. }
        | OpAction::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::sample::{Fleet, certificate, key, pairs},
        identity::SecretKey,
    };

    fn group(name: &str, selector: Option<&str>) -> OpAction {
        OpAction::Group { name: name.to_owned(), selector: selector.map(str::to_owned) }
    }

    /// A fleet with ana, who may do everything, and bo, whose certificate is `change`d.
    fn fleet(change: impl FnOnce(&mut Certificate)) -> (Fleet, [SecretKey<Operator>; 2], Vec<EntryId>) {
        let (ana, bo) = (key::<Operator>(1), key::<Operator>(2));
        let mut limited = certificate("bo", &bo);
        change(&mut limited);
        let (fleet, ids) = Fleet::with(&[certificate("ana", &ana), limited]);
        (fleet, [ana, bo], ids)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a look-up gives")]
    fn set(text: &str) -> Option<GroupState> {
        Some(GroupState::Set(text.to_owned()))
    }

    #[test]
    fn a_group_is_written_replaced_and_taken_away() {
        let (fleet, [ana, _], ids) = fleet(|_| {});
        let mut authority = fleet.authority();
        assert_eq!(authority.group("prod"), None);
        let first = fleet.op(&ana, ids[0], 1, None, &[], group("prod", Some("tag.env = prod")));
        assert!(authority.absorb_op(&first).unwrap());
        assert!(!authority.absorb_op(&first).unwrap(), "again");
        assert_eq!(authority.group("prod"), set("tag.env = prod"));
        assert_eq!(authority.group_author("prod").unwrap().0.person, "ana");
        assert_eq!(authority.group_seen("prod"), first.body().at);
        assert_eq!(authority.live_group_writes("prod"), [first.id()]);

        let action = group("prod", Some("tag.env in [prod, live]"));
        let second = fleet.op(&ana, ids[0], 1, Some(&first), &[first.id()], action);
        assert!(authority.absorb_op(&second).unwrap());
        assert_eq!(authority.group("prod"), set("tag.env in [prod, live]"));
        let gone = fleet.op(&ana, ids[0], 1, Some(&second), &[second.id()], group("prod", None));
        assert!(authority.absorb_op(&gone).unwrap());
        assert_eq!((authority.group("prod"), authority.groups().count()), (None, 0));
    }

    #[test]
    fn what_did_not_see_each_other_is_a_conflict_in_any_order_of_arrival() {
        let (fleet, [ana, bo], ids) = fleet(|_| {});
        let one = fleet.op(&ana, ids[0], 1, None, &[], group("prod", Some("tag.env = prod")));
        let other = fleet.op(&bo, ids[1], 2, None, &[], group("prod", Some("tag.env = live")));
        let same = fleet.op(&bo, ids[1], 3, None, &[], group("prod", Some("tag.env = prod")));
        let both = [one.id(), other.id(), same.id()];
        let settled = fleet.op(&bo, ids[1], 2, Some(&other), &both, group("prod", Some("none")));
        let mut all = [&one, &other, &same, &settled];
        for _ in 0..all.len() {
            all.rotate_left(1);
            let mut authority = fleet.authority();
            let mut seen = Vec::new();
            for op in all {
                assert!(authority.absorb_op(op).unwrap());
                seen.push(authority.group("prod"));
            }
            assert_eq!(seen.last().unwrap(), &set("none"));
            let mut without = fleet.authority();
            all.into_iter().filter(|op| op.id() != settled.id()).for_each(|op| {
                without.absorb_op(op).unwrap();
            });
            let texts = ["tag.env = live", "tag.env = prod"].map(|text| Some(text.to_owned())).to_vec();
            assert_eq!(without.group("prod"), Some(GroupState::Conflict(texts)));
            assert_eq!(without.live_group_writes("prod").len(), 3);
            // A stream that turns out to be forked takes its writes back.
            without.retract_op(&other);
            assert_eq!(without.group("prod"), set("tag.env = prod"));
        }
    }

    #[test]
    fn only_who_may_put_any_tag_writes_a_group_and_others_ops_are_kept_without_effect() {
        type Change = fn(&mut Certificate);
        let cases: [(&str, Change); 5] = [
            ("no verb", |c| c.verbs = vec![Verb::Run]),
            ("some tags", |c| c.tags = pairs(&[("role", ANY), (ANY, "web")])),
            ("no tags", |c| c.tags.clear()),
            ("approvals", |c| c.approvals = 1),
            ("over", |c| c.not_after = Timestamp(1)),
        ];
        for (what, change) in cases {
            let (fleet, [ana, bo], ids) = fleet(change);
            let mut authority = fleet.authority();
            let op = fleet.op(&bo, ids[1], 1, None, &[], group("prod", Some("all")));
            assert!(authority.recognise_op(&op).is_err(), "{what}");
            assert_eq!(authority.keeps_op(&op), Ok(()), "{what}");
            assert_eq!(authority.absorb_op(&op), Ok(false), "{what}");
            assert_eq!(authority.group("prod"), None, "{what}");
            // Neither does it replace what another wrote.
            let mine = fleet.op(&ana, ids[0], 2, None, &[], group("prod", Some("tag.env = prod")));
            assert!(authority.absorb_op(&mine).unwrap());
            let theirs = fleet.op(&bo, ids[1], 1, Some(&op), &[mine.id()], group("prod", None));
            assert_eq!(authority.absorb_op(&theirs), Ok(false), "{what}");
            assert_eq!(authority.group("prod"), set("tag.env = prod"), "{what}");
        }
    }

    #[test]
    fn names_and_selectors_are_bounded() {
        let (fleet, [ana, _], ids) = fleet(|_| {});
        let authority = fleet.authority();
        let recognised = |name: &str, selector: Option<&str>| {
            authority.recognise_op(&fleet.op(&ana, ids[0], 1, None, &[], group(name, selector)))
        };
        assert_eq!(recognised("change-freeze.2_a", Some(&"a".repeat(4096))), Ok(()));
        assert_eq!(recognised(&"n".repeat(63), None), Ok(()));
        for name in ["", "-a", "A", "a/b", "a b", "é", "@a", &"n".repeat(64)] {
            assert_eq!(recognised(name, None), Err(Refusal::BadGroup), "{name}");
        }
        for text in ["", &"a".repeat(4097)] {
            assert_eq!(recognised("a", Some(text)), Err(Refusal::BadGroup));
        }
    }
}
