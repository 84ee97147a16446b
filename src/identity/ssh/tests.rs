//! What OpenSSH's keys sign for us, and what of it is refused. The vectors are from OpenSSH 9.2's
//! `ssh-keygen -Y sign`, under a key made for this test alone; tokens are [`SoftToken`]s.

use super::{sample::SoftToken, *};
use crate::{
    identity::{
        FleetId, Kind, Operator, Payload, PublicKey, Purpose, SecretKey, SignatureKind, Signed, SignedError,
        Stream, base64, ssh_signature,
    },
    wire::{self, Value, Wire},
    wire_record,
};
use std::marker::PhantomData;

const FLEET: FleetId = FleetId([7; 32]);
const VECTOR: &str = include_str!("vector.sig");
const VECTOR_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOUF6oO3ptd6DTAb5Rk8i36Scb+7YBryamu+66i7GCdQ test key of muster";
/// The same message by the same key: `-n file`, and `-O hashalg=sha256`.
const OTHER_NAMESPACE: &str =
    "5yvJBkH27nPWZTM51AbaRHQmqn9U2yji4pf9Wat5XlEvaf7Z2ENwrNsyWIwhPN3NDd2YcOo/V4uw2PBgHHA/CQ==";
const OTHER_HASH: &str =
    "UIIotFYq8xekTsAMGLcGz3rnviILMv8HqYCoiyOS0sa8OgexWNYHSFpzFTl7XUlBgfQ1cUIZ4jtWYuAxL0vWCQ==";

#[derive(Clone, Debug, PartialEq)]
struct Say<P> {
    word: String,
    by: PhantomData<P>,
}
impl<P> Wire for Say<P> {
    fn to_value(&self) -> Value {
        Word { word: self.word.clone() }.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, wire::WireError> {
        Word::from_value(value, field).map(|Word { word }| Self { word, by: PhantomData })
    }
}
struct Word {
    word: String,
}
wire_record!(Word { word });
impl<P: Purpose> Payload for Say<P> {
    const KIND: Kind = Kind::Order;
    const BYTES_MAX: usize = 1024;
    type Signer = P;
}

fn say<P>() -> Say<P> {
    Say { word: "hi".into(), by: PhantomData }
}

fn operator() -> SecretKey<Operator> {
    SecretKey::from_seed(&[1; 32])
}

/// An envelope by `name` with this proof, unchecked: as a liar makes it. First what is signed, then the proof.
fn forge<P: Purpose>(name: [u8; 32], kind: SignatureKind, prove: impl FnOnce(&[u8]) -> Value) -> Vec<u8> {
    let parts = Value::Array(vec![
        "muster".to_owned().to_value(),
        (Kind::Order as u16).to_value(),
        1_u16.to_value(),
        FLEET.to_value(),
        name.to_value(),
        say::<P>().to_value(),
    ]);
    let mut signed = Vec::new();
    ciborium::into_writer(&parts, &mut signed).unwrap();
    let proof = prove(&signed);
    let one = Value::Array(vec![(kind as u8).to_value(), name.to_value(), proof]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Array(vec![Value::Bytes(signed), Value::Array(vec![one])]), &mut bytes)
        .unwrap();
    bytes
}

fn verify(bytes: &[u8]) -> Result<Signed<Say<Operator>>, SignedError> {
    Signed::verify(bytes, FLEET)
}

fn by_token(token: &mut SoftToken) -> Signed<Say<Operator>> {
    let name = token.key().name();
    Signed::sign_by::<SignedError>(FLEET, name, say(), |signed| Ok(Proof::SkEd25519(token.prove(signed))))
        .unwrap()
}

#[test]
fn what_ssh_keygen_signs_is_what_we_verify_and_the_text_is_the_same() {
    let (key, comment) = OperatorKey::from_line(VECTOR_KEY).unwrap().unwrap();
    assert_eq!(comment, "test key of muster");
    assert_eq!(key.fingerprint(), "SHA256:9gmpKzzfCrpGHn8Uk5tgutcjXO4ypuulCdp4iSPy9mI");
    let text: String = VECTOR.lines().filter(|line| !line.starts_with('-')).collect();
    let blob = base64::decode(&text).unwrap();
    let signature: [u8; 64] = blob[blob.len() - 64..].try_into().unwrap();
    let message = b"what a test signs\n";
    assert!(key.name().verify(&sshsig_message(message), &signature));
    let made = SshSignature::of(message, key.name(), &Proof::Sshsig(signature)).unwrap();
    assert_eq!(made.armoured, VECTOR);
    assert_eq!((made.key, made.signed), (key, message.to_vec()));
}

#[test]
fn another_namespace_another_hash_and_a_signature_without_either_are_refused() {
    let (key, _) = OperatorKey::from_line(VECTOR_KEY).unwrap().unwrap();
    for other in [OTHER_NAMESPACE, OTHER_HASH] {
        let signature: [u8; 64] = base64::decode(other).unwrap().try_into().unwrap();
        assert!(!key.name().verify(&sshsig_message(b"what a test signs\n"), &signature));
    }
    let (operator, name) = (operator(), operator().public().bytes());
    let with = |message: fn(&[u8]) -> Vec<u8>| {
        verify(&forge::<Operator>(name, SignatureKind::Sshsig, |signed| {
            operator.sign(&message(signed)).to_value()
        }))
    };
    assert!(with(sshsig_message).is_ok());
    assert_eq!(with(<[u8]>::to_vec), Err(SignedError::BadSignature), "a plain one is not one by SSHSIG");
    let plain = forge::<Operator>(name, SignatureKind::Ed25519, |signed| {
        operator.sign(&sshsig_message(signed)).to_value()
    });
    assert_eq!(verify(&plain), Err(SignedError::BadSignature), "nor the other way round");
}

#[test]
fn an_agent_that_signs_other_bytes_or_with_another_key_has_signed_nothing() {
    let name = operator().public();
    type Lie<'a> = &'a dyn Fn(&[u8]) -> [u8; 64];
    let lies: [Lie<'_>; 3] = [
        &|_| operator().sign(&sshsig_message(b"something else")),
        &|signed| SecretKey::<Operator>::from_seed(&[2; 32]).sign(&sshsig_message(signed)),
        &|_| [0; 64],
    ];
    for lie in lies {
        let made = Signed::sign_by::<SignedError>(FLEET, name, say::<Operator>(), |bytes| {
            Ok(Proof::Sshsig(lie(bytes)))
        });
        assert_eq!(made.unwrap_err(), SignedError::BadSignature);
    }
}

#[test]
fn the_id_is_the_same_however_it_was_signed() {
    let plain = Signed::sign(FLEET, &operator(), say::<Operator>());
    let by_agent = Signed::sign_by::<SignedError>(FLEET, operator().public(), say::<Operator>(), |signed| {
        Ok(Proof::Sshsig(operator().sign(&sshsig_message(signed))))
    });
    let by_agent = by_agent.unwrap();
    assert_eq!(plain.id(), by_agent.id());
    assert_ne!(plain.bytes(), by_agent.bytes());
    assert_eq!(verify(by_agent.bytes()).unwrap().signer(), plain.signer());
    assert!(ssh_signature(plain.bytes()).unwrap().is_none());
    assert_eq!(ssh_signature(by_agent.bytes()).unwrap().unwrap().key, operator().public().into());
}

#[test]
fn a_touched_tokens_signature_is_taken_and_each_bit_of_it_counts() {
    let mut token = SoftToken::new(1, "ssh:");
    let made = by_token(&mut token);
    assert_eq!(verify(made.bytes()).unwrap().signer(), token.key().name());
    for at in 0..made.bytes().len() {
        for bit in 0..8 {
            let mut bytes = made.bytes().to_vec();
            bytes[at] ^= 1 << bit;
            assert!(verify(&bytes).is_err(), "bit {bit} of byte {at}");
        }
        assert!(verify(&made.bytes()[..at]).is_err(), "cut at {at}");
    }
    let again = by_token(&mut token);
    assert_eq!(made.id(), again.id(), "the counter is no part of what was said");
    assert_ne!(made.bytes(), again.bytes());
}

fn by_sk(name: PublicKey<Operator>, prove: impl FnOnce(&[u8]) -> SkProof) -> Result<(), SignedError> {
    verify(&forge::<Operator>(name.bytes(), SignatureKind::SkEd25519, |signed| prove(signed).to_value()))
        .map(|_| ())
}

#[test]
fn a_token_that_nobody_touched_signs_nothing() {
    let mut token = SoftToken::new(1, "ssh:");
    let name = token.key().name();
    for flags in [0, VERIFIED, !TOUCHED] {
        token.flags = flags;
        assert_eq!(by_sk(name, |signed| token.prove(signed)), Err(SignedError::Untouched));
        // Nor does setting the bit afterwards help.
        let lifted = |signed: &[u8]| SkProof { flags: flags | TOUCHED, ..token.prove(signed) };
        assert_eq!(by_sk(name, lifted), Err(SignedError::BadSignature));
    }
    token.flags = TOUCHED | VERIFIED;
    assert_eq!(by_sk(token.key().name(), |signed| token.prove(signed)), Ok(()));
}

#[test]
fn a_tokens_key_under_another_application_is_another_key() {
    let (mut one, mut two) = (SoftToken::new(1, "ssh:"), SoftToken::new(1, "ssh:other"));
    let name = one.key().name();
    assert_eq!(by_sk(name, |signed| two.prove(signed)), Err(SignedError::BadSignature));
    // Saying that it was the first does not make it so.
    let lie = |signed: &[u8]| SkProof { application: "ssh:".into(), ..two.prove(signed) };
    assert_eq!(by_sk(name, lie), Err(SignedError::BadSignature));
    let mut web = SoftToken::new(1, "https://example.org");
    assert_eq!(by_sk(web.key().name(), |signed| web.prove(signed)), Err(SignedError::BadSignature));
    assert_eq!(by_sk(name, |signed| one.prove(signed)), Ok(()));
}

#[test]
fn a_token_that_logged_in_somewhere_or_signed_a_file_has_not_signed_for_us() {
    let mut token = SoftToken::new(1, "ssh:");
    let name = token.key().name();
    assert_eq!(by_sk(name, |signed| token.sign(signed)), Err(SignedError::BadSignature));
    let file = |signed: &[u8]| {
        let mut message = sshsig_message(signed);
        let at = message.windows(6).position(|part| part == b"signed").unwrap();
        message[at..at + 6].copy_from_slice(b"filing");
        token.sign(&message)
    };
    assert_eq!(by_sk(name, file), Err(SignedError::BadSignature));
}

#[test]
fn a_plain_signature_by_a_tokens_point_is_not_one_by_the_token_and_the_other_way_round() {
    let mut token = SoftToken::new(1, "ssh:");
    // Whoever took the secret out of the token, or lets software play one.
    let software = operator();
    let OperatorKey::SkEd25519 { point, .. } = token.key() else { unreachable!() };
    assert_eq!(point, software.public().bytes());
    for kind in [SignatureKind::Ed25519, SignatureKind::Sshsig] {
        let sign = |signed: &[u8]| match kind {
            SignatureKind::Ed25519 => software.sign(signed).to_value(),
            _ => software.sign(&sshsig_message(signed)).to_value(),
        };
        let passed_off = forge::<Operator>(token.key().name().bytes(), kind, sign);
        assert_eq!(verify(&passed_off), Err(SignedError::BadSignature), "{kind:?} under the token's name");
        let plain = verify(&forge::<Operator>(point, kind, sign)).unwrap();
        assert_ne!(plain.signer(), token.key().name(), "{kind:?} under the point is by another key");
    }
    let back = by_sk(PublicKey::from_bytes(point), |signed| token.prove(signed));
    assert_eq!(back, Err(SignedError::BadSignature));
}

#[test]
fn a_weak_point_proves_nothing_in_any_way() {
    let mut weak = [0; 32];
    weak[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    for kind in [SignatureKind::Ed25519, SignatureKind::Sshsig] {
        let bytes = forge::<Operator>(weak, kind, |_| forged.to_value());
        assert_eq!(verify(&bytes), Err(SignedError::BadSignature));
    }
    let proof =
        SkProof { point: weak, application: "ssh:".into(), flags: TOUCHED, counter: 0, signature: forged };
    let name = proof.name().unwrap();
    assert_eq!(by_sk(name, |_| proof), Err(SignedError::BadSignature));
}

#[test]
fn a_proof_has_one_form_and_nothing_behind_it() {
    let mut token = SoftToken::new(1, "ssh:");
    let name = token.key().name().bytes();
    let mut odd = |change: &dyn Fn(&mut Vec<Value>)| {
        verify(&forge::<Operator>(name, SignatureKind::SkEd25519, |signed| {
            let mut parts = token.prove(signed).to_value().into_array().unwrap();
            change(&mut parts);
            Value::Array(parts)
        }))
    };
    assert!(odd(&|_| ()).is_ok());
    type Change<'a> = &'a dyn Fn(&mut Vec<Value>);
    let changes: [Change<'_>; 6] = [
        &|parts| parts.push(Value::Null),
        &|parts| drop(parts.pop()),
        &|parts| parts[2] = Value::from(256),
        &|parts| parts[3] = Value::from(u64::from(u32::MAX) + 1),
        &|parts| parts[1] = Value::from("ssh:".repeat(100)),
        &|parts| parts[4] = Value::Bytes(vec![0; 65]),
    ];
    for change in changes {
        assert!(odd(change).is_err());
    }
    let operator = operator();
    for length in [63, 65] {
        let bytes = forge::<Operator>(operator.public().bytes(), SignatureKind::Sshsig, |signed| {
            let mut signature = operator.sign(&sshsig_message(signed)).to_vec();
            signature.resize(length, 0);
            Value::Bytes(signature)
        });
        assert!(matches!(verify(&bytes), Err(SignedError::Wire(_))));
    }
}

#[test]
fn a_programs_key_signs_in_one_way_only() {
    let key = SecretKey::<Stream>::from_seed(&[1; 32]);
    let by_ssh = forge::<Stream>(key.public().bytes(), SignatureKind::Sshsig, |signed| {
        key.sign(&sshsig_message(signed)).to_value()
    });
    assert_eq!(Signed::<Say<Stream>>::verify(&by_ssh, FLEET).unwrap_err(), SignedError::SignatureKind(1));
    let mut token = SoftToken::new(1, "ssh:");
    let by_token = forge::<Stream>(token.key().name().bytes(), SignatureKind::SkEd25519, |signed| {
        token.prove(signed).to_value()
    });
    assert_eq!(Signed::<Say<Stream>>::verify(&by_token, FLEET).unwrap_err(), SignedError::SignatureKind(2));
}

#[test]
fn what_is_exported_of_a_tokens_signature_has_the_form_of_openssh() {
    let mut token = SoftToken::new(1, "ssh:");
    let made = by_token(&mut token);
    let exported = ssh_signature(made.bytes()).unwrap().unwrap();
    let text: String = exported.armoured.lines().filter(|line| !line.starts_with('-')).collect();
    let blob = base64::decode(&text).unwrap();
    let mut reader = SshReader::new(&blob);
    assert_eq!(reader.take(6).unwrap(), b"SSHSIG");
    assert_eq!(reader.number().unwrap(), 1);
    assert_eq!(OperatorKey::from_blob(reader.string().unwrap()).unwrap(), Some(token.key()));
    reader.expect(NAMESPACE.as_bytes()).unwrap();
    reader.expect(b"").unwrap();
    reader.expect(b"sha512").unwrap();
    let mut signature = SshReader::new(reader.string().unwrap());
    reader.end().unwrap();
    signature.expect(SK_ED25519).unwrap();
    signature.string_of::<64>().unwrap();
    assert_eq!((signature.byte().unwrap(), signature.number().unwrap()), (TOUCHED, token.counter));
    signature.end().unwrap();
}
