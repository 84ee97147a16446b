//! Operators whose key is not a file of this program's: OpenSSH's own agent and its own key files, and a token
//! that the test plays from the specification, since there is no hardware and no such provider to be installed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    thread,
    time::Instant,
};

use ed25519_dalek::{Signer as _, SigningKey};
use muster::identity::ssh::{OperatorKey, SK_ED25519, SshReader, put_string};
use sha2::{Digest as _, Sha256};

use crate::{
    fleet::{DEADLINE, Fleet, Reach},
    schema,
};

/// OpenSSH's agent. It ends with the test.
struct SshAgent {
    child: Child,
    socket: PathBuf,
}

impl SshAgent {
    /// Starts `program`, which is `ssh-agent` by some name.
    fn start(program: &Path, socket: PathBuf) -> Self {
        let mut command = Command::new(program);
        command.arg("-D").arg("-a").arg(&socket).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().expect("ssh-agent (Debian: openssh-client)");
        let start = Instant::now();
        while !socket.exists() {
            assert!(start.elapsed() < DEADLINE, "ssh-agent does not listen");
            thread::yield_now();
        }
        Self { child, socket }
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let _gone = fs::remove_file(&self.socket);
    }
}

/// Runs one of OpenSSH's programs to its end.
#[track_caller]
fn ssh(dir: &Path, agent: &Path, line: &[&str]) -> String {
    let output = Command::new(line[0])
        .args(&line[1..])
        .current_dir(dir)
        .env("SSH_AUTH_SOCK", agent)
        .stdin(Stdio::null())
        .output()
        .expect("OpenSSH (Debian: openssh-client)");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line:?}: {text}");
    text
}

/// A fleet whose operator's key is in the agent at `program`, and that agent.
fn with_agent(program: &Path) -> (Fleet, SshAgent) {
    let mut fleet = Fleet::empty();
    let agent = SshAgent::start(program, fleet.dir().join("ssh"));
    let dir = fleet.dir().to_owned();
    ssh(
        &dir,
        &agent.socket,
        &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ana@laptop", "-f", "id"],
    );
    ssh(&dir, &agent.socket, &["ssh-add", "-q", "id"]);
    // Only the agent has it now.
    fs::remove_file(dir.join("id")).expect("the key");
    fleet.set("SSH_AUTH_SOCK", Some(agent.socket.as_os_str()));
    (fleet, agent)
}

fn real() -> &'static Path {
    Path::new("/usr/bin/ssh-agent")
}

#[test]
fn an_order_that_ssh_agent_signed_runs_and_ssh_keygen_verifies_it() {
    let (mut fleet, agent) = with_agent(real());
    let dir = fleet.dir().to_owned();
    let listed = fleet.muster("a", &["key", "ls", "-o", "json"]).ends(0).json();
    assert_eq!(listed["items"][0]["comment"], "ana@laptop");
    assert_eq!(listed["items"][0]["fleet"], serde_json::Value::Null);
    let fingerprint = listed["items"][0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert!(ssh(&dir, &agent.socket, &["ssh-keygen", "-lf", "id.pub"]).contains(&fingerprint));
    fleet.init("acme", Reach::Listens, &["--operator-key", "ana@laptop", "--person", "ana"]).ends(0);
    assert!(!fleet.operators().join("acme/operator.key").exists());
    fleet.start("a");
    fleet.join("b", &["role=web"], Reach::Listens);
    fleet.muster("a", &["host", "tag", "b", "env=prod", "--yes"]).ends(0);
    let ran = fleet.order("a", &["-t", "tag.env = prod"], &["echo", "by an agent"]).ends(0);
    assert_eq!(ran.summary["counts"]["ok"], 1, "{ran:?}");

    // What was signed is proved without this program, and no other bytes are.
    let exported = fleet.muster("a", &["key", "export", &ran.job, "proof", "-o", "json"]).ends(0).json();
    let promised = fleet.muster("a", &["schema", "key-export"]).ends(0).json();
    assert_eq!(schema::fault(&promised, &exported), None);
    let text = |key: &str| exported[key].as_str().expect("text").to_owned();
    let check = ["sh".to_owned(), "-c".to_owned(), text("check")];
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    assert!(ssh(&dir, &agent.socket, &check).contains("Good \"signed@muster\" signature for ana"));
    let signed = fs::read(dir.join(text("signed"))).expect("what was signed");
    assert!(signed.windows(11).any(|part| part == b"by an agent"));
    let other: Vec<u8> = signed.iter().map(|byte| if *byte == b'b' { b'B' } else { *byte }).collect();
    fs::write(dir.join(text("signed")), other).expect("other bytes");
    let refused = Command::new("sh").args(["-c", check[2]]).current_dir(&dir).output().expect("sh");
    assert!(!refused.status.success());

    // An agent that no longer has the key, and none at all: nothing is signed, and it is said why.
    ssh(&dir, &agent.socket, &["ssh-add", "-q", "-D"]);
    let run = ["run", "-H", "b", "--", "true"];
    fleet.muster("a", &run).ends(4).says(&["does not have the key SHA256:", "ssh-add"]);
    fleet.set("SSH_AUTH_SOCK", None);
    fleet.muster("a", &run).ends(4).says(&["SSH_AUTH_SOCK names none"]);
    fleet.muster("a", &["hosts"]).ends(0);
}

#[test]
fn a_forwarded_agent_is_refused_unless_told() {
    // What listens on a forwarded socket goes by this name.
    let names = tempfile::tempdir().expect("a directory");
    let sshd = names.path().join("sshd-session");
    std::os::unix::fs::symlink(real(), &sshd).expect("a link");
    let (mut fleet, _agent) = with_agent(&sshd);
    let refused = fleet.init("acme", Reach::Listens, &["--operator-key", "ana@laptop"]).ends(4);
    refused.says(&[
        "is forwarded from another machine (sshd-session listens there)",
        "MUSTER_FORWARDED_AGENT=yes",
    ]);
    assert!(!fleet.operators().join("acme").exists());
    fleet.set("MUSTER_FORWARDED_AGENT", Some("yes".as_ref()));
    fleet.init("acme", Reach::Listens, &["--operator-key", "ana@laptop"]).ends(0);
    fleet.start("a");
    fleet.order("a", &["-H", "a"], &["true"]).ends(0);
    fleet.set("MUSTER_FORWARDED_AGENT", Some("no".as_ref()));
    fleet.muster("a", &["run", "-H", "a", "--", "true"]).ends(4).says(&["is forwarded"]);
}

#[test]
fn a_key_file_with_a_passphrase_is_opened_once_a_command_and_never_shown() {
    let mut fleet = Fleet::empty();
    let dir = fleet.dir().to_owned();
    let nobody = dir.join("nobody");
    ssh(&dir, &nobody, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "horse battery", "-f", "id"]);
    // Whoever pipes it has one line, and more than one signature is made.
    fs::write(dir.join("line"), "horse battery\n").expect("a line");
    let with_descriptor = |fleet: &Fleet, args: &[&str], passphrase: &str| {
        let inner = fleet.command("a");
        let mut command = Command::new("sh");
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("MUSTER_PASSPHRASE_FD", "3").current_dir(&dir).stdin(Stdio::null());
        command
            .arg("-c")
            .arg(format!("printf '%s\\n' '{passphrase}' | {{ exec \"$@\" 3<&0 </dev/null; }}"))
            .arg("sh");
        command.arg(inner.get_program()).args(inner.get_args()).args(args);
        fleet.begin_command(command).finish()
    };
    let init = ["init", "acme", "--host-name", "a", "--listen", "127.0.0.1:0", "--operator-key", "id"];
    fleet
        .init("acme", Reach::Listens, &["--operator-key", "id"])
        .ends(4)
        .says(&["there is no terminal to ask"]);
    assert!(
        !fleet.operators().exists() && !dir.join("acme-recovery.txt").exists(),
        "nothing that counts was made"
    );
    with_descriptor(&fleet, &init, "horse battery").ends(0);
    fleet.start("a");
    let run = ["run", "-H", "a", "--", "echo", "done"];
    let ran = with_descriptor(&fleet, &run, "horse battery").ends(0);
    assert_eq!(ran.text(), "done\n");
    with_descriptor(&fleet, &run, "wrong").ends(4).says(&["the passphrase does not open it"]);

    // On a terminal, which `script` is.
    let inner = fleet.command("a");
    let words: Vec<String> = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .chain(run.iter().map(|word| (*word).to_owned()))
        .collect();
    let mut script = Command::new("script");
    script.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.args(["-qec", &words.join(" "), "/dev/null"]).current_dir(&dir);
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script (bsdutils)");
    let mut shown = BufReader::new(script.stdout.take().expect("its output"));
    let mut text = Vec::new();
    shown.read_until(b':', &mut text).expect("a question");
    script.stdin.as_mut().expect("its input").write_all(b"horse batterx\x7fy\n").expect("typing");
    shown.read_to_end(&mut text).expect("the rest");
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(script.wait().expect("script").success(), "{text}");
    assert!(text.starts_with("passphrase for ") && text.contains("done"), "{text}");
    assert!(!text.contains("horse") && !text.contains("batter"), "{text}");
}

/// A token behind an agent, after OpenSSH's `PROTOCOL.u2f`.
struct Token {
    key: SigningKey,
    flags: AtomicU8,
    counter: AtomicU32,
}

const APPLICATION: &str = "ssh:muster";

impl Token {
    fn new() -> Arc<Self> {
        let key = SigningKey::from_bytes(&[42; 32]);
        Arc::new(Self { key, flags: AtomicU8::new(1), counter: AtomicU32::new(0) })
    }

    fn public(&self) -> OperatorKey {
        let point = self.key.verifying_key().to_bytes();
        OperatorKey::SkEd25519 { point, application: APPLICATION.to_owned() }
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        if request == [11] {
            body.extend([12, 0, 0, 0, 1]);
            put_string(&mut body, &self.public().blob());
            put_string(&mut body, b"token");
            return body;
        }
        let mut reader = SshReader::new(&request[1..]);
        let _key = reader.string().expect("a key");
        let flags = self.flags.load(Ordering::SeqCst);
        let counter = self.counter.fetch_add(1, Ordering::SeqCst) + 1;
        let mut message = Sha256::digest(APPLICATION).to_vec();
        message.push(flags);
        message.extend(counter.to_be_bytes());
        message.extend(Sha256::digest(reader.string().expect("a message")));
        let mut blob = Vec::new();
        put_string(&mut blob, SK_ED25519);
        put_string(&mut blob, &self.key.sign(&message).to_bytes());
        blob.push(flags);
        blob.extend(counter.to_be_bytes());
        body.push(14);
        put_string(&mut body, &blob);
        body
    }

    fn listen(self: &Arc<Self>, path: &Path) {
        let listener = UnixListener::bind(path).expect("a socket");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
        let token = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let mut length = [0; 4];
                while stream.read_exact(&mut length).is_ok() {
                    let mut request = vec![0; u32::from_be_bytes(length) as usize];
                    stream.read_exact(&mut request).expect("a request");
                    let mut message = Vec::new();
                    put_string(&mut message, &token.answer(&request));
                    stream.write_all(&message).expect("an answer");
                }
            }
        });
    }
}

#[test]
fn a_fleet_of_an_operator_with_a_token_runs_what_was_touched_for_and_nothing_else() {
    let mut fleet = Fleet::empty();
    let token = Token::new();
    token.listen(&fleet.dir().join("token"));
    fleet.set("SSH_AUTH_SOCK", Some(fleet.dir().join("token").as_os_str().to_owned().as_ref()));
    let fingerprint = token.public().fingerprint();
    let founded = fleet.init("acme", Reach::Listens, &["--operator-key", &fingerprint]).ends(0);
    founded.says(&[&format!("touch the token of {fingerprint}: touch 1, to invite hosts")]);
    fleet.start("a");
    let before = token.counter.load(Ordering::SeqCst);
    let ran = fleet.muster("a", &["run", "-H", "a", "--", "echo", "touched"]).ends(0);
    assert_eq!(ran.text(), "touched\n");
    let touches = token.counter.load(Ordering::SeqCst) - before;
    let said = ran.stderr.lines().filter(|line| line.starts_with("touch the token of ")).count();
    assert_eq!((touches, said), (2, 2), "{}", ran.stderr);
    let ran = ran.says(&["touch 1, to order it", "touch 2, to read its output"]);
    drop(ran);
    // A token that says that nobody touched it: the command line takes nothing of it.
    token.flags.store(0, Ordering::SeqCst);
    let refused = fleet.muster("a", &["run", "-H", "a", "--", "touch", "untouched"]).ends(4);
    refused.says(&["nobody touched the token that signed"]);
    assert!(!fleet.dir().join("untouched").exists());
    let status = fleet.muster("a", &["status", "-o", "json"]).ends(0).json();
    assert_eq!(status["operator"]["key"], fingerprint.as_str());
}
