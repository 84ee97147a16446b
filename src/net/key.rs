//! Names peers by their raw public key, so that no caller sees libp2p's own ids and addresses.

use std::{fmt, net::SocketAddr};

use libp2p::{
    Multiaddr, PeerId,
    identity::{self, Keypair, PublicKey},
    multiaddr::Protocol as Part,
};

/// What stands before the key in the protobuf of an ed25519 key: kind 1, then 32 bytes of data.
const KEY_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// A peer's raw ed25519 public key. Noise proves that the other end of a link holds its secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub [u8; 32]);

impl PeerKey {
    /// libp2p's id of this key; `None` when the bytes are no point of the curve.
    pub(super) fn id(self) -> Option<PeerId> {
        let key = identity::ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(PublicKey::from(key).to_peer_id())
    }

    /// The key inside libp2p's id; `None` for other kinds of key, which our Noise does not take.
    pub(super) fn of_id(id: &PeerId) -> Option<Self> {
        let (prefix, key) = id.as_ref().digest().split_first_chunk::<4>()?;
        if *prefix != KEY_PREFIX {
            return None;
        }
        key.try_into().ok().map(Self)
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({self})")
    }
}

/// The key pair that grows from `seed`, and its public half.
pub(super) fn keypair(mut seed: [u8; 32]) -> Option<(Keypair, PeerKey)> {
    let pair = Keypair::ed25519_from_bytes(&mut seed).ok()?;
    let key = PeerKey::of_id(&pair.public().to_peer_id())?;
    Some((pair, key))
}

/// The TCP address in libp2p's notation.
pub(super) fn multiaddr(addr: SocketAddr) -> Multiaddr {
    Multiaddr::from(addr.ip()).with(Part::Tcp(addr.port()))
}

/// The TCP address that libp2p's notation names, if it names one.
pub(super) fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    let ip = match parts.next()? {
        Part::Ip4(ip) => ip.into(),
        Part::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Part::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_way_through_libp2p() {
        let (pair, key) = keypair([7; 32]).unwrap();
        assert_eq!(key.id(), Some(pair.public().to_peer_id()));
        assert_eq!(PeerKey::of_id(&key.id().unwrap()), Some(key));
        let other_kind = PeerId::random();
        assert_eq!(PeerKey::of_id(&other_kind), None);
    }

    #[test]
    fn addresses_survive_the_way_through_libp2p() {
        for addr in ["127.0.0.1:7", "[::1]:65535"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(socket_addr(&multiaddr(addr)), Some(addr));
        }
        assert_eq!(socket_addr(&"/ip4/1.2.3.4/udp/5".parse().unwrap()), None);
    }
}
