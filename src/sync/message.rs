//! What neighbours say to each other on their one long-lived stream. Symmetric.

use crate::{
    identity::{EntryId, HostId},
    replica::{Item, Report, Tip},
    wire::Bytes,
    wire_choice,
};

/// The version of this protocol; a host says it first.
pub const SYNC_VERSION: u32 = 1;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on every stream.
    Hello {
        /// [`SYNC_VERSION`].
        version: u32,
        /// The digest of what the sender holds.
        digest: [u8; 16],
    },
    /// What the sender holds; the receiver answers with what that lacks.
    Tips {
        /// The tips.
        tip: Tip,
    },
    /// Entries, in an order in which they can be applied.
    Items {
        /// The entries.
        items: Vec<Item>,
    },
    /// Is anybody there, and do we hold the same?
    Ping {
        /// Comes back in the pong.
        nonce: u64,
        /// The digest of what the sender holds.
        digest: [u8; 16],
    },
    /// Yes.
    Pong {
        /// The ping's.
        nonce: u64,
        /// The digest of what the sender holds.
        digest: [u8; 16],
    },
    /// Results, on their way to a keeper.
    Reports {
        /// The reports.
        reports: Vec<Report>,
    },
    /// A keeper holds results; on the way back to the hosts they are of.
    Settled {
        /// The keeper's signed [`Receipt`](crate::replica::Receipt).
        receipt: Bytes,
    },
    /// These hosts work on the order; on the way to its keeper.
    Running {
        /// The order.
        order: EntryId,
        /// The hosts.
        hosts: Vec<HostId>,
    },
}
wire_choice!(Message {
    0 = Hello { version, digest },
    1 = Tips { tip },
    2 = Items { items },
    3 = Ping { nonce, digest },
    4 = Pong { nonce, digest },
    5 = Reports { reports },
    6 = Settled { receipt },
    7 = Running { order, hosts },
});
