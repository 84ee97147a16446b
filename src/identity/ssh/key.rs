//! The public key of an operator, as its certificate names it.

use sha2::{Digest as _, Sha256};

use super::{FormatError, SshReader, put_string};
use crate::{
    identity::{KeyError, Operator, PublicKey, base64},
    wire::{Fields, Value, Wire, WireError},
};

/// The name of an ed25519 key (RFC 8709).
pub const ED25519: &[u8] = b"ssh-ed25519";
/// The name of an ed25519 key on a FIDO token.
pub const SK_ED25519: &[u8] = b"sk-ssh-ed25519@openssh.com";
/// Longest application of a key on a token, in bytes.
pub const APPLICATION_BYTES_MAX: usize = 64;
/// Longest public key in the SSH format, in bytes.
const BLOB_BYTES_MAX: usize = 256;
/// What the application of a key that OpenSSH made starts with: one of a web site is none.
const APPLICATION_STARTS: &str = "ssh:";
/// What stands for a key on a token in a certificate: the number of its kind of signature.
const SK_TAG: u8 = 2;

/// The public key of an operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatorKey {
    /// An ed25519 key, in a file or an agent.
    Ed25519(PublicKey<Operator>),
    /// An ed25519 key on a FIDO token (`ssh-keygen -t ed25519-sk`), which signs when it is touched.
    SkEd25519 {
        /// Its point.
        point: [u8; 32],
        /// What it was made for; `ssh:` unless its owner chose otherwise. The token signs that too.
        application: String,
    },
}

impl OperatorKey {
    /// The 32 bytes that it goes by: its point, or the hash over kind, point and application.
    pub fn name(&self) -> PublicKey<Operator> {
        match self {
            Self::Ed25519(key) => *key,
            Self::SkEd25519 { .. } => PublicKey::from_bytes(Sha256::digest(self.blob()).into()),
        }
    }

    /// Whether it is on a token: each signature is a touch.
    pub fn is_on_token(&self) -> bool {
        matches!(self, Self::SkEd25519 { .. })
    }

    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::SkEd25519 { .. } => "ed25519-sk",
        }
    }

    /// It in the SSH format (RFC 4253, section 6.6).
    pub fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        match self {
            Self::Ed25519(key) => {
                put_string(&mut blob, ED25519);
                put_string(&mut blob, &key.bytes());
            }
            Self::SkEd25519 { point, application } => {
                put_string(&mut blob, SK_ED25519);
                put_string(&mut blob, point);
                put_string(&mut blob, application.as_bytes());
            }
        }
        blob
    }

    /// Reads a key in the SSH format; `None` for a kind that cannot be an operator's.
    ///
    /// # Errors
    /// [`FormatError`] when it is not such a key, or one that may not be used.
    pub fn from_blob(blob: &[u8]) -> Result<Option<Self>, FormatError> {
        let mut reader = SshReader::new(blob);
        let kind = reader.string()?;
        if kind != ED25519 && kind != SK_ED25519 {
            return Ok(None);
        }
        if blob.len() > BLOB_BYTES_MAX {
            return Err(FormatError("a key that is too long"));
        }
        let point = reader.string_of::<32>()?;
        let point_of = PublicKey::<Operator>::import(point).map_err(|error| match error {
            KeyError::NotAPoint => FormatError("a key that is not a point"),
            KeyError::Weak => FormatError("a weak key"),
            KeyError::Development => FormatError("a key whose private half is public"),
        })?;
        let key = if kind == ED25519 {
            Self::Ed25519(point_of)
        } else {
            let application = String::from_utf8(reader.string()?.to_vec()).unwrap_or_default();
            if !is_application(&application) {
                return Err(FormatError("an application that is not one of SSH"));
            }
            Self::SkEd25519 { point, application }
        };
        reader.end()?;
        Ok(Some(key))
    }

    /// The line of a `.pub` file, without a comment.
    pub fn line(&self) -> String {
        let name = match self {
            Self::Ed25519(_) => ED25519,
            Self::SkEd25519 { .. } => SK_ED25519,
        };
        format!("{} {}", String::from_utf8_lossy(name), base64::encode(&self.blob()))
    }

    /// Reads the line of a `.pub` file: the key, and its comment. `None` for a kind that cannot be an
    /// operator's.
    ///
    /// # Errors
    /// As [`OperatorKey::from_blob`].
    pub fn from_line(line: &str) -> Result<Option<(Self, String)>, FormatError> {
        let mut words = line.trim().splitn(3, ' ');
        let (Some(kind), Some(text)) = (words.next(), words.next()) else {
            return Err(FormatError("not a line with a public key"));
        };
        if ![ED25519, SK_ED25519].contains(&kind.as_bytes()) {
            return Ok(None);
        }
        let blob = base64::decode(text).ok_or(FormatError("not base 64"))?;
        if SshReader::new(&blob).string()? != kind.as_bytes() {
            return Err(FormatError("a key of another kind than its line says"));
        }
        Ok(Self::from_blob(&blob)?.map(|key| (key, words.next().unwrap_or_default().trim().to_owned())))
    }

    /// The beginning of its fingerprint in words, for two people to read to each other.
    pub fn words(&self) -> String {
        crate::identity::words(&Sha256::digest(self.blob()).into())
    }

    /// The fingerprint that OpenSSH prints for it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", base64::encode_unpadded(&Sha256::digest(self.blob())))
    }
}

/// Whether a token's key may have this application.
pub(super) fn is_application(text: &str) -> bool {
    text.len() <= APPLICATION_BYTES_MAX
        && text.starts_with(APPLICATION_STARTS)
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl From<PublicKey<Operator>> for OperatorKey {
    fn from(key: PublicKey<Operator>) -> Self {
        Self::Ed25519(key)
    }
}

/// An ed25519 key is its 32 bytes, as it always was; one on a token is `[2, point, application]`, closed.
impl Wire for OperatorKey {
    fn to_value(&self) -> Value {
        match self {
            Self::Ed25519(key) => key.to_value(),
            Self::SkEd25519 { point, application } => {
                Value::Array(vec![SK_TAG.to_value(), point.to_value(), application.to_value()])
            }
        }
    }

    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        if !value.is_array() {
            return PublicKey::from_value(value, field).map(Self::Ed25519);
        }
        let mut fields = Fields::of(value, field)?;
        let tag: u64 = fields.next("OperatorKey.kind")?;
        if tag != u64::from(SK_TAG) {
            return Err(WireError::UnknownTag { what: "OperatorKey", tag });
        }
        let (point, application): ([u8; 32], String) =
            (fields.next("OperatorKey.point")?, fields.next("OperatorKey.application")?);
        fields.finish_closed("OperatorKey")?;
        if !is_application(&application) {
            return Err(WireError::Field {
                field: "OperatorKey.application",
                problem: "not an application of SSH",
            });
        }
        Ok(Self::SkEd25519 { point, application })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn point() -> [u8; 32] {
        crate::identity::SecretKey::<Operator>::from_seed(&[1; 32]).public().bytes()
    }

    fn on_token(application: &str) -> OperatorKey {
        OperatorKey::SkEd25519 { point: point(), application: application.to_owned() }
    }

    #[test]
    fn kind_point_and_application_each_make_another_name() {
        let plain = OperatorKey::from(PublicKey::from_bytes(point()));
        let names = [
            plain.name(),
            on_token("ssh:").name(),
            on_token("ssh:muster").name(),
            OperatorKey::SkEd25519 { point: [9; 32], application: "ssh:".into() }.name(),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name));
        }
    }

    #[test]
    fn keys_are_read_back_from_certificates_and_lines_in_one_form_only() {
        for key in [OperatorKey::from(PublicKey::from_bytes(point())), on_token("ssh:"), on_token("ssh:a")] {
            assert_eq!(wire::decode::<OperatorKey>(&wire::encode(&key), 256).unwrap(), key);
            assert_eq!(OperatorKey::from_blob(&key.blob()).unwrap(), Some(key.clone()));
            let line = format!("{}  ana's key ", key.line());
            assert_eq!(OperatorKey::from_line(&line).unwrap(), Some((key.clone(), "ana's key".to_owned())));
            let mut longer = key.blob();
            longer.push(0);
            assert_eq!(OperatorKey::from_blob(&longer), Err(FormatError("bytes after its end")));
            for cut in 0..key.blob().len() {
                assert!(OperatorKey::from_blob(&key.blob()[..cut]).is_err(), "cut at {cut}");
            }
        }
        assert_eq!(OperatorKey::from_line("ssh-rsa AAAA").unwrap(), None);
        assert!(OperatorKey::from_line("ssh-ed25519").is_err());
        let lies = on_token("ssh:").line().replace("sk-ssh-ed25519@openssh.com ", "ssh-ed25519 ");
        assert!(OperatorKey::from_line(&lies).is_err());
    }

    #[test]
    fn an_application_that_is_not_one_of_ssh_makes_no_key() {
        for application in ["", "https://example.org", "ssh", "ssh: x", "ssh:\u{e9}", &"ssh:".repeat(17)] {
            let key = on_token(application);
            assert!(wire::decode::<OperatorKey>(&wire::encode(&key), 256).is_err(), "{application:?}");
            assert!(OperatorKey::from_blob(&key.blob()).is_err(), "{application:?}");
        }
        let mut weak = [0; 32];
        weak[0] = 1;
        let weak = OperatorKey::SkEd25519 { point: weak, application: "ssh:".into() };
        assert_eq!(OperatorKey::from_blob(&weak.blob()), Err(FormatError("a weak key")));
    }
}
