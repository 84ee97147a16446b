use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    authority::{Op, OpAction},
    control::testing::{NOW, TestFleet},
    identity::{HostId, Signed, WriterId},
    time::Hlc,
};

const LIMIT: usize = 512;

struct Saved {
    fleet: TestFleet,
    last: Option<Signed<Op>>,
}

impl Saved {
    fn of(hosts: &[(&str, &str)]) -> Self {
        let mut fleet = TestFleet::acme();
        for (name, role) in hosts {
            fleet.host(name, &[("role", role)]);
        }
        Self { fleet, last: None }
    }

    fn web() -> Self {
        Self::of(&[
            ("web-1", "web"),
            ("web-2", "web"),
            ("db-1", "db"),
            ("far-1", "quiet"),
            ("cache", "cache"),
        ])
    }

    fn save_by(&mut self, writer: u8, name: &str, text: &str) {
        let previous = self.last.take().filter(|op| op.body().writer == WriterId([writer; 16]));
        let op = Op {
            writer: WriterId([writer; 16]),
            sequence: previous.as_ref().map_or(0, |op| op.body().sequence + 1),
            previous: previous.as_ref().map(Signed::id),
            at: Hlc(NOW.0 << 16),
            certificate: self.fleet.certificate,
            supersedes: Vec::new(),
            action: OpAction::Group { name: name.to_owned(), selector: Some(text.to_owned()) },
        };
        let op = Signed::sign(self.fleet.replica.fleet(), &self.fleet.operator, op);
        self.fleet.merge(op.bytes(), &[]);
        self.last = Some(op);
    }

    fn save(&mut self, name: &str, text: &str) {
        self.save_by(1, name, text);
    }

    fn resolve(&self, targets: &Targets) -> Result<Resolved<'_>, TargetError> {
        let asked = targets.ask(&self.fleet.replica, LIMIT)?;
        resolve(&asked, None, &self.fleet.replica, LIMIT)
    }

    fn names(&self, targets: &Targets) -> Result<Vec<String>, TargetError> {
        let resolved = self.resolve(targets)?;
        assert!(resolved.ids().is_sorted_by(|a, b| a < b), "a roster is in order of ids");
        let mut names: Vec<String> = resolved.hosts.iter().map(|host| host.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }
}

fn hosts(names: &[&str]) -> Targets {
    Targets { hosts: names.iter().map(|name| (*name).to_owned()).collect(), ..Targets::default() }
}

fn expression(text: &str) -> Targets {
    Targets { expression: Some(text.to_owned()), ..Targets::default() }
}

fn group(name: &str) -> Targets {
    Targets { groups: vec![name.to_owned()], ..Targets::default() }
}

fn ssm(text: &str) -> Targets {
    Targets { ssm: vec![text.to_owned()], ..Targets::default() }
}

#[test]
fn no_target_is_no_action() {
    let fleet = Saved::web();
    let part = Targets { sample: Some(Share::Percent(1000)), limit: Some(3), ..Targets::default() };
    for nothing in [Targets::default(), part] {
        assert!(nothing.is_empty());
        let error = fleet.names(&nothing).unwrap_err();
        assert_eq!((error.code(), &error), (2, &TargetError::Missing));
        let hints = error.hints("muster run", "-- uptime");
        assert!(hints.contains(&"muster run --all -- uptime".to_owned()), "{hints:?}");
    }
}

#[test]
fn every_way_to_say_it_finds_the_same_hosts() {
    let mut fleet = Saved::web();
    fleet.save("web", "tag.role = web");
    fleet.save("front", "@web and not @none");
    fleet.save("none", "none");
    for targets in [
        expression("tag.role = web"),
        expression("@web"),
        expression("@front"),
        Targets { labels: vec!["role=web".to_owned()], ..Targets::default() },
        hosts(&["web-[1-2]"]),
        hosts(&["web-1", "web-2"]),
        group("web"),
        group("@web"),
        group("front"),
        ssm("Key=tag:role,Values=web"),
        ssm("Key=tag:role,Values=web,mail"),
        ssm("Key=tag-key,Values=role,x Key=tag:role,Values=web"),
        ssm("Key=InstanceIds,Values=web-1,web-2"),
        ssm("Key=InstanceIds,Values=* Key=tag:role,Values=web"),
        ssm("Key=tag:role,Values=\"web\",\"no, such role\" Key=tag-key,Values=role"),
    ] {
        assert_eq!(fleet.names(&targets).unwrap(), ["web-1", "web-2"], "{targets:?}");
    }
    assert_eq!(fleet.names(&Targets::everyone()).unwrap().len(), 5);
}

#[test]
fn an_order_carries_what_a_group_stood_for() {
    let mut fleet = Saved::web();
    fleet.save("web", "tag.role = web");
    let text = |targets: &Targets| fleet.resolve(targets).unwrap().selector.text().to_owned();
    assert_eq!(text(&expression("@web and name = web-1")), "tag.role = web and name = web-1");
    assert_eq!(text(&group("web")), "tag.role = web");
    assert_eq!(text(&expression("tag.role   = web")), "tag.role   = web", "without groups as it was written");
}

#[test]
fn what_is_given_together_narrows() {
    let mut fleet = Saved::web();
    fleet.save("web", "tag.role = web");
    let mut targets = hosts(&["web-1", "db-1"]);
    targets.labels = vec!["role=web".to_owned()];
    let resolved = fleet.resolve(&targets).unwrap();
    assert_eq!(resolved.selector.to_string(), "tag.role = web and name = web-1");
    assert!(resolved.one_named);
    targets.groups = vec!["web".to_owned()];
    targets.ssm = vec!["Key=InstanceIds,Values=web-1,web-2".to_owned()];
    assert_eq!(fleet.names(&targets).unwrap(), ["web-1"]);
    targets.all = true;
    assert_eq!(fleet.names(&targets).unwrap_err(), TargetError::AllAndMore);
}

#[test]
fn a_group_that_says_nothing_for_sure_is_an_error() {
    let mut fleet = Saved::web();
    fleet.save("web", "tag.role = web");
    fleet.save("odd", "tag.role ==");
    fleet.save("circle", "@circle");
    fleet.save_by(2, "web", "tag.role = db");
    for (targets, part) in [
        (group("web"), "group web is in conflict: tag.role = db against tag.role = web"),
        (expression("tag.role = web and @web"), "group web is in conflict"),
        (group("odd"), "group odd cannot be read"),
        (group("circle"), "@circle @circle"),
        (group("wbe"), "no group is called wbe"),
        (group("nothing-like-it"), "no group is called nothing-like-it"),
        (expression("@wbe"), "no group is called wbe"),
    ] {
        let error = fleet.names(&targets).unwrap_err();
        assert_eq!(error.code(), 2, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.hints("muster run", "").is_empty(), "{error}");
    }
    let near = fleet.names(&group("wbe")).unwrap_err();
    assert_eq!(near.hints("muster run", ""), ["did you mean web?"]);
}

#[test]
fn ssms_words_that_mean_nothing_here_are_pointed_at() {
    let fleet = Saved::web();
    for (text, part, at) in [
        ("", "no target was given", 0),
        ("role=web", "a target is Key=…,Values=…", 0),
        ("Key=tag:role", "a target is", 0),
        ("Key=tag:role,Values=web,", "a value is empty", 24),
        ("Key=tag:role,Values=\"web", "quotes stand around a whole value", 20),
        ("Key=tag:role,Values=web,\"a\"b", "quotes stand around a whole value", 24),
        ("Key=tag:Role,Values=web", "a key is made of small letters", 8),
        ("Key=tag:role,Values=web Key=Name,Values=x", "the keys that are known are", 28),
        ("Key=resource-groups:Name,Values=Prod", "kept by AWS", 4),
        ("Key=resource-groups:ResourceTypeFilters,Values=AWS::EC2", "kept by AWS", 4),
    ] {
        let error = fleet.names(&ssm(text)).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
        let TargetError::Ssm { at: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*found, at, "{error}");
    }
    let group = fleet.names(&ssm("Key=resource-groups:Name,Values=Prod")).unwrap_err();
    assert_eq!(group.hints("muster run", ""), ["save one here: muster group set prod 'tag.role = web'"]);
    let unknown = fleet.names(&ssm("Key=InstanceIds,Values=i-02573cafcfEXAMPLE")).unwrap_err();
    assert!(matches!(unknown, TargetError::UnknownName { .. }), "{unknown}");
}

#[test]
fn values_of_ssm_are_values_and_not_language() {
    let mut fleet = Saved::of(&[("web-1", "a\"] or all or x in [\"b\\"), ("web-2", "web")]);
    assert_eq!(fleet.names(&ssm("Key=tag:role,Values=a\"]")).unwrap_err().code(), 3);
    fleet.fleet.host("hall", &[("role", "web server, old")]);
    let quoted = "Key=tag:role,Values=\"web server, old\",db Key=InstanceIds,Values=*";
    assert_eq!(fleet.names(&ssm(quoted)).unwrap(), ["hall"]);
    fleet.fleet.host("odd", &[("role", "a\"]b\\")]);
    assert_eq!(fleet.names(&ssm("Key=tag:role,Values=a\"]b\\")).unwrap(), ["odd"]);
}

#[test]
fn a_set_of_names_that_does_not_fit_is_refused_before_it_is_expanded() {
    let fleet = Saved::web();
    let error = fleet.names(&hosts(&["web-[1-99999999]"])).unwrap_err();
    assert!(error.to_string().starts_with("this names 99999999 hosts, over the limit of 512"), "{error}");
}

#[test]
fn what_matches_nobody_names_the_tag_value_or_name_that_is_nearest() {
    let fleet = Saved::web();
    for (text, typed, near) in [
        ("tag.rol = web", "tag.rol", "tag.role"),
        ("tag.role = wbe", "tag.role = wbe", "tag.role = web"),
        ("tag.role in [nothing, wbe]", "tag.role = wbe", "tag.role = web"),
        ("name = wbe-1", "name = wbe-1", "name = web-1"),
        ("tag.role = nothing-like-it", "", ""),
    ] {
        let error = fleet.names(&expression(text)).unwrap_err();
        if near.is_empty() {
            assert!(!error.to_string().contains("none has"), "{error}");
            continue;
        }
        assert!(error.to_string().ends_with(&format!("none has {typed}")), "{error}");
        assert_eq!(error.hints("muster run", "")[0], format!("did you mean {near}?"));
        assert_eq!(error.code(), 3);
    }
}

#[test]
fn names_go_by_unique_prefix_and_ids_and_the_rest_is_guessed() {
    let mut fleet = Saved::web();
    assert_eq!(fleet.names(&hosts(&["db"])).unwrap(), ["db-1"]);
    let id = fleet.resolve(&hosts(&["db-1"])).unwrap().ids()[0].to_string();
    assert_eq!(fleet.names(&hosts(&[&id[..10]])).unwrap(), ["db-1"]);
    let ambiguous = fleet.names(&hosts(&["web"])).unwrap_err();
    assert_eq!(ambiguous.code(), 2);
    assert!(ambiguous.to_string().starts_with("web could be web-"), "{ambiguous}");
    let unknown = fleet.names(&hosts(&["wbe-1"])).unwrap_err();
    assert_eq!((unknown.code(), unknown.hints("", "")), (3, vec!["did you mean web-1?".to_owned()]));
    // Who left is not meant, and a host may not hide behind another's name.
    let gone = fleet.fleet.host("gone", &[]);
    fleet.fleet.leaves(gone);
    assert_eq!(fleet.names(&hosts(&["gone"])).unwrap_err().code(), 3);
    fleet.fleet.host("web-1", &[]);
    assert!(
        matches!(fleet.names(&hosts(&["web-1"])), Err(TargetError::Ambiguous { hosts, .. }) if hosts.len() == 2)
    );
}

#[test]
fn what_hosts_say_of_themselves_only_narrows() {
    let fleet = Saved::web();
    let replica = &fleet.fleet.replica;
    let asked = expression("tag.role = web and deb.openssl < 3").ask(replica, LIMIT).unwrap();
    assert!(asked.of_facts().is_some());
    let none = resolve(&asked, None, replica, LIMIT).unwrap_err();
    assert_eq!(none.code(), 3);
    // An agent that says it of all cannot bring in whom the tags exclude.
    let all: BTreeSet<HostId> = replica.authority().members().map(crate::authority::Host::id).collect();
    assert_eq!(resolve(&asked, Some(&all), replica, LIMIT).unwrap().hosts.len(), 2);
    let asked = expression("tag.role = web").ask(replica, LIMIT).unwrap();
    assert!(asked.of_facts().is_none());
}

#[test]
fn samples_and_limits_are_the_same_each_time_and_never_nobody() {
    let names: Vec<String> = (0..40).map(|at| format!("n-{at}")).collect();
    let fleet = Saved::of(&names.iter().map(|name| (name.as_str(), "n")).collect::<Vec<_>>());
    let part = |sample: Option<&str>, limit| {
        let sample = sample.map(|text| text.parse().unwrap());
        fleet.names(&Targets { sample, limit, ..Targets::everyone() }).unwrap()
    };
    assert_eq!(part(None, Some(3)), ["n-0", "n-1", "n-2"]);
    assert_eq!(part(None, Some(11)).last().unwrap(), "n-9", "numbers count as numbers");
    let tenth = part(Some("10%"), None);
    assert_eq!((tenth.len(), &tenth), (4, &part(Some("10%"), None)));
    assert_eq!(part(Some("0.01%"), None).len(), 1);
    assert_eq!(part(Some("100%"), None).len(), 40);
    assert_eq!(part(Some("7"), Some(2)).len(), 2);
    let more = part(Some("50%"), None);
    assert!(tenth.iter().all(|name| more.contains(name)), "a larger share has all of a smaller one");
    let other =
        fleet.names(&Targets { sample: Some(Share::Hosts(20)), ..expression("tag.role = n") }).unwrap();
    assert_ne!(other, more, "another selector asks another part");
    let targets = Targets { limit: Some(1), ..Targets::everyone() };
    assert_eq!(fleet.resolve(&targets).unwrap().matched, 40);
}

#[test]
fn more_hosts_than_may_be_is_a_clear_error_unless_they_are_limited() {
    let fleet = Saved::web();
    let asked = Targets::everyone().ask(&fleet.fleet.replica, LIMIT).unwrap();
    let error = resolve(&asked, None, &fleet.fleet.replica, 4).unwrap_err();
    assert_eq!(error.to_string(), "5 hosts, where one order can name 4");
    assert_eq!(error.hints("muster run", "-- true"), ["muster run --all --limit 4 -- true"]);
    let asked = Targets { limit: Some(4), ..Targets::everyone() }.ask(&fleet.fleet.replica, LIMIT).unwrap();
    assert_eq!(resolve(&asked, None, &fleet.fleet.replica, 4).unwrap().hosts.len(), 4);
}

#[test]
fn shares_are_written_as_people_do() {
    for (text, hosts) in
        [("10%", 1), ("1%", 1), ("0.5%", 1), ("33.33%", 4), ("100%", 10), ("5", 5), ("50", 10)]
    {
        let share: Share = text.parse().unwrap();
        assert_eq!(share.of(10), hosts, "{text}");
        assert_eq!(share.to_string().parse(), Ok(share), "{text}");
        assert_eq!(share.of(0), 0);
    }
    for text in [
        "",
        "0",
        "0%",
        "0.00%",
        "101%",
        "-1",
        "+1",
        "1.5",
        "1.234%",
        "%",
        ".5%",
        "5 %",
        "1e3",
        "99999999999%",
    ] {
        assert!(Share::some(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_of_ssm_is_read_or_refused(text in "(Key=|tag:|,Values=|[a-z*,= \"\\\\é]|InstanceIds|tag-key){0,12}") {
        let fleet = Saved::of(&[("web-1", "web")]);
        let _any = fleet.names(&ssm(&text)).map_err(|error| error.to_string());
    }

    #[test]
    fn a_share_of_some_is_some_and_at_most_all(hundredths in 1u32..=10_000, hosts in 1usize..100_000) {
        let taken = Share::Percent(hundredths).of(hosts);
        prop_assert!((1..=hosts).contains(&taken));
    }
}
