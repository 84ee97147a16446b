//! What is left standing, and how the signatures of roots come together.

use std::path::PathBuf;

use super::{AuthorityError, Rooted, cut::cut, errand::Errand, roots, words};
use crate::{
    authority::{
        Authority, Genesis, Lift, RootChain, RootChange, RootUpdate, Roots, Whom, half,
        sample::{Fleet, certificate, key, later, tag},
    },
    identity::{Cosigned, EntryId, Root},
    journal::{
        keyfile,
        signer::{RootSigner, ways},
    },
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
    let genesis = Genesis {
        name: "acme".into(),
        roots,
        threshold: 2,
        founded: Timestamp(0),
        nonce: [1; 16],
        recovery: None,
    };
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
        let replica = Replica::new(Authority::new(chain.clone()));
        let mut errand = roots::drafted(&replica, change, rooted)?;
        let enough = roots::sign(&mut errand, rooted)?;
        Ok((enough, errand.update().clone()))
    };
    let refused =
        |error: Result<(bool, Cosigned<RootUpdate>), AuthorityError>| error.unwrap_err().to_string();
    assert!(refused(try_it(&chain, lift(1, 0), &rooted(0..0, false))).contains("2 of 3"));
    assert!(refused(try_it(&chain, lift(1, 0), &rooted(3..4, true))).contains("no root key of this fleet"));
    assert_eq!(refused(try_it(&chain, lift(1, 0), &rooted(0..1, false))), "1 of 2 root signatures");
    assert!(!update.exists());
    // Without a key the file says what is to be signed, and bears no signature.
    let (enough, none) = try_it(&chain, lift(1, 0), &rooted(0..0, true)).unwrap();
    assert!(!enough && none.signers().is_empty() && chain.clone().absorb(none.bytes()).is_err());
    let (enough, one) = try_it(&chain, lift(1, 0), &rooted(0..1, true)).unwrap();
    assert!(!enough);
    assert!(chain.clone().absorb(one.bytes()).is_err());
    // Again by the same holder: still one.
    assert!(!try_it(&chain, lift(1, 5), &rooted(0..1, true)).unwrap().0);
    assert!(refused(try_it(&chain, lift(2, 5), &rooted(1..2, true))).contains("something else"));
    // The other holder signs what the first one did, whenever that was.
    let (enough, two) = try_it(&chain, lift(1, 9), &rooted(2..3, true)).unwrap();
    assert!(enough);
    assert_eq!(two.id(), one.id());
    assert!(chain.absorb(two.bytes()).unwrap());
    assert!(refused(try_it(&chain, lift(1, 9), &rooted(1..2, true))).contains("another place"));
    std::fs::write(&update, b"rubbish").unwrap();
    assert!(refused(try_it(&chain, lift(1, 9), &rooted(1..2, true))).contains("no update"));
}

#[test]
fn a_rotation_is_signed_by_the_old_and_by_every_new_key_from_the_file_alone_and_says_so_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::with(&[certificate("ana", &key(1))]).0;
    let replica = Replica::new(Authority::new(fleet.chain.clone()));
    let file = dir.path().join("rotate.update");
    let mut keys = vec![key::<Root>(1).public(), key::<Root>(2).public()];
    keys.sort_unstable();
    let change = RootChange::Roots(Roots { keys, threshold: 2 });
    let rooted = Rooted { keys: &[], update: Some(&file), reason: "", dry_run: false };
    let mut errand = roots::drafted(&replica, change.clone(), &rooted).unwrap();
    assert!(!roots::sign(&mut errand, &rooted).unwrap());
    let path = |number: u8| {
        let path = dir.path().join(format!("root-{number}"));
        keyfile::write_new(&path, &key::<Root>(number), "").unwrap();
        path
    };
    // Elsewhere, with nothing but the file.
    let sign_in = |number: u8| {
        let mut errand = Errand::read(&file).unwrap().unwrap();
        let path = path(number);
        let signer = RootSigner::find(&path, &ways()).unwrap();
        errand.sign(&[(&*path, signer)]).map(|()| {
            errand.write(&file).unwrap();
            errand.lacking()
        })
    };
    assert!(matches!(sign_in(9), Err(AuthorityError::NotARoot { .. })));
    let errand = Errand::read(&file).unwrap().unwrap();
    let lines = words::details(&change, errand.authority()).join("\n");
    assert!(lines.contains("now 1 of 1 govern"), "{lines}");
    assert!(lines.contains(&format!("root key {} is new", words::key(&key::<Root>(2).public()))), "{lines}");
    let lacking = sign_in(1).unwrap();
    assert_eq!((lacking.have, lacking.threshold, lacking.unproved.len()), (1, 1, 1));
    assert!(!lacking.is_nothing());
    assert!(sign_in(2).unwrap().is_nothing());
    let update = Errand::read(&file).unwrap().unwrap().update().clone();
    let mut chain = fleet.chain.clone();
    assert!(chain.absorb(update.bytes()).unwrap());
    assert_eq!(chain.roots().threshold, 2);
    // A byte that is another anywhere is found out, or changes nothing that counts.
    let good = std::fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).unwrap();
        if let Ok(Some(read)) = Errand::read(&file) {
            assert_eq!(read.update().id(), update.id(), "byte {at}");
        }
    }
}

#[test]
fn a_file_about_a_lift_says_whose_suspension_ends_where_there_is_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let ana = key(1);
    let (fleet, under) = Fleet::with(&[certificate("ana", &ana)]);
    let mut replica = Replica::new(Authority::new(fleet.chain.clone()));
    let whom = Whom::Person { name: "bo".to_owned() };
    let suspension = fleet.suspend(&ana, under[0], whom, crate::authority::Cut::default());
    replica.merge(Entry::Suspension(suspension.clone()), &[]).unwrap();
    let change = RootChange::Lift(Lift { stops: vec![suspension.id()], at: later(1), reason: String::new() });
    let file = dir.path().join("lift.update");
    let rooted = Rooted { keys: &[], update: Some(&file), reason: "", dry_run: false };
    let mut errand = roots::drafted(&replica, change.clone(), &rooted).unwrap();
    roots::sign(&mut errand, &rooted).unwrap();
    let read = Errand::read(&file).unwrap().unwrap();
    let lines = words::details(&change, read.authority()).join("\n");
    assert!(lines.contains("of bo by ana"), "{lines}");
    assert!(lines.contains("a stolen laptop"), "{lines}");
}
