//! Orders of the demo, given by the same calls as `muster run`, and what really came of them.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    super::{
        chance,
        failure::{ExitCode, Explain as _, Failure, Site},
    },
    fleet::Agent,
};
use crate::{
    control::{self, Client, Reply, Request},
    identity::{EntryId, HostId, Signed},
    journal::OperatorHome,
    node::clock,
    replica::{Order, Replica},
    services::run::{self, RunError, RunRequest, Streams, Target, Verified, View, World},
    terminal::{Format, Style},
};

/// An order that was given.
pub(super) struct Given {
    /// The exit code of `muster run`.
    pub(super) code: u8,
    /// From the start of the command to its end.
    pub(super) took: Duration,
    /// What it wrote to standard output, line by line.
    pub(super) lines: Vec<String>,
    /// The order.
    pub(super) job: EntryId,
}

/// Who gives orders, and through which agent.
pub(super) struct Issuer<'a> {
    /// The operator.
    pub(super) home: &'a OperatorHome,
    /// What is asked.
    pub(super) site: &'a Site,
    /// How output looks.
    pub(super) style: Style,
}

impl Issuer<'_> {
    /// Gives an order, and waits for it as `muster run` does.
    pub(super) async fn give(
        &self,
        target: Target,
        argv: &[&str],
        wait: Duration,
    ) -> Result<Given, (u8, Failure)> {
        let argv = argv.iter().map(|word| word.as_bytes().to_vec()).collect();
        let request = RunRequest { wait, yes: true, view: View::Group, ..RunRequest::new(target, argv) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams::new(&mut out, &mut err, Format::Table);
        streams.out_style = self.style;
        let internal = |failure: Failure| (ExitCode::Internal.number(), failure);
        let nonce = chance::draw().map_err(internal)?;
        let mut nobody = || -> run::Interrupts { Box::pin(futures::stream::pending()) };
        let mut world = World { clock: &clock::now, nonce, ask: &mut |_, _| Ok(false), listen: &mut nobody };
        let start = Instant::now();
        let code = run::run(&request, self.home, &self.site.places.socket, &mut streams, &mut world)
            .await
            .map_err(|error| (error.code(), self.explained(error)))?;
        let took = start.elapsed();
        let lines = String::from_utf8_lossy(&out).lines().map(str::to_owned).collect();
        let job = self.newest(&nonce).map_err(internal)?;
        Ok(Given { code, took, lines, job })
    }

    fn explained(&self, error: RunError) -> Failure {
        error.explain(self.site)
    }

    /// The order with this nonce.
    fn newest(&self, nonce: &[u8; 16]) -> Result<EntryId, Failure> {
        let orders = self.home.orders().map_err(|error| error.explain(self.site))?;
        let fleet = self.home.chain.fleet();
        let mut signed = orders.iter().filter_map(|bytes| Signed::<Order>::verify(&bytes.0, fleet).ok());
        signed
            .find(|order| order.body().nonce == *nonce)
            .map(|order| order.id())
            .ok_or_else(|| Failure::new(ExitCode::Internal, "the order is not among those that were signed"))
    }

    /// The fleet, verified.
    pub(super) async fn fleet(&self) -> Result<Replica, Failure> {
        let explain = |error: control::ControlError| error.explain(self.site);
        let mut client = Client::connect(&self.site.places.socket).await.map_err(explain)?;
        let (replica, _) =
            control::fleet(&mut client, self.home.chain.clone(), false).await.map_err(explain)?;
        Ok(replica)
    }

    /// The verified results of an order that the agent has or gets, until there is one of each of `hosts`.
    pub(super) async fn results(
        &self,
        job: EntryId,
        hosts: &[HostId],
        within: Duration,
    ) -> Result<BTreeMap<HostId, Verified>, Failure> {
        let replica = self.fleet().await?;
        let explain = |error: control::ControlError| error.explain(self.site);
        let mut client = Client::connect(&self.site.places.socket).await.map_err(explain)?;
        client.send(&Request::Watch { order: job, follow: true }).await.map_err(explain)?;
        let until = Instant::now() + within;
        let mut results = BTreeMap::new();
        while !hosts.iter().all(|host| results.contains_key(host)) {
            let reply = timeout_at(until, client.reply()).await.map_err(|_| {
                let missing = hosts.iter().filter(|host| !results.contains_key(*host)).count();
                let text = format!(
                    "{missing} of {} results of job {} did not arrive within {} s",
                    hosts.len(),
                    job.short(),
                    within.as_secs()
                );
                Failure::new(ExitCode::Internal, text)
            })?;
            if let Reply::Report { report } = reply.map_err(explain)?
                && let Ok(verified) = run::verify(&report, job, replica.authority())
            {
                results.insert(report.host, verified);
            }
        }
        Ok(results)
    }
}

/// What a host's own counters say of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Counts {
    /// Order signatures that its mesh process verified.
    pub(super) mesh: u64,
    /// Order signatures that its executor verified.
    pub(super) executor: u64,
    /// Commands that its executor started.
    pub(super) spawns: u64,
    /// Orders that its executor was given again and did not run again.
    pub(super) repeated: u64,
}

impl Counts {
    /// Reads them from the counters of a status.
    pub(super) fn of(counters: &[(String, u64)]) -> Self {
        let count = |name: &str| counters.iter().find(|(key, _)| key == name).map_or(0, |(_, count)| *count);
        Self {
            mesh: count("order_verifications_mesh"),
            executor: count("order_verifications_executor"),
            spawns: count("spawns"),
            repeated: count("orders_repeated"),
        }
    }
}

/// Waits until `so` is true of a host's counts; `what` says what that means.
pub(super) async fn counts_until(
    agent: &mut Agent,
    what: &str,
    within: Duration,
    so: impl Fn(Counts) -> bool,
) -> Result<Counts, Failure> {
    let status = agent.until(what, within, |status| so(Counts::of(&status.counters))).await?;
    Ok(Counts::of(&status.counters))
}
