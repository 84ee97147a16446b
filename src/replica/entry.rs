//! Entries: the units of replication, verified once when they arrive.

use crate::{
    authority::{
        Admission, Departure, Enrolled, Grant, Halt, HostCertificate, Invitation, Op, RootUpdate, Suspension,
    },
    identity::{Cosigned, EntryId, FleetId, HostId, Kind, Payload, Signed, SignedError, StreamId, peek},
    time::Timestamp,
    wire::{Bytes, WireError},
    wire_record,
};

use super::{Cancellation, Head, Order, Packed};

/// Why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not an envelope, or a signature does not match.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// A signed object that is not replicated, or of a kind from a newer version.
    #[error("a signed object of kind {0} is not an entry")]
    NotAnEntry(u16),
}

impl EntryError {
    /// Whether the signatures are not those of the named signers over these bytes for this fleet.
    pub fn is_forged(&self) -> bool {
        matches!(
            self,
            Self::Signed(SignedError::BadSignature | SignedError::Untouched | SignedError::WrongFleet { .. })
        )
    }

    /// Whether a newer version could take the bytes, and pass them on.
    pub fn is_newer(&self) -> bool {
        match self {
            Self::NotAnEntry(_)
            | Self::Signed(SignedError::Version { .. } | SignedError::SignatureKind(_)) => true,
            Self::Signed(SignedError::Wire(error)) => error.is_newer(),
            Self::Signed(_) => false,
        }
    }
}

/// A verified entry: its signatures match; what it may is for the authority to say.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An update of the root chain.
    Root(Cosigned<RootUpdate>),
    /// A certificate that is passed on.
    Grant(Signed<Grant>),
    /// The stop of somebody or something.
    Suspension(Signed<Suspension>),
    /// The stop of everything on some hosts.
    Halt(Signed<Halt>),
    /// What a join token stands for.
    Invitation(Signed<Invitation>),
    /// A host's certificate.
    Host(Box<Enrolled>),
    /// An operator's word about a host that waits.
    Admission(Signed<Admission>),
    /// A host's last entry.
    Departure(Signed<Departure>),
    /// An op of an operator.
    Op(Signed<Op>),
    /// A host's snapshot.
    Head(Signed<Head>),
    /// A command.
    Order(Signed<Order>),
    /// The end of a command before its time.
    Cancellation(Signed<Cancellation>),
}

/// Where an entry stands in the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In a set, by id.
    Set(EntryId),
    /// In an operator's stream.
    Op {
        /// The stream.
        stream: StreamId,
        /// The place in it.
        sequence: u64,
    },
    /// A host's one head.
    Head {
        /// The host.
        host: HostId,
        /// Its epoch.
        epoch: u32,
        /// Its place.
        sequence: u64,
    },
}

impl Entry {
    /// Verifies received bytes as whatever entry they say they are.
    ///
    /// # Errors
    /// When they are none, or a signature does not match.
    pub fn verify(bytes: &[u8], fleet: FleetId) -> Result<Self, EntryError> {
        let number = peek(bytes)?.kind;
        Ok(match Kind::of(number) {
            Some(Kind::Root) => Self::Root(Cosigned::verify(bytes, fleet)?),
            Some(Kind::Grant) => Self::Grant(Signed::verify(bytes, fleet)?),
            Some(Kind::Suspension) => Self::Suspension(Signed::verify(bytes, fleet)?),
            Some(Kind::Halt) => Self::Halt(Signed::verify(bytes, fleet)?),
            Some(Kind::Invitation) => Self::Invitation(Signed::verify(bytes, fleet)?),
            Some(Kind::Host) => Self::Host(Box::new(Enrolled::verify(bytes, fleet)?)),
            Some(Kind::Admission) => Self::Admission(Signed::verify(bytes, fleet)?),
            Some(Kind::Departure) => Self::Departure(Signed::verify(bytes, fleet)?),
            Some(Kind::Op) => Self::Op(Signed::verify(bytes, fleet)?),
            Some(Kind::Head) => Self::Head(Signed::verify(bytes, fleet)?),
            Some(Kind::Order) => Self::Order(Signed::verify(bytes, fleet)?),
            Some(Kind::Cancellation) => Self::Cancellation(Signed::verify(bytes, fleet)?),
            Some(
                Kind::Enrolment
                | Kind::Result
                | Kind::Card
                | Kind::Read
                | Kind::Receipt
                | Kind::AuditRecord
                | Kind::Request,
            )
            | None => {
                return Err(EntryError::NotAnEntry(number));
            }
        })
    }

    /// Reads bytes that were verified before, by whoever calls, for the same fleet: the form, not the
    /// signatures. Root updates are few, and verified again.
    ///
    /// # Errors
    /// As [`Entry::verify`].
    // A command line's alone: without it no signature goes unchecked.
    #[cfg(feature = "agent")]
    pub(crate) fn again(bytes: &[u8], fleet: FleetId) -> Result<Self, EntryError> {
        let number = peek(bytes)?.kind;
        Ok(match Kind::of(number) {
            Some(Kind::Grant) => Self::Grant(Signed::again(bytes, fleet)?),
            Some(Kind::Suspension) => Self::Suspension(Signed::again(bytes, fleet)?),
            Some(Kind::Halt) => Self::Halt(Signed::again(bytes, fleet)?),
            Some(Kind::Invitation) => Self::Invitation(Signed::again(bytes, fleet)?),
            Some(Kind::Host) => Self::Host(Box::new(Enrolled::again(bytes, fleet)?)),
            Some(Kind::Admission) => Self::Admission(Signed::again(bytes, fleet)?),
            Some(Kind::Departure) => Self::Departure(Signed::again(bytes, fleet)?),
            Some(Kind::Op) => Self::Op(Signed::again(bytes, fleet)?),
            Some(Kind::Head) => Self::Head(Signed::again(bytes, fleet)?),
            _ => Self::verify(bytes, fleet)?,
        })
    }

    /// The bytes as received.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Root(signed) => signed.bytes(),
            Self::Grant(signed) => signed.bytes(),
            Self::Suspension(signed) => signed.bytes(),
            Self::Halt(signed) => signed.bytes(),
            Self::Invitation(signed) => signed.bytes(),
            Self::Host(enrolled) => enrolled.certificate().bytes(),
            Self::Admission(signed) => signed.bytes(),
            Self::Departure(signed) => signed.bytes(),
            Self::Op(signed) => signed.bytes(),
            Self::Head(signed) => signed.bytes(),
            Self::Order(signed) => signed.bytes(),
            Self::Cancellation(signed) => signed.bytes(),
        }
    }

    /// Its id.
    pub fn id(&self) -> EntryId {
        match self {
            Self::Root(signed) => signed.id(),
            Self::Grant(signed) => signed.id(),
            Self::Suspension(signed) => signed.id(),
            Self::Halt(signed) => signed.id(),
            Self::Invitation(signed) => signed.id(),
            Self::Host(enrolled) => enrolled.certificate().id(),
            Self::Admission(signed) => signed.id(),
            Self::Departure(signed) => signed.id(),
            Self::Op(signed) => signed.id(),
            Self::Head(signed) => signed.id(),
            Self::Order(signed) => signed.id(),
            Self::Cancellation(signed) => signed.id(),
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        match self {
            Self::Op(op) => Place::Op {
                stream: StreamId::of_operator(&op.signer(), op.body().writer),
                sequence: op.body().sequence,
            },
            Self::Head(head) => Place::Head {
                host: HostId::of(&head.signer()),
                epoch: head.body().epoch,
                sequence: head.body().sequence,
            },
            Self::Root(_)
            | Self::Grant(_)
            | Self::Suspension(_)
            | Self::Halt(_)
            | Self::Invitation(_)
            | Self::Host(_)
            | Self::Admission(_)
            | Self::Departure(_)
            | Self::Order(_)
            | Self::Cancellation(_) => Place::Set(self.id()),
        }
    }

    /// When it may be forgotten, if ever.
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Invitation(signed) => Some(signed.body().expires),
            Self::Order(signed) => Some(signed.body().expires),
            Self::Cancellation(signed) => Some(signed.body().expires),
            Self::Root(_)
            | Self::Grant(_)
            | Self::Suspension(_)
            | Self::Halt(_)
            | Self::Host(_)
            | Self::Admission(_)
            | Self::Departure(_)
            | Self::Op(_)
            | Self::Head(_) => None,
        }
    }

    /// Whether it is pushed to all neighbours at once; the others are announced.
    pub fn eager(&self) -> bool {
        !matches!(self, Self::Head(_))
    }

    /// The order in which entries are sent and applied: what others depend on first, orders after all
    /// that could forbid them.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Root(_) => rank::ROOT,
            Self::Grant(_) => rank::GRANT,
            Self::Suspension(_) | Self::Halt(_) => rank::STOP,
            Self::Invitation(_) => rank::INVITATION,
            Self::Host(_) | Self::Admission(_) => rank::HOST,
            Self::Departure(_) => rank::DEPARTURE,
            Self::Op(_) => rank::OP,
            Self::Order(_) => rank::ORDER,
            Self::Cancellation(_) => rank::CANCELLATION,
            Self::Head(_) => rank::HEAD,
        }
    }

    /// Longest entry of any kind.
    pub const BYTES_MAX: usize = {
        let (order, host, root) = (Order::BYTES_MAX, HostCertificate::BYTES_MAX, RootUpdate::BYTES_MAX);
        let longer = if order > host { order } else { host };
        if longer > root { longer } else { root }
    };
}

/// See [`Entry::rank`]: stops come before everything that they could be about, but for what gives the right to them.
pub(super) mod rank {
    pub(in crate::replica) const ROOT: u8 = 0;
    pub(in crate::replica) const GRANT: u8 = 1;
    pub(in crate::replica) const STOP: u8 = 2;
    pub(in crate::replica) const INVITATION: u8 = 3;
    pub(in crate::replica) const HOST: u8 = 4;
    pub(in crate::replica) const DEPARTURE: u8 = 5;
    pub(in crate::replica) const OP: u8 = 6;
    pub(in crate::replica) const ORDER: u8 = 7;
    pub(in crate::replica) const CANCELLATION: u8 = 8;
    pub(in crate::replica) const HEAD: u8 = 9;
}

/// An entry as it travels: its bytes, and the facets that it names where they ride along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The signed bytes.
    pub entry: Bytes,
    /// Facets that its head names, and what they are differences to, in any order; each is checked against its
    /// hash.
    pub facets: Vec<Packed>,
}
wire_record!(Item { entry, facets });

impl Item {
    /// An entry without facets.
    pub fn bare(bytes: &[u8]) -> Self {
        Self { entry: Bytes::from(bytes), facets: Vec::new() }
    }

    /// Its size on the wire, nearly.
    pub fn weight(&self) -> usize {
        self.entry.0.len() + self.facets.iter().map(Packed::weight).sum::<usize>() + 8
    }
}

impl From<WireError> for EntryError {
    fn from(error: WireError) -> Self {
        Self::Signed(SignedError::Wire(error))
    }
}
