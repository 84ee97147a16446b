//! What a simulated host says of itself: its agent, and packages as an image of a distribution has them.

use crate::{
    replica::{FACET_NODE, FacetHash, FacetRef, NodeFacet, Packed, Replica, Table, Tables, choose_base},
    wire,
};

use super::{dice::Dice, fleet::START};

/// A host's packages: those of its image, some in other versions.
#[derive(Clone, Debug)]
pub struct Packages {
    image: u64,
    versions: Vec<u64>,
}

impl Packages {
    /// The packages of an image.
    pub fn of_image(image: u64, count: usize) -> Self {
        Self { image, versions: vec![0; count] }
    }

    /// Changes the version of one package.
    pub fn upgrade(&mut self, dice: &mut Dice) {
        let at = dice.below(self.versions.len());
        if let Some(version) = self.versions.get_mut(at) {
            *version += 1;
        }
    }

    /// The canonical bytes of the list.
    pub fn canonical(&self) -> Vec<u8> {
        let mut names = Dice::new(self.image ^ 0x9ac4);
        let rows = self
            .versions
            .iter()
            .map(|version| {
                // As long and as various as real ones: an image repeats itself, two images do not.
                let (name, number) = (names.roll(), names.roll());
                let version = format!("{}.{}.{version}-{}", number % 20, number / 20 % 50, number / 1000 % 9);
                vec![format!("lib{:x}", name % 0x00ff_ffff_ffff), version, "amd64".to_owned()]
            })
            .collect();
        let columns = ["name", "version", "arch"].map(str::to_owned).to_vec();
        Tables { tables: vec![Table { name: "deb_packages".to_owned(), columns, rows }] }.canonical()
    }
}

/// The tables of a host besides its packages, as it looks at them: name, columns, and how many rows.
const TABLES: [(&str, &[&str], usize); 3] = [
    ("network", &["interface", "address", "mask"], 4),
    ("storage", &["device", "path", "type", "flags", "size"], 6),
    ("system", &["hostname", "hardware_model", "cpu_model", "memory_total", "kernel"], 1),
];

/// The facets of one head, as they are named in it and as they travel.
#[derive(Clone, Debug, Default)]
pub struct Published {
    refs: Vec<FacetRef>,
    packed: Vec<Packed>,
}

impl Published {
    /// What the agent says of itself, in its `count`th version.
    pub fn node(host: usize, count: u64, reachable: bool) -> Self {
        let address = format!("10.{}.{}.{}:7946", host >> 16 & 255, host >> 8 & 255, host & 255);
        let node = NodeFacet {
            agent: format!("0.{count}"),
            addresses: if reachable { vec![address] } else { Vec::new() },
            ..NodeFacet::default()
        };
        let mut published = Self::default();
        let canonical = wire::encode(&node);
        published.add(FACET_NODE, &canonical, Packed::alone(&canonical));
        published
    }

    /// What a host says of itself that never changes here, besides [`Self::node`]: so that a head is as long
    /// as one that an agent seals.
    #[must_use]
    pub fn with_machine(mut self, host: usize) -> Self {
        for (name, columns, rows) in TABLES {
            let row = |row: usize| columns.iter().map(|column| format!("{column}-{host}-{row}")).collect();
            let table = Table {
                name: name.to_owned(),
                columns: columns.iter().map(|column| (*column).to_owned()).collect(),
                rows: (0..rows).map(row).collect(),
            };
            let canonical = Tables { tables: vec![table] }.canonical();
            self.add(name, &canonical, Packed::alone(&canonical));
        }
        self
    }

    /// Adds a facet, as a difference to what `replica` holds where that is smaller.
    #[must_use]
    pub fn with(mut self, name: &str, canonical: &[u8], replica: &Replica) -> Self {
        let packed = match replica.packed(&FacetHash::of(canonical).half()) {
            Some(held) => held.clone(),
            None => choose_base(canonical, &replica.near(canonical)),
        };
        self.add(name, canonical, packed);
        self
    }

    /// Adds a facet as if these were its bytes, whatever the packed ones are.
    pub(super) fn add(&mut self, name: &str, canonical: &[u8], packed: Packed) {
        self.refs.push(FacetRef {
            name: name.to_owned(),
            hash: FacetHash::of(canonical),
            bytes: u32::try_from(canonical.len()).unwrap_or(u32::MAX),
            at: Some(START),
        });
        self.packed.push(packed);
        self.refs.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// As a head names them.
    pub fn refs(&self) -> &[FacetRef] {
        &self.refs
    }

    /// As they travel.
    pub fn packed(&self) -> &[Packed] {
        &self.packed
    }
}
