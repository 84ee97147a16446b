//! What holds after any storm; and what users saw.

use super::*;

/// The seeds to run: `MUSTER_SEEDS=a..b`, or these.
fn seeds(few: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("MUSTER_SEEDS") else { return few };
    let (from, to) = range.split_once("..").expect("MUSTER_SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn after_any_storm_all_hold_the_same_results_are_home_and_it_is_quiet() {
    let mut failed = Vec::new();
    for seed in seeds(0..16) {
        if let Err(failure) = storm(seed) {
            println!("{failure}\n");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
}
