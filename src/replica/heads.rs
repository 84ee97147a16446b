//! Heads: one a host, with every facet that it names, or none.

use super::{
    AuditHead, FACET_BYTES_MAX, FACET_NODE, FacetHalf, FacetHash, FacetRef, Head, Item, Merged,
    NODE_BYTES_MAX, NodeFacet, Packed, Replica, base::Base, ledger::Spot, roots::first_half,
};
use crate::{
    authority::Refusal,
    identity::{HostId, Signed},
    wire::{self, Bytes},
};

const FACETS_A_HEAD_MAX: usize = 32;
/// Bytes of all facets of a head, unpacked.
const FACETS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A facet whose packing is longer does not ride along with its head: who gets the head may hold it.
const RIDES_BYTES_MAX: usize = 2 * 1024;

/// What a head cannot be merged without, and what it took to see that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// What must be fetched first.
    pub facets: Vec<FacetHalf>,
    /// Bytes that were unpacked.
    pub work: usize,
}

/// Two heads of a host, the earlier one first, that do not go together.
pub(super) type Contradiction = (Signed<Head>, Signed<Head>);

/// A head, and since when it says what it says.
#[derive(Clone, Debug)]
pub(super) struct KeptHead {
    pub(super) head: Signed<Head>,
    /// For each of its facets, epoch and sequence of the first head here that named it, and all after it did.
    since: Vec<(u32, u64)>,
}

/// Where a host's head stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadPlace {
    /// Its epoch.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
    /// The first half of its id: two may stand at one place.
    pub half: [u8; 16],
}

impl KeptHead {
    pub(super) fn place(&self) -> HeadPlace {
        let body = self.head.body();
        HeadPlace { epoch: body.epoch, sequence: body.sequence, half: first_half(&self.head.id().0) }
    }
}

/// Whether a chain that was so far is another, or shorter, later.
fn takes_back(earlier: Option<AuditHead>, later: Option<AuditHead>) -> bool {
    match (earlier, later) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(earlier), Some(later)) => {
            later.sequence < earlier.sequence
                || (later.sequence == earlier.sequence && later.id != earlier.id)
        }
    }
}

impl Head {
    /// What it may not be, whatever is held.
    fn check(&self) -> Result<(), Refusal> {
        let sorted = self.facets.is_sorted_by(|a, b| a.name < b.name);
        if self.facets.len() > FACETS_A_HEAD_MAX || !sorted {
            return Err(Refusal::TooMany { what: "facets, or not in order", limit: FACETS_A_HEAD_MAX });
        }
        for facet in &self.facets {
            let limit = if facet.name == FACET_NODE { NODE_BYTES_MAX } else { FACET_BYTES_MAX };
            if facet.bytes as usize > limit {
                return Err(Refusal::TooMany { what: "bytes in a facet", limit });
            }
        }
        if self.facets.iter().map(|facet| facet.bytes as usize).sum::<usize>() > FACETS_BYTES_MAX {
            return Err(Refusal::TooMany { what: "bytes in all facets of a head", limit: FACETS_BYTES_MAX });
        }
        Ok(())
    }
}

impl Replica {
    pub(super) fn merge_head(&mut self, head: Signed<Head>, along: &[Packed]) -> Result<Merged, Refusal> {
        let host = HostId::of(&head.signer());
        if self.authority.host(&host).is_none() {
            return Err(Refusal::Gap);
        }
        let body = head.body();
        body.check()?;
        let place = (body.epoch, body.sequence);
        if let Some(held) = self.heads.get(&host).map(|held| held.head.clone()) {
            self.hold_to_chain(host, &held, &head);
        }
        if let Some(held) = self.heads.get(&host) {
            let held_place = (held.head.body().epoch, held.head.body().sequence);
            if place < held_place {
                return Ok(Merged::Known);
            }
            if place == held_place {
                let held = held.head.clone();
                self.found_twice(&held, &head);
                // One of two snapshots must stand everywhere: the one with the lower id.
                if held.id() < head.id() {
                    return Ok(Merged::Known);
                }
            }
        }
        let opened = self.facets.open(along, &body.facets);
        self.facets.name(&body.facets, opened)?;
        let old = self.heads.remove(&host);
        let before = old.as_ref().map_or(&[][..], |old| old.head.body().facets.as_slice());
        let named = |hash| old.as_ref()?.since.get(before.iter().position(|facet| facet.hash == hash)?);
        let since = body.facets.iter().map(|facet| named(facet.hash).copied().unwrap_or(place)).collect();
        if let Some(old) = old {
            self.ledger.strike(&old.head.id());
            self.facets.let_go(&old.head.body().facets);
        }
        self.ledger.enter(head.id(), Spot::Head(host), None);
        self.heads.insert(host, KeptHead { head, since });
        Ok(Merged::New)
    }

    /// Keeps two heads of a host as the proof where the later one takes back what the earlier one said of its
    /// audit chain. Whichever came first: it is the same two.
    fn hold_to_chain(&mut self, host: HostId, one: &Signed<Head>, other: &Signed<Head>) {
        let place = |head: &Signed<Head>| (head.body().epoch, head.body().sequence);
        let (earlier, later) = if place(one) <= place(other) { (one, other) } else { (other, one) };
        if takes_back(earlier.body().audit, later.body().audit) {
            let proof = || Box::new((earlier.clone(), later.clone()));
            self.audit_forks.entry(host).or_insert_with(proof);
        }
    }

    /// The hosts that took back what they said of their audit chains, each with the two heads that prove it to
    /// whoever knows the host's certificate. As far as both were here.
    pub fn audit_forks(&self) -> impl Iterator<Item = (&HostId, &(Signed<Head>, Signed<Head>))> {
        self.audit_forks.iter().map(|(host, proof)| (host, &**proof))
    }

    /// The facets that are neither held nor in this item, which carries a head, and the bases that those in it
    /// are differences to: what must be fetched before it can be merged. May have to be asked again when those
    /// came. Checks no signature; work is bounded for one item, and told, since a neighbour may send many.
    pub fn missing_facets(&self, item: &Item) -> Missing {
        let Ok(head) = Signed::<Head>::own(&item.entry.0) else { return Missing::default() };
        let wanted = &head.facets;
        if head.check().is_err() {
            return Missing::default();
        }
        let opened = self.facets.open(&item.facets, wanted);
        Missing { facets: self.facets.lacking(wanted, &opened), work: opened.work() }
    }

    /// A host's head with facets that ride along, none of them long: those that no head named up to the place
    /// that the receiver `has`, as far as is known here; all if it has none. What it lacks beyond that it asks
    /// for.
    pub fn head_item(&self, host: &HostId, has: Option<(u32, u64)>) -> Option<Item> {
        let kept = self.heads.get(host)?;
        let facets = self.riding(kept, has).cloned().collect();
        Some(Item { entry: Bytes::from(kept.head.bytes()), facets })
    }

    /// What rides along with a head.
    pub(super) fn riding(&self, kept: &KeptHead, has: Option<(u32, u64)>) -> impl Iterator<Item = &Packed> {
        let named = kept.head.body().facets.iter().zip(&kept.since);
        named
            .filter(move |(_, since)| has.is_none_or(|has| has < **since))
            .filter_map(|(facet, _)| self.facets.packed(&facet.hash))
            .filter(|packed| packed.weight() <= RIDES_BYTES_MAX)
    }

    /// A facet that is held, by the first half of its hash, as it travels.
    pub fn packed(&self, half: &FacetHalf) -> Option<&Packed> {
        self.facets.find(half)
    }

    /// A host's head.
    pub fn head(&self, host: &HostId) -> Option<&Signed<Head>> {
        self.heads.get(host).map(|kept| &kept.head)
    }

    /// Where a host's head stands.
    pub fn head_place(&self, host: &HostId) -> Option<HeadPlace> {
        self.heads.get(host).map(KeptHead::place)
    }

    /// All heads, in the order of their hosts.
    pub fn heads(&self) -> impl Iterator<Item = (&HostId, &Signed<Head>)> {
        self.heads.iter().map(|(host, kept)| (host, &kept.head))
    }

    /// A facet of a host, by name, with its canonical bytes.
    pub fn facet(&self, host: &HostId, name: &str) -> Option<(FacetRef, Vec<u8>)> {
        let facets = &self.heads.get(host)?.head.body().facets;
        let facet = facets.iter().find(|facet| facet.name == name)?;
        Some((facet.clone(), self.facets.bytes(&facet.hash)?))
    }

    /// The canonical bytes of a facet that some head names.
    pub fn facet_bytes(&self, hash: &FacetHash) -> Option<Vec<u8>> {
        self.facets.bytes(hash)
    }

    /// What a host's agent says of itself.
    pub fn node_facet(&self, host: &HostId) -> Option<NodeFacet> {
        let (_, bytes) = self.facet(host, FACET_NODE)?;
        wire::decode(&bytes, NODE_BYTES_MAX).ok()
    }

    /// The facets that others can be packed against.
    pub fn bases(&self) -> impl Iterator<Item = &FacetHash> {
        self.facets.bases()
    }

    /// Those of the bases that are most like these canonical bytes, for [`super::choose_base`].
    pub fn near(&self, canonical: &[u8]) -> Vec<Base> {
        self.facets.near(canonical)
    }

    /// Takes facets that were on disk, before the heads that name them; returns those that are damaged or
    /// without their base. Then merge the heads, and [`Replica::drop_unnamed_facets`].
    pub fn restore_facets(&mut self, rows: Vec<(FacetHash, Packed)>) -> Vec<FacetHash> {
        self.facets.restore(rows)
    }

    /// Drops the facets that no head names, nor what a head names is a difference to.
    pub fn drop_unnamed_facets(&mut self) {
        self.facets.drop_unnamed();
    }

    /// The facets that came or were packed anew since the last call, and (without packing) those that went:
    /// what changed of the rows on disk.
    pub fn take_facet_changes(&mut self) -> Vec<(FacetHash, Option<Packed>)> {
        self.facets.take_touched()
    }
}
