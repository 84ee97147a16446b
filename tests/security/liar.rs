//! What a member that lies in the words of the exchange can do: announce, ask, answer, and say of itself what is
//! not so. Each time an honest change still gets to everybody, the liar is named where it asked for work, and no
//! agent grows.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use muster::{
    identity::Signed,
    replica::{FacetHash, FacetRef, Head, HeadTips, Item, Packed, Tip},
    sync::{HeadRow, Message, Part, pack_halves, pack_heads, prefix},
    time::Hlc,
    wire::Bytes,
};
use tokio::runtime::Runtime;

use crate::{
    evil::{Evil, Line},
    fleet::{Fleet, Reach},
    member::resident,
    signer::{Signer, fresh, host_id, now},
};

/// What an agent may grow by, in KiB.
const ROOM_KIB: u64 = 128 * 1024;

pub(crate) fn dpkg(fleet: &Fleet, host: &str) -> PathBuf {
    fleet.dir().join(format!("dpkg-{host}"))
}

/// One package in a host's database, put there as dpkg does.
pub(crate) fn install(fleet: &Fleet, host: &str, version: &str) {
    let dir = dpkg(fleet, host);
    fs::create_dir_all(&dir).unwrap();
    let stanza = format!(
        "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
    );
    fs::write(dir.join("status-new"), stanza).unwrap();
    fs::rename(dir.join("status-new"), dir.join("status")).unwrap();
}

/// `a`, `b` and `c`, each with a package database of its own.
pub(crate) fn three() -> Fleet {
    let mut fleet = Fleet::found("acme");
    fleet.stop("a");
    for host in ["a", "b", "c"] {
        if host != "a" {
            let token = fleet.invite("a", &[]);
            fleet.redeem(host, &token, Reach::Listens).ends(0);
        }
        install(&fleet, host, "1.0");
        let path = fleet.state(host).join("agent.toml");
        let settings = fs::read_to_string(&path).unwrap();
        let other = settings.lines().filter(|line| !line.starts_with("dpkg"));
        let lines: Vec<&str> = other.collect();
        let own = format!("dpkg = \"{}\"\n{}\n", dpkg(&fleet, host).display(), lines.join("\n"));
        fs::write(&path, own).unwrap();
        fleet.start(host);
    }
    fleet.all_see_all();
    for at in ["a", "b", "c"] {
        fleet.until(&format!("{at} knows the packages of all"), |fleet| {
            let expression = "deb.openssl = 1.0 and has fact.kernel_info.version";
            let output = fleet.muster(at, &["inventory", "search", expression, "-o", "name"]);
            if output.text() == "a\nb\nc\n" { Ok(()) } else { Err(format!("{output:?}")) }
        });
    }
    fleet
}

/// Installs a version on `a` and waits until all of them find it there.
fn an_honest_change_spreads(fleet: &Fleet, version: &str) -> Duration {
    install(fleet, "a", version);
    let began = Instant::now();
    for at in ["b", "c"] {
        fleet.until(&format!("{at} hears of openssl {version} on a"), |fleet| {
            let expression = format!("deb.openssl = {version}");
            let output = fleet.muster(at, &["inventory", "search", &expression, "-o", "name"]);
            if output.text().trim() == "a" { Ok(()) } else { Err(format!("{output:?}")) }
        });
    }
    began.elapsed()
}

/// A head of the liar's own, or of whoever's key it is.
fn head(signer: &Signer, evil: &Evil, sequence: u64, facets: Vec<FacetRef>) -> Vec<u8> {
    let at = Hlc::default().next(now());
    let head = Head { epoch: 1, sequence, previous: None, at, facets, audit: None };
    Signed::sign(signer.fleet, &evil.stream, head).bytes().to_vec()
}

fn named(name: &str, bytes: &[u8]) -> FacetRef {
    let length = u32::try_from(bytes.len()).unwrap();
    FacetRef { name: name.to_owned(), hash: FacetHash::of(bytes), bytes: length, at: None }
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&fresh()).finalize_xof().fill(&mut bytes);
    bytes
}

#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Halves of entries that there are not.
    Announces,
    /// Heads whose facets unpack to 64 MiB each, in some kilobytes.
    Bombs,
    /// Differences to differences, and to what never comes.
    Patches,
    /// A head in another host's name, which waits for a facet that never comes.
    Forges,
    /// Facets nobody asked for.
    Unasked,
    /// Pings.
    Pings,
    /// Nothing, over and over.
    Empty,
    /// Questions for its own long facet.
    Asks,
    /// A megabyte of rows, and places that unpack to gigabytes.
    Tips,
    /// Heads that go back, skip, and contradict each other; facets over the limit.
    Heads,
    /// Hello again.
    Hello,
}

impl Lie {
    /// What it says in round `n`.
    fn words(self, n: u64, signer: &Signer, evil: &Evil, victim: muster::identity::HostId) -> Vec<Message> {
        let items = |items| vec![Message::Items { items, part: Part::Pushed }];
        let half = || fresh().first_chunk::<16>().copied().unwrap();
        match self {
            Self::Announces => {
                let halves: Vec<_> = (0..4).map(|_| half()).collect();
                vec![
                    Message::Told { lsn: n, heads: Bytes::default(), entries: pack_halves(&halves) },
                    Message::Items { items: Vec::new(), part: Part::Last },
                ]
            }
            Self::Bombs => {
                let along: Vec<_> = (0..64).map(|at| Packed::alone(&vec![0; 1024 * 1024 - at])).collect();
                let facets = vec![named("deb", &noise(500))];
                let entry = |at| Bytes(head(signer, evil, n * 8 + at, facets.clone()));
                items((0..8).map(|at| Item { entry: entry(at), facets: along.clone() }).collect())
            }
            Self::Patches => {
                let (one, two) = (noise(400), noise(500));
                let first = Packed::against(&one, FacetHash::of(&two).half(), &two).unwrap();
                let second = Packed::against(&two, FacetHash::of(&one).half(), &one).unwrap();
                let entry =
                    Bytes(head(signer, evil, 10_000 + n, vec![named("deb", &one), named("deb2", &two)]));
                items(vec![Item { entry, facets: vec![first, second] }])
            }
            Self::Forges => {
                let mut entry = head(signer, evil, u64::MAX - n, vec![named("deb", &noise(500))]);
                // The liar's key stands in it: the victim's does not verify.
                let last = entry.len() - 1;
                entry[last] ^= 1;
                items(vec![Item::bare(&entry)])
            }
            Self::Unasked => {
                let facets: Vec<_> = (0..4).map(|_| Packed::alone(&noise(100_000))).collect();
                vec![Message::Facets { halves: pack_halves(&[half(), half(), half(), half()]), facets }]
            }
            Self::Pings => (0..200)
                .map(|at| Message::Ping { nonce: at, lsn: 0, hour: u64::MAX, root: [0; 16] })
                .collect(),
            Self::Empty => {
                (0..200).map(|_| Message::Items { items: Vec::new(), part: Part::Pushed }).collect()
            }
            Self::Asks => {
                let half = FacetHash::of(&long_facet()).half().0;
                vec![Message::Want {
                    heads: pack_heads(&[HeadRow { host: prefix(&victim), epoch: 0, sequence: 0 }], 8),
                    entries: Bytes::default(),
                    facets: pack_halves(&vec![half; 32]),
                }]
            }
            Self::Tips => {
                let rows = Bytes(noise(900_000));
                // A frame of zeros, as a difference of places.
                let Packed::Zstd { bytes } = Packed::alone(&vec![0; 32 * 1024 * 1024]) else {
                    unreachable!()
                };
                let dense = HeadTips::Dense { members: [0; 16], places: bytes };
                let tip = Tip { heads: Some(HeadTips::Full { rows }), ..Tip::nothing() };
                vec![
                    Message::Tips { tip },
                    Message::Tips { tip: Tip { heads: Some(dense), hour: u64::MAX, ..Tip::nothing() } },
                ]
            }
            Self::Heads => {
                let far = |sequence| Item::bare(&head(signer, evil, sequence, Vec::new()));
                let long = FacetRef { bytes: u32::MAX, ..named("deb", b"long") };
                let long = Item::bare(&head(signer, evil, 20_000 + n, vec![long]));
                let twin = |name: &str| {
                    let bytes = noise(40);
                    let entry = Bytes(head(signer, evil, 30_000, vec![named(name, &bytes)]));
                    Item { entry, facets: vec![Packed::alone(&bytes)] }
                };
                items(vec![far(1), twin("deb"), twin("system"), far(5), long])
            }
            Self::Hello => vec![crate::evil::hello(muster::sync::SYNC_VERSION)],
        }
    }

    /// How it is named at whom it lied to, if it asked for work that is nobody's.
    fn blame(self) -> Option<&'static str> {
        match self {
            Self::Announces => Some("announces what it does not deliver"),
            Self::Bombs => Some("unpacks to too much"),
            Self::Forges => Some("forged"),
            Self::Unasked => Some("facets that nobody asked for"),
            Self::Pings | Self::Empty => Some("floods"),
            Self::Heads => Some("says two different things in one place"),
            Self::Patches | Self::Asks | Self::Tips | Self::Hello => None,
        }
    }
}

/// Not to be made small.
fn long_facet() -> Vec<u8> {
    let mut bytes = vec![0; 200_000];
    blake3::Hasher::new().update(b"long").finalize_xof().fill(&mut bytes);
    bytes
}

fn heard_bytes(line: &Line) -> usize {
    line.heard().iter().map(Message::weight).sum()
}

#[test]
fn a_member_that_lies_in_every_word_is_bounded_and_named_and_what_is_true_still_spreads() {
    const LIES_FOR: Duration = Duration::from_secs(4);
    let mut fleet = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let victim = host_id(&fleet, "a");
    let mesh = ["a", "b", "c"].map(|at| fleet.status(at)["mesh_pid"].as_u64().expect("a mesh process"));
    let before = mesh.map(resident);
    let lies = [
        Lie::Announces,
        Lie::Bombs,
        Lie::Patches,
        Lie::Forges,
        Lie::Unasked,
        Lie::Pings,
        Lie::Empty,
        Lie::Asks,
        Lie::Tips,
        Lie::Heads,
        Lie::Hello,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let name = format!("evil{number}");
        let evil = Evil::join(&mut fleet, &name);
        let mut line = runtime.block_on(evil.link(&fleet, "b"));
        if matches!(lie, Lie::Asks) {
            let bytes = long_facet();
            let entry = Bytes(head(&signer, &evil, 1, vec![named("deb", &bytes)]));
            let facets = vec![Packed::Plain { bytes: Bytes(bytes) }];
            let said = line.say(Message::Items { items: vec![Item { entry, facets }], part: Part::Pushed });
            assert!(runtime.block_on(said));
            runtime.block_on(line.dealt_with());
        }
        let (liar, by) = (&evil, &signer);
        let lying = async move {
            let (start, mut rounds, mut bytes) = (Instant::now(), 0_u64, 0);
            'lies: while start.elapsed() < LIES_FOR || rounds < 20 {
                for message in lie.words(rounds, by, liar, victim) {
                    bytes += message.weight();
                    if line.over() || !line.say(message).await {
                        break 'lies;
                    }
                }
                rounds += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (line, rounds, bytes)
        };
        let (line, rounds, said) = runtime.block_on(lying);
        let took = an_honest_change_spreads(&fleet, &format!("2.{number}"));
        let after = mesh.map(resident);
        let grew: Vec<u64> =
            after.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
        let heard = heard_bytes(&line);
        eprintln!(
            "{lie:?}: {rounds} rounds, {said} bytes said and {heard} heard; a change took {took:.1?}; grew by {grew:?} KiB"
        );
        assert!(grew.iter().all(|kib| *kib < ROOM_KIB), "{lie:?}: {grew:?} KiB");
        // A megabyte a second after the first sixty-four.
        assert!(heard < 100 * 1024 * 1024, "{lie:?}: {heard} bytes are answered");
        if let Some(blame) = lie.blame() {
            fleet.until(&format!("{lie:?} is named at b"), |fleet| {
                let problems = fleet.status("b")["problems"].clone();
                let named = |problem: &serde_json::Value| {
                    let text = problem.as_str().unwrap_or_default();
                    text.starts_with(&format!("{name} ")) && text.contains(blame)
                };
                let all = problems.as_array().cloned().unwrap_or_default();
                if all.iter().any(named) { Ok(()) } else { Err(problems.to_string()) }
            });
        }
    }
    // The same processes as before, and nobody honest is named.
    for (at, pid) in ["a", "b", "c"].into_iter().zip(mesh) {
        let status = fleet.status(at);
        assert_eq!(status["mesh_pid"].as_u64(), Some(pid), "{}", fleet.log(at));
        for honest in ["\"a ", "\"b ", "\"c "] {
            assert!(!status["problems"].to_string().contains(honest), "{}", status["problems"]);
        }
    }
}

/// The words that could steer a terminal, in every place that a host fills.
const STEERS: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\r\n\u{9b}31m\u{2066}";

#[test]
fn what_a_host_says_of_itself_never_steers_a_terminal() {
    let mut fleet = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let evil = Evil::join(&mut fleet, "evil");
    let table = |name: &str, columns: &[&str], rows: Vec<Vec<String>>| muster::replica::Table {
        name: name.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    };
    let words = |text: &str| format!("{text}{STEERS}");
    let deb = table(
        "deb_packages",
        &["name", "version", "arch"],
        vec![
            vec!["openssl".into(), words("1.0"), words("amd64")],
            vec![words("bash"), "1".into(), "x".into()],
        ],
    );
    let os = table("os_version", &["name", "pretty_name"], vec![vec![words("os"), words("pretty")]]);
    let odd = table(&words("odd"), &[&words("column")], vec![vec![words("cell")]]);
    let facets = [("deb", vec![deb]), ("system", vec![odd, os])]
        .map(|(name, tables)| (name, muster::replica::Tables { tables }.canonical()));
    let node = muster::wire::encode(&muster::replica::NodeFacet {
        agent: words("0.1"),
        os: words("os"),
        addresses: vec![words("127.0.0.1:1")],
    });
    let all = [("deb", &facets[0].1), ("node", &node), ("system", &facets[1].1)];
    let entry = Bytes(head(&signer, &evil, 1, all.iter().map(|(name, bytes)| named(name, bytes)).collect()));
    let packed = all.iter().map(|(_, bytes)| Packed::alone(bytes)).collect();
    runtime.block_on(async {
        let mut line = evil.link(&fleet, "b").await;
        assert!(
            line.say(Message::Items { items: vec![Item { entry, facets: packed }], part: Part::Pushed })
                .await
        );
        line.dealt_with().await;
    });
    fleet.until("b holds what it says", |fleet| {
        let output =
            fleet.muster("b", &["inventory", "search", "name = evil and has deb.openssl", "-o", "name"]);
        if output.text().trim() == "evil" { Ok(()) } else { Err(format!("{output:?}")) }
    });
    let odd = words("odd");
    let mut looks: Vec<Vec<&str>> = Vec::new();
    for format in ["table", "wide", "json", "jsonl", "csv", "name"] {
        looks.push(vec![
            "inventory",
            "search",
            "has deb.openssl",
            "--columns",
            "fact.os.name,fact.os_version.pretty_name",
            "-o",
            format,
        ]);
        looks.push(vec!["inventory", "search", "all", "--count-by", "deb.openssl", "-o", format]);
        looks.push(vec!["inventory", "show", "evil", "-o", format]);
        looks.push(vec!["inventory", "show", "evil", "deb_packages", "-o", format]);
        looks.push(vec!["inventory", "show", "evil", &odd, "-o", format]);
        looks.push(vec!["inventory", "types", "-o", format]);
        looks.push(vec!["host", "ls", "-o", format]);
        looks.push(vec!["host", "show", "evil", "-o", format]);
        looks.push(vec!["status", "-o", format]);
    }
    looks.push(vec!["inventory", "search", &odd]);
    looks.push(vec!["inventory", "show", &odd]);
    looks.push(vec!["inventory", "show", "a", &odd]);
    looks.push(vec!["inventory", "compare", "deb", "1.0", &odd]);
    let mut seen = 0;
    for look in looks {
        let output = fleet.muster("b", &look);
        for text in [&output.text(), &output.stderr] {
            // A row of CSV ends as that format says.
            let bare = text.replace("\r\n", "\n");
            let hidden =
                |c: &char| (c.is_control() && *c != '\n' && *c != '\t') || "\u{202e}\u{2066}".contains(*c);
            assert_eq!(bare.chars().find(hidden), None, "{look:?}: {text:?}");
            seen += usize::from(text.contains("[2J"));
        }
    }
    assert!(seen > 20, "{seen} of them showed the words at all");
}
