//! What is sealed to this host runs here and is read by whoever ordered it; nothing of it stands on its disk in the
//! open, and nothing that was moved from another order runs.

use std::{fs, path::Path};

use super::harness::{FAILED, Host, Mesh};
use crate::{
    identity::{SealPublic, SealSecret, Signed},
    journal::HostHome,
    replica::{Action, Blob, Command, Order, Outcome, Private, Report, ResultRecord, output_opener},
    wire::{self, Bytes},
};

const CANARY: &str = "canary-7d19";

fn reader() -> SealSecret {
    SealSecret::from_seed(&[77; 32])
}

fn drawing() -> impl FnMut() -> [u8; 32] {
    let mut drawn = 0_u64;
    move || {
        drawn += 1;
        *blake3::hash(&drawn.to_le_bytes()).as_bytes()
    }
}

fn key_of(host: &Host) -> SealPublic {
    HostHome::open(&host.path("state")).unwrap().seal_key().unwrap().public()
}

fn command(argv: Vec<Bytes>) -> Command {
    Command { salt: [5; 16], argv, shipped: SealSecret::from_seed(&[6; 32]) }
}

/// Makes an order private, after `change` had its way with what is in the open.
fn private(host: &Host, order: &mut Order, change: impl FnOnce(&mut Order)) {
    let argv = order.action.argv().to_vec();
    order.action = Action::Private {
        private: Private {
            hash: [0; 32],
            command: Bytes::default(),
            stanzas: Vec::new(),
            reader: reader().public(),
            stdin: None,
            script: None,
        },
    };
    change(order);
    order.seal(&host.fleet.id(), &command(argv), |_| Some(key_of(host)), drawing()).unwrap();
}

fn report_on(mesh: &mut Mesh<'_>, order: &Signed<Order>) -> Report {
    mesh.order(order);
    loop {
        let report = mesh.report();
        if report.order == order.id() {
            return report;
        }
    }
}

fn record(host: &Host, report: &Report) -> ResultRecord {
    let signed = Signed::<ResultRecord>::verify(&report.record.0, host.fleet.id()).unwrap();
    assert_eq!(signed.signer(), host.executor_key());
    signed.body().clone()
}

fn opened(host: &Host, report: &Report, stderr: bool) -> String {
    let sealed = if stderr { &report.stderr } else { &report.stdout };
    let mut opener = output_opener(&reader(), host.fleet.id(), &report.order, &host.id, stderr);
    let plain = opener.push(&sealed.as_ref().expect("it is short").0).unwrap();
    assert_eq!(opener.whole(), Ok(true));
    String::from_utf8(plain).unwrap()
}

/// The files below `dir` that hold the canary.
fn with_the_canary(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(with_the_canary(&path));
        } else if fs::read(&path).unwrap_or_default().windows(CANARY.len()).any(|at| at == CANARY.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_private_command_runs_and_only_its_issuer_reads_what_it_said() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let script = format!("echo out {CANARY}; echo err {CANARY} >&2");
    let order = host.order(&script, |order| private(&host, order, |_| {}));
    let report = report_on(&mut mesh, &order);
    assert_eq!(record(&host, &report).outcome, Outcome::Exited { code: 0 });
    assert_eq!(opened(&host, &report, false), format!("out {CANARY}\n"));
    assert_eq!(opened(&host, &report, true), format!("err {CANARY}\n"));
    assert_eq!(host.runs(), 1);
    let told = wire::encode(&report);
    assert!(!told.windows(CANARY.len()).any(|at| at == CANARY.as_bytes()), "told in the open");
    // Keys, claims, audit chain, spool, log: nothing that stays has it.
    assert_eq!(with_the_canary(&host.path("")), Vec::<String>::new());
}

#[test]
fn long_private_output_is_sealed_as_it_is_written_and_says_where_it_was_cut() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let script = format!("for i in $(seq 20000); do echo {CANARY} $i; done");
    let order = host.order(&script, |order| {
        private(&host, order, |order| order.limits.output_bytes_max = 100_000);
    });
    let report = report_on(&mut mesh, &order);
    assert!(report.stdout.is_none(), "it is long");
    let sealed = fs::read(host.path("state/executor/spool").join(format!("{}.out", order.id()))).unwrap();
    let signed = record(&host, &report).stdout;
    assert_eq!((signed.kept, signed.hash), (sealed.len() as u64, *blake3::hash(&sealed).as_bytes()));
    assert!(signed.produced > signed.kept, "it was cut");
    let mut opener = output_opener(&reader(), host.fleet.id(), &order.id(), &host.id, false);
    let plain = opener.push(&sealed).unwrap();
    assert_eq!((plain.len(), opener.whole()), (100_000, Ok(false)));
    assert!(plain.starts_with(format!("{CANARY} 1\n{CANARY} 2\n").as_bytes()));
    assert_eq!(with_the_canary(&host.path("")), Vec::<String>::new());
}

#[test]
fn what_is_shipped_with_a_private_order_is_read_by_its_command_alone() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let sealed = command(Vec::new()).seal_shipped(&host.fleet.id(), CANARY.as_bytes(), &[9; 32]).unwrap();
    let blob = Blob::of(&sealed);
    fs::write(host.path("state/mesh/shipped").join(blob.file_name()), &sealed).unwrap();
    let order = host.order("cat", |order| {
        private(&host, order, |order| {
            let Action::Private { private } = &mut order.action else { panic!() };
            private.stdin = Some(blob);
        });
    });
    let report = report_on(&mut mesh, &order);
    assert_eq!(opened(&host, &report, false), CANARY);
    assert_eq!(with_the_canary(&host.path("")), Vec::<String>::new());
}

type Change<'a> = &'a dyn Fn(&mut Order);

fn seals(order: &mut Order) -> &mut Private {
    let Action::Private { private } = &mut order.action else { panic!() };
    private
}

#[test]
fn a_private_order_whose_seals_were_moved_or_changed_is_refused_and_nothing_runs() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let good = host.order("true", |order| private(&host, order, |_| {}));
    let changes: [(&str, u8, Change<'_>); 7] = [
        // Another operator with a good certificate takes the seals for his own.
        ("re-wrapped by another", 2, &|order| order.certificate = host.under[1]),
        ("for another reason", 1, &|order| order.reason = Some("other".to_owned())),
        ("for longer", 1, &|order| order.limits.timeout_ms += 1),
        ("read by another", 1, &|order| seals(order).reader = SealSecret::from_seed(&[1; 32]).public()),
        ("without its seal", 1, &|order| seals(order).stanzas.clear()),
        ("another's hash", 1, &|order| seals(order).hash[0] ^= 1),
        ("a byte changed", 1, &|order| seals(order).command.0[40] ^= 1),
    ];
    for (what, number, change) in changes {
        let order = host.order_of(number, "true", |order| {
            *order = good.body().clone();
            change(order);
        });
        let report = report_on(&mut mesh, &order);
        let outcome = record(&host, &report).outcome;
        assert!(
            matches!(&outcome, Outcome::Refused { why } if why.contains("private")),
            "{what}: {outcome:?}"
        );
    }
    assert_eq!(host.runs(), 0);
    // As it was signed, it runs.
    let report = report_on(&mut mesh, &good);
    assert_eq!(record(&host, &report).outcome, Outcome::Exited { code: 0 });
    assert_eq!(host.runs(), 1);
}

#[test]
fn a_host_whose_seal_key_is_not_its_own_does_not_start() {
    let host = Host::new();
    let key = host.path("state/executor/seal.key");
    let other = fs::read(host.path("state/mesh/stream.key")).unwrap();
    fs::write(&key, other).unwrap();
    assert_eq!(host.start_alone().wait().code(), Some(FAILED));
    assert!(host.log().contains("seal.key"), "{}", host.log());
}
