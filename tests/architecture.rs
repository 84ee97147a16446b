//! The house, as a test: which module may use which, who may act on the world, and what must stay
//! small. The list is DESIGN's; moving a name here is an architecture decision.
//!
//! The sources are read as tokens, not compiled: `use` trees, full paths, `super` and `$crate` are
//! followed; what a macro of another crate writes is not seen.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test: what is missing fails it")]

#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::{Named, Token, paths, test_lines, tokens};

/// Decides, and does nothing: a module may use those before it.
const PURE: &[&str] = &["wire", "time", "identity", "selector", "authority", "replica", "routing", "sync"];
/// Acts on the world: likewise, and all pure ones.
const ACTING: &[&str] = &[
    "journal",
    "link",
    "bounds",
    "executor",
    "store",
    "host",
    "net",
    "control",
    "terminal",
    "targets",
    "services",
    "node",
    "simulator",
    "scenario",
    "console",
    "cli",
];
/// What stands beside the folders.
const ROOT_FILES: &[&str] = &["main.rs", "lib.rs"];
/// Paths that reach a clock, randomness, files, sockets, processes or tasks. Types of addresses stay.
const EFFECTS: &[&str] = &[
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::os",
    "std::sync::mpsc",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::net::*",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::time::UNIX_EPOCH",
    "std::time::*",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "futures",
    "getrandom",
    "landlock",
    "libc",
    "libp2p",
    "libp2p_stream",
    "rand",
    "rand_core::OsRng",
    "rustix",
    "seccompiler",
    "sled",
    "tokio",
    "tokio_util",
    "tracing",
];
/// Macros that write somewhere.
const WRITING: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];
/// Stands among those that act, and acts on nothing either: it uses pure ones alone.
const PURE_LATE: &[&str] = &["simulator"];
/// What the privileged process and the journal must not reach.
const NOT_PRIVILEGED: &[&str] = &["tokio", "tokio_util", "libp2p", "libp2p_stream", "sled", "futures"];
const PRIVILEGED: &[&str] = &["journal", "link", "bounds", "executor"];
const EXECUTOR_LINES_MAX: usize = 3_000;
/// The only place of `unsafe`.
const UNSAFE_IN: &str = "executor/os/";
/// Who may read what was signed without checking the signature again, by `again`: the command line's own memory of
/// what it verified. The others are what it is made of.
const AGAIN_IN: &[&str] =
    &["control/fleet.rs", "identity/signed.rs", "authority/enrolment.rs", "replica/entry.rs"];

/// One file of `src`, by its path below it.
struct File {
    path: String,
    tokens: Vec<Token>,
    lines: usize,
    in_tests: Vec<std::ops::RangeInclusive<usize>>,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        Self { path: path.into(), in_tests: test_lines(&tokens), tokens, lines: text.lines().count() }
    }

    /// The module at the top that it belongs to; none for `lib.rs` and `main.rs`.
    fn module(&self) -> Option<&str> {
        self.path.split_once('/').map(|(module, _)| module)
    }

    /// Where it stands: `net/hop/mod.rs` is `crate::net::hop`.
    fn module_path(&self) -> Vec<&str> {
        let stem = self.path.trim_end_matches(".rs");
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        std::iter::once("crate")
            .chain(stem.split('/').filter(|part| !matches!(*part, "lib" | "main")))
            .collect()
    }

    fn paths(&self) -> Vec<Named> {
        paths(&self.tokens, &self.module_path())
    }

    fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    fn is_test(&self, line: usize) -> bool {
        self.is_test_file() || self.in_tests.iter().any(|lines| lines.contains(&line))
    }

    /// Lines that are no tests.
    fn lines_without_tests(&self) -> usize {
        if self.is_test_file() { 0 } else { (1..=self.lines).filter(|line| !self.is_test(*line)).count() }
    }
}

/// Everything that `files` do against the house, as `file:line: what`.
fn wrongs(files: &[File]) -> BTreeSet<String> {
    let order: Vec<&str> = PURE.iter().chain(ACTING).copied().collect();
    let macros = exported_macros(files);
    let services: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("services/")?.split_once('/'))
        .map(|(name, _)| name)
        .collect();
    let mut wrong = BTreeSet::new();
    for file in files {
        let Some(module) = file.module() else {
            if !ROOT_FILES.contains(&file.path.as_str()) {
                wrong.insert(format!("{}: stands beside the modules", file.path));
            }
            continue;
        };
        let Some(rank) = order.iter().position(|name| *name == module) else {
            wrong.insert(format!("{}: {module} has no place in the list of modules", file.path));
            continue;
        };
        let pure = PURE.contains(&module) || PURE_LATE.contains(&module);
        let own_service =
            file.path.strip_prefix("services/").and_then(|path| path.split_once('/')).map(|(name, _)| name);
        let mut say = |line: usize, what: String| wrong.insert(format!("{}:{line}: {what}", file.path));
        for Named { path, line } in file.paths() {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            match path.as_slice() {
                ["crate"] | ["crate", "*"] => {
                    say(line, "names the whole crate: say which module".into());
                }
                ["crate", name, ..] => {
                    let used = macros.get(name).map_or(*name, String::as_str);
                    match order.iter().position(|other| *other == used) {
                        Some(place) if place > rank || (pure && (PURE.len()..rank).contains(&place)) => {
                            say(line, format!("{module} must not use {used}"));
                        }
                        Some(_) => {}
                        None => {
                            say(line, format!("{used} has no place in the list of modules"));
                        }
                    }
                }
                _ => {}
            }
            if let (Some(own), ["crate", "services", rest @ ..]) = (own_service, path.as_slice()) {
                match rest {
                    [] | ["*", ..] => {
                        say(line, "names all services: say which part".into());
                    }
                    ["registry", ..] => {
                        say(line, format!("service {own} must not use the registry"));
                    }
                    [other, ..] if *other != own && services.contains(other) => {
                        say(line, format!("service {own} must not use service {other}"));
                    }
                    _ => {}
                }
            }
            let full = path.join("::");
            let reaches = |prefix: &&&str| full == **prefix || full.starts_with(&format!("{prefix}::"));
            let effect = EFFECTS.iter().find(reaches);
            if let Some(effect) = effect.filter(|_| pure && !file.is_test(line)) {
                say(line, format!("{module} is pure and must not use {effect}"));
            }
            let barred = NOT_PRIVILEGED.iter().find(reaches);
            // Tests of the confinement show that what it leaves allowed works with those libraries.
            if let Some(barred) = barred.filter(|_| PRIVILEGED.contains(&module) && !file.is_test(line)) {
                say(line, format!("{module} must not use {barred}"));
            }
        }
        for (index, token) in file.tokens.iter().enumerate() {
            let next = file.tokens.get(index + 1).map(|token| token.text.as_str());
            if token.text == "unsafe" && !file.path.starts_with(UNSAFE_IN) {
                say(token.line, format!("unsafe stands only in src/{UNSAFE_IN}"));
            }
            let before = index.checked_sub(1).and_then(|before| file.tokens.get(before));
            let is_path = before.is_some_and(|token| token.text == "::");
            if token.text == "again" && is_path && !AGAIN_IN.contains(&file.path.as_str()) {
                say(token.line, format!("signatures are checked, but in {}", AGAIN_IN[0]));
            }
            let writes = WRITING.contains(&token.text.as_str()) && next == Some("!");
            if writes && pure && !file.is_test(token.line) {
                say(token.line, format!("{module} is pure and must not use {}!", token.text));
            }
        }
    }
    let executor = files.iter().filter(|file| file.module() == Some("executor"));
    let lines: usize = executor.map(File::lines_without_tests).sum();
    if lines >= EXECUTOR_LINES_MAX {
        wrong.insert(format!("executor: {lines} lines without tests, {EXECUTOR_LINES_MAX} are too many"));
    }
    wrong
}

/// Macros that stand at the root of the crate, and the module that writes them.
fn exported_macros(files: &[File]) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    for file in files {
        let Some(module) = file.module() else { continue };
        for (index, token) in file.tokens.iter().enumerate() {
            let text = |at: usize| file.tokens.get(at).map_or("", |token| token.text.as_str());
            if token.text == "macro_rules" && text(index + 1) == "!" {
                found.insert(text(index + 2), module.to_owned());
            }
        }
    }
    found
}

fn sources(folder: &Path, below: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8").to_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        if path.is_dir() {
            sources(&path, &name, found);
        } else {
            found.push((name, path));
        }
    }
}

fn house() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found
}

#[test]
fn the_sources_keep_the_house() {
    let files: Vec<File> = house()
        .iter()
        .map(|(name, path)| match path.extension() {
            Some(end) if end == "rs" => {
                File::new(name, &fs::read_to_string(path).expect("sources are UTF-8"))
            }
            _ => File::new(name, ""),
        })
        .collect();
    assert!(files.len() > PURE.len(), "the sources were not found");
    let wrong = wrongs(&files);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_stands_in_lib_and_no_pure_one_is_missing() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("lib.rs is readable");
    let tokens = tokens(&lib);
    let declared: BTreeSet<&str> =
        tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text.as_str()).collect();
    let built: Vec<String> =
        house().iter().filter_map(|(name, _)| Some(name.split_once('/')?.0.to_owned())).collect();
    for module in &built {
        assert!(declared.contains(module.as_str()), "src/{module} is not declared in lib.rs");
    }
    for module in PURE {
        assert!(declared.contains(module), "{module} is pure and part of every build, but not in lib.rs");
    }
}

/// The compiler's own view: what the build without `agent` links.
#[test]
fn the_build_without_agent_has_no_mesh_runtime_or_store() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--no-default-features", "-e", "normal", "--offline", "--locked", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("crate names are UTF-8");
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("ed25519-dalek"), "{tree}");
    let barred: Vec<&&str> = crates
        .iter()
        .filter(|name| matches!(**name, "tokio" | "sled" | "futures" | "mio") || name.starts_with("libp2p"))
        .collect();
    assert!(barred.is_empty(), "without `agent` the build still links {barred:?}");
}

/// The checks above can fail: made-up sources, and what must be said about them.
mod checker {
    use super::*;

    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        wrongs(&files).into_iter().collect()
    }

    #[track_caller]
    fn fails(path: &str, text: &str, part: &str) {
        let said = said(&[(path, text)]);
        assert!(said.len() == 1 && said[0].contains(part), "{text:?}: {said:?}");
    }

    #[track_caller]
    fn holds(path: &str, text: &str) {
        assert_eq!(said(&[(path, text)]), Vec::<String>::new(), "{text:?}");
    }

    #[test]
    fn a_module_may_use_only_what_stands_before_it() {
        holds("store/mod.rs", "use crate::{replica::{self, Head}, wire}; fn f() { crate::sync::g() }");
        for text in [
            "use crate::net::Net;",
            "pub(crate) use crate::net;",
            "use crate::{replica, net::{Net, hop}};",
            "use crate::{\n    replica::{Head, Tip},\n    net,\n};",
            "fn f() { let x = crate::net::open(); }",
            "fn f(x: &crate::net::Net) {}",
            "use super::net::Net;",
            "use super::{net::Net, replica};",
            "mod inner { use super::super::net::Net; }",
            "macro_rules! m { () => { $crate::net::open() } }",
            "fn f() { r#if(); crate :: r#net::x() }",
            "fn f() -> Vec<crate::net::Net> { Vec::<crate::wire::Value>::new() }",
            "#[cfg(test)] mod tests { use crate::net::Net; }",
            "/* a /* nested */ comment */ use crate::net;",
            "const A: char = '\"'; use crate::net; const B: char = '\"';",
            "fn f<'a>(x: &'a str) { crate::net::g('\\'', b'\"', x) }",
        ] {
            fails("store/mod.rs", text, "store must not use net");
        }
        fails("store/disk/tree.rs", "use super::super::super::net;", "store must not use net");
        fails("wire/cbor.rs", "use crate::time::Timestamp;", "cbor.rs:1: wire must not use time");
        fails("identity/mod.rs", "\n\nuse crate::cli;", "identity/mod.rs:3: ");
    }

    #[test]
    fn comments_and_text_name_nothing() {
        for text in [
            "//! See [`crate::net`].\n/// crate::cli\n// use crate::net;\nfn f() {}",
            "/* use crate::net; /* use crate::cli; */ crate::node */",
            "const A: &str = \"crate::net::open \\\" crate::net\";",
            "const A: &str = r#\"use crate::net; \" crate::cli\"#; const B: &[u8] = b\"crate::net::x\";",
            "mod inner { fn net() {} mod deep { use super::net; } }",
            "mod inner { } mod net { pub fn f() {} } fn g() { net::f() }",
        ] {
            holds("store/mod.rs", text);
        }
    }

    #[test]
    fn the_whole_crate_and_unknown_names_are_told() {
        fails("store/mod.rs", "use crate::*;", "whole crate");
        fails("store/mod.rs", "use crate as all;", "whole crate");
        fails("store/mod.rs", "use super::*;", "whole crate");
        fails("store/mod.rs", "use crate::helpers::x;", "helpers has no place");
        fails("helpers/mod.rs", "", "helpers has no place");
        fails("helpers.rs", "", "stands beside the modules");
        fails("notes.txt", "", "stands beside the modules");
        holds("lib.rs", "pub mod wire; use crate::cli::run;");
    }

    #[test]
    fn a_macro_belongs_to_the_module_that_writes_it() {
        let wire = ("wire/mod.rs", "#[macro_export] macro_rules! wire_record { () => {} }");
        assert!(said(&[wire, ("time/mod.rs", "crate::wire_record!(Time);")]).is_empty());
        let store = ("store/mod.rs", "#[macro_export] macro_rules! stored { () => {} }");
        assert_eq!(
            said(&[store, ("sync/mod.rs", "use crate::stored;")]),
            ["sync/mod.rs:1: sync must not use store"]
        );
    }

    #[test]
    fn pure_modules_have_no_effects() {
        for text in [
            "use std::fs;",
            "use std::{collections::BTreeMap, fs::File};",
            "fn f() { ::std::process::abort() }",
            "fn f() { std::thread::sleep(d) }",
            "use std::net::{IpAddr, TcpStream};",
            "use std::time::{Duration, Instant};",
            "fn f() { std::time::SystemTime::now(); }",
            "use ::tokio::time;",
            "fn f() { getrandom::fill(&mut x) }",
            "use rand::rng;",
            "use rustix::fs::open;",
            "use libc;",
            "fn f() { println!(\"x\") }",
            "fn f() { tracing::info!(\"x\") }",
        ] {
            fails("sync/machine.rs", text, "sync is pure and must not use");
        }
        holds(
            "sync/machine.rs",
            "use std::net::{IpAddr, SocketAddr}; use std::time::Duration; use std::io::Read;",
        );
        holds("sync/machine.rs", "mod fs {} use self::fs::x; #[test]\nfn t() { std::fs::read(\"x\"); }");
        holds("sync/tests.rs", "use std::fs;");
        fails("simulator/storm.rs", "use std::fs;", "simulator is pure and must not use");
        fails("simulator/storm.rs", "use crate::journal::Claims;", "simulator must not use journal");
        holds("simulator/storm.rs", "use crate::sync::Machine;");
        holds("journal/mod.rs", "use std::fs;");
    }

    #[test]
    fn the_privileged_part_names_no_mesh_runtime_or_store() {
        fails("executor/mod.rs", "use tokio::net;", "executor must not use tokio");
        fails("executor/os/mod.rs", "fn f() { libp2p::x() }", "executor must not use libp2p");
        fails("journal/mod.rs", "use sled::Db;", "journal must not use sled");
        holds("journal/mod.rs", "#[cfg(test)] mod tests { use sled::Db; }");
        holds("net/mod.rs", "use libp2p::Swarm; use tokio::net;");
    }

    #[test]
    fn the_executor_stays_small_and_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(EXECUTOR_LINES_MAX);
        fails("executor/mod.rs", &long, "3000 lines without tests");
        holds("executor/mod.rs", &"fn f() {}\n".repeat(EXECUTOR_LINES_MAX - 1));
        holds("executor/judge/tests.rs", &long);
        holds("executor/mod.rs", &format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n"));
        let hidden = format!("#[cfg(test)]\nmod tests;\n{long}");
        fails("executor/mod.rs", &hidden, "3000 lines without tests");
    }

    #[test]
    fn unsafe_has_one_place() {
        fails("net/mod.rs", "fn f() { unsafe { g() } }", "unsafe stands only in");
        fails("executor/mod.rs", "unsafe fn f() {}", "unsafe stands only in");
        holds("executor/os/fork.rs", "fn f() { unsafe { g() } }");
        holds("net/mod.rs", "// unsafe\n#![deny(unsafe_code)] const A: &str = \"unsafe\";");
    }

    #[test]
    fn signatures_are_taken_on_trust_in_one_place() {
        for text in [
            "fn f() { Entry::again(b, f) }",
            "fn f() { Signed::<Op>::again(b, f) }",
            "use x::Entry as E; fn f() { g(E::again) }",
        ] {
            fails("store/mod.rs", text, "signatures are checked, but in control/fleet.rs");
        }
        holds("control/fleet.rs", "fn f() { Entry::again(b, f) }");
        holds("store/mod.rs", "fn f() { once.again(); let again = 1; }");
    }

    #[test]
    fn services_do_not_use_one_another() {
        let with = |path: &'static str, text: &'static str| {
            said(&[("services/run/mod.rs", ""), ("services/tag/mod.rs", ""), (path, text)])
        };
        for text in [
            "use crate::services::run::Run;",
            "use super::super::run::Run;",
            "use super::super::{run, contract};",
            "use crate::services::{contract, run::message::Order};",
        ] {
            assert_eq!(
                with("services/tag/verb.rs", text),
                ["services/tag/verb.rs:1: service tag must not use service run"]
            );
        }
        assert_eq!(with("services/tag/verb.rs", "use crate::services;").len(), 1);
        assert_eq!(with("services/tag/verb.rs", "use super::super::*;").len(), 1);
        assert_eq!(with("services/tag/verb.rs", "use crate::services::registry::all;").len(), 1);
        assert!(
            with("services/tag/verb.rs", "use super::view; use crate::services::{tag::x, contract::Y};")
                .is_empty()
        );
        assert!(
            with("services/registry.rs", "use super::{run, tag}; use crate::services::run::x;").is_empty()
        );
        assert!(with("node/mod.rs", "use crate::services::{run, tag};").is_empty());
    }
}
