use super::agent::{Fleet, NOW};
use crate::{
    authority::{Host, Refusal, Verb},
    identity::{EntryId, HostId, Signed},
    replica::{Action, Limits, Order, Roster},
    selector::Selector,
    services::run::{Foreseen, Resolved, Target, TargetError, ask, foresee, keepers, resolve},
    time::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

const HOSTS: &[(&str, &str)] =
    &[("web-1", "web"), ("web-2", "web"), ("db-1", "db"), ("far-1", "quiet"), ("cache", "cache")];

/// As with an agent that tells the truth.
fn resolved<'a>(fleet: &'a Fleet, target: &Target) -> Result<Resolved<'a>, TargetError> {
    let asked = ask(target, &fleet.replica)?;
    let is_true = |selector: &Selector| {
        let members = fleet.replica.authority().members();
        members.filter(|host| selector.selects(&fleet.replica.known(host))).map(Host::id).collect()
    };
    let told: Option<BTreeSet<HostId>> = asked.of_facts().map(is_true);
    resolve(asked, told.as_ref(), &fleet.replica)
}

fn names(fleet: &Fleet, target: &Target) -> Result<Vec<String>, TargetError> {
    let resolved = resolved(fleet, target)?;
    assert!(resolved.ids().is_sorted_by(|a, b| a < b), "a roster is in order of ids");
    let mut names: Vec<String> = resolved.hosts.iter().map(|host| host.name().to_owned()).collect();
    names.sort();
    Ok(names)
}

fn hosts(names: &[&str]) -> Target {
    Target { hosts: names.iter().map(|name| (*name).to_owned()).collect(), ..Target::default() }
}

fn expression(text: &str) -> Target {
    Target { expression: Some(text.to_owned()), ..Target::default() }
}

#[test]
fn no_target_is_no_action() {
    let fleet = Fleet::of(HOSTS);
    let error = names(&fleet, &Target::default()).unwrap_err();
    assert_eq!((error.code(), &error), (2, &TargetError::Missing));
    assert!(error.hints().iter().any(|hint| hint.contains("--all")));
}

#[test]
fn every_way_to_say_it_finds_the_same_hosts() {
    let fleet = Fleet::of(HOSTS);
    let labels = Target { labels: vec!["role=web".to_owned()], ..Target::default() };
    for target in [expression("tag.role = web"), labels, hosts(&["web-[1-2]"]), hosts(&["web-1", "web-2"])] {
        assert_eq!(names(&fleet, &target).unwrap(), ["web-1", "web-2"], "{target:?}");
    }
    assert_eq!(names(&fleet, &Target { all: true, ..Target::default() }).unwrap().len(), HOSTS.len());
}

#[test]
fn what_is_given_together_narrows() {
    let fleet = Fleet::of(HOSTS);
    let mut target = hosts(&["web-1", "db-1"]);
    target.labels = vec!["role=web".to_owned()];
    let resolved = resolved(&fleet, &target).unwrap();
    assert_eq!(resolved.selector.to_string(), "tag.role = web and name = web-1");
    target.all = true;
    assert_eq!(names(&fleet, &target).unwrap_err(), TargetError::AllAndMore);
}

#[test]
fn names_go_by_unique_prefix_and_ids_and_the_rest_is_guessed() {
    let fleet = Fleet::of(HOSTS);
    assert_eq!(names(&fleet, &hosts(&["db"])).unwrap(), ["db-1"]);
    let id = fleet.member("db-1").id.to_string();
    assert_eq!(names(&fleet, &hosts(&[&id[..10]])).unwrap(), ["db-1"]);
    let ambiguous = names(&fleet, &hosts(&["web"])).unwrap_err();
    assert_eq!(ambiguous.code(), 2);
    assert!(ambiguous.to_string().starts_with("web could be web-"), "{ambiguous}");
    let unknown = names(&fleet, &hosts(&["wbe-1"])).unwrap_err();
    assert_eq!(unknown.code(), 3);
    assert_eq!(unknown.hints(), ["did you mean web-1?"]);
    assert_eq!(names(&fleet, &hosts(&["nothing-like-it"])).unwrap_err().hints(), ["muster host ls"]);
}

#[test]
fn a_host_may_not_hide_behind_anothers_name() {
    let fleet = Fleet::of(&[("web-1", "web"), ("web-1", "db"), ("web-10", "web")]);
    let error = names(&fleet, &hosts(&["web-1"])).unwrap_err();
    assert!(matches!(&error, TargetError::Ambiguous { hosts, .. } if hosts.len() == 2), "{error}");
}

#[test]
fn nothing_found_is_told_apart_from_not_known() {
    let fleet = Fleet::of(HOSTS);
    let none = names(&fleet, &expression("tag.role = mail")).unwrap_err();
    assert_eq!((none.code(), none.to_string()), (3, "no host matches tag.role = mail".to_owned()));
    let unknown = names(&fleet, &expression("tag.env != prod")).unwrap_err();
    assert_eq!(unknown.code(), 3);
    assert!(unknown.hints()[0].contains("5 hosts"), "{:?}", unknown.hints());
    assert_eq!(names(&fleet, &expression("agent = \"0.1.0\"")).unwrap().len(), HOSTS.len());
}

#[test]
fn a_wrong_target_points_at_what_is_wrong() {
    let fleet = Fleet::of(HOSTS);
    for (target, part) in [
        (expression("tag.role == web"), "         ^^"),
        (hosts(&["web-[1-"]), "      ^"),
        (Target { labels: vec!["role".to_owned()], ..Target::default() }, "role: a label is written"),
    ] {
        let error = names(&fleet, &target).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.hints().is_empty());
    }
}

#[test]
fn more_hosts_than_a_roster_names_is_a_clear_error() {
    let names: Vec<String> = (0..513).map(|at| format!("n-{at}")).collect();
    let hosts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "n")).collect();
    let fleet = Fleet::of(&hosts);
    let error = resolved(&fleet, &Target { all: true, ..Target::default() }).unwrap_err();
    assert_eq!(error.to_string(), "513 hosts, where one order can name 512");
    // 512 by name are more than a selector may say; the roster binds all the same.
    let target = Target { hosts: vec!["n-[0-511]".to_owned()], ..Target::default() };
    let resolved = resolved(&fleet, &target).unwrap();
    assert_eq!((resolved.hosts.len(), resolved.selector.to_string()), (512, "all".to_owned()));
}

pub(super) fn order(fleet: &Fleet, change: impl FnOnce(&mut Order)) -> Signed<Order> {
    let mut hosts: Vec<HostId> = fleet.members.iter().map(|member| member.id).collect();
    hosts.sort();
    let mut body = Order {
        nonce: [0; 16],
        certificate: fleet.certificate,
        issued: NOW,
        expires: NOW.after(Duration::from_secs(60)),
        selector: "all".to_owned(),
        roster: Roster::Inline { hosts },
        action: Action::Argv { argv: vec![] },
        run_as: "root".to_owned(),
        limits: Limits { timeout_ms: 1, output_bytes_max: 1 },
        keepers: vec![],
        reason: None,
    };
    change(&mut body);
    Signed::sign(fleet.chain.fleet(), &fleet.operator, body)
}

#[test]
fn what_hosts_would_refuse_is_refused_before_it_is_sent() {
    let judge = |fleet: &Fleet, at: Timestamp| {
        let authority = fleet.replica.authority();
        foresee(authority, order(fleet, |_| {}), at)?.accepted(authority)
    };
    assert!(judge(&Fleet::of(HOSTS), NOW).is_ok());

    let scoped = Fleet::with(HOSTS, |certificate| certificate.scope = "tag.role = web".to_owned());
    let Foreseen { hosts, refusal } = judge(&scoped, NOW).unwrap_err();
    assert_eq!(hosts, "cache,db-1,far-1");
    assert!(matches!(refusal, Refusal::OutOfScope { .. }));

    let as_user = Fleet::with(HOSTS, |certificate| certificate.run_as = vec!["deploy".to_owned()]);
    assert!(matches!(judge(&as_user, NOW).unwrap_err().refusal, Refusal::RunAsNotGranted { .. }));
    let capped = Fleet::with(HOSTS, |certificate| certificate.hosts_max = Some(2));
    assert_eq!(
        judge(&capped, NOW).unwrap_err().to_string(),
        "not permitted: 5 hosts, where the certificate of ana allows 2"
    );
    let verbless = Fleet::with(HOSTS, |certificate| certificate.verbs = vec![Verb::Tag]);
    assert!(matches!(judge(&verbless, NOW).unwrap_err().refusal, Refusal::VerbNotGranted { .. }));
    let expired =
        Fleet::with(HOSTS, |certificate| certificate.not_after = NOW.before(Duration::from_secs(1)));
    assert!(matches!(judge(&expired, NOW).unwrap_err().refusal, Refusal::CertificateExpired { .. }));
    let fleet = Fleet::of(HOSTS);
    let unknown = order(&fleet, |order| order.certificate = EntryId([9; 32]));
    let refusal = foresee(fleet.replica.authority(), unknown, NOW).unwrap_err().refusal;
    assert_eq!(refusal, Refusal::UnknownCertificate);
}

#[test]
fn keepers_are_the_entry_host_and_listeners_that_the_nonce_picks() {
    let fleet = Fleet::of(HOSTS);
    let entry = fleet.member("far-1").id;
    let mut picked = BTreeSet::new();
    for nonce in 0..32 {
        let keepers = keepers(&fleet.replica, entry, &[nonce; 16]);
        assert_eq!((keepers.len(), keepers[0]), (4, entry));
        let different: BTreeSet<_> = keepers.iter().collect();
        assert_eq!(different.len(), 4, "each once");
        picked.extend(keepers);
    }
    assert_eq!(picked.len(), HOSTS.len(), "the burden is spread");
    let entry = fleet.member("web-1").id;
    let silent = fleet.member("far-1").id;
    assert!(!(0..32).any(|nonce| keepers(&fleet.replica, entry, &[nonce; 16]).contains(&silent)));
}

#[test]
fn what_hosts_say_of_themselves_takes_away_and_never_adds() {
    let fleet = Fleet::of(HOSTS);
    let asked = || ask(&expression("tag.role = web and deb.openssl < 3.0.13-1"), &fleet.replica).unwrap();
    let id = |name: &str| fleet.member(name).id;
    let resolved = |told: &[&str]| {
        let told: BTreeSet<HostId> = told.iter().map(|name| id(name)).collect();
        resolve(asked(), Some(&told), &fleet.replica).map(|resolved| resolved.ids())
    };
    assert!(asked().of_facts().is_some());
    assert_eq!(resolved(&["web-2"]).unwrap(), [id("web-2")]);
    assert_eq!(resolved(&["web-2", "db-1", "cache"]).unwrap(), [id("web-2")], "the tags say no");
    let nobody = resolved(&["db-1"]).unwrap_err();
    assert_eq!(nobody.code(), 3);
    assert_eq!(nobody.hints(), ["muster inventory search 'tag.role = web and deb.openssl < 3.0.13-1'"]);
    // What is signed needs nobody's word.
    for text in ["tag.role = web", "name like \"web-*\"", "missing tag.owner"] {
        assert!(ask(&expression(text), &fleet.replica).unwrap().of_facts().is_none(), "{text}");
    }
}
