//! A host's newest snapshot: what it says of itself, each part named by its hash.

use std::net::SocketAddr;

use crate::{
    identity::{EntryId, Kind, Payload, Stream},
    time::{Hlc, Timestamp},
    wire_record,
};

use super::{AuditHead, FacetHash};

/// The facet that every agent publishes: its version, system and addresses.
pub const FACET_NODE: &str = "node";
/// Longest [`NodeFacet`], in bytes.
pub const NODE_BYTES_MAX: usize = 4 * 1024;

/// One facet, by name and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetRef {
    /// Its name.
    pub name: String,
    /// Its hash.
    pub hash: FacetHash,
    /// Its length when unpacked, in bytes.
    pub bytes: u32,
    /// Since when it is what it is, by the host's clock.
    pub at: Option<Timestamp>,
}
wire_record!(FacetRef { name, hash, bytes, at });

/// A host's newest signed snapshot. Of two, the higher (epoch, sequence) stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts up when the host may have lost its place.
    pub epoch: u32,
    /// Counts up with every head.
    pub sequence: u64,
    /// The head before it, where the host knows.
    pub previous: Option<EntryId>,
    /// When.
    pub at: Hlc,
    /// Its facets, by name in order; one that is not here is gone.
    pub facets: Vec<FacetRef>,
    /// How far its audit chain was, so that whoever has this head holds the host to that chain.
    pub audit: Option<AuditHead>,
}
wire_record!(Head { epoch, sequence, previous, at, facets, audit });
impl Payload for Head {
    const KIND: Kind = Kind::Head;
    const BYTES_MAX: usize = 8 * 1024;
    type Signer = Stream;
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacet {
    /// The version of muster.
    pub agent: String,
    /// The system's pretty name (os-release's `PRETTY_NAME`).
    pub os: String,
    /// Where it listens, as text; none for a host that only dials out.
    pub addresses: Vec<String>,
}
wire_record!(NodeFacet { agent, os, addresses });

impl NodeFacet {
    /// The addresses that can be read.
    pub fn listen(&self) -> Vec<SocketAddr> {
        self.addresses.iter().filter_map(|text| text.parse().ok()).collect()
    }
}
