//! What selectors say of hosts.

use super::*;

#[test]
fn an_untagged_host_is_not_taken_by_a_denial() {
    let bare = Host::default();
    let prod = Host::with(&[("tag.env", "prod")]);
    let dev = Host::with(&[("tag.env", "dev")]);
    for text in [
        "tag.env != prod",
        "not tag.env = prod",
        "tag.env not in [prod]",
        "not tag.env in [prod]",
        "not tag.env like \"prod*\"",
    ] {
        assert_eq!(truth(text, &bare), Truth::Unknown, "{text}");
        assert!(!parse(text).selects(&bare));
        assert_eq!(truth(text, &prod), Truth::False, "{text}");
        assert_eq!(truth(text, &dev), Truth::True, "{text}");
    }
    let text = "missing tag.env or tag.env != prod";
    assert!(parse(text).selects(&bare) && parse(text).selects(&dev) && !parse(text).selects(&prod));
}

#[test]
fn a_tag_in_conflict_selects_nothing() {
    let host = Host::looking([("tag.env", Look::Conflict)]);
    for text in [
        "tag.env = a",
        "tag.env != a",
        "tag.env in [a]",
        "tag.env like \"*\"",
        "has tag.env",
        "missing tag.env",
    ] {
        assert_eq!(truth(text, &host), Truth::Unknown, "{text}");
        assert_eq!(truth(&format!("not {text}"), &host), Truth::Unknown, "not {text}");
    }
}

#[test]
fn who_knows_tags_alone_refuses_only_what_no_fact_could_allow() {
    let host = Host::looking([
        ("tag.role", Look::Value("web".into())),
        ("fact.os", Look::Undecided),
        ("fact.os.id", Look::Undecided),
        ("deb.openssl", Look::Undecided),
    ]);
    for (text, possible) in [
        ("tag.role = web and fact.os.id = debian", true),
        ("tag.role = db and fact.os.id = debian", false),
        ("tag.role = db or fact.os.id = debian", true),
        ("tag.role = web and not fact.os.id = debian", true),
        ("tag.role = web and not has fact.os", true),
        ("tag.role = web and deb.openssl < 3", true),
        ("tag.role = db and deb.openssl < 3", false),
        ("tag.role = db or not deb.openssl = 3", true),
        ("missing tag.role and missing fact.os", false),
    ] {
        assert_eq!(parse(text).outcomes(&host).may_be_true(), possible, "{text}");
        assert!(!parse(text).selects(&host), "{text}");
    }
    assert_eq!(parse("has fact.os").outcomes(&host), Outcomes::ANY);
    assert_eq!(parse("fact.os.id = debian").outcomes(&host), Outcomes::ANY);
}

#[test]
fn packages_are_compared_as_dpkg_does() {
    let host = Host::with(&[("deb.openssl", "3.0.11-1~deb12u2"), ("deb.odd", "v1"), ("deb.epoch", "1:0.5")]);
    for (text, expected) in [
        ("deb.openssl < 3.0.13-1~deb12u1", Truth::True),
        ("deb.openssl < 3.0.11-1~deb12u10", Truth::True),
        ("deb.openssl < 3.0.11-1", Truth::True),
        ("deb.openssl <= 3.0.11-1~deb12u1", Truth::False),
        ("deb.openssl >= 3.0.9", Truth::True),
        ("deb.openssl > 1:0", Truth::False),
        ("deb.openssl = 0:3.0.11-01~deb12u2", Truth::True),
        ("deb.openssl != 0:3.0.11-01~deb12u2", Truth::False),
        ("deb.openssl in [1, 0:3.0.11-1~deb12u2]", Truth::True),
        ("deb.openssl not in [1, 2]", Truth::True),
        ("deb.openssl like \"3.0.*\"", Truth::True),
        ("deb.epoch > 99", Truth::True),
        ("deb.odd > 1", Truth::True),
        ("deb.nginx < 1", Truth::Unknown),
        ("deb.nginx != 1", Truth::Unknown),
        ("not deb.nginx = 1", Truth::Unknown),
        ("has deb.nginx", Truth::False),
        ("missing deb.nginx", Truth::True),
        ("has deb.openssl", Truth::True),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn what_is_no_version_is_neither_less_nor_more() {
    let host = Host::with(&[("deb.odd", "1 2")]);
    for text in ["deb.odd < 1", "deb.odd >= 1", "deb.odd = 1", "deb.odd != 1", "deb.odd not in [1]"] {
        assert_eq!(truth(text, &host), Truth::Unknown, "{text}");
    }
    assert_eq!(truth("has deb.odd", &host), Truth::True);
    assert_eq!(truth("deb.odd like \"1*\"", &host), Truth::True);
}

#[test]
fn any_architecture_and_any_row_is_enough() {
    let several = |values: &[&'static str]| Look::any(values.iter().copied());
    let host = Host::looking([
        ("deb.libc6", several(&["2.36-9", "2.31-1"])),
        ("deb.mixed", several(&["1 2", "5"])),
        ("fact.mounts.type", several(&["ext4", "", "tmpfs"])),
        ("fact.mounts.label", several(&["", ""])),
    ]);
    for (text, expected) in [
        ("deb.libc6 < 2.36", Truth::True),
        ("deb.libc6 > 2.36", Truth::True),
        ("deb.libc6 > 3", Truth::False),
        ("deb.libc6 != 2.36-9", Truth::True),
        ("not deb.libc6 = 2.36-9", Truth::False),
        ("deb.libc6 not in [2.36-9, 2.31-1]", Truth::False),
        ("deb.mixed = 5", Truth::True),
        ("deb.mixed < 5", Truth::Unknown),
        ("fact.mounts.type = tmpfs", Truth::True),
        ("fact.mounts.type in [xfs]", Truth::False),
        ("fact.mounts.type like \"ext?\"", Truth::True),
        ("has fact.mounts.type", Truth::True),
        ("has fact.mounts.label", Truth::False),
        ("fact.mounts.label != x", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
    let none = Host::looking([("name", Look::Values(vec![]))]);
    assert_eq!(truth("has name", &none), Truth::False);
    assert_eq!(truth("name = a", &none), Truth::Unknown);
}

#[test]
fn facts_are_compared_as_numbers_or_as_versions() {
    let host = Host::with(&[
        ("fact.mem.total", "17179869184"),
        ("fact.os.version", "12 (bookworm)"),
        ("fact.kernel.version", "6.10.2-amd64"),
        ("fact.os.id", "debian"),
        ("fact.odd.size", "large"),
    ]);
    for (text, expected) in [
        ("fact.mem.total >= 16GiB", Truth::True),
        ("fact.mem.total = 16GiB", Truth::True),
        ("fact.mem.total in [8GiB, 16GiB]", Truth::True),
        ("fact.mem.total > 15.999GiB", Truth::True),
        ("fact.mem.total < 9000000000", Truth::False),
        ("fact.os.version >= 12", Truth::True),
        ("fact.os.version < 13", Truth::True),
        ("fact.os.version >= 9", Truth::True),
        ("fact.kernel.version < 6.9", Truth::False),
        ("fact.kernel.version >= 6.10", Truth::True),
        ("fact.kernel.version < 6.10.10", Truth::True),
        ("fact.os.id = debian", Truth::True),
        ("fact.os.id != ubuntu", Truth::True),
        ("fact.os.id in [debian, ubuntu]", Truth::True),
        ("fact.odd.size < 16GiB", Truth::Unknown),
        ("fact.odd.none < x", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn the_left_side_decides_how_both_are_read() {
    let host = Host::with(&[
        ("vuln.severity", "high"),
        ("vuln.fixable", "1"),
        ("vuln.score", "9.8"),
        ("vuln.age", "864000"),
        ("disk.used", "90.5"),
        ("disk.size", "1000000000"),
        ("ip.addr", "10.20.3.4"),
        ("port.number", "443"),
        ("fact.mem.total", "17179869184"),
        ("agent", "0.10.0"),
        ("tag.release", "v2.10.1"),
        ("tag.ring", "7"),
        ("tag.quota", "1.5GiB"),
        ("tag.word", "blue"),
        ("vuln.package", "9.8"),
    ]);
    for (text, expected) in [
        ("vuln.severity >= high", Truth::True),
        ("vuln.severity > high", Truth::False),
        ("vuln.severity < critical", Truth::True),
        ("vuln.severity > low and vuln.severity != none", Truth::True),
        ("vuln.severity in [high, critical]", Truth::True),
        ("vuln.fixable = true", Truth::True),
        ("vuln.fixable != true", Truth::False),
        ("vuln.score >= 9.75", Truth::True),
        ("vuln.score = 9.80", Truth::True),
        ("vuln.package = 9.80", Truth::False),
        ("vuln.age > 1w", Truth::True),
        ("vuln.age = 10d", Truth::True),
        ("vuln.age >= 240h", Truth::True),
        ("disk.used > 90%", Truth::True),
        ("disk.used >= 90.6%", Truth::False),
        ("disk.size = 1GB", Truth::True),
        ("disk.size < 1GiB", Truth::True),
        ("fact.mem.total > 17GB", Truth::True),
        ("ip.addr in 10.20.0.0/16", Truth::True),
        ("ip.addr not in 10.20.0.0/16", Truth::False),
        ("ip.addr in [10.0.0.0/16, 10.20.3.4]", Truth::True),
        ("ip.addr = 10.20.3.4", Truth::True),
        ("ip.addr = ::ffff:10.20.3.4", Truth::True),
        ("port.number in [80, 443]", Truth::True),
        ("port.number < 1024", Truth::True),
        ("agent >= 0.9", Truth::True),
        ("ver(tag.release) >= 2.9", Truth::True),
        ("ver(tag.release) >= v2.9", Truth::True),
        ("ver(tag.release) = 2.10.1", Truth::True),
        ("ver(tag.word) >= 2.9", Truth::Unknown),
        ("ver(tag.word) != 2.9", Truth::True),
        ("ver(tag.none) >= 2.9", Truth::Unknown),
        ("num(tag.ring) < 10", Truth::True),
        ("num(tag.ring) = 7.0", Truth::True),
        ("tag.ring = 7.0", Truth::False),
        ("num(tag.quota) > 1GiB", Truth::True),
        ("num(tag.quota) > 1", Truth::Unknown),
        ("num(tag.word) < 10", Truth::Unknown),
        ("tag.word matches \"b.*\"", Truth::True),
        ("tag.word matches \"l\"", Truth::False),
        ("not tag.word matches \"r.*\"", Truth::True),
        ("tag.none matches \".*\"", Truth::Unknown),
        ("agent like \"0.*\"", Truth::True),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn what_a_host_says_that_is_not_of_the_kind_is_unknown() {
    let host = Host::with(&[
        ("vuln.severity", "grave"),
        ("vuln.fixable", "maybe"),
        ("vuln.age", "10GiB"),
        ("disk.used", "much"),
        ("ip.addr", "here"),
        ("port.number", "http"),
        ("fact.mem.total", "16 GiB"),
    ]);
    for text in [
        "vuln.severity >= low",
        "vuln.severity = high",
        "vuln.fixable = false",
        "vuln.age > 1s",
        "disk.used < 1%",
        "ip.addr = ::1",
        "ip.addr in ::/0",
        "ip.addr not in ::/0",
        "port.number != 23",
        "fact.mem.total >= 1B",
    ] {
        assert_eq!(truth(text, &host), Truth::Unknown, "{text}");
    }
}

#[test]
fn what_is_too_long_to_match_is_unknown() {
    let host = Host::with(&[("name", &"a".repeat(4097)), ("site", &"a".repeat(4096))]);
    for (text, expected) in [
        ("name like \"a*\"", Truth::Unknown),
        ("name matches \"a*\"", Truth::Unknown),
        ("site like \"a*\"", Truth::True),
        ("site matches \"a*\"", Truth::True),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}
