//! Selectors by the grammar of the language: mostly such as are read, with a slip here and there.

use crate::chance::Chance;

const VERSIONS: &[&str] = &["1.2.3", "0", "1.0.0-alpha.1", "12", "1.2.3-4"];
const DEB: &[&str] = &["3.0.13-1~deb12u1", "1:2~3-4", "0", "1.0+b1", "2.36-9+deb12u4"];
const RPM: &[&str] = &["5.14.0-427.13.1.el9_4", "2^git1-1", "1:2~rc1-3", "0"];
const APK: &[&str] = &["1.2.4_git20230717-r4", "1.2b_rc1", "0-r0"];
const PIP: &[&str] = &["1.0rc1.post2", "\"1!2.0.dev3\"", "2.31.0", "1.0+local.1"];
const NPM: &[&str] = &["4.17.21", "1.0.0-alpha.1+build", "0.0.0"];
const TEXTS: &[&str] = &[
    "web",
    "plant-7",
    "\"a b\"",
    "\"\"",
    "\"\\u{e9}\"",
    "\"\\\"\\\\\"",
    "web-1",
    "true",
    "10.0.0.1",
    "\"and\"",
    "a@b",
];
const SIZES: &[&str] = &["16GiB", "0", "17179869184", "1.5TB", "3MiB", "10B", "99999999999999999999"];
const PLAIN: &[&str] = &["0", "1", "-5", "22", "4.5", "18446744073709551616"];
const PERCENTS: &[&str] = &["90%", "0%", "99.5%", "100%"];
const AGES: &[&str] = &["90s", "15m", "2h", "7d", "4w"];
const ADDRESSES: &[&str] = &["10.20.0.0", "::1", "fe80::1", "192.168.1.255"];
const RANGES: &[&str] = &["10.20.0.0/16", "fd00::/8", "0.0.0.0/0", "10.0.0.1"];
const STATES: &[&str] = &["active", "failed", "inactive"];
const PROTOCOLS: &[&str] = &["tcp", "udp"];
const ECOSYSTEMS: &[&str] = &["deb", "rpm", "npm", "pip", "apk"];
const RANKS: &[&str] = &["none", "low", "medium", "high", "critical"];
const PATTERNS: &[&str] = &[
    "\"web-[0-9]+\"",
    "\"(?i)a|b\"",
    "\".*\"",
    "\"\\\\d?x\"",
    "\"[a-z]{1,8}\"",
    "\"[^x]*x?\"",
    "\"(a+)+b\"",
    "\"\"",
];
const GLOBS: &[&str] = &["\"db-*\"", "\"*\"", "\"?\"", "\"*a*b*c*\"", "web", "\"\""];

/// What stands right of a comparison.
#[derive(Clone, Copy)]
enum Values {
    Text,
    Loose,
    Version,
    Deb,
    Rpm,
    Apk,
    Pip,
    Npm,
    Size,
    Plain,
    Percent,
    Age,
    Address,
    Ranges,
    State,
    Protocol,
    Ecosystem,
    Rank,
    Boolean,
}

impl Values {
    fn pool(self) -> &'static [&'static str] {
        match self {
            Self::Text | Self::Loose => TEXTS,
            Self::Version => VERSIONS,
            Self::Deb => DEB,
            Self::Rpm => RPM,
            Self::Apk => APK,
            Self::Pip => PIP,
            Self::Npm => NPM,
            Self::Size => SIZES,
            Self::Plain => PLAIN,
            Self::Percent => PERCENTS,
            Self::Age => AGES,
            Self::Address => ADDRESSES,
            Self::Ranges => RANGES,
            Self::State => STATES,
            Self::Protocol => PROTOCOLS,
            Self::Ecosystem => ECOSYSTEMS,
            Self::Rank => RANKS,
            Self::Boolean => &["true", "false"],
        }
    }

    fn is_ordered(self) -> bool {
        !matches!(
            self,
            Self::Text
                | Self::Address
                | Self::Ranges
                | Self::State
                | Self::Protocol
                | Self::Ecosystem
                | Self::Boolean
        )
    }
}

const PATHS: &[(&str, Values)] = &[
    ("name", Values::Text),
    ("site", Values::Text),
    ("id", Values::Text),
    ("state", Values::Text),
    ("agent", Values::Version),
    ("tag.role", Values::Text),
    ("tag.\"k8s.io/role\"", Values::Text),
    ("fact.os.id", Values::Text),
    ("fact.os.version", Values::Version),
    ("fact.mem.total", Values::Size),
    ("fact.cpu.cores", Values::Plain),
    ("fact.x.y", Values::Loose),
    ("disk.used", Values::Percent),
    ("disk.size", Values::Size),
    ("disk.mount", Values::Text),
    ("ip.addr", Values::Address),
    ("port.number", Values::Plain),
    ("port.proto", Values::Protocol),
    ("user.name", Values::Text),
    ("unit.nginx.state", Values::State),
    ("unit.\"a@b.timer\".restarts", Values::Plain),
    ("deb.openssl", Values::Deb),
    ("rpm.kernel", Values::Rpm),
    ("apk.musl", Values::Apk),
    ("pip.requests", Values::Pip),
    ("npm.\"@types/node\"", Values::Npm),
    ("vuln.severity", Values::Rank),
    ("vuln.age", Values::Age),
    ("vuln.fixable", Values::Boolean),
    ("drift.age", Values::Age),
];
const PRESENT: &[&str] = &[
    "tag.role",
    "name",
    "unit.sshd",
    "pkg.lodash",
    "deb.openssl",
    "disk",
    "fact.x",
    "fact.x.y",
    "ip",
    "vuln",
];
const TABLES: &[(&str, &[(&str, Values)])] = &[
    (
        "disk",
        &[("mount", Values::Text), ("used", Values::Percent), ("size", Values::Size), ("type", Values::Text)],
    ),
    ("ip", &[("addr", Values::Address), ("interface", Values::Text)]),
    ("port", &[("number", Values::Plain), ("proto", Values::Protocol), ("addr", Values::Address)]),
    ("unit", &[("name", Values::Text), ("state", Values::State), ("restarts", Values::Plain)]),
    (
        "pkg",
        &[
            ("eco", Values::Ecosystem),
            ("name", Values::Text),
            ("version", Values::Version),
            ("arch", Values::Text),
        ],
    ),
    ("deb", &[("name", Values::Text), ("version", Values::Deb)]),
    ("npm", &[("name", Values::Text), ("version", Values::Npm)]),
    ("vuln", &[("severity", Values::Rank), ("fixable", Values::Boolean), ("age", Values::Age)]),
    ("fact.x", &[("a", Values::Loose), ("b", Values::Loose)]),
    ("fact.mounts", &[("path", Values::Text), ("blocks", Values::Plain)]),
];

/// A selector, or nearly one.
pub(super) fn text(chance: &mut Chance) -> String {
    let mut text = String::new();
    let depth = chance.below(6);
    or(chance, &mut text, depth, None);
    text
}

type Columns = &'static [(&'static str, Values)];

fn or(chance: &mut Chance, text: &mut String, depth: usize, columns: Option<Columns>) {
    for member in 0..=chance.below(if depth == 0 { 1 } else { 3 }) {
        if member > 0 {
            text.push_str(" or ");
        }
        and(chance, text, depth, columns);
    }
}

fn and(chance: &mut Chance, text: &mut String, depth: usize, columns: Option<Columns>) {
    for member in 0..=chance.below(3) {
        if member > 0 {
            text.push_str(" and ");
        }
        unary(chance, text, depth, columns);
    }
}

fn unary(chance: &mut Chance, text: &mut String, depth: usize, columns: Option<Columns>) {
    if chance.once_in(5) {
        text.push_str("not ");
    }
    match chance.below(12) {
        0..3 if depth > 0 => {
            text.push('(');
            or(chance, text, depth - 1, columns);
            text.push(')');
        }
        3 | 4 if columns.is_none() => {
            let (table, columns) = chance.one(TABLES);
            text.push_str(chance.one(&["any ", "every "]));
            text.push_str(table);
            text.push('(');
            or(chance, text, depth.saturating_sub(1), Some(columns));
            text.push(')');
        }
        5 => {
            text.push_str(chance.one(&["has ", "missing "]));
            text.push_str(match columns {
                Some(columns) => chance.one(columns).0,
                None => chance.one(PRESENT),
            });
        }
        6 if columns.is_none() => text.push_str(chance.one(&["all", "none", "@web", "@change-freeze"])),
        _ => {
            let (path, values) = chance.one(columns.unwrap_or(PATHS));
            comparison(chance, text, path, values);
        }
    }
}

fn comparison(chance: &mut Chance, text: &mut String, path: &str, values: Values) {
    let cast = matches!(values, Values::Text | Values::Loose) && chance.once_in(6);
    let (path, values) = match chance.below(2) {
        0 if cast => (format!("ver({path})"), Values::Version),
        _ if cast => (format!("num({path})"), Values::Size),
        _ => (path.to_owned(), values),
    };
    text.push_str(&path);
    // A value of another kind is a slip that people make.
    let values = if chance.once_in(40) { Values::Rank } else { values };
    let ordered = values.is_ordered() || chance.once_in(40);
    let one = |chance: &mut Chance, sign: &str| format!(" {sign} {}", chance.one(values.pool()));
    let rest = match chance.below(if ordered { 10 } else { 6 }) {
        0 => among(chance, values),
        1 => format!(" like {}", chance.one(GLOBS)),
        2 if chance.once_in(2) => format!(" matches {}", chance.one(PATTERNS)),
        3 => one(chance, "!="),
        4..6 => one(chance, "="),
        _ if ordered => {
            let sign = chance.one(&["<", "<=", ">", ">="]);
            one(chance, sign)
        }
        _ => one(chance, "="),
    };
    text.push_str(&rest);
}

fn among(chance: &mut Chance, values: Values) -> String {
    let values = if matches!(values, Values::Address) { Values::Ranges } else { values };
    let list: Vec<&str> = (0..=chance.below(3)).map(|_| chance.one(values.pool())).collect();
    let sign = chance.one(&["in", "not in"]);
    match list[..] {
        [range] if range.contains('/') && chance.once_in(2) => format!(" {sign} {range}"),
        _ => format!(" {sign} [{}]", list.join(", ")),
    }
}
