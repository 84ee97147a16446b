//! What is read, how it prints, and what is told of it.

use super::*;

#[test]
fn not_binds_over_and_over_or() {
    for (text, printed) in [
        ("all or none and not all", "all or none and not all"),
        ("(all or none) and not all", "(all or none) and not all"),
        ("all or (none and (not (all)))", "all or none and not all"),
        ("not (all and none)", "not (all and none)"),
        ("((all and none) and all)", "all and none and all"),
        ("not not has name", "not not has name"),
        ("tag.a=b", "tag.a = b"),
        ("tag.a\n not\tin[b,\"c d\"]", "tag.a not in [b, \"c d\"]"),
        ("name like \"db-*\"", "name like \"db-*\""),
        ("tag.\"k8s.io/role\" = web", "tag.\"k8s.io/role\" = web"),
        ("tag.\"role\" = \"web\"", "tag.role = web"),
        ("has pkg.\"@babel/core\"", "has pkg.\"@babel/core\""),
        ("has unit.\"a@b.timer\".state", "has unit.\"a@b.timer\".state"),
        ("fact.\"a b\".\"c.d\" = 1", "fact.\"a b\".\"c.d\" = 1"),
        ("any disk ( mount=/ and used>90% )", "any disk(mount = / and used > 90%)"),
        (
            "not every fact.mounts(not (type = ext4 or type = xfs))",
            "not every fact.mounts(not (type = ext4 or type = xfs))",
        ),
        ("ip.addr in 10.20.0.0/16", "ip.addr in [10.20.0.0/16]"),
        ("ver( tag.release )>=2.1", "ver(tag.release) >= 2.1"),
        ("num(tag.\"a/b\") < 1.5", "num(tag.\"a/b\") < 1.5"),
        ("name matches \"db-\\\\d+\"", "name matches \"db-\\\\d+\""),
        ("@web and not @change-freeze", "@web and not @change-freeze"),
        ("deb.libstdc++6 = 14.2.0-19", "deb.libstdc++6 = 14.2.0-19"),
        ("deb.openssl != 3.0.13-1~deb12u1", "deb.openssl != 3.0.13-1~deb12u1"),
        ("deb.openssl<3.0.13-1~deb12u1", "deb.openssl < 3.0.13-1~deb12u1"),
        ("deb.\"openssl\" >= \"1:0\"", "deb.openssl >= 1:0"),
        ("has deb.\"python3.11\"", "has deb.\"python3.11\""),
        (
            "fact.mem.total>16GiB and fact.os.version <= 12",
            "fact.mem.total > 16GiB and fact.os.version <= 12",
        ),
        ("site = plant-7 and missing tag.owner", "site = plant-7 and missing tag.owner"),
        ("tag.a = \"and\" or tag.a = none", "tag.a = \"and\" or tag.a = \"none\""),
        ("tag.a = \"q\\\"u\\\\o\\u{1b}te\"", "tag.a = \"q\\\"u\\\\o\\u{1b}te\""),
        ("tag.city = \"\\u{e9}té\"", "tag.city = \"été\""),
    ] {
        let selector = parse(text);
        assert_eq!(selector.to_string(), printed);
        assert_eq!(parse(printed), selector);
        assert_eq!(selector.text(), text);
    }
}

#[test]
fn every_root_of_the_language_is_read() {
    for text in
        ["name", "id", "site", "state", "agent", "ip", "disk", "port", "user", "vuln", "patch", "drift"]
    {
        parse(&format!("has {text}"));
    }
    for text in ["tag", "fact", "unit", "pkg", "deb", "rpm", "apk", "pip", "npm"] {
        parse(&format!("has {text}.x"));
        assert_eq!(refused(&format!("{text} = 1")).1, format!("{text} alone is not a path"));
    }
}

#[test]
fn scopes_are_told_from_other_selectors() {
    for text in ["all", "none", "tag.a = b and not (has tag.c or missing tag.d)"] {
        assert!(parse(text).uses_tags_only(), "{text}");
    }
    for text in ["name = a", "tag.a = b and not (has tag.c or missing fact.d)", "id = a or all"] {
        assert!(!parse(text).uses_tags_only(), "{text}");
    }
}

#[test]
fn short_names_of_facts_stand_for_osquerys() {
    for (text, table, column) in [
        ("fact.os.id", "os_version", Some("platform")),
        ("fact.os.version", "os_version", Some("version")),
        ("fact.os_version.version", "os_version", Some("version")),
        ("fact.kernel.version", "kernel_info", Some("version")),
        ("fact.cpu.model", "cpu_info", Some("model")),
        ("fact.cpu.cores", "cpu_info", Some("number_of_cores")),
        ("fact.mem.total", "memory_info", Some("memory_total")),
        ("fact.memory_info.memory_total", "memory_info", Some("memory_total")),
        ("fact.mounts.total", "mounts", Some("total")),
        ("fact.mounts", "mounts", None),
    ] {
        let selector = parse(&format!("has {text}"));
        assert_eq!(selector.paths()[0].fact(), Some((table, column)), "{text}");
        assert_eq!(selector.to_string(), format!("has {text}"));
    }
    assert_eq!(parse("has tag.os").paths()[0].fact(), None);
}

#[test]
fn the_paths_of_a_selector_are_told_once_and_in_order() {
    let selector = parse(
        "deb.zlib1g < 2 and not (tag.b = c or has fact.os.id) or deb.zlib1g = 3 or missing tag.b or all",
    );
    let paths: Vec<String> = selector.paths().into_iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["deb.zlib1g", "tag.b", "fact.os.id"]);
    assert_eq!(selector.paths()[0].deb(), Some("zlib1g"));
    assert_eq!(selector.paths()[1].deb(), None);
}

#[test]
fn labels_are_joined_by_and() {
    let labels = [("role", "web"), ("k8s.io/env", "pre prod"), ("role", "web")];
    let selector = Selector::from_labels(&labels).unwrap();
    assert_eq!(selector.to_string(), "tag.role = web and tag.\"k8s.io/env\" = \"pre prod\"");
    assert!(Selector::from_labels::<&str, &str>(&[]).is_err());
    assert!(Selector::from_labels(&[("role", "web"), ("role", "db")]).is_err());
    assert!(Selector::from_labels(&[("Role", "web")]).is_err());
}

#[test]
fn narrowing_keeps_the_bounds() {
    let (scope, order) = (parse("tag.env = dev or tag.env = test"), parse("name = a or name = b"));
    let both = scope.and(order).unwrap();
    assert_eq!(both.to_string(), "(tag.env = dev or tag.env = test) and (name = a or name = b)");
    assert_eq!(both.text(), both.to_string());
    assert_eq!(Selector::all().and(both.clone()).unwrap(), both);
    assert_eq!(both.clone().and(Selector::all()).unwrap(), both);

    let long = parse(&format!("name = {}", "x".repeat(3000)));
    assert!(long.clone().and(long).unwrap_err().message.contains("4096 is the most"));
}
