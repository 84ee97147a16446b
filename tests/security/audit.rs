//! The audit chain of real agents, and what `muster audit verify` says of one that was tampered with.

use std::fs;

use serde_json::Value;

use crate::fleet::{Fleet, Process, Reach};

/// The frames of a chain: a length of four bytes, then a record.
fn frames(chain: &[u8]) -> Vec<Vec<u8>> {
    let (mut left, mut found) = (chain, Vec::new());
    while !left.is_empty() {
        let length = u32::from_be_bytes(left[..4].try_into().unwrap()) as usize;
        found.push(left[..4 + length].to_vec());
        left = &left[4 + length..];
    }
    found
}

/// How many of these records stand whole at the beginning of what is shown.
fn whole(shown: &[u8], records: &[Vec<u8>]) -> usize {
    let mut left = Some(shown);
    let whole = records.iter().take_while(|record| {
        left = left.and_then(|left| left.strip_prefix(record.as_slice()));
        left.is_some()
    });
    whole.count()
}

fn verify(fleet: &Fleet, file: &str, code: i32) -> Value {
    fleet.muster("a", &["audit", "verify", file, "-o", "json"]).ends(code).json()
}

#[test]
fn a_chain_that_was_tampered_with_anywhere_is_named_by_its_record_on_another_host() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    for code in ["0", "3", "0"] {
        fleet.order("a", &["-H", "b"], &["sh", "-c", &format!("exit {code}")]);
    }
    let path = fleet.dir().join("b.chain");
    // As it is on the disk of b, and as b hands it over.
    let chain = fs::read(fleet.state("b").join("executor/audit/chain")).expect("the chain");
    let records = frames(&chain);
    assert_eq!(records.len(), 6, "an order is accepted and ends: two records each");
    let log = fleet.muster("b", &["audit", "log", "-o", "json"]).ends(0).json();
    let events: Vec<&str> =
        log["items"].as_array().unwrap().iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["accepted", "ended", "accepted", "ended", "accepted", "ended"]);
    assert_eq!(log["items"][3]["what"], "exit 3");
    let own = fleet.muster("b", &["audit", "verify", "-o", "json"]).ends(0).json();
    assert_eq!((&own["whole"], &own["host"], &own["last"]), (&true.into(), &"b".into(), &5.into()));
    let file = path.to_str().expect("text");
    fs::write(&path, &chain).expect("the file");
    // Another host's command line says the same of a copy.
    assert_eq!(verify(&fleet, file, 0), own);
    let head = own["head"].as_str().expect("a head").to_owned();

    // One byte of each record changed, and of each length; one taken out.
    let mut at = 0;
    for (number, record) in records.iter().enumerate() {
        for offset in [0, 3, 4, 60, record.len() - 1] {
            let mut changed = chain.clone();
            changed[at + offset] ^= 1;
            let mut shorter = chain.clone();
            shorter.remove(at + offset);
            for bytes in [changed, shorter] {
                fs::write(&path, &bytes).expect("the file");
                let output = fleet.muster("a", &["audit", "verify", file, "-o", "json"]);
                assert_ne!(output.code, 0, "record {number}, byte {offset}");
                // A byte taken out may be the same as the one that comes after: what is shown decides.
                let number = whole(&bytes, &records);
                // What is wrong with the first record may leave no host that it could be of.
                if number > 0 {
                    let said = output.json();
                    assert_eq!(said["fault"]["record"], number, "byte {offset}: {said}");
                    assert_eq!((&said["fault"]["kind"], &said["whole"]), (&"altered".into(), &false.into()));
                }
            }
        }
        at += record.len();
    }
    let shown = |order: &[usize]| {
        let bytes: Vec<u8> = order.iter().flat_map(|at| records[*at].clone()).collect();
        fs::write(&path, bytes).expect("the file");
        verify(&fleet, file, 1)["fault"].clone()
    };
    for (order, kind, record) in [
        (&[0, 1, 3, 4, 5][..], "missing", 2),
        (&[0, 1, 2, 2, 3, 4, 5], "repeated", 3),
        (&[0, 2, 1, 3, 4, 5], "missing", 1),
        (&[1, 2, 3, 4, 5], "beheaded", 0),
    ] {
        let fault = shown(order);
        assert_eq!((&fault["kind"], &fault["record"]), (&kind.into(), &record.into()), "{fault}");
    }
    // The end cut off: only who has seen more can tell, and does.
    fs::write(&path, records[..4].concat()).expect("the file");
    assert_eq!(verify(&fleet, file, 0)["last"], 3);
    let seen = fleet.muster("a", &["audit", "verify", file, "--seen", &head, "-o", "json"]).ends(1).json();
    assert_eq!(seen["fault"]["kind"], "cut-short");
    // The chain goes on where it was after both processes were killed.
    fleet.kill9("b", Process::Both);
    fleet.start("b");
    fleet.order("a", &["-H", "b"], &["true"]);
    let own = fleet.muster("b", &["audit", "verify", "--seen", &head, "-o", "json"]).ends(0).json();
    assert_eq!(own["last"], 7);
    let text = fleet.muster("b", &["audit", "verify"]).ends(0).text();
    assert!(text.contains("b: records 0 to 7, none missing, none altered"), "{text}");
}
