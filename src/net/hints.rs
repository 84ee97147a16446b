//! Keeps what peers on the same network say about themselves. Only hints: nothing in them is proven.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::PeerKey;

/// Peers that are remembered; a larger network finds the others through these.
const PEERS_MAX: usize = 256;
/// Addresses remembered of one peer.
const ADDRS_PER_PEER_MAX: usize = 8;

/// Peers seen on the local network, and where.
pub type Hints = BTreeMap<PeerKey, BTreeSet<SocketAddr>>;

/// Adds one; `false` when it was there already or there is no room.
pub(super) fn add(hints: &mut Hints, peer: PeerKey, addr: SocketAddr) -> bool {
    if hints.len() >= PEERS_MAX && !hints.contains_key(&peer) {
        return false;
    }
    let addrs = hints.entry(peer).or_default();
    addrs.len() < ADDRS_PER_PEER_MAX && addrs.insert(addr)
}

/// Takes one out; `false` when it was not there.
pub(super) fn remove(hints: &mut Hints, peer: PeerKey, addr: SocketAddr) -> bool {
    let Some(addrs) = hints.get_mut(&peer) else { return false };
    let was_there = addrs.remove(&addr);
    if addrs.is_empty() {
        hints.remove(&peer);
    }
    was_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_network_fills_no_more_than_its_room() {
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let peer = |n: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            PeerKey(key)
        };
        let mut hints = Hints::new();
        for n in 0..1000 {
            for port in 0..20 {
                add(&mut hints, peer(n), addr(port));
            }
        }
        assert_eq!(hints.len(), PEERS_MAX);
        assert!(hints.values().all(|addrs| addrs.len() == ADDRS_PER_PEER_MAX));
        for port in 0..8 {
            assert!(remove(&mut hints, peer(0), addr(port)));
        }
        assert!(!remove(&mut hints, peer(0), addr(0)));
        assert!(!hints.contains_key(&peer(0)));
        assert!(add(&mut hints, peer(999), addr(0)), "there is room again");
    }
}
