//! Questions about a large fleet, asked on a real agent's socket.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use muster::{
    control::{Client, Reply, Request},
    identity::HostId,
    replica::{Replica, Tables},
    selector::version::{Ecosystem, compare},
};

use crate::{
    Options,
    figures::{Table, ms, span},
};

const WITHIN: Duration = Duration::from_secs(60);
/// What is asked: one package, two, one that is missing, a cell of another table.
const QUESTIONS: [&str; 4] = [
    "deb.libc6 > 2.36-9",
    "deb.openssl < 9 and deb.perl-base > 1",
    "missing deb.tzdata",
    "fact.os_version.codename = bookworm and has deb.passwd",
];

pub(crate) async fn measure(
    options: &Options,
    client: &mut Client,
    replica: &Replica,
    packages: usize,
    table: &mut Table,
) {
    let hosts = options.hosts;
    let fleet = format!("{hosts} hosts × {packages} packages");
    let start = Instant::now();
    ask(client, QUESTIONS[0]).await;
    let first = start.elapsed().as_secs_f64();
    for question in QUESTIONS {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..options.runs {
            let start = Instant::now();
            found = ask(client, question).await;
            times.push(start.elapsed().as_secs_f64());
        }
        let naive = if question == QUESTIONS[0] {
            format!("reading every list: {}", ms(&[scan(replica)]))
        } else {
            String::new()
        };
        let what = format!("`{question}` over {fleet}, on the agent's socket, {found} found");
        table.row(&what, &ms(&times), "10 ms", &naive);
    }
    let what = format!("the first question over {fleet}, which makes the index");
    table.row(&what, &span(&[first]), "", "");
}

/// Asks, and reads the whole answer; says how many hosts it names.
async fn ask(client: &mut Client, expression: &str) -> usize {
    let request =
        Request::InventorySearch { expression: expression.to_owned(), columns: Vec::new(), limit: 100_000 };
    client.send(&request).await.unwrap();
    let mut found = 0;
    loop {
        match client.reply_within(WITHIN).await.unwrap() {
            Reply::Found { rows, more, .. } => {
                found += rows.len();
                if !more {
                    return found;
                }
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
}

/// The first question without an index: every list is unpacked and read through.
fn scan(replica: &Replica) -> f64 {
    let start = Instant::now();
    let hosts: Vec<HostId> = replica.heads().map(|(host, _)| *host).collect();
    let newer = |host: &HostId| {
        let (_, bytes) = replica.facet(host, "deb")?;
        let tables = Tables::read(&bytes).ok()?;
        let row = tables.tables.first()?.rows.iter().find(|row| row[0] == "libc6")?.clone();
        compare(Ecosystem::Deb, &row[1], "2.36-9").map(Ordering::is_gt)
    };
    let found = hosts.iter().filter(|host| newer(host) == Some(true)).count();
    std::hint::black_box(found);
    start.elapsed().as_secs_f64()
}
