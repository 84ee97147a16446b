//! A real agent, and as many members besides as are wanted, which only their entries show to be there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use muster::{
    authority::{Enrolment, HostCertificate, HostKeys, Invitation},
    control::{Anchor, Client, Reply, Request, fleet},
    identity::{Executor, FleetId, JoinToken, Purpose, SealPublic, SecretKey, Signed, Stream, Transport},
    replica::{Entry, FacetHash, FacetRef, Head, Item, Packed, Replica, choose_base},
    time::{Hlc, Timestamp},
    wire::Bytes,
};

const WITHIN: Duration = Duration::from_secs(120);
/// Entries, and bytes of them, that are handed over at once.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 512 * 1024;

/// An agent with its directory; both go with it.
pub(crate) struct Agent {
    dir: PathBuf,
    child: Child,
}

impl Agent {
    /// Founds a fleet of one. `dpkg` is the package database of its host.
    pub(crate) fn found(dpkg: &Path) -> Self {
        let dir = std::env::temp_dir().join(format!("muster-bench-members-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let words = ["-q", "init", "bench", "--host-name", "agent", "--listen", "127.0.0.1:0"];
        let output = command(&dir).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let settings = dir.join("state/agent.toml");
        let told = fs::read_to_string(&settings).unwrap_or_default();
        let rest: Vec<&str> = told.lines().filter(|line| !line.starts_with("dpkg ")).collect();
        fs::write(&settings, format!("dpkg = \"{}\"\n{}\n", dpkg.display(), rest.join("\n"))).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = command(&dir).arg("agent").stderr(log).spawn().unwrap();
        let agent = Self { dir, child };
        let started = Instant::now();
        while agent.ask(&["-q", "status"]).is_none() {
            assert!(started.elapsed() < WITHIN, "the agent does not start");
            sleep(Duration::from_millis(20));
        }
        agent
    }

    /// What a command line says, if it succeeds.
    pub(crate) fn ask(&self, words: &[&str]) -> Option<String> {
        let output = command(&self.dir).args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(&self.dir.join("state/agent.sock")).await.unwrap()
    }

    /// What the fleet holds.
    pub(crate) async fn replica(&self, client: &mut Client) -> Replica {
        let anchor = Anchor::find(client, &self.dir.join("operators")).unwrap();
        fleet(client, anchor.chain().clone(), true).await.unwrap().0
    }

    /// A token for new members; one joins by it, so that the fleet knows the invitation by heart.
    pub(crate) fn invite(&self) -> JoinToken {
        let text = self.ask(&["-q", "invite", "--uses", "9999"]).unwrap();
        let state = self.dir.join("first");
        let words = ["-q", "join", text.trim(), "--host-name", "first", "--listen", "127.0.0.1:0"];
        let joined = command_of(&self.dir, &state).args(words).output().unwrap();
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        JoinToken::from_text(&text).unwrap()
    }

    /// Memory of the executor and of the mesh process, in MiB.
    pub(crate) fn pss(&self) -> Vec<f64> {
        let pss = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
            line.trim().split(' ').next().unwrap().parse::<f64>().unwrap() / 1024.0
        };
        self.pids().into_iter().map(pss).collect()
    }

    /// The executor and the mesh process.
    fn pids(&self) -> Vec<u32> {
        let executor = self.child.id();
        let children = fs::read_to_string(format!("/proc/{executor}/task/{executor}/children"));
        let mesh = children.unwrap_or_default();
        [executor].into_iter().chain(mesh.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-INT").arg(self.child.id().to_string()).output();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn command(dir: &Path) -> Command {
    command_of(dir, &dir.join("state"))
}

fn command_of(dir: &Path, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command
        .arg("--state")
        .arg(state)
        .env("MUSTER_OPERATORS", dir.join("operators"))
        .env("HOME", dir)
        .env_remove("MUSTER_LOG")
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// The key number `number` of its purpose.
fn key<P: Purpose>(number: usize) -> SecretKey<P> {
    SecretKey::from_seed(blake3::hash(format!("{} {number}", P::NAME).as_bytes()).as_bytes())
}

/// Members made here, in the order in which they publish.
pub(crate) struct Members<'a> {
    pub(crate) fleet: FleetId,
    pub(crate) replica: &'a mut Replica,
    /// What the agent has not got yet.
    pub(crate) items: Vec<Item>,
    pub(crate) now: Timestamp,
    /// Which of the facets that were published last are no differences to others.
    pub(crate) bases: Vec<bool>,
}

impl Members<'_> {
    /// A member more.
    pub(crate) fn enrol(&mut self, number: usize, token: &JoinToken) {
        let stream = key::<Stream>(number);
        let by_it = |invitation: &&Signed<Invitation>| invitation.body().token == token.key.public();
        let invitation =
            self.replica.authority().members().map(|host| host.enrolled().invitation()).find(by_it).unwrap();
        let keys = HostKeys {
            stream: stream.public(),
            transport: key::<Transport>(number).public(),
            executor: key::<Executor>(number).public(),
            seal: SealPublic(*blake3::hash(&number.to_le_bytes()).as_bytes()),
        };
        let enrolment = Enrolment { name: format!("m{number:04}"), tags: Vec::new(), keys, at: self.now };
        let certificate = HostCertificate {
            invitation: Bytes::from(invitation.bytes()),
            enrolment: Bytes::from(Signed::sign(self.fleet, &token.key, enrolment).bytes()),
        };
        let certificate = Signed::sign(self.fleet, &stream, certificate);
        self.take(Item::bare(certificate.bytes()));
    }

    /// A member publishes facets, by name in order; says how long its head is, and each facet as it travels.
    pub(crate) fn publish(&mut self, number: usize, facets: &[(&str, Vec<u8>)]) -> (usize, Vec<usize>) {
        let refer = |(name, bytes): &(&str, Vec<u8>)| FacetRef {
            name: (*name).to_owned(),
            hash: FacetHash::of(bytes),
            bytes: u32::try_from(bytes.len()).unwrap(),
            at: Some(self.now),
        };
        let head = Head {
            epoch: 1,
            sequence: 1,
            previous: None,
            at: Hlc::default().next(self.now),
            facets: facets.iter().map(refer).collect(),
            audit: None,
        };
        let pack = |(_, bytes): &(&str, Vec<u8>)| choose_base(bytes, &self.replica.near(bytes));
        let packed: Vec<Packed> = facets.iter().map(pack).collect();
        self.bases = packed.iter().map(|packed| packed.base().is_none()).collect();
        let weights = packed.iter().map(Packed::weight).collect();
        let head = Signed::sign(self.fleet, &key::<Stream>(number), head);
        self.take(Item { entry: Bytes::from(head.bytes()), facets: packed });
        (head.bytes().len(), weights)
    }

    fn take(&mut self, item: Item) {
        let entry = Entry::verify(&item.entry.0, self.fleet).unwrap();
        self.replica.merge(entry, &item.facets).unwrap();
        self.items.push(item);
    }

    /// Hands over to the agent what it has not got yet.
    pub(crate) async fn submit(&mut self, client: &mut Client) {
        let mut rest = std::mem::take(&mut self.items).into_iter().peekable();
        while rest.peek().is_some() {
            let (mut items, mut bytes) = (Vec::new(), 0);
            while let Some(item) = rest.next_if(|item| {
                items.is_empty() || (items.len() < BATCH && bytes + item.weight() < BATCH_BYTES)
            }) {
                bytes += item.weight();
                items.push(item);
            }
            let reply = client.ask(&Request::Submit { items }, WITHIN).await.unwrap();
            assert!(matches!(reply, Reply::Accepted {}), "{reply:?}");
        }
    }
}
