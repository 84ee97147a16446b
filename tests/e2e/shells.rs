//! Completion in the shells themselves: what they make of a line, and that no word of a host becomes more than a word.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    fleet::{Fleet, Reach},
    orders::two,
    support::unavailable,
};

/// Lines, up to the cursor, and how they stand there once they are finished.
const FINISHED: &[(&str, &str)] = &[
    ("muster inve", "muster inventory"),
    ("muster host show we", "muster host show web-7"),
    ("muster run -l ro", "muster run -l role="),
    ("muster run -l role=we", "muster run -l role=web"),
    ("muster hosts -o c", "muster hosts -o csv"),
    ("muster run -g web", "muster run -g webs"),
    ("muster hosts -t 'tag.ro", "muster hosts -t 'tag.role"),
];
/// Values of a tag that a shell would do something for.
const HOSTILE: &[&str] = &["$(touch pwned)", "`touch pwned`", "x;touch pwned", "a b\"c", "'q'", "~root", "*"];

fn fleet() -> Fleet {
    let mut fleet = two();
    fleet.join("web-7", &["role=web"], Reach::DialsOut);
    fleet.all_see_all();
    fleet.muster("a", &["-y", "group", "set", "webs", "tag.role = web"]).ends(0);
    fleet
}

/// A shell with the program in its path, in an empty directory.
fn shell(fleet: &Fleet, program: &str) -> Command {
    let muster = PathBuf::from(env!("CARGO_BIN_EXE_muster"));
    let here = here(fleet);
    fs::create_dir_all(&here).expect("a directory");
    let mut command = Command::new(program);
    let path = format!("{}:/usr/bin:/bin", muster.parent().expect("a folder").display());
    command.env_clear().env("PATH", path).env("HOME", &here).env("TERM", "dumb").current_dir(here);
    command.env("MUSTER_STATE", fleet.state("a")).stdin(Stdio::null());
    command
}

fn here(fleet: &Fleet) -> PathBuf {
    fleet.dir().join("here")
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("-c").arg("true").status().is_ok_and(|status| status.success())
}

/// What zsh is given for a line: the script runs in it, and its `compadd`, which would put words in the line as
/// one word each, says what it was given.
fn zsh(fleet: &Fleet, line: &str) -> Vec<String> {
    let script = r#"
        compdef() { : }
        compadd() {
            while [[ $1 != -- ]]; do shift; done
            shift
            print -rl -- "$@"
        }
        source <(muster completion zsh)
        words=("$@")
        CURRENT=$#words
        _muster
    "#;
    let words = line.split(' ').map(|word| word.trim_start_matches('\''));
    let output =
        shell(fleet, "zsh").args(["-f", "-c", script, "zsh"]).args(words).output().expect("zsh runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// What fish offers for a line: whole words.
fn fish(fleet: &Fleet, line: &str) -> Vec<String> {
    let script = "source (muster completion fish | psub); complete -C $argv[1]";
    let output = shell(fleet, "fish").args(["-N", "-c", script, line]).output().expect("fish runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

/// Every line is finished in a shell. An agent that does not answer at once is not waited for, and a busy machine
/// may be slow: so it is tried until it comes.
fn finishes(program: &str, offered: fn(&Fleet, &str) -> Vec<String>) {
    if !is_there(program) {
        return unavailable("words are finished", format_args!("no {program}"));
    }
    let fleet = fleet();
    for (line, wanted) in FINISHED {
        let wanted = wanted.rsplit(' ').next().expect("a word").trim_start_matches('\'');
        fleet.until(&format!("{program} offers {wanted} for {line}"), |fleet| {
            let found = offered(fleet, line);
            if found.iter().any(|word| word == wanted) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
}

#[test]
fn zsh_finishes_words() {
    finishes("zsh", zsh);
}

#[test]
fn fish_finishes_words() {
    finishes("fish", fish);
}

#[test]
fn what_a_host_is_called_or_tagged_is_no_code_of_a_shell() {
    let fleet = fleet();
    for (at, value) in HOSTILE.iter().enumerate() {
        fleet.muster("a", &["-y", "host", "tag", "a", &format!("odd{at}={value}")]).ends(0);
    }
    fleet.muster("a", &["-y", "host", "tag", "a", "oddly=tame"]).ends(0);
    for at in 0..HOSTILE.len() {
        let line = format!("muster run -l odd{at}=");
        if is_there("zsh") {
            assert_eq!(zsh(&fleet, &line), [""; 0]);
        }
        if is_there("fish") {
            assert_eq!(fish(&fleet, &line), [""; 0]);
        }
    }
    if is_there("fish") {
        fleet.until("a tame value is offered", |fleet| {
            let found = fish(fleet, "muster run -l oddly=");
            if found == ["oddly=tame"] { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
    assert!(!here(&fleet).join("pwned").exists(), "a tag was run");
}
