//! `any` and `every`, and paths that look into tables.

use super::*;

fn disks(rows: &[&[&str]]) -> Host {
    Host::default().table("mounts", "path type used_percent blocks blocks_size", rows)
}

#[test]
fn of_no_rows_any_is_false_and_every_true() {
    let host = disks(&[]);
    for (text, expected) in [
        ("any disk(mount = /)", Truth::False),
        ("any disk(all)", Truth::False),
        ("every disk(mount = /)", Truth::True),
        ("every disk(none)", Truth::True),
        ("has disk", Truth::False),
        ("missing disk", Truth::True),
        ("disk.mount = /", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn of_a_table_that_nobody_tells_all_is_unknown_but_what_no_row_could_change() {
    let host = Host::default();
    for (text, expected) in [
        ("any disk(mount = /)", Truth::Unknown),
        ("any disk(all)", Truth::Unknown),
        ("any disk(none)", Truth::False),
        ("every disk(mount = /)", Truth::Unknown),
        ("every disk(all)", Truth::True),
        ("has disk", Truth::Unknown),
        ("missing disk", Truth::Unknown),
        ("has unit.nginx", Truth::Unknown),
        ("missing unit.nginx", Truth::Unknown),
        ("unit.nginx.state = failed", Truth::Unknown),
        ("has vuln", Truth::Unknown),
        ("has pkg.openssl", Truth::Unknown),
        ("rpm.kernel < 5", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn rows_are_joined_as_or_and_and_have_it() {
    let host = disks(&[&["/", "ext4", "95"], &["/srv", "xfs", ""], &["/home", "ext4", "20"]]);
    for (text, expected) in [
        ("any disk(used > 90%)", Truth::True),
        ("any disk(used > 99%)", Truth::Unknown),
        ("any disk(type = ext4 and used > 99%)", Truth::False),
        ("every disk(used > 10%)", Truth::Unknown),
        ("every disk(used > 30%)", Truth::False),
        ("every disk(missing used or used > 10%)", Truth::True),
        ("every disk(type = ext4 or has type)", Truth::True),
        ("any disk(missing used)", Truth::True),
        ("any disk(mount = / and type = xfs)", Truth::False),
        ("not any disk(mount = /tmp)", Truth::True),
        ("disk.type = xfs", Truth::True),
        ("disk.type != xfs", Truth::True),
        ("any fact.mounts(path = / and type = ext4)", Truth::True),
        ("any fact.mounts(nonsense = 1)", Truth::Unknown),
        ("any fact.mounts(has nonsense)", Truth::Unknown),
        ("any disk(has free)", Truth::Unknown),
        ("any disk(free < 1GiB)", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn a_size_is_made_of_blocks() {
    let host = disks(&[&["/", "ext4", "1", "4194304", "4096"], &["/nfs", "nfs4", "1", "", ""]]);
    for (text, expected) in [
        ("any disk(mount = / and size = 16GiB)", Truth::True),
        ("any disk(size > 17GB)", Truth::True),
        ("any disk(mount = /nfs and has size)", Truth::False),
        ("disk.size >= 16GiB", Truth::True),
        ("disk.size > 16GiB", Truth::False),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
    assert_eq!(truth("any disk(size > 1B)", &disks(&[&["/", "ext4", "1", "x", "4096"]])), Truth::Unknown);
}

#[test]
fn a_unit_is_a_row_by_its_name() {
    let host = Host::default().table(
        "systemd_units",
        "id active_state restarts",
        &[&["nginx.service", "failed", "3"], &["backup.timer", "active", ""]],
    );
    for (text, expected) in [
        ("has unit.nginx", Truth::True),
        ("has unit.\"nginx.service\"", Truth::True),
        ("has unit.backup", Truth::False),
        ("has unit.\"backup.timer\"", Truth::True),
        ("missing unit.sshd", Truth::True),
        ("unit.sshd.state = failed", Truth::Unknown),
        ("unit.nginx.state = failed", Truth::True),
        ("unit.nginx.restarts > 2", Truth::True),
        ("has unit.\"backup.timer\".restarts", Truth::False),
        ("unit.nginx.user = root", Truth::Unknown),
        ("has unit.nginx.user", Truth::Unknown),
        ("any unit(state = failed)", Truth::True),
        ("every unit(state in [active, failed])", Truth::True),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn packages_of_any_kind_are_rows_with_their_ecosystem() {
    let host = Host::default()
        .table("deb_packages", "name version", &[&["lodash", "1:2-1"], &["bash", "5.2-1"]])
        .table("npm_packages", "name version", &[&["lodash", "4.17.15"]]);
    for (text, expected) in [
        ("any pkg(eco = npm and name = lodash)", Truth::True),
        ("any pkg(eco = npm and name = bash)", Truth::False),
        // Nobody tells of packages of rpm.
        ("any pkg(name = zsh)", Truth::Unknown),
        ("any pkg(eco = rpm)", Truth::Unknown),
        ("any pkg(eco in [deb, npm] and name = zsh)", Truth::False),
        ("any pkg(name = bash and version < 6)", Truth::True),
        ("every pkg(eco in [rpm, apk, pip] or name != zsh)", Truth::True),
        ("has pkg.bash", Truth::True),
        ("has pkg.zsh", Truth::Unknown),
    ] {
        assert_eq!(truth(text, &host), expected, "{text}");
    }
}

#[test]
fn who_knows_tags_alone_leaves_rows_undecided() {
    struct Tags;
    impl Subject for Tags {
        fn look(&self, path: &Path) -> Look<'_> {
            if path.tag() == Some("role") { Look::Value("web".into()) } else { Look::Undecided }
        }
    }
    for (text, possible) in [
        ("tag.role = web and any disk(used > 90%)", true),
        ("tag.role = db and any disk(used > 90%)", false),
        ("tag.role = db or every port(number != 23)", true),
        ("tag.role = web and any disk(none)", false),
        ("not every disk(all)", false),
        ("any pkg(eco = deb and eco = rpm)", false),
        ("@web", false),
        ("tag.role = web and not @web", false),
    ] {
        assert_eq!(parse(text).outcomes(&Tags).may_be_true(), possible, "{text}");
        assert!(!parse(text).selects(&Tags), "{text}");
    }
}

#[test]
fn a_column_is_looked_up_over_all_rows_or_those_of_one_name() {
    let host = disks(&[&["/", "ext4"], &["/srv", "xfs"], &["/home", "ext4"]]);
    let look = |text: &str| {
        let selector = parse(&format!("has {text}"));
        let path = selector.paths()[0].clone();
        path.look_in(&host)
    };
    let values = |look: Look<'_>| match look {
        Look::Values(values) => values.into_iter().map(std::borrow::Cow::into_owned).collect(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(values(look("disk.type")), ["ext4", "xfs"]);
    assert_eq!(look("disk"), Look::Value("3".into()));
    assert_eq!(look("disk.free"), Look::Unknown);
    assert_eq!(look("ip"), Look::Unknown);
    assert_eq!(look("tag.a"), Look::Undecided);
    assert_eq!(parse("has disk.mount").paths()[0].tables().collect::<Vec<_>>(), ["mounts"]);
    assert_eq!(parse("any pkg(all)").paths()[0].tables().count(), 5);
    assert_eq!(parse("has tag.a").paths()[0].tables().count(), 0);
}
