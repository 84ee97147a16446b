//! A fleet of many hosts in one agent: what the packed state takes, what it costs the agent to know it.

use std::{fs, time::Instant};

use muster::{
    host::{Collector as _, FACET_NETWORK, FACET_STORAGE, FACET_SYSTEM, Machine, Paths, Progress},
    replica::{NodeFacet, Table as Rows, Tables},
    time::Timestamp,
    wire,
};

use crate::{
    Options,
    figures::{Table, span},
    images::{Dice, Package, Universe},
    members::{Agent, Members},
    packed::Weights,
    search,
};

/// Packages in a thousand that a host has otherwise than its image.
const DRIFT: usize = 20;
/// What a host's own cells are called: no two hosts share what stands there.
const OWN: [&str; 12] = [
    "hostname",
    "computer_name",
    "local_hostname",
    "uuid",
    "hardware_serial",
    "boot_time",
    "boot_id",
    "mac",
    "address",
    "serial",
    "device_uuid",
    "machine_id",
];

pub(crate) fn measure(options: &Options, universe: &Universe, dice: &mut Dice, table: &mut Table) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(filled(options, universe, dice, table));
}

async fn filled(options: &Options, universe: &Universe, dice: &mut Dice, table: &mut Table) {
    let dpkg = std::env::temp_dir().join(format!("muster-bench-own-{}", std::process::id()));
    fs::create_dir_all(dpkg.join("info")).unwrap();
    fs::write(dpkg.join("status"), universe.status(1_000, dice)).unwrap();
    let agent = Agent::found(&dpkg);
    let token = agent.invite();
    let mut client = agent.connect().await;
    let mut replica = agent.replica(&mut client).await;
    let idle = agent.pss();
    let fleet = client.fleet;
    let mut members =
        Members { fleet, replica: &mut replica, items: Vec::new(), now: now(), bases: Vec::new() };

    let images = universe.images(dice);
    let sizes: Vec<usize> = images.iter().map(Vec::len).collect();
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    eprintln!("# {} images of {sizes:?} packages, mean {mean}", sizes.len());
    let like_here = Machine::new(Paths::with_dpkg(&dpkg));
    let others = [FACET_NETWORK, FACET_STORAGE, FACET_SYSTEM]
        .map(|facet| like_here.collect(facet, &Progress::default()).tables.unwrap());
    let (mut lists, mut rest, mut heads, mut packages) = (Weights::default(), Weights::default(), 0, 0);
    // Of each image a host that is still as it was installed, and then those that are counted.
    let fresh = if options.fresh { images.len() } else { 0 };
    for number in 0..fresh + options.hosts {
        let installed = match images.get(number) {
            Some(image) if number < fresh => image.clone(),
            _ => universe.host(&images[dice.below(images.len())], DRIFT, options.versions, dice),
        };
        packages += installed.len();
        let node = NodeFacet {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            addresses: vec![format!("10.0.{}.{}:7946", number / 250, 1 + number % 250)],
        };
        let [network, storage, system] = others.clone().map(|tables| own(tables, number).canonical());
        let facets = [
            ("deb", list(&installed).canonical()),
            ("network", network),
            ("node", wire::encode(&node)),
            ("storage", storage),
            ("system", system),
        ];
        members.enrol(number, &token);
        let (head, weights) = members.publish(number, &facets);
        heads += head;
        for (at, ((name, canonical), packed)) in facets.iter().zip(&weights).enumerate() {
            let weights = if *name == "deb" { &mut lists } else { &mut rest };
            weights.add(canonical, *packed, members.bases[at]);
        }
    }
    let hosts = options.hosts;
    let what = format!(
        "package lists of {hosts} hosts of {} images of {mean} packages, 2 % drift (to {} versions{})",
        images.len(),
        options.versions,
        if options.fresh { ", after one of each image without" } else { "" }
    );
    lists.row(
        &what,
        hosts,
        "300 B a host",
        "; bound 28 B, as text differences 527 B (REPLICATION.md)",
        table,
    );
    rest.row(&format!("the 4 other facets of {hosts} hosts"), hosts, "", "", table);
    table.row(&format!("head of a host, {hosts} hosts"), &format!("{} B", heads / (fresh + hosts)), "", "");

    let start = Instant::now();
    members.submit(&mut client).await;
    let taken = start.elapsed().as_secs_f64();
    let what = format!("{hosts} hosts' certificates, heads and facets taken by an agent, on disk");
    table.row(&what, &span(&[taken]), "", "");
    let full = agent.pss();
    search::measure(options, &mut client, &replica, packages / (fresh + hosts), table).await;
    let asked = agent.pss();
    let parts = |pss: &[f64]| format!("{:.1} MiB ({:.1} + {:.1})", pss.iter().sum::<f64>(), pss[0], pss[1]);
    let what = format!("memory of an agent of {hosts} hosts, executor + mesh process, after searches (PSS)");
    let others = format!("before any search {}, fleet of one {}", parts(&full), parts(&idle));
    table.row(&what, &parts(&asked), "60 MiB", &others);
    drop(agent);
    fs::remove_dir_all(&dpkg).unwrap();
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

/// A list as the collector makes it.
fn list(packages: &[Package]) -> Tables {
    let row = |package: &Package| [&package.name, &package.version, &package.arch].map(Clone::clone).to_vec();
    let columns = ["name", "version", "arch"].map(str::to_owned).to_vec();
    let rows = packages.iter().map(row).collect();
    Tables { tables: vec![Rows { name: "deb_packages".to_owned(), columns, rows }] }
}

/// Another host's tables, by those of this machine.
fn own(mut tables: Tables, number: usize) -> Tables {
    let hash = blake3::hash(&number.to_le_bytes()).to_hex();
    for table in &mut tables.tables {
        for (column, name) in table.columns.iter().enumerate() {
            if OWN.contains(&name.as_str()) {
                for row in &mut table.rows {
                    let like = row[column].len().clamp(4, 36);
                    hash.as_str()[..like].clone_into(&mut row[column]);
                }
            }
        }
    }
    tables
}
