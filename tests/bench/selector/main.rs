//! What the targeting language costs, without the agent around it: how long each example of the contract with
//! people takes to read, how long the worst texts take to be refused, and how long an example takes over a fleet
//! in memory whose packages are found by name.
//!
//! `cargo bench --bench selector -- [--hosts 10000] [--packages 1000] [--runs 15]`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for developers: it says what it could not do, and ends"
)]

use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use muster::selector::{Cells, Look, Path, Root, Rows, Selector, Subject, Wanted};

/// The examples of the contract, the group written out.
const EXAMPLES: [&str; 12] = [
    "tag.role = web and tag.env = prod",
    "any disk(mount = / and used > 90%) and fact.mem.total >= 16GiB",
    "tag.env in [staging, dev] and not tag.frozen = true",
    "site = plant-7 and missing tag.owner",
    "name like \"db-*\" or name in [cache-1, cache-2]",
    "any ip(addr in 10.20.0.0/16) and every port(number != 23)",
    "fact.os.id = debian and fact.os.version >= 12",
    "unit.nginx.state = failed",
    "deb.openssl < 3.0.13-1~deb12u1",
    "any vuln(severity >= high and fixable = true) and not tag.change = frozen",
    "rpm.kernel < 5.14.0-427.13.1.el9_4 and has unit.sshd",
    "any pkg(eco = npm and name = lodash and version < 4.17.21)",
];

/// Texts that are long, deep or meant to take long.
fn hostile() -> Vec<(&'static str, String)> {
    vec![
        ("4 KiB of (", "(".repeat(4096)),
        ("4 KiB of not", "not ".repeat(1024)),
        ("255 tests", ["tag.a = b"; 255].join(" or ").chars().take(4096).collect()),
        ("a glob of 2,000 stars", format!("name like \"{}\"", "*a".repeat(2000))),
        ("8 patterns that become too large", ["name matches \"((a{90}){90}){90}\""; 8].join(" or ")),
        ("8 patterns just small enough", ["name matches \"(\\\\w{2}|[a-z]{3}){9}\""; 8].join(" or ")),
    ]
}

/// A host: values by path, packages by name, and rows of small tables.
struct Host {
    /// By the last word of the path.
    values: Vec<(&'static str, String)>,
    /// Shared by all hosts of one image.
    packages: Arc<HashMap<String, String>>,
    /// Rows stand in the order of their first cell, by which the index of an agent finds them as well.
    tables: HashMap<&'static str, (Vec<&'static str>, Vec<Vec<String>>)>,
}

impl Host {
    fn new(number: usize, images: &[Arc<HashMap<String, String>>]) -> Self {
        let pick = |words: &[&str]| (*words.get(number % words.len()).unwrap()).to_owned();
        let values = [
            ("name", format!("{}-{number}", pick(&["web", "db", "cache"]))),
            ("role", pick(&["web", "db"])),
            ("env", pick(&["prod", "dev", "staging"])),
            ("site", pick(&["plant-7", "plant-8"])),
            ("memory_total", pick(&["17179869184", "8589934592"])),
            ("platform", pick(&["debian", "rhel"])),
            ("version", pick(&["12 (bookworm)", "9.4", "11 (bullseye)"])),
        ];
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let address = format!("10.{}.{}.{}", number % 40, number / 250 % 250, number % 250);
        let tables = [
            (
                "mounts",
                vec!["path", "used_percent"],
                vec![row(&["/boot", "20"]), row(&["/", &pick(&["95", "40"])]), row(&["/srv", "70"])],
            ),
            ("interface_addresses", vec!["address"], vec![row(&["127.0.0.1"]), row(&[&address])]),
            (
                "listening_ports",
                vec!["port"],
                ["22", "80", "443", "25", "9100"].map(|port| row(&[port])).to_vec(),
            ),
            (
                "systemd_units",
                vec!["id", "active_state"],
                (0..60)
                    .map(|unit| row(&[&format!("unit-{unit}.service"), "active"]))
                    .chain([row(&["nginx.service", &pick(&["failed", "active"])])])
                    .collect(),
            ),
            (
                "vulnerabilities",
                vec!["severity", "fixable"],
                (0..20).map(|_| row(&["medium", "1"])).chain([row(&["high", &pick(&["1", "0"])])]).collect(),
            ),
            ("rpm_packages", vec!["name", "version"], vec![row(&["kernel", "5.14.0-362.el9"])]),
            ("npm_packages", vec!["name", "version"], vec![row(&["lodash", &pick(&["4.17.15", "4.17.21"])])]),
        ];
        Self {
            values: values.into(),
            packages: Arc::clone(images.get(number % images.len()).unwrap()),
            tables: tables
                .into_iter()
                .map(|(name, columns, mut rows)| {
                    rows.sort_unstable();
                    (name, (columns, rows))
                })
                .collect(),
        }
    }
}

impl Subject for Host {
    fn look(&self, path: &Path) -> Look<'_> {
        if let Some(name) = path.deb() {
            return self
                .packages
                .get(name)
                .map_or(Look::Absent, |version| Look::Value(version.as_str().into()));
        }
        let word = match (path.root(), path.fact()) {
            (_, Some((_, column))) => column,
            (Root::Name | Root::Site, _) => Some(path.root().name()),
            (Root::Tag, _) => path.tag(),
            _ => return path.look_in(self),
        };
        let found = self.values.iter().find(|(known, _)| Some(*known) == word);
        found.map_or(Look::Absent, |(_, value)| Look::Value(value.as_str().into()))
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        let mut cells = Cells::of(wanted);
        let Some((columns, rows)) = self.tables.get(wanted.table) else { return Rows::Unknown };
        let places: Vec<Option<usize>> =
            wanted.columns.iter().map(|name| columns.iter().position(|known| known == name)).collect();
        let named = wanted.only.filter(|(at, _)| places.get(*at) == Some(&Some(0)));
        let rows = named.map_or(&rows[..], |(_, name)| {
            let before = |row: &Vec<String>| row.first().is_some_and(|first| first.as_str() < name);
            let until = |row: &Vec<String>| row.first().is_some_and(|first| first.as_str() <= name);
            let (start, end) = (rows.partition_point(before), rows.partition_point(until));
            rows.get(start..end).unwrap_or_default()
        });
        for row in rows {
            let texts = places.iter().map(|place| row.get((*place)?).map(String::as_str));
            cells.push(&texts.collect::<Vec<_>>());
        }
        Rows::Known(cells)
    }
}

fn median(runs: usize, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs.max(1))
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    *times.get(times.len() / 2).unwrap()
}

fn main() {
    let (mut hosts, mut packages, mut runs) = (10_000, 1_000, 15);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).expect("a number");
        match word.as_str() {
            "--hosts" => hosts = number(),
            "--packages" => packages = number(),
            "--runs" => runs = number(),
            // Cargo adds it.
            "--bench" => {}
            other => panic!("{other}? see the first lines of tests/bench/selector/main.rs"),
        }
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("| read | µs (bound 50) |\n|---|---|");
    for text in EXAMPLES {
        let time = median(runs, || {
            for _ in 0..1000 {
                black_box(Selector::parse(black_box(text)).unwrap());
            }
        });
        println!("| `{text}` | {:.1} |", micros(time) / 1000.0);
    }
    println!("\n| read or refused | µs |\n|---|---|");
    for (what, text) in hostile() {
        let time = median(runs, || drop(black_box(Selector::parse(black_box(&text)))));
        println!("| {what} | {:.0} |", micros(time));
    }
    let images: Vec<Arc<HashMap<String, String>>> = (0..50)
        .map(|image| {
            let package = |at: usize| (format!("package-{at}"), format!("1.{}-1", (image + at) % 9));
            let openssl = if image % 2 == 0 { "3.0.11-1~deb12u2" } else { "3.0.13-1~deb12u1" };
            let own = [("openssl".to_owned(), openssl.to_owned())];
            Arc::new((0..packages).map(package).chain(own).collect())
        })
        .collect();
    let fleet: Vec<Host> = (0..hosts).map(|number| Host::new(number, &images)).collect();
    println!("\n| over {hosts} hosts × {packages} packages | hosts | ms (bound 20) |\n|---|---|---|");
    for text in EXAMPLES {
        let selector = Selector::parse(text).unwrap();
        let mut found = 0;
        let time = median(runs, || found = fleet.iter().filter(|host| selector.selects(*host)).count());
        println!("| `{text}` | {found} | {:.2} |", time.as_secs_f64() * 1e3);
    }
}
