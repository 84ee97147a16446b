//! The language as a whole: what it accepts, what it says to what it refuses, and the laws it keeps.

use super::expression::{Expression, Order, Test};
use super::reading::Reading;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A host of which everything is known.
#[derive(Clone, Debug, Default)]
struct Host(BTreeMap<String, Look<'static>>);

impl Host {
    fn with(pairs: &[(&str, &str)]) -> Self {
        Self(
            pairs
                .iter()
                .map(|(path, value)| ((*path).into(), Look::Value((*value).to_owned().into())))
                .collect(),
        )
    }
}

impl Subject for Host {
    fn look(&self, path: &Path) -> Look<'_> {
        self.0.get(&path.to_string()).cloned().unwrap_or(Look::Absent)
    }
}

fn parse(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|error| panic!("{}", error.render(text)))
}

/// What is wrong with `text`: the part at fault, the message and the hint.
fn refused(text: &str) -> (&str, String, String) {
    let error = Selector::parse(text).expect_err(text);
    let Position { offset, length } = error.position;
    (&text[offset..offset + length], error.message, error.hint.unwrap_or_default())
}

fn truth(text: &str, host: &Host) -> Truth {
    let outcomes = parse(text).outcomes(host);
    Truth::EVERY.into_iter().find(|truth| outcomes.is(*truth)).expect("one truth")
}

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
        ("has pkg.\"@babel/core\".npm", "has pkg.\"@babel/core\".npm"),
        ("has pkg.a.\"b c\".\"d.e\".f.g.\"h i\"", "has pkg.a.\"b c\".\"d.e\".f.g.\"h i\""),
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
        parse(&format!("{text}.x = 1"));
        assert_eq!(refused(&format!("{text} = 1")).1, format!("{text} alone is not a path"));
    }
}

#[test]
fn what_is_refused_says_what_to_write() {
    for (text, at, hint) in [
        ("", "", "write all for every host"),
        ("  ", "", "write all for every host"),
        ("tag.role == web", "==", "compare with ="),
        ("tag.a = b && tag.c = d", "&&", "write and"),
        ("tag.a = b || tag.c = d", "||", "write or"),
        ("!tag.a", "!", "write not"),
        ("tag.a = b tag.c = d", "tag.c", "join tests with and or or; nothing is implied"),
        ("tag.a = b, tag.c = d", ",", "join them with and or or"),
        ("tag.a = b AND tag.c = d", "AND", "keywords are small: write and"),
        ("NOT tag.a = b", "NOT", "keywords are small: write not"),
        ("tag.a IN [b]", "IN", "keywords are small: write in"),
        ("role = web", "role", "did you mean tag.role?"),
        ("tags.role = web", "tags.role", "did you mean tag?"),
        ("nmae = web", "nmae", "did you mean name?"),
        ("tag:role = web", "tag:role", "did you mean tag.role?"),
        ("tag.k8s.io = web", "tag.k8s.io", "a key with dots stands in quotes: tag.\"k8s.io\""),
        ("tag.k8s.io/role = web", "tag.k8s.io/role", "write tag.\"k8s.io/role\""),
        ("tag.role is web", "is", "compare with ="),
        ("tag.role", "tag.role", "write has tag.role, or tag.role = value"),
        ("tag.role and all", "tag.role", "write has tag.role, or tag.role = value"),
        ("tag.a = [b, c]", "[", "compare with in [a, b]"),
        ("tag.a in b", "b", "write in [a, b]"),
        ("tag.a in []", "]", "write at least one value: in [a, b]"),
        ("tag.a in [b c]", "c", "write [a, b]"),
        ("tag.a in [b", "[", "close it with ]"),
        ("tag.a not like b", "not", "write not before the path: not tag.a"),
        ("tag.a = and tag.b = c", "and", "if it is the value, write \"and\""),
        ("name = db-*", "*", "write all for every host, or a pattern in quotes: name like \"db-*\""),
        ("(all", "(", "close it with )"),
        ("tag.a = 'b'", "'", "quote with \""),
        ("tag.a = \"b", "\"b", "end the string with \""),
        ("tag.a = b\u{200b}", "\u{200b}", "take it out; it cannot be seen"),
        ("tag.a = \"\u{202e}b\"", "\u{202e}", "write \\u{202e}"),
        ("fact.mem.total >= 16GB", "16GB", "write 16GiB"),
        ("fact.mem.total <", "", ""),
        ("tag.ring < 3", "<", "name the values: tag.ring in [a, b]"),
        ("name >= db", ">=", "name the values: name in [a, b]"),
        ("unit.nginx.restarts > 3", ">", "compare with = != in or like"),
        ("deb.python3.11 = 3", "deb.python3.11", "a name with dots stands in quotes: deb.\"python3.11\""),
        ("has deb.OpenSSL", "deb.OpenSSL", "names of packages are small: write openssl"),
        ("has deb.\"libc6:amd64\"", "deb.\"libc6:amd64\"", "every architecture is looked at: write libc6"),
        ("deb.a_b@c = 1", "deb.a_b@c", "write deb.\"a_b@c\""),
        ("deb.openssl < v3", "v3", "write a version as dpkg shows it, such as 3.0.13-1~deb12u1"),
        ("deb.openssl in [1, 2-]", "2-", "write a version as dpkg shows it, such as 3.0.13-1~deb12u1"),
        ("debs.openssl = 1", "debs.openssl", "did you mean deb?"),
        ("@web", "@", "write the selector out"),
        ("all and", "", "write tag.role = web, or all"),
    ] {
        let (found_at, message, found_hint) = refused(text);
        assert_eq!((found_at, found_hint.as_str()), (at, hint), "{text:?}: {message}");
    }
}

#[test]
fn what_is_not_built_says_so() {
    for text in ["ver(fact.x) = 1", "num(fact.x) = 1", "any disk(mount = /)", "every port(number = 23)"] {
        assert!(refused(text).1.ends_with("is not built yet"), "{text}");
    }
    assert_eq!(refused("disk < 1").1, "<: ordered comparisons of disk are not built yet");
    assert_eq!(refused("name matches x").1, "matches is not built yet");
}

#[test]
fn an_unknown_root_is_an_error_and_never_an_absent_value() {
    assert_eq!(refused("not environment.x = prod").1, "no path starts with environment");
    assert_eq!(refused("missing owner").1, "no path starts with owner");
    assert_eq!(refused("name.first = x").1, "nothing comes after name");
    assert!(refused("tag.Role = web").1.starts_with("no tag has this key"));
}

#[test]
fn an_error_is_drawn_under_its_text() {
    let text = "tag.env = prod and tag.role == web";
    assert_eq!(
        Selector::parse(text).unwrap_err().render(text),
        "== is not part of the language\n  tag.env = prod and tag.role == web\n                              ^^"
    );
}

#[test]
fn the_bounds_hold() {
    let depth = |levels: usize| format!("{}all{}", "(".repeat(levels), ")".repeat(levels));
    assert_eq!(parse(&depth(32)), Selector::all());
    assert!(refused(&depth(33)).1.contains("32 deep"));
    parse(&format!("{}all", "not ".repeat(32)));
    assert!(refused(&format!("{}all", "not ".repeat(33))).1.contains("32 deep"));
    for hostile in ["(", "not ", "not(", "((not not", "tag.a in [", "[", "tag.\""] {
        assert!(Selector::parse(&hostile.repeat(4096 / hostile.len())).is_err());
    }

    let tests = |count: usize| vec!["all"; count].join(" or ");
    parse(&tests(255));
    assert!(refused(&tests(256)).1.contains("more than 256"));
    let values = |count: usize| format!("name in [{}]", vec!["a"; count].join(","));
    parse(&values(255));
    assert!(refused(&values(256)).1.contains("more than 256"));

    let text = |bytes: usize| format!("name = {}", "x".repeat(bytes - 7));
    parse(&text(4096));
    let over = text(4097);
    let (at, message, _) = refused(&over);
    assert_eq!((at, message.as_str()), ("x", "the selector is 4097 bytes long; 4096 is the most"));
    // Printed, it would be longer than it may be written.
    assert!(refused(&format!("name={}", "x".repeat(4090))).1.contains("4097 bytes"));
}

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
    let host = Host([("tag.env".into(), Look::Conflict)].into());
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
    let host = Host(
        [
            ("tag.role".into(), Look::Value("web".into())),
            ("fact.os".into(), Look::Undecided),
            ("deb.openssl".into(), Look::Undecided),
        ]
        .into(),
    );
    for (text, possible) in [
        ("tag.role = web and fact.os = debian", true),
        ("tag.role = db and fact.os = debian", false),
        ("tag.role = db or fact.os = debian", true),
        ("tag.role = web and not fact.os = debian", true),
        ("tag.role = web and not has fact.os", true),
        ("tag.role = web and deb.openssl < 3", true),
        ("tag.role = db and deb.openssl < 3", false),
        ("tag.role = db or not deb.openssl = 3", true),
        ("missing tag.role and missing fact.os", false),
    ] {
        assert_eq!(parse(text).outcomes(&host).may_be_true(), possible, "{text}");
        assert!(!parse(text).selects(&host), "{text}");
    }
    assert_eq!(parse("has fact.os").outcomes(&host), Outcomes::DECIDABLE);
    assert_eq!(parse("fact.os = debian").outcomes(&host), Outcomes::ANY);
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
    let host = Host(
        [
            ("deb.libc6".into(), several(&["2.36-9", "2.31-1"])),
            ("deb.mixed".into(), several(&["1 2", "5"])),
            ("fact.mounts.type".into(), several(&["ext4", "", "tmpfs"])),
            ("fact.mounts.label".into(), several(&["", ""])),
        ]
        .into(),
    );
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
    assert_eq!(
        parse("has name").outcomes(&Host([("name".into(), Look::Values(vec![]))].into())),
        Outcomes::only(Truth::False)
    );
    assert_eq!(
        parse("name = a").outcomes(&Host([("name".into(), Look::Values(vec![]))].into())),
        Outcomes::only(Truth::Unknown)
    );
}

#[test]
fn facts_are_compared_as_numbers_or_as_versions() {
    let host = Host::with(&[
        ("fact.mem.total", "17179869184"),
        ("fact.os.version", "12 (bookworm)"),
        ("fact.kernel.version", "6.10.2-amd64"),
        ("fact.os.id", "debian"),
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
        ("fact.os.id < 16GiB", Truth::Unknown),
        ("fact.os.codename < x", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
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
    assert_eq!(parse("has fact.a.b.c").paths()[0].fact(), None);
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

// ---- laws ----

const PATHS: &[&str] = &[
    "tag.a",
    "tag.\"k8s.io/b\"",
    "tag.c",
    "name",
    "site",
    "fact.os.id",
    "fact.x",
    "fact.cpu.cores",
    "deb.openssl",
    "deb.\"python3.11\"",
    "unit.\"a@b\"",
];

fn path() -> impl Strategy<Value = Path> {
    prop::sample::select(PATHS).prop_map(|path| {
        let Expression::Has(path) = parse(&format!("has {path}")).expression().clone() else {
            unreachable!()
        };
        path
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &["u", "v", "w", "and", "all", "", "@", "a@b", "16GiB", "é", "\u{202e}", "a b", "\"\\"][..]
        )
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| text.chars().take(12).collect()),
    ]
}

fn deb_version() -> impl Strategy<Value = String> {
    "([0-9]:)?[0-9][0-9a-z.+~]{0,4}(-[0-9a-z.+~]{1,3})?"
}

/// A value that may stand after a path that is read so.
fn value_for(reading: Reading) -> BoxedStrategy<String> {
    match reading {
        Reading::Text => value().boxed(),
        Reading::Deb => deb_version().boxed(),
        Reading::Cell => {
            let value = prop_oneof![value(), "[0-9]{1,3}(GiB|MiB)?", deb_version()];
            value
                .prop_filter("no unit of another system", |value| Reading::Cell.check(value, true).is_ok())
                .boxed()
        }
    }
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(&[Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual][..])
}

fn test(reading: Reading) -> BoxedStrategy<Test> {
    let one = || value_for(reading);
    let list = || prop::collection::vec(value_for(reading), 1..4);
    let ordered = u32::from(reading != Reading::Text) * 4;
    prop_oneof![
        2 => one().prop_map(Test::Equal),
        2 => one().prop_map(Test::NotEqual),
        2 => list().prop_map(Test::In),
        2 => list().prop_map(Test::NotIn),
        2 => "[uvw*?]{0,3}".prop_map(Test::Like),
        ordered => (order(), one()).prop_map(|(order, value)| Test::Ordered(order, value)),
    ]
    .boxed()
}

/// A comparison that can be written.
fn comparison() -> impl Strategy<Value = Expression> {
    path().prop_flat_map(|path| {
        test(Reading::of(&path)).prop_map(move |test| Expression::Compare(path.clone(), test))
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        1 => Just(Expression::All),
        1 => Just(Expression::None),
        2 => path().prop_map(Expression::Has),
        2 => path().prop_map(Expression::Missing),
        6 => comparison(),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::and),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::or),
            inner.prop_map(|inner| Expression::Not(Box::new(inner))),
        ]
    })
}

fn look(conflicts: bool) -> impl Strategy<Value = Look<'static>> {
    let some = || prop::sample::select(&["u", "v", "w", "1.0-1", "2", "17179869184"][..]);
    prop_oneof![
        4 => some().prop_map(|value| Look::Value(value.into())),
        2 => prop::collection::vec(some(), 0..4).prop_map(Look::any),
        2 => Just(Look::Absent),
        u32::from(conflicts) => Just(Look::Conflict),
    ]
}

fn host() -> impl Strategy<Value = Host> {
    PATHS
        .iter()
        .map(|path| look(path.starts_with("tag.")).prop_map(move |look| ((*path).to_owned(), look)))
        .collect::<Vec<_>>()
        .prop_map(|looks| Host(looks.into_iter().collect()))
}

/// A host with one tag.
struct Tagged(String, String);

impl Subject for Tagged {
    fn look(&self, path: &Path) -> Look<'_> {
        if path.tag() == Some(self.0.as_str()) { Look::Value(self.1.as_str().into()) } else { Look::Absent }
    }
}

/// Words and marks of the language, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = &[
        "and",
        "or",
        "not",
        "all",
        "none",
        "has",
        "missing",
        "in",
        "like",
        "any",
        "ver",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "!=",
        "<",
        ">=",
        "16GiB",
        "1:2~3-4",
        "deb.openssl",
        "fact.mem.total",
        "deb.\"a.b\"",
        "==",
        "&&",
        "!",
        "@",
        "tag.a",
        "tag.\"b/c\"",
        "name",
        "fact.os.id",
        "u",
        "\"v w\"",
        "\"",
        "\\",
        ".",
        "*",
        "é",
        "\u{202e}",
        "\n",
    ][..];
    let piece = prop_oneof![
        3 => prop::sample::select(&["tag.a = u", "and", "or", "not", "(", ")", "all", "has name"][..]),
        2 => prop::sample::select(pieces),
    ];
    prop::collection::vec((piece, prop::bool::weighted(0.8)), 0..40).prop_map(|pieces| {
        pieces.into_iter().flat_map(|(piece, gap)| [piece, if gap { " " } else { "" }]).collect()
    })
}

/// Whatever the text, it is read or refused in words; and what was read prints and reads back.
fn read_or_refused(text: &str) -> Result<(), TestCaseError> {
    match Selector::parse(text) {
        Ok(selector) => {
            let printed = selector.to_string();
            let again =
                Selector::parse(&printed).map_err(|error| TestCaseError::fail(error.render(&printed)))?;
            prop_assert_eq!(&again, &selector);
            prop_assert_eq!(again.to_string(), printed);
        }
        Err(error) => {
            let rendered = error.render(text);
            let said = format!("{rendered}{}", error.hint.unwrap_or_default());
            prop_assert!(!said.chars().any(|c| c != '\n' && character::is_hidden(c)), "{said:?}");
            prop_assert_eq!(rendered.lines().count(), 3);
            prop_assert!(rendered.len() < 1500, "{rendered:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_printed_reads_back(expression in expression()) {
        let selector = Selector::from_expression(&expression)
            .map_err(|error| TestCaseError::fail(error.render(&expression.to_string())))?;
        prop_assert_eq!(selector.expression(), &expression);
        prop_assert_eq!(selector.to_string(), expression.to_string());
        prop_assert!(!selector.to_string().chars().any(character::is_hidden));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read_or_refused(&text)?;
    }

    #[test]
    fn any_words_are_read_or_refused(text in soup()) {
        read_or_refused(&text)?;
    }

    #[test]
    fn any_change_of_one_byte_is_read_or_refused(expression in expression(), at in any::<prop::sample::Index>(), c in any::<char>()) {
        let mut chars: Vec<char> = expression.to_string().chars().collect();
        let at = at.index(chars.len());
        chars[at] = c;
        read_or_refused(&chars.into_iter().collect::<String>())?;
    }

    #[test]
    fn all_that_is_known_gives_one_truth(expression in expression(), host in host()) {
        let outcomes = expression.outcomes(&host);
        prop_assert_eq!(Truth::EVERY.into_iter().filter(|truth| outcomes.is(*truth)).count(), 1);
        let denied = Expression::Not(Box::new(expression.clone()));
        prop_assert_eq!(denied.outcomes(&host), outcomes.negated());
        let both = Expression::and(vec![expression.clone(), denied.clone()]);
        prop_assert!(!both.outcomes(&host).may_be_true());
        let either = Expression::or(vec![expression, denied]);
        prop_assert!(!either.outcomes(&host).may_be(Truth::False));
    }

    #[test]
    fn knowing_less_loses_no_outcome(expression in expression(), host in host(), hidden in prop::collection::vec(any::<bool>(), PATHS.len())) {
        let mut blurred = host.clone();
        for (look, hide) in blurred.0.values_mut().zip(hidden) {
            if hide && *look != Look::Conflict {
                *look = Look::Undecided;
            }
        }
        let (exact, possible) = (expression.outcomes(&host), expression.outcomes(&blurred));
        prop_assert!(possible.covers(exact), "{possible:?} lacks {exact:?}");
    }

    #[test]
    fn facts_never_widen(expression in expression(), host in host()) {
        let mut tags_alone = host.clone();
        for (path, look) in &mut tags_alone.0 {
            if !path.starts_with("tag.") {
                *look = Look::Undecided;
            }
        }
        let outcomes = expression.outcomes(&tags_alone);
        prop_assert!(outcomes.may_be_true() || !expression.outcomes(&host).may_be_true());
        if expression.uses_tags_only() {
            prop_assert_eq!(outcomes, expression.outcomes(&host));
        }
    }

    #[test]
    fn narrowing_selects_what_both_select(a in expression(), b in expression(), host in host()) {
        let (a, b) = (Selector::from_expression(&a), Selector::from_expression(&b));
        let (Ok(a), Ok(b)) = (a, b) else { return Err(TestCaseError::fail("within the bounds")) };
        let expected = a.outcomes(&host).and(b.outcomes(&host));
        let both = a.and(b).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(both.outcomes(&host), expected);
    }

    #[test]
    fn any_label_that_is_a_tag_selects_its_host(key in "[a-z0-9][a-z0-9._/-]{0,62}", value in "\\PC{1,128}") {
        if check_tag(&key, &value).is_err() {
            prop_assert!(Selector::from_labels(&[(&key, &value)]).is_err());
            return Ok(());
        }
        let selector = Selector::from_labels(&[parse_label(&format!("{key}={value}")).unwrap()])
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(selector.uses_tags_only());
        prop_assert!(selector.selects(&Tagged(key.clone(), value.clone())));
        let (other_key, other_value) = (format!("{key}x"), format!("{value}x"));
        prop_assert!(!selector.selects(&Tagged(key, other_value)));
        prop_assert!(!selector.selects(&Tagged(other_key, value)));
    }
}
