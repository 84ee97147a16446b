//! What is held, as it travels: one entry, what came since, or everything in the order in which it applies.

use std::collections::BTreeSet;

use super::{
    Element, Entry, FACET_NODE, FacetHash, FacetRef, Head, Item, Packed, Replica,
    entry::rank,
    ledger::Spot,
    roots::{Section, expiry_hour},
};
use crate::{
    authority::Host,
    identity::{EntryId, HostId, Signed},
    wire::Bytes,
};

impl Replica {
    /// The highest number of the feed. It grows with every entry that is merged, and means nothing to who does
    /// not know this process's feed.
    pub fn lsn(&self) -> u64 {
        self.ledger.lsn()
    }

    /// What was merged after `lsn` and is held still, in order.
    pub fn since(&self, lsn: u64) -> impl Iterator<Item = (u64, Element)> {
        self.ledger.since(lsn)
    }

    /// The entry, not a head, whose id begins with these bytes.
    pub fn find(&self, half: &[u8; 16]) -> Option<EntryId> {
        self.ledger.find(half)
    }

    /// The hosts, members or not, whose ids begin with these bytes.
    pub fn hosts_by_prefix(&self, prefix: &[u8]) -> Vec<HostId> {
        self.authority.hosts_by_prefix(prefix).map(Host::id).collect()
    }

    /// An entry that is held and no head.
    pub fn entry_item(&self, id: &EntryId) -> Option<Item> {
        let chain = self.authority.chain();
        let bytes = match self.ledger.spot(id)? {
            Spot::Root => chain.update(id)?.bytes(),
            Spot::Grant => self.authority.grant(id)?.bytes(),
            Spot::Suspension => self.authority.suspension(id)?.bytes(),
            Spot::Halt => self.authority.signed_halt(id)?.bytes(),
            Spot::Invitation => self.invitations.get(id)?.bytes(),
            Spot::Host(host) => self.authority.host(&host)?.enrolled().certificate().bytes(),
            Spot::Admission => self.authority.admission(id)?.bytes(),
            Spot::Departure(host) => self.authority.host(&host)?.departure()?.bytes(),
            Spot::Op { stream, sequence } => {
                let ops = &self.operators.get(&stream)?.ops;
                ops.get(usize::try_from(sequence).ok()?)?.bytes()
            }
            Spot::Fork(stream) => self.operators.get(&stream)?.forked().find(|op| op.id() == *id)?.bytes(),
            Spot::Order => self.orders.get(id)?.signed().bytes(),
            Spot::Cancellation(order) => self.cancellations.get(&order)?.bytes(),
            Spot::Head(_) => return None,
        };
        Some(Item::bare(bytes))
    }

    /// Ids, ranks and bytes of a section's entries that stand alone and count from `hour` on.
    pub(super) fn standing_alone(
        &self,
        section: Section,
        hour: u64,
    ) -> impl Iterator<Item = (EntryId, u8, &[u8])> {
        let is = |wanted: Section| (section == wanted).then_some(());
        let counts = move |expires| expiry_hour(expires) >= hour;
        let set = is(Section::Set).into_iter().flat_map(move |()| {
            // Everyone has the first, the genesis.
            let roots = self.authority.chain().updates().into_iter().skip(1);
            let invitations = self.invitations.values().filter(move |i| counts(i.body().expires));
            let orders = self.orders.values().filter(move |o| counts(o.body().expires));
            let cancellations = self.cancellations.values().filter(move |c| counts(c.body().expires));
            let (grants, authority) = (self.authority.grants(), &self.authority);
            roots
                .map(|u| (u.id(), rank::ROOT, u.bytes()))
                .chain(grants.map(|g| (g.id(), rank::GRANT, g.bytes())))
                .chain(authority.suspensions().map(|s| (s.id(), rank::STOP, s.bytes())))
                .chain(authority.signed_halts().map(|h| (h.id(), rank::STOP, h.bytes())))
                .chain(invitations.map(|i| (i.id(), rank::INVITATION, i.bytes())))
                .chain(orders.map(|o| (o.signed().id(), rank::ORDER, o.signed().bytes())))
                .chain(cancellations.map(|c| (c.id(), rank::CANCELLATION, c.bytes())))
        });
        let members = is(Section::Members).into_iter().flat_map(move |()| {
            let hosts = self.authority.hosts().map(|host| host.enrolled().certificate());
            let departures = self.authority.hosts().filter_map(Host::departure);
            hosts
                .map(|h| (h.id(), rank::HOST, h.bytes()))
                .chain(self.authority.admissions().map(|a| (a.id(), rank::HOST, a.bytes())))
                .chain(departures.map(|d| (d.id(), rank::DEPARTURE, d.bytes())))
        });
        set.chain(members)
    }

    fn ranked(&self) -> Vec<(u8, Item)> {
        let alone = self.standing_alone(Section::Set, 0).chain(self.standing_alone(Section::Members, 0));
        let mut items: Vec<_> = alone.map(|(_, rank, bytes)| (rank, Item::bare(bytes))).collect();
        for stream in self.operators.values() {
            items.extend(
                stream.ops.iter().chain(stream.forked()).map(|op| (rank::OP, Item::bare(op.bytes()))),
            );
        }
        items.sort_by_key(|(rank, _)| *rank);
        items
    }

    /// All heads with those of their facets that are `wanted`, and what they are differences to; a facet comes
    /// with the first head that needs it.
    fn heads_with(&self, wanted: impl Fn(&FacetRef) -> bool) -> impl Iterator<Item = Item> {
        let mut sent: BTreeSet<FacetHash> = BTreeSet::new();
        self.heads().map(move |(_, head)| self.head_with(head, &wanted, &mut sent))
    }

    /// A head with those of its facets, and what they are differences to, that are `wanted` and not in `sent`,
    /// where they are noted.
    fn head_with(
        &self,
        head: &Signed<Head>,
        wanted: impl Fn(&FacetRef) -> bool,
        sent: &mut BTreeSet<FacetHash>,
    ) -> Item {
        let mut facets: Vec<Packed> = Vec::new();
        for facet in head.body().facets.iter().filter(|facet| wanted(facet)) {
            for hash in self.facets.base_of(&facet.hash).into_iter().chain([facet.hash]) {
                if sent.insert(hash) {
                    facets.extend(self.facets.packed(&hash).cloned());
                }
            }
        }
        Item { entry: Bytes::from(head.bytes()), facets }
    }

    /// Everything that is held, in the order in which it can be applied. A facet comes with the first head that
    /// needs it.
    pub fn all(&self) -> Vec<Item> {
        let ranked = self.ranked().into_iter().map(|(_, item)| item);
        ranked.chain(self.heads_with(|_| true)).collect()
    }

    /// Who belongs and who may do what, as entries; with `heads`, also what hosts' agents say of themselves,
    /// for [`Replica::looking_on`]: of the facets only those that all agents publish.
    pub fn fleet_items(&self, heads: bool) -> Vec<Item> {
        let ranked = self.ranked().into_iter();
        let ranked = ranked.filter(|(rank, _)| *rank <= rank::OP && *rank != rank::INVITATION);
        let heads = heads.then(|| self.heads_with(|facet| facet.name == FACET_NODE));
        ranked.map(|(_, item)| item).chain(heads.into_iter().flatten()).collect()
    }

    /// A host's head with all its facets, and what they are differences to.
    pub fn whole_head(&self, host: &HostId) -> Option<Item> {
        Some(self.head_with(self.head(host)?, |_| true, &mut BTreeSet::new()))
    }

    /// The live orders and their cancellations, as entries.
    pub fn order_items(&self) -> Vec<Item> {
        let orders = self.orders.values().map(|order| Item::bare(order.signed().bytes()));
        orders
            .chain(self.cancellations.values().map(|cancellation| Item::bare(cancellation.bytes())))
            .collect()
    }
}

impl Element {
    /// The element that an entry is.
    pub fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Head(head) => Self::Head(HostId::of(&head.signer())),
            other => Self::Entry(other.id()),
        }
    }
}
