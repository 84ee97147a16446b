//! Decides which of two connections to one peer is kept. Pure; both ends come to the same answer.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::time::Instant;

use super::PeerKey;

/// Dials that overlap are established within this of each other: a dial takes 10 s at most.
///
/// A peer that dials later than this does not know of the older connection: it restarted, and we have
/// not noticed yet. Then the newer one is kept whoever dialled it.
const OVERLAP: Duration = Duration::from_secs(30);

/// The one connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether this end dialled.
    pub dialled_by_us: bool,
    /// The other end's address as seen from here.
    pub remote: SocketAddr,
    /// When it was established.
    pub since: Instant,
    /// Tells a link from the one that stood here before it; grows.
    pub serial: u64,
}

/// Who is connected, and how.
pub type Links = BTreeMap<PeerKey, Link>;

/// Whether `newer` takes the place of `older`.
///
/// Of two overlapping dials the one by the end with the smaller key is kept. When one end dialled
/// twice, the newer one is: that end has lost the older.
pub(super) fn replaces(newer: &Link, older: &Link, we_are_smaller: bool) -> bool {
    newer.dialled_by_us == older.dialled_by_us
        || newer.since.saturating_duration_since(older.since) > OVERLAP
        || newer.dialled_by_us == we_are_smaller
}

/// Whether this end closes `loser`, now that `kept` is kept.
///
/// Two connections dialled by the same end may be established in a different order at the other, so
/// only the end that was dialled closes one; otherwise each might close what the other keeps.
pub(super) fn closes(loser: &Link, kept: &Link) -> bool {
    loser.dialled_by_us != kept.dialled_by_us || !kept.dialled_by_us
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(dialled_by_us: bool, since: Instant) -> Link {
        Link { dialled_by_us, remote: SocketAddr::from(([127, 0, 0, 1], 1)), since, serial: 0 }
    }

    #[test]
    fn both_ends_keep_the_same_of_two_overlapping_dials_in_whatever_order_they_see_them() {
        let now = Instant::now();
        // The end with the smaller key sees its own dial first, the other end sees it second.
        let (ours, theirs) = (link(true, now), link(false, now));
        assert!(!replaces(&theirs, &ours, true), "the smaller end keeps its own");
        assert!(replaces(&ours, &theirs, true));
        assert!(replaces(&theirs, &ours, false), "the larger end keeps the other's");
        assert!(!replaces(&ours, &theirs, false));
        assert!(closes(&ours, &theirs) && closes(&theirs, &ours));
    }

    #[test]
    fn a_peer_that_restarted_gets_through_past_a_connection_we_still_believe_in() {
        let now = Instant::now();
        let stale = link(true, now);
        let fresh = link(false, now + OVERLAP + Duration::from_secs(1));
        assert!(replaces(&fresh, &stale, true));
        let again = link(false, now + Duration::from_secs(1));
        assert!(replaces(&again, &link(false, now), true));
        assert!(closes(&link(false, now), &again), "the dialled end closes the older");
        assert!(!closes(&link(true, now), &link(true, now)), "the dialling end waits for that");
    }
}
