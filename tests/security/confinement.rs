//! What the processes of an agent can do, read from `/proc` and tried.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::{
    fleet::{Fleet, Reach},
    support::unavailable,
};

fn status(pid: u64) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status in /proc");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// What each open descriptor is, without numbers.
fn descriptors(pid: u64) -> Vec<(String, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors in /proc");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?.display().to_string();
            Some((path.file_name()?.to_str()?.to_owned(), target))
        })
        .collect()
}

/// Inodes of the network sockets of this machine.
fn inet() -> BTreeSet<String> {
    ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| {
            let inodes: Vec<String> = table
                .lines()
                .skip(1)
                .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .collect();
            inodes
        })
        .collect()
}

fn socket(target: &str) -> Option<&str> {
    target.strip_prefix("socket:[")?.strip_suffix(']')
}

#[test]
fn the_mesh_process_has_no_rights_and_the_executor_no_network() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    for host in ["a", "b"] {
        let said = fleet.status(host);
        let (mesh, executor) =
            (said["mesh_pid"].as_u64().expect("a pid"), said["executor_pid"].as_u64().expect("a pid"));
        let (of_mesh, of_executor) = (status(mesh), status(executor));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(of_mesh[set], "0000000000000000", "{set}");
        }
        assert_eq!((of_mesh["NoNewPrivs"].as_str(), of_mesh["Seccomp"].as_str()), ("1", "2"));
        let threads: u32 = of_executor["Threads"].parse().expect("a number");
        assert_eq!(threads, 1, "threads of the executor");
        if rustix::process::geteuid().is_root() {
            assert_eq!(of_mesh["CapBnd"], "0000000000000000");
            assert_ne!(of_mesh["Uid"], of_executor["Uid"]);
            assert!(of_mesh["Uid"].split_whitespace().all(|uid| uid != "0"), "{}", of_mesh["Uid"]);
            assert_eq!(of_mesh["Groups"], "");
        } else {
            unavailable("the mesh process is another user", format_args!("not root"));
        }
        // Not to be looked into by who is the same user: what is in /proc belongs to root then.
        let owner =
            std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{mesh}/mem")).expect("mem"));
        assert_eq!(owner, 0, "the mesh process can be traced by its own user");

        let inet = inet();
        let of_executor = descriptors(executor);
        for (number, target) in &of_executor {
            let open = socket(target).is_some_and(|inode| inet.contains(inode));
            assert!(!open, "the executor has a network socket: {number} is {target}");
        }
        let state = fleet.state(host).display().to_string();
        let log = fleet.dir().join(format!("{host}.log")).display().to_string();
        let of_mesh = descriptors(mesh);
        let mut kinds = BTreeMap::new();
        for (number, target) in &of_mesh {
            let kind = if socket(target).is_some() {
                "socket"
            } else if target.starts_with("anon_inode:") || target.starts_with("pipe:") {
                "events"
            } else if target == "/dev/null" || *target == log {
                "standard"
            } else if target.starts_with(&format!("{state}/mesh/")) {
                "its own store"
            } else {
                panic!("the mesh process has {number} open: {target}");
            };
            *kinds.entry(kind).or_insert(0) += 1;
        }
        eprintln!("{host}: the mesh process has {kinds:?}; the executor {} descriptors", of_executor.len());
    }
}

#[test]
fn another_process_of_the_mesh_user_can_neither_read_its_memory_nor_the_executors_files() {
    if !rustix::process::geteuid().is_root() {
        return unavailable("the mesh user is tried from outside", format_args!("not root"));
    }
    let fleet = Fleet::found("acme");
    let said = fleet.status("a");
    let mesh = said["mesh_pid"].as_u64().expect("a pid");
    let uid: u32 = status(mesh)["Uid"].split_whitespace().next().expect("a uid").parse().expect("a uid");
    let state = fleet.state("a").display().to_string();
    let tries = [
        format!("/proc/{mesh}/mem"),
        format!("/proc/{mesh}/environ"),
        format!("{state}/executor/executor.key"),
        format!("{state}/executor/claims"),
        format!("{state}/executor/trust"),
        format!("{}/op/acme/operator.key", fleet.dir().display()),
        format!("{}/acme-recovery.txt", fleet.dir().display()),
    ];
    for path in tries {
        let mut command = std::process::Command::new("cat");
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, uid);
        let output = command.arg(&path).output().expect("cat starts");
        assert!(!output.status.success() && output.stdout.is_empty(), "the mesh user reads {path}");
    }
}

#[test]
fn a_command_has_three_descriptors_its_own_session_and_a_clean_environment() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    // By built-in words alone, so that what is counted is the command's own.
    let script = "for fd in /proc/$$/fd/*; do [ -e $fd ] && echo \"fd ${fd##*/}\"; done; \
                  read -r stat < /proc/$$/stat; set -- $stat; echo \"session $1 $6\"; \
                  while read -r line; do case $line in Cap*|NoNew*|Groups*|Uid*) echo \"$line\";; esac; done < /proc/$$/status; \
                  env";
    let ran = fleet.order("a", &["--all"], &["sh", "-c", script]).ends(0);
    for host in ["a", "b"] {
        let shown = fleet.muster("a", &["job", "output", &ran.job, host]).ends(0).text();
        let fds: BTreeSet<&str> = shown.lines().filter_map(|line| line.strip_prefix("fd ")).collect();
        assert_eq!(fds, ["0", "1", "2"].into(), "{shown}");
        let session: Vec<&str> = shown
            .lines()
            .find_map(|line| line.strip_prefix("session "))
            .expect("a session")
            .split(' ')
            .collect();
        assert_eq!(session[0], session[1], "the command does not lead its session: {shown}");
        let environment: BTreeSet<&str> =
            shown.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name)).collect();
        let allowed =
            ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "MUSTER_JOB", "PWD", "SHLVL", "_", "OLDPWD"];
        let odd: Vec<_> = environment.iter().filter(|name| !allowed.contains(*name)).collect();
        assert!(odd.is_empty(), "{odd:?} in the environment: {shown}");
    }
}

#[test]
fn a_command_as_nobody_has_dropped_everything_and_as_no_such_user_is_refused() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    let refused = fleet.order("a", &["--all", "--as", "nosuchuser"], &fleet.counted(&[]));
    assert_ne!(refused.output.code, 0);
    assert_eq!(refused.of_status("refused"), ["a", "b"].map(str::to_owned).into(), "{refused:#?}");
    assert!(refused.why("b").contains("nosuchuser"), "{refused:#?}");
    assert!(fleet.all_spawns().is_empty());
    if !rustix::process::geteuid().is_root() {
        return unavailable("ids are dropped before the command", format_args!("not root"));
    }
    let script = "while read -r line; do case $line in Cap*|Groups*|Uid*|Gid*) echo \"$line\";; esac; done < /proc/$$/status; \
                  cat /etc/shadow; echo \"shadow $?\"";
    let ran = fleet.order("a", &["--all", "--as", "nobody"], &["sh", "-c", script]).ends(0);
    let nobody = fs::read_to_string("/etc/passwd").expect("users");
    let uid = nobody
        .lines()
        .find_map(|line| line.strip_prefix("nobody:x:")?.split(':').next().map(str::to_owned))
        .expect("nobody");
    for host in ["a", "b"] {
        let shown = fleet.muster("a", &["job", "output", &ran.job, host]).ends(0).text();
        let field = |name: &str| {
            let line = shown.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name}: {shown}")).trim().to_owned()
        };
        assert_eq!(field("Uid:"), [uid.as_str(); 4].join("\t"));
        assert!(field("Gid:").split_whitespace().all(|gid| gid != "0"), "{shown}");
        assert!(field("Groups:").split_whitespace().all(|gid| gid != "0"), "{shown}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{shown}");
        }
        assert_ne!(field("shadow "), "0", "{shown}");
    }
}

/// The namespaces of a process, by their kind.
fn namespaces(pid: u64) -> BTreeMap<String, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/ns")).expect("namespaces in /proc");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?.display().to_string();
            Some((path.file_name()?.to_str()?.to_owned(), target))
        })
        .collect()
}

/// Who owns what is in /proc of a process: root, where it may not be dumped or traced by its own user.
fn owner(pid: u64, file: &str) -> u32 {
    let about = fs::metadata(format!("/proc/{pid}/{file}")).expect("it is in /proc");
    std::os::unix::fs::MetadataExt::uid(&about)
}

#[test]
fn the_executor_has_what_it_was_started_with_and_no_more_and_the_mesh_process_has_no_namespace_of_its_own() {
    let fleet = Fleet::found("acme");
    let said = fleet.status("a");
    let (mesh, executor) =
        (said["mesh_pid"].as_u64().expect("a pid"), said["executor_pid"].as_u64().expect("a pid"));
    let me = u64::from(std::process::id());
    let (of_me, of_executor, of_mesh) = (status(me), status(executor), status(mesh));
    // The executor runs commands as other users: it keeps its rights, and gains none.
    for field in ["Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(of_executor[field], of_me[field], "{field} of the executor");
    }
    assert_eq!(
        (of_executor["CapInh"].as_str(), of_executor["CapAmb"].as_str()),
        ("0000000000000000", "0000000000000000")
    );
    let (mine, executors, meshs) = (namespaces(me), namespaces(executor), namespaces(mesh));
    assert_eq!(executors, mine, "the executor left a namespace");
    // A user namespace of its own would give it back what it dropped.
    assert_eq!(meshs["user"], mine["user"], "the mesh process has a user namespace of its own");
    let own: Vec<&String> =
        meshs.iter().filter(|(kind, at)| mine.get(*kind) != Some(*at)).map(|(kind, _)| kind).collect();
    eprintln!("namespaces of the mesh process's own: {own:?}");
    for file in ["mem", "environ"] {
        assert_eq!(owner(mesh, file), 0, "what the mesh process holds can be read by its user: {file}");
    }
    let threads: u32 = of_mesh["Threads"].parse().expect("a number");
    assert!(threads <= 8, "{threads} threads of the mesh process");
}

#[test]
fn an_agent_of_a_user_who_is_not_root_is_confined_as_well() {
    if !rustix::process::geteuid().is_root() {
        // Every other test is this one then.
        return unavailable("an agent of another user is looked at", format_args!("not root"));
    }
    let nobody = fs::read_to_string("/etc/passwd").expect("users");
    let id = |at: usize| {
        let line = nobody.lines().find(|line| line.starts_with("nobody:")).expect("nobody");
        line.split(':').nth(at).and_then(|id| id.parse::<u32>().ok()).expect("an id")
    };
    let (uid, gid) = (id(2), id(3));
    let mut fleet = Fleet::found("acme");
    assert_eq!(fleet.stop("a"), 0);
    // The whole fleet is that user's, as if it had been founded by them.
    let chown =
        std::process::Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(fleet.dir()).status();
    assert!(chown.expect("chown runs").success());
    let mut command = fleet.command("a");
    command.arg("agent");
    std::os::unix::process::CommandExt::uid(&mut command, uid);
    std::os::unix::process::CommandExt::gid(&mut command, gid);
    fleet.launch_as("a", command);
    let mut asked = fleet.command("a");
    asked.args(["status", "-o", "json"]);
    std::os::unix::process::CommandExt::uid(&mut asked, uid);
    std::os::unix::process::CommandExt::gid(&mut asked, gid);
    let said: serde_json::Value = fleet.until("the agent answers its user", |_| {
        let output = asked.output().expect("muster runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    });
    let mesh = said["mesh_pid"].as_u64().unwrap_or_else(|| panic!("a pid: {said}"));
    let executor = said["executor_pid"].as_u64().expect("a pid");
    let (of_mesh, of_executor) = (status(mesh), status(executor));
    for of in [&of_mesh, &of_executor] {
        assert!(of["Uid"].split_whitespace().all(|shown| shown == uid.to_string()), "{}", of["Uid"]);
        assert_eq!(of["CapEff"], "0000000000000000");
        assert_eq!(of["CapPrm"], "0000000000000000");
    }
    assert_eq!((of_mesh["NoNewPrivs"].as_str(), of_mesh["Seccomp"].as_str()), ("1", "2"));
    // The same user, and all the same it cannot look into its parent's or its own memory by /proc.
    for process in [mesh, executor] {
        assert_eq!(owner(process, "mem"), 0, "it can be traced by its own user");
    }
    let mut cat = std::process::Command::new("cat");
    std::os::unix::process::CommandExt::uid(&mut cat, uid);
    std::os::unix::process::CommandExt::gid(&mut cat, gid);
    let output = cat.arg(format!("/proc/{executor}/environ")).output().expect("cat starts");
    assert!(!output.status.success(), "another process of that user reads the executor's environment");
    assert_eq!(namespaces(mesh)["user"], namespaces(u64::from(std::process::id()))["user"]);
    assert_eq!(fleet.stop("a"), 0);
}
