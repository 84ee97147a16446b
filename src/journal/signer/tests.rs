//! Agents that lie, and keys where they are. The real `ssh-agent` is asked in `tests/e2e/signing.rs`.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    authority::sample,
    identity::{
        Operator, PublicKey, SecretKey, Signed, SignedError,
        ssh::{ED25519, OperatorKey, SK_ED25519, SshReader, put_string, sample::SoftToken},
    },
    journal::{KeySource, OperatorError, OperatorHome},
    replica::Cancellation,
    time::Timestamp,
};

/// What an agent says to a request: the body of its answer; `None` is silence.
type Answer = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync;

struct FakeAgent {
    _dir: tempfile::TempDir,
    path: PathBuf,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FakeAgent {
    fn new(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::raw(move |request| {
            answer(request).map(|body| {
                let mut message = Vec::new();
                put_string(&mut message, &body);
                message
            })
        })
    }

    /// One whose answers' lengths are its own.
    fn raw(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || serve(stream.unwrap(), &answer, &seen));
            }
        });
        Self { _dir: dir, path, asked }
    }

    fn ways(&self) -> Ways {
        Ways { agent: Some(self.path.clone()), ..Ways::default() }
    }

    /// How often it was asked to sign.
    fn signatures(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| request.first() == Some(&13)).count()
    }
}

fn serve(mut stream: UnixStream, answer: &Arc<Answer>, seen: &Mutex<Vec<Vec<u8>>>) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).unwrap();
        seen.lock().unwrap().push(request.clone());
        match answer(&request) {
            // Who asked may be gone.
            Some(bytes) => drop(stream.write_all(&bytes)),
            None => drop(stream.read_exact(&mut length)),
        }
    }
}

fn secret() -> SecretKey<Operator> {
    sample::key(1)
}

/// An ed25519 signature as an agent gives it: over any message, as the tests of `identity` check.
fn signature(seed: u8, message: &[u8]) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).sign(message).to_bytes().to_vec()
}

#[expect(clippy::unnecessary_wraps, reason = "an answer, as agents here give it")]
fn response(kind: &[u8], signature: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let mut blob = Vec::new();
    put_string(&mut blob, kind);
    put_string(&mut blob, signature);
    blob.extend_from_slice(rest);
    let mut body = vec![14];
    put_string(&mut body, &blob);
    Some(body)
}

#[expect(clippy::unnecessary_wraps, reason = "an answer, as agents here give it")]
fn identities(keys: &[(&[u8], &str)]) -> Option<Vec<u8>> {
    let mut body = vec![12];
    body.extend_from_slice(&u32::try_from(keys.len()).unwrap().to_be_bytes());
    for (blob, comment) in keys {
        put_string(&mut body, blob);
        put_string(&mut body, comment.as_bytes());
    }
    Some(body)
}

/// What is to be signed in a request to sign.
fn message(request: &[u8]) -> Vec<u8> {
    let mut reader = SshReader::new(&request[1..]);
    let _key = reader.string().unwrap();
    reader.string().unwrap().to_vec()
}

/// The seed of an operator's key whose directory is made with an agent.
const SEED: u8 = 9;

fn plain() -> OperatorKey {
    SecretKey::<Operator>::from_seed(&[SEED; 32]).public().into()
}

fn body() -> Cancellation {
    let order = crate::identity::EntryId([3; 32]);
    Cancellation { order, at: Timestamp(1), expires: Timestamp(2) }
}

fn ask(key: OperatorKey, ways: Ways) -> Result<Signed<Cancellation>, SignError> {
    OperatorSigner::agent(key, ways).sign(crate::identity::FleetId([7; 32]), body())
}

#[test]
fn an_honest_agent_signs_what_it_is_given() {
    let agent = FakeAgent::new(|request| response(ED25519, &signature(SEED, &message(request)), b""));
    let signed = ask(plain(), agent.ways()).unwrap();
    assert_eq!(signed.signer(), plain().name());
    let read = Signed::<Cancellation>::verify(signed.bytes(), crate::identity::FleetId([7; 32])).unwrap();
    assert_eq!(read.body(), &body());
    // What it was given names us, so that whoever is asked to confirm could see for what.
    let asked = agent.asked.lock().unwrap();
    assert!(message(&asked[0]).windows(13).any(|part| part == b"signed@muster"));
}

#[test]
fn an_agent_that_signs_other_bytes_or_with_another_key_has_signed_nothing() {
    let other_bytes = FakeAgent::new(|_| response(ED25519, &signature(SEED, b"all hosts: rm -rf /"), b""));
    let other_key = FakeAgent::new(|request| response(ED25519, &signature(5, &message(request)), b""));
    for agent in [other_bytes, other_key] {
        let error = ask(plain(), agent.ways()).unwrap_err();
        assert!(matches!(error, SignError::Lied(SignedError::BadSignature)), "{error}");
    }
}

#[test]
fn answers_that_make_no_sense_are_refused_and_none_is_allocated_by_its_word() {
    let good = |request: &[u8]| signature(SEED, &message(request));
    let odd: Vec<FakeAgent> = vec![
        FakeAgent::raw(|_| Some(vec![0xff, 0xff, 0xff, 0xff, 14])),
        FakeAgent::raw(|_| Some(vec![0, 4, 0, 1, 14])),
        FakeAgent::raw(|_| Some(vec![0, 0, 0, 0])),
        FakeAgent::new(|_| Some(vec![99])),
        FakeAgent::new(|_| Some(vec![14, 0xff, 0xff, 0xff, 0xff])),
        FakeAgent::new(move |request| response(b"ssh-rsa", &good(request), b"")),
        FakeAgent::new(move |request| response(ED25519, &good(request)[..63], b"")),
        FakeAgent::new(move |request| response(ED25519, &good(request), b"\0")),
        FakeAgent::new(move |request| {
            response(ED25519, &good(request), b"").map(|mut body| {
                body.push(0);
                body
            })
        }),
    ];
    for (at, agent) in odd.iter().enumerate() {
        let error = ask(plain(), agent.ways()).unwrap_err();
        assert!(matches!(error, SignError::Odd(_)), "{at}: {error}");
    }
    // One that stops in the middle is one that hangs.
    let cut = FakeAgent::raw(|_| Some(vec![0, 0, 0, 9, 14]));
    let mut connected = SshAgent::connect(&cut.ways()).unwrap().unwrap();
    connected.sign_within = Duration::from_millis(200);
    assert!(matches!(connected.sign(&plain(), b"x").unwrap_err(), SignError::Slow(_)));
}

#[test]
fn an_agent_that_hangs_is_given_up() {
    let silent = FakeAgent::new(|_| None);
    let mut connected = SshAgent::connect(&silent.ways()).unwrap().unwrap();
    connected.sign_within = Duration::from_millis(100);
    assert!(matches!(connected.sign(&plain(), b"x").unwrap_err(), SignError::Slow(0)));
}

#[test]
fn a_refusal_says_whether_the_agent_has_the_key() {
    let lacks = FakeAgent::new(|request| if request == [11] { identities(&[]) } else { Some(vec![5]) });
    assert!(matches!(ask(plain(), lacks.ways()).unwrap_err(), SignError::Lacks(_)));
    let declines =
        FakeAgent::new(
            |request| {
                if request == [11] { identities(&[(&plain().blob(), "ana")]) } else { Some(vec![5]) }
            },
        );
    assert!(matches!(ask(plain(), declines.ways()).unwrap_err(), SignError::Declined(_)));
    let nobody = Ways { agent: Some("/nonexistent/agent".into()), ..Ways::default() };
    assert!(matches!(ask(plain(), nobody).unwrap_err(), SignError::Agent { .. }));
    assert!(matches!(ask(plain(), Ways::default()).unwrap_err(), SignError::NoAgent(_)));
}

/// An agent with a token behind it.
fn with_token(flags: u8) -> FakeAgent {
    let token = Mutex::new(SoftToken::new(SEED, "ssh:"));
    token.lock().unwrap().flags = flags;
    FakeAgent::new(move |request| {
        let proof = token.lock().unwrap().sign(&message(request));
        let mut rest = vec![proof.flags];
        rest.extend_from_slice(&proof.counter.to_be_bytes());
        response(SK_ED25519, &proof.signature, &rest)
    })
}

#[test]
fn a_token_signs_through_its_agent_and_untouched_it_does_not() {
    let key = SoftToken::new(SEED, "ssh:").key();
    let signed = ask(key.clone(), with_token(1).ways()).unwrap();
    assert_eq!(signed.signer(), key.name());
    let error = ask(key, with_token(0).ways()).unwrap_err();
    assert!(matches!(error, SignError::Lied(SignedError::Untouched)), "{error}");
    let other = SoftToken::new(SEED, "ssh:other").key();
    assert!(matches!(ask(other, with_token(1).ways()).unwrap_err(), SignError::Lied(_)));
}

#[test]
fn a_list_of_keys_leaves_out_what_cannot_be_an_operators() {
    let mut weak = Vec::new();
    put_string(&mut weak, ED25519);
    put_string(&mut weak, &{
        let mut point = [0; 32];
        point[0] = 1;
        point
    });
    let mut rsa = Vec::new();
    put_string(&mut rsa, b"ssh-rsa");
    let token = SoftToken::new(SEED, "ssh:").key();
    let (blob, on_token) = (plain().blob(), token.blob());
    let agent = FakeAgent::new(move |_| {
        identities(&[(&rsa, "old"), (&weak, "weak"), (&blob, "ana"), (&on_token, "touch me"), (b"", "junk")])
    });
    let keys = SshAgent::connect(&agent.ways()).unwrap().unwrap().keys().unwrap();
    assert_eq!(keys, [(plain(), "ana".to_owned()), (token, "touch me".to_owned())]);
    let endless = FakeAgent::new(|_| Some(vec![12, 0xff, 0xff, 0xff, 0xff]));
    assert!(SshAgent::connect(&endless.ways()).unwrap().unwrap().keys().is_err());
}

fn home_with(dir: &Path, key: KeySource<'_>) -> Result<OperatorHome, OperatorError> {
    let holder = match &key {
        KeySource::New(key) => key.public().into(),
        KeySource::There(choice) => choice.key().clone(),
    };
    let mut certificate = sample::certificate("ana", &secret());
    certificate.key = holder;
    let (fleet, _) = sample::Fleet::with(&[certificate]);
    OperatorHome::create_with(&dir.join("acme"), key, &fleet.chain)
}

#[test]
fn a_key_is_chosen_by_fingerprint_comment_or_file_and_stays_where_it_is() {
    let twice = SecretKey::<Operator>::from_seed(&[4; 32]).public();
    let (one, two) = (plain().blob(), OperatorKey::from(twice).blob());
    let agent = FakeAgent::new(move |request| match request {
        [11] => identities(&[(&one, "ana's key"), (&two, "both"), (&two, "both")]),
        request => response(ED25519, &signature(SEED, &message(request)), b""),
    });
    let dir = tempfile::tempdir().unwrap();
    let public = dir.path().join("id.pub");
    std::fs::write(&public, format!("{} ana\n", plain().line())).unwrap();
    for word in [plain().fingerprint().as_str(), "ana's key", public.to_str().unwrap()] {
        let choice = choose(word, &agent.ways()).unwrap();
        assert_eq!(choice, Choice::Agent(plain(), "ana's key".to_owned()), "{word}");
    }
    assert!(matches!(choose("both", &agent.ways()), Err(ChoiceError::Several(_))));
    assert!(matches!(choose("SHA256:no", &agent.ways()), Err(ChoiceError::NotThere(_))));
    assert!(matches!(choose("ana's key", &Ways::default()), Err(ChoiceError::Nowhere(_))));

    let choice = choose("ana's key", &agent.ways()).unwrap();
    home_with(dir.path(), KeySource::There(&choice)).unwrap();
    assert!(!dir.path().join("acme/operator.key").exists());
    let home = OperatorHome::open_with(&dir.path().join("acme"), agent.ways()).unwrap();
    assert_eq!((home.signer.place(), home.name()), (Place::Agent, plain().name()));
    assert_eq!(agent.signatures(), 0, "opening signs nothing");
    home.sign(body()).unwrap();
    assert_eq!(agent.signatures(), 1);
}

const PASSPHRASE_KEY: &str = include_str!("../openssh-locked.key");

fn key_file(dir: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("id");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Surroundings in which a passphrase is given on a descriptor.
fn given(file: &std::fs::File) -> Ways {
    use std::os::fd::AsRawFd as _;
    Ways { passphrase_descriptor: u32::try_from(file.as_raw_fd()).ok(), ..Ways::default() }
}

#[test]
fn a_file_with_a_passphrase_is_opened_once_and_only_by_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = key_file(dir.path(), PASSPHRASE_KEY);
    let choice = choose(path.to_str().unwrap(), &Ways::default()).unwrap();
    let home = home_with(dir.path(), KeySource::There(&choice)).unwrap();
    assert_eq!(home.signer.place(), Place::LockedFile);
    assert!(home.dir().join("operator.key").is_symlink());

    let line = dir.path().join("line");
    std::fs::write(&line, "not a secret\n").unwrap();
    let open = std::fs::File::open(&line).unwrap();
    let home = OperatorHome::open_with(home.dir(), given(&open)).unwrap();
    let first = home.sign(body()).unwrap();
    // Gone: the second signature must not ask again.
    std::fs::write(&line, "wrong\n").unwrap();
    assert_eq!(home.sign(body()).unwrap().bytes(), first.bytes());

    let open = std::fs::File::open(&line).unwrap();
    let error = OperatorHome::open_with(home.dir(), given(&open)).unwrap().sign(body()).unwrap_err();
    assert!(error.to_string().ends_with("the passphrase does not open it"), "{error}");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_a_passphrase_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = key_file(dir.path(), PASSPHRASE_KEY);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(choose(path.to_str().unwrap(), &Ways::default()), Err(ChoiceError::File(_))));
}

#[test]
fn a_new_key_is_written_as_openssh_would_and_older_ones_are_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let home = home_with(dir.path(), KeySource::New(&secret())).unwrap();
    let path = home.dir().join("operator.key");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_eq!(home.name(), secret().public());
    std::fs::remove_file(&path).unwrap();
    crate::journal::keyfile::write_new(&path, &secret(), "# from before\n").unwrap();
    let home = OperatorHome::open(home.dir()).unwrap();
    assert_eq!((home.name(), home.signer.place()), (secret().public(), Place::File));
    let _: PublicKey<Operator> = home.name();
}

#[test]
fn an_agent_is_forwarded_if_sshd_listens_or_nobody_can_be_seen_in_a_session_by_ssh() {
    for name in ["sshd", "sshd-session", "sshd-auth"] {
        assert!(agent::far(Some(name), false).is_some(), "{name}");
    }
    for name in ["ssh-agent", "gpg-agent", "gnome-keyring-d"] {
        assert!(agent::far(Some(name), true).is_none(), "{name}");
    }
    assert!(agent::far(None, true).is_some());
    assert!(agent::far(None, false).is_none());
}
