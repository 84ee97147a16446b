//! Hosts whose clock is wrong.
//!
//! An agent has no way to be told another time than the machine's; one would be a way to lie to it. So the machine is
//! another one for it: a mount namespace in which the C library's loader loads libfaketime into all programs.

use std::fs;

use crate::{
    fleet::Fleet,
    orders::{once, two},
    places::has_mounts,
    support::unavailable,
};

/// The shell script for mounts among which the clock is off by `by`; none where this machine cannot have them.
fn clock_off_by(name: &str, by: &str) -> Option<String> {
    if !has_mounts(name) {
        return None;
    }
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let library = folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists());
    let Some(library) = library else {
        unavailable(name, format_args!("no libfaketime (as root: apt-get install faketime)"));
        return None;
    };
    // `/etc` is this machine's, with two files more.
    Some(format!(
        "mount -t tmpfs none /mnt\nmkdir /mnt/upper /mnt/work\n\
         mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work none /etc\n\
         echo {} > /etc/ld.so.preload\necho {by} > /etc/faketimerc",
        library.display(),
    ))
}

/// Starts b, which was stopped, with a wrong clock.
fn start_off(fleet: &mut Fleet, mounts: &str) {
    let mut command = fleet.among_mounts("b", mounts);
    command.arg("agent");
    fleet.launch_as("b", command);
    fleet.all_see_all();
}

#[test]
fn a_clock_that_is_ahead_is_named_and_its_host_takes_orders_for_expired() {
    let name = "a_clock_that_is_ahead_is_named_and_its_host_takes_orders_for_expired";
    let Some(mounts) = clock_off_by(name, "+2h") else { return };
    let mut fleet = two();
    fleet.stop("b");
    start_off(&mut fleet, &mounts);
    fleet.until("a names the clock of b", |fleet| {
        let said = fleet.muster("a", &["doctor"]).text();
        if said.contains("the clock of b is 2h ahead of this one") { Ok(()) } else { Err(said) }
    });
    let ran = fleet.order("a", &["-H", "b"], &fleet.counted(&[])).ends(6);
    assert_eq!((ran.status("b").as_str(), ran.why("b").contains("expired")), ("refused", true), "{ran:?}");
    assert_eq!(fleet.all_spawns(), []);
    // Its clock was set: all is well.
    fleet.restart("b");
    fleet.all_see_all();
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
}

#[test]
fn a_clock_that_is_behind_is_named_and_its_host_runs_no_order_of_the_future() {
    let name = "a_clock_that_is_behind_is_named_and_its_host_runs_no_order_of_the_future";
    let Some(mounts) = clock_off_by(name, "-2h") else { return };
    let mut fleet = two();
    fleet.stop("b");
    start_off(&mut fleet, &mounts);
    fleet.until("a names the clock of b", |fleet| {
        let said = fleet.muster("a", &["doctor"]).text();
        if said.contains("the clock of b is 2h behind this one") { Ok(()) } else { Err(said) }
    });
    let ran = fleet.order("a", &["-H", "b", "--wait", "2s"], &fleet.counted(&[]));
    assert_ne!(ran.status("b"), "ok", "{ran:?}");
    assert_eq!(fleet.all_spawns(), []);
}
