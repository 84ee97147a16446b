//! What neighbours say to each other on their one long-lived stream. Symmetric.

use super::{
    Note,
    combine::{Row, weight},
};
use crate::{
    authority::{ListId, Listing},
    identity::{EntryId, HostId},
    replica::{HeadTips, Item, Packed, Report, Roots, Tip},
    wire::{Bytes, Value, Wire, WireError},
    wire_choice, wire_record,
};

/// The version of this protocol; a host says it first.
pub const SYNC_VERSION: u32 = 2;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// How far somebody read a host's feed: the numbered list of what it holds, by when it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which feed: a host that starts again has another one.
    pub feed: [u8; 8],
    /// All up to here was read.
    pub lsn: u64,
}
wire_record!(Cursor { feed, lsn });

/// What a host holds, in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The first hour whose expiring entries still count.
    pub hour: u64,
    /// The sums of each section at that hour.
    pub roots: Roots,
}
wire_record!(Sum { hour, roots });

/// What [`Message::Items`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// New in the fleet: they go to everybody at once.
    Pushed,
    /// A part of an answer.
    More,
    /// The last of an answer; what was asked for and did not come is not coming now.
    Last,
}

impl Wire for Part {
    fn to_value(&self) -> Value {
        (*self as u8).to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        match u8::from_value(value, field)? {
            0 => Ok(Self::Pushed),
            1 => Ok(Self::More),
            2 => Ok(Self::Last),
            tag => Err(WireError::UnknownTag { what: "Part", tag: u64::from(tag) }),
        }
    }
}

/// A message between neighbours. Rows are packed, see `rows`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on every stream.
    Hello {
        /// [`SYNC_VERSION`].
        version: u32,
        /// The sender's feed, and how far it goes.
        here: Cursor,
        /// How far the sender knows the receiver's.
        since: Option<Cursor>,
        /// What the sender holds.
        sum: Sum,
    },
    /// What the sender holds in some sections, by name; the receiver answers with what that lacks.
    Tips {
        /// The tips.
        tip: Tip,
    },
    /// Entries, in an order in which they can be applied.
    Items {
        /// The entries.
        items: Vec<Item>,
        /// Why they come.
        part: Part,
    },
    /// Is anybody there, and do we hold the same?
    Ping {
        /// Comes back in the pong.
        nonce: u32,
        /// The sender's feed up to here is known to the receiver.
        lsn: u64,
        /// See [`Sum::hour`].
        hour: u64,
        /// The root of all sections.
        root: [u8; 16],
    },
    /// Yes.
    Pong {
        /// The ping's.
        nonce: u32,
        /// The sender's feed up to here is known to the receiver.
        lsn: u64,
        /// What the sender holds, if that is not what the ping said.
        sum: Option<Sum>,
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
    /// The sender has these.
    Told {
        /// The sender's feed up to here is now known to the receiver; 0 says nothing.
        lsn: u64,
        /// Heads by their places.
        heads: Bytes,
        /// Halves of other entries' ids.
        entries: Bytes,
    },
    /// The sender wants these, once.
    Want {
        /// Heads, with the places that it holds.
        heads: Bytes,
        /// Halves of other entries' ids.
        entries: Bytes,
        /// Halves of facets' hashes.
        facets: Bytes,
    },
    /// Facets that were asked for.
    Facets {
        /// Their halves, in the same order.
        halves: Bytes,
        /// The facets.
        facets: Vec<Packed>,
    },
    /// Who is not heard any more, and who is again.
    Notes {
        /// At most [`NOTES_MAX`](super::NOTES_MAX).
        notes: Vec<Note>,
    },
    /// What [`Self::Reports`] and [`Self::Running`] say, of one order whose roster is large.
    Combined {
        /// The order.
        order: EntryId,
        /// Results, see `combine`.
        rows: Vec<Row>,
        /// Places in the roster of hosts that work on it.
        working: Option<Bytes>,
    },
    /// The sender lacks a list that a live order marks hosts of. Answered by [`Message::List`].
    WantList {
        /// The list.
        list: ListId,
        /// Lists that it has, the newest first.
        have: Vec<ListId>,
    },
    /// A list that was asked for.
    List {
        /// The list.
        list: ListId,
        /// All of it, or what differs from one that the receiver has.
        listing: Listing,
    },
}
wire_choice!(Message {
    0 = Hello { version, here, since, sum },
    1 = Tips { tip },
    2 = Items { items, part },
    3 = Ping { nonce, lsn, hour, root },
    4 = Pong { nonce, lsn, sum },
    5 = Reports { reports },
    6 = Settled { receipt },
    7 = Running { order, hosts },
    8 = Told { lsn, heads, entries },
    9 = Want { heads, entries, facets },
    10 = Facets { halves, facets },
    11 = Notes { notes },
    12 = Combined { order, rows, working },
    13 = WantList { list, have },
    14 = List { list, listing },
});

impl Message {
    /// How long the entries and facets in it are, in bytes: what its receiver gains, if it has none of them.
    pub fn payload(&self) -> usize {
        let packed = |facets: &[Packed]| facets.iter().map(Packed::weight).sum::<usize>();
        match self {
            Self::Items { items, .. } => {
                items.iter().map(|item| item.entry.0.len() + packed(&item.facets)).sum()
            }
            Self::Facets { facets, .. } => packed(facets),
            _ => 0,
        }
    }

    /// About how long it is, in bytes.
    pub fn weight(&self) -> usize {
        32 + match self {
            Self::Hello { .. } => 100,
            Self::Ping { .. } | Self::Pong { .. } => 0,
            Self::Tips { tip } => tip_weight(tip),
            Self::Items { items, .. } => items.iter().map(Item::weight).sum(),
            Self::Reports { reports } => reports.iter().map(weight).sum(),
            Self::Settled { receipt } => receipt.0.len(),
            Self::Running { hosts, .. } => hosts.len() * 35,
            Self::Told { heads, entries, .. } => heads.0.len() + entries.0.len(),
            Self::Want { heads, entries, facets } => heads.0.len() + entries.0.len() + facets.0.len(),
            Self::Facets { halves, facets } => {
                halves.0.len() + facets.iter().map(Packed::weight).sum::<usize>()
            }
            Self::Notes { notes } => notes.len() * 24,
            Self::Combined { rows, working, .. } => {
                rows.iter().map(Row::weight).sum::<usize>()
                    + working.as_ref().map_or(0, |bytes| bytes.0.len())
            }
            Self::WantList { have, .. } => 34 + have.len() * 34,
            Self::List { listing, .. } => 34 + listing.weight(),
        }
    }

    /// Whether it only looks after the link.
    pub fn is_upkeep(&self) -> bool {
        matches!(self, Self::Hello { .. } | Self::Ping { .. } | Self::Pong { .. } | Self::Notes { .. })
    }
}

fn tip_weight(tip: &Tip) -> usize {
    let sections = [&tip.members, &tip.set, &tip.ops].into_iter().flatten();
    let heads = tip.heads.as_ref().map_or(0, |heads| match heads {
        HeadTips::Dense { places: bytes, .. }
        | HeadTips::Rows { rows: bytes }
        | HeadTips::Full { rows: bytes } => bytes.0.len(),
    });
    heads + sections.map(|bytes| bytes.0.len()).sum::<usize>()
}
