//! The table of roles, verbs, tags and users: every cell decided here, and compared with what was written down.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AGENT_USER, ANY, Ask, Asks, Authority, Certificate, Cut, Meant, Refusal, Verb, Whom,
    sample::{Fleet, NOW, certificate, host_id, key, later, pairs, tag},
};
use crate::{
    identity::{EntryId, HostId, Kind, Operator, Payload, SecretKey, Signed},
    time::Timestamp,
    wire_record,
};

const TABLE: &str = include_str!("../../tests/security/roles.txt");
type Change = Box<dyn FnOnce(&mut Certificate)>;
type Widens<'a> = &'a dyn Fn(&mut Certificate);
type Tagged = (&'static str, u8, &'static [(&'static str, &'static str)]);

const HOSTS: [Tagged; 5] = [
    ("web", 11, &[("role", "web")]),
    ("db", 12, &[("role", "db")]),
    ("webprod", 13, &[("role", "web"), ("env", "prod")]),
    ("bare", 14, &[]),
    ("torn", 15, &[]),
];
const USERS: [&str; 4] = [AGENT_USER, "root", "deploy", "nobody"];
const TAGS: [(&str, &str); 4] = [("role", "web"), ("role", "db"), ("env", "prod"), ("env", "dev")];

/// A request of any verb for one host.
#[derive(Clone, Debug)]
struct Request {
    certificate: EntryId,
    verb: Verb,
    hosts: Vec<HostId>,
    run_as: String,
}
wire_record!(Request { certificate, verb, hosts, run_as });

impl Payload for Request {
    const KIND: Kind = Kind::Order;
    const BYTES_MAX: usize = 4096;
    type Signer = Operator;
}

impl Asks for Request {
    fn ask(&self) -> Ask<'_> {
        Ask {
            certificate: self.certificate,
            verb: self.verb,
            selector: "all",
            roster: Meant::Named(&self.hosts),
            run_as: Some(&self.run_as),
            issued: NOW,
            expires: later(1000),
        }
    }
}

struct Role {
    name: &'static str,
    key: SecretKey<Operator>,
    certificate: EntryId,
}

struct World {
    fleet: Fleet,
    authority: Authority,
    roles: Vec<Role>,
}

fn only(
    verbs: &[Verb],
    scope: &str,
    users: &[&str],
    tags: &[(&str, &str)],
) -> impl FnOnce(&mut Certificate) + use<> {
    let (verbs, scope, tags) = (verbs.to_vec(), scope.to_owned(), pairs(tags));
    let users: Vec<String> = users.iter().map(|user| (*user).to_owned()).collect();
    move |certificate| {
        (certificate.verbs, certificate.scope) = (verbs, scope);
        (certificate.run_as, certificate.tags) = (users, tags);
    }
}

fn world() -> World {
    use Verb::{Grant, Invite, Read, Run, Session, Suspend, Tag};
    let (founder, prod) = (key(1), key(2));
    let mut of_prod = certificate("prod", &prod);
    of_prod.scope = "tag.env = prod".to_owned();
    let mut granter = certificate("deploy-granter", &key(3));
    only(&[Run, Grant], "all", &["deploy"], &[])(&mut granter);
    let mut of_founder = certificate("founder", &founder);
    of_founder.verbs = vec![Run, Session, Invite, Tag, Grant, Suspend, Read];
    let (fleet, under) = Fleet::with(&[of_founder, of_prod, granter]);
    let mut authority = Authority::new(fleet.chain.clone());
    for (name, number, tags) in HOSTS {
        let invitation = fleet.invite(&founder, under[0], number, tags, 1);
        assert!(authority.absorb_host(fleet.enrol(&invitation, number, number, tags)).unwrap(), "{name}");
    }
    for (writer, value) in [(1, "web"), (2, "db")] {
        let op = fleet.op(&founder, under[0], writer, None, &[], tag(15, "role", Some(value)));
        assert!(authority.absorb_op(&op).unwrap());
    }
    let mut roles = vec![
        Role { name: "founder", key: founder, certificate: under[0] },
        Role { name: "deploy-granter", key: key(3), certificate: under[2] },
    ];
    let mut give = |name: &'static str, from: (&SecretKey<Operator>, EntryId), change: Change| {
        let number = u8::try_from(20 + roles.len()).unwrap();
        let mut given = certificate(name, &key(number));
        change(&mut given);
        let grant = fleet.grant(from.0, from.1, given);
        assert!(authority.absorb_grant(grant.clone()).unwrap(), "{name}");
        roles.push(Role { name, key: key(number), certificate: grant.id() });
    };
    let founder = key(1);
    let from = (&founder, under[0]);
    let (agent, roles_of): (&[&str], &[(&str, &str)]) = (&[AGENT_USER], &[("role", ANY)]);
    give("web-ops", from, Box::new(only(&[Run, Session], "tag.role = web", &["deploy", AGENT_USER], &[])));
    give("web-root", from, Box::new(only(&[Run], "tag.role = web", &["root"], &[])));
    give("prod-reader", from, Box::new(only(&[Read], "tag.env = prod", agent, &[])));
    give("role-tagger", from, Box::new(only(&[Tag], "all", agent, roles_of)));
    give("web-tagger", from, Box::new(only(&[Tag], "all", agent, &[("role", "web")])));
    give("enroller", from, Box::new(only(&[Invite], "all", agent, &[("role", "web"), ("env", "dev")])));
    give("stopper", from, Box::new(only(&[Suspend], "tag.role = web", agent, &[])));
    give("not-db", from, Box::new(only(&[Run], "tag.role != db", agent, &[])));
    give("under-prod", (&prod, under[1]), Box::new(only(&[Run, Read], "tag.role = web", &["deploy"], &[])));
    let most = [Run, Read, Tag, Invite];
    give(
        "ended",
        from,
        Box::new(move |given| {
            only(&most, "all", &[ANY], &[(ANY, ANY)])(given);
            given.not_after = Timestamp(NOW.0 - 1);
        }),
    );
    give("lost-laptop", from, Box::new(only(&most, "all", &[ANY], &[(ANY, ANY)])));
    give("observer", from, Box::new(only(&[], "all", agent, &[])));
    let whom = Whom::Person { name: "lost-laptop".to_owned() };
    let stop = fleet.suspend(&founder, under[0], whom, Cut::default());
    assert!(authority.absorb_suspension(stop).unwrap());
    World { fleet, authority, roles }
}

fn word(answer: &Result<(), Refusal>) -> &'static str {
    match answer {
        Ok(()) => "yes",
        Err(Refusal::Suspended { .. }) => "suspended",
        Err(Refusal::VerbNotGranted { .. }) => "verb",
        Err(Refusal::RunAsNotGranted { .. }) => "user",
        Err(Refusal::CertificateExpired { .. }) => "expired",
        Err(Refusal::OutOfScope { .. }) => "scope",
        Err(Refusal::TagNotGranted { .. }) => "tag",
        Err(Refusal::Wider { .. }) => "wider",
        Err(other) => panic!("{other}"),
    }
}

impl World {
    fn acts(&self, role: &Role, verb: Verb, host: u8, user: &str) -> Result<(), Refusal> {
        let request = Request {
            certificate: role.certificate,
            verb,
            hosts: vec![host_id(host)],
            run_as: user.to_owned(),
        };
        let admitted = self.authority.admit(Signed::sign(self.fleet.id(), &role.key, request))?;
        let tags = self.authority.host(&host_id(host)).unwrap();
        self.authority.judge(&admitted, host_id(host), None, tags, &[], NOW).map(drop)
    }

    fn reads(&self, role: &Role, host: u8) -> Result<(), Refusal> {
        self.authority.may_read(&role.certificate, role.key.public(), false, &host_id(host), NOW, NOW)
    }

    fn halts(&self, role: &Role, host: u8) -> Result<(), Refusal> {
        let halt = self.fleet.halt(&role.key, role.certificate, "all");
        let mut after = self.authority.clone();
        after.absorb_halt(halt.clone())?;
        match after.halted(after.host(&host_id(host)).unwrap()) {
            Some(halted) if halted.id == halt.id() => Ok(()),
            _ => Err(Refusal::OutOfScope { person: String::new(), scope: String::new() }),
        }
    }

    fn tags(&self, role: &Role, (tag_key, value): (&str, &str)) -> Result<(), Refusal> {
        let op = self.fleet.op(&role.key, role.certificate, 9, None, &[], tag(14, tag_key, Some(value)));
        self.authority.recognise_op(&op)
    }

    fn invites(&self, role: &Role, tag: (&str, &str)) -> Result<(), Refusal> {
        let invitation = self.fleet.invite(&role.key, role.certificate, 90, &[tag], 1);
        self.authority.recognise_invitation(&invitation)
    }

    fn grants(&self, role: &Role, user: &str) -> Result<(), Refusal> {
        let mut given = certificate("new", &key(91));
        only(&[Verb::Run], "all", &[user], &[])(&mut given);
        let grant = self.fleet.grant(&role.key, role.certificate, given);
        let mut after = self.authority.clone();
        // One that was passed on can be passed on no further, whatever it says; that it may grant is not among them.
        match after.absorb_grant(grant.clone()) {
            Err(Refusal::Wider { what: "it cannot be passed on again", person }) => {
                Err(Refusal::VerbNotGranted { person, verb: Verb::Grant.word() })
            }
            Err(refusal) => Err(refusal),
            Ok(_) => after.certificate_of(&grant.id(), key::<Operator>(91).public()).map(drop),
        }
    }
}

#[test]
fn every_cell_of_roles_verbs_tags_and_users_is_decided_as_the_table_says() {
    let world = world();
    let mut decided = BTreeMap::new();
    for role in &world.roles {
        let mut cell = |verb: &str, tag: &str, user: &str, answer: Result<(), Refusal>| {
            let place = [role.name, verb, tag, user].map(str::to_owned);
            assert!(decided.insert(place, word(&answer)).is_none());
        };
        for (name, host, _) in HOSTS {
            for user in USERS {
                cell("run", name, user, world.acts(role, Verb::Run, host, user));
                cell("session", name, user, world.acts(role, Verb::Session, host, user));
            }
            cell("read", name, "-", world.reads(role, host));
            cell("suspend", name, "-", world.halts(role, host));
        }
        for (tag_key, value) in TAGS {
            let text = format!("{tag_key}={value}");
            cell("tag", &text, "-", world.tags(role, (tag_key, value)));
            cell("invite", &text, "-", world.invites(role, (tag_key, value)));
        }
        for user in USERS {
            cell("grant", "-", user, world.grants(role, user));
        }
    }
    let mut expected = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [role, verb, tag, user, answer] = words[..] else { panic!("{line}") };
        assert!(expected.insert([role, verb, tag, user].map(str::to_owned), answer).is_none(), "{line}");
    }
    let wrong: Vec<_> =
        decided.iter().filter(|(cell, answer)| expected.get(*cell) != Some(*answer)).collect();
    assert!(wrong.is_empty(), "not as the table says: {wrong:#?}");
    assert_eq!(decided.keys().collect::<BTreeSet<_>>(), expected.keys().collect::<BTreeSet<_>>());
    assert_eq!((world.roles.len(), decided.len()), (14, 14 * 62));
}

#[test]
fn a_certificate_that_is_passed_on_is_no_wider_in_any_field() {
    let (ana, bo) = (key(1), key(2));
    let mut from = certificate("ana", &ana);
    from.verbs = vec![Verb::Run, Verb::Grant];
    from.run_as = vec!["deploy".to_owned()];
    from.tags = pairs(&[("env", "dev")]);
    from.hosts_max = Some(5);
    from.approvals = 0;
    let (mut fleet, under) = Fleet::with(std::slice::from_ref(&from));
    let mut authority = fleet.authority();
    let narrow = Certificate { person: "bo".to_owned(), verbs: vec![Verb::Run], ..from.clone() };
    let narrow = Certificate { key: bo.public().into(), ..narrow };
    let given = |change: &dyn Fn(&mut Certificate)| {
        let mut given = narrow.clone();
        change(&mut given);
        fleet.grant(&ana, under[0], given)
    };
    let mut absorb = |grant: Signed<super::Grant>| authority.absorb_grant(grant);
    let wider: [(&str, Widens<'_>); 9] = [
        ("a verb", &|given| given.verbs.push(Verb::Session)),
        ("passed on again", &|given| given.verbs.push(Verb::Grant)),
        ("a user", &|given| given.run_as.push("root".to_owned())),
        ("a user", &|given| given.run_as = vec![ANY.to_owned()]),
        ("a tag", &|given| given.tags = pairs(&[("env", ANY)])),
        ("the hosts", &|given| given.hosts_max = Some(6)),
        ("the hosts", &|given| given.hosts_max = None),
        ("its validity", &|given| {
            given.not_after = given.not_after.after(std::time::Duration::from_millis(1));
        }),
        ("its validity", &|given| {
            given.not_before = given.not_before.before(std::time::Duration::from_millis(1));
        }),
    ];
    for (what, change) in wider {
        let refusal = absorb(given(change)).unwrap_err();
        assert!(matches!(&refusal, Refusal::Wider { .. }) && refusal.to_string().contains(what), "{refusal}");
    }
    assert!(matches!(
        absorb(given(&|given| given.scope = "name = a".to_owned())),
        Err(Refusal::BadSelector(_))
    ));
    let of_bo = given(&|_| {});
    assert_eq!(absorb(of_bo.clone()), Ok(true));
    // Depth three, and a certificate under itself.
    let third = fleet.grant(
        &bo,
        of_bo.id(),
        Certificate { key: key::<Operator>(3).public().into(), ..narrow.clone() },
    );
    assert!(matches!(absorb(third), Err(Refusal::Wider { what: "it cannot be passed on again", .. })));
    let of_nobody = fleet.grant(&bo, EntryId([7; 32]), narrow.clone());
    assert_eq!(absorb(of_nobody), Err(Refusal::UnknownCertificate));
    // By who does not hold what it is from: signed by its own key, or by another's.
    assert_eq!(absorb(fleet.grant(&bo, under[0], narrow.clone())), Err(Refusal::NotTheHolder));
    // An operator's key governs nothing: what it signs as a root is no update of the chain.
    let as_root: SecretKey<crate::identity::Root> = SecretKey::from_seed(&bo.seed());
    let update = fleet.chain.next(super::RootChange::Certify(narrow));
    let update = crate::identity::Cosigned::sign(fleet.id(), &[&as_root], update);
    assert!(fleet.chain.absorb(update.bytes()).is_err());
}
