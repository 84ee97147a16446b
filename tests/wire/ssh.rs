//! Signatures by way of SSH, and the certificate of a key on a FIDO token. The private half of the
//! token's key is that of the development operator's: what makes them two keys is kind and application.

use crate::{
    file::{self, Names, leaf, record},
    hardened,
    objects::{self, fleet},
};
use ed25519_dalek::{Signer as _, SigningKey};
use muster::{
    authority::{Certificate, RootChange, RootUpdate},
    identity::{
        Cosigned, Kind, PublicKey, Signed, SignedError,
        ssh::{OperatorKey, Proof, SkProof, TOUCHED, sshsig_message},
    },
    replica::Order,
};
use sha2::{Digest as _, Sha256};

fn key() -> SigningKey {
    SigningKey::from_bytes(&objects::operator().seed())
}

fn on_token() -> OperatorKey {
    OperatorKey::SkEd25519 { point: key().verifying_key().to_bytes(), application: "ssh:muster".to_owned() }
}

/// As a touched token signs (OpenSSH's `PROTOCOL.u2f`).
fn by_token(signed: &[u8]) -> Proof {
    let OperatorKey::SkEd25519 { point, application } = on_token() else { unreachable!() };
    let (flags, counter) = (TOUCHED, 0x0102_0304_u32);
    let mut message = Sha256::digest(&application).to_vec();
    message.push(flags);
    message.extend(counter.to_be_bytes());
    message.extend(Sha256::digest(sshsig_message(signed)));
    Proof::SkEd25519(SkProof {
        point,
        application,
        flags,
        counter,
        signature: key().sign(&message).to_bytes(),
    })
}

fn golden_order(
    name: &str,
    key: &OperatorKey,
    proof: Names,
    prove: impl Fn(&[u8]) -> Proof,
) -> Signed<Order> {
    let made =
        Signed::sign_by(fleet(), key.name(), objects::order(), |signed| Ok::<_, SignedError>(prove(signed)));
    let made = made.unwrap();
    let bytes = file::golden(name, made.bytes(), &objects::names_with(objects::order_names(), proof));
    assert_eq!(made.bytes(), bytes, "{name}");
    let read = Signed::<Order>::verify(&bytes, fleet()).unwrap();
    assert_eq!((read.body(), read.id(), read.signer()), (&objects::order(), made.id(), key.name()));
    hardened(name, Kind::Order, &bytes, fleet());
    read
}

#[test]
fn order_signed_through_an_agent() {
    let plain: OperatorKey = objects::operator().public().into();
    let read = golden_order("order-sshsig", &plain, leaf("signature, ed25519 over SSHSIG"), |signed| {
        Proof::Sshsig(key().sign(&sshsig_message(signed)).to_bytes())
    });
    let plainly = Signed::sign(fleet(), &objects::operator(), objects::order());
    assert_eq!(read.id(), plainly.id(), "an id leaves the signature out");
}

#[test]
fn order_signed_by_a_token() {
    let proof = record(
        "proof",
        [leaf("point"), leaf("application"), leaf("flags"), leaf("counter"), leaf("signature, ed25519")],
    );
    let read = golden_order("order-sk", &on_token(), proof, by_token);
    assert_ne!(read.signer(), objects::operator().public());
}

#[test]
fn root_certify_a_key_on_a_token() {
    let [one, _, three] = objects::roots();
    let certificate = Certificate { key: on_token(), ..objects::certificate() };
    let body = RootUpdate { change: RootChange::Certify(certificate), ..objects::certify_update() };
    let made = Cosigned::sign(fleet(), &[&three, &one], body.clone());
    let key = record("operator key", [leaf("kind"), leaf("point"), leaf("application")]);
    let bytes =
        file::golden("root-certify-sk", made.bytes(), &objects::names(objects::certify_names_of(key)));
    assert_eq!(made.bytes(), bytes);
    assert_eq!(Cosigned::<RootUpdate>::verify(&bytes, fleet()).unwrap().body(), &body);
    hardened("root-certify-sk", Kind::Root, &bytes, fleet());
}

#[test]
fn the_keys_lines_and_fingerprints_are_those_of_openssh() {
    // `ssh-keygen -lf` over the lines, OpenSSH 9.2.
    let plain: OperatorKey = PublicKey::from_bytes(key().verifying_key().to_bytes()).into();
    for (key, line, fingerprint) in
        [(plain, PLAIN_LINE, PLAIN_FINGERPRINT), (on_token(), TOKEN_LINE, TOKEN_FINGERPRINT)]
    {
        assert_eq!((key.line().as_str(), key.fingerprint().as_str()), (line, fingerprint));
        assert_eq!(OperatorKey::from_line(line).unwrap().unwrap().0, key);
    }
}

const PLAIN_LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnYo0RbymRT7rEhDhLb+kXK3wS+6SX6xEDdbk2dKqIr";
const PLAIN_FINGERPRINT: &str = "SHA256:pPtdIHINSOXW06bLiTs5TmO54jPnXGVIYXJlrT6RiOY";
const TOKEN_LINE: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIBnYo0RbymRT7rEhDhLb+kXK3wS+6SX6xEDdbk2dKqIrAAAACnNzaDptdXN0ZXI=";
const TOKEN_FINGERPRINT: &str = "SHA256:7LyhbEqI8IlwLSEg3Bwm6gO6M7TK5+NSDM2PeNBlTCA";
