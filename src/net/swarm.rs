//! Builds the Swarm: plumbing only.

use std::{sync::Arc, time::Duration};

use libp2p::{
    Swarm, Transport as _,
    connection_limits::{self, ConnectionLimits},
    core::upgrade::Version,
    identity::Keypair,
    mdns, noise,
    pnet::{PnetConfig, PreSharedKey},
    swarm::{Config, NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use super::{NetError, gate::Gate, quiet, streams};

/// From the first packet to a link; ten times what a busy small machine takes.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Inbound connections that have not proven a key yet.
pub(super) const PENDING_MAX: u32 = 256;
/// Inbound links. A host has 6 to 12 neighbours; the rest is for operators and relayed sessions.
const INBOUND_MAX: u32 = 256;
/// Outbound links.
const OUTBOUND_MAX: u32 = 128;
/// Connections to one peer, of which one is kept.
const PER_PEER_MAX: u32 = 4;
/// Streams open on one link, counting both ends'; each may hold 256 KiB that nobody has read.
const STREAMS_PER_LINK_MAX: usize = 256;
/// Streams of one link on whose protocol the ends have not agreed yet.
const NEGOTIATING_MAX: usize = 32;
/// Longer than any agent runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) streams: streams::Behaviour,
}

pub(super) fn build(
    pair: &Keypair,
    psk: [u8; 32],
    lan: bool,
    registry: Arc<streams::Registry>,
    gate: Arc<Gate>,
) -> Result<Swarm<Behaviour>, NetError> {
    let noise = noise::Config::new(pair).map_err(|_| NetError::Seed)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_PER_LINK_MAX);
    let psk = PreSharedKey::new(psk);
    let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(move |socket, _| PnetConfig::new(psk).handshake(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(quiet::Upgrade(yamux))
        .timeout(HANDSHAKE)
        .boxed();
    let id = pair.public().to_peer_id();
    let mdns = if lan {
        Some(mdns::tokio::Behaviour::new(mdns::Config::default(), id).map_err(NetError::Lan)?)
    } else {
        None
    };
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_established_incoming(Some(INBOUND_MAX))
        .with_max_established_outgoing(Some(OUTBOUND_MAX))
        .with_max_established_per_peer(Some(PER_PEER_MAX));
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        mdns: mdns.into(),
        streams: streams::Behaviour::new(registry, gate),
    };
    let config = Config::with_tokio_executor()
        .with_idle_connection_timeout(NEVER)
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
    Ok(Swarm::new(transport, behaviour, id, config))
}
