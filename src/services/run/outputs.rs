//! The host's side of output: whole from the spool, live as it grows, and passed on for hosts that the asker
//! does not reach.
//!
//! Always holds: the host that has the output decides who may read it, by the asker's signature, whoever
//! carries the request; a slow reader holds up nobody but itself, since what it has not read stands in the
//! spool. Live pieces are what the spool holds now; only the signed result says what the output was.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    News, Runs,
    message::{
        CHUNK_BYTES, FetchOutput, FetchRequest, LivePiece, LiveReply, LiveRequest, OutputReply, WatchLive,
    },
};
use crate::{
    authority::Admitted,
    control::StreamName,
    identity::{EntryId, HostId, Signed},
    journal::spool,
    net::{Channel, ChannelError, NetError, PeerKey, Protocol, Receiver, Sender},
    replica::{Order, ReadRequest, Replica},
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
};

/// Outputs that are served at a time.
const OUTPUTS_MAX: usize = 32;
/// Live outputs that are served or passed on at a time. Who finds no room sees the output when it is whole.
const LIVE_MAX: usize = 128;
/// Hosts of one order whose live output is followed at a time.
const LIVE_HOSTS_MAX: usize = 512;
/// How often a spool is looked at for more.
const LIVE_EVERY: Duration = Duration::from_millis(50);
/// Bytes of live output in one piece.
const LIVE_BYTES_MAX: usize = 16 * 1024;
/// Hosts that may pass a request for output on.
const HOPS_MAX: u8 = 8;
/// How long one piece of output may take.
const PIECE_WITHIN: Duration = Duration::from_secs(30);
/// How long a live output may be silent: as long as a command may.
const LIVE_QUIET_MAX: Duration = Duration::from_secs(31 * 86_400);

/// Finds the neighbour that leads to a host, as replication knows it.
pub type Ways = Arc<dyn Fn(EntryId, HostId) -> BoxFuture<'static, Option<HostId>> + Send + Sync>;

impl Runs {
    /// Sends `sink` the output that `request` asks for: from here, or from who has it.
    ///
    /// # Errors
    /// In words, when there is none to be had.
    pub async fn output(
        &self,
        request: FetchRequest,
        way: Option<HostId>,
        sink: &mut (impl Sink + Send),
    ) -> Result<(), String> {
        if request.host == self.parts.me {
            self.may_read(&request)?;
            return self.own_output(&request, sink).await;
        }
        if request.hops == 0 {
            return Err("no way to the host was found".to_owned());
        }
        let (host, order) = (request.host, request.order);
        let next = FetchRequest { hops: request.hops.min(HOPS_MAX) - 1, ..request };
        let mut channel = self.open::<FetchOutput>(host, way, true).await?;
        let gone = |error: ChannelError| format!("the way to the host broke: {error}");
        channel.send_request(&next, PIECE_WITHIN).await.map_err(gone)?;
        loop {
            match channel.recv_reply(PIECE_WITHIN).await.map_err(gone)? {
                Some(OutputReply::Chunk { bytes }) => sink.piece(bytes).await?,
                Some(OutputReply::End {}) => return Ok(()),
                Some(OutputReply::Error { why }) => return Err(why),
                None => return Err(format!("the output of {order} was cut short")),
            }
        }
    }

    /// Opens a stream to the host itself if it is linked, else to the neighbour that its result came from,
    /// else, if `dial`, by dialling.
    async fn open<P: Protocol>(
        &self,
        host: HostId,
        way: Option<HostId>,
        dial: bool,
    ) -> Result<Channel<P>, String> {
        let key = |host: &HostId| {
            self.parts
                .store
                .read(|replica| replica.authority().host(host).map(|host| PeerKey(host.transport().bytes())))
        };
        let links = self.parts.net.links().borrow().clone();
        for candidate in [Some(host), way].into_iter().flatten() {
            if let Some(peer) = key(&candidate).filter(|peer| links.contains_key(peer))
                && let Ok(channel) = self.parts.net.open(peer, PIECE_WITHIN).await
            {
                return Ok(channel);
            }
        }
        if !dial {
            return Err("no neighbour leads to the host now".to_owned());
        }
        let peer = key(&host).ok_or("the host is not known")?;
        let addresses = self
            .parts
            .store
            .read(|replica| replica.node_facet(&host).map(|node| node.listen()).unwrap_or_default());
        if addresses.is_empty() {
            return Err("the host only dials out, and no neighbour leads to it now".to_owned());
        }
        self.parts
            .net
            .dial(peer, addresses, PIECE_WITHIN)
            .await
            .map_err(|error| format!("the host cannot be reached: {error}"))?;
        self.parts
            .net
            .open(peer, PIECE_WITHIN)
            .await
            .map_err(|error| format!("the host cannot be reached: {error}"))
    }

    /// Whether the signer may read: who holds `read`, or who signed the order.
    fn may_read(&self, request: &FetchRequest) -> Result<(), String> {
        let now = (self.parts.clock)();
        self.parts.store.read(|replica| may_read(replica, &request.read, request.order, self.parts.me, now))
    }

    async fn own_output(&self, request: &FetchRequest, sink: &mut (impl Sink + Send)) -> Result<(), String> {
        let (stdout, stderr) = spool::paths(&self.parts.spool, &request.order);
        let path = match request.stream {
            StreamName::Stdout => stdout,
            StreamName::Stderr => stderr,
        };
        // A file of the page cache, read in small pieces between two sends: not worth a thread.
        let mut file = File::open(&path).map_err(|_| "the host no longer has this output".to_owned())?;
        file.seek(SeekFrom::Start(request.from.unwrap_or_default()))
            .map_err(|error| format!("the host cannot read this output: {error}"))?;
        let mut piece = vec![0; CHUNK_BYTES];
        loop {
            let read = file
                .read(&mut piece)
                .map_err(|error| format!("the host cannot read this output: {error}"))?;
            if read == 0 {
                return Ok(());
            }
            sink.piece(Bytes::from(piece.get(..read).unwrap_or_default())).await?;
        }
    }

    /// Answers requests for output from other hosts, until `stop`.
    ///
    /// # Errors
    /// When the protocol is served already.
    pub async fn serve_output(self, ways: Ways, stop: CancellationToken) -> Result<(), NetError> {
        let mut incoming = self.parts.net.accept::<FetchOutput>(OUTPUTS_MAX)?;
        let mut tasks = JoinSet::new();
        loop {
            let arrival = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                arrival = incoming.next() => arrival,
            };
            while tasks.try_join_next().is_some() {}
            let Some(mut arrival) = arrival else { return Ok(()) };
            let (this, ways) = (self.clone(), Arc::clone(&ways));
            tasks.spawn(async move {
                let Ok(Some(request)) = arrival.channel.recv_request(PIECE_WITHIN).await else { return };
                let way = ways(request.order, request.host).await;
                let mut sink = Remote(&mut arrival.channel);
                let last = match this.output(request, way, &mut sink).await {
                    Ok(()) => OutputReply::End {},
                    Err(why) => OutputReply::Error { why },
                };
                if let Err(error) = arrival.channel.send_reply(&last, PIECE_WITHIN).await {
                    debug!(%error, "an output was not taken to its end");
                }
            });
        }
    }

    /// Sends `sink` what a command writes, from its start and as it comes, until it has ended.
    ///
    /// # Errors
    /// In words, when there is no more to be had; there may be though.
    pub(super) async fn live(
        &self,
        request: LiveRequest,
        way: Option<HostId>,
        sink: &mut (impl LiveSink + Send),
    ) -> Result<(), String> {
        let (me, now) = (self.parts.me, (self.parts.clock)());
        if request.host == me {
            self.parts.store.read(|replica| may_read(replica, &request.read, request.order, me, now))?;
            return self.own_live(request.order, sink).await;
        }
        if request.hops == 0 {
            return Err("no way to the host was found".to_owned());
        }
        let next = LiveRequest { hops: request.hops.min(HOPS_MAX) - 1, ..request.clone() };
        // Never dialled for: who is not led to is heard of when the output is whole.
        let mut channel = self.open::<WatchLive>(request.host, way, false).await?;
        let gone = |error: ChannelError| format!("the way to the host broke: {error}");
        channel.send_request(&next, PIECE_WITHIN).await.map_err(gone)?;
        loop {
            match channel.recv_reply(LIVE_QUIET_MAX).await.map_err(gone)? {
                Some(LiveReply::Piece { piece }) => sink.live(piece).await?,
                Some(LiveReply::End {}) => return Ok(()),
                Some(LiveReply::Error { why }) => return Err(why),
                None => return Err("the way to the host broke".to_owned()),
            }
        }
    }

    async fn own_live(&self, order: EntryId, sink: &mut (impl LiveSink + Send)) -> Result<(), String> {
        let mut running = self.working.subscribe();
        let (stdout, stderr) = spool::paths(&self.parts.spool, &order);
        let mut streams = [(StreamName::Stdout, stdout, None, 0), (StreamName::Stderr, stderr, None, 0)];
        loop {
            // First whether it runs, then what there is: what it wrote last is not missed.
            let runs = running.borrow_and_update().contains(&order);
            let mut more = false;
            for (stream, path, file, at) in &mut streams {
                if file.is_none() {
                    *file = File::open(path).ok();
                }
                let Some(file) = file else { continue };
                let mut bytes = vec![0; LIVE_BYTES_MAX];
                let read = file.read_at(&mut bytes, *at).map_err(|error| error.to_string())?;
                if read > 0 {
                    bytes.truncate(read);
                    let piece = LivePiece { stream: *stream, at: *at, bytes: Bytes(bytes) };
                    *at += read as u64;
                    more = true;
                    // Waits for whoever reads slowly, with one piece in hand.
                    sink.live(piece).await?;
                }
            }
            if more {
                continue;
            }
            if !runs {
                return Ok(());
            }
            tokio::select! {
                changed = running.changed() => changed.map_err(|_| "the agent stops".to_owned())?,
                () = sleep(LIVE_EVERY) => {}
            }
        }
    }

    /// Sends what the commands of an order write on all hosts that work on it, or say so from now on; ends
    /// when nobody takes it any more. `read` is the signed `ReadRequest`.
    pub async fn follow(
        &self,
        read: Bytes,
        order: EntryId,
        ways: Ways,
        pieces: mpsc::Sender<(HostId, LivePiece)>,
    ) {
        let (mut news, mut tasks, mut followed) = (self.news(), JoinSet::new(), HashSet::new());
        // After the news: who begins meanwhile is in one of them.
        let mut at_work = self.at_work(&order);
        loop {
            let item = if let Some(host) = at_work.pop_first() {
                Ok(News::Running(order, host))
            } else {
                tokio::select! {
                    () = pieces.closed() => return,
                    item = news.recv() => item,
                }
            };
            while tasks.try_join_next().is_some() {}
            match item {
                Ok(News::Running(of, host)) if of == order => {
                    if tasks.len() >= LIVE_HOSTS_MAX || !followed.insert(host) {
                        continue;
                    }
                    let (this, ways, pieces) = (self.clone(), Arc::clone(&ways), pieces.clone());
                    let request = LiveRequest { read: read.clone(), order, host, hops: u8::MAX };
                    tasks.spawn(async move {
                        let way = ways(order, host).await;
                        let mut sink = Following { host, pieces };
                        if let Err(why) = this.live(request, way, &mut sink).await {
                            debug!(%host, why, "live output ended early");
                        }
                    });
                }
                // Who falls behind misses a start, and sees that host's output when it is whole.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Answers requests for live output from other hosts, until `stop`.
    ///
    /// # Errors
    /// When the protocol is served already.
    pub async fn serve_live(self, ways: Ways, stop: CancellationToken) -> Result<(), NetError> {
        let mut incoming = self.parts.net.accept::<WatchLive>(LIVE_MAX)?;
        let mut tasks = JoinSet::new();
        loop {
            let arrival = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                arrival = incoming.next() => arrival,
            };
            while tasks.try_join_next().is_some() {}
            let Some(mut arrival) = arrival else { return Ok(()) };
            let (this, ways) = (self.clone(), Arc::clone(&ways));
            tasks.spawn(async move {
                let Ok(Some(request)) = arrival.channel.recv_request(PIECE_WITHIN).await else { return };
                let way = ways(request.order, request.host).await;
                let (mut sender, mut receiver) = arrival.channel.split_acceptor();
                let answering = async {
                    let last = match this.live(request, way, &mut RemoteLive(&mut sender)).await {
                        Ok(()) => LiveReply::End {},
                        Err(why) => LiveReply::Error { why },
                    };
                    let _gone = sender.send(&last, PIECE_WITHIN).await;
                };
                // A command may be quiet for hours after whoever watched it has gone.
                tokio::select! {
                    () = answering => {}
                    () = hung_up(&mut receiver) => {}
                }
            });
        }
    }
}

/// Completes when the other end is gone, or says what it should not.
async fn hung_up(receiver: &mut Receiver<LiveRequest>) {
    let _end_or_noise = receiver.recv(LIVE_QUIET_MAX).await;
}

/// Where pieces of live output go.
pub(super) trait LiveSink {
    /// Takes the next piece, once there is room for it.
    fn live(&mut self, piece: LivePiece) -> impl Future<Output = Result<(), String>> + Send;
}

struct RemoteLive<'a>(&'a mut Sender<LiveReply>);
impl LiveSink for RemoteLive<'_> {
    async fn live(&mut self, piece: LivePiece) -> Result<(), String> {
        // As long as it takes: what is not taken stands in the spool. Who is gone is noticed elsewhere.
        let sent = self.0.send(&LiveReply::Piece { piece }, LIVE_QUIET_MAX).await;
        sent.map_err(|error| error.to_string())
    }
}

struct Following {
    host: HostId,
    pieces: mpsc::Sender<(HostId, LivePiece)>,
}
impl LiveSink for Following {
    async fn live(&mut self, piece: LivePiece) -> Result<(), String> {
        self.pieces.send((self.host, piece)).await.map_err(|_| "nobody watches any more".to_owned())
    }
}

/// Whether the signer may read what `order` left on this host: who holds `read`, or who signed the order.
fn may_read(
    replica: &Replica,
    read: &Bytes,
    order: EntryId,
    me: HostId,
    now: Timestamp,
) -> Result<(), String> {
    let refused = |why: &dyn std::fmt::Display| format!("reading the output is refused: {why}");
    let read = Signed::<ReadRequest>::verify(&read.0, replica.fleet()).map_err(|e| refused(&e))?;
    let body = read.body();
    if body.order != order {
        return Err(refused(&"the request is for another order"));
    }
    if body.issued.before(SKEW_MAX) > now {
        return Err(refused(&"the request was made in the future by this host's clock"));
    }
    if now > body.expires || body.expires.since(body.issued) > Duration::from_secs(3600) {
        return Err(refused(&"the request has expired"));
    }
    let authority = replica.authority();
    let issuer = replica.order(&order).map(|order: &Admitted<Order>| order.signed().signer());
    let is_issuer = issuer == Some(read.signer());
    let may = authority.may_read(&body.certificate, read.signer(), is_issuer, &me, body.issued, now);
    may.map_err(|error| refused(&authority.in_full(&error, &body.certificate)))
}

/// Where pieces of output go.
pub trait Sink {
    /// Takes the next piece.
    ///
    /// # Errors
    /// In words, when nobody takes more.
    fn piece(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), String>> + Send;
}

struct Remote<'a>(&'a mut Channel<FetchOutput>);
impl Sink for Remote<'_> {
    async fn piece(&mut self, bytes: Bytes) -> Result<(), String> {
        self.0
            .send_reply(&OutputReply::Chunk { bytes }, PIECE_WITHIN)
            .await
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::Verb,
        control::testing::{NOW, TestFleet},
        identity::SecretKey,
    };

    const ORDER: EntryId = EntryId([5; 32]);

    fn request(fleet: &TestFleet, change: impl FnOnce(&mut ReadRequest)) -> ReadRequest {
        let expires = NOW.after(Duration::from_secs(60));
        let mut request = ReadRequest { certificate: fleet.certificate, order: ORDER, issued: NOW, expires };
        change(&mut request);
        request
    }

    /// What becomes of a request that the operator of `fleet` signed, at a host with this tag.
    fn asked(
        mut fleet: TestFleet,
        tag: (&str, &str),
        change: impl FnOnce(&mut ReadRequest),
    ) -> Result<(), String> {
        let host = fleet.host("web-1", &[tag]);
        let signed = Signed::sign(fleet.chain.fleet(), &fleet.operator, request(&fleet, change));
        may_read(&fleet.replica, &Bytes::from(signed.bytes()), ORDER, host, NOW)
    }

    fn refused(said: Result<(), String>, why: &str) {
        let said = said.expect_err(why);
        assert!(said.starts_with("reading the output is refused: ") && said.contains(why), "{said}");
    }

    #[test]
    fn who_may_not_read_gets_no_output_live_or_whole() {
        let web = ("role", "web");
        assert_eq!(asked(TestFleet::acme(), web, |_| {}), Ok(()));
        let without = || TestFleet::with(|certificate| certificate.verbs.retain(|verb| *verb != Verb::Read));
        refused(asked(without(), web, |_| {}), "does not allow read");
        let dbs = || TestFleet::with(|certificate| certificate.scope = "tag.role = db".to_owned());
        refused(asked(dbs(), web, |_| {}), "does not cover this host");
        assert_eq!(asked(dbs(), ("role", "db"), |_| {}), Ok(()));
        refused(asked(TestFleet::acme(), web, |read| read.order = EntryId([6; 32])), "another order");
        refused(
            asked(TestFleet::acme(), web, |read| read.expires = read.issued.before(Duration::from_secs(1))),
            "expired",
        );
        refused(
            asked(TestFleet::acme(), web, |read| read.expires = read.issued.after(Duration::from_secs(3601))),
            "expired",
        );
        refused(asked(TestFleet::acme(), web, |read| read.issued = NOW.after(SKEW_MAX * 2)), "in the future");
        refused(asked(TestFleet::acme(), web, |read| read.certificate = ORDER), "");
    }

    #[test]
    fn a_request_under_the_certificate_of_another_is_refused() {
        let mut fleet = TestFleet::acme();
        let host = fleet.host("web-1", &[]);
        let thief = SecretKey::from_seed(&[77; 32]);
        let signed = Signed::sign(fleet.chain.fleet(), &thief, request(&fleet, |_| {}));
        refused(may_read(&fleet.replica, &Bytes::from(signed.bytes()), ORDER, host, NOW), "");
        let other = Signed::sign(TestFleet::other().chain.fleet(), &fleet.operator, request(&fleet, |_| {}));
        refused(may_read(&fleet.replica, &Bytes::from(other.bytes()), ORDER, host, NOW), "another fleet");
    }
}
