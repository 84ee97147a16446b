//! Reading a package database.

use std::{fs, process::Command, time::Instant};

use muster::host::{Collector as _, FACET_DEB, Machine, Paths, Progress};

use crate::{
    Options,
    figures::{Table, ms},
    images::{Dice, Universe},
};

const PACKAGES: usize = 3_000;

pub(crate) fn measure(options: &Options, universe: &Universe, dice: &mut Dice, table: &mut Table) {
    let dir = std::env::temp_dir().join(format!("muster-bench-dpkg-{}", std::process::id()));
    fs::create_dir_all(dir.join("info")).unwrap();
    fs::create_dir_all(dir.join("updates")).unwrap();
    let status = universe.status(PACKAGES, dice);
    fs::write(dir.join("status"), &status).unwrap();
    let machine = Machine::new(Paths::with_dpkg(&dir));
    let (mut ours, mut read, mut theirs, mut rows) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..options.runs {
        let start = Instant::now();
        let collected = machine.collect(FACET_DEB, &Progress::default());
        ours.push(start.elapsed().as_secs_f64());
        rows = collected.tables.unwrap().tables[0].rows.len();
        let start = Instant::now();
        assert_eq!(fs::read(dir.join("status")).unwrap().len(), status.len());
        read.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let query = Command::new("dpkg-query").arg("--admindir").arg(&dir).arg("-W").output();
        if query.is_ok_and(|output| output.status.success()) {
            theirs.push(start.elapsed().as_secs_f64());
        }
    }
    fs::remove_dir_all(&dir).unwrap();
    let what = format!("status file of {rows} packages, {:.1} MB, parsed", status.len() as f64 / 1e6);
    let others = format!("dpkg-query -W {}; only reading the file {}", ms(&theirs), ms(&read));
    table.row(&what, &ms(&ours), "15 ms", &others);
}
