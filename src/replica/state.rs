//! The replica: all entries in their places.

use std::collections::BTreeMap;

use super::{
    Cancellation, Entry, Equivocation, Order, Packed, Roots,
    approvals::{Approvals, Said},
    facets::Facets,
    first_hour,
    heads::KeptHead,
    ledger::{Ledger, Spot},
    lists::Lists,
    operators::OperatorStream,
    roots::expiry_hour,
};
use crate::{
    authority::{Admitted, Approval, Authority, ChainError, Host, Invitation, Refusal},
    identity::{EntryId, FleetId, HostId, Signed, StreamId},
    time::Timestamp,
};

const ORDERS_MAX: usize = 10_000;
/// Most live orders of somebody who is suspended. They are refused everywhere, and their room is for others.
const STOPPED_ORDERS_MAX: usize = 100;
const INVITATIONS_MAX: usize = 10_000;

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

/// Everything a host holds of its fleet.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) authority: Authority,
    /// Of all entries: every change of what follows is written in here too.
    pub(super) ledger: Ledger,
    pub(super) invitations: BTreeMap<EntryId, Signed<Invitation>>,
    pub(super) operators: BTreeMap<StreamId, OperatorStream>,
    pub(super) ops: usize,
    pub(super) heads: BTreeMap<HostId, KeptHead>,
    pub(super) facets: Facets,
    pub(super) orders: BTreeMap<EntryId, Admitted<Order>>,
    pub(super) cancellations: BTreeMap<EntryId, Signed<Cancellation>>,
    pub(super) approvals: Approvals,
    pub(super) equivocations: BTreeMap<HostId, Equivocation>,
    /// Proofs that came out of heads and are still to be merged.
    pub(super) proofs: Vec<Equivocation>,
    /// At most one a host.
    pub(super) audit_forks: BTreeMap<HostId, Box<super::heads::Contradiction>>,
    pub(super) version: u64,
    /// What live orders mark hosts of, and no part of what is agreed on.
    pub(super) lists: Lists,
    authority_version: u64,
}

impl Replica {
    /// A replica that knows the root chain alone.
    pub fn new(authority: Authority) -> Self {
        let mut ledger = Ledger::new(authority.fleet());
        for update in authority.chain().updates() {
            if !ledger.holds(&update.id()) {
                ledger.enter(update.id(), Spot::Root, None);
            }
        }
        Self {
            authority,
            ledger,
            invitations: BTreeMap::new(),
            operators: BTreeMap::new(),
            ops: 0,
            heads: BTreeMap::new(),
            facets: Facets::default(),
            orders: BTreeMap::new(),
            cancellations: BTreeMap::new(),
            approvals: Approvals::default(),
            equivocations: BTreeMap::new(),
            proofs: Vec::new(),
            audit_forks: BTreeMap::new(),
            version: 0,
            lists: Lists::default(),
            authority_version: 0,
        }
    }

    /// A replica that takes heads with whatever comes of their facets: for who looks at what another holds, and
    /// keeps and passes on nothing.
    pub fn looking_on(authority: Authority) -> Self {
        Self { facets: Facets::partial(), ..Self::new(authority) }
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
        self.ledger.holds(id)
    }

    /// How many entries are held.
    pub fn entries(&self) -> usize {
        self.ledger.len()
    }

    /// Merges a verified entry and the facets that came with it.
    ///
    /// # Errors
    /// [`Refusal`] when nobody had the right to write it or it does not follow what is held; the replica
    /// is unchanged, and the same entry may be taken later.
    pub fn merge(&mut self, entry: Entry, facets: &[Packed]) -> Result<Merged, Refusal> {
        let id = entry.id();
        if self.ledger.holds(&id) {
            return Ok(Merged::Known);
        }
        let shows_only = matches!(
            entry,
            Entry::Invitation(_)
                | Entry::Head(_)
                | Entry::Order(_)
                | Entry::Cancellation(_)
                | Entry::Approval(_)
        );
        let merged = match entry {
            Entry::Root(update) => {
                let new = self.authority.absorb_root(update.bytes()).map_err(|error| match error {
                    ChainError::Gap => Refusal::Gap,
                    _ => Refusal::Malformed("a root update of others than the roots, or too many"),
                })?;
                if new {
                    self.ledger.enter(id, Spot::Root, None);
                    self.strike_put_out();
                    self.drop_disowned_orders();
                    Merged::New
                } else {
                    Merged::Known
                }
            }
            Entry::Grant(grant) => {
                let new = self.authority.absorb_grant(grant)?;
                self.entered(id, Spot::Grant, new)
            }
            Entry::Suspension(suspension) => {
                let new = self.authority.absorb_suspension(suspension)?;
                self.strike_put_out();
                self.entered(id, Spot::Suspension, new)
            }
            Entry::Halt(halt) => {
                let new = self.authority.absorb_halt(halt)?;
                self.strike_put_out();
                self.entered(id, Spot::Halt, new)
            }
            Entry::Invitation(invitation) => {
                self.authority.keeps_invitation(&invitation)?;
                bounded(self.invitations.len(), INVITATIONS_MAX, "invitations")?;
                self.ledger.enter(id, Spot::Invitation, Some(invitation.body().expires));
                self.invitations.insert(id, invitation);
                Merged::New
            }
            Entry::Host(enrolled) => {
                let host = enrolled.host();
                let old = self.authority.host(&host).map(|host| host.enrolled().certificate().id());
                if self.authority.absorb_host(*enrolled)? {
                    self.forget(old);
                    self.ledger.enter(id, Spot::Host(host), None);
                    Merged::New
                } else {
                    Merged::Known
                }
            }
            Entry::Admission(admission) => {
                let new = self.authority.absorb_admission(admission)?;
                self.entered(id, Spot::Admission, new)
            }
            Entry::Departure(departure) => {
                let host = HostId::of(&departure.signer());
                let old = self.authority.host(&host).and_then(Host::departure).map(Signed::id);
                if self.authority.absorb_departure(departure)? {
                    self.forget(old);
                    self.ledger.enter(id, Spot::Departure(host), None);
                    Merged::New
                } else {
                    Merged::Known
                }
            }
            Entry::Equivocation(proof) => self.merge_equivocation(*proof)?,
            Entry::Op(op) => self.merge_op(op)?,
            Entry::Head(head) => self.merge_head(head, facets)?,
            Entry::Order(order) => {
                bounded(self.orders.len(), ORDERS_MAX, "live orders")?;
                let admitted = self.authority.admit_to_keep(order)?;
                if self.authority.admit(admitted.signed().clone()).is_err() {
                    let signer = admitted.signed().signer();
                    let theirs = self.orders.values().filter(|held| held.signed().signer() == signer);
                    bounded(theirs.count(), STOPPED_ORDERS_MAX, "live orders of one who is stopped")?;
                }
                self.ledger.enter(id, Spot::Order, Some(admitted.body().expires));
                if let Some(list) = admitted.body().roster.list() {
                    self.name_list(list);
                }
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
                let (of, expires) = (cancellation.body().order, cancellation.body().expires);
                let old = self.cancellations.insert(of, cancellation);
                self.forget(old.map(|old| old.id()));
                self.ledger.enter(id, Spot::Cancellation(of), Some(expires));
                Merged::New
            }
            Entry::Approval(approval) => {
                self.authority.keeps_approval(&approval)?;
                let (order, expires) = (approval.body().order, approval.body().expires);
                match self.approvals.keep(approval)? {
                    Said::Older => return Ok(Merged::Known),
                    Said::New => {}
                    Said::Instead(old) => self.ledger.strike(&old),
                }
                self.ledger.enter(id, Spot::Approval(order), Some(expires));
                Merged::New
            }
        };
        if merged != Merged::Known {
            self.version += 1;
            self.authority_version += u64::from(!shows_only);
        }
        Ok(merged)
    }

    fn entered(&mut self, id: EntryId, spot: Spot, new: bool) -> Merged {
        if !new {
            return Merged::Known;
        }
        self.ledger.enter(id, spot, None);
        Merged::New
    }

    /// Suspensions and halts that others of their share put out.
    fn strike_put_out(&mut self) {
        for id in self.authority.take_put_out() {
            self.ledger.strike(&id);
        }
    }

    fn forget(&mut self, replaced: Option<EntryId>) {
        if let Some(id) = replaced {
            self.ledger.strike(&id);
        }
    }

    /// A lost branch of the root chain takes its live orders with it, and a revocation those of whom it revokes.
    /// (They stand alone, so nothing else needs them; a host that never saw that branch, or saw the revocation
    /// first, never took them. Those of whom an admin suspends stay, so that what came of them is told.)
    fn drop_disowned_orders(&mut self) {
        let Self { authority, ledger, lists, orders, cancellations, .. } = self;
        orders.retain(|id, order| {
            let signed = order.signed();
            let keep = authority.still_keeps(signed);
            if !keep {
                ledger.strike(id);
                lists.forget(order.body());
                if let Some(cancellation) = cancellations.remove(id) {
                    ledger.strike(&cancellation.id());
                }
            }
            keep
        });
    }

    /// Lets recoveries of the roots count that have waited long enough by this clock, and notes when others were seen
    /// first: their ids.
    pub fn wait(&mut self, now: Timestamp) -> Vec<EntryId> {
        let (new, turned) = self.authority.wait(now);
        if turned {
            self.turned();
        }
        new
    }

    /// Lets recoveries count of which somebody else says that they have waited long enough.
    pub fn mature(&mut self, recoveries: &[EntryId]) {
        if self.authority.mature(recoveries) {
            self.turned();
        }
    }

    /// Takes over when a recovery was seen first, from before a restart.
    pub fn saw_recovery(&mut self, id: EntryId, at: Timestamp) {
        self.authority.saw_recovery(id, at);
    }

    fn turned(&mut self) {
        self.strike_put_out();
        self.drop_disowned_orders();
        self.version += 1;
        self.authority_version += 1;
    }

    /// Forgets what expired long enough ago that no clock in the fleet should still count it; returns the
    /// ids. Only what stands alone is ever forgotten.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<EntryId> {
        let gone = self.ledger.expired(first_hour(now));
        for id in &gone {
            match self.ledger.spot(id) {
                Some(Spot::Order) => {
                    if let Some(order) = self.orders.remove(id) {
                        self.lists.forget(order.body());
                    }
                }
                Some(Spot::Invitation) => drop(self.invitations.remove(id)),
                Some(Spot::Approval(order)) => self.approvals.forget(&order, id),
                Some(Spot::Cancellation(order)) => drop(self.cancellations.remove(&order)),
                _ => {}
            }
            self.ledger.strike(id);
        }
        self.version += u64::from(!gone.is_empty());
        gone
    }

    /// Whether an entry that stands alone is past by this clock, so that it is neither asked for,
    /// answered for nor taken.
    pub fn is_past(expires: Option<Timestamp>, now: Timestamp) -> bool {
        expires.is_some_and(|expires| expiry_hour(expires) < first_hour(now))
    }

    /// The roots of what is held and counts from `hour` on; see [`first_hour`]. Two hosts compare at the later
    /// of their hours.
    pub fn roots(&self, hour: u64) -> Roots {
        self.ledger.sums().roots(hour)
    }

    /// One hash of what is held; equal on two hosts that lack nothing of each other.
    pub fn digest(&self, now: Timestamp) -> [u8; 16] {
        self.roots(first_hour(now)).root()
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

    /// What is held of what was said on an order that needs approvals, in order of ids. The order may not be here.
    pub fn approvals(&self, order: &EntryId) -> Vec<Signed<Approval>> {
        let mut approvals: Vec<_> = self.approvals.of(order).cloned().collect();
        approvals.sort_by_key(Signed::id);
        approvals
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

    /// Places where two things stand that cannot both: root updates, ops of an operator's stream, and
    /// heads of a host.
    pub fn forks(&self) -> usize {
        self.authority.chain().forks()
            + self.equivocations.len()
            + self.operators.values().filter(|stream| stream.fork.is_some()).count()
    }
}

pub(in crate::replica) fn bounded(held: usize, limit: usize, what: &'static str) -> Result<(), Refusal> {
    if held < limit { Ok(()) } else { Err(Refusal::TooMany { what, limit }) }
}

// Inside this module: what two replicas must agree on is more than they show.
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
