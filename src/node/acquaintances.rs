//! What this host keeps beside its store, so that it finds the fleet again where the store is lost: who belongs
//! and who may do what, and how a few others can be reached. Without it the founder, whom nobody told anything
//! when it joined, would take everybody for a stranger.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::{
    identity::HostId,
    journal::MeshHome,
    replica::{Item, Replica},
    services::replication::Replication,
    store::Store,
};

/// How often it is seen whether something changed.
const EVERY: Duration = Duration::from_secs(2);
/// Looks between two writes at least: while a fleet grows, each host that joins is a change.
const REST: u32 = 5;
/// Looks after which it is written all the same: addresses change.
const ANYWAY_AFTER: u32 = 1800;
/// Hosts whose heads are kept.
const HOSTS_MAX: usize = 8;
/// Bytes that are kept; a fleet whose certificates take more keeps none of it here.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is kept: heads come with all their facets, since a replica takes no others.
fn items(replica: &Replica, known: &[HostId]) -> Vec<Item> {
    let heads = known.iter().filter_map(|host| replica.whole_head(host));
    replica.fleet_items(false).into_iter().chain(heads).collect()
}

/// Keeps it as long as the agent runs.
pub(super) async fn keep(home: MeshHome, store: Store, replication: Replication) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    let (mut written, mut age) = (None, REST);
    loop {
        tick.tick().await;
        let mut known: Vec<HostId> = replication.links().await.into_iter().map(|link| link.host).collect();
        known.truncate(HOSTS_MAX);
        known.sort_unstable();
        let state = (store.read(Replica::authority_version), known.len());
        age += 1;
        // Alone, this host has nothing to say that it did not say before.
        if known.is_empty() || age < REST || (written == Some(state) && age < ANYWAY_AFTER) {
            continue;
        }
        let items = store.read(|replica| items(replica, &known));
        if items.iter().map(Item::weight).sum::<usize>() > BYTES_MAX {
            continue;
        }
        let home = home.clone();
        match tokio::task::spawn_blocking(move || home.remember(&items)).await {
            Ok(Ok(())) => (written, age) = (Some(state), 0),
            Ok(Err(error)) => warn!(%error, "who belongs to the fleet is not kept beside the store"),
            Err(_) => return,
        }
    }
}
