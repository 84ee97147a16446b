//! Every example of the contract with people, and what it says of a small fleet.

use super::*;

/// The examples, and the hosts that each selects.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("tag.role = web and tag.env = prod", &["web-1"]),
    ("any disk(mount = / and used > 90%) and fact.mem.total >= 16GiB", &["web-1"]),
    ("tag.env in [staging, dev] and not tag.frozen = true", &["web-2"]),
    ("site = plant-7 and missing tag.owner", &["db-1"]),
    ("name like \"db-*\" or name in [cache-1, cache-2]", &["cache-1", "db-1"]),
    ("any ip(addr in 10.20.0.0/16) and every port(number != 23)", &["db-1", "web-1"]),
    ("fact.os.id = debian and fact.os.version >= 12", &["web-1", "web-2"]),
    ("unit.nginx.state = failed", &["web-2"]),
    ("deb.openssl < 3.0.13-1~deb12u1", &["web-1"]),
    ("any vuln(severity >= high and fixable = true) and not @change-freeze", &["web-1"]),
    ("rpm.kernel < 5.14.0-427.13.1.el9_4 and has unit.sshd", &["db-1"]),
    ("any pkg(eco = npm and name = lodash and version < 4.17.21)", &["web-2"]),
];

/// Hosts that tell all there is to tell, and one that tells nothing.
fn fleet() -> Vec<(&'static str, Host)> {
    let web_1 = Host::with(&[
        ("name", "web-1"),
        ("tag.role", "web"),
        ("tag.env", "prod"),
        ("tag.owner", "ana"),
        ("fact.mem.total", "17179869184"),
        ("fact.os.id", "debian"),
        ("fact.os.version", "12 (bookworm)"),
        ("deb.openssl", "3.0.11-1~deb12u2"),
    ])
    .table("mounts", "path used_percent", &[&["/", "95.5"], &["/srv", "10"]])
    .table("interface_addresses", "address", &[&["127.0.0.1"], &["10.20.3.4"], &["fe80::1"]])
    .table("listening_ports", "port protocol", &[&["22", "tcp"], &["443", "tcp"]])
    .table("systemd_units", "id active_state", &[&["nginx.service", "active"], &["ssh.service", "active"]])
    .table("vulnerabilities", "severity fixable", &[&["low", "1"], &["critical", "1"], &["high", "0"]])
    .table("npm_packages", "name version", &[&["lodash", "4.17.21"]]);
    let web_2 = Host::with(&[
        ("name", "web-2"),
        ("tag.role", "web"),
        ("tag.env", "dev"),
        ("tag.frozen", "false"),
        ("fact.mem.total", "8589934592"),
        ("fact.os.id", "debian"),
        ("fact.os.version", "13 (trixie)"),
        ("deb.openssl", "3.5.4-1"),
    ])
    .table("mounts", "path used_percent", &[&["/", "91"]])
    .table("interface_addresses", "address", &[&["10.20.3.5"]])
    .table("listening_ports", "port protocol", &[&["22", "tcp"], &["23", "tcp"]])
    .table("systemd_units", "id active_state", &[&["nginx.service", "failed"]])
    .table("vulnerabilities", "severity fixable", &[&["high", "false"], &["medium", "true"]])
    .table("npm_packages", "name version", &[&["lodash", "4.17.15"], &["left-pad", "1.0.0"]]);
    let db_1 = Host::with(&[
        ("name", "db-1"),
        ("site", "plant-7"),
        ("tag.role", "db"),
        ("fact.mem.total", "68719476736"),
        ("fact.os.id", "rhel"),
        ("fact.os.version", "9.4 (Plow)"),
    ])
    .table("mounts", "path used_percent", &[&["/", "12"], &["/srv", "99"]])
    .table("interface_addresses", "address", &[&["10.20.9.9"]])
    .table("listening_ports", "port protocol", &[])
    .table("systemd_units", "id active_state", &[&["sshd.service", "active"]])
    .table("vulnerabilities", "severity fixable", &[])
    .table("rpm_packages", "name version", &[&["kernel", "5.14.0-362.8.1.el9_3"]])
    .table("npm_packages", "name version", &[]);
    let silent = Host::with(&[("name", "cache-1"), ("tag.env", "test")]);
    vec![("cache-1", silent), ("db-1", db_1), ("web-1", web_1), ("web-2", web_2)]
}

fn groups(name: &str) -> Option<Selector> {
    (name == "change-freeze").then(|| parse("tag.env = staging"))
}

#[test]
fn every_example_selects_the_hosts_that_it_says() {
    for (text, expected) in EXAMPLES {
        let selector = parse(text);
        assert_eq!(parse(&selector.to_string()), selector, "{text}");
        let expanded = selector.expand(&groups).unwrap();
        let selected: Vec<&str> =
            fleet().iter().filter(|(_, host)| expanded.selects(host)).map(|(name, _)| *name).collect();
        assert_eq!(selected, *expected, "{text}");
    }
}

#[test]
fn every_example_stands_as_it_is_printed_but_for_spaces() {
    for (text, _) in EXAMPLES {
        let printed = parse(text).to_string();
        assert_eq!(printed.replace("in [10.20.0.0/16]", "in 10.20.0.0/16"), *text);
    }
}

#[test]
fn a_host_that_tells_nothing_is_selected_by_no_example_and_by_none_denied() {
    let host = Host::default();
    for (text, _) in EXAMPLES {
        assert!(!parse(text).selects(&host), "{text}");
        assert_ne!(truth(&format!("not ({text})"), &host), Truth::True, "{text}");
    }
}
