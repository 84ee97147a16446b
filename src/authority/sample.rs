//! A fleet to test with: fixed keys, and makers of every object that the fold takes.

use super::{
    AGENT_USER, ANY, Authority, Certificate, Cut, Departure, Enrolled, Enrolment, Genesis, Grant, Halt,
    HostCertificate, HostKeys, Invitation, Op, OpAction, RootChain, RootChange, RootUpdate, Suspension,
    TagChange, Verb, Whom,
};
use crate::{
    identity::{
        Cosigned, EntryId, FleetId, HostId, Operator, Purpose, Root, SealPublic, SecretKey, Signed, Stream,
        Token, WriterId,
    },
    time::{Hlc, Timestamp},
    wire::Bytes,
};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// The key number `number` of its purpose.
pub(crate) fn key<P: Purpose>(number: u8) -> SecretKey<P> {
    let purpose = P::NAME.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let mut seed = [number; 32];
    seed[0] = purpose;
    SecretKey::from_seed(&seed)
}

pub(crate) fn host_id(number: u8) -> HostId {
    HostId::of(&key::<Stream>(number).public())
}

pub(crate) fn later(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

pub(crate) fn hlc(at: Timestamp) -> Hlc {
    Hlc(at.0 << 16)
}

pub(crate) fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A certificate that allows everything, for a year around [`NOW`].
pub(crate) fn certificate(person: &str, holder: &SecretKey<Operator>) -> Certificate {
    Certificate {
        person: person.to_owned(),
        key: holder.public().into(),
        verbs: Verb::ALL.to_vec(),
        scope: "all".to_owned(),
        tags: pairs(&[(ANY, ANY)]),
        run_as: vec![ANY.to_owned(), AGENT_USER.to_owned()],
        hosts_max: None,
        not_before: Timestamp(NOW.0 - 180 * 24 * HOUR_MS),
        not_after: later(180 * 24 * HOUR_MS),
        approvals: 0,
    }
}

/// A founded fleet under one root key.
pub(crate) struct Fleet {
    pub(crate) root: SecretKey<Root>,
    pub(crate) chain: RootChain,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let root = key::<Root>(1);
        let genesis = Genesis {
            name: "acme".to_owned(),
            roots: vec![root.public()],
            threshold: 1,
            founded: Timestamp(0),
            nonce: [1; 16],
        };
        let chain = RootChain::found(genesis, &[&root]).unwrap();
        Self { root, chain }
    }

    /// A fleet whose operators 1, 2, … have these certificates, one after the other on the chain.
    pub(crate) fn with(certificates: &[Certificate]) -> (Self, Vec<EntryId>) {
        let mut fleet = Self::new();
        let ids = certificates.iter().map(|certificate| fleet.certify(certificate.clone())).collect();
        (fleet, ids)
    }

    pub(crate) fn id(&self) -> FleetId {
        self.chain.fleet()
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::new(self.chain.clone())
    }

    /// Signs an update without taking it.
    pub(crate) fn update(
        &self,
        parent: Option<EntryId>,
        sequence: u32,
        change: RootChange,
    ) -> Cosigned<RootUpdate> {
        Cosigned::sign(self.id(), &[&self.root], RootUpdate { sequence, parent, change })
    }

    /// Puts a certificate on the chain.
    pub(crate) fn certify(&mut self, certificate: Certificate) -> EntryId {
        let next = self.chain.next(RootChange::Certify(certificate));
        let signed = Cosigned::sign(self.id(), &[&self.root], next);
        assert!(self.chain.absorb(signed.bytes()).unwrap());
        signed.id()
    }

    pub(crate) fn invite(
        &self,
        by: &SecretKey<Operator>,
        under: EntryId,
        token: u8,
        tags: &[(&str, &str)],
        uses: u32,
    ) -> Signed<Invitation> {
        let body = Invitation {
            certificate: under,
            token: key::<Token>(token).public(),
            tags: pairs(tags),
            uses,
            approve: false,
            issued: NOW,
            expires: later(HOUR_MS),
        };
        Signed::sign(self.id(), by, body)
    }

    pub(crate) fn keys(host: u8) -> HostKeys {
        HostKeys {
            stream: key(host).public(),
            transport: key(host).public(),
            executor: key(host).public(),
            seal: SealPublic([9; 32]),
        }
    }

    pub(crate) fn enrolment(host: u8, tags: &[(&str, &str)]) -> Enrolment {
        Enrolment { name: format!("host-{host}"), tags: pairs(tags), keys: Self::keys(host), at: later(1000) }
    }

    /// A host's certificate, whatever its links are worth.
    pub(crate) fn host_certificate(
        &self,
        invitation: &Signed<Invitation>,
        token: &SecretKey<Token>,
        stream: &SecretKey<Stream>,
        enrolment: Enrolment,
    ) -> Signed<HostCertificate> {
        let enrolment = Signed::sign(self.id(), token, enrolment);
        let body = HostCertificate {
            invitation: Bytes::from(invitation.bytes()),
            enrolment: Bytes::from(enrolment.bytes()),
        };
        Signed::sign(self.id(), stream, body)
    }

    /// Host number `host`, enrolled by token number `token`.
    pub(crate) fn enrol(
        &self,
        invitation: &Signed<Invitation>,
        token: u8,
        host: u8,
        tags: &[(&str, &str)],
    ) -> Enrolled {
        let certificate =
            self.host_certificate(invitation, &key(token), &key(host), Self::enrolment(host, tags));
        Enrolled::verify(certificate.bytes(), self.id()).unwrap()
    }

    /// Puts whatever change on the chain.
    pub(crate) fn change(&mut self, change: RootChange) -> EntryId {
        let signed = Cosigned::sign(self.id(), &[&self.root], self.chain.next(change));
        assert!(self.chain.absorb(signed.bytes()).unwrap());
        signed.id()
    }

    /// A suspension of `whom`, of which `cut` leaves what it leaves.
    pub(crate) fn suspend(
        &self,
        by: &SecretKey<Operator>,
        under: EntryId,
        whom: Whom,
        cut: Cut,
    ) -> Signed<Suspension> {
        let reason = "a stolen laptop".to_owned();
        let body = Suspension { certificate: under, whom, at: NOW, effective: NOW, cut, reason };
        Signed::sign(self.id(), by, body)
    }

    pub(crate) fn halt(&self, by: &SecretKey<Operator>, under: EntryId, selector: &str) -> Signed<Halt> {
        let (selector, reason) = (selector.to_owned(), "smoke".to_owned());
        Signed::sign(self.id(), by, Halt { certificate: under, selector, at: NOW, reason })
    }

    /// A certificate that is passed on.
    pub(crate) fn grant(
        &self,
        by: &SecretKey<Operator>,
        under: EntryId,
        grant: Certificate,
    ) -> Signed<Grant> {
        Signed::sign(self.id(), by, Grant { certificate: under, at: NOW, grant })
    }

    pub(crate) fn departure(&self, host: u8, at: Timestamp) -> Signed<Departure> {
        Signed::sign(self.id(), &key(host), Departure { at })
    }

    /// An op that follows `previous` in stream `writer` of `by`.
    pub(crate) fn op(
        &self,
        by: &SecretKey<Operator>,
        under: EntryId,
        writer: u8,
        previous: Option<&Signed<Op>>,
        supersedes: &[EntryId],
        action: OpAction,
    ) -> Signed<Op> {
        let sequence = previous.map_or(0, |op| op.body().sequence + 1);
        let body = Op {
            writer: WriterId([writer; 16]),
            sequence,
            previous: previous.map(Signed::id),
            at: hlc(later(sequence)),
            certificate: under,
            supersedes: supersedes.to_vec(),
            action,
        };
        Signed::sign(self.id(), by, body)
    }
}

/// Sets one tag of host number `host`, or takes it off.
pub(crate) fn tag(host: u8, key: &str, value: Option<&str>) -> OpAction {
    OpAction::Tag {
        host: host_id(host),
        changes: vec![TagChange { key: key.to_owned(), value: value.map(str::to_owned) }],
    }
}
