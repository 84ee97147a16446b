//! Audit chains that a host takes back, as the others see it.

use std::fs;

use crate::{fleet::text, orders::two};

#[test]
fn a_host_that_loses_its_audit_chain_is_named_by_the_others() {
    let mut fleet = two();
    fleet.order("a", &["-H", "b"], &["true"]).ends(0);
    let whole = fleet.muster("b", &["audit", "verify", "-o", "json"]).ends(0).json();
    assert_eq!((whole["whole"].as_bool(), whole["last"].as_u64()), (Some(true), Some(1)), "{whole}");
    // The head of a new epoch says how far the chain is.
    fleet.restart("b");
    fleet.all_see_all();
    fleet.until("b's records are no news", |fleet| {
        let problems = fleet.status("a")["problems"].to_string();
        if problems.contains("audit") { Err(problems) } else { Ok(()) }
    });

    // Its end is cut off, in both places that have it.
    fleet.stop("b");
    let executor = fleet.state("b").join("executor");
    let chain = executor.join("audit").join("chain");
    let kept = fs::read(&chain).expect("a chain");
    fs::remove_file(&chain).expect("it goes");
    fs::remove_file(executor.join("claims")).expect("they go");
    fleet.start("b");
    let said = fleet.until("a names the host", |fleet| {
        let problems = fleet.status("a")["problems"].to_string();
        if problems.contains("b takes back its audit chain") { Ok(problems) } else { Err(problems) }
    });
    let head = text(&whole["head"]);
    assert!(said.contains(&format!("it showed {}", &head[..6])), "{said}: {head}");
    assert!(!kept.is_empty());
}
