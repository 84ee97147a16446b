//! What a simulated host says of itself.

use crate::{
    replica::{FACET_NODE, FacetHash, FacetRef, NodeFacet},
    wire::{self, Bytes},
};

/// The facets of one head, as they are named in it and as they travel.
#[derive(Clone, Debug, Default)]
pub struct Published {
    refs: Vec<FacetRef>,
    packed: Vec<Bytes>,
}

impl Published {
    /// What the agent says of itself, in its `count`th version.
    pub fn node(host: usize, count: u64, reachable: bool) -> Self {
        let address = format!("10.{}.{}.{}:7946", host >> 16 & 255, host >> 8 & 255, host & 255);
        let node = NodeFacet {
            agent: format!("0.{count}"),
            addresses: if reachable { vec![address] } else { Vec::new() },
            ..NodeFacet::default()
        };
        let mut published = Self::default();
        published.add(FACET_NODE, &wire::encode(&node));
        published
    }

    fn add(&mut self, name: &str, canonical: &[u8]) {
        self.refs.push(FacetRef {
            name: name.to_owned(),
            hash: FacetHash::of(canonical),
            bytes: u32::try_from(canonical.len()).unwrap_or(u32::MAX),
            at: None,
        });
        self.packed.push(Bytes::from(canonical));
        self.refs.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// As a head names them.
    pub fn refs(&self) -> &[FacetRef] {
        &self.refs
    }

    /// As they travel.
    pub fn packed(&self) -> &[Bytes] {
        &self.packed
    }
}
