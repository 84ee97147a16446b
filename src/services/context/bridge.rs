//! What stands behind the socket: a request is carried to a member and its replies back, or is answered from what is
//! kept where no member answers.
//!
//! A member that goes away in the middle is replaced by another. A request that nothing came back of is put again:
//! all of them may be (what is handed over is signed, and known by its hash). What goes on for ever is taken up
//! again, and what came of an order is then asked of its keepers, which send from the beginning what they hold: who
//! reads it knows what was told twice.
//! Anything else that is cut in the middle is cut for whoever asked.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::join_all,
    stream::{BoxStream, SelectAll, unfold},
};

use super::{
    cache::{Entries, Kept, words_kept},
    way::{Member, Way, WayError},
};
use crate::{
    authority::{Authority, RootChain, Standing},
    control::{Answer, CONTROL_VERSION, FoundRow, Handler, HostRow, Remote, Reply, Request},
    identity::{EntryId, FleetId, HostId, Signed},
    journal::OperatorHome,
    net::{Channel, ChannelError},
    replica::{Entry, Item, Order, Replica},
    selector::{Root, Selector},
    wire::Bytes,
};

/// Members that one request is put to at most.
const ATTEMPTS_MAX: usize = 6;
/// How long a request may take to be sent.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait for a reply before looking again; who asked decides when it is enough.
const REPLY_WITHIN: Duration = Duration::from_secs(3600);
/// Bytes of entries in one reply.
const ITEMS_BYTES_MAX: usize = 256 * 1024;
/// Rows in one reply.
const ROWS_MAX: usize = 512;

/// What is kept, for when nobody answers.
pub(super) struct Offline {
    pub(super) why: String,
    pub(super) kept: Option<Kept>,
    pub(super) entries: Option<Entries>,
    /// What the entries must hold under.
    pub(super) chain: RootChain,
    /// The fleet, verified; made when it is first asked for.
    pub(super) verified: OnceLock<Replica>,
}

impl Offline {
    /// The fleet as the entries that are kept say, each of which is verified anew.
    fn replica(&self) -> Option<&Replica> {
        let entries = self.entries.as_ref()?;
        Some(self.verified.get_or_init(|| {
            let mut replica = Replica::looking_on(Authority::new(self.chain.clone()));
            for item in &entries.fleet {
                if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet()) {
                    let _does_not_hold = replica.merge(entry, &item.facets);
                }
            }
            replica
        }))
    }

    fn genesis(&self) -> Bytes {
        self.chain.updates().first().map(|genesis| Bytes::from(genesis.bytes())).unwrap_or_default()
    }
}

/// Answers what comes by the socket.
pub(super) struct Bridge {
    pub(super) way: Arc<Way>,
    pub(super) fleet: FleetId,
    pub(super) operators: PathBuf,
    pub(super) offline: Option<Offline>,
    /// Whether something was handed over that changes what is kept.
    pub(super) changed: Arc<AtomicBool>,
}

/// What became of a request at one member.
enum Put {
    Answered,
    Broken { forwarded: bool },
}

impl Handler for Bridge {
    async fn answer(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        match &self.offline {
            None => self.carry(request, answer).await,
            Some(offline) => {
                for reply in self.kept_replies(offline, &request) {
                    answer.send(&reply).await?;
                }
                Ok(())
            }
        }
    }
}

impl Bridge {
    async fn carry(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        if let Request::Watch { order, follow } = request {
            return self.watch(order, follow, answer).await;
        }
        let follows = matches!(request, Request::Live { .. });
        if let Request::Submit { items } = &request
            && !items.iter().all(|item| self.is_order(item))
        {
            self.changed.store(true, Ordering::Relaxed);
        }
        for _ in 0..ATTEMPTS_MAX {
            let member = match self.way.member().await {
                Ok(member) => member,
                Err(error) => return answer.send(&no_member(&error)).await,
            };
            if matches!(request, Request::Hello { .. }) {
                return answer.send(&member.hello).await;
            }
            match self.put(&member, &request, follows, answer).await? {
                Put::Answered => return Ok(()),
                Put::Broken { forwarded } => {
                    self.way.lost(&member).await;
                    if forwarded && !follows {
                        break;
                    }
                }
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Whether an entry is of an order: those come and go, and who belongs and what is tagged stays as it is.
    fn is_order(&self, item: &Item) -> bool {
        matches!(Entry::verify(&item.entry.0, self.fleet), Ok(Entry::Order(_) | Entry::Cancellation(_)))
    }

    /// What came of an order: from the host that it was given at, which is told of all, or, where that does not
    /// answer, from all of its keepers, each of which knows what came of it on the others.
    async fn watch(&self, order: EntryId, follow: bool, answer: &mut Answer<'_>) -> io::Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            let asked = match self.who_knows(&order).await {
                Ok(asked) => asked,
                Err(error) => return answer.send(&no_member(&error)).await,
            };
            let mut told = SelectAll::new();
            for member in &asked {
                let request = Request::Watch { order, follow };
                if let Some(channel) = self.begun(member, &request).await {
                    told.push(replies(channel));
                } else {
                    self.way.lost(member).await;
                }
            }
            let mut whole = false;
            loop {
                let reply = tokio::select! {
                    () = answer.hung_up(), if follow => return Err(io::ErrorKind::ConnectionAborted.into()),
                    reply = told.next() => reply,
                };
                match reply {
                    None => break,
                    Some(Some(Reply::End {})) => whole = true,
                    // It went away; others go on.
                    Some(None) => {}
                    Some(Some(reply)) if reply.is_followed() => answer.send(&reply).await?,
                    Some(Some(reply)) => return answer.send(&reply).await,
                }
            }
            if whole && !follow {
                return answer.send(&Reply::End {}).await;
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// The members that know what came of an order.
    async fn who_knows(&self, order: &EntryId) -> Result<Vec<Member>, WayError> {
        let keepers = self.keepers(order).unwrap_or_default();
        let Some((entry, others)) = keepers.split_first() else { return Ok(vec![self.way.member().await?]) };
        if let Some(entry) = self.way.host(*entry).await {
            return Ok(vec![entry]);
        }
        let reached = join_all(others.iter().map(|host| self.way.host(*host))).await;
        let reached: Vec<Member> = reached.into_iter().flatten().collect();
        if reached.is_empty() { Ok(vec![self.way.member().await?]) } else { Ok(reached) }
    }

    /// The keepers of an order that was given from here.
    fn keepers(&self, order: &EntryId) -> Option<Vec<HostId>> {
        let home = OperatorHome::find(&self.operators, self.fleet).ok()??;
        let bytes = home.order(order).ok()??;
        Some(Signed::<Order>::verify(&bytes.0, self.fleet).ok()?.body().keepers.clone())
    }

    /// Puts a request to a member and hands on what it says. An error is whoever asked going away.
    async fn put(
        &self,
        member: &Member,
        request: &Request,
        follows: bool,
        answer: &mut Answer<'_>,
    ) -> io::Result<Put> {
        let mut forwarded = false;
        let Some(mut channel) = self.begun(member, request).await else {
            return Ok(Put::Broken { forwarded });
        };
        loop {
            let reply = if follows {
                tokio::select! {
                    () = answer.hung_up() => return Err(io::ErrorKind::ConnectionAborted.into()),
                    reply = channel.recv_reply(REPLY_WITHIN) => reply,
                }
            } else {
                channel.recv_reply(REPLY_WITHIN).await
            };
            let reply = match reply {
                Ok(Some(Reply::End {})) if follows => return Ok(Put::Broken { forwarded }),
                Ok(Some(reply)) => reply,
                Err(ChannelError::TimedOut { .. }) => continue,
                Ok(None) | Err(_) => return Ok(Put::Broken { forwarded }),
            };
            forwarded = true;
            let last = !reply.is_followed();
            let reply = from_outside(reply);
            answer.send(&reply).await?;
            if last {
                return Ok(Put::Answered);
            }
        }
    }

    /// A conversation with a member in which a request was put, and nothing said to it yet.
    async fn begun(&self, member: &Member, request: &Request) -> Option<Channel<Remote>> {
        let mut channel = self.way.open(member).await.ok()?;
        channel.send_request(request, SEND_WITHIN).await.ok()?;
        match channel.recv_reply(SEND_WITHIN).await {
            Ok(Some(Reply::Hello { .. })) => Some(channel),
            _ => None,
        }
    }

    /// The replies to a request out of what is kept.
    fn kept_replies(&self, offline: &Offline, request: &Request) -> Vec<Reply> {
        let refuse = |why: String| vec![Reply::Offline { why }];
        let (Some(kept), Some(entries)) = (&offline.kept, &offline.entries) else {
            return refuse(offline.why.clone());
        };
        match request {
            Request::Hello { .. } => vec![Reply::Hello {
                version: CONTROL_VERSION,
                agent: env!("CARGO_PKG_VERSION").to_owned(),
                fleet: self.fleet,
                genesis: offline.genesis(),
                host: HostId([0; 32]),
            }],
            Request::Fleet { .. } => items(&entries.fleet),
            Request::Orders {} => items(&entries.orders),
            Request::Waited {} => vec![Reply::Waited { recoveries: Vec::new() }],
            Request::Watch { follow: false, .. } => vec![Reply::End {}],
            Request::Hosts {} => {
                vec![Reply::Hosts { hosts: kept.lines.iter().map(|line| line.about.clone()).collect() }]
            }
            Request::HostLines {} => pages(&kept.lines, |rows, more| Reply::HostLines { rows, more }),
            Request::Words { kind, start, limit } => {
                vec![Reply::Words { words: words_kept(kept, kind, start, *limit) }]
            }
            Request::InventorySearch { expression, columns, limit } => {
                found(offline, kept, expression, columns, *limit).unwrap_or_else(refuse)
            }
            _ => refuse(offline.why.clone()),
        }
    }
}

/// What a member says to one request, until it ends or goes away (nothing then).
fn replies(channel: Channel<Remote>) -> BoxStream<'static, Option<Reply>> {
    let told = unfold(Some(channel), |channel| async move {
        let mut channel = channel?;
        loop {
            match channel.recv_reply(REPLY_WITHIN).await {
                Ok(Some(reply)) => {
                    let rest = reply.is_followed().then_some(channel);
                    return Some((Some(reply), rest));
                }
                Err(ChannelError::TimedOut { .. }) => {}
                Ok(None) | Err(_) => return Some((None, None)),
            }
        }
    });
    told.boxed()
}

fn no_member(error: &WayError) -> Reply {
    match error {
        WayError::Unreachable { .. } => Reply::Offline { why: error.to_string() },
        WayError::Refused { .. } => Reply::Error { why: error.to_string(), refused: true },
    }
}

/// A member's own row as this machine sees it, which is not that host.
fn from_outside(mut reply: Reply) -> Reply {
    let rows: Vec<&mut HostRow> = match &mut reply {
        Reply::Hosts { hosts } => hosts.iter_mut().collect(),
        Reply::HostLines { rows, .. } => rows.iter_mut().map(|row| &mut row.about).collect(),
        Reply::Found { rows, .. } => rows.iter_mut().map(|row| &mut row.about).collect(),
        Reply::Tables { about, .. } => vec![about],
        _ => Vec::new(),
    };
    for row in rows.into_iter().filter(|row| row.state == "self") {
        "up".clone_into(&mut row.state);
    }
    reply
}

/// Whether what a path leads to is in the entries that are kept: all else is in what hosts say of themselves.
fn is_kept(root: Root) -> bool {
    matches!(root, Root::Tag | Root::Name | Root::Id | Root::State)
}

/// Hosts that an expression over names and tags is true for, by what is kept.
fn found(
    offline: &Offline,
    kept: &Kept,
    expression: &str,
    columns: &[String],
    limit: u32,
) -> Result<Vec<Reply>, String> {
    let not_kept = || format!("{}; what hosts say of themselves is not kept here", offline.why);
    let selector = Selector::parse(expression).map_err(|error| error.to_string())?;
    if !selector.paths().iter().all(|path| is_kept(path.root())) {
        return Err(not_kept());
    }
    let mut paths: Vec<String> = selector.paths().iter().map(ToString::to_string).collect();
    paths.extend(columns.iter().filter(|column| !paths.contains(column)).cloned().collect::<Vec<_>>());
    let replica = offline.replica().ok_or_else(|| offline.why.clone())?;
    let mut rows = Vec::new();
    for line in &kept.lines {
        let Some(host) = replica.authority().host(&line.about.host) else { continue };
        if host.standing() != Standing::Member || !selector.selects(&replica.known(host)) {
            continue;
        }
        let mut values = Vec::new();
        for path in &paths {
            let tag =
                |key: &str| line.tags.iter().find(|(held, _)| held == key).map(|(_, value)| value.clone());
            let value = match (path.as_str(), path.strip_prefix("tag.")) {
                (_, Some(key)) => tag(key),
                ("name", _) => Some(line.name.clone()),
                ("id", _) => Some(line.about.host.to_string()),
                ("state", _) => Some("member".to_owned()),
                _ => return Err(not_kept()),
            };
            values.push(value.into_iter().collect());
        }
        rows.push(FoundRow { about: line.about.clone(), name: line.name.clone(), values, changed: None });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let cut = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok(pages(&rows, |rows, more| Reply::Found { paths: paths.clone(), rows, left_out: 0, cut, more }))
}

fn pages<T: Clone>(rows: &[T], reply: impl Fn(Vec<T>, bool) -> Reply) -> Vec<Reply> {
    let mut chunks = rows.chunks(ROWS_MAX).peekable();
    let mut replies = Vec::new();
    while let Some(chunk) = chunks.next() {
        replies.push(reply(chunk.to_vec(), chunks.peek().is_some()));
    }
    if replies.is_empty() {
        replies.push(reply(Vec::new(), false));
    }
    replies
}

fn items(all: &[Item]) -> Vec<Reply> {
    let (mut replies, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for item in all {
        if bytes + item.weight() > ITEMS_BYTES_MAX && !batch.is_empty() {
            replies.push(Reply::Items { items: std::mem::take(&mut batch), more: true });
            bytes = 0;
        }
        bytes += item.weight();
        batch.push(item.clone());
    }
    replies.push(Reply::Items { items: batch, more: false });
    replies
}
