//! Cells of the table of roles (roles.txt) on real agents: orders that nobody judged before, signed under certificates
//! that were passed on, handed to an agent as they are.

use muster::{
    authority::{Certificate, Grant, Verb},
    identity::{Operator, SecretKey, Signed},
    replica::Outcome,
};
use tokio::runtime::Runtime;

use crate::{
    member::{spawned_exactly, three},
    signer::{Signer, fresh, now, replica, result, submit},
};

const TABLE: &str = include_str!("roles.txt");

/// Roles whose commands run as whom the agent runs: that needs no other user on this machine.
const ROLES: [(&str, &[Verb], &str); 3] = [
    ("web-ops", &[Verb::Run], "tag.role = web"),
    ("not-db", &[Verb::Run], "tag.role != db"),
    ("observer", &[], "all"),
];
/// Hosts of the table, and those of the fleet that bear their tags.
const HOSTS: [(&str, &str, usize); 3] = [("bare", "a", 0), ("web", "b", 1), ("db", "c", 2)];

#[test]
fn real_agents_decide_cells_of_the_table_of_roles_as_it_says() {
    let (fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let founder = Signer::of(&fleet);
    let argv = fleet.counted(&[]);
    let mut ran = Vec::new();
    runtime.block_on(async {
        let (mut wanted, mut cells) = (Vec::new(), 0);
        for (role, verbs, scope) in ROLES {
            let key = SecretKey::<Operator>::from_seed(&fresh());
            let from = replica(&fleet, "a").await;
            let (_, ours) =
                from.authority().certificates().find(|(id, _)| **id == founder.certificate).unwrap();
            let given = Certificate {
                person: role.to_owned(),
                key: key.public().into(),
                verbs: verbs.to_vec(),
                scope: scope.to_owned(),
                tags: Vec::new(),
                run_as: vec!["@agent".to_owned()],
                ..ours.clone()
            };
            let grant = Grant { certificate: founder.certificate, at: now(), grant: given };
            let grant = Signed::sign(founder.fleet, &founder.key, grant);
            submit(&fleet, "a", &[grant.bytes()]).await.expect("a certificate is passed on");
            let signer = Signer { key, certificate: grant.id(), ..founder.clone() };
            for (called, name, at) in HOSTS {
                let cell = format!("{role} run {called} @agent ");
                let row = TABLE.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
                let row = row.filter_map(|row| row.strip_prefix(&cell).map(str::to_owned)).next_back();
                let answer = row.unwrap_or_else(|| panic!("no cell {cell}"));
                let order = signer.sign(signer.order(&[hosts[at]], &argv));
                let told = submit(&fleet, "a", &[order.bytes()]).await;
                cells += 1;
                match answer.as_str() {
                    // Nobody passes that on.
                    "verb" => assert!(told.unwrap_err().contains("does not allow run"), "{cell}"),
                    _ => told.unwrap_or_else(|why| panic!("{cell}: {why}")),
                }
                if answer != "verb" {
                    wanted.push((cell, answer, order.id(), name, hosts[at]));
                }
            }
        }
        assert_eq!(cells, 9);
        for (cell, answer, order, name, host) in wanted {
            match (&*answer, &result(&fleet, "a", order, host).await.record().outcome) {
                ("yes", Outcome::Exited { code: 0 }) => ran.push((order, name)),
                ("scope", Outcome::Refused { why }) => {
                    assert!(
                        why.contains("does not cover this host") && why.contains("; it allows run on"),
                        "{why}"
                    );
                }
                (_, other) => panic!("{cell}is {answer}, and not {other:?}"),
            }
        }
    });
    let expected: Vec<(_, [&str; 1])> = ran.into_iter().map(|(order, name)| (order, [name])).collect();
    let expected: Vec<_> = expected.iter().map(|(order, names)| (*order, &names[..])).collect();
    spawned_exactly(&fleet, &expected);
}
