//! The tables that there are, by the short words of the language: whose columns they are, by osquery's names,
//! and what stands in them.
//!
//! A table of `disk`, `ip`, `port`, `user`, `unit`, `vuln`, `patch`, `drift` and of packages is declared whole:
//! another column is a mistake. Of facts only some are declared, since another version of the agent may know
//! more: the kind of any other cell is decided by what stands there.

use super::kind::Kind;
use super::number::Unit;
use super::root::Root;
use std::borrow::Cow;

const PLAIN: Kind = Kind::Number(Unit::Plain);
const BYTES: Kind = Kind::Number(Unit::Bytes);
const PERCENT: Kind = Kind::Number(Unit::Percent);
const AGE: Kind = Kind::Number(Unit::Seconds);
/// CVSS's words for how bad something is, from the least.
pub(super) const SEVERITIES: &[&str] = &["none", "low", "medium", "high", "critical"];
const ECOSYSTEMS: &[&str] = &["deb", "rpm", "apk", "pip", "npm"];
const PROTOCOLS: &[&str] = &["tcp", "udp"];
/// What systemd calls `ActiveState`.
const UNIT_STATES: &[&str] =
    &["active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance", "refreshing"];

/// Where the value of a column comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Source {
    /// A cell of the row, by osquery's name.
    Cell(Cow<'static, str>),
    /// The product of two cells: blocks, and their size.
    Product(&'static str, &'static str),
    /// Whose packages the table lists.
    Ecosystem,
}

/// A column: its word, where its value comes from, and what the value is.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) word: &'static str,
    pub(super) source: Source,
    pub(super) kind: Kind,
}

/// A root that is a table, or several that are asked as one.
#[derive(Debug)]
pub(super) struct Schema {
    /// The tables by osquery's names, and whose packages they list.
    pub(super) tables: &'static [(&'static str, Option<Root>)],
    pub(super) columns: &'static [Column],
    /// The cell by which rows have names.
    pub(super) key: &'static str,
}

const fn cell(word: &'static str, name: &'static str, kind: Kind) -> Column {
    Column { word, source: Source::Cell(Cow::Borrowed(name)), kind }
}

const DISK: Schema = Schema {
    tables: &[("mounts", None)],
    columns: &[
        cell("mount", "path", Kind::Text),
        cell("device", "device", Kind::Text),
        cell("type", "type", Kind::Text),
        cell("flags", "flags", Kind::Text),
        Column { word: "size", source: Source::Product("blocks", "blocks_size"), kind: BYTES },
        cell("used", "used_percent", PERCENT),
        cell("free", "free_bytes", BYTES),
    ],
    key: "path",
};
const IP: Schema = Schema {
    tables: &[("interface_addresses", None)],
    columns: &[
        cell("addr", "address", Kind::Address),
        cell("interface", "interface", Kind::Text),
        cell("mask", "mask", Kind::Text),
    ],
    key: "address",
};
const PORT: Schema = Schema {
    tables: &[("listening_ports", None)],
    columns: &[
        cell("number", "port", PLAIN),
        cell("proto", "protocol", Kind::Words(PROTOCOLS)),
        cell("addr", "address", Kind::Address),
        cell("process", "name", Kind::Text),
        cell("user", "user", Kind::Text),
    ],
    key: "port",
};
const USER: Schema = Schema {
    tables: &[("users", None)],
    columns: &[
        cell("name", "username", Kind::Text),
        cell("uid", "uid", PLAIN),
        cell("gid", "gid", PLAIN),
        cell("home", "directory", Kind::Text),
        cell("shell", "shell", Kind::Text),
        cell("description", "description", Kind::Text),
    ],
    key: "username",
};
const UNIT: Schema = Schema {
    tables: &[("systemd_units", None)],
    columns: &[
        cell("name", "id", Kind::Text),
        cell("state", "active_state", Kind::Words(UNIT_STATES)),
        cell("sub", "sub_state", Kind::Text),
        cell("load", "load_state", Kind::Text),
        cell("file", "unit_file_state", Kind::Text),
        cell("description", "description", Kind::Text),
        cell("user", "user", Kind::Text),
        cell("restarts", "restarts", PLAIN),
    ],
    key: "id",
};
const VULN: Schema = Schema {
    tables: &[("vulnerabilities", None)],
    columns: &[
        cell("id", "id", Kind::Text),
        cell("severity", "severity", Kind::Ranked(SEVERITIES)),
        cell("score", "score", PLAIN),
        cell("fixable", "fixable", Kind::Boolean),
        cell("exploited", "exploited", Kind::Boolean),
        cell("eco", "ecosystem", Kind::Words(ECOSYSTEMS)),
        cell("package", "package", Kind::Text),
        cell("age", "age", AGE),
    ],
    key: "id",
};
const PATCH: Schema = Schema {
    tables: &[("patches", None)],
    columns: &[
        cell("id", "id", Kind::Text),
        cell("severity", "severity", Kind::Ranked(SEVERITIES)),
        cell("security", "security", Kind::Boolean),
        cell("reboot", "reboot", Kind::Boolean),
        cell("eco", "ecosystem", Kind::Words(ECOSYSTEMS)),
        cell("package", "package", Kind::Text),
        cell("age", "age", AGE),
    ],
    key: "id",
};
const DRIFT: Schema = Schema {
    tables: &[("drift", None)],
    columns: &[
        cell("kind", "kind", Kind::Text),
        cell("name", "name", Kind::Text),
        cell("doc", "document", Kind::Text),
        cell("wanted", "wanted", Kind::Text),
        cell("found", "found", Kind::Text),
        cell("age", "age", AGE),
    ],
    key: "name",
};
const PKG: Schema = Schema {
    tables: &[
        ("deb_packages", Some(Root::Deb)),
        ("rpm_packages", Some(Root::Rpm)),
        ("apk_packages", Some(Root::Apk)),
        ("python_packages", Some(Root::Pip)),
        ("npm_packages", Some(Root::Npm)),
    ],
    columns: &[
        Column { word: "eco", source: Source::Ecosystem, kind: Kind::Words(ECOSYSTEMS) },
        cell("name", "name", Kind::Text),
        cell("version", "version", Kind::RowVersion),
        cell("arch", "arch", Kind::Text),
    ],
    key: "name",
};

/// The columns of one ecosystem's packages.
macro_rules! packages {
    ($table:literal, $root:expr) => {
        Schema {
            tables: &[($table, Some($root))],
            columns: &[
                cell("name", "name", Kind::Text),
                cell("version", "version", Kind::Version($root)),
                cell("arch", "arch", Kind::Text),
            ],
            key: "name",
        }
    };
}

const DEB: Schema = packages!("deb_packages", Root::Deb);
const RPM: Schema = packages!("rpm_packages", Root::Rpm);
const APK: Schema = packages!("apk_packages", Root::Apk);
const PIP: Schema = packages!("python_packages", Root::Pip);
const NPM: Schema = packages!("npm_packages", Root::Npm);

impl Root {
    /// Its table, unless it has none, or is that of facts, which has many.
    pub(super) fn schema(self) -> Option<&'static Schema> {
        Some(match self {
            Self::Disk => &DISK,
            Self::Ip => &IP,
            Self::Port => &PORT,
            Self::User => &USER,
            Self::Unit => &UNIT,
            Self::Vuln => &VULN,
            Self::Patch => &PATCH,
            Self::Drift => &DRIFT,
            Self::Pkg => &PKG,
            Self::Deb => &DEB,
            Self::Rpm => &RPM,
            Self::Apk => &APK,
            Self::Pip => &PIP,
            Self::Npm => &NPM,
            Self::Name | Self::Id | Self::Site | Self::State | Self::Agent | Self::Tag | Self::Fact => {
                return None;
            }
        })
    }
}

impl Schema {
    pub(super) fn column(&self, word: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.word == word)
    }

    /// The words of its columns.
    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.columns.iter().map(|column| column.word)
    }
}

/// Short names of the tables of facts.
const TABLES: &[(&str, &str)] =
    &[("os", "os_version"), ("kernel", "kernel_info"), ("cpu", "cpu_info"), ("mem", "memory_info")];
/// Short names of their columns, by the table's full name.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("os_version", "id", "platform"),
    ("memory_info", "total", "memory_total"),
    ("memory_info", "swap", "swap_total"),
    ("cpu_info", "cores", "number_of_cores"),
];
/// Cells of facts whose kind is declared, by table.
const FACTS: &[(&str, &[(&str, Kind)])] = &[
    (
        "os_version",
        &[
            ("name", Kind::Text),
            ("version", Kind::Natural),
            ("major", PLAIN),
            ("minor", PLAIN),
            ("platform", Kind::Text),
            ("platform_like", Kind::Text),
            ("codename", Kind::Text),
            ("arch", Kind::Text),
            ("pretty_name", Kind::Text),
        ],
    ),
    ("kernel_info", &[("version", Kind::Natural), ("arch", Kind::Text)]),
    (
        "cpu_info",
        &[
            ("model", Kind::Text),
            ("manufacturer", Kind::Text),
            ("number_of_cores", PLAIN),
            ("logical_processors", PLAIN),
            ("sockets", PLAIN),
        ],
    ),
    ("memory_info", &[("memory_total", BYTES), ("swap_total", BYTES)]),
    ("boot", &[("boot_time", PLAIN), ("boot_id", Kind::Text)]),
    (
        "system_info",
        &[
            ("hostname", Kind::Text),
            ("hardware_vendor", Kind::Text),
            ("hardware_model", Kind::Text),
            ("hardware_version", Kind::Text),
        ],
    ),
    ("interface_addresses", &[("address", Kind::Address), ("interface", Kind::Text), ("mask", Kind::Text)]),
    ("interface_details", &[("interface", Kind::Text), ("mac", Kind::Text), ("mtu", PLAIN), ("type", PLAIN)]),
    (
        "mounts",
        &[
            ("device", Kind::Text),
            ("path", Kind::Text),
            ("type", Kind::Text),
            ("flags", Kind::Text),
            ("blocks", PLAIN),
            ("blocks_size", BYTES),
        ],
    ),
    (
        "block_devices",
        &[
            ("name", Kind::Text),
            ("parent", Kind::Text),
            ("vendor", Kind::Text),
            ("model", Kind::Text),
            ("serial", Kind::Text),
            ("size", PLAIN),
            ("block_size", BYTES),
            ("type", Kind::Text),
        ],
    ),
    ("deb_packages", &[("name", Kind::Text), ("version", Kind::Version(Root::Deb)), ("arch", Kind::Text)]),
];

/// The full name of a table of facts. What is no short name stands for itself.
pub(super) fn table(name: &str) -> &str {
    TABLES.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full)
}

/// The full name of a column of a table with this full name, and its kind.
pub(super) fn fact(table: &str, column: &str) -> (Cow<'static, str>, Kind) {
    let full = COLUMNS.iter().find(|(of, short, _)| *of == table && *short == column);
    let name = full.map_or_else(|| Cow::Owned(column.to_owned()), |(_, _, full)| Cow::Borrowed(*full));
    let declared = FACTS.iter().find(|(of, _)| *of == table).and_then(|(_, columns)| {
        let found = columns.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    });
    (name, declared.unwrap_or(Kind::Cell))
}

/// Short and declared words of a table of facts, from which a name may differ by a slip.
pub(super) fn fact_words(full: &str) -> Vec<&'static str> {
    let short = COLUMNS.iter().filter(|(of, ..)| *of == full).map(|(_, short, _)| *short);
    let declared = FACTS.iter().filter(|(of, _)| *of == full).flat_map(|(_, columns)| columns.iter());
    short.chain(declared.map(|(name, _)| *name)).collect()
}
