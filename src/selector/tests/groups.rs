//! Saved selectors, and what each test says.

use super::*;

fn groups(name: &str) -> Option<Selector> {
    let text = match name {
        "web" => "tag.role = web or tag.role = proxy",
        "prod-web" => "@web and tag.env = prod",
        "a" => "tag.x = 1 and @b",
        "b" => "not @c",
        "c" => "@a",
        "self" => "@self",
        "lost" => "tag.x = 1 and @nowhere",
        "deep" => "not not not not not not not not not not not not not not not not not not not not all",
        "wide" => "@w1 or @w1 or @w1 or @w1",
        "w1" => "@w2 or @w2 or @w2 or @w2",
        "w2" => "@w3 or @w3 or @w3 or @w3",
        "w3" => "@w4 or @w4 or @w4 or @w4",
        "w4" => "all or all or all or all",
        _ => {
            let depth: u32 = name.strip_prefix("down-")?.parse().ok()?;
            return Some(parse(&format!("not (@down-{} and all)", depth + 1)));
        }
    };
    Some(parse(text))
}

fn expanded(text: &str) -> String {
    parse(text).expand(&groups).unwrap().to_string()
}

fn fault(text: &str) -> (String, String) {
    let error = parse(text).expand(&groups).unwrap_err();
    let Position { offset, length } = error.position;
    (text[offset..offset + length].to_owned(), error.message)
}

#[test]
fn groups_are_put_in_their_places() {
    assert_eq!(expanded("@web"), "tag.role = web or tag.role = proxy");
    assert_eq!(expanded("site = a and @web"), "site = a and (tag.role = web or tag.role = proxy)");
    assert_eq!(expanded("not @web"), "not (tag.role = web or tag.role = proxy)");
    assert_eq!(expanded("has name or @web"), "has name or tag.role = web or tag.role = proxy");
    assert_eq!(
        expanded("@prod-web and not @web"),
        "(tag.role = web or tag.role = proxy) and tag.env = prod and not (tag.role = web or tag.role = proxy)"
    );
    let plain = parse("tag.a  =  b");
    assert_eq!(plain.expand(&groups).unwrap().text(), "tag.a  =  b");
    assert_eq!(parse("@web and @web or @prod-web").groups(), ["web", "prod-web"]);
}

#[test]
fn what_cannot_be_put_in_its_place_is_pointed_at() {
    for (text, at, message) in [
        ("all and @none-such", "@none-such", "no group is called none-such"),
        ("all or @lost", "@lost", "@lost asks for @nowhere, which is no group"),
        ("@web or @a", "@a", "a group is within itself: @a @b @c @a"),
        ("@self", "@self", "a group is within itself: @self @self"),
        ("@down-1", "@down-1", "groups and parentheses are nested more than 32 deep"),
        ("@wide", "@wide", "with its groups written out, the selector has more than 256 tests and operators"),
        (
            "not not not not not not not not not not not not not @deep",
            "not not not not not not not not not not not not not @deep",
            "with its groups written out, parentheses and not are nested more than 32 deep",
        ),
    ] {
        assert_eq!(fault(text), (at.to_owned(), message.to_owned()), "{text}");
    }
}

#[test]
fn before_it_is_expanded_a_group_selects_nobody_and_is_no_scope() {
    let host = Host::with(&[("tag.role", "web")]);
    for text in ["@web", "not @web", "@web or tag.role = db", "tag.role = web and not @frozen"] {
        assert_eq!(truth(text, &host), Truth::Unknown, "{text}");
    }
    assert!(!parse("@web").uses_tags_only());
    assert!(parse("@web").expand(&groups).unwrap().uses_tags_only());
}

#[test]
fn each_test_says_what_it_says_of_a_host() {
    let selector = parse(
        "(tag.role = web or any disk(used > 90% and mount = /)) and not (has tag.frozen or all) and @web",
    );
    let leaves: Vec<String> = selector.leaves().into_iter().map(|leaf| leaf.text).collect();
    assert_eq!(
        leaves,
        ["tag.role = web", "any disk(used > 90% and mount = /)", "has tag.frozen", "all", "@web"]
    );
    let host = Host::with(&[("tag.role", "db")]).table("mounts", "path used_percent", &[&["/", "95"]]);
    assert_eq!(
        selector.evaluate_leaves(&host),
        [Truth::False, Truth::True, Truth::False, Truth::True, Truth::Unknown]
    );
}

#[test]
fn names_of_groups_keep_their_rule() {
    for name in ["web", "change-freeze", "a.b_c", "0"] {
        assert_eq!(check_group_name(name), Ok(()), "{name}");
    }
    for name in ["", "-a", "Web", "a/b", "a b", &"a".repeat(64)] {
        assert!(check_group_name(name).is_err(), "{name}");
    }
}
