use super::*;
use crate::{
    control::{StoreCheck, StoreProblem, StoreRows, testing::NOW},
    terminal::{Format, Output, Style},
};

fn shown(check: &StoreCheck, format: Format) -> String {
    let mut output = Output::new(Vec::new(), format, true, Style::default(), NOW);
    show(check, true, &mut output).unwrap();
    String::from_utf8(output.into_inner()).unwrap()
}

fn rows(kind: &str, rows: u64, bytes: u64, damaged: u64) -> StoreRows {
    StoreRows { kind: kind.to_owned(), rows, bytes, damaged, waiting: 0 }
}

#[test]
fn a_whole_store_is_five_lines() {
    let check = StoreCheck {
        kinds: vec![rows("entry", 12, 4000, 0), rows("facet", 1, 900, 0), rows("head", 3, 1200, 0)],
        disk_bytes: 3 << 20,
        as_held: Some(true),
        whole: true,
        ..StoreCheck::default()
    };
    let golden = "\
✓ whole  and what the agent holds
  entries   12 in 3.9 KiB
  facet     1 in 900 B
  heads     3 in 1.1 KiB
  on disk   3.0 MiB for 5.9 KiB
";
    assert_eq!(shown(&check, Format::Table), golden);
}

#[test]
fn what_is_damaged_is_named_with_a_mark_and_counted_for_scripts() {
    let check = StoreCheck {
        kinds: vec![rows("facet", 2, 900, 2)],
        disk_bytes: 600,
        as_held: Some(false),
        problems: vec![StoreProblem {
            kind: "facet".to_owned(),
            key: "00112233445566778899".to_owned(),
            damaged: true,
            what: "it cannot be decoded\u{1b}[2J".to_owned(),
        }],
        ..StoreCheck::default()
    };
    let page = shown(&check, Format::Table);
    assert!(page.contains("facet 0011223344556677: it cannot be decoded\\x1b[2J"), "{page}");
    assert!(page.contains("2 in 900 B, 2 damaged") && page.contains("and 1 more"), "{page}");
    assert!(page.contains("not what the agent holds"), "{page}");
    let json: serde_json::Value = serde_json::from_str(&shown(&check, Format::Json)).unwrap();
    assert_eq!(json["schema"], "muster.store-check/v1");
    assert_eq!((&json["damaged"], &json["whole"]), (&2.into(), &false.into()));
    assert_eq!(json["problems"][0]["state"], "damaged");
}
