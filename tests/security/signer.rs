//! Every key of a fleet in a test's hands, and makers of what they can sign.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster::{
    authority::Authority,
    authority::{ANY, Certificate, RootChange, RootUpdate, Verb},
    control::{Client, Reply, Request},
    identity::{Cosigned, EntryId, FleetId, HostId, Operator, Root, SecretKey, Signed},
    journal::{HostHome, OperatorHome, keyfile},
    replica::{Action, Item, Limits, Order, Report, Roster},
    replica::{Entry, Replica},
    services::run::{Verified, verify},
    time::Timestamp,
    wire::Bytes,
};

use crate::fleet::{DEADLINE, Fleet};

/// This machine's time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("a clock before the end"))
}

/// 32 bytes that nobody else has.
pub(crate) fn fresh() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("randomness");
    bytes
}

/// A host's id.
pub(crate) fn host_id(fleet: &Fleet, name: &str) -> HostId {
    HostHome::open(&fleet.state(name)).expect("a host's directory").host().expect("its id")
}

/// The first operator's key and the root key of the fleet `acme`.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) fleet: FleetId,
    pub(crate) key: SecretKey<Operator>,
    pub(crate) certificate: EntryId,
    pub(crate) root: SecretKey<Root>,
    /// Host `a`, which keeps the results.
    pub(crate) keeper: HostId,
}

impl Signer {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let home = OperatorHome::open(&fleet.operators().join("acme")).expect("the operator's directory");
        let root = keyfile::read(&fleet.dir().join("acme-recovery.txt")).expect("the recovery file");
        Self {
            fleet: home.chain.fleet(),
            key: home.key.clone(),
            certificate: home.certificate,
            root,
            keeper: host_id(fleet, "a"),
        }
    }

    /// An order on `hosts` that any host takes; `a` keeps the results.
    pub(crate) fn order<S: AsRef<str>>(&self, hosts: &[HostId], argv: &[S]) -> Order {
        let mut hosts = hosts.to_vec();
        hosts.sort_unstable();
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&fresh()[..16]);
        let argv = argv.iter().map(|word| Bytes::from(word.as_ref().as_bytes())).collect();
        Order {
            nonce,
            certificate: self.certificate,
            issued: now(),
            expires: now().after(Duration::from_secs(3600)),
            selector: "all".to_owned(),
            keepers: vec![self.keeper],
            roster: Roster::Inline { hosts },
            action: Action::Argv { argv },
            run_as: "@agent".to_owned(),
            limits: Limits { timeout_ms: 60_000, output_bytes_max: 1 << 20 },
            reason: None,
        }
    }

    pub(crate) fn sign(&self, order: Order) -> Signed<Order> {
        Signed::sign(self.fleet, &self.key, order)
    }

    /// A second operator, with a certificate that `narrow` narrows; the root update that says so.
    pub(crate) async fn certify(
        &self,
        fleet: &Fleet,
        at: &str,
        narrow: impl FnOnce(&mut Certificate),
    ) -> (Self, Bytes) {
        let replica = replica(fleet, at).await;
        let key = SecretKey::<Operator>::from_seed(&fresh());
        let mut certificate = Certificate {
            person: "bo".to_owned(),
            key: key.public().into(),
            verbs: vec![Verb::Run, Verb::Read],
            scope: "all".to_owned(),
            tags: Vec::new(),
            run_as: vec![ANY.to_owned()],
            hosts_max: None,
            not_before: now().before(Duration::from_secs(6 * 3600)),
            not_after: now().after(Duration::from_secs(86_400)),
            approvals: 0,
        };
        narrow(&mut certificate);
        let next: RootUpdate = replica.authority().chain().next(RootChange::Certify(certificate));
        let update = Cosigned::sign(self.fleet, &[&self.root], next);
        let second = Self { key, certificate: update.id(), ..self.clone() };
        (second, Bytes::from(update.bytes()))
    }
}

/// Hands entries to an agent as a command line does; its refusal is the error.
pub(crate) async fn submit(fleet: &Fleet, at: &str, entries: &[&[u8]]) -> Result<(), String> {
    let mut client = Client::connect(&fleet.socket(at)).await.map_err(|error| error.to_string())?;
    let items = entries.iter().map(|entry| Item::bare(entry)).collect();
    match client.ask(&Request::Submit { items }, DEADLINE).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What an agent holds of its fleet.
pub(crate) async fn replica(fleet: &Fleet, at: &str) -> Replica {
    let mut client = Client::connect(&fleet.socket(at)).await.expect("an agent that answers");
    let home = HostHome::open(&fleet.state(at)).expect("a host's directory");
    let mut replica = Replica::looking_on(Authority::new(home.member.chain().expect("a chain")));
    for question in [Request::Fleet { heads: true }, Request::Orders {}] {
        client.send(&question).await.expect("a question");
        let mut more = true;
        while more {
            let reply = client.reply_within(DEADLINE).await.expect("an answer");
            let Reply::Items { items, more: another } = reply else { panic!("not what was asked") };
            more = another;
            for item in items {
                if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet()) {
                    let _older = replica.merge(entry, &item.facets);
                }
            }
        }
    }
    replica
}

/// The reports on an order that an agent keeps.
pub(crate) async fn reports(fleet: &Fleet, at: &str, order: EntryId) -> Result<Vec<Report>, String> {
    let mut client = Client::connect(&fleet.socket(at)).await.map_err(|error| error.to_string())?;
    client.send(&Request::Watch { order, follow: false }).await.map_err(|error| error.to_string())?;
    let mut reports = Vec::new();
    loop {
        match client.reply_within(DEADLINE).await.map_err(|error| error.to_string())? {
            Reply::Report { report } => reports.push(report),
            Reply::End {} => return Ok(reports),
            other => return Err(format!("unexpected {other:?}")),
        }
    }
}

/// Waits until an agent keeps a result of `host` on an order that verifies.
pub(crate) async fn result(fleet: &Fleet, at: &str, order: EntryId, host: HostId) -> Verified {
    let authority = replica(fleet, at).await.authority().clone();
    let start = std::time::Instant::now();
    loop {
        let found = reports(fleet, at, order).await.unwrap_or_default().into_iter().find_map(|report| {
            verify(&report, order, &authority).ok().filter(|verified| verified.record().host == host)
        });
        match found {
            Some(found) => return found,
            None if start.elapsed() > DEADLINE => panic!("no result of {host} on {order}: {}", fleet.log(at)),
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
