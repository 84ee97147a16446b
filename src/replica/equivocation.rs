//! The proof that a host's key signs in two places: two different heads at one place of its stream.
//!
//! A host signs each place of its stream once: it begins a new epoch at every start, and asks its peers for its own
//! head before it does. So two heads at one place mean that its state runs twice (a disk or a machine was copied
//! and both copies run), or that somebody else has its key. Anyone can check the two signatures, and nobody without
//! the key can make such a pair; so it needs no signature of whoever found it, is the same whoever does, and counts
//! wherever it comes. Of several pairs about one host the one with the lowest id stands: a function of the set.
//!
//! A host that runs and sees a newer head of its own that it did not sign knows that it was copied; it signs
//! another head at that place, which makes the proof. Only a holder of the key can, and there it is the truth.

use crate::{
    identity::{Bare, EntryId, FleetId, HostId, Kind, Payload, Signed, SignedError, Stream},
    wire::Bytes,
    wire_record,
};

use super::{Head, Merged, Replica, ledger::Spot};
use crate::authority::Refusal;

/// Proofs that wait to be merged; a pair that is left out is found again, or another.
const PROOFS_MAX: usize = 64;

/// Two signed heads, the one with the lower id first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoHeads {
    /// One.
    pub one: Bytes,
    /// The other.
    pub other: Bytes,
}
wire_record!(TwoHeads { one, other });
impl Payload for TwoHeads {
    const KIND: Kind = Kind::Equivocation;
    const BYTES_MAX: usize = 2 * <Head as Payload>::BYTES_MAX + 256;
    type Signer = Stream;
}

/// Two heads that were checked: one host signed both, at one place.
#[derive(Clone, Debug)]
pub struct Equivocation {
    proof: Bare<TwoHeads>,
    host: HostId,
    place: (u32, u64),
}

impl Equivocation {
    /// The proof that two heads are, if they are one.
    pub fn of(fleet: FleetId, one: &Signed<Head>, other: &Signed<Head>) -> Option<Self> {
        let place = |head: &Signed<Head>| (head.signer(), head.body().epoch, head.body().sequence);
        if place(one) != place(other) || one.id() == other.id() {
            return None;
        }
        let (one, other) = if one.id() < other.id() { (one, other) } else { (other, one) };
        let bytes = |head: &Signed<Head>| Bytes::from(head.bytes());
        let proof = Bare::of(fleet, TwoHeads { one: bytes(one), other: bytes(other) });
        let (key, epoch, sequence) = place(one);
        Some(Self { proof, host: HostId::of(&key), place: (epoch, sequence) })
    }

    /// Checks received bytes: both signatures, and that the two are at one place of one stream.
    ///
    /// # Errors
    /// When they prove nothing.
    pub fn verify(bytes: &[u8], fleet: FleetId) -> Result<Self, SignedError> {
        let proof = Bare::<TwoHeads>::read(bytes, fleet)?;
        let one = Signed::<Head>::verify(&proof.body().one.0, fleet)?;
        let other = Signed::<Head>::verify(&proof.body().other.0, fleet)?;
        match Self::of(fleet, &one, &other) {
            Some(made) if made.id() == proof.id() => Ok(made),
            _ => Err(SignedError::BadSignature),
        }
    }

    /// Whose key it is about.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Epoch and sequence of both heads.
    pub fn place(&self) -> (u32, u64) {
        self.place
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.proof.bytes()
    }

    /// Its id.
    pub fn id(&self) -> EntryId {
        self.proof.id()
    }
}

impl Replica {
    /// Takes a proof; of two about one host, the lower id stands.
    pub(super) fn merge_equivocation(&mut self, proof: Equivocation) -> Result<Merged, Refusal> {
        let host = proof.host();
        if self.authority.host(&host).is_none() {
            return Err(Refusal::Gap);
        }
        let held = self.equivocations.get(&host).map(Equivocation::id);
        if held.is_some_and(|held| held <= proof.id()) {
            return Ok(Merged::Known);
        }
        if let Some(held) = held {
            self.ledger.strike(&held);
        }
        self.authority.quarantine_copied(host);
        self.ledger.enter(proof.id(), Spot::Equivocation(host), None);
        self.equivocations.insert(host, proof);
        Ok(Merged::New)
    }

    /// Notes that two heads stand at one place. Which pairs come together depends on the order in which heads come,
    /// so this changes nothing that is held: the proof becomes an entry like any other when it is merged.
    pub(super) fn found_twice(&mut self, one: &Signed<Head>, other: &Signed<Head>) {
        let Some(proof) = Equivocation::of(self.fleet(), one, other) else { return };
        let held = self.equivocations.get(&proof.host()).map(Equivocation::id);
        if held.is_none_or(|held| proof.id() < held) && self.proofs.len() < PROOFS_MAX {
            self.proofs.push(proof);
        }
    }

    /// The proofs that came out of heads since the last call: to be merged, written and spread like what came.
    pub fn take_proofs(&mut self) -> Vec<Equivocation> {
        std::mem::take(&mut self.proofs)
    }

    /// The proof that a host's key signs in two places, if there is one.
    pub fn equivocation(&self, host: &HostId) -> Option<&Equivocation> {
        self.equivocations.get(host)
    }

    /// All such proofs.
    pub fn equivocations(&self) -> impl Iterator<Item = &Equivocation> {
        self.equivocations.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::{
            Standing,
            sample::{Fleet, certificate, key},
        },
        identity::{Operator, SecretKey},
        replica::Entry,
        time::Hlc,
    };

    fn head(fleet: FleetId, host: u8, place: (u32, u64), at: u64) -> Signed<Head> {
        let (epoch, sequence) = place;
        let key: SecretKey<Stream> = key(host);
        let head = Head { epoch, sequence, previous: None, at: Hlc(at), facets: Vec::new(), audit: None };
        Signed::sign(fleet, &key, head)
    }

    #[test]
    fn two_heads_at_one_place_prove_a_copy_and_nothing_else_does() {
        let fleet = FleetId([7; 32]);
        let (one, other) = (head(fleet, 1, (3, 4), 1), head(fleet, 1, (3, 4), 2));
        let proof = Equivocation::of(fleet, &one, &other).unwrap();
        assert_eq!(proof.id(), Equivocation::of(fleet, &other, &one).unwrap().id(), "whoever finds it");
        assert_eq!((proof.host(), proof.place()), (HostId::of(&one.signer()), (3, 4)));
        assert_eq!(Equivocation::verify(proof.bytes(), fleet).unwrap().id(), proof.id());
        assert!(Equivocation::verify(proof.bytes(), FleetId([8; 32])).is_err());
        for innocent in
            [one.clone(), head(fleet, 1, (3, 5), 2), head(fleet, 1, (4, 4), 2), head(fleet, 2, (3, 4), 2)]
        {
            assert!(Equivocation::of(fleet, &one, &innocent).is_none());
        }
        // Made up of what proves nothing, or in the other order.
        let bytes = |head: &Signed<Head>| Bytes::from(head.bytes());
        let (low, high) = if one.id() < other.id() { (&one, &other) } else { (&other, &one) };
        let elsewhere = head(fleet, 1, (3, 5), 2);
        for (one, other) in [(high, low), (low, low), (low, &elsewhere)] {
            let made = Bare::of(fleet, TwoHeads { one: bytes(one), other: bytes(other) });
            assert!(Equivocation::verify(made.bytes(), fleet).is_err());
        }
        let mut forged = bytes(high);
        if let Some(last) = forged.0.last_mut() {
            *last ^= 1;
        }
        let made = Bare::of(fleet, TwoHeads { one: bytes(low), other: forged });
        assert!(Equivocation::verify(made.bytes(), fleet).is_err());
    }

    #[test]
    fn a_proved_copy_is_no_member_whatever_comes_in_which_order() {
        let ana = key::<Operator>(1);
        let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
        let invitation = fleet.invite(&ana, ids[0], 1, &[], 5);
        let enrolled = fleet.enrol(&invitation, 1, 1, &[]);
        let host = enrolled.host();
        let id = fleet.authority().fleet();
        let heads = [head(id, 1, (1, 0), 1), head(id, 1, (1, 0), 2), head(id, 1, (1, 0), 3)];
        let proofs =
            [(0, 1), (1, 2), (0, 2)].map(|(a, b)| Equivocation::of(id, &heads[a], &heads[b]).unwrap());
        let lowest = proofs.iter().map(Equivocation::id).min().unwrap();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut replica = Replica::new(fleet.authority());
            let early = replica.merge(Entry::Equivocation(Box::new(proofs[0].clone())), &[]);
            assert_eq!(early, Err(Refusal::Gap), "it waits for its host");
            replica.merge(Entry::Invitation(invitation.clone()), &[]).unwrap();
            replica.merge(Entry::Host(Box::new(enrolled.clone())), &[]).unwrap();
            assert_eq!(replica.authority().host(&host).unwrap().standing(), Standing::Member);
            for at in order {
                replica.merge(Entry::Equivocation(Box::new(proofs[at].clone())), &[]).unwrap();
                assert_eq!(replica.authority().host(&host).unwrap().standing(), Standing::Cloned);
            }
            assert_eq!(replica.equivocation(&host).map(Equivocation::id), Some(lowest));
            assert_eq!((replica.forks(), replica.authority().members().count()), (1, 0));
        }
        let mut replica = Replica::new(fleet.authority());
        replica.merge(Entry::Host(Box::new(enrolled)), &[]).unwrap();
        for head in &heads[..2] {
            replica.merge(Entry::Head(head.clone()), &[]).unwrap();
        }
        let found: Vec<_> = replica.take_proofs().iter().map(Equivocation::id).collect();
        assert_eq!(found, [proofs[0].id()]);
    }
}
