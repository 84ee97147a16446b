//! Nothing runs whose bytes are not those that were signed, and what does gets exactly them.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use super::harness::{Host, Mesh};
use crate::{
    identity::Signed,
    replica::{Action, BLOB_BYTES_MAX, Blob, Order, Outcome},
    wire::Bytes,
};

const OK: Outcome = Outcome::Exited { code: 0 };

/// Where the mesh process puts it.
fn place(host: &Host, blob: &Blob) -> PathBuf {
    host.path("state/mesh/shipped").join(blob.file_name())
}

/// An order for `words` that reads `stdin`.
fn reading(host: &Host, words: &str, stdin: Blob) -> Signed<Order> {
    host.order(words, |order| {
        let argv = order.action.argv().to_vec();
        order.action = Action::Shipped { argv, stdin: Some(stdin), script: None };
    })
}

/// An order for a script, with these arguments.
fn script(host: &Host, script: Blob, arguments: &[&[u8]]) -> Signed<Order> {
    host.order("", |order| {
        let words =
            [&b"what people call it"[..]].into_iter().chain(arguments.iter().copied()).map(Bytes::from);
        order.action = Action::Shipped { argv: words.collect(), stdin: None, script: Some(script) };
    })
}

fn stdout(mesh: &mut Mesh<'_>, order: &Signed<Order>) -> Vec<u8> {
    mesh.order(order);
    loop {
        let report = mesh.report();
        if report.order == order.id() {
            return report.stdout.expect("it is short").0;
        }
    }
}

fn left(host: &Host) -> usize {
    fs::read_dir(host.path("state/executor/shipped")).unwrap().count()
}

#[test]
fn a_command_reads_the_bytes_that_were_signed_to_their_end() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let blob = Blob::of(&bytes);
    fs::write(place(&host, &blob), &bytes).unwrap();
    let order = reading(&host, "cat | wc -c; cat", blob);
    assert_eq!(String::from_utf8(stdout(&mut mesh, &order)).unwrap().trim(), "300000");
    // Byte for byte, to the command itself.
    let copy = host.path("copy");
    let order = reading(&host, &format!("cat > {}", copy.display()), blob);
    assert_eq!(mesh.outcome(&order), OK);
    assert!(fs::read(copy).unwrap() == bytes);
    // It has no file any more, and nothing else is open but the directory that is listed.
    assert_eq!(left(&host), 0);
    let order = reading(&host, "exec ls /proc/self/fd", blob);
    assert_eq!(String::from_utf8(stdout(&mut mesh, &order)).unwrap(), "0\n1\n2\n3\n");
}

#[test]
fn a_command_without_anything_shipped_reads_nothing() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let order = host.order("cat; readlink /proc/self/fd/0", |_| {});
    assert_eq!(stdout(&mut mesh, &order), b"/dev/null\n");
    let empty = Blob::of(b"");
    fs::write(place(&host, &empty), b"").unwrap();
    assert_eq!(stdout(&mut mesh, &reading(&host, "cat; echo end", empty)), b"end\n");
}

#[test]
fn what_is_not_what_was_signed_is_refused_for_good_and_nothing_is_started() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let runs = format!("#!/bin/sh\necho run >> {}\n", host.path("runs").display());
    let blob = Blob::of(runs.as_bytes());
    let others = [
        format!("{runs}true\n").into_bytes(),
        runs.as_bytes()[..runs.len() - 1].to_vec(),
        runs.replace("echo run", "echo RUN").into_bytes(),
        Vec::new(),
    ];
    for other in others {
        fs::write(place(&host, &blob), &other).unwrap();
        for order in [script(&host, blob, &[]), reading(&host, "exit 0", blob)] {
            assert_eq!(mesh.refusal(&order), "what was shipped with it is not what was signed");
            // Nor once the right bytes are there.
            fs::write(place(&host, &blob), &runs).unwrap();
            mesh.order(&order);
            fs::write(place(&host, &blob), &other).unwrap();
        }
    }
    // A link would be read with the rights of this process, a pipe would hold it.
    fs::remove_file(place(&host, &blob)).unwrap();
    let real = host.path("real");
    fs::write(&real, &runs).unwrap();
    symlink(&real, place(&host, &blob)).unwrap();
    assert!(mesh.refusal(&script(&host, blob, &[])).contains("cannot be kept"));
    fs::remove_file(place(&host, &blob)).unwrap();
    fs::create_dir(place(&host, &blob)).unwrap();
    assert!(mesh.refusal(&script(&host, blob, &[])).contains("cannot be kept"));
    let long = Blob { bytes: BLOB_BYTES_MAX + 1, ..blob };
    assert!(mesh.refusal(&script(&host, long, &[])).contains("too long"));
    assert_eq!((host.runs(), mesh.counter("spawns"), left(&host)), (0, 0, 0));
}

#[test]
fn an_order_whose_bytes_have_not_come_is_not_claimed_and_runs_once_they_have() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let bytes = format!("#!/bin/sh\necho run >> {}\n", host.path("runs").display());
    let blob = Blob::of(bytes.as_bytes());
    let order = script(&host, blob, &[]);
    mesh.order(&order);
    assert_eq!((mesh.counter("orders_unshipped"), mesh.counter("spawns")), (1, 0));
    fs::write(place(&host, &blob), bytes).unwrap();
    assert_eq!(mesh.outcome(&order), OK);
    mesh.order(&order);
    assert_eq!(mesh.counter("orders_repeated"), 1);
    assert_eq!(host.runs(), 1);
}

#[test]
fn a_script_of_any_bytes_runs_with_its_arguments_and_goes_when_it_is_done() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let ship = |bytes: &[u8]| {
        let blob = Blob::of(bytes);
        fs::write(place(&host, &blob), bytes).unwrap();
        blob
    };
    // As its first line says; not UTF-8, and the arguments are not either.
    let blob = ship(b"#!/bin/cat\n\xff\xfe\x00 \x80\n");
    assert_eq!(stdout(&mut mesh, &script(&host, blob, &[])), b"#!/bin/cat\n\xff\xfe\x00 \x80\n");
    let blob = ship(b"#!/bin/sh\nprintf '%s|' \"$@\"; stat -c %a \"$0\"\n");
    let order = script(&host, blob, &[b"a b", b"\xff", b"-x"]);
    assert_eq!(stdout(&mut mesh, &order), b"a b|\xff|-x|500\n");
    // Without such a line it is the shell's.
    let blob = ship(b"# caf\xe9\necho \"$1\"\n");
    assert_eq!(stdout(&mut mesh, &script(&host, blob, &[b"one"])), b"one\n");
    // A program is one.
    let blob = ship(&fs::read("/bin/echo").unwrap());
    assert_eq!(stdout(&mut mesh, &script(&host, blob, &[b"two"])), b"two\n");
    assert_eq!(mesh.counter("spawns"), 4);
    assert_eq!(left(&host), 0);
}
