use proptest::prelude::*;

use super::*;

fn host(number: u32) -> HostId {
    HostId(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

fn list(numbers: impl IntoIterator<Item = u32>) -> MemberList {
    MemberList::of(numbers.into_iter().map(host)).unwrap()
}

/// The root as RFC 9162 writes it, by recursion.
fn root(hosts: &[HostId]) -> [u8; 32] {
    let derive = |context: &str, parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    };
    match hosts {
        [one] => derive("muster/members/leaf/v1", &[&one.0]),
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            derive("muster/members/node/v1", &[&root(left), &root(right)])
        }
    }
}

#[test]
fn the_name_of_a_list_is_the_root_of_the_standard_tree_and_its_length() {
    for count in (1..70).chain([1000]) {
        let list = list(0..count);
        let mut hasher = blake3::Hasher::new_derive_key("muster/members/root/v1");
        hasher.update(&u64::from(count).to_be_bytes()).update(&root(list.hosts()));
        assert_eq!(list.id(), ListId(*hasher.finalize().as_bytes()), "{count}");
    }
}

#[test]
fn every_member_proves_its_place_and_nobody_another() {
    for count in [1, 2, 3, 5, 6, 7, 8, 13, 600] {
        let list = list(0..count);
        let (id, members) = (list.id(), list.members());
        for host in list.hosts() {
            let place = list.place(host).unwrap();
            assert!(stands(&id, members, host, &place), "{count}");
            let other = list.hosts()[(place.index as usize + 1) % list.hosts().len()];
            assert!(count == 1 || !stands(&id, members, &other, &place));
            for index in [place.index.wrapping_add(1), place.index.wrapping_sub(1), place.index ^ 2, members]
            {
                assert!(!stands(&id, members, host, &ListPlace { index, ..place.clone() }), "{count}");
            }
            for wrong in [members - 1, members + 1, members * 2, 0, u32::MAX] {
                assert!(!stands(&id, wrong, host, &place), "{count} {wrong}");
            }
            for at in 0..place.path.len() {
                let mut path = place.path.clone();
                path[at][7] ^= 1;
                assert!(!stands(&id, members, host, &ListPlace { path, ..place.clone() }));
                let mut path = place.path.clone();
                path.remove(at);
                assert!(!stands(&id, members, host, &ListPlace { path, ..place.clone() }));
            }
            let mut path = place.path.clone();
            path.push([0; 32]);
            assert!(!stands(&id, members, host, &ListPlace { path, ..place.clone() }));
        }
        assert_eq!(list.place(&host(count)), None);
    }
    let ten_thousand = list(0..10_000);
    assert_eq!(ten_thousand.place(&ten_thousand.hosts()[0]).unwrap().path.len(), 14);
}

#[test]
fn a_node_is_no_leaf_and_the_place_of_one_list_is_none_of_another() {
    let (four, other) = (list(0..4), list(4..8));
    let place = four.place(&four.hosts()[0]).unwrap();
    assert!(!stands(&other.id(), 4, &four.hosts()[0], &place));
    // The upper half of the tree, as if its nodes were hosts.
    let tree = Tree::new();
    let nodes: Vec<[u8; 32]> =
        tree.above(&four.hosts().iter().map(|host| tree.leaf(host)).collect::<Vec<_>>());
    let as_host = ListPlace { index: 0, path: vec![nodes[1]] };
    assert!(!stands(&four.id(), 2, &HostId(nodes[0]), &as_host));
    assert!(!stands(&four.id(), 4, &HostId(nodes[0]), &as_host));
}

#[test]
fn only_sorted_whole_and_bounded_bytes_are_a_list() {
    let three = list(0..3);
    let bytes = three.bytes().0;
    assert_eq!(MemberList::read(&bytes), Ok(three));
    assert_eq!(MemberList::read(&bytes[..95]), Err(ListError::CutShort));
    assert_eq!(MemberList::read(&[]), Err(ListError::Length(0)));
    assert_eq!(MemberList::read(&[&bytes[32..], &bytes[..32]].concat()), Err(ListError::Order));
    assert_eq!(MemberList::read(&[&bytes[..32], &bytes[..32]].concat()), Err(ListError::Order));
    let most = (0..16_384_u32).map(|at| HostId([at.to_be_bytes(); 8].concat().try_into().unwrap()));
    assert_eq!(MemberList::of(most.clone()).unwrap().members(), 16_384);
    assert_eq!(MemberList::of(most.chain([HostId([0xff; 32])])), Err(ListError::Length(16_385)));
    assert_eq!(MemberList::read(&vec![0; 32 * 16_385]), Err(ListError::Length(16_385)));
}

#[test]
fn a_difference_makes_the_list_that_was_named_or_none() {
    let base = list(0..1000);
    let next = list((0..1000).filter(|at| at % 100 != 3).chain(2000..2005));
    let listing = next.listing(Some(&base));
    assert!(matches!(&listing, Listing::Changed { removed, .. } if removed.len() == 10));
    assert!(listing.weight() < 300, "{}", listing.weight());
    let find = |id: &ListId| (*id == base.id()).then_some(&base);
    assert_eq!(MemberList::from_listing(next.id(), &listing, find), Ok(next.clone()));
    assert_eq!(MemberList::from_listing(next.id(), &listing, |_| None), Err(ListError::Base));
    assert_eq!(MemberList::from_listing(base.id(), &listing, find), Err(ListError::Other));
    assert_eq!(MemberList::from_listing(next.id(), &Listing::Absent {}, find), Err(ListError::Other));
    let Listing::Changed { base: of, removed, added } = listing else { unreachable!() };
    let tried = |removed: Vec<u32>, added: Vec<u8>| {
        let listing = Listing::Changed { base: of, removed, added: Bytes(added) };
        MemberList::from_listing(next.id(), &listing, find)
    };
    assert_eq!(tried(removed.iter().rev().copied().collect(), added.0.clone()), Err(ListError::Base));
    assert_eq!(tried(vec![1000], added.0.clone()), Err(ListError::Base));
    assert_eq!(tried(vec![u32::MAX], added.0.clone()), Err(ListError::Base));
    assert_eq!(tried(removed.clone(), added.0[1..].to_vec()), Err(ListError::CutShort));
    assert_eq!(tried(removed.clone(), host(0).0.to_vec()), Err(ListError::Order), "it is there already");
    assert_eq!(tried(removed[1..].to_vec(), added.0.clone()), Err(ListError::Other));
    assert_eq!(tried((0..1000).collect(), Vec::new()), Err(ListError::Length(0)));
    assert_eq!(tried(removed, vec![0; 32 * 16_385]), Err(ListError::Length(16_385)));
    // Where little is alike the whole is shorter.
    assert!(matches!(list(5000..5600).listing(Some(&base)), Listing::Whole { .. }));
    assert!(matches!(next.listing(None), Listing::Whole { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_list_comes_over_from_any_other(
        old in proptest::collection::btree_set(0_u32..400, 1..300),
        new in proptest::collection::btree_set(0_u32..400, 1..300),
    ) {
        let (old, new) = (list(old), list(new));
        let listing = new.listing(Some(&old));
        prop_assert!(listing.weight() <= new.hosts().len() * 32);
        let encoded = crate::wire::encode(&listing);
        let listing: Listing = crate::wire::decode(&encoded, encoded.len()).unwrap();
        let come = MemberList::from_listing(new.id(), &listing, |_| Some(&old));
        prop_assert_eq!(come.as_ref(), Ok(&new));
        prop_assert_eq!(old.id() == new.id(), old.hosts() == new.hosts());
    }

    #[test]
    fn hostile_bytes_are_no_list_and_no_place_and_nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        removed in proptest::collection::vec(any::<u32>(), 0..8),
        index in any::<u32>(),
        members in any::<u32>(),
        path in proptest::collection::vec(any::<[u8; 32]>(), 0..20),
    ) {
        let base = list(0..20);
        let _ = MemberList::read(&bytes);
        let changed = Listing::Changed { base: base.id(), removed, added: Bytes(bytes.clone()) };
        for listing in [Listing::Whole { hosts: Bytes(bytes) }, changed] {
            prop_assert!(MemberList::from_listing(ListId([7; 32]), &listing, |_| Some(&base)).is_err());
        }
        let place = ListPlace { index, path };
        let stands = [members, 20].map(|members| stands(&base.id(), members, &host(3), &place));
        prop_assert_eq!(stands, [false, false]);
    }
}
