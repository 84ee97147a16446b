//! Hosts that could be: images that are closed under dependencies, drawn from what apt knows here, and drift.
//!
//! The model is that of `REPLICATION.md`, section 3.1: each host has one of a few images of 465 to 2,226
//! packages, and of these each is touched with a probability: 70 % another version, 15 % one more, 15 % gone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Command,
};

/// Packages of the images, whose mean is about 1,000 as it was measured on.
const SIZES: [usize; 10] = [465, 540, 620, 700, 800, 920, 1_050, 1_230, 1_520, 2_226];

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) arch: String,
}

/// One that could be installed.
struct Offer {
    package: Package,
    stanza: String,
    needs: Vec<Vec<String>>,
    important: bool,
}

/// Everything that apt knows of.
pub(crate) struct Universe {
    offers: Vec<Offer>,
    by_name: HashMap<String, usize>,
}

/// A stream of numbers that is the same each time (PCG's multiplier, high bits).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn chance(&mut self, of_a_thousand: usize) -> bool {
        self.below(1_000) < of_a_thousand
    }
}

impl Universe {
    /// Asks apt. Nothing, if it knows next to nothing here.
    pub(crate) fn read() -> Option<Self> {
        let output = Command::new("apt-cache").arg("dumpavail").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut universe = Self { offers: Vec::new(), by_name: HashMap::new() };
        let mut provided = Vec::new();
        for stanza in text.split("\n\n") {
            let fields: BTreeMap<&str, &str> = stanza
                .lines()
                .filter(|line| !line.starts_with(' '))
                .filter_map(|line| line.split_once(": "))
                .collect();
            let field = |name: &str| fields.get(name).copied().unwrap_or_default();
            let name = field("Package").to_owned();
            if name.is_empty() || universe.by_name.contains_key(&name) {
                continue;
            }
            let needs = [field("Pre-Depends"), field("Depends")].into_iter().flat_map(relations).collect();
            let at = universe.offers.len();
            provided.extend(
                relations(field("Provides")).into_iter().flatten().map(|virtual_one| (virtual_one, at)),
            );
            universe.by_name.insert(name.clone(), at);
            universe.offers.push(Offer {
                package: Package {
                    name,
                    version: field("Version").to_owned(),
                    arch: field("Architecture").to_owned(),
                },
                stanza: stanza.trim().to_owned(),
                needs,
                important: matches!(field("Priority"), "required" | "important"),
            });
        }
        for (name, at) in provided {
            universe.by_name.entry(name).or_insert(at);
        }
        (universe.offers.len() > 10_000).then_some(universe)
    }

    pub(crate) fn len(&self) -> usize {
        self.offers.len()
    }

    /// Adds a package with all that it needs.
    fn add(&self, at: usize, image: &mut BTreeSet<usize>) {
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            if image.insert(at) {
                let choose = |alternatives: &Vec<String>| {
                    let known = alternatives.iter().filter_map(|name| self.by_name.get(name).copied());
                    let known: Vec<usize> = known.collect();
                    known.iter().find(|at| image.contains(at)).or_else(|| known.first()).copied()
                };
                open.extend(self.offers[at].needs.iter().filter_map(choose));
            }
        }
    }

    /// An image of nearly this many packages.
    fn image(&self, size: usize, dice: &mut Dice) -> BTreeSet<usize> {
        let mut image = BTreeSet::new();
        for (at, offer) in self.offers.iter().enumerate() {
            if offer.important {
                self.add(at, &mut image);
            }
        }
        // What does not fit is left; in the end what fits needs nothing else.
        for _ in 0..100_000 {
            if image.len() >= size {
                break;
            }
            let mut larger = image.clone();
            self.add(dice.below(self.offers.len()), &mut larger);
            if larger.len() <= size {
                image = larger;
            }
        }
        image
    }

    /// So many images.
    pub(crate) fn images(&self, dice: &mut Dice) -> Vec<Vec<Package>> {
        let packages = |image: BTreeSet<usize>| image.into_iter().map(|at| self.offers[at].package.clone());
        SIZES.iter().map(|size| packages(self.image(*size, dice)).collect()).collect()
    }

    /// A host of an image of whose packages `drift` of a thousand were touched, each to one of so many versions.
    pub(crate) fn host(
        &self,
        image: &[Package],
        drift: usize,
        versions: usize,
        dice: &mut Dice,
    ) -> Vec<Package> {
        let mut host = BTreeMap::new();
        for package in image {
            let mut package = package.clone();
            if dice.chance(drift) {
                match dice.below(100) {
                    0..70 => package.version.push_str(&format!("+deb12u{}", 1 + dice.below(versions))),
                    70..85 => {
                        let other = self.offers[dice.below(self.offers.len())].package.clone();
                        host.insert((other.name.clone(), other.arch.clone()), other);
                    }
                    _ => continue,
                }
            }
            host.insert((package.name.clone(), package.arch.clone()), package);
        }
        host.into_values().collect()
    }

    /// A status file of so many packages, with stanzas as they really are.
    pub(crate) fn status(&self, packages: usize, dice: &mut Dice) -> String {
        let image = self.image(packages, dice);
        let mut status = String::new();
        for at in image {
            let mut lines = self.offers[at].stanza.lines().filter(|line| {
                !["Filename:", "Size:", "MD5sum:", "SHA256:", "Description-md5:"]
                    .iter()
                    .any(|only_in_lists| line.starts_with(only_in_lists))
            });
            status.push_str(lines.next().unwrap_or_default());
            status.push_str("\nStatus: install ok installed\n");
            for line in lines {
                status.push_str(line);
                status.push('\n');
            }
            status.push('\n');
        }
        status
    }
}

/// The names in a field of relations: all of these, each by any of its alternatives.
fn relations(field: &str) -> Vec<Vec<String>> {
    let name = |text: &str| text.trim().split([' ', ':', '(']).next().unwrap_or_default().to_owned();
    let relations = field.split(',').filter(|text| !text.trim().is_empty());
    relations.map(|relation| relation.split('|').map(name).collect()).collect()
}
