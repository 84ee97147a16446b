//! A member that turned: a host that joined as any other does, with its keys in a test's hands, which
//! then says what it likes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer as _, SigningKey};
use muster::{
    identity::{Executor, FleetId, HostId, SecretKey, Stream},
    journal::{HostHome, MeshHome},
    net::{self, Io, Net, PeerKey, Sender},
    replica::{Item, Roots, first_hour},
    services::replication::Sync,
    sync::{Cursor, Message, Part, SYNC_VERSION, Sum},
    wire::{self, Bytes, Value, Wire, WireError},
};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    fleet::{DEADLINE, Fleet, Reach},
    signer::now,
};

const WITHIN: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Evil {
    pub(crate) host: HostId,
    pub(crate) stream: SecretKey<Stream>,
    pub(crate) executor: SecretKey<Executor>,
    pub(crate) net: Net,
    _stop: DropGuard,
    _task: JoinSet<()>,
}

impl Evil {
    /// Lets it join; nothing of it listens.
    pub(crate) fn join(fleet: &mut Fleet, name: &str) -> Self {
        let token = fleet.invite("a", &["-l", "role=web"]);
        fleet.redeem(name, &token, Reach::DialsOut).ends(0);
        let home = HostHome::open(&fleet.state(name)).expect("the member's directory");
        let mesh = MeshHome::at(&home.mesh_dir());
        let seed = *mesh.transport_key().expect("a transport key").seed();
        let (net, task) =
            net::start(net::Settings { seed, psk: home.member.shield, lan: false }).expect("a network");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        Self {
            host: home.host().expect("an id"),
            stream: mesh.stream_key().expect("a stream key"),
            executor: home.executor_key().expect("an executor key"),
            net,
            _stop: stop.drop_guard(),
            _task: tasks,
        }
    }

    /// Becomes a neighbour of `at`, which must come to know it as a member first.
    pub(crate) async fn link(&self, fleet: &Fleet, at: &str) -> Line {
        let peer = self.reach(fleet, at).await;
        let start = Instant::now();
        loop {
            if !self.net.links().borrow().contains_key(&peer) {
                self.reach(fleet, at).await;
            }
            match self.net.open::<Sync>(peer, WITHIN).await {
                Ok(channel) => {
                    let (sender, mut receiver) = channel.split_opener();
                    let heard = Arc::new(Mutex::new(Heard::default()));
                    let hears = Arc::clone(&heard);
                    let mut tasks = JoinSet::new();
                    tasks.spawn(async move {
                        while let Ok(Some(message)) = receiver.recv(DEADLINE * 10).await {
                            hears.lock().unwrap().messages.push(message);
                        }
                        hears.lock().unwrap().over = true;
                    });
                    let mut line = Line { sender, heard, _reads: tasks };
                    assert!(line.say(hello(SYNC_VERSION)).await, "{at} does not take a hello");
                    return line;
                }
                Err(error) => {
                    assert!(start.elapsed() < DEADLINE, "{at} never takes {}: {error}", self.host);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Connects to `at`, as far as the wire goes.
    pub(crate) async fn reach(&self, fleet: &Fleet, at: &str) -> PeerKey {
        let address = listens_at(fleet, at);
        let start = Instant::now();
        loop {
            match self.net.dial_unknown(address, WITHIN).await {
                Ok(peer) => return peer,
                Err(error) => assert!(start.elapsed() < DEADLINE, "{at} is not reached: {error}"),
            }
        }
    }

    /// A sync stream as bytes, after nothing was said on it.
    pub(crate) async fn bytes(&self, fleet: &Fleet, at: &str) -> Io {
        let peer = self.reach(fleet, at).await;
        let start = Instant::now();
        loop {
            match self.net.open::<Sync>(peer, WITHIN).await {
                Ok(channel) => return channel.into_io(WITHIN).await.expect("plain bytes"),
                Err(error) => {
                    assert!(start.elapsed() < DEADLINE, "{at} never takes {}: {error}", self.host);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// The hello of one that holds nothing.
pub(crate) fn hello(version: u32) -> Message {
    let sum = Sum { hour: first_hour(now()), roots: Roots::default() };
    Message::Hello { version, here: Cursor { feed: [7; 8], lsn: 0 }, since: None, sum }
}

/// Where an agent listens.
pub(crate) fn listens_at(fleet: &Fleet, at: &str) -> SocketAddr {
    let status = fleet.status(at);
    status["listen"][0].as_str().expect("an address").parse().expect("an address")
}

#[derive(Default)]
struct Heard {
    messages: Vec<Message>,
    over: bool,
}

/// Its stream to one agent.
pub(crate) struct Line {
    sender: Sender<Message>,
    heard: Arc<Mutex<Heard>>,
    _reads: JoinSet<()>,
}

impl Line {
    /// Says something; false if nobody takes it any more.
    pub(crate) async fn say(&mut self, message: Message) -> bool {
        self.sender.send(&message, WITHIN).await.is_ok()
    }

    /// Sends entries.
    pub(crate) async fn send(&mut self, entries: &[&[u8]]) -> bool {
        let items = entries.iter().map(|entry| Item::bare(entry)).collect();
        self.say(Message::Items { items, part: Part::Pushed }).await
    }

    /// Waits until the agent has dealt with everything that was said.
    pub(crate) async fn dealt_with(&mut self) {
        let nonce = u32::from_le_bytes(crate::signer::fresh()[..4].try_into().unwrap());
        let asked = self.say(Message::Ping { nonce, lsn: 0, hour: first_hour(now()), root: [0; 16] }).await;
        assert!(asked, "the agent hung up");
        self.until("it answers a ping", |messages| {
            messages
                .iter()
                .any(|said| matches!(said, Message::Pong { nonce: theirs, .. } if *theirs == nonce))
        })
        .await;
    }

    /// Waits until what was heard is enough.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Message]) -> bool) {
        let start = Instant::now();
        while !enough(&self.heard.lock().unwrap().messages) {
            assert!(!self.over(), "waited until {what}, but the agent hung up");
            assert!(start.elapsed() < DEADLINE, "waited until {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything that was heard.
    pub(crate) fn heard(&self) -> Vec<Message> {
        self.heard.lock().unwrap().messages.clone()
    }

    /// Whether the agent hung up.
    pub(crate) fn over(&self) -> bool {
        self.heard.lock().unwrap().over
    }

    /// Waits until the agent hangs up.
    pub(crate) async fn until_over(&self, what: &str) {
        let start = Instant::now();
        while !self.over() {
            assert!(start.elapsed() < DEADLINE, "{what}, and the agent still listens");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Any value as a message.
pub(crate) struct Raw(pub(crate) Value);

impl Wire for Raw {
    fn to_value(&self) -> Value {
        self.0.clone()
    }
    fn from_value(value: Value, _: &'static str) -> Result<Self, WireError> {
        Ok(Self(value))
    }
}

/// An envelope of any kind and body, signed with any seed: what no maker of the library would make.
pub(crate) fn envelope(fleet: FleetId, seed: &[u8; 32], kind: u64, body: Value) -> Vec<u8> {
    let key = SigningKey::from_bytes(seed);
    let signed = signed_part(fleet, &key.verifying_key().to_bytes(), kind, body);
    let signature = key.sign(&signed).to_bytes();
    enclosed(signed, &key.verifying_key().to_bytes(), &signature)
}

/// The signed bytes of an envelope.
pub(crate) fn signed_part(fleet: FleetId, signer: &[u8; 32], kind: u64, body: Value) -> Vec<u8> {
    wire::encode(&Raw(Value::Array(vec![
        Value::from("muster"),
        Value::from(kind),
        Value::from(1),
        fleet.to_value(),
        signer.to_value(),
        body,
    ])))
}

/// Signed bytes and a signature, as they travel.
pub(crate) fn enclosed(signed: Vec<u8>, signer: &[u8; 32], signature: &[u8; 64]) -> Vec<u8> {
    let one = Value::Array(vec![Value::from(0), signer.to_value(), Value::Bytes(signature.to_vec())]);
    wire::encode(&Raw(Value::Array(vec![Bytes(signed).to_value(), Value::Array(vec![one])])))
}
