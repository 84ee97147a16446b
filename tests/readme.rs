//! The README's transcripts, run as they stand: one shell, one fleet, every command in its order. Lines
//! are compared after what differs from run to run (times, ids, keys, addresses) has been put aside.

#![cfg(feature = "agent")]
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what was missing by failing"
)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// How long one command may take, on a machine that is busy with something else.
const WITHIN: Duration = Duration::from_secs(120);

/// A command of a transcript and the lines that should follow.
#[derive(Debug)]
struct Step {
    command: String,
    expected: Vec<String>,
    code: i32,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            line => {
                if let Some(command) = line.strip_prefix("$ ") {
                    steps.push(Step { command: command.to_owned(), expected: Vec::new(), code: 0 });
                } else if let Some(step) = steps.last_mut() {
                    match line.strip_prefix("[exit ").and_then(|rest| rest.strip_suffix(']')) {
                        Some(code) => step.code = code.parse().unwrap(),
                        None => step.expected.push(line.to_owned()),
                    }
                }
            }
        }
    }
    steps
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let line = line.replace(&os_name(), "OS").replace("Debian GNU/Linux 12 (bookworm)", "OS");
    let word = |c: char| c.is_ascii_alphanumeric() || ":+/.-_µ".contains(c);
    let mut text = String::new();
    let mut rest = line.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if end > 0 {
            text.push_str(&plain_word(&rest[..end]));
        }
        let after = rest[end..].find(word).map_or(rest.len(), |at| end + at);
        text.push_str(&rest[end..after]);
        rest = &rest[after..];
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("TIME ago", "now")
}

fn plain_word(word: &str) -> String {
    let id = |word: &str| word.chars().all(|c| "qpzry9x8gf2tvdw0s3jn54khce6mua7l".contains(c));
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = word.len() > unit.len();
    let day = |day: &str| day.len() == 10 && day.split('-').all(|part| part.parse::<u16>().is_ok());
    if word.starts_with("SHA256:") {
        "KEY".to_owned()
    } else if word.len() == 29 && word.split('-').all(|part| part.len() == 5) {
        "WORDS".to_owned()
    } else if word.ends_with('Z') && word.split_once('T').is_some_and(|(date, _)| day(date)) {
        "WHEN".to_owned()
    } else if number && ["µs", "us", "ms", "s", "m", "h", "d"].contains(&unit) {
        "TIME".to_owned()
    } else if word.len() == 5 && word.as_bytes()[2] == b':' && number {
        "CLOCK".to_owned()
    } else if [6, 8, 52].contains(&word.len()) && id(word) {
        "ID".to_owned()
    } else {
        word.to_owned()
    }
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    name.trim_matches('"').to_owned()
}

/// A shell that takes one command after the other. It ends with all that it started.
struct Shell {
    bash: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn start(dir: &Path) -> Self {
        let bin = Path::new(env!("CARGO_BIN_EXE_muster")).parent().unwrap();
        let mut bash = Command::new("bash")
            .arg("--norc")
            .current_dir(dir)
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()))
            .env("HOME", dir)
            // The name of who founds the fleet in the transcripts.
            .env("USER", "operator")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .unwrap();
        let input = bash.stdin.take().unwrap();
        let output = BufReader::new(bash.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut shell = Self { bash, input, lines };
        shell.input.write_all(b"exec 2>&1\n").unwrap();
        shell
    }

    /// Runs a command; what it printed, and its code.
    fn run(&mut self, command: &str) -> (Vec<String>, i32) {
        writeln!(self.input, "{command}\nprintf '\\n@@@ %d\\n' $?").unwrap();
        let mut printed = Vec::new();
        loop {
            let line = self.lines.recv_timeout(WITHIN).unwrap_or_else(|_| {
                panic!("`{command}` took longer than {WITHIN:?}; so far it printed {printed:#?}")
            });
            if let Some(code) = line.strip_prefix("@@@ ") {
                // The empty line is ours, unless the command ended in the middle of a line.
                if printed.last().is_some_and(String::is_empty) {
                    printed.pop();
                }
                return (printed, code.parse().unwrap());
            }
            printed.push(line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // An SSH agent leaves the group of who started it, so only the shell knows it.
        let _gone = self.input.write_all(b"ssh-agent -k >/dev/null 2>&1; exit\n");
        let patience = Instant::now() + Duration::from_secs(5);
        while Instant::now() < patience && matches!(self.bash.try_wait(), Ok(None)) {
            thread::yield_now();
        }
        let group = rustix::process::Pid::from_child(&self.bash);
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        let alive = || rustix::process::test_kill_process_group(group).is_ok();
        let mut reaped = false;
        while Instant::now() < deadline && (alive() || !reaped) {
            reaped |= matches!(self.bash.try_wait(), Ok(Some(_)));
            thread::yield_now();
        }
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _reaped = self.bash.wait();
    }
}

#[test]
fn every_transcript_of_the_readme_is_what_the_program_prints() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let steps = steps(&readme);
    assert!(steps.len() > 10, "the README has no transcripts: {steps:#?}");
    let dir = tempfile::tempdir().unwrap();
    // Under root the mesh processes are other users, who must reach their own directories.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Its reader is in a clone.
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    std::os::unix::fs::symlink(scenarios, dir.path().join("scenarios")).unwrap();
    let mut shell = Shell::start(dir.path());
    for step in &steps {
        let expected: Vec<String> = step.expected.iter().map(|line| plain(line)).collect();
        let looks = ["muster hosts", "muster host ping", "muster job", "muster status", " inventory "];
        let deadline = Instant::now() + WITHIN;
        loop {
            let (printed, code) = shell.run(&step.command);
            let printed: Vec<String> = printed.iter().map(|line| plain(line)).collect();
            if printed == expected && code == step.code {
                break;
            }
            // What only looks may look again: hosts need a moment to find each other.
            let again = !step.command.contains(" run ")
                && looks.iter().any(|look| step.command.contains(look))
                && Instant::now() < deadline;
            assert!(
                again,
                "`{}` printed\n{}\nwith exit code {code}, and the README says\n{}\nwith {}",
                step.command,
                printed.join("\n"),
                expected.join("\n"),
                step.code,
            );
        }
        if let Some(agent) = step.command.strip_suffix(" agent &") {
            let status = format!("{agent} status >/dev/null 2>&1");
            while shell.run(&status).1 != 0 {
                assert!(Instant::now() < deadline, "the agent of `{}` does not come up", step.command);
            }
        }
    }
}

#[test]
fn what_differs_is_put_aside_and_nothing_else() {
    assert_eq!(plain("✓ b,c (2)    exit 0   12ms"), plain("✓ b,c (2) exit 0 3ms"));
    assert_ne!(plain("✓ b,c (2) exit 0 3ms"), plain("✓ b,c (2) exit 1 3ms"));
    assert_ne!(plain("3 ok"), plain("2 ok"));
    assert_eq!(plain("job c96df7"), plain("job qqqqqq"));
    assert_eq!(plain("seen 2s ago"), plain("seen now"));
    assert_eq!(plain("until 2026-12-24T13:31:27.349Z"), plain("until 2027-01-01T00:00:00Z"));
    assert_ne!(plain("until 2026-12-24T13:31:27.349Z"), plain("until TODAYZ"));
}
