//! What stands in files and comes from other programs: keys and signatures of OpenSSH, key files, settings, and the
//! journal's own files, which a disk may give back as anything.

use std::path::PathBuf;

use muster::identity::Operator;
use muster::identity::ssh::{OperatorKey, armour, unarmour};
use muster::journal::{Claims, Slots};
use muster::time::Timestamp;

use crate::chance::digest;
use crate::target::{Said, Target, holds};

fn said(read: bool, words: &str) -> Said {
    let plain: Vec<u8> = words.bytes().filter(u8::is_ascii_alphabetic).take(80).collect();
    Said { read, answer: digest(&[&[u8::from(read)], &plain]) }
}

fn repository(path: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of this repository")
}

/// Public keys as bytes and as lines, and what OpenSSH puts between lines of dashes.
pub(crate) struct Ssh;

impl Target for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn bytes_max(&self) -> usize {
        4096
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let key = OperatorKey::from(muster::identity::SecretKey::<Operator>::from_seed(&[3; 32]).public());
        let token =
            OperatorKey::SkEd25519 { point: key.name().bytes(), application: "ssh:muster".to_owned() };
        let keys = [key, token];
        let lines = keys.iter().map(|key| format!("{} ana@example", key.line()).into_bytes());
        let blobs = keys.iter().map(OperatorKey::blob);
        let more =
            [repository("src/identity/ssh/vector.sig"), armour("SSH SIGNATURE", b"SSHSIG").into_bytes()];
        lines.chain(blobs).chain(more).collect()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"ssh-ed25519 ",
            b"sk-ssh-ed25519@openssh.com ",
            b"\0\0\0\x0bssh-ed25519\0\0\0 ",
            b"\0\0\0\x1ask-ssh-ed25519@openssh.com",
            b"\0\0\0\x04ssh:",
            b"-----BEGIN SSH SIGNATURE-----\n",
            b"-----END SSH SIGNATURE-----\n",
            b"AAAA",
            b"==",
            b"\xff\xff\xff\xff",
        ]
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let mut answers = Vec::new();
        match OperatorKey::from_blob(input) {
            Ok(Some(key)) => {
                holds!(key.blob() == input, "a key has two encodings");
                answers.push(said(true, key.kind()));
            }
            Ok(None) => answers.push(said(false, "other")),
            Err(error) => answers.push(said(false, &error.to_string())),
        }
        let text = String::from_utf8_lossy(input);
        match OperatorKey::from_line(&text) {
            Ok(Some((key, comment))) => {
                let line = format!("{} {comment}", key.line());
                let again = OperatorKey::from_line(&line).ok().flatten();
                holds!(again == Some((key, comment)), "a line is read back as another: {line}");
                answers.push(said(true, "line"));
            }
            Ok(None) => answers.push(said(false, "other line")),
            Err(error) => answers.push(said(false, &error.to_string())),
        }
        match unarmour("SSH SIGNATURE", &text) {
            Ok(bytes) => {
                holds!(bytes.len() <= input.len(), "{} bytes of {}", bytes.len(), input.len());
                let again = unarmour("SSH SIGNATURE", &armour("SSH SIGNATURE", &bytes));
                holds!(again.as_ref() == Ok(&bytes), "what is armoured is read as other bytes");
                answers.push(said(true, "armour"));
            }
            Err(error) => answers.push(said(false, &error.to_string())),
        }
        let read = answers.iter().any(|said| said.read);
        let all: Vec<u8> = answers.iter().flat_map(|said| said.answer.to_le_bytes()).collect();
        Ok(Said { read, answer: digest(&[&all]) })
    }
}

/// Files with a secret key, ours and those of OpenSSH.
#[cfg(feature = "agent")]
pub(crate) struct KeyFiles;

#[cfg(feature = "agent")]
impl Target for KeyFiles {
    fn name(&self) -> &'static str {
        "key-file"
    }

    fn bytes_max(&self) -> usize {
        4096
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let ours = format!("# a remark\nmuster operator key 1: {}\n", "07".repeat(32)).into_bytes();
        let files = ["src/journal/openssh-plain.key", "src/journal/openssh-locked.key"];
        files.into_iter().map(repository).chain([ours]).collect()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[b"muster operator key 1: ", b"openssh-key-v1\0", b"b3BlbnNzaC1rZXktdjEA", b"\n", b"AAAA", b"none"]
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        use muster::journal::keyfile;
        let text = String::from_utf8_lossy(input);
        let Some(key) = keyfile::of_text::<Operator>(&text) else { return Ok(said(false, "")) };
        let again = keyfile::of_text::<Operator>(&text).map(|key| key.public());
        holds!(again == Some(key.public()), "one text holds two keys");
        Ok(said(true, if text.contains("OPENSSH") { "openssh" } else { "ours" }))
    }
}

/// The settings of an agent.
#[cfg(feature = "agent")]
pub(crate) struct SettingsFiles;

#[cfg(feature = "agent")]
impl Target for SettingsFiles {
    fn name(&self) -> &'static str {
        "settings"
    }

    fn bytes_max(&self) -> usize {
        8 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        vec![
            b"listen = [\"0.0.0.0:7946\"]\nadvertise = [\"10.0.0.1:7946\"]\n".to_vec(),
            b"listen = []\nlan = false\n".to_vec(),
        ]
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"listen = ",
            b"advertise = ",
            b"\"0.0.0.0:7946\"",
            b"[\"[::1]:1\", \"1.2.3.4:5\"]",
            b"true",
            b"\n",
            b"[[[[[[[[",
            b"{a={a={a=",
            b"\"\"\"",
            b"= 1e999",
        ]
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        use muster::node::Settings;
        let text = String::from_utf8_lossy(input);
        match Settings::parse(&text) {
            Ok(settings) => {
                let again = Settings::parse(&text).map(|again| format!("{again:?}"));
                holds!(again.as_deref() == Ok(format!("{settings:?}").as_str()), "read in two ways");
                Ok(said(true, &format!("{settings:?}")))
            }
            Err(error) => Ok(said(false, &error)),
        }
    }
}

/// The journal's files: which orders were claimed, and values that survive a cut of power. The first byte says
/// which. What is opened is opened again as the same; what is not stays as it was.
pub(crate) struct Journal {
    room: tempfile::TempDir,
}

impl Journal {
    pub(crate) fn new() -> Self {
        // In memory, where there is such a place: a disk would be waited for at each input.
        let room = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { room: room.expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.room.path().join("file")
    }

    fn opened(&self, kind: u8) -> Result<String, String> {
        if kind == 0 {
            let (slots, value) = Slots::<Vec<u64>>::open(&self.path()).map_err(|error| error.to_string())?;
            return Ok(format!("{value:?}{}", slots.torn()));
        }
        let claims = Claims::open(&self.path()).map_err(|error| error.to_string())?;
        Ok(format!("{:?}", claims.expiry_floor()))
    }
}

impl Target for Journal {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn bytes_max(&self) -> usize {
        10 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let path = self.path();
        let mut slots = Slots::open(&path).expect("slots").0;
        for value in [vec![1_u64], vec![2; 300]] {
            slots.store(&value).expect("a value");
        }
        drop(slots);
        let mut seeds = vec![[&[0], &std::fs::read(&path).expect("slots")[..]].concat()];
        std::fs::remove_file(&path).expect("it is there");
        let mut claims = Claims::open(&path).expect("claims");
        for number in 1..4_u8 {
            let order = [number; 32];
            claims.claim(order, Timestamp(9_000), Timestamp(1), None).expect("a claim");
            claims.finish(order, &[number; 40], None).expect("a result");
        }
        drop(claims);
        seeds.push([&[1], &std::fs::read(&path).expect("claims")[..]].concat());
        std::fs::remove_file(&path).expect("it is there");
        seeds
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let Some((kind, bytes)) = input.split_first() else { return Ok(said(false, "")) };
        let kind = kind % 2;
        std::fs::write(self.path(), bytes).map_err(|error| error.to_string())?;
        let opened = self.opened(kind);
        let after = std::fs::read(self.path()).map_err(|error| error.to_string())?;
        match &opened {
            Ok(value) => {
                holds!(bytes.starts_with(&after) || kind == 0, "what was written before is another now");
                holds!(self.opened(kind).as_ref() == Ok(value), "opened again, it says another thing");
                Ok(said(true, &format!("{kind}{value}")))
            }
            Err(error) => {
                holds!(after == bytes, "it was refused, and changed: {error}");
                let path = self.path().display().to_string();
                Ok(said(false, &format!("{kind}{}", error.replace(&path, ""))))
            }
        }
    }
}
