//! SIGKILL at random times while orders flow: none lost without a word, none run twice.
//!
//! `MUSTER_KILLS=1000 cargo test --test security kills:: -- --nocapture` kills more often, and `MUSTER_SEED` as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use muster::{
    authority::Authority,
    control::{Client, Reply, Request},
    identity::{EntryId, HostId},
    replica::{Item, Outcome, Report},
    services::run::verify,
};
use tokio::runtime::Runtime;

use crate::{
    fleet::{Fleet, Process, Reach},
    signer::{Signer, host_id, replica},
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const FLEETS: usize = 3;
/// In all fleets together, unless `MUSTER_KILLS` says otherwise.
const KILLS: usize = 201;
/// Between two orders of one fleet.
const ORDER_EVERY: Duration = Duration::from_millis(50);
/// How long it may take until everything is known once nothing is killed any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// xorshift64: the same seed, the same kills.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// What an order is known by after it was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handed {
    /// An agent said that it is on its disk.
    Accepted,
    /// No agent said so: it may be known or not.
    Unsaid,
}

#[derive(Debug, Default)]
struct Tally {
    kills: BTreeMap<&'static str, usize>,
    orders: usize,
    unsaid: usize,
    results: BTreeMap<String, usize>,
    spawns: usize,
}

/// Hands orders over, one after the other, each to any agent that takes it, until told to stop.
fn hand_over(
    signer: &Signer,
    sockets: &[PathBuf],
    hosts: &[HostId],
    argv: &[String],
    stop: &AtomicBool,
    seed: u64,
) -> BTreeMap<EntryId, Handed> {
    let mut handed = BTreeMap::new();
    let mut dice = Dice(seed);
    Runtime::new().unwrap().block_on(async {
        let mut next = tokio::time::interval(ORDER_EVERY);
        while !stop.load(Ordering::Relaxed) {
            next.tick().await;
            let mut order = signer.order(hosts, argv);
            order.keepers = hosts.to_vec();
            let order = signer.sign(order);
            let mut state = Handed::Unsaid;
            let first = usize::try_from(dice.roll(sockets.len() as u64)).unwrap();
            for at in 0..sockets.len() {
                let socket = &sockets[(first + at) % sockets.len()];
                let items = vec![Item::bare(order.bytes())];
                let Ok(mut client) = Client::connect(socket).await else { continue };
                let asked = client.ask(&Request::Submit { items }, Duration::from_secs(20)).await;
                if matches!(asked, Ok(Reply::Accepted {})) {
                    state = Handed::Accepted;
                    break;
                }
            }
            handed.insert(order.id(), state);
        }
    });
    handed
}

/// Kills one process of one host, and starts again what does not start itself.
fn kill(fleet: &mut Fleet, dice: &mut Dice) -> &'static str {
    let name = NAMES[usize::try_from(dice.roll(3)).unwrap()];
    let what = match dice.roll(5) {
        0 | 1 => Process::Executor,
        2 | 3 => Process::Mesh,
        _ => Process::Both,
    };
    // Between two of its lives there is no mesh process to kill.
    let what = if fleet.mesh_pid(name).is_none() { Process::Executor } else { what };
    fleet.kill9(name, what);
    match what {
        Process::Executor => {
            fleet.launch(name);
            "executor"
        }
        Process::Mesh => "mesh process",
        Process::Both => {
            fleet.launch(name);
            "both"
        }
    }
}

fn one_fleet(seed: u64, kills: usize) -> Tally {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Fixed);
    fleet.join("c", &[], Reach::Fixed);
    fleet.all_see_all();
    let signer = Signer::of(&fleet);
    let hosts: Vec<HostId> = NAMES.iter().map(|name| host_id(&fleet, name)).collect();
    let sockets: Vec<PathBuf> = NAMES.iter().map(|name| fleet.socket(name)).collect();
    let log = fleet.dir().join("ran");
    // Built-in words of the shell alone. The parent is the supervisor, whose command line is the agent's and
    // ends in the state directory and `agent`.
    let script =
        format!("read -r line < /proc/$PPID/cmdline; echo \"$MUSTER_JOB $line\" >> {}", log.display());
    let argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), script];

    let stop = Arc::new(AtomicBool::new(false));
    let mut tally = Tally::default();
    let mut dice = Dice(seed | 1);
    let handing = {
        let (signer, stop, hosts, argv) = (signer.clone(), Arc::clone(&stop), hosts.clone(), argv.clone());
        thread::spawn(move || hand_over(&signer, &sockets, &hosts, &argv, &stop, seed.rotate_left(17) | 1))
    };
    for _ in 0..kills {
        // The random time at which it strikes.
        thread::sleep(Duration::from_millis(dice.roll(500)));
        *tally.kills.entry(kill(&mut fleet, &mut dice)).or_default() += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let handed = handing.join().expect("orders were handed over");
    for name in NAMES {
        fleet.until(&format!("{name} answers again"), |fleet| {
            let output = fleet.muster(name, &["status", "-o", "json"]);
            if output.code == 0 { Ok(()) } else { Err(output.stderr) }
        });
    }
    let runtime = Runtime::new().unwrap();
    let authority = runtime.block_on(replica(&fleet, "a")).authority().clone();
    let results = runtime.block_on(settle(&fleet, &authority, &handed, &hosts, seed));

    // Which host ran what, by what the commands wrote.
    let mut ran: BTreeMap<(String, HostId), usize> = BTreeMap::new();
    for line in fs::read_to_string(&log).unwrap_or_default().lines() {
        let (job, parent) = line.split_once(' ').expect("a job and a parent");
        let name = parent.strip_suffix("agent").and_then(|line| line.rsplit('/').next());
        let at = NAMES.iter().position(|known| Some(*known) == name);
        let at = at.unwrap_or_else(|| panic!("whose is {line:?}?"));
        *ran.entry((job.to_owned(), hosts[at])).or_default() += 1;
    }
    tally.orders = handed.len();
    tally.unsaid = handed.values().filter(|state| **state == Handed::Unsaid).count();
    tally.spawns = ran.values().sum();
    let known: BTreeSet<String> = handed.keys().map(ToString::to_string).collect();
    for ((job, host), times) in &ran {
        assert!(known.contains(job), "seed {seed}: {job} was never ordered");
        assert_eq!(*times, 1, "seed {seed}: {job} ran {times} times on {host}");
    }
    for order in handed.keys() {
        for host in &hosts {
            let times = ran.get(&(order.to_string(), *host)).copied().unwrap_or(0);
            let Some(outcomes) = results.get(&(*order, *host)) else {
                assert_eq!(handed[order], Handed::Unsaid, "seed {seed}: no word of {order} on {host}");
                assert_eq!(times, 0, "seed {seed}: {order} ran on {host}, and nobody knows");
                *tally.results.entry("never accepted".to_owned()).or_default() += 1;
                continue;
            };
            assert_eq!(outcomes.len(), 1, "seed {seed}: {order} on {host}: {outcomes:?}");
            let word = match &outcomes[0] {
                Outcome::Exited { code: 0 } => {
                    assert_eq!(times, 1, "seed {seed}: {order} is ok on {host} and did not run");
                    "ok"
                }
                Outcome::Indeterminate { .. } => "indeterminate",
                other => panic!("seed {seed}: {order} on {host}: {other:?}"),
            };
            *tally.results.entry(word.to_owned()).or_default() += 1;
        }
    }
    tally
}

/// Every verified outcome of each order on each host, by any of the keepers, once none is missing.
async fn settle(
    fleet: &Fleet,
    authority: &Authority,
    handed: &BTreeMap<EntryId, Handed>,
    hosts: &[HostId],
    seed: u64,
) -> BTreeMap<(EntryId, HostId), Vec<Outcome>> {
    let start = Instant::now();
    let mut results: BTreeMap<(EntryId, HostId), BTreeMap<EntryId, Outcome>> = BTreeMap::new();
    loop {
        let whole = |order: &EntryId| hosts.iter().all(|host| results.contains_key(&(*order, *host)));
        let missing: Vec<EntryId> = handed.keys().copied().filter(|order| !whole(order)).collect();
        let due = missing.iter().filter(|order| handed[order] == Handed::Accepted).count();
        // Of an order that no agent accepted there is a word from all hosts, or from none.
        let torn =
            missing.iter().any(|order| hosts.iter().any(|host| results.contains_key(&(*order, *host))));
        if (due == 0 && !torn) || start.elapsed() > SETTLED_WITHIN {
            if due > 0 || torn {
                let mut lost = BTreeMap::new();
                for order in &missing {
                    for (name, host) in NAMES.iter().zip(hosts) {
                        if !results.contains_key(&(*order, *host)) {
                            lost.entry(*name).or_insert_with(Vec::new).push(order.short());
                        }
                    }
                }
                for name in NAMES {
                    eprintln!("{name}: {}\n{}", fleet.status(name), fleet.log(name));
                }
                panic!(
                    "seed {seed}: {due} accepted orders have no result within {SETTLED_WITHIN:?}: {lost:?}"
                );
            }
            break;
        }
        for name in NAMES {
            for order in &missing {
                let Ok(reports) = crate::signer::reports(fleet, name, *order).await else { continue };
                for (id, host, outcome) in reports.iter().filter_map(|report| read(report, *order, authority))
                {
                    results.entry((*order, host)).or_default().insert(id, outcome);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Two different results of one host would be known somewhere by now.
    for name in NAMES {
        for order in handed.keys() {
            let reports = crate::signer::reports(fleet, name, *order).await.expect("an agent that answers");
            for (id, host, outcome) in reports.iter().filter_map(|report| read(report, *order, authority)) {
                results.entry((*order, host)).or_default().insert(id, outcome);
            }
        }
    }
    results.into_iter().map(|(key, outcomes)| (key, outcomes.into_values().collect())).collect()
}

fn read(report: &Report, order: EntryId, authority: &Authority) -> Option<(EntryId, HostId, Outcome)> {
    let verified = verify(report, order, authority).ok()?;
    Some((verified.id(), verified.record().host, verified.record().outcome.clone()))
}

#[test]
fn of_orders_amid_200_kills_none_is_lost_without_a_word_and_none_runs_twice() {
    let seed = std::env::var("MUSTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("randomness");
        u64::from_le_bytes(bytes)
    });
    let kills = std::env::var("MUSTER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let each = kills.div_ceil(FLEETS);
    eprintln!("kills: MUSTER_SEED={seed} MUSTER_KILLS={kills}");
    let all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..FLEETS {
            let all = &all;
            scope.spawn(move || {
                let tally = one_fleet(seed.wrapping_add(number as u64 * 0x9e37_79b9), each);
                all.lock().unwrap().push(tally);
            });
        }
    });
    let mut sum = Tally::default();
    for tally in all.into_inner().unwrap() {
        for (what, count) in tally.kills {
            *sum.kills.entry(what).or_default() += count;
        }
        for (what, count) in tally.results {
            *sum.results.entry(what).or_default() += count;
        }
        sum.orders += tally.orders;
        sum.unsaid += tally.unsaid;
        sum.spawns += tally.spawns;
    }
    eprintln!("{sum:#?}");
    assert!(sum.orders > 100, "{sum:?}");
    assert_eq!(sum.kills.values().sum::<usize>(), each * FLEETS);
}
