//! State directories, sockets, ports, keys and settings that an agent or a command line cannot use.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::Path,
};

use serde_json::json;

use crate::{
    fleet::{Fleet, Process, Reach, text},
    orders::{once, two},
    support::unavailable,
};

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this machine lets a process have mounts of its own. If not, says so for the test `name`.
pub(crate) fn has_mounts(name: &str) -> bool {
    if !root() {
        unavailable(name, format_args!("not root"));
        return false;
    }
    let tried = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"])
        .output();
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            unavailable(name, format_args!("no own mounts: {}", String::from_utf8_lossy(&output.stderr)));
            false
        }
        Err(error) => {
            unavailable(name, format_args!("no unshare: {error}"));
            false
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file whose mode can be set");
}

/// A shell script that lets a directory be seen read-only.
fn read_only(path: &Path) -> String {
    format!("mount --bind {0} {0}\nmount -o remount,bind,ro {0}", path.display())
}

/// Changes a byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file to damage");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).expect("a file to damage");
}

/// Starts b, which was stopped, and lets it run an order: nothing was lost.
#[track_caller]
fn b_is_as_it_was(fleet: &mut Fleet) {
    fleet.start("b");
    fleet.all_see_all();
    let ran = fleet.order("a", &["-H", "a", "-H", "b"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
}

#[test]
fn a_directory_without_a_host_is_named_with_what_to_do() {
    let fleet = Fleet::empty();
    fleet.muster("x", &["agent"]).ends(1).says(&["muster init NAME", "muster join TOKEN"]);
    fleet.muster("x", &["status"]).ends(5).says(&["no agent answers at", "holds no host", "muster demo"]);
    fleet.muster("x", &["run", "--all", "--", "true"]).ends(5).says(&["no agent answers at"]);
    assert!(!fleet.state("x").exists(), "asking made a directory");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let name = "a_state_directory_that_cannot_be_written_is_named";
    let mut fleet = two();
    let operator = fleet.operators().join("acme");
    let state = fleet.state("b");
    fleet.stop("b");
    let ro = |fleet: &Fleet, host: &str, path: &Path, args: &[&str]| {
        if root() {
            let mut command = fleet.among_mounts(host, &read_only(path));
            command.args(args);
            fleet.begin_command(command).finish()
        } else {
            mode(path, 0o500);
            let output = fleet.muster(host, args);
            mode(path, 0o700);
            output
        }
    };
    if root() && !has_mounts(name) {
        return;
    }
    let shown = state.display().to_string();
    ro(&fleet, "b", &state, &["agent"]).ends(1).says(&["error: ", &shown, "hint: "]);
    // An order is remembered before it is sent; where it cannot be, it is not sent.
    let jobs = operator.join("jobs");
    let run: Vec<String> =
        ["run", "--all", "--"].map(str::to_owned).into_iter().chain(fleet.counted(&[])).collect();
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    ro(&fleet, "a", &jobs, &run).ends(1).says(&["error: cannot use", "jobs"]);
    assert_eq!(fleet.all_spawns(), []);
    let token = fleet.invite("a", &[]);
    let empty = fleet.dir().join("c");
    fs::create_dir(&empty).expect("an empty directory");
    mode(&empty, 0o700);
    let join = ["join", &token, "--host-name", "c", "--no-listen"];
    ro(&fleet, "c", &empty, &join).ends(1).says(&["error: cannot use", "/c"]);
    // The token was not used up by that.
    fleet.redeem("c", &token, Reach::DialsOut).ends(0);
    fleet.muster("a", &["status"]).ends(0);
    fleet.start("c");
    b_is_as_it_was(&mut fleet);
}

#[test]
fn an_agent_works_below_a_directory_that_is_closed_to_others() {
    let mut fleet = two();
    fleet.stop("b");
    // Such as root's home, with the state in it made by hand.
    mode(fleet.dir(), 0o700);
    mode(&fleet.state("b"), 0o700);
    b_is_as_it_was(&mut fleet);
    let script = "yes 0123456789abcdef | head -c 3000000";
    let output = fleet.muster("a", &["run", "-H", "b", "--", "sh", "-c", script]).ends(0);
    assert_eq!(output.stdout.len(), 3_000_000);
    assert_eq!(fleet.counter("b", "mesh_starts"), 1);
}

#[test]
fn a_state_directory_of_someone_else_or_that_others_can_write_is_refused() {
    let mut fleet = two();
    fleet.stop("b");
    let state = fleet.state("b");
    let before = fs::metadata(&state).expect("b").permissions().mode();
    mode(&state, 0o777);
    fleet.muster("b", &["agent"]).ends(4).says(&["can be written by others (mode 0777)", "chmod go-w"]);
    mode(&state, before);
    if root() {
        chown(&state, Some(54321), None).expect("chown");
        fleet.muster("b", &["agent"]).ends(4).says(&["belongs to another user (uid 54321)", "ls -ld"]);
        let token = fleet.invite("a", &[]);
        let join = ["join", &token, "--host-name", "b", "--no-listen"];
        fleet.muster("b", &join).ends(4).says(&["belongs to another user"]);
        chown(&state, Some(0), None).expect("chown");
    } else {
        unavailable("a state directory of someone else is refused", format_args!("not root"));
    }
    b_is_as_it_was(&mut fleet);
}

#[test]
fn a_state_directory_of_a_newer_version_is_left_alone() {
    let mut fleet = two();
    fleet.stop("b");
    let format = fleet.state("b").join("format");
    let ours = fs::read(&format).expect("format");
    fs::write(&format, "muster state 99\n").expect("format");
    fleet
        .muster("b", &["agent"])
        .ends(1)
        .says(&["written by a newer muster (muster state 99)", "muster version"]);
    assert_eq!(fs::read(&format).expect("format"), b"muster state 99\n");
    fs::write(&format, "something else\n").expect("format");
    fleet.muster("b", &["agent"]).ends(1).says(&["is damaged"]);
    fs::write(&format, ours).expect("format");
    b_is_as_it_was(&mut fleet);
}

#[test]
fn a_damaged_member_file_key_or_journal_is_named_and_left_alone() {
    let mut fleet = two();
    fleet.order("a", &["--all"], &["true"]).ends(0);
    fleet.stop("b");
    for (file, kind) in [
        ("member", "is damaged"),
        ("executor/claims", "is damaged at byte"),
        ("executor/executor.key", "is not a muster executor key"),
    ] {
        let path = fleet.state("b").join(file);
        let whole = fs::read(&path).expect(file);
        flip(&path);
        if file.ends_with("key") {
            fs::write(&path, "no key\n").expect(file);
        }
        let damaged = fs::read(&path).expect(file);
        let output = fleet.muster("b", &["agent"]);
        assert_ne!(output.code, 0, "{file}");
        let said = output.says(&["error: ", &path.display().to_string(), kind, "hint: "]);
        assert!(!said.stderr.contains("muster status"), "{}", said.stderr);
        assert_eq!(fs::read(&path).expect(file), damaged, "{file} was touched");
        fs::write(&path, whole).expect(file);
    }
    // Cut short: a record that was torn is one that nobody was told of; the rest stands.
    let path = fleet.state("b").join("member");
    let whole = fs::read(&path).expect("member");
    fs::write(&path, &whole[..whole.len() / 2]).expect("member");
    fleet.muster("b", &["agent"]).ends(1).says(&["is damaged", "member"]);
    fs::write(&path, whole).expect("member");
    b_is_as_it_was(&mut fleet);
}

#[test]
fn a_damaged_store_is_moved_aside_fetched_again_and_reported() {
    let mut fleet = two();
    fleet.muster("a", &["host", "tag", "b", "ring=1", "--yes"]).ends(0);
    let before = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    let entries = fleet.status("a")["entries"].clone();
    fleet.stop("b");
    let store = fleet.state("b").join("mesh/store");
    for file in ["conf", "db"] {
        let path = store.join(file);
        let length = fs::metadata(&path).expect(file).len();
        fs::write(&path, vec![0xa5; usize::try_from(length).expect("a length")]).expect(file);
    }
    fleet.start("b");
    fleet.until("b has all that a has", |fleet| {
        let tags = fleet.tags("b", "b");
        if tags == json!({ "role": "web", "ring": "1" }) { Ok(()) } else { Err(tags.to_string()) }
    });
    let problems = fleet.status("b")["problems"].to_string();
    assert!(problems.contains("store") && problems.contains("damaged"), "{problems}");
    assert!(fleet.muster("b", &["status"]).ends(0).text().contains("damaged"));
    assert!(fleet.status("b")["entries"].as_u64() >= entries.as_u64());
    // The order was in the store; the claim is not, and holds.
    fleet.order("b", &["-l", "ring=1"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&before.job), once(&["a", "b"]));
}

#[test]
fn two_agents_on_one_directory_are_one_agent_and_a_message() {
    let fleet = two();
    let socket = fleet.dir().join("other.sock");
    let mut command = fleet.command("b");
    command.args(["agent", "--socket"]).arg(&socket);
    let hint = format!("muster status --state {}", fleet.state("b").display());
    fleet.begin_command(command).finish().ends(1).says(&["another agent is running on", &hint]);
    assert!(!socket.exists());
    fleet.muster("b", &["agent"]).ends(1).says(&["another agent is running on"]);
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
}

#[test]
fn an_agent_that_starts_while_remains_of_the_last_one_end_waits_for_them() {
    let mut fleet = two();
    fleet.kill9("b", Process::Both);
    // What a killed agent's children hold on to until they end, too.
    let lock = fs::File::open(fleet.state("b").join("lock")).expect("the lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("a free lock");
    fs::remove_file(fleet.socket("b")).expect("the socket");
    let socket = UnixListener::bind(fleet.socket("b")).expect("a socket in its place");
    fleet.launch("b");
    for _ in 0..20 {
        // Somebody holds the socket and does not answer.
        assert!(std::os::unix::net::UnixStream::connect(fleet.socket("b")).is_ok());
        fleet.muster("a", &["status"]).ends(0);
    }
    drop(lock);
    drop(socket);
    fleet.until("b's agent answers", |fleet| {
        let output = fleet.muster("b", &["status"]);
        if output.code == 0 { Ok(()) } else { Err(format!("{output:?}")) }
    });
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
}

#[test]
fn a_socket_that_nobody_listens_on_is_named_and_replaced_by_the_next_agent() {
    let mut fleet = two();
    fleet.kill9("b", Process::Both);
    assert!(fleet.socket("b").exists());
    let start = format!("start it: muster agent --state {}", fleet.state("b").display());
    for args in [
        &["status"][..],
        &["run", "--all", "--", "true"],
        &["job", "ls"],
        &["host", "ls"],
        &["leave", "--yes"],
    ] {
        fleet.muster("b", args).ends(5).says(&["no agent answers at", &start]);
    }
    b_is_as_it_was(&mut fleet);
}

#[test]
fn a_socket_or_file_of_another_program_is_left_alone() {
    let mut fleet = two();
    fleet.stop("b");
    let path = fleet.socket("b");
    let listener = UnixListener::bind(&path).expect("a socket");
    fleet.muster("b", &["agent"]).ends(1).says(&["answers at", &path.display().to_string(), "--socket PATH"]);
    // It was asked whether anybody listens, more than once; all of that is taken off before what follows.
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_ok(), "the socket is still that program's");
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).expect("a socket");
    // A command line that meets it is not kept waiting for ever, and does not believe it.
    let asked = fleet.begin("b", &["status"]);
    let (mut stream, _) = listener.accept().expect("the command line");
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("an answer");
    asked.finish().ends(5).says(&["error: "]);
    drop(stream);
    drop(listener);
    fs::remove_file(&path).expect("the socket");
    fs::write(&path, "precious").expect("a file");
    fleet.muster("b", &["agent"]).ends(1).says(&[&path.display().to_string(), "hint: "]);
    fleet.muster("b", &["status"]).ends(5).says(&["no agent answers at"]);
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
    fs::remove_file(&path).expect("the file");
    b_is_as_it_was(&mut fleet);
}

#[test]
fn an_agent_whose_port_is_taken_says_so_and_is_a_member_all_the_same() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Listens);
    fleet.stop("b");
    let taken = text(&fleet.status("a")["listen"][0]);
    fleet.set_listen("b", &taken);
    fleet.start("b");
    fleet.all_see_all();
    let problems = fleet.status("b")["problems"].to_string();
    assert!(problems.contains(&taken) && problems.contains("cannot listen"), "{problems}");
    assert!(fleet.log("b").contains(&taken), "{}", fleet.log("b"));
    assert!(fleet.muster("b", &["status"]).ends(0).text().contains(&taken));
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let mut fleet = two();
    let operator = fleet.operators().join("acme/operator.key");
    mode(&operator, 0o644);
    let chmod = format!("chmod 600 {}", operator.display());
    for args in [&["run", "--all", "--", "true"][..], &["invite"], &["host", "tag", "b", "x=y", "--yes"]] {
        fleet.muster("a", args).ends(4).says(&["can be read by others (mode 0644)", &chmod]);
    }
    mode(&operator, 0o600);
    fleet.stop("b");
    let executor = fleet.state("b").join("executor/executor.key");
    mode(&executor, 0o640);
    fleet.muster("b", &["agent"]).ends(4).says(&["can be read by others (mode 0640)", "chmod 600"]);
    mode(&executor, 0o600);
    b_is_as_it_was(&mut fleet);
}

#[test]
fn settings_that_cannot_be_used_are_shown_with_their_line() {
    let mut fleet = two();
    fleet.stop("b");
    let path = fleet.state("b").join("agent.toml");
    let good = fs::read_to_string(&path).expect("agent.toml");
    for (line, word) in [
        ("lsten = []", "lsten"),
        ("listen = [\"localhost\"]", "listen"),
        ("lan = \"yes\"", "lan"),
        ("= 3", "="),
    ] {
        fs::write(&path, format!("# a comment\n{line}\n")).expect("agent.toml");
        let shown = path.display().to_string();
        fleet.muster("b", &["agent"]).ends(2).says(&[&shown, "2 |", word, "^", "hint: "]);
    }
    fs::write(&path, format!("mesh_user = \"no-such-user\"\n{good}")).expect("agent.toml");
    if root() {
        fleet.muster("b", &["agent"]).ends(1).says(&["no user no-such-user"]);
    }
    fs::write(&path, good).expect("agent.toml");
    b_is_as_it_was(&mut fleet);
}

#[test]
fn a_full_disk_refuses_orders_in_words_loses_nothing_and_recovers() {
    let name = "a_full_disk_refuses_orders_in_words_loses_nothing_and_recovers";
    if !has_mounts(name) {
        return;
    }
    let mut fleet = two();
    fleet.stop("b");
    let (state, kept) = (fleet.state("b"), fleet.dir().join("kept"));
    fs::rename(&state, &kept).expect("b's directory");
    fs::create_dir(&state).expect("a mount point");
    // b's directory on a small disk of its own, seen by its agent alone.
    let script = format!(
        "mount -t tmpfs -o size=4m,mode=711 none {0}\ncp -a {1}/. {0}",
        state.display(),
        kept.display()
    );
    let socket = fleet.dir().join("b.sock");
    let mut command = fleet.among_mounts("b", &script);
    command.arg("agent").arg("--socket").arg(&socket);
    fleet.launch_as("b", command);
    fleet.until("a and b are linked", |fleet| {
        let links = fleet.links("a");
        if links.contains("b") { Ok(()) } else { Err(format!("{links:?}")) }
    });
    let before = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);

    let inside = format!("/proc/{}/root{}", fleet.executor_pid("b"), state.display());
    let filler = Path::new(&inside).join("filler");
    let mut file = fs::File::create(&filler).expect("a file on the small disk");
    let mut piece = 64 * 1024;
    while piece > 0 {
        if file.write_all(&vec![0; piece]).is_err() {
            piece /= 2;
        }
    }
    drop(file);
    // The journal's last page takes some more.
    let full = fleet.until("b refuses", |fleet| {
        let ran = fleet.order("a", &["--all"], &fleet.counted(&[]));
        assert_eq!(ran.status("a"), "ok");
        let spawns = fleet.spawns(&ran.job);
        match ran.status("b").as_str() {
            "ok" => assert_eq!(spawns, once(&["a", "b"])),
            // The claim found room and the result did not: the host cannot say what came of it, and says so.
            "indeterminate" => assert!(ran.why("b").contains("cannot be recorded"), "{ran:?}"),
            "refused" => return Ok(ran),
            _ => panic!("{ran:?}"),
        }
        Err(format!("{ran:?}"))
    });
    assert!(full.why("b").contains("no space left"), "{full:?}");
    assert_eq!(fleet.spawns(&full.job), once(&["a"]));
    let at_b = |fleet: &Fleet, args: &[&str]| {
        let mut command = fleet.command("b");
        command.arg("--socket").arg(&socket).args(args);
        fleet.begin_command(command).finish()
    };
    let problems =
        |fleet: &Fleet| at_b(fleet, &["status", "-o", "json"]).ends(0).json()["problems"].to_string();
    // It keeps the results of orders that are given there, with their output.
    fleet.until("b's store has no room either", |fleet| {
        let run = ["run", "-H", "a", "--", "sh", "-c", "yes 0123456789abcdef | head -c 50000"];
        let output = at_b(fleet, &run);
        match output.code {
            0 => Err("the order is on b's disk".to_owned()),
            _ => Ok(output.ends(1).says(&["not on this host's disk", "No space left"])),
        }
    });
    assert!(problems(&fleet).contains("No space left"));

    fs::remove_file(&filler).expect("the filler");
    let ran = fleet.until("b takes orders again", |fleet| {
        let ran = fleet.order("a", &["--all"], &fleet.counted(&[]));
        if ran.output.code == 0 { Ok(ran) } else { Err(format!("{ran:?}")) }
    });
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
    assert_eq!(fleet.spawns(&full.job), once(&["a"]));
    assert_eq!(fleet.spawns(&before.job), once(&["a", "b"]));
    fleet.until("b has no problem any more", |fleet| match problems(fleet) {
        none if none == "[]" => Ok(()),
        some => Err(some),
    });
    // What it wrote then can be read again.
    fleet.kill9("b", Process::Mesh);
    fleet.until("b has read its store again", |fleet| {
        let status = at_b(fleet, &["status", "-o", "json"]);
        if status.code != 0 {
            return Err(status.stderr);
        }
        let status = status.json();
        assert_eq!(status["problems"], json!([]), "{status}");
        if status["counters"]["mesh_starts"] == 2 { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_full_disk_keeps_a_host_from_joining_and_the_token_is_still_good() {
    let name = "a_full_disk_keeps_a_host_from_joining_and_the_token_is_still_good";
    if !has_mounts(name) {
        return;
    }
    let fleet = Fleet::found("acme");
    let token = fleet.invite("a", &[]);
    let state = fleet.state("b");
    fs::create_dir(&state).expect("a mount point");
    let join = ["join", &token, "--host-name", "b", "--no-listen"];
    let script = format!("mount -t tmpfs -o size=4k,mode=711 none {}", state.display());
    let mut command = fleet.among_mounts("b", &script);
    command.args(join);
    fleet.begin_command(command).finish().ends(1).says(&["error: cannot use", "No space left"]);
    assert_eq!(fleet.states("a").len(), 1);
    fleet.muster("b", &join).ends(0);
}

/// A file with a script that says who runs it.
fn script(fleet: &Fleet, name: &str, head: &str) -> String {
    let path = fleet.dir().join(name);
    fs::write(&path, format!("{head}echo runs\n")).expect("a script");
    path.display().to_string()
}

#[test]
fn where_nothing_may_be_run_from_the_state_a_script_says_so_and_one_for_the_shell_runs() {
    let name = "where_nothing_may_be_run_from_the_state_a_script_says_so_and_one_for_the_shell_runs";
    if !has_mounts(name) {
        return;
    }
    let mut fleet = two();
    fleet.stop("b");
    let state = fleet.state("b");
    let mounts = format!("mount --bind {0} {0}\nmount -o remount,bind,noexec {0}", state.display());
    let mut command = fleet.among_mounts("b", &mounts);
    command.arg("agent");
    fleet.launch_as("b", command);
    fleet.all_see_all();
    let (own, shell) = (script(&fleet, "own", "#!/bin/sh\n"), script(&fleet, "shell", ""));
    let run = |script: &str| fleet.muster("a", &["run", "-H", "b", "--script", script]);
    run(&own).ends(126).says(&["not executable"]);
    assert_eq!(run(&shell).ends(0).text(), "runs\n");
    assert_eq!(fs::read_dir(state.join("executor/shipped")).expect("a directory").count(), 0);
}

#[test]
fn a_script_of_a_user_who_may_not_walk_the_state_says_so_and_leaves_nothing() {
    if !root() {
        let name = "a_script_of_a_user_who_may_not_walk_the_state_says_so_and_leaves_nothing";
        return unavailable(name, format_args!("not root"));
    }
    let fleet = two();
    let (own, shell) = (script(&fleet, "own", "#!/bin/sh\n"), script(&fleet, "shell", ""));
    let run = |script: &str| fleet.muster("a", &["run", "-H", "b", "--as", "nobody", "--script", script]);
    assert_eq!(run(&own).ends(0).text(), "runs\n");
    let executor = fleet.state("b").join("executor");
    mode(&executor, 0o700);
    run(&own).ends(126).says(&["not executable"]);
    // Here it is the shell that cannot read it.
    assert_ne!(run(&shell).code, 0);
    assert_eq!(fs::read_dir(executor.join("shipped")).expect("a directory").count(), 0);
    mode(&executor, 0o711);
    assert_eq!(run(&shell).ends(0).text(), "runs\n");
}
