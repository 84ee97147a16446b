//! The results of one order, and hosts that die on the way.

use super::super::*;

const ASKED: Returning = Returning { hosts: 500, links: 8, link_ms: 50, die: 10, heard: true, seed: 1 };

#[expect(clippy::print_stdout, reason = "figures, for who asks with --nocapture")]
fn played(asked: Returning) -> Home {
    let home = home(asked).unwrap();
    println!("{home}");
    home
}

#[test]
fn all_results_of_a_large_roster_come_home_over_eight_links_and_who_dies_takes_nothing_along() {
    for (heard, seed) in [(true, 1), (false, 2)] {
        let home = played(Returning { heard, seed, ..ASKED });
        assert_eq!((home.wrong, home.unsettled), (0, 0), "{home}");
        assert_eq!(home.home + home.died, home.hosts, "{home}");
        assert!(home.streams <= 8 && home.died == 5, "{home}");
        assert!(home.in_four_seconds * 100 >= home.hosts * 95, "{home}");
    }
}
