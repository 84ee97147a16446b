//! What the lists of a fleet take, by our packing and by simpler ones.

use muster::replica::Packed;

use crate::figures::Table;

/// Facets of many hosts, as they travel and are kept.
#[derive(Default)]
pub(crate) struct Weights {
    ours: Vec<usize>,
    raw: usize,
    alone: usize,
    bases: usize,
}

impl Weights {
    pub(crate) fn add(&mut self, canonical: &[u8], packed: usize, is_base: bool) {
        self.ours.push(packed);
        self.raw += canonical.len();
        self.alone += Packed::alone(canonical).weight();
        self.bases += usize::from(is_base);
    }

    /// A row about `hosts` hosts, which all that is here is for.
    pub(crate) fn row(&self, what: &str, hosts: usize, goal: &str, peers: &str, table: &mut Table) {
        let mean = |bytes: usize| bytes as f64 / hosts as f64;
        let mut sorted = self.ours.clone();
        sorted.sort_unstable();
        let seen = format!(
            "{:.1} B a host (one: median {}, 99 % {}, most {}; {} bases, included)",
            mean(sorted.iter().sum()),
            sorted[sorted.len() / 2],
            sorted[sorted.len() * 99 / 100],
            sorted[sorted.len() - 1],
            self.bases
        );
        let others = format!("raw {:.0} B, zstd -19 each {:.0} B{peers}", mean(self.raw), mean(self.alone));
        table.row(what, &seen, goal, &others);
    }
}
