use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions};

use super::*;
use crate::executor::os::{self, Account};

const LIMITS: Limits = Limits { memory_bytes: None, processes: 16_384, descriptors: 65_536 };

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name)).unwrap()).into_owned()
    }
    /// Lines of a file as process ids.
    fn pids(&self, name: &str) -> Vec<Pid> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
    }
    fn spawn(&self, argv: &[&str]) -> Spawn {
        Spawn {
            argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
            account: None,
            timeout: Duration::from_secs(300),
            limits: LIMITS,
            groups: None,
            output_bytes_max: 1 << 20,
            stdout: self.path("out"),
            stderr: self.path("err"),
            sink: None,
            stdin: None,
            environment: vec![("AT".into(), self.0.path().to_str().unwrap().into())],
        }
    }
    fn run(&self, argv: &[&str]) -> Report {
        finish(supervise(&self.spawn(argv)).unwrap())
    }
    fn shell(&self, script: &str) -> Report {
        self.run(&["sh", "-c", script])
    }
}

fn finish(supervised: Supervised) -> Report {
    let report = read_report(&supervised.report).unwrap().expect("the supervisor reports");
    supervised.collect().unwrap();
    report
}

#[expect(clippy::disallowed_methods, reason = "a deadline for real processes")]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn gone(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

fn not_started(report: &Report) -> (Stage, i32) {
    match report.outcome {
        Outcome::NotStarted { errno, stage } => (stage, errno),
        other => panic!("{other:?}"),
    }
}

#[test]
fn output_and_exit_code_are_reported_whole() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let report = place.shell("echo one; echo two >&2; cat; exit 7");
    assert_eq!(report.outcome, Outcome::Exited { code: 7 });
    assert_eq!((place.read("out").as_str(), place.read("err").as_str()), ("one\n", "two\n"));
    assert_eq!(report.stdout.hash, *blake3::hash(b"one\n").as_bytes());
    assert_eq!((report.stderr.produced, report.stderr.kept), (4, 4));
    assert_eq!((report.left_behind, report.survivors), (0, 0));
    let mode = std::fs::metadata(place.path("out")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn a_signal_is_told_from_an_exit() {
    assert_eq!(Place::new().shell("kill -9 $$").outcome, Outcome::Signaled { signal: 9 });
    assert_eq!(Place::new().shell("exit 137").outcome, Outcome::Exited { code: 137 });
}

#[test]
fn what_cannot_be_started_says_which_step_failed_and_why() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    assert_eq!(not_started(&place.run(&["no-such-program-here"])), (Stage::Exec, libc::ENOENT));
    let file = place.path("file");
    std::fs::write(&file, b"\x00\x01 no program").unwrap();
    let program = file.to_str().unwrap();
    let start = |argv: &[&str]| {
        let place = Place::new();
        not_started(&place.run(argv))
    };
    assert_eq!(start(&[program]), (Stage::Exec, libc::EACCES));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(start(&[program]), (Stage::Exec, libc::ENOEXEC));
    assert_eq!(start(&["/"]), (Stage::Exec, libc::EACCES));
    assert_eq!(start(&[]), (Stage::Arguments, libc::ENOENT));
    assert_eq!(start(&[""]), (Stage::Arguments, libc::ENOENT));
    assert_eq!(start(&["echo", "a\0b"]), (Stage::Arguments, libc::EINVAL));
    assert_eq!(start(&["true", &"a".repeat(4 << 20)]), (Stage::Exec, libc::E2BIG));
    std::fs::write(place.path("out"), b"of somebody else").unwrap();
    assert_eq!(not_started(&place.run(&["true"])), (Stage::Spool, libc::EEXIST));
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"of somebody else");
    let mut spawn = Place::new().spawn(&["true"]);
    spawn.stdout = "/no/such/directory/out".into();
    assert_eq!(not_started(&finish(supervise(&spawn).unwrap())), (Stage::Spool, libc::ENOENT));
}

#[test]
fn a_stream_without_a_byte_leaves_no_file() {
    let place = Place::new();
    let report = place.shell("echo one");
    assert_eq!((report.stdout.kept, report.stderr.kept), (4, 0));
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"one\n");
    assert!(!place.path("err").exists());
}

#[test]
fn output_above_the_limit_is_counted_and_not_kept() {
    let place = Place::new();
    let mut spawn = place.spawn(&["sh", "-c", "head -c 5000000 /dev/zero; echo end >&2"]);
    spawn.output_bytes_max = 100_001;
    let report = finish(supervise(&spawn).unwrap());
    assert_eq!(report.outcome, Outcome::Exited { code: 0 });
    assert_eq!((report.stdout.produced, report.stdout.kept), (5_000_000, 100_001));
    assert_eq!(report.stderr.produced, report.stderr.kept);
    assert_eq!(std::fs::read(place.path("out")).unwrap(), vec![0; 100_001]);
    assert_eq!(report.stdout.hash, *blake3::hash(&vec![0; 100_001]).as_bytes());
}

#[test]
fn a_command_that_never_ends_and_ignores_the_signal_is_ended_with_all_its_children() {
    let place = Place::new();
    let script = r#"trap '' TERM; sh -c 'trap "" TERM; echo $$ > $AT/pids.new; mv $AT/pids.new $AT/pids; while :; do sleep 1000; done' & while :; do sleep 1000; done"#;
    let mut spawn = place.spawn(&["sh", "-c", script]);
    spawn.timeout = Duration::from_secs(1);
    let report = finish(supervise(&spawn).unwrap());
    assert_eq!(report.outcome, Outcome::TimedOut);
    assert!(report.took_ms >= 1000);
    assert_eq!(report.survivors, 0);
    assert!(place.pids("pids").into_iter().all(gone));
}

#[test]
fn a_cancelled_command_may_clean_up() {
    let place = Place::new();
    let script = r"trap 'echo bye; exit 3' TERM; echo $$ > $AT/pids; while :; do sleep 0.01; done";
    let supervised = supervise(&place.spawn(&["sh", "-c", script])).unwrap();
    until("the command is up", || !place.pids("pids").is_empty());
    supervised.cancel();
    supervised.cancel();
    let report = finish(supervised);
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert_eq!(place.read("out"), "bye\n");
    assert!(gone(place.pids("pids")[0]));
}

#[test]
fn a_stopped_command_can_be_cancelled() {
    let place = Place::new();
    let supervised = supervise(&place.spawn(&["sh", "-c", "echo $$ > $AT/pids; kill -STOP $$"])).unwrap();
    until("the command is up", || !place.pids("pids").is_empty());
    supervised.cancel();
    assert_eq!(finish(supervised).outcome, Outcome::Cancelled);
}

#[test]
fn a_daemon_that_holds_the_output_open_is_ended_with_the_command() {
    let place = Place::new();
    let script = r"
        (setsid sh -c 'echo $$ > $AT/new; mv $AT/new $AT/pids; exec sleep 1000' &)
        until test -e $AT/pids; do sleep 0.01; done
        echo done";
    let report = place.shell(script);
    assert_eq!(report.outcome, Outcome::Exited { code: 0 });
    assert_eq!((report.left_behind, report.survivors), (1, 0));
    assert_eq!(place.read("out"), "done\n");
    assert!(gone(place.pids("pids")[0]));
}

#[test]
fn a_tree_that_grows_while_it_is_killed_is_ended() {
    let place = Place::new();
    let script = r"
        printf 'sleep 1000 & sleep 0.01; setsid sh %s/grow &\nsleep 1000' $AT > $AT/grow
        setsid sh $AT/grow & sleep 0.5; exit 0";
    let report = place.shell(script);
    assert_eq!(report.outcome, Outcome::Exited { code: 0 });
    assert_eq!(report.survivors, 0);
    assert!(report.left_behind >= 2);
}

#[test]
fn a_command_that_closes_its_output_is_waited_for_without_spinning() {
    let place = Place::new();
    let script = "exec >&- 2>&-; sleep 1; exit 3";
    let supervised = supervise(&place.spawn(&["sh", "-c", script])).unwrap();
    let report = read_report(&supervised.report).unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Exited { code: 3 });
    // Not collected yet, the supervisor still shows its times: fields 14 and 15, in hundredths.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", supervised.pid.as_raw_pid())).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    assert!(ticks < 40, "{ticks} hundredths of a second for waiting one second");
    supervised.collect().unwrap();
}

#[test]
fn the_command_gets_a_clean_environment_session_and_nothing_open() {
    let place = Place::new();
    let mut spawn = place.spawn(&["env"]);
    spawn.environment = vec![("EXTRA".into(), "a=b".into()), ("LANG".into(), "C".into())];
    assert_eq!(finish(supervise(&spawn).unwrap()).outcome, Outcome::Exited { code: 0 });
    let user = Account::current().unwrap();
    let expected = [
        "EXTRA=a=b".to_owned(),
        format!("HOME={}", String::from_utf8_lossy(&user.home.0)),
        "LANG=C".to_owned(),
        format!("LOGNAME={}", user.name),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("SHELL={}", String::from_utf8_lossy(&user.shell.0)),
        format!("USER={}", user.name),
    ];
    assert_eq!(place.read("out").lines().collect::<Vec<_>>(), expected);

    let place = Place::new();
    let script = "ls /proc/$$/fd; readlink /proc/$$/fd/0; umask; ulimit -c; cat /proc/$$/stat; pwd";
    assert_eq!(place.shell(script).outcome, Outcome::Exited { code: 0 });
    let output = place.read("out");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..6], ["0", "1", "2", "/dev/null", "0022", "0"]);
    // Process, state, parent, group, session, terminal.
    let stat: Vec<_> = lines[6].split(' ').collect();
    assert_eq!((stat[0], stat[0], "0"), (stat[4], stat[5], stat[6]));
    let home =
        std::fs::canonicalize(String::from_utf8(user.home.0.clone()).unwrap()).unwrap_or_else(|_| "/".into());
    assert_eq!(Path::new(lines[7]), home);
}

#[test]
fn the_command_blocks_and_ignores_no_signal() {
    let place = Place::new();
    place.run(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]);
    assert_eq!(place.read("out"), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn root_gives_up_its_ids_for_good_but_leaves_sudo_working() {
    if !rustix::process::geteuid().is_root() {
        #[expect(clippy::print_stderr, reason = "a skipped test is named")]
        {
            eprintln!("skipped: dropping ids needs root");
        }
        return;
    }
    let nobody = Account::lookup("nobody").unwrap().unwrap();
    let place = Place::new();
    let mut spawn = place.spawn(&["sh", "-c", "cat /proc/self/status; cat /etc/shadow"]);
    spawn.account = Some(nobody.clone());
    let report = finish(supervise(&spawn).unwrap());
    assert_eq!(report.outcome, Outcome::Exited { code: 1 }, "{}", place.read("err"));
    let status = place.read("out");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), vec![nobody.uid.to_string(); 4]);
    assert_eq!(field("Gid:"), vec![nobody.gid.to_string(); 4]);
    assert_eq!(field("Groups:"), nobody.groups.iter().map(u32::to_string).collect::<Vec<_>>());
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(name), ["0000000000000000"], "{name}");
    }
    assert_ne!(field("CapBnd:"), ["0000000000000000"]);
    assert_eq!(field("NoNewPrivs:"), ["0"]);
}

/// Runs `child` as an executor of its own, with one thread, and gives its exit code.
fn as_executor(child: impl FnOnce() -> u8) -> Option<i32> {
    let pid = os::fork_into(child).unwrap();
    let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
}

#[test]
fn a_command_that_kills_its_supervisor_ends_too_and_is_not_taken_for_finished() {
    let place = Place::new();
    let script = r"
        setsid sleep 1000 & echo $! > $AT/pids; echo $$ >> $AT/pids
        kill -9 $PPID; while :; do sleep 1000; done";
    let code = as_executor(|| {
        adopts_orphans().unwrap();
        let bystander_place = Place::new();
        let bystander = supervise(&bystander_place.spawn(&["sleep", "1000"])).unwrap();
        let lost = supervise(&place.spawn(&["sh", "-c", script])).unwrap();
        assert_eq!(read_report(&lost.report).unwrap(), None);
        lost.collect().unwrap();
        until("the orphans end", || end_orphans(&[bystander.pid]) == 0);
        until("all are gone", || {
            end_orphans(&[bystander.pid]);
            place.pids("pids").into_iter().all(gone)
        });
        assert_eq!(place.pids("pids").len(), 2);
        // Those of another supervisor were let alone.
        bystander.cancel();
        assert_eq!(finish(bystander).outcome, Outcome::Cancelled);
        drop(bystander_place);
        42
    });
    assert_eq!(code, Some(42));
}

#[test]
fn a_dead_executor_ends_every_command() {
    let place = Place::new();
    let script = "setsid sleep 1000 & echo $! > $AT/new; echo $$ >> $AT/new; mv $AT/new $AT/pids; sleep 1000";
    let code = as_executor(|| {
        // The second supervisor must not hold the first one's lifeline open.
        let first = supervise(&place.spawn(&["sh", "-c", script])).unwrap();
        let other = Place::new();
        let second = supervise(&other.spawn(&["sh", "-c", script])).unwrap();
        until("both are up", || place.pids("pids").len() + other.pids("pids").len() == 4);
        drop(first.lifeline);
        until("the first is gone", || place.pids("pids").into_iter().all(gone));
        assert!(!other.pids("pids").into_iter().any(gone));
        assert_eq!(read_report(&first.report).unwrap(), None);
        std::fs::copy(other.path("pids"), place.path("second")).unwrap();
        std::mem::forget(second);
        43
    });
    assert_eq!(code, Some(43));
    assert_eq!(place.pids("second").len(), 2);
    until("the second is gone", || place.pids("second").into_iter().all(gone));
}

#[test]
fn a_supervisor_that_is_told_to_stop_cancels() {
    let place = Place::new();
    let supervised = supervise(&place.spawn(&["sh", "-c", "echo $$ > $AT/pids; sleep 1000"])).unwrap();
    until("the command is up", || !place.pids("pids").is_empty());
    rustix::process::kill_process(supervised.pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(finish(supervised).outcome, Outcome::Cancelled);
}

#[test]
fn many_at_once_all_report() {
    let places: Vec<_> = (0..40).map(|_| Place::new()).collect();
    let supervised: Vec<_> =
        places.iter().map(|place| supervise(&place.spawn(&["echo", "hello"])).unwrap()).collect();
    for (supervised, place) in supervised.into_iter().zip(&places) {
        assert_eq!(finish(supervised).outcome, Outcome::Exited { code: 0 });
        assert_eq!(place.read("out"), "hello\n");
    }
}

#[test]
fn a_report_survives_its_encoding() {
    for outcome in [
        Outcome::Exited { code: -1 },
        Outcome::Signaled { signal: 9 },
        Outcome::TimedOut,
        Outcome::Cancelled,
        Outcome::NotStarted { errno: libc::ENOENT, stage: Stage::Exec },
    ] {
        let report = Report { outcome, ..Report::not_started(Stage::Fork, rustix::io::Errno::AGAIN) };
        let (read, write) = rustix::pipe::pipe().unwrap();
        report.send(&write);
        drop(write);
        assert_eq!(read_report(&read).unwrap().unwrap(), report);
        assert_eq!(read_report(&read).unwrap(), None);
    }
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&write, b"\xff\xff\xff\xff").unwrap();
    assert!(read_report(&read).is_err());
}

/// A process that leaves its parent, its session and every descriptor, ignores what it can and goes on; its number
/// is in `pids` before the command goes on.
const ESCAPES: &str = r#"
    (setsid sh -c '(setsid sh -c "trap \"\" TERM HUP INT; exec 0<&- 1>&- 2>&-; echo \$\$ > $AT/new; mv $AT/new $AT/pids
        while :; do sleep 1000; done" &)' &)
    until test -e $AT/pids; do sleep 0.01; done
"#;

/// How a command ends, and what becomes then of a process that has left it in every way there is.
fn what_escapes_ends(groups: Option<&Groups>) {
    let spawn = |place: &Place, then: &str| {
        let mut spawn = place.spawn(&["sh", "-c", &format!("{ESCAPES}{then}")]);
        spawn.groups = groups.cloned();
        spawn
    };
    let ended = |place: &Place, report: &Report| {
        assert_eq!(report.survivors, 0);
        assert_eq!(place.pids("pids").len(), 1);
        assert!(place.pids("pids").into_iter().all(gone), "after {:?}", report.outcome);
    };
    // It ends by itself.
    let place = Place::new();
    let report = finish(supervise(&spawn(&place, "exit 3")).unwrap());
    assert_eq!((report.outcome, report.left_behind > 0), (Outcome::Exited { code: 3 }, true));
    ended(&place, &report);
    // Its time is up while it is stopped.
    let place = Place::new();
    let mut timed = spawn(&place, "kill -STOP $$");
    timed.timeout = Duration::from_secs(3);
    let report = finish(supervise(&timed).unwrap());
    assert_eq!(report.outcome, Outcome::TimedOut);
    ended(&place, &report);
    // It is cancelled.
    let place = Place::new();
    let supervised = supervise(&spawn(&place, "while :; do sleep 1000; done")).unwrap();
    until("it has escaped", || !place.pids("pids").is_empty());
    supervised.cancel();
    let report = finish(supervised);
    assert_eq!(report.outcome, Outcome::Cancelled);
    ended(&place, &report);
    // The executor ends.
    let place = Place::new();
    let supervised = supervise(&spawn(&place, "while :; do sleep 1000; done")).unwrap();
    until("it has escaped", || !place.pids("pids").is_empty());
    drop(supervised.lifeline);
    assert_eq!(read_report(&supervised.report).unwrap(), None);
    until("it ends with the executor", || place.pids("pids").into_iter().all(gone));
    rustix::process::waitpid(Some(supervised.pid), WaitOptions::empty()).unwrap();
}

#[test]
fn what_leaves_its_session_its_parents_and_its_descriptors_ends_with_the_command() {
    what_escapes_ends(None);
}

/// A tree of control groups that is given to this test, as a service manager would. None, and counted, where this
/// machine has none to give.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let point = mount.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from);
        let name = format!("muster-test-{}", rustix::process::getpid().as_raw_pid());
        let made = point.map(|point| point.join(name)).filter(|dir| {
            std::fs::create_dir(dir).is_ok()
                && dir.join("cgroup.kill").exists()
                && rustix::fs::setxattr(dir, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).is_ok()
        });
        if made.is_none() {
            unavailable("commands in control groups", "no tree of version 2 can be made here");
        }
        made.map(Self)
    }
    fn commands(&self) -> usize {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("command-")).count()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        until("the tree is empty", || {
            for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(entry.path());
            }
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// Counted by `tests/run`, which reads this file.
#[expect(clippy::print_stderr, reason = "a skipped test is named")]
fn unavailable(name: &str, why: &str) {
    use std::io::Write as _;
    let line = format!("unavailable: {name}: {why}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("MUSTER_UNAVAILABLE") {
        std::fs::File::options().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn in_control_groups_everything_ends_too_even_what_nobody_watches_any_more() {
    let Some(tree) = Tree::new() else { return };
    let code = as_executor(|| {
        let me = rustix::process::getpid().as_raw_pid().to_string();
        std::fs::write(tree.0.join("cgroup.procs"), &me).unwrap();
        adopts_orphans().unwrap();
        let groups = Groups::take().expect("the tree is given");
        assert!(std::fs::read_to_string("/proc/self/cgroup").unwrap().contains("/agent\n"));
        what_escapes_ends(Some(&groups));
        assert_eq!(tree.commands(), 0);
        // Where the command is, and that its children are there with it.
        let place = Place::new();
        let mut spawn = place.spawn(&["sh", "-c", "grep ^0:: /proc/self/cgroup"]);
        spawn.groups = Some(groups.clone());
        let supervised = supervise(&spawn).unwrap();
        let expected = format!("/command-{}\n", supervised.pid.as_raw_pid());
        assert_eq!(finish(supervised).outcome, Outcome::Exited { code: 0 });
        assert!(place.read("out").ends_with(&expected), "{}", place.read("out"));
        // The supervisor is killed: its group is ended by name.
        let place = Place::new();
        let mut spawn = place.spawn(&["sh", "-c", &format!("{ESCAPES}sleep 1000")]);
        spawn.groups = Some(groups.clone());
        let lost = supervise(&spawn).unwrap();
        until("it has escaped", || !place.pids("pids").is_empty());
        rustix::process::kill_process(lost.pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(read_report(&lost.report).unwrap(), None);
        let pid = lost.pid;
        lost.collect().unwrap();
        groups.end_of(pid);
        until("it ends", || {
            // Collected here, and killed by nobody but its group.
            let _ = rustix::process::wait(WaitOptions::NOHANG);
            place.pids("pids").into_iter().all(gone)
        });
        assert_eq!(tree.commands(), 0);
        // Supervisor and executor are killed at once: the next executor ends what is left.
        let place = Place::new();
        let script = format!("{ESCAPES}sleep 1000");
        let executor = os::fork_into(|| {
            let mut spawn = place.spawn(&["sh", "-c", &script]);
            spawn.groups = Some(groups.clone());
            let lost = supervise(&spawn).unwrap();
            until("it has escaped", || !place.pids("pids").is_empty());
            let _ = rustix::process::kill_process(lost.pid, rustix::process::Signal::KILL);
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            1
        });
        rustix::process::waitpid(Some(executor.unwrap()), WaitOptions::empty()).unwrap();
        assert!(!gone(place.pids("pids")[0]), "it outlives both");
        std::fs::write(tree.0.join("cgroup.procs"), &me).unwrap();
        assert!(Groups::take().is_some());
        until("the next executor ends it", || {
            // Collected here, and killed by nobody but its group.
            let _ = rustix::process::wait(WaitOptions::NOHANG);
            place.pids("pids").into_iter().all(gone)
        });
        assert_eq!(tree.commands(), 0);
        44
    });
    assert_eq!(code, Some(44));
}

/// As a user that nothing else here runs as: what counts is its own.
fn lone_user(uid: u32) -> Account {
    Account {
        name: "lone".into(),
        uid,
        gid: uid,
        groups: vec![uid],
        home: b"/".as_slice().into(),
        shell: b"/bin/sh".as_slice().into(),
    }
}

/// Whose fork bomb is tried.
const UID: u32 = 61_001;

/// Living processes of a user.
fn processes_of(uid: u32) -> usize {
    let owned = format!("Uid:\t{uid}\t");
    let statuses = std::fs::read_dir("/proc").unwrap().flatten();
    let statuses = statuses.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    statuses.filter(|status| status.contains(&owned) && !status.contains("State:\tZ")).count()
}

#[test]
fn a_fork_bomb_stays_within_its_processes_and_ends_whole() {
    if !rustix::process::geteuid().is_root() {
        return unavailable("a fork bomb as another user", "not root");
    }
    let place = Place::new();
    let mut spawn = place.spawn(&["sh", "-c", "f() { f | f & }; f; while :; do sleep 1; done"]);
    spawn.account = Some(lone_user(UID));
    spawn.limits.processes = 40;
    spawn.timeout = Duration::from_secs(2);
    let supervised = supervise(&spawn).unwrap();
    let mut most = 0;
    let mut report = None;
    until("it ends", || {
        most = most.max(processes_of(UID));
        let mut fds = [rustix::event::PollFd::new(&supervised.report, rustix::event::PollFlags::IN)];
        let none = rustix::event::Timespec::default();
        if rustix::event::poll(&mut fds, Some(&none)).unwrap() > 0 {
            report = read_report(&supervised.report).unwrap();
        }
        report.is_some()
    });
    let report = report.unwrap();
    assert_eq!((report.outcome, report.survivors), (Outcome::TimedOut, 0));
    assert!((2..=40).contains(&most), "{most} processes at once");
    assert_eq!(processes_of(UID), 0);
    supervised.collect().unwrap();
}

#[test]
fn a_command_gets_the_memory_the_processes_and_the_files_that_it_is_given_and_no_more() {
    let place = Place::new();
    let script = "ulimit -d; ulimit -n; grep -E 'Max (processes|open files|data)' /proc/self/limits
        head -c 200000000 /dev/zero | tail -c 150000000 | wc -c";
    let mut spawn = place.spawn(&["sh", "-c", script]);
    spawn.limits = Limits { memory_bytes: Some(64 << 20), processes: 999, descriptors: 77 };
    let report = finish(supervise(&spawn).unwrap());
    let output = place.read("out");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..2], ["65536", "77"], "{output}");
    for (line, word, bound) in [(2, "data", "67108864"), (3, "processes", "999"), (4, "open files", "77")] {
        let fields: Vec<_> = lines[line].split_whitespace().collect();
        assert!(lines[line].contains(word), "{output}");
        assert_eq!(fields.iter().filter(|field| **field == bound).count(), 2, "{output}");
    }
    // What asks for more is told so by the system, and says it.
    assert_eq!((lines[5], report.outcome), ("0", Outcome::Exited { code: 0 }), "{output}");
    assert!(place.read("err").contains("memory"), "{}", place.read("err"));
}

#[test]
fn a_command_without_room_for_its_processes_says_so_and_is_not_run() {
    if !rustix::process::geteuid().is_root() {
        return unavailable("a user's last process", "not root");
    }
    let place = Place::new();
    let mut spawn = place.spawn(&["sh", "-c", "sleep 0 & wait"]);
    spawn.account = Some(lone_user(61_002));
    spawn.limits.processes = 1;
    let report = finish(supervise(&spawn).unwrap());
    assert!(matches!(report.outcome, Outcome::Exited { code } if code != 0), "{:?}", report.outcome);
    assert!(!place.read("err").is_empty());
}
