//! What is refused, and what is said then.

use super::*;

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
        ("tag.a in b", "b", "write in [b], or = b"),
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
        ("fact.mem.total >= 16G", "16G", "write 16GiB"),
        ("fact.mem.total <", "", ""),
        ("tag.ring < 3", "<", "say as what: num(tag.ring) < 3, or ver(tag.ring) < 1.2"),
        ("name >= db", ">=", "name the values: name in [a, b]"),
        ("deb.python3.11 = 3", "deb.python3.11", "a name with dots stands in quotes: deb.\"python3.11\""),
        ("has deb.OpenSSL", "deb.OpenSSL", "names of packages are small: write openssl"),
        ("has deb.\"libc6:amd64\"", "deb.\"libc6:amd64\"", "every architecture is looked at: write libc6"),
        ("deb.a_b@c = 1", "deb.a_b@c", "write deb.\"a_b@c\""),
        ("deb.openssl < v3", "v3", "write a version as dpkg shows it, such as 3.0.13-1~deb12u1"),
        ("deb.openssl in [1, 2-]", "2-", "write a version as dpkg shows it, such as 3.0.13-1~deb12u1"),
        ("debs.openssl = 1", "debs.openssl", "did you mean deb?"),
        ("all and", "", "write tag.role = web, or all"),
    ] {
        let (found_at, message, found_hint) = refused(text);
        assert_eq!((found_at, found_hint.as_str()), (at, hint), "{text:?}: {message}");
    }
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

/// A text of the table, as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        rest = if let Some(after) = after.strip_prefix('\\') {
            plain.push('\\');
            after
        } else {
            let (number, after) =
                after.strip_prefix("u{").and_then(|after| after.split_once('}')).expect(text);
            plain.push(char::from_u32(u32::from_str_radix(number, 16).expect(text)).expect(text));
            after
        };
    }
    plain + rest
}

#[test]
fn every_malformed_selector_has_its_message() {
    let lines = include_str!("malformed.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let [text, at, message, hint] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let text = unescaped(text);
        let (found_at, found, found_hint) = refused(&text);
        assert_eq!(
            (found_at, found.as_str(), found_hint.as_str()),
            (&*unescaped(at), message, hint),
            "{text:?}"
        );
        count += 1;
    }
    assert!(count >= 300, "{count}");
}

#[test]
fn hostile_texts_are_refused() {
    let fill = |piece: &str| piece.repeat(4096 / piece.len());
    let pairs = "(".repeat(2046) + "all" + &")".repeat(2046);
    let globs = format!("name like \"{}\"", "*a".repeat(2000));
    let patterns = ["name matches \"(a{50}){10}\""; 9].join(" or ");
    let nested = format!("name matches \"{}a{}\"", "(".repeat(200), ")".repeat(200));
    let classes = format!("name matches \"{}\"", "[^a]".repeat(20));
    for text in [
        fill("("),
        fill(")"),
        fill("()"),
        fill("not "),
        fill("any disk("),
        fill("ver("),
        fill("["),
        fill("\""),
        fill("@a "),
        fill("tag.a = b and "),
        fill("a."),
        fill("\u{202e}"),
        pairs,
        globs,
        patterns,
        nested,
        "a".repeat(1_000_000),
    ] {
        let error = Selector::parse(&text).expect_err(&text);
        assert!(error.render(&text).len() < 1500);
    }
    parse(&classes);
}

#[test]
fn what_is_too_long_is_so_from_a_whole_character_on() {
    let text = "a".repeat(4095) + "é";
    let (at, message, _) = refused(&text);
    assert_eq!((at, message.as_str()), ("é", "the selector is 4097 bytes long; 4096 is the most"));
}
