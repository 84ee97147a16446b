//! Transcripts: what is typed, what is said where, and the exit code.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use super::{
    dispatch::{Surroundings, run_words},
    failure::{ExitCode, Explain, Failure, Site},
};
use crate::{
    control::{
        ControlError,
        testing::{FakeAgent, NOW, Script, TestFleet},
    },
    identity::JoinToken,
    journal::{HostHomeError, KeyFileError},
    node::{Places, SettingsError},
    terminal::{Style, escape},
};

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);
impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses every byte.
struct Refusing(io::ErrorKind);
impl Write for Refusing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A home directory that lives as long as the test.
struct Home {
    dir: tempfile::TempDir,
    vars: HashMap<String, OsString>,
    terminal: bool,
    answers: &'static str,
}

#[derive(Debug)]
struct Said {
    code: ExitCode,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vars = [("HOME", dir.path().as_os_str().to_owned()), ("USER", "ana".into())];
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { dir, vars, terminal: false, answers: "" }
    }

    /// A home whose user is an operator of acme, with an agent that answers.
    fn with_agent(fleet: &TestFleet, agent: &FakeAgent) -> Self {
        let mut home = Self::new();
        fleet.operator_home(&home.operators());
        home.vars.insert("MUSTER_SOCKET".to_owned(), agent.socket().into());
        home
    }

    fn operators(&self) -> PathBuf {
        self.path(".local/share/muster/operators")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn around(&self, out: Box<dyn Write>, err: Box<dyn Write>) -> Surroundings {
        let vars = self.vars.clone();
        Surroundings {
            env: Box::new(move |name| vars.get(name).cloned()),
            is_root: false,
            input: Box::new(self.answers.as_bytes()),
            out,
            err,
            terminals: [self.terminal, false, self.terminal],
            columns: None,
            now: NOW,
        }
    }

    /// Runs a line, split at spaces; `~` is this home.
    fn run(&self, line: &str) -> Said {
        let (out, err) = (Sink::default(), Sink::default());
        let code = run_words(self.words(line), self.around(Box::new(out.clone()), Box::new(err.clone())));
        let text = |sink: Sink| {
            let text = String::from_utf8(sink.0.borrow().clone()).unwrap();
            text.replace(&self.dir.path().display().to_string(), "~")
        };
        Said { code, out: text(out), err: text(err) }
    }

    fn words(&self, line: &str) -> Vec<OsString> {
        let home = self.dir.path().display().to_string();
        line.split(' ').map(|word| word.replace('~', &home).into()).collect()
    }
}

fn fleet() -> (TestFleet, FakeAgent) {
    let mut fleet = TestFleet::acme();
    let web = fleet.host("web-1", &[("role", "web")]);
    fleet.host("db-1", &[("role", "db")]);
    let mut script = Script::of(&fleet, web);
    script.addresses = vec!["10.0.0.1:7946".to_owned()];
    script.lines = Some(crate::services::hosts::listing::lines);
    let agent = FakeAgent::start(script);
    (fleet, agent)
}

const INIT: &str = "muster init acme --host-name a --state ~/a --recovery ~/root.txt -l role=web";

#[test]
fn the_first_minute_of_a_fleet() {
    let home = Home::new();
    let said = home.run(INIT);
    assert_eq!(said.code, ExitCode::Success, "{}", said.err);
    let (line, fingerprint) = said.out.trim_end().split_once(" SHA256:").unwrap();
    assert_eq!(line, "✓ fleet acme · recovery key in ~/root.txt · operator key");
    assert_eq!(fingerprint.len(), 43);
    assert_eq!(
        said.err,
        "keep the recovery key off this machine: it governs the fleet, and daily work does not need it\n\
         start this host:  muster agent --state ~/a\n\
         let others join:  muster invite -l role=web --state ~/a\n"
    );
    assert_eq!(
        fs::read_to_string(home.path("a/agent.toml")).unwrap().lines().next().unwrap(),
        "listen = [\"0.0.0.0:7946\"]"
    );

    let said = home.run("muster status --state ~/a");
    assert_eq!(said.code, ExitCode::Unreachable);
    assert_eq!(said.out, "");
    assert_eq!(
        said.err,
        "error: no agent answers at ~/a/agent.sock\nhint: start it: muster agent --state ~/a\n"
    );

    let said = home.run(INIT);
    assert_eq!(said.code, ExitCode::Usage);
    assert_eq!(
        said.err,
        "error: ~/a already holds a host of fleet acme\n\
         hint: another host needs another directory: --state DIR\n\
         hint: to take the host there out of its fleet: muster leave --state ~/a\n"
    );
}

#[test]
fn founding_keeps_settings_and_takes_what_flags_say_of_listening() {
    let home = Home::new();
    fs::create_dir(home.path("a")).unwrap();
    fs::write(home.path("a/agent.toml"), "lan = true\nlisten = [\"1.2.3.4:5\"]\n").unwrap();
    assert_eq!(home.run(&format!("{INIT} --dry-run")).code, ExitCode::Success);
    assert!(!home.path("root.txt").exists(), "--dry-run writes nothing");
    let said = home.run(&format!("{INIT} --advertise 9.9.9.9:9"));
    assert_eq!(said.code, ExitCode::Success, "{}", said.err);
    let settings = fs::read_to_string(home.path("a/agent.toml")).unwrap();
    assert!(settings.contains("lan = true") && settings.contains("1.2.3.4:5"), "{settings}");
    assert!(settings.contains("9.9.9.9:9"), "{settings}");

    let other = Home::new();
    fs::create_dir(other.path("a")).unwrap();
    fs::write(other.path("a/agent.toml"), "lanc = true\n").unwrap();
    let said = other.run(INIT);
    assert_eq!(said.code, ExitCode::Usage);
    assert!(said.err.starts_with("error: the settings in ~/a/agent.toml cannot be used\n"), "{}", said.err);
    assert!(said.err.contains("unknown field `lanc`"), "{}", said.err);
    assert!(!other.path("root.txt").exists() && !other.operators().exists(), "nothing was founded");
}

#[test]
fn without_an_agent_the_next_step_depends_on_what_is_there() {
    let home = Home::new();
    for line in ["muster hosts", "muster invite", "muster status", "muster leave --yes"] {
        let said = home.run(line);
        assert_eq!(said.code, ExitCode::Unreachable, "{line}");
        assert!(said.err.starts_with("error: no agent answers at ~/.local/share/muster/agent/agent.sock"));
        assert!(
            said.err.contains("holds no host yet") && said.err.ends_with(": muster demo\n"),
            "{}",
            said.err
        );
    }
    assert_eq!(home.run("muster run --all -- true").code.number(), 5);
    assert_eq!(home.run("muster job ls").code.number(), 5);
    let said = home.run("muster leave");
    assert!(said.err.contains("it must run so that the other hosts learn"), "{}", said.err);
}

#[test]
fn mistyped_words_are_pointed_at() {
    let home = Home::new();
    for (line, wanted) in [
        ("muster hots", "similar subcommands exist: 'roots', 'hosts', 'host'"),
        ("muster host lss", "a similar subcommand exists: 'ls'"),
        (
            "muster run -l role -- true",
            "invalid value 'role' for '--label <KEY=VALUE>': a label is written key=value",
        ),
        ("muster invite -l Role=web", "a key is made of small letters, digits and . _ / -, without R"),
        (
            "muster invite --ttl 5min",
            "invalid value '5min' for '--ttl <DURATION>': unknown unit \"min\": ms, s, m, h or d",
        ),
        ("muster invite --uses 0", "0 is not in 1..=10000"),
        ("muster hosts -o yaml", "[possible values: table, wide, json, jsonl, csv, name]"),
        ("muster init acme --listen 7946", "invalid socket address syntax"),
        ("muster init acme --no-listen --listen 0.0.0.0:1", "cannot be used with '--listen <IP:PORT>'"),
        ("muster demo -n 0", "0 is not in 1..=100"),
        ("muster host show", "<HOST>"),
        ("muster run --all", "<ARGV>"),
        ("muster", "Usage: muster [OPTIONS] COMMAND"),
        ("muster host tag web-1", "error: no tag was given\nhint: such as: muster host tag web-1 role=web\n"),
        (
            "muster host tag role=web",
            "error: no target: which hosts to tag was not said\nhint: such as: muster host tag web-1 role=web, or with -t 'tag.role = web'\n",
        ),
        ("muster host tag web-1 Role=web", "is no tag: a key is made of small letters"),
        ("muster host untag web-1", "which tags to take off was not said"),
        ("muster host untag web-1 a=b", "is no key of a tag"),
        ("muster host ping", "no target: which hosts to ping was not said"),
        ("muster man nothing", "there is no command \"nothing\""),
        ("muster man host tga", "did you mean tag?"),
        ("muster doctr", "a similar subcommand exists: 'doctor'"),
        ("muster host ls --outptu json", "a similar argument exists: '--output'"),
        ("muster host ls -o jsno", "a similar value exists: 'json'"),
        ("muster schema hots", "did you mean host?\nhint: those that there are: muster schema\n"),
        ("muster schema host -o csv", "a schema is JSON, whatever -o says"),
        ("muster config --orign", "a similar argument exists: '--origin'"),
        ("muster completion bsh", "a similar value exists: 'bash'"),
        ("muster host ls --color sometimes", "[possible values: auto, always, never]"),
        ("muster inventory show", "<HOST>"),
        ("muster inventory sho web-1", "a similar subcommand exists: 'show'"),
        ("muster inventory compare snap 1 2", "[possible values: deb, rpm, apk, pip, npm]"),
        ("muster inventory compare deb 1.0 1_0", "and . + - ~ :\n  1_0\n  ^^^\nhint: such as: "),
        ("muster inventory search all --limit 0", "0 is not in 1..=100000"),
        // Before any agent is asked: there is none here.
        ("muster inventory search deb.openssl<", "\n  deb.openssl<\n              ^\nhint: such as: "),
        ("muster inventory search openssl", "a package is deb.NAME, a fact fact.TABLE.COLUMN"),
        ("muster inventory search all --columns x,y", "\n  x\n  ^\n"),
        ("muster inventory search all --count-by name", "every host has one of its own"),
    ] {
        let said = home.run(line);
        assert_eq!(said.code, ExitCode::Usage, "{line}: {}", said.err);
        assert_eq!(said.out, "", "{line}");
        assert!(said.err.contains(wanted), "{line}: {}", said.err);
        let last = said.err.lines().last().unwrap();
        assert!(last.starts_with("hint: ") && last.contains("muster "), "{line}: {}", said.err);
    }
    assert!(
        home.run("muster --state ~/x host tag")
            .err
            .ends_with("hint: how to write it: muster host tag --help\n")
    );
}

#[test]
fn a_failure_points_and_says_what_to_do_next() {
    let (fleet, agent) = fleet();
    let home = Home::with_agent(&fleet, &agent);
    let said = home.run("muster host show wbe-1");
    assert_eq!(said.code, ExitCode::NoHost);
    assert_eq!(
        said.err,
        "error: no host is called wbe-1\nhint: did you mean web-1?\nhint: all names: muster host ls -o name\n"
    );
    let (out, err) = (Sink::default(), Sink::default());
    let words = ["muster", "hosts", "-t", "tag.role == web"].map(OsString::from).to_vec();
    let code = run_words(words, home.around(Box::new(out), Box::new(err.clone())));
    assert_eq!(code, ExitCode::Usage);
    let err = String::from_utf8(err.0.borrow().clone()).unwrap();
    assert!(err.contains("\n  tag.role == web\n           ^^\nhint: "), "{err}");
    let (out, err) = (Sink::default(), Sink::default());
    let words = ["muster", "run", "-t", "tag.role == web", "--", "true"].map(OsString::from).to_vec();
    let code = run_words(words, home.around(Box::new(out), Box::new(err.clone())));
    assert_eq!(code.number(), 2);
    let err = String::from_utf8(err.0.borrow().clone()).unwrap();
    assert!(err.contains("\n  tag.role == web\n           ^^\nhint: "), "{err}");
    let words = ["muster", "hosts", "-t", "tag.role = mail"].map(OsString::from).to_vec();
    let code = run_words(words, home.around(Box::new(Sink::default()), Box::new(Sink::default())));
    assert_eq!(code, ExitCode::NoHost);
    let words = ["muster", "hosts", "-t", "tag.rol = web"].map(OsString::from).to_vec();
    let err = Sink::default();
    let code = run_words(words, home.around(Box::new(Sink::default()), Box::new(err.clone())));
    let err = String::from_utf8(err.0.borrow().clone()).unwrap();
    assert_eq!(code, ExitCode::NoHost);
    assert!(err.contains("none has tag.rol\nhint: did you mean tag.role?\n"), "{err}");
    let said = home.run("muster run -- true");
    assert_eq!(said.code.number(), 2);
    assert!(said.err.starts_with("error: no target") && said.err.contains("\nhint: "), "{}", said.err);
    assert_eq!(home.run("muster run -H mail-1 -- true").code.number(), 3);
    assert_eq!(home.run("muster host ping db-1").code, ExitCode::Silent);
    assert_eq!(home.run("muster status -o csv").code, ExitCode::Usage);
}

#[test]
fn who_is_no_operator_is_told_where_keys_are_looked_for() {
    let (fleet, agent) = fleet();
    let mut home = Home::with_agent(&fleet, &agent);
    home.vars.insert("MUSTER_OPERATORS".to_owned(), home.path("none").into());
    for line in
        ["muster host tag web-1 a=b --yes", "muster invite", "muster run --all -- true", "muster job ls"]
    {
        let said = home.run(line);
        assert_eq!(said.code, ExitCode::NotPermitted, "{line}");
        assert!(
            said.err.starts_with("error: this user has no operator key for fleet acme\n"),
            "{}",
            said.err
        );
        assert!(said.err.contains("~/none"), "{}", said.err);
    }
    let said = home.run("muster status");
    assert_eq!(said.code, ExitCode::Success);
    assert_eq!(said.err.matches("rests on the agent's word").count(), 1);
    assert_eq!(home.run("muster status --quiet").err, "");
    // What the agent refuses for want of a right.
    let home = Home::with_agent(&fleet, &agent);
    agent.script(|script| script.refuse = Some(("no\u{1b}[2J".to_owned(), true)));
    let said = home.run("muster host tag web-1 a=b --yes");
    assert_eq!((said.code, said.err.lines().next()), (ExitCode::NotPermitted, Some("error: no\\x1b[2J")));
}

#[test]
fn a_token_is_alone_on_standard_output() {
    let (fleet, agent) = fleet();
    let home = Home::with_agent(&fleet, &agent);
    let said = home.run("muster invite -l role=web --uses 2 --ttl 2h");
    assert_eq!(said.code, ExitCode::Success, "{}", said.err);
    let token = JoinToken::from_text(&said.out).unwrap();
    assert_eq!(said.out, format!("{}\n", token.to_text()));
    assert_eq!(token.expires, NOW.after(Duration::from_secs(7200)));
    assert_eq!(
        said.err,
        format!(
            "for 2 hosts, 2h long (until 2026-01-01T02:00:00Z)\non each:  sudo muster join {}\n",
            "TOKEN"
        )
    );
    // A person gets a line to copy; a log gets no secret.
    let mut person = Home::with_agent(&fleet, &agent);
    person.terminal = true;
    let said = person.run("muster invite");
    assert!(said.err.ends_with(&format!("on each:  sudo muster join {}", said.out)), "{}", said.err);
    let said = home.run("muster invite --address 127.0.0.1:1");
    assert!(said.err.starts_with("! warning: the token's addresses can be reached from this machine only"));
    assert_eq!(home.run("muster invite --ttl 31d").code, ExitCode::Usage);
}

#[test]
fn what_changes_something_asks_and_a_script_must_say_yes() {
    let (fleet, agent) = fleet();
    let mut home = Home::with_agent(&fleet, &agent);
    for line in ["muster leave", "muster host tag web-1 a=b"] {
        let said = home.run(line);
        assert_eq!(said.code, ExitCode::Usage, "{line}");
        assert_eq!(
            said.err,
            "error: this would ask first, and there is no terminal to ask on\n\
             hint: see what it would do with --dry-run, then go ahead with --yes\n"
        );
        assert_eq!(home.run(&format!("{line} --dry-run")).code, ExitCode::Success);
    }
    (home.terminal, home.answers) = (true, "no\n");
    assert_eq!(home.run("muster leave").code, ExitCode::Internal);
    assert!(!agent.script(|script| script.left || script.taken > 0));
    home.answers = "y\n";
    let said = home.run("muster leave --color never");
    assert_eq!(said.code, ExitCode::Success);
    assert!(said.err.ends_with("✓ left fleet acme; the agent has ended\n"), "{}", said.err);
    assert!(agent.script(|script| script.left));
}

#[test]
fn a_reader_that_went_away_is_no_error_and_a_full_disk_is() {
    let (fleet, agent) = fleet();
    let home = Home::with_agent(&fleet, &agent);
    for line in ["muster hosts", "muster --help", "muster completion bash", "muster man", "muster version"] {
        let gone = Box::new(Refusing(io::ErrorKind::BrokenPipe));
        let err = Sink::default();
        assert_eq!(
            run_words(home.words(line), home.around(gone, Box::new(err.clone()))),
            ExitCode::Success,
            "{line}"
        );
        assert!(err.0.borrow().is_empty());
    }
    let full = Box::new(Refusing(io::ErrorKind::StorageFull));
    let err = Sink::default();
    assert_eq!(
        run_words(home.words("muster hosts"), home.around(full, Box::new(err.clone()))),
        ExitCode::Internal
    );
    let err = String::from_utf8(err.0.borrow().clone()).unwrap();
    assert!(err.starts_with("error: cannot write the output: no storage space"), "{err}");
}

#[test]
fn help_completion_and_man_pages_come_from_the_tree() {
    let home = Home::new();
    let help = home.run("muster --help").out;
    assert!(help.contains("\nEvery day:\n  host        List, show, tag and ping hosts\n"), "{help}");
    assert!(!help.contains("mesh-process") && help.contains("Examples:\n  muster demo "), "{help}");
    assert_eq!(home.run("muster version").out, format!("muster {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&format!("muster completion {shell}")).out;
        assert!(script.contains(&format!("__complete {shell}")), "{shell}");
    }
    assert!(home.run("muster man").out.contains(".TH muster 1"));
    assert!(home.run("muster man host tag").out.contains(".TH muster-host-tag 1"));
    let said = home.run("muster man --dir ~/man1");
    assert_eq!(said.code, ExitCode::Success);
    let pages = fs::read_dir(home.path("man1")).unwrap().count();
    assert!(
        said.err.starts_with(&format!("{pages} pages")) && home.path("man1/muster-job-output.1").exists()
    );
}

#[test]
fn colour_follows_the_flag_the_environment_and_the_terminal() {
    let mut home = Home::new();
    let colored = |said: &Said| said.err.contains("\u{1b}[31merror:");
    assert!(!colored(&home.run("muster status")));
    assert!(colored(&home.run("muster status --color always")));
    home.terminal = true;
    assert!(colored(&home.run("muster status")));
    home.vars.insert("NO_COLOR".to_owned(), "1".into());
    assert!(!colored(&home.run("muster status")));
}

fn site() -> Site {
    let places = Places::find(Some(Path::new("/s")), None, |_| None, false);
    Site { places, state: None, socket: None }
}

#[test]
fn every_kind_of_trouble_has_its_code() {
    let path = || PathBuf::from("/k");
    let text = || "/k".to_owned();
    let cases: Vec<(Failure, ExitCode)> = vec![
        (ControlError::NotAllowed { path: text() }.explain(&site()), ExitCode::NotPermitted),
        (ControlError::Version { agent: 2, ours: 1 }.explain(&site()), ExitCode::Unreachable),
        (ControlError::Slow(Duration::from_secs(1)).explain(&site()), ExitCode::Unreachable),
        (ControlError::Refused { why: text(), right: true }.explain(&site()), ExitCode::NotPermitted),
        (KeyFileError::Exposed { path: path(), mode: 0o644 }.explain(&site()), ExitCode::NotPermitted),
        (HostHomeError::Newer { path: path(), found: text() }.explain(&site()), ExitCode::Internal),
        (HostHomeError::NotOurs { path: path(), uid: 7 }.explain(&site()), ExitCode::NotPermitted),
        (HostHomeError::Locked { path: path() }.explain(&site()), ExitCode::Internal),
        (SettingsError::Malformed { path: path(), problem: text() }.explain(&site()), ExitCode::Usage),
    ];
    for (failure, code) in cases {
        assert_eq!(failure.kind, code, "{failure:?}");
        assert!(!failure.hints.is_empty(), "{failure:?} says nothing on what to do next");
    }
}

#[test]
fn nothing_in_a_failure_steers_a_terminal() {
    let failure = Failure::usage("bad\u{1b}[2J\nname").point("  x\u{9b}\n  ^").hint("do\u{202e} this");
    let text = failure.render(Style::default());
    assert_eq!(text, "error: bad\\x1b[2J\\nname\n  x\\u{9b}\n  ^\nhint: do\\u{202e} this\n");
    assert!(!text.chars().any(|c| c != '\n' && escape::is_hidden(c)));
}

#[test]
fn a_mistake_in_any_argument_is_pointed_at_with_a_next_step() {
    fn walk(home: &Home, command: &clap::Command, path: &str, refused: &mut usize) {
        let wrong = |line: String, part: &str, home: &Home| {
            let said = home.run(&line);
            let pointed = said.code == ExitCode::Usage && said.err.starts_with("error: ");
            // Behind values that are free text, what is missing is found first, or the agent.
            if pointed && said.err.contains("invalid value") {
                assert!(said.err.contains(part), "{line}: {}", said.err);
                assert!(said.err.contains("hint: how to write it: muster"), "{line}: {}", said.err);
                assert!(said.out.is_empty(), "{line}: {}", said.out);
            }
            (pointed, said)
        };
        if command.get_subcommands().next().is_none() {
            let (pointed, said) = wrong(format!("{path} --no-such-flag"), "--no-such-flag", home);
            assert!(pointed && said.err.contains("--no-such-flag"), "{path}: {}", said.err);
            assert!(said.err.ends_with(&format!("hint: how to write it: {path} --help\n")), "{}", said.err);
        }
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let (Some(long), true) = (argument.get_long(), argument.get_action().takes_values()) else {
                continue;
            };
            let bounded = !argument.get_value_parser().type_id().eq(&std::any::TypeId::of::<String>())
                && !argument.get_value_parser().type_id().eq(&std::any::TypeId::of::<PathBuf>());
            if bounded {
                let (pointed, said) = wrong(format!("{path} --{long}=\u{7f}no"), &format!("--{long}"), home);
                assert!(pointed && said.err.contains("invalid value"), "{path} --{long}: {said:?}");
                assert!(!said.err.contains('\u{7f}'), "what steers a terminal is not shown: {}", said.err);
                *refused += 1;
            }
        }
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            walk(home, sub, &format!("{path} {}", sub.get_name()), refused);
        }
    }
    let (home, mut refused) = (Home::new(), 0);
    let mut tree = super::command();
    tree.build();
    for sub in tree.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        walk(&home, sub, &format!("muster {}", sub.get_name()), &mut refused);
    }
    assert!(refused > 60, "{refused} arguments");
}
