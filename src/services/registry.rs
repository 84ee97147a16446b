//! The capabilities of an agent, a line each: what a host serves to others on streams of its own. (Their
//! verbs for people stand in the command line's argument tree.)
//!
//! To add one: its folder, and its line here. `replication` is not among them: it is what they stand on.

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    hosts, membership, past,
    run::{Runs, Shipping, Ways},
};
use crate::{
    control::Cards,
    identity::HostId,
    net::{Net, NetError},
    store::Store,
    time::Timestamp,
};

/// What a service is made of.
#[derive(Clone)]
pub struct Parts {
    /// This host.
    pub me: HostId,
    /// The network.
    pub net: Net,
    /// The store.
    pub store: Store,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// The cards that were shown.
    pub cards: Cards,
    /// The orders of this host.
    pub runs: Runs,
    /// What is shipped with orders.
    pub shipping: Shipping,
    /// Which neighbour leads to a host.
    pub ways: Ways,
    /// When to end.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Starts all of them; each is a task, which ends when it is told to.
pub fn start(parts: &Parts, tasks: &mut JoinSet<()>) {
    let Parts { me, net, store, clock, cards, runs, shipping, ways, stop } = parts.clone();
    let (a, b, c) = (stop.clone(), stop.clone(), stop.clone());
    service(tasks, "output", runs.clone().serve_output(Arc::clone(&ways), a));
    service(tasks, "live output", runs.serve_live(ways, stop.clone()));
    service(tasks, "shipping", shipping.serve(stop.clone()));
    service(tasks, "past", past::serve(net.clone(), store.clone(), stop.clone()));
    service(tasks, "join", membership::serve(me, net.clone(), store.clone(), clock, b));
    service(tasks, "card", cards.serve(c));
    service(tasks, "ping", hosts::serve::serve(me, net, store, clock, stop));
}

fn service(
    tasks: &mut JoinSet<()>,
    name: &'static str,
    serving: impl Future<Output = Result<(), NetError>> + Send + 'static,
) {
    tasks.spawn(async move {
        if let Err(error) = serving.await {
            warn!(service = name, %error, "not served");
        }
    });
}
