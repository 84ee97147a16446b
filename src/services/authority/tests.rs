//! What is left standing, and how the signatures of roots come together.

use std::path::PathBuf;

use super::{AuthorityError, Rooted, cut::cut, roots};
use crate::{
    authority::{
        Authority, Genesis, Lift, RootChain, RootChange, Whom, half,
        sample::{Fleet, certificate, key, later, tag},
    },
    identity::{EntryId, Root},
    journal::keyfile,
    replica::{Entry, Replica},
    time::Timestamp,
};

#[test]
fn a_cut_leaves_what_was_signed_up_to_the_moment_and_nothing_of_others() {
    let (ana, bo) = (key(1), key(2));
    let (fleet, under) = Fleet::with(&[certificate("ana", &ana), certificate("bo", &bo)]);
    let mut replica = Replica::new(Authority::new(fleet.chain.clone()));
    let invitation = fleet.invite(&ana, under[0], 1, &[], 9);
    let first = fleet.op(&ana, under[0], 1, None, &[], tag(1, "a", Some("1")));
    let second = fleet.op(&ana, under[0], 1, Some(&first), &[], tag(1, "a", Some("2")));
    let of_bo = fleet.op(&bo, under[1], 1, None, &[], tag(1, "b", Some("1")));
    let by_ana = fleet.suspend(
        &ana,
        under[0],
        Whom::Person { name: "bo".to_owned() },
        crate::authority::Cut::default(),
    );
    replica.merge(Entry::Host(Box::new(fleet.enrol(&invitation, 1, 1, &[]))), &[]).unwrap();
    replica.merge(Entry::Suspension(by_ana.clone()), &[]).unwrap();
    for op in [&first, &second, &of_bo] {
        replica.merge(Entry::Op(op.clone()), &[]).unwrap();
    }
    let ana = Whom::Person { name: "ana".to_owned() };
    let all = cut(&replica, &ana, later(10), false);
    assert_eq!(all.streams, [(first.stream(), 1)]);
    assert_eq!(all.alone, [half(&invitation.id())], "a suspension voids no suspension");
    let early = cut(&replica, &ana, later(0), true);
    assert_eq!(early.streams, [(first.stream(), 0)], "the second says that it is later");
    let mut both = vec![half(&invitation.id()), half(&by_ana.id())];
    both.sort_unstable();
    assert_eq!(early.alone, both);
    assert!(early.is_well_formed());
    assert_eq!(cut(&replica, &ana, Timestamp(0), true), crate::authority::Cut::default());
    let whom = Whom::Certificate { id: under[1] };
    assert_eq!(cut(&replica, &whom, later(10), true).streams, [(of_bo.stream(), 0)]);
}

#[test]
fn root_signatures_come_together_in_a_file_that_gives_nothing_before_they_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (1..=3).map(key::<Root>).collect();
    let mut roots: Vec<_> = keys.iter().map(crate::identity::SecretKey::public).collect();
    roots.sort_unstable();
    let genesis = Genesis { name: "acme".into(), roots, threshold: 2, founded: Timestamp(0), nonce: [1; 16] };
    let mut chain = RootChain::found(genesis, &keys.iter().collect::<Vec<_>>()).unwrap();
    let files: Vec<PathBuf> = (1..=4_u8)
        .map(|number| {
            let path = dir.path().join(format!("root-{number}"));
            keyfile::write_new(&path, &key::<Root>(number), "").unwrap();
            path
        })
        .collect();
    let update = dir.path().join("update");
    let lift = |stop: u8, at: u64| {
        RootChange::Lift(Lift { stops: vec![EntryId([stop; 32])], at: later(at), reason: String::new() })
    };
    let rooted = |keys: std::ops::Range<usize>, file: bool| Rooted {
        keys: &files[keys],
        update: file.then_some(&*update),
        reason: "",
        dry_run: false,
    };
    let try_it = |chain: &RootChain, change: RootChange, rooted: &Rooted<'_>| {
        roots::sign(chain, roots::drafted(chain, change, rooted)?, rooted)
    };
    let refused = |error: Result<roots::Signed, AuthorityError>| error.unwrap_err().to_string();
    assert!(refused(try_it(&chain, lift(1, 0), &rooted(0..0, true))).contains("2 of 3"));
    assert!(refused(try_it(&chain, lift(1, 0), &rooted(3..4, true))).contains("no root key of this fleet"));
    assert_eq!(refused(try_it(&chain, lift(1, 0), &rooted(0..1, false))), "1 of 2 root signatures");
    assert!(!update.exists());
    let Ok(roots::Signed::Waits(one)) = try_it(&chain, lift(1, 0), &rooted(0..1, true)) else {
        panic!("waits")
    };
    assert!(chain.clone().absorb(one.bytes()).is_err());
    // Again by the same holder: still one.
    assert!(matches!(try_it(&chain, lift(1, 5), &rooted(0..1, true)), Ok(roots::Signed::Waits(_))));
    assert!(refused(try_it(&chain, lift(2, 5), &rooted(1..2, true))).contains("something else"));
    // The other holder signs what the first one did, whenever that was.
    let Ok(roots::Signed::Enough(two)) = try_it(&chain, lift(1, 9), &rooted(2..3, true)) else {
        panic!("enough")
    };
    assert_eq!(two.id(), one.id());
    assert!(chain.absorb(two.bytes()).unwrap());
    assert!(refused(try_it(&chain, lift(1, 9), &rooted(1..2, true))).contains("another place"));
    std::fs::write(&update, b"rubbish").unwrap();
    assert!(refused(try_it(&chain, lift(1, 9), &rooted(1..2, true))).contains("no update"));
}
