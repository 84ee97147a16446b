use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::executor::{Account, for_tests as os};

struct Place {
    directory: tempfile::TempDir,
    user: Option<(u32, u32)>,
}

/// A directory with `inside` (the process's own), `outside` (world-writable, so that only Landlock keeps it
/// out) and `shown` (readable).
fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let user = rustix::process::geteuid().is_root().then(|| {
        let nobody = Account::lookup("nobody").unwrap().unwrap();
        (nobody.uid, nobody.gid)
    });
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["inside", "outside", "shown"] {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }
    Place { directory, user }
}

/// Confines a process of its own and runs `attempt` in it; what it says is wrong comes back.
fn confined(place: &Place, attempt: impl FnOnce(&Confined, &Path) -> Result<(), String>) {
    let root = place.directory.path();
    confined_to_read(place, &[root.join("shown"), root.join("missing"), "/proc".into()], attempt);
}

fn confined_to_read(
    place: &Place,
    readable: &[PathBuf],
    attempt: impl FnOnce(&Confined, &Path) -> Result<(), String>,
) {
    let log = place.directory.path().join("log");
    let mut file = File::create(&log).unwrap();
    let root = place.directory.path();
    let child = os::fork_into(|| {
        let confinement = Confinement { become_user: place.user, writable: &[root.join("inside")], readable };
        let result = match confine(&confinement) {
            Ok(done) => attempt(&done, root),
            Err(error) => Err(format!("not confined: {error}: {error:?}")),
        };
        match result {
            Ok(()) => 42,
            Err(text) => {
                let _ = file.write_all(text.as_bytes());
                1
            }
        }
    })
    .unwrap();
    let waited = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
    let (_, status) = waited.unwrap();
    assert_eq!(status.exit_status(), Some(42), "{status:?}: {}", fs::read_to_string(log).unwrap());
}

fn refused<T>(what: &str, result: std::io::Result<T>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(format!("{what}: refused by the wrong error {error:?}")),
        Ok(_) => Err(format!("{what}: allowed")),
    }
}

fn works<T, E: std::fmt::Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

#[test]
fn only_its_own_directory_can_be_written() {
    confined(&place(), |done, root| {
        works("write inside", fs::write(root.join("inside/new"), b"new"))?;
        works("make a directory inside", fs::create_dir(root.join("inside/directory")))?;
        works("rename inside", fs::rename(root.join("inside/new"), root.join("inside/directory/new")))?;
        works("remove inside", fs::remove_file(root.join("inside/directory/new")))?;
        works("read what is shown", fs::read(root.join("shown/file")))?;
        if done.landlock == Enforced::NotAtAll {
            return Ok(());
        }
        refused("write outside", fs::write(root.join("outside/new"), b"new"))?;
        refused("read outside", fs::read(root.join("outside/file")))?;
        refused("write what is shown", fs::write(root.join("shown/new"), b"new"))?;
        refused("write beside it", fs::write(root.join("new"), b"new"))?;
        refused("read a system file", fs::read("/etc/passwd"))?;
        refused("climb out", fs::write(root.join("inside/../outside/new"), b"new"))?;
        let link = rustix::fs::symlink(root.join("outside"), root.join("inside/link"));
        refused("make a symbolic link", link.map_err(Into::into))
    });
}

#[test]
fn what_proc_shows_is_a_process_without_privileges() {
    let place = place();
    let user = place.user;
    confined(&place, |done, _| {
        let mut status = String::new();
        works(
            "read /proc",
            File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status)),
        )?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            if field(name) != ["0000000000000000"] {
                return Err(format!("{name} {:?}", field(name)));
            }
        }
        if user.is_some() && (!done.bounding_set_empty || field("CapBnd:") != ["0000000000000000"]) {
            return Err(format!("bounding set {:?}", field("CapBnd:")));
        }
        if (field("NoNewPrivs:"), field("Seccomp:")) != (vec!["1".into()], vec!["2".into()]) {
            return Err(status);
        }
        if let Some((uid, gid)) = user {
            let ids = (vec![uid.to_string(); 4], vec![gid.to_string(); 4], vec![]);
            if (field("Uid:"), field("Gid:"), field("Groups:")) != ids {
                return Err(status);
            }
        }
        Ok(())
    });
}

#[test]
fn nothing_is_executed_traced_or_signalled_and_no_right_comes_back() {
    confined(&place(), |_, root| {
        refused("run a program", Command::new("/bin/true").status())?;
        refused("execute", Err::<(), _>(os::exec(c"/bin/true", &[], &[]).into()))?;
        refused("fork", os::fork_into(|| 0))?;
        let root_id = Uid::ROOT;
        refused(
            "become root",
            rustix::thread::set_thread_res_uid(root_id, root_id, root_id).map_err(Into::into),
        )?;
        let parent = rustix::process::getppid().ok_or("no parent")?;
        refused("signal the parent", rustix::process::test_kill_process(parent).map_err(Into::into))?;
        refused("change its limits", {
            let limit = rustix::process::Rlimit { current: Some(9), maximum: Some(9) };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).map_err(Into::into)
        })?;
        refused("leave its directory's root", rustix::process::chroot(root).map_err(Into::into))?;
        // Landlock does not guard permissions: one of the same user could lay a file open.
        let open = fs::Permissions::from_mode(0o777);
        refused("change permissions by name", fs::set_permissions(root.join("outside/file"), open.clone()))?;
        let file = works("create inside", File::create(root.join("inside/new")))?;
        works("change permissions of an open file", file.set_permissions(open))?;
        refused("open a packet socket", {
            let family = rustix::net::AddressFamily::PACKET;
            rustix::net::socket(family, rustix::net::SocketType::RAW, None).map_err(Into::into)
        })
    });
}

#[test]
fn sockets_and_threads_work() {
    confined(&place(), |_, root| {
        let listener = works("listen", std::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = works("address", listener.local_addr())?;
        let thread = works(
            "a thread",
            std::thread::Builder::new().name("peer".into()).spawn(move || {
                std::net::TcpStream::connect(address).and_then(|mut stream| stream.write_all(b"hello"))
            }),
        )?;
        let (mut stream, _) = works("accept", listener.accept())?;
        let mut text = String::new();
        works("read", stream.read_to_string(&mut text))?;
        works("the peer", works("join", thread.join())?)?;
        works("UDP", std::net::UdpSocket::bind("127.0.0.1:0"))?;
        let _named =
            works("a named socket", std::os::unix::net::UnixListener::bind(root.join("inside/socket")))?;
        works("a connection to it", std::os::unix::net::UnixStream::connect(root.join("inside/socket")))?;
        works(
            "netlink",
            rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW, None),
        )?;
        let caught = std::thread::spawn(|| std::panic::resume_unwind(Box::new(()))).join();
        if text != "hello" || caught.is_ok() {
            return Err(format!("{text:?}, {caught:?}"));
        }
        Ok(())
    });
}

#[cfg(feature = "agent")]
mod agent {
    use std::time::Duration;

    use futures::StreamExt;
    use libp2p::swarm::SwarmEvent;
    use libp2p::{Multiaddr, SwarmBuilder, mdns, noise, tcp, yamux};

    use super::{super::super::mesh::READABLE, *};
    use crate::host::{Collector as _, FACET_DEB, FACETS, Machine, Paths, Progress, Watch};

    #[test]
    fn a_store_opens_and_writes_in_its_directory() {
        confined(&place(), |_, root| {
            let path = root.join("inside/store");
            for round in 0..2_u8 {
                let store = works("open the store", sled::open(&path))?;
                let before = works("insert", store.insert(b"key", &[round]))?;
                if before.map(|value| value.to_vec()) != round.checked_sub(1).map(|last| vec![last]) {
                    return Err(format!("round {round} lost what was written"));
                }
                works("flush", store.flush())?;
            }
            Ok(())
        });
    }

    /// With what the mesh process may read, the machine looks as it does without limits, and changes are seen.
    #[test]
    fn the_machine_is_looked_at_and_watched() {
        let look =
            |facet| Machine::new(Paths::with_dpkg("/var/lib/dpkg")).collect(facet, &Progress::default());
        let unlimited = FACETS.map(look);
        let readable: Vec<PathBuf> =
            READABLE.iter().map(PathBuf::from).chain(["/var/lib/dpkg".into()]).collect();
        confined_to_read(&place(), &readable, |_, root| {
            for before in &unlimited {
                let (now, before) = (look(before.facet), before.clone());
                for (now, before) in now.tables?.tables.iter().zip(&before.tables?.tables) {
                    // A mount may be where this user cannot go to ask for its size.
                    if now.name != "mounts" && now != before {
                        return Err(format!("{now:?} instead of {before:?}"));
                    }
                }
                if now.problems != before.problems {
                    return Err(format!("{:?}", now.problems));
                }
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            works("the runtime", runtime)?.block_on(async {
                let dpkg = root.join("inside");
                let mut watch = Watch::start(&Paths::with_dpkg(&dpkg));
                let _all = watch.next().await;
                if let Some(problem) = watch.problem() {
                    return Err(problem.to_owned());
                }
                works("replace the status", fs::rename(dpkg.join("file"), dpkg.join("status")))?;
                let seen = async { while !watch.next().await.contains(&FACET_DEB) {} };
                let waited = tokio::time::timeout(Duration::from_secs(60), seen).await;
                waited.map_err(|_| "a change was not seen".to_owned())
            })
        });
    }

    #[test]
    fn a_swarm_listens_dials_and_looks_around() {
        confined(&place(), |_, _| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let within = Duration::from_secs(120);
            let meet = async {
                match tokio::time::timeout(within, meet()).await {
                    Ok(met) => met,
                    Err(_) => Err("the swarms did not meet".to_owned()),
                }
            };
            works("the runtime", runtime)?.block_on(meet)
        });
    }

    fn swarm() -> Result<libp2p::Swarm<mdns::tokio::Behaviour>, String> {
        let builder = SwarmBuilder::with_new_identity().with_tokio();
        let builder = works(
            "TCP",
            builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default),
        )?;
        let builder = builder.with_behaviour(|key| {
            Ok(mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id())?)
        });
        Ok(works("mDNS", builder)?.build())
    }

    async fn meet() -> Result<(), String> {
        let (mut first, mut second) = (swarm()?, swarm()?);
        let anywhere: Multiaddr = works("address", "/ip4/127.0.0.1/tcp/0".parse())?;
        works("listen", first.listen_on(anywhere))?;
        let mut met = 0;
        while met < 2 {
            let (event, from_first) = tokio::select! {
                event = first.select_next_some() => (event, true),
                event = second.select_next_some() => (event, false),
            };
            match event {
                SwarmEvent::NewListenAddr { address, .. } if from_first => {
                    works("dial", second.dial(address))?;
                }
                SwarmEvent::ConnectionEstablished { .. } => met += 1,
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(format!("{error:?}")),
                SwarmEvent::ListenerError { error, .. } => return Err(format!("{error:?}")),
                _ => {}
            }
        }
        Ok(())
    }
}
