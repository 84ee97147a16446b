//! Reports that were handed on and of which no receipt came by yet, until the way that they took is gone: then
//! they take another. Bounded, oldest first; what is forgotten is offered again by the host it is of.

use std::collections::{BTreeMap, HashMap};

use super::combine::weight;
use crate::{
    identity::{EntryId, HostId},
    replica::{Kept, Report},
};

/// Reports that are held.
pub(super) const HELD_MAX: usize = 4096;
/// And their bytes.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
struct Row {
    to: HostId,
    report: Report,
    number: u64,
}

/// What was handed on, and to whom.
#[derive(Debug, Default)]
pub(super) struct Held {
    rows: HashMap<(EntryId, HostId), Row>,
    /// In the order in which they came.
    order: BTreeMap<u64, (EntryId, HostId)>,
    number: u64,
    bytes: usize,
}

impl Held {
    /// Holds what was handed to `to`, in the place of what was held of that host.
    pub(super) fn add(&mut self, to: HostId, report: Report) {
        let key = (report.order, report.host);
        self.remove(&key);
        self.number += 1;
        self.bytes += weight(&report);
        self.order.insert(self.number, key);
        self.rows.insert(key, Row { to, report, number: self.number });
        while self.rows.len() > HELD_MAX || self.bytes > HELD_BYTES_MAX {
            let Some((_, oldest)) = self.order.first_key_value() else { return };
            let oldest = *oldest;
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &(EntryId, HostId)) -> Option<Row> {
        let row = self.rows.remove(key)?;
        self.bytes -= weight(&row.report);
        self.order.remove(&row.number);
        Some(row)
    }

    /// A keeper has it.
    pub(super) fn settled(&mut self, kept: &Kept) {
        let key = (kept.order, kept.host);
        if self.rows.get(&key).is_some_and(|row| row.report.record_hash() == kept.record) {
            self.remove(&key);
        }
    }

    /// Takes out what was handed to a neighbour that is gone, in the order in which it came.
    pub(super) fn gone(&mut self, to: &HostId) -> Vec<Report> {
        let gone = |key: &&(EntryId, HostId)| self.rows.get(key).is_some_and(|row| row.to == *to);
        let gone: Vec<_> = self.order.values().filter(gone).copied().collect();
        gone.iter().filter_map(|key| self.remove(key)).map(|row| row.report).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Bytes;

    fn report(number: u64, bytes: usize) -> Report {
        let mut host = [0; 32];
        host[..8].copy_from_slice(&number.to_le_bytes());
        let (order, host) = (EntryId([1; 32]), HostId(host));
        Report { order, host, record: Bytes(vec![7; bytes]), stdout: None, stderr: None }
    }

    #[test]
    fn what_is_not_settled_comes_out_when_its_way_is_gone_and_once() {
        let (near, far) = (HostId([8; 32]), HostId([9; 32]));
        let mut held = Held::default();
        (0..6).for_each(|number| held.add(if number % 2 == 0 { near } else { far }, report(number, 9)));
        held.settled(&report(2, 9).kept());
        held.settled(&report(4, 8).kept());
        assert_eq!(held.gone(&near), [report(0, 9), report(4, 9)], "a receipt is for the very record");
        assert_eq!((held.gone(&near).len(), held.gone(&far).len(), held.bytes), (0, 3, 0));
    }

    #[test]
    fn no_more_is_held_than_so_many_and_so_much() {
        let mut held = Held::default();
        for number in 0..2 * HELD_MAX as u64 {
            held.add(HostId([8; 32]), report(number, 9));
        }
        assert_eq!((held.len(), held.order.len()), (HELD_MAX, HELD_MAX));
        for number in 0..2 * HELD_MAX as u64 {
            held.add(HostId([8; 32]), report(number, 4096));
            assert!(held.bytes <= HELD_BYTES_MAX);
        }
    }
}
