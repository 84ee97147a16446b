//! The replica: all entries in their places.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Cancellation, Entry, FACET_NODE, FacetHash, Head, Item, NODE_BYTES_MAX, NodeFacet, Order};
use crate::{
    authority::{Admitted, Authority, Host, Invitation, Op, Refusal, Standing},
    identity::{EntryId, FleetId, HostId, Signed, StreamId},
    selector::{Look, Path, Subject},
    time::Timestamp,
    wire::{self, Bytes},
    wire_record,
};

const ORDERS_MAX: usize = 10_000;
const INVITATIONS_MAX: usize = 10_000;
const OPS_MAX: usize = 200_000;
const FACETS_A_HEAD_MAX: usize = 32;
/// How long after its expiry an order is still held, so that hosts whose clocks differ agree on it.
const HELD_AFTER_EXPIRY: std::time::Duration = std::time::Duration::from_secs(3600);

/// What merging an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It was not there.
    New,
    /// It was there, or something newer stands in its place.
    Known,
    /// Another entry stands at its place of its operator's stream, which is now frozen before it.
    Forked,
}

/// What a replica holds, in the words of another: enough to find what it lacks. A row a stream and an
/// id an entry that stands alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The first half of the ids of entries that stand alone, of the last op of each operator stream
    /// (which names all before it), and of the two ops that ended a forked one.
    pub held: Vec<[u8; 16]>,
    /// For each operator stream, how many ops are held.
    pub ops: Vec<(StreamId, u64)>,
    /// For each host with a head, its epoch and sequence.
    pub heads: Vec<HeadRow>,
}
wire_record!(Tip { held, ops, heads });

/// One host's newest head, in a [`Tip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRow {
    /// The host.
    pub host: HostId,
    /// Its epoch.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
    /// The first half of its id: two may stand at one place.
    pub half: [u8; 16],
}
wire_record!(HeadRow { host, epoch, sequence, half });

#[derive(Clone, Debug, Default)]
struct OperatorStream {
    ops: Vec<Signed<Op>>,
    /// Two different ops that follow the last one: proof, kept and spread. Of more, the two lowest ids.
    fork: Option<Box<(Signed<Op>, Signed<Op>)>>,
}

impl OperatorStream {
    /// The two ops at its fork, if it has one.
    fn forked(&self) -> impl Iterator<Item = &Signed<Op>> {
        self.fork.iter().flat_map(|pair| [&pair.0, &pair.1])
    }

    /// What tells it from every other state of this stream: its last op, and those at its fork.
    fn ends(&self) -> impl Iterator<Item = &Signed<Op>> {
        self.ops.last().into_iter().chain(self.forked())
    }
}

/// Everything a host holds of its fleet.
#[derive(Clone, Debug)]
pub struct Replica {
    authority: Authority,
    ids: HashSet<EntryId>,
    invitations: BTreeMap<EntryId, Signed<Invitation>>,
    operators: BTreeMap<StreamId, OperatorStream>,
    ops: usize,
    heads: BTreeMap<HostId, Signed<Head>>,
    /// Each with the number of heads that name it.
    facets: HashMap<FacetHash, (Arc<[u8]>, usize)>,
    orders: BTreeMap<EntryId, Admitted<Order>>,
    cancellations: BTreeMap<EntryId, Signed<Cancellation>>,
    forked_hosts: BTreeSet<HostId>,
    version: u64,
    authority_version: u64,
}

impl Replica {
    /// A replica that knows the root chain alone.
    pub fn new(authority: Authority) -> Self {
        let ids = authority.chain().updates().iter().map(|update| update.id()).collect();
        Self {
            authority,
            ids,
            invitations: BTreeMap::new(),
            operators: BTreeMap::new(),
            ops: 0,
            heads: BTreeMap::new(),
            facets: HashMap::new(),
            orders: BTreeMap::new(),
            cancellations: BTreeMap::new(),
            forked_hosts: BTreeSet::new(),
            version: 0,
            authority_version: 0,
        }
    }

    /// Counts the changes of this replica: while it stays the same, so does all that is held.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Counts those changes that may have changed who belongs or who may do what.
    pub fn authority_version(&self) -> u64 {
        self.authority_version
    }

    /// The fleet.
    pub fn fleet(&self) -> FleetId {
        self.authority.fleet()
    }

    /// Who belongs and who may do what.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether an entry is held. Needs no signature check.
    pub fn holds(&self, id: &EntryId) -> bool {
        self.ids.contains(id)
    }

    /// How many entries are held.
    pub fn entries(&self) -> usize {
        self.ids.len()
    }

    /// Merges a verified entry and the facets that came with it.
    ///
    /// # Errors
    /// [`Refusal`] when nobody had the right to write it or it does not follow what is held; the replica
    /// is unchanged, and the same entry may be taken later.
    pub fn merge(&mut self, entry: Entry, facets: &[Bytes]) -> Result<Merged, Refusal> {
        let id = entry.id();
        if self.ids.contains(&id) {
            return Ok(Merged::Known);
        }
        let shows_only =
            matches!(entry, Entry::Invitation(_) | Entry::Head(_) | Entry::Order(_) | Entry::Cancellation(_));
        let merged = match entry {
            Entry::Root(update) => {
                let new = self
                    .authority
                    .absorb_root(update.bytes())
                    .map_err(|_| Refusal::Malformed("a root update of others than the roots, or too many"))?;
                if new {
                    self.drop_disowned_orders();
                    Merged::New
                } else {
                    Merged::Known
                }
            }
            Entry::Invitation(invitation) => {
                self.authority.keeps_invitation(&invitation)?;
                bounded(self.invitations.len(), INVITATIONS_MAX, "invitations")?;
                self.invitations.insert(id, invitation);
                Merged::New
            }
            Entry::Host(enrolled) => {
                let old =
                    self.authority.host(&enrolled.host()).map(|host| host.enrolled().certificate().id());
                if self.authority.absorb_host(*enrolled)? {
                    self.forget(old);
                    Merged::New
                } else {
                    Merged::Known
                }
            }
            Entry::Departure(departure) => {
                let host = self.authority.host(&HostId::of(&departure.signer()));
                let old = host.and_then(Host::departure).map(Signed::id);
                if self.authority.absorb_departure(departure)? {
                    self.forget(old);
                    Merged::New
                } else {
                    Merged::Known
                }
            }
            Entry::Op(op) => self.merge_op(op)?,
            Entry::Head(head) => self.merge_head(head, facets)?,
            Entry::Order(order) => {
                bounded(self.orders.len(), ORDERS_MAX, "live orders")?;
                let admitted = self.authority.admit(order)?;
                self.orders.insert(id, admitted);
                Merged::New
            }
            Entry::Cancellation(cancellation) => {
                let order = self.orders.get(&cancellation.body().order).ok_or(Refusal::Gap)?;
                if order.signed().signer() != cancellation.signer() {
                    return Err(Refusal::NotTheHolder);
                }
                // Kept exactly as long as the order, or it would be forgotten before it, or outlive it.
                if cancellation.body().expires != order.body().expires {
                    return Err(Refusal::Malformed("a cancellation that does not expire with its order"));
                }
                // Of two, the lower id stands: a function of the set.
                let held = self.cancellations.get(&cancellation.body().order);
                if held.is_some_and(|held| held.id() < id) {
                    return Ok(Merged::Known);
                }
                let old = self.cancellations.insert(cancellation.body().order, cancellation);
                self.forget(old.map(|old| old.id()));
                Merged::New
            }
        };
        if merged == Merged::New {
            self.ids.insert(id);
        }
        if merged != Merged::Known {
            self.version += 1;
            self.authority_version += u64::from(!shows_only);
        }
        Ok(merged)
    }

    fn forget(&mut self, replaced: Option<EntryId>) {
        if let Some(id) = replaced {
            self.ids.remove(&id);
        }
    }

    /// A lost branch of the root chain takes its live orders with it. (They stand alone, so nothing else
    /// needs them; a host that never saw that branch never took them.)
    fn drop_disowned_orders(&mut self) {
        let Self { authority, ids, orders, cancellations, .. } = self;
        orders.retain(|id, order| {
            let signed = order.signed();
            let keep = authority.certificate_of(&signed.body().certificate, signed.signer()).is_ok();
            if !keep {
                ids.remove(id);
                if let Some(cancellation) = cancellations.remove(id) {
                    ids.remove(&cancellation.id());
                }
            }
            keep
        });
    }

    /// Takes an op that follows what is held of its stream. All that is held of a stream are the ops
    /// before its first fork and the two lowest ids at it: a function of the set, since every op names the
    /// one before it.
    fn merge_op(&mut self, op: Signed<Op>) -> Result<Merged, Refusal> {
        let id = StreamId::of_operator(&op.signer(), op.body().writer);
        let (ops, fork) = match self.operators.get(&id) {
            Some(stream) => (stream.ops.as_slice(), stream.fork.as_deref()),
            None => (&[][..], None),
        };
        let place = usize::try_from(op.body().sequence).map_err(|_| Refusal::Gap)?;
        if fork.is_some() && place > ops.len() {
            return Ok(Merged::Known);
        }
        let before = place.checked_sub(1).map(|before| ops.get(before).ok_or(Refusal::Gap)).transpose()?;
        if op.body().previous != before.map(Signed::id) {
            return Err(Refusal::Gap);
        }
        if let Some(held) = ops.get(place) {
            self.authority.keeps_op(&op)?;
            let pair = (held.clone(), op);
            self.freeze(&id, place, pair);
            return Ok(Merged::Forked);
        }
        if let Some((low, high)) = fork {
            if op.id() >= high.id() {
                return Ok(Merged::Known);
            }
            self.authority.keeps_op(&op)?;
            let pair = (low.clone(), op);
            self.freeze(&id, place, pair);
            return Ok(Merged::Forked);
        }
        bounded(self.ops, OPS_MAX, "ops")?;
        self.authority.absorb_op(&op)?;
        self.operators.entry(id).or_default().ops.push(op);
        self.ops += 1;
        Ok(Merged::New)
    }

    /// Ends a stream before `place`: which of the two came first must not matter.
    fn freeze(&mut self, stream: &StreamId, place: usize, (one, other): (Signed<Op>, Signed<Op>)) {
        let Some(stream) = self.operators.get_mut(stream) else { return };
        for op in stream.ops.split_off(place.min(stream.ops.len())) {
            self.authority.retract_op(&op);
            self.ids.remove(&op.id());
            self.ops -= 1;
        }
        for op in stream.forked() {
            self.ids.remove(&op.id());
        }
        let pair = if one.id() < other.id() { (one, other) } else { (other, one) };
        self.ids.extend([pair.0.id(), pair.1.id()]);
        stream.fork = Some(Box::new(pair));
    }

    fn merge_head(&mut self, head: Signed<Head>, facets: &[Bytes]) -> Result<Merged, Refusal> {
        let host = HostId::of(&head.signer());
        if self.authority.host(&host).is_none() {
            return Err(Refusal::Gap);
        }
        let body = head.body();
        let sorted = body.facets.is_sorted_by(|a, b| a.name < b.name);
        if body.facets.len() > FACETS_A_HEAD_MAX || !sorted {
            return Err(Refusal::TooMany { what: "facets, or not in order", limit: FACETS_A_HEAD_MAX });
        }
        let place = (body.epoch, body.sequence);
        if let Some(held) = self.heads.get(&host) {
            let held_place = (held.body().epoch, held.body().sequence);
            if place < held_place {
                return Ok(Merged::Known);
            }
            if place == held_place {
                self.forked_hosts.insert(host);
                // One of two snapshots must stand everywhere: the one with the lower id.
                if held.id() < head.id() {
                    return Ok(Merged::Known);
                }
            }
        }
        let mut found = Vec::new();
        for facet in &body.facets {
            if facet.bytes as usize > NODE_BYTES_MAX {
                return Err(Refusal::TooMany { what: "bytes in a facet", limit: NODE_BYTES_MAX });
            }
            if let Some((held, _)) = self.facets.get(&facet.hash) {
                // A hash has one length; who holds the facet and who does not must judge alike.
                if held.len() != facet.bytes as usize {
                    return Err(Refusal::Malformed("a facet of another length than its head says"));
                }
                continue;
            }
            let bytes = facets
                .iter()
                .find(|bytes| bytes.0.len() == facet.bytes as usize && FacetHash::of(&bytes.0) == facet.hash)
                .ok_or(Refusal::Malformed("a head came without a facet that it names"))?;
            found.push((facet.hash, Arc::from(bytes.0.as_slice())));
        }
        for (hash, bytes) in found {
            self.facets.insert(hash, (bytes, 0));
        }
        for facet in &head.body().facets {
            if let Some((_, heads)) = self.facets.get_mut(&facet.hash) {
                *heads += 1;
            }
        }
        if let Some(old) = self.heads.insert(host, head) {
            self.ids.remove(&old.id());
            self.drop_unused(&old);
        }
        Ok(Merged::New)
    }

    fn drop_unused(&mut self, old: &Signed<Head>) {
        for facet in &old.body().facets {
            if let Some((_, heads)) = self.facets.get_mut(&facet.hash) {
                *heads = heads.saturating_sub(1);
                if *heads == 0 {
                    self.facets.remove(&facet.hash);
                }
            }
        }
    }

    /// Forgets what expired long enough ago that no clock in the fleet should still count it; returns the
    /// ids. Only what stands alone is ever forgotten.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<EntryId> {
        let past = |expires: Timestamp| expires.after(HELD_AFTER_EXPIRY) < now;
        let mut gone = Vec::new();
        self.orders.retain(|id, order| {
            let keep = !past(order.body().expires);
            if !keep {
                gone.push(*id);
            }
            keep
        });
        self.cancellations.retain(|_, cancellation| {
            let keep = !past(cancellation.body().expires);
            if !keep {
                gone.push(cancellation.id());
            }
            keep
        });
        self.invitations.retain(|id, invitation| {
            let keep = !past(invitation.body().expires);
            if !keep {
                gone.push(*id);
            }
            keep
        });
        for id in &gone {
            self.ids.remove(id);
        }
        self.version += u64::from(!gone.is_empty());
        gone
    }

    /// Whether an entry that stands alone is past by this clock, so that it is neither asked for,
    /// answered for nor taken.
    pub fn is_past(expires: Option<Timestamp>, now: Timestamp) -> bool {
        expires.is_some_and(|expires| expires.after(HELD_AFTER_EXPIRY) < now)
    }

    /// What is held, for another to find what it lacks.
    pub fn tip(&self, now: Timestamp) -> Tip {
        let mut held: Vec<[u8; 16]> = self.standing_alone(now).map(|(id, ..)| half(&id.0)).collect();
        for stream in self.operators.values() {
            held.extend(stream.ends().map(|op| half(&op.id().0)));
        }
        held.sort_unstable();
        Tip {
            held,
            ops: self.operators.iter().map(|(id, stream)| (*id, stream.ops.len() as u64)).collect(),
            heads: self
                .heads
                .iter()
                .map(|(host, head)| HeadRow {
                    host: *host,
                    epoch: head.body().epoch,
                    sequence: head.body().sequence,
                    half: half(&head.id().0),
                })
                .collect(),
        }
    }

    /// A hash of what is held; equal on two hosts that lack nothing of each other.
    pub fn digest(&self, now: Timestamp) -> [u8; 16] {
        half(blake3::hash(&wire::encode(&self.tip(now))).as_bytes())
    }

    /// Until when the digest of `now` stays what it is if nothing is merged: then an entry that stands alone
    /// is past.
    pub fn digest_until(&self, now: Timestamp) -> Option<Timestamp> {
        let orders = self.orders.values().map(|order| order.body().expires);
        let cancellations = self.cancellations.values().map(|cancellation| cancellation.body().expires);
        let invitations = self.invitations.values().map(|invitation| invitation.body().expires);
        let live = orders.chain(cancellations).chain(invitations).filter(|e| !Self::is_past(Some(*e), now));
        live.min().map(|expires| expires.after(HELD_AFTER_EXPIRY))
    }

    /// Ids, ranks and bytes of everything that is in a set rather than in a stream.
    fn standing_alone(&self, now: Timestamp) -> impl Iterator<Item = (EntryId, u8, &[u8])> {
        let live = move |expires: Timestamp| !Self::is_past(Some(expires), now);
        let roots = self.authority.chain().updates().into_iter().skip(1).map(|u| (u.id(), 0_u8, u.bytes()));
        let invitations = self.invitations.values().filter(move |i| live(i.body().expires));
        let hosts = self.authority.hosts().map(|host| host.enrolled().certificate());
        let departures = self.authority.hosts().filter_map(Host::departure);
        let orders = self.orders.values().filter(move |o| live(o.body().expires));
        let cancellations = self.cancellations.values().filter(move |c| live(c.body().expires));
        roots
            .chain(invitations.map(|i| (i.id(), 1, i.bytes())))
            .chain(hosts.map(|h| (h.id(), 2, h.bytes())))
            .chain(departures.map(|d| (d.id(), 3, d.bytes())))
            .chain(orders.map(|o| (o.signed().id(), 5, o.signed().bytes())))
            .chain(cancellations.map(|c| (c.id(), 6, c.bytes())))
    }

    /// What a replica with this tip lacks, in the order in which it can be applied.
    pub fn lacking(&self, theirs: &Tip, now: Timestamp) -> Vec<Item> {
        self.ranked(theirs, now).into_iter().map(|(_, item)| item).collect()
    }

    fn ranked(&self, theirs: &Tip, now: Timestamp) -> Vec<(u8, Item)> {
        let held: HashSet<&[u8; 16]> = theirs.held.iter().collect();
        let holds = |id: &EntryId| held.contains(&half(&id.0));
        let ops: HashMap<&StreamId, u64> = theirs.ops.iter().map(|(id, count)| (id, *count)).collect();
        let heads: HashMap<&HostId, &HeadRow> = theirs.heads.iter().map(|row| (&row.host, row)).collect();
        let mut items: Vec<(u8, Item)> = self
            .standing_alone(now)
            .filter(|(id, ..)| !holds(id))
            .map(|(_, rank, bytes)| (rank, Item::bare(bytes)))
            .collect();
        for (id, stream) in &self.operators {
            let count = usize::try_from(ops.get(id).copied().unwrap_or(0)).unwrap_or(usize::MAX);
            // Their last op is not the one that stands there here: they lack from somewhere before it on.
            let last = count.checked_sub(1).and_then(|last| stream.ops.get(last));
            let from = if last.is_some_and(|op| !holds(&op.id())) { 0 } else { count };
            let fork = stream.forked().filter(|op| !holds(&op.id()));
            items.extend(stream.ops.iter().skip(from).chain(fork).map(|op| (4, Item::bare(op.bytes()))));
        }
        for (host, head) in &self.heads {
            let mine = (head.body().epoch, head.body().sequence);
            let lacks = heads.get(host).is_none_or(|theirs| {
                let place = (theirs.epoch, theirs.sequence);
                place < mine || (place == mine && theirs.half != half(&head.id().0))
            });
            if lacks {
                items.push((7, self.with_facets(head)));
            }
        }
        items.sort_by_key(|(rank, _)| *rank);
        items
    }

    fn with_facets(&self, head: &Signed<Head>) -> Item {
        let facets = head.body().facets.iter().filter_map(|facet| self.facets.get(&facet.hash));
        Item {
            entry: Bytes::from(head.bytes()),
            facets: facets.map(|(bytes, _)| Bytes::from(&**bytes)).collect(),
        }
    }

    /// Everything that is held, in the order in which it can be applied: what is written to disk.
    pub fn all(&self) -> Vec<Item> {
        self.lacking(&Tip::default(), Timestamp(0))
    }

    /// Who belongs and who may do what, as entries; with `heads`, also what hosts say of themselves.
    pub fn fleet_items(&self, heads: bool) -> Vec<Item> {
        self.ranked(&Tip::default(), Timestamp(0))
            .into_iter()
            .filter(|(rank, _)| matches!(rank, 0 | 2..=4) || (heads && *rank == 7))
            .map(|(_, item)| item)
            .collect()
    }

    /// The live orders and their cancellations, as entries.
    pub fn order_items(&self) -> Vec<Item> {
        let orders = self.orders.values().map(|order| Item::bare(order.signed().bytes()));
        orders
            .chain(self.cancellations.values().map(|cancellation| Item::bare(cancellation.bytes())))
            .collect()
    }

    /// The item that carries this head, facets and all.
    pub fn head_item(&self, host: &HostId) -> Option<Item> {
        self.heads.get(host).map(|head| self.with_facets(head))
    }

    /// A host's head.
    pub fn head(&self, host: &HostId) -> Option<&Signed<Head>> {
        self.heads.get(host)
    }

    /// What a host's agent says of itself.
    pub fn node_facet(&self, host: &HostId) -> Option<NodeFacet> {
        let head = self.heads.get(host)?;
        let facet = head.body().facets.iter().find(|facet| facet.name == FACET_NODE)?;
        wire::decode(&self.facets.get(&facet.hash)?.0, NODE_BYTES_MAX).ok()
    }

    /// The live orders.
    pub fn orders(&self) -> impl Iterator<Item = &Admitted<Order>> {
        self.orders.values()
    }

    /// One live order.
    pub fn order(&self, id: &EntryId) -> Option<&Admitted<Order>> {
        self.orders.get(id)
    }

    /// The cancellation of an order.
    pub fn cancellation(&self, order: &EntryId) -> Option<&Signed<Cancellation>> {
        self.cancellations.get(order)
    }

    /// The invitation for a token's key, if the certificate that allowed it still does.
    pub fn invitation_of(
        &self,
        token: &crate::identity::PublicKey<crate::identity::Token>,
    ) -> Option<&Signed<Invitation>> {
        self.invitations.values().find(|invitation| {
            invitation.body().token == *token && self.authority.recognise_invitation(invitation).is_ok()
        })
    }

    /// An operator's stream, in order.
    pub fn operator_stream(&self, id: &StreamId) -> &[Signed<Op>] {
        self.operators.get(id).map_or(&[], |stream| stream.ops.as_slice())
    }

    /// The operator ops that bear on one host's tags, in the order in which they can be applied.
    pub fn ops_about(&self, host: &HostId) -> Vec<&Signed<Op>> {
        self.operators
            .values()
            .flat_map(|stream| &stream.ops)
            .filter(|op| {
                matches!(&op.body().action, crate::authority::OpAction::Tag { host: of, .. } if of == host)
            })
            .collect()
    }

    /// Places where two things stand that cannot both: root updates, ops of an operator's stream, and
    /// heads of a host (those that were seen here; such a pair of heads is not kept).
    pub fn forks(&self) -> usize {
        self.authority.chain().forks()
            + self.forked_hosts.len()
            + self.operators.values().filter(|stream| stream.fork.is_some()).count()
    }

    /// A member as selectors see it where all that is known counts.
    pub fn known<'a>(&'a self, host: &'a Host) -> Known<'a> {
        Known { host, node: self.node_facet(&host.id()) }
    }
}

fn bounded(held: usize, limit: usize, what: &'static str) -> Result<(), Refusal> {
    if held < limit { Ok(()) } else { Err(Refusal::TooMany { what, limit }) }
}

fn half(bytes: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(bytes.split_at(16).0);
    half
}

/// A host with all that is known of it.
#[derive(Debug)]
pub struct Known<'a> {
    host: &'a Host,
    node: Option<NodeFacet>,
}

impl Subject for Known<'_> {
    fn look(&self, path: &Path) -> Look<'_> {
        if path.tag().is_some() {
            return self.host.look(path);
        }
        match path.to_string().as_str() {
            "name" => Look::Value(self.host.name().into()),
            "id" => Look::Value(self.host.id().to_string().into()),
            "state" => Look::Value(
                match self.host.standing() {
                    Standing::Member => "member",
                    Standing::Left => "left",
                    Standing::Quarantined => "quarantined",
                    Standing::Disowned => "disowned",
                }
                .into(),
            ),
            "agent" => {
                self.node.as_ref().map_or(Look::Absent, |node| Look::Value(node.agent.as_str().into()))
            }
            _ => Look::Absent,
        }
    }
}

// Inside this module: what two replicas must agree on is more than they show.
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
