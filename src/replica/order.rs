//! Orders and what belongs to them, as operators sign them.
//!
//! What starts something or opens a door is closed: a field that this version does not know could be a
//! condition, and running without it is not what was signed.

use std::{sync::Arc, time::Duration};

use crate::{
    authority::{Ask, Asks, ListError, ListId, Marks, Meant, MemberList, ROSTER_INLINE_MAX, Verb},
    identity::{EntryId, HostId, Kind, Operator, Payload, PublicKey, Transport},
    time::Timestamp,
    wire::Bytes,
    wire_choice, wire_record,
};

use super::Private;

/// Most keepers that an order names.
pub const KEEPERS_MAX: usize = 4;
/// Longest blob, in bytes.
pub const BLOB_BYTES_MAX: u64 = 16 << 20;
/// Longest validity of a card.
pub const CARD_VALID_MAX: Duration = Duration::from_secs(8 * 3600);

/// The hosts an order is for, fixed when it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roster {
    /// Ids in order, at most [`ROSTER_INLINE_MAX`].
    Inline {
        /// The ids.
        hosts: Vec<HostId>,
    },
    /// Above that, some of a list: those that have their bit set. See [`Marks`].
    Bitmap {
        /// The list.
        list: ListId,
        /// How many hosts it has.
        members: u32,
        /// A bit for each of them.
        bits: Bytes,
    },
}
wire_choice!(Roster closed { 0 = Inline { hosts }, 1 = Bitmap { list, members, bits } });

impl Roster {
    /// The roster of these hosts, which stand in order. `list` is asked for where they are too many to be named
    /// one by one.
    ///
    /// # Errors
    /// When there is no such list, or one of them is not in it.
    pub fn of(
        hosts: &[HostId],
        list: impl FnOnce() -> Result<Arc<MemberList>, ListError>,
    ) -> Result<Self, ListError> {
        if hosts.len() <= ROSTER_INLINE_MAX {
            return Ok(Self::Inline { hosts: hosts.to_vec() });
        }
        let list = list()?;
        let mut bits = vec![0_u8; list.hosts().len().div_ceil(8)];
        for host in hosts {
            let index = list.index_of(host).ok_or(ListError::Other)?;
            let byte = usize::try_from(index / 8).ok().and_then(|at| bits.get_mut(at));
            *byte.ok_or(ListError::Other)? |= 1 << (index % 8);
        }
        Ok(Self::Bitmap { list: list.id(), members: list.members(), bits: Bytes(bits) })
    }

    /// As the authority sees it.
    pub fn meant(&self) -> Meant<'_> {
        match self {
            Self::Inline { hosts } => Meant::Named(hosts),
            Self::Bitmap { list, members, bits } => {
                Meant::Marked(Marks { list: *list, members: *members, bits: &bits.0 })
            }
        }
    }

    /// How many hosts there are.
    pub fn count(&self) -> usize {
        self.meant().count()
    }

    #[cfg(all(test, feature = "agent"))]
    pub(crate) fn named(&self) -> &[HostId] {
        if let Self::Inline { hosts } = self { hosts } else { &[] }
    }

    /// Whether it marks hosts of this list.
    pub fn marks(&self, list: &MemberList) -> bool {
        self.list() == Some(list.id())
    }

    /// The list that it marks hosts of.
    pub fn list(&self) -> Option<ListId> {
        match self {
            Self::Inline { .. } => None,
            Self::Bitmap { list, .. } => Some(*list),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One program with its arguments, without a shell.
    Argv {
        /// The program and its arguments.
        argv: Vec<Bytes>,
    },
    /// One program as before, with what is shipped beside the order and named in it by hash.
    ///
    /// Another number and not more fields of the first: an order without it has the bytes it always had, and
    /// a host that does not know it refuses to run half of what was signed.
    Shipped {
        /// The program and its arguments; with a script, what people call that, and its arguments.
        argv: Vec<Bytes>,
        /// What the program reads.
        stdin: Option<Blob>,
        /// What is run in the place of the first word.
        script: Option<Blob>,
    },
    /// One program as before, which only the hosts of the roster can read; see [`Private`].
    Private {
        /// What is sealed.
        private: Private,
    },
}
wire_choice!(Action closed { 0 = Argv { argv }, 1 = Shipped { argv, stdin, script }, 2 = Private { private } });

impl Action {
    /// The words that people see and the program gets; none where they are sealed.
    pub fn argv(&self) -> &[Bytes] {
        match self {
            Self::Argv { argv } | Self::Shipped { argv, .. } => argv,
            Self::Private { .. } => &[],
        }
    }

    /// What is to be read as standard input.
    pub fn stdin(&self) -> Option<&Blob> {
        match self {
            Self::Argv { .. } => None,
            Self::Shipped { stdin, .. } | Self::Private { private: Private { stdin, .. } } => stdin.as_ref(),
        }
    }

    /// What is to be run in the place of the first word.
    pub fn script(&self) -> Option<&Blob> {
        match self {
            Self::Argv { .. } => None,
            Self::Shipped { script, .. } | Self::Private { private: Private { script, .. } } => {
                script.as_ref()
            }
        }
    }

    /// All that travels beside the order.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.stdin().into_iter().chain(self.script())
    }
}

/// Bytes that travel beside an order. They have no name and no meaning but what the order that names them
/// gives them, and are good when they have this hash and this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// BLAKE3 of them.
    pub hash: [u8; 32],
    /// How many there are, at most [`BLOB_BYTES_MAX`].
    pub bytes: u64,
}
wire_record!(Blob closed { hash, bytes });

impl Blob {
    /// What names `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: *blake3::hash(bytes).as_bytes(), bytes: bytes.len() as u64 }
    }

    /// The file that it is kept in.
    pub fn file_name(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }
}

/// What a command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
    /// How much of each output stream is kept, in bytes; the rest is counted and dropped.
    pub output_bytes_max: u64,
}
wire_record!(Limits closed { timeout_ms, output_bytes_max });

/// A signed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Makes two equal commands two orders.
    pub nonce: [u8; 16],
    /// The certificate it is signed under.
    pub certificate: EntryId,
    /// When it was signed.
    pub issued: Timestamp,
    /// When no host may start it any more.
    pub expires: Timestamp,
    /// Which hosts, in words.
    pub selector: String,
    /// Which hosts, by id.
    pub roster: Roster,
    /// What.
    pub action: Action,
    /// As whom.
    pub run_as: String,
    /// With what limits.
    pub limits: Limits,
    /// Who keeps the results until the issuer has them; the first is the issuer's entry host.
    pub keepers: Vec<HostId>,
    /// Why, for the record.
    pub reason: Option<String>,
}
wire_record!(Order closed {
    nonce,
    certificate,
    issued,
    expires,
    selector,
    roster,
    action,
    run_as,
    limits,
    keepers,
    reason,
});
impl Payload for Order {
    const KIND: Kind = Kind::Order;
    const BYTES_MAX: usize = 60 * 1024;
    type Signer = Operator;
}
impl Asks for Order {
    fn ask(&self) -> Ask<'_> {
        Ask {
            certificate: self.certificate,
            verb: Verb::Run,
            selector: &self.selector,
            roster: self.roster.meant(),
            run_as: Some(&self.run_as),
            issued: self.issued,
            expires: self.expires,
        }
    }
}

/// The end of an order before its time: hosts that have not started it will not, running ones end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// The order.
    pub order: EntryId,
    /// When.
    pub at: Timestamp,
    /// When the order expires, exactly; so long this is kept.
    pub expires: Timestamp,
}
wire_record!(Cancellation { order, at, expires });
impl Payload for Cancellation {
    const KIND: Kind = Kind::Cancellation;
    const BYTES_MAX: usize = 1024;
    type Signer = Operator;
}

/// A command line's transport key, vouched for by an operator's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The certificate it is signed under.
    pub certificate: EntryId,
    /// The key that the command line proves itself with on the wire.
    pub transport: PublicKey<Transport>,
    /// From when.
    pub issued: Timestamp,
    /// Until when; at most [`CARD_VALID_MAX`] later.
    pub expires: Timestamp,
}
wire_record!(Card closed { certificate, transport, issued, expires });
impl Payload for Card {
    const KIND: Kind = Kind::Card;
    const BYTES_MAX: usize = 1024;
    type Signer = Operator;
}

/// Asks hosts for the output that an order left with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The certificate it is signed under.
    pub certificate: EntryId,
    /// The order.
    pub order: EntryId,
    /// When it was signed.
    pub issued: Timestamp,
    /// Until when it may be used.
    pub expires: Timestamp,
}
wire_record!(ReadRequest closed { certificate, order, issued, expires });
impl Payload for ReadRequest {
    const KIND: Kind = Kind::Read;
    const BYTES_MAX: usize = 1024;
    type Signer = Operator;
}
