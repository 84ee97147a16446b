use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn host(number: u8) -> HostId {
    HostId([number; 32])
}

fn table(name: &str, columns: &[&str], rows: &[&[&str]]) -> Table {
    Table {
        name: name.to_owned(),
        columns: columns.iter().map(|text| (*text).to_owned()).collect(),
        rows: rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect(),
    }
}

fn debs(rows: &[(String, String, String)]) -> Tables {
    let rows = rows.iter().map(|(name, version, arch)| vec![name.clone(), version.clone(), arch.clone()]);
    let mut table = table(PACKAGES, &["name", "version", "arch"], &[]);
    table.rows = rows.collect();
    Tables { tables: vec![table] }
}

fn hash(tables: &Tables) -> FacetHash {
    FacetHash::of(&tables.clone().canonical())
}

fn put(index: &mut Index, host: HostId, facets: &[Tables]) {
    let hashes: Vec<FacetHash> = facets.iter().map(hash).collect();
    index.set(host, &hashes, |wanted| facets.iter().find(|facet| hash(facet) == *wanted).cloned());
}

fn versions(index: &Index, host: &HostId, name: &str) -> BTreeSet<(String, String)> {
    index.package(host, name).map(|(version, arch)| (version.to_owned(), arch.to_owned())).collect()
}

#[test]
fn a_row_is_kept_once_and_goes_with_the_last_host_that_has_it() {
    let list = |last: &str| {
        let row = |name: &str, version: &str| (name.to_owned(), version.to_owned(), "amd64".to_owned());
        debs(&[row("bash", "5.2"), row("openssl", last)])
    };
    let mut index = Index::default();
    put(&mut index, host(1), &[list("3.0")]);
    put(&mut index, host(2), &[list("3.0")]);
    assert_eq!((index.by_bytes.len(), index.facets.len()), (2, 1));
    put(&mut index, host(3), &[list("3.1")]);
    assert_eq!((index.by_bytes.len(), index.facets.len()), (3, 2));
    assert_eq!(index.tables()[PACKAGES], Extent { hosts: 3, rows: 6 });
    index.remove(&host(3));
    assert_eq!((index.by_bytes.len(), index.facets.len()), (2, 1));
    assert!(versions(&index, &host(3), "openssl").is_empty());
    index.remove(&host(1));
    index.remove(&host(2));
    assert_eq!((index.by_bytes.len(), index.facets.len(), index.named.len(), index.bytes), (0, 0, 0, 0));
    assert!(index.layouts.iter().all(Option::is_none) && index.rows.iter().all(Option::is_none));
}

#[test]
fn a_facet_that_a_host_has_already_is_not_read_again() {
    let list = debs(&[("bash".to_owned(), "5.2".to_owned(), "amd64".to_owned())]);
    let mut index = Index::default();
    put(&mut index, host(1), std::slice::from_ref(&list));
    assert!(index.is_current(&host(1), [hash(&list)].into_iter()));
    assert!(!index.is_current(&host(2), [hash(&list)].into_iter()));
    index.set(host(2), &[hash(&list)], |_| panic!("read again"));
    assert_eq!(versions(&index, &host(2), "bash").len(), 1);
}

#[test]
fn tables_of_other_columns_stand_side_by_side() {
    let old = Tables { tables: vec![table("os_version", &["name"], &[&["Debian"]])] };
    let new = Tables { tables: vec![table("os_version", &["codename", "name"], &[&["trixie", "Debian"]])] };
    let mut index = Index::default();
    put(&mut index, host(1), &[old]);
    put(&mut index, host(2), std::slice::from_ref(&new));
    for number in [1, 2] {
        assert_eq!(index.column(&host(number), "os_version", "name"), ["Debian"]);
    }
    assert_eq!(index.column(&host(2), "os_version", "codename"), ["trixie"]);
    assert!(index.column(&host(1), "os_version", "codename").is_empty());
    assert_eq!(index.facet_with(&host(2), "os_version"), Some(hash(&new)));
    assert_eq!(index.facet_with(&host(2), "mounts"), None);
}

#[test]
fn cells_of_rows_are_told_in_the_order_that_is_asked_for() {
    let debs = debs(&["bash 5.2", "openssl 3.0", " 1"].map(|text| {
        let (name, version) = text.split_once(' ').unwrap();
        (name.to_owned(), version.to_owned(), "amd64".to_owned())
    }));
    let units =
        table("systemd_units", &["id", "active_state"], &[&["a.service", "failed"], &["openssl", "active"]]);
    let mut index = Index::default();
    put(&mut index, host(1), &[debs, Tables { tables: vec![units, table("users", &["username"], &[])] }]);
    let cells = |table: &str, columns: &[&str], only: Option<(usize, &str)>| {
        let columns: Vec<String> = columns.iter().map(|text| (*text).to_owned()).collect();
        let mut rows: Vec<Vec<Option<String>>> = Vec::new();
        index.cells(&host(1), table, &columns, only, |row| {
            rows.push(row.iter().map(|cell| cell.map(str::to_owned)).collect());
        });
        rows.sort();
        rows.into_iter()
            .flatten()
            .map(|cell| cell.unwrap_or_else(|| "none".to_owned()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(cells(PACKAGES, &["version", "name"], None), "1  3.0 openssl 5.2 bash");
    // Rows without a name may have any.
    assert_eq!(cells(PACKAGES, &["name", "version"], Some((0, "bash"))), " 1 bash 5.2");
    assert_eq!(cells(PACKAGES, &["size", "version"], Some((1, "1"))), "none 1 none 3.0 none 5.2");
    assert_eq!(cells("systemd_units", &["id"], Some((0, "openssl"))), "openssl");
    assert_eq!(cells("users", &["username"], None), "");
    assert!(index.tells(&host(1), "users") && !index.tells(&host(1), "mounts"));
    assert!(index.tells_anything(&host(1)) && !index.tells_anything(&host(2)));
}

#[test]
fn what_has_no_room_is_left_out_and_its_host_is_known_for_it() {
    let row = |name: &str| vec![(name.to_owned(), "1".repeat(100), "amd64".to_owned())];
    let mut index = Index::bounded(1000);
    put(&mut index, host(1), &[debs(&row("a"))]);
    put(&mut index, host(2), &[debs(&row("b"))]);
    put(&mut index, host(3), &[debs(&row("c"))]);
    assert!(!index.is_left_out(&host(1)) && !index.is_left_out(&host(2)) && index.is_left_out(&host(3)));
    assert!(versions(&index, &host(3), "c").is_empty());
    // Once there is room again, the next facet has it.
    index.remove(&host(1));
    put(&mut index, host(3), &[debs(&row("d"))]);
    assert!(!index.is_left_out(&host(3)));
    assert_eq!(versions(&index, &host(3), "d").len(), 1);
}

/// Packages of nobody else: so many, with versions of this length.
fn own(host: u8, count: usize, length: usize) -> Tables {
    let row = |at: usize| (format!("p{host}-{at}"), "1".repeat(length), "amd64".to_owned());
    debs(&(0..count).map(row).collect::<Vec<_>>())
}

#[test]
fn hosts_that_say_as_much_as_they_can_keep_no_other_out_whoever_came_first() {
    // Two fill all that there is, in several facets; then twenty come that say what hosts say.
    let hostile = |number: u8| [own(number, 40, 100), own(number + 100, 60, 100), own(number + 150, 90, 100)];
    let mut index = Index::bounded(40_000);
    for number in [1, 2, 3] {
        put(&mut index, host(number), &hostile(number));
    }
    assert!(index.is_left_out(&host(3)), "there is room for two");
    for number in 20..40 {
        put(&mut index, host(number), &[own(number, 10, 30)]);
        assert!(!index.is_left_out(&host(number)), "host {number}");
        // And they say something new all the time.
        for loud in [1, 2, 3] {
            put(&mut index, host(loud), &[own(loud + number, 150, 100)]);
        }
    }
    for number in 20..40 {
        assert!(!index.is_left_out(&host(number)), "host {number} is pushed out");
        assert_eq!(versions(&index, &host(number), &format!("p{number}-7")).len(), 1);
    }
    assert!([1, 2, 3].iter().all(|loud| index.is_left_out(&host(*loud))));
    assert!(index.bytes <= 40_000);
    // Who says what they say is not left out with them, and a list of many takes each host a part.
    let mut index = Index::bounded(40_000);
    let common = own(9, 100, 50);
    put(&mut index, host(1), &[common.clone(), own(1, 90, 100)]);
    for number in 20..30 {
        put(&mut index, host(number), std::slice::from_ref(&common));
    }
    for number in 30..40 {
        put(&mut index, host(number), &[own(number, 10, 30)]);
    }
    assert!((20..40).all(|number| !index.is_left_out(&host(number))) && index.is_left_out(&host(1)));
    for number in 0..50 {
        index.remove(&host(number));
    }
    assert_eq!((index.by_bytes.len(), index.facets.len(), index.named.len(), index.bytes), (0, 0, 0, 0));
}

#[test]
fn a_host_with_a_list_as_long_as_before_needs_no_room_for_both() {
    let mut index = Index::bounded(20_000);
    for version in 1..9 {
        put(&mut index, host(1), &[own(version, 80, 60)]);
        assert!(!index.is_left_out(&host(1)), "list {version}");
    }
}

/// A fleet as a list of changes: which host has which packages from then on; none: it is gone.
type Changes = Vec<(u8, Option<BTreeSet<(u8, u8, bool)>>)>;

fn changes() -> impl Strategy<Value = Changes> {
    let packages = prop::collection::btree_set((0..6_u8, 0..4_u8, any::<bool>()), 0..12);
    prop::collection::vec((0..5_u8, prop::option::weighted(0.8, packages)), 1..30)
}

proptest! {
    #[test]
    fn after_any_changes_it_says_what_the_hosts_say(changes in changes()) {
        let mut index = Index::default();
        let mut naive: BTreeMap<u8, Vec<(String, String, String)>> = BTreeMap::new();
        for (number, packages) in changes {
            let Some(packages) = packages else {
                index.remove(&host(number));
                naive.remove(&number);
                continue;
            };
            let rows: Vec<(String, String, String)> = packages
                .into_iter()
                .map(|(name, version, amd)| {
                    let arch = if amd { "amd64" } else { "i386" };
                    (format!("p{name}"), format!("1.{version}"), arch.to_owned())
                })
                .collect();
            put(&mut index, host(number), &[debs(&rows)]);
            naive.insert(number, rows);
        }
        for number in 0..5 {
            let rows = naive.get(&number).cloned().unwrap_or_default();
            for name in 0..6 {
                let name = format!("p{name}");
                let expected: BTreeSet<(String, String)> =
                    rows.iter().filter(|row| row.0 == name).map(|row| (row.1.clone(), row.2.clone())).collect();
                prop_assert_eq!(versions(&index, &host(number), &name), expected);
            }
            let expected: BTreeSet<&str> = rows.iter().map(|row| row.1.as_str()).collect();
            let found = index.column(&host(number), PACKAGES, "version");
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
        let distinct: BTreeSet<&(String, String, String)> = naive.values().flatten().collect();
        prop_assert_eq!(index.by_bytes.len(), distinct.len());
        prop_assert_eq!(index.hosts().len(), naive.len());
    }
}
