//! Whether the hosts of an order could accept it, and who keeps its results.

use crate::{
    authority::{Admitted, Authority, Host, Refusal},
    identity::{HostId, Signed},
    replica::{KEEPERS_MAX, Order, Replica},
    terminal::{escape, nodeset},
    time::Timestamp,
};

/// What hosts would answer. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not permitted: {}{why}", if hosts.is_empty() { String::new() } else { format!("{}: ", escape::line(hosts)) })]
pub struct Foreseen {
    /// Which hosts, folded; empty where it does not depend on the host.
    pub hosts: String,
    /// What the first of them would say.
    pub refusal: Refusal,
    /// The same in words, with what would be allowed.
    pub why: String,
}

/// What every host of a roster would answer to an order.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The order.
    pub order: Admitted<Order>,
    /// Those that would refuse, in order of ids, and why.
    pub refusals: Vec<(HostId, Refusal)>,
}

impl Forecast {
    /// The order, if nobody would refuse it.
    ///
    /// # Errors
    /// [`Foreseen`] with every host that would give the same refusal as the first.
    pub fn accepted(self, authority: &Authority) -> Result<Admitted<Order>, Foreseen> {
        let Some((_, first)) = self.refusals.first() else { return Ok(self.order) };
        let same = self.refusals.iter().filter(|(_, refusal)| refusal == first);
        let name =
            |host: &HostId| authority.host(host).map_or_else(|| host.short(), |host| host.name().to_owned());
        let hosts = nodeset::fold(same.map(|(host, _)| name(host)));
        let why = authority.in_full(first, &self.order.body().certificate);
        Err(Foreseen { hosts, refusal: first.clone(), why })
    }
}

/// Applies to an order what each of `hosts`, those of its roster, will apply to it.
///
/// # Errors
/// [`Foreseen`] where it does not depend on the host: nobody would take it.
pub fn foresee(
    authority: &Authority,
    order: Signed<Order>,
    hosts: &[HostId],
    now: Timestamp,
) -> Result<Forecast, Foreseen> {
    let certificate = order.body().certificate;
    let everywhere = |refusal: Refusal| {
        let why = authority.in_full(&refusal, &certificate);
        Foreseen { hosts: String::new(), refusal, why }
    };
    let order = authority.admit(order).map_err(everywhere)?;
    let answer = |id: &HostId| {
        let judged = match authority.host(id) {
            Some(host) => authority.judge_meant(&order, host, now),
            None => Err(Refusal::NotAMember("not known")),
        };
        judged.err().map(|refusal| (*id, refusal))
    };
    let refusals = hosts.iter().filter_map(answer).collect();
    Ok(Forecast { order, refusals })
}

/// Who keeps an order's results: the entry host, then members that listen, by lowest hash of nonce and
/// id, so that different orders burden different hosts and no entry host can choose the others.
pub fn keepers(replica: &Replica, entry: HostId, nonce: &[u8; 16]) -> Vec<HostId> {
    let mut others: Vec<([u8; 32], HostId)> = replica
        .authority()
        .members()
        .map(Host::id)
        .filter(|id| *id != entry)
        .filter(|id| replica.node_facet(id).is_some_and(|node| !node.listen().is_empty()))
        .map(|id| {
            let mut hasher = blake3::Hasher::new_derive_key("muster/keeper/v1");
            hasher.update(nonce).update(&id.0);
            (*hasher.finalize().as_bytes(), id)
        })
        .collect();
    others.sort_unstable();
    [entry].into_iter().chain(others.into_iter().map(|(_, id)| id)).take(KEEPERS_MAX).collect()
}
