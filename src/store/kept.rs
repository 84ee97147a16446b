//! Results that this host keeps for their issuers.
//!
//! A keeper has no need to verify what it keeps; the issuer does. But a liar could be quicker than the host
//! whose result it is, so when two differ, what the host's executor did not sign gives way.

use std::{collections::BTreeMap, time::Duration};

use super::backend::Row;
use crate::{
    identity::{EntryId, HostId, Signed},
    replica::{Replica, Report, ResultRecord},
    time::Timestamp,
    wire,
};

/// Different reports on one order that one host's executor signed: which one is true is for the issuer to say.
const REPORTS_A_HOST_MAX: usize = 4;
/// Bytes of reports in all; over that no more are taken, and nobody is told that they were.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long reports of an order are kept that is not known: its row may have been damaged, and comes again.
/// No order lives longer.
const UNKNOWN_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

#[derive(Debug)]
struct One {
    report: Report,
    /// Whether it was verified.
    genuine: bool,
}

/// Reports by order and host.
#[derive(Debug, Default)]
pub(super) struct Kept {
    orders: BTreeMap<EntryId, BTreeMap<HostId, Vec<One>>>,
    bytes: usize,
    /// Since when the orders of some are not known.
    unknown: BTreeMap<EntryId, Timestamp>,
}

fn key(report: &Report) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(&report.order.0);
    key.extend_from_slice(&report.host.0);
    key.extend(blake3::hash(&wire::encode(report)).as_bytes().iter().take(8));
    key
}

fn weight(report: &Report) -> usize {
    let output = [&report.stdout, &report.stderr].into_iter().flatten().map(|out| out.0.len());
    256 + report.record.0.len() + output.sum::<usize>()
}

/// Whether the host's executor signed it, for this order, with this output.
fn genuine(report: &Report, replica: &Replica) -> bool {
    let authority = replica.authority();
    let Some(host) = authority.host(&report.host) else { return false };
    let Ok(record) = Signed::<ResultRecord>::verify(&report.record.0, authority.fleet()) else {
        return false;
    };
    let body = record.body();
    let outputs = [(&report.stdout, body.stdout), (&report.stderr, body.stderr)];
    record.signer() == host.enrolled().enrolment().keys.executor
        && body.order == report.order
        && body.host == report.host
        && outputs.into_iter().all(|(bytes, output)| {
            bytes.as_ref().is_none_or(|bytes| *blake3::hash(&bytes.0).as_bytes() == output.hash)
        })
}

impl Kept {
    /// Takes one that was on disk.
    pub(super) fn load(&mut self, report: Report) {
        self.bytes += weight(&report);
        let held = self.orders.entry(report.order).or_default().entry(report.host).or_default();
        held.push(One { report, genuine: false });
    }

    /// Keeps one; says whether it is new, and adds the rows that change.
    pub(super) fn keep(
        &mut self,
        report: &Report,
        replica: &Replica,
        rows: &mut Vec<Row>,
    ) -> Result<bool, &'static str> {
        if self.bytes + weight(report) > BYTES_MAX {
            return if self.holds(report) { Ok(false) } else { Err("reports_full") };
        }
        let held = self.orders.entry(report.order).or_default().entry(report.host).or_default();
        if held.iter().any(|one| one.report == *report) {
            return Ok(false);
        }
        let conflict = !held.is_empty();
        if conflict {
            if !genuine(report, replica) {
                return Err("report_forged");
            }
            held.retain_mut(|one| {
                one.genuine = one.genuine || genuine(&one.report, replica);
                if !one.genuine {
                    self.bytes -= weight(&one.report);
                    rows.push((key(&one.report), None));
                }
                one.genuine
            });
            if held.len() >= REPORTS_A_HOST_MAX {
                return Err("reports_of_one_host");
            }
        }
        self.bytes += weight(report);
        rows.push((key(report), Some(wire::encode(report))));
        held.push(One { report: report.clone(), genuine: conflict });
        Ok(true)
    }

    /// Whether this very report is held.
    pub(super) fn holds(&self, report: &Report) -> bool {
        let held = self.orders.get(&report.order).and_then(|hosts| hosts.get(&report.host));
        held.is_some_and(|held| held.iter().any(|one| one.report == *report))
    }

    /// Those on one order.
    pub(super) fn of(&self, order: &EntryId) -> Vec<Report> {
        let hosts = self.orders.get(order).into_iter().flat_map(BTreeMap::values);
        hosts.flatten().map(|one| one.report.clone()).collect()
    }

    /// Which hosts' on which orders.
    pub(super) fn keys(&self) -> Vec<(EntryId, HostId)> {
        let of = |(order, hosts): (&EntryId, &BTreeMap<HostId, Vec<One>>)| {
            let order = *order;
            hosts.keys().map(move |host| (order, *host)).collect::<Vec<_>>()
        };
        self.orders.iter().flat_map(of).collect()
    }

    /// Forgets those on orders that are past; the rows to remove.
    pub(super) fn sweep(&mut self, past: &[EntryId], replica: &Replica, now: Timestamp) -> Vec<Row> {
        let mut rows = Vec::new();
        let Self { orders, bytes, unknown } = self;
        unknown.retain(|order, _| replica.order(order).is_none() && orders.contains_key(order));
        orders.retain(|order, hosts| {
            if replica.order(order).is_some() {
                return true;
            }
            let since = unknown.entry(*order).or_insert(now);
            if !past.contains(order) && now.since(*since) < UNKNOWN_MAX {
                return true;
            }
            for one in hosts.values().flatten() {
                *bytes -= weight(&one.report);
                rows.push((key(&one.report), None));
            }
            false
        });
        rows
    }
}
