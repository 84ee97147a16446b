//! Results that this host keeps for their issuers.
//!
//! A keeper has no need to verify what it keeps; the issuer does. But a liar could be quicker than the host
//! whose result it is, so when two differ, what the host's executor did not sign gives way.

use std::{collections::BTreeMap, time::Duration};

use super::backend::Row;
use crate::{
    identity::{EntryId, HostId, Signed},
    replica::{Output, Replica, Report, ResultRecord},
    time::Timestamp,
    wire::{self, Bytes},
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
    key.extend(blake3::hash(&report.record.0).as_bytes().iter().take(8));
    key
}

fn weight(report: &Report) -> usize {
    let output = [&report.stdout, &report.stderr].into_iter().flatten().map(|out| out.0.len());
    256 + report.record.0.len() + output.sum::<usize>()
}

/// Whether the host's executor signed its record, for this order.
fn verifies(report: &Report, replica: &Replica) -> bool {
    let authority = replica.authority();
    let Some(host) = authority.host(&report.host) else { return false };
    Signed::<ResultRecord>::verify(&report.record.0, authority.fleet()).is_ok_and(|record| {
        record.signer() == host.enrolled().enrolment().keys.executor
            && record.body().order == report.order
            && record.body().host == report.host
    })
}

/// Whether the output that its record names came along, whole. Checks no signature.
fn has_its_output(report: &Report) -> bool {
    let is = |bytes: &Option<Bytes>, output: &Output| {
        bytes.as_ref().is_some_and(|bytes| {
            bytes.0.len() as u64 == output.kept && *blake3::hash(&bytes.0).as_bytes() == output.hash
        })
    };
    Signed::<ResultRecord>::own(&report.record.0)
        .is_ok_and(|record| is(&report.stdout, &record.stdout) && is(&report.stderr, &record.stderr))
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
        let full = self.bytes + weight(report) > BYTES_MAX;
        let held = self.orders.entry(report.order).or_default().entry(report.host).or_default();
        let mut genuine = false;
        match held.iter().position(|one| one.report.record == report.record) {
            // Output is outside of the signature and proves itself by its hash.
            Some(at) if held.get(at).is_some_and(|one| has_its_output(&one.report)) => return Ok(false),
            Some(_) if !has_its_output(report) => return Ok(false),
            // Its row has the same key.
            Some(at) => {
                let one = held.swap_remove(at);
                genuine = one.genuine;
                self.bytes -= weight(&one.report);
            }
            None if full => return Err("reports_full"),
            None if held.is_empty() => {}
            None => {
                genuine = verifies(report, replica);
                if !genuine {
                    return Err("report_forged");
                }
                held.retain_mut(|one| {
                    one.genuine = one.genuine || verifies(&one.report, replica);
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
        }
        self.bytes += weight(report);
        rows.push((key(report), Some(wire::encode(report))));
        held.push(One { report: report.clone(), genuine });
        Ok(true)
    }

    /// The rows of all of them.
    pub(super) fn rows(&self) -> Vec<Row> {
        let held = self.orders.values().flat_map(BTreeMap::values).flatten();
        held.map(|one| (key(&one.report), Some(wire::encode(&one.report)))).collect()
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
            let held = hosts.iter().filter(|(_, held)| !held.is_empty());
            held.map(move |(host, _)| (order, *host)).collect::<Vec<_>>()
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
