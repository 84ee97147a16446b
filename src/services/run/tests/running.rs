use std::time::Duration;

use super::agent::{
    Counting, Desk, Fleet, Member, NOW, Person, SHORT, Seen, all, interrupts, on, output, request, told,
};
use crate::{
    authority::AGENT_USER,
    control::{Reply, StreamName},
    identity::{EntryId, Executor, SecretKey},
    replica::{Outcome, Output, Report},
    services::run::{ExitMode, Interrupt, Pace, RunError, RunRequest, Streams, View, World, run},
    targets::{Share, Targets},
    terminal::{Format, prompt::Question},
    wire::Bytes,
};

const THREE: &[(&str, &str)] = &[("web-1", "web"), ("web-2", "web"), ("db-1", "db")];

fn ok(seen: &Seen<'_>, member: &Member) -> Vec<Reply> {
    told(seen.ok(member, "6.1.0\n"))
}

/// A desk of three hosts where `odd` answers for db-1, and the others succeed.
fn desk(odd: impl Fn(&Seen<'_>, &Member) -> Vec<Reply> + Send + Sync + 'static) -> Desk {
    Desk::new(
        Fleet::of(THREE),
        move |seen, member| {
            if member.name == "db-1" { odd(seen, member) } else { ok(seen, member) }
        },
    )
}

fn patient(mut request: RunRequest, wait: Duration) -> RunRequest {
    request.wait = wait;
    request
}

#[tokio::test]
async fn what_all_hosts_say_is_folded_and_adds_up() {
    let desk = Desk::new(Fleet::of(THREE), ok);
    let ran = desk.run(&all()).await;
    assert_eq!(ran.code(), 0);
    assert_eq!(ran.text(), "✓ db-1,web-[1-2] (3)         exit 0   0.4s\n  6.1.0\n");
    let id = desk.state.lock().unwrap().orders[0].id().short();
    assert_eq!(
        ran.err,
        format!("3 hosts · as @agent by grant of ana · job {id}\n3 ok          muster job show {id}\n")
    );
    let orders = desk.state.lock().unwrap();
    let order = orders.orders[0].body();
    assert_eq!((order.run_as.as_str(), order.selector.as_str()), (AGENT_USER, "all"));
    assert_eq!(order.keepers[0], desk.fleet.members[0].id);
    assert_eq!(order.expires, NOW.after(Duration::from_secs(3600)));
    assert_eq!(desk.home.reports(&orders.orders[0].id()).unwrap().len(), 3);
    assert!(desk.home.order(&orders.orders[0].id()).unwrap().is_some());
}

#[tokio::test]
async fn a_host_that_says_something_else_stands_apart() {
    let desk = desk(|seen, member| told(seen.ok(member, "6.9.0\n")));
    let ran = desk.run(&all()).await;
    assert_eq!(
        ran.text(),
        "✓ web-[1-2] (2)              exit 0   0.4s\n  6.1.0\n\
         ✓ db-1 (1)                   exit 0   0.4s   differs in 1 line\n  6.9.0\n"
    );
    assert!(ran.err.contains("\n3 ok (1 differs) "), "{}", ran.err);
}

#[tokio::test]
async fn a_silent_host_is_named_and_the_exit_code_is_7() {
    let desk = desk(|_, _| vec![]);
    let ran = desk.run(&patient(all(), SHORT)).await;
    assert_eq!(ran.code(), 7);
    assert!(
        ran.text()
            .contains("? db-1 (1)                   no answer, last seen 3h ago · queued until 01:00 UTC\n"),
        "{}",
        ran.text()
    );
    assert!(ran.err.contains("\n2 ok · 1 silent "), "{}", ran.err);
}

type Lie = fn(&Seen<'_>, &Member) -> Report;

/// Ways in which a report can lie. None of them is success.
fn lies() -> Vec<(&'static str, Lie)> {
    vec![
        ("signature does not match that host's executor key", |seen, member| {
            let thief = SecretKey::<Executor>::from_seed(&[99; 32]);
            seen.signed(&thief, seen.record(member.id, Outcome::Exited { code: 0 }))
        }),
        ("signed for another order or host", |seen, member| {
            let mut record = seen.record(member.id, Outcome::Exited { code: 0 });
            record.order = EntryId([1; 32]);
            seen.signed(&member.executor, record)
        }),
        ("its output does not match the signed hash", |seen, member| {
            let mut report = seen.ok(member, "true words");
            report.stdout = Some(Bytes::from(&b"other words"[..]));
            report
        }),
        ("its output does not match the signed hash", |seen, member| {
            let mut report = seen.ok(member, "true words");
            report.stdout = Some(Bytes::from(&b"true word"[..]));
            report
        }),
        ("its signature does not match", |seen, member| {
            let mut report = seen.ok(member, "");
            let last = report.record.0.len() - 1;
            report.record.0[last] ^= 1;
            report
        }),
        ("its signature does not match", |seen, member| {
            let mut report = seen.ok(member, "");
            report.record = Bytes::from(&b"no record"[..]);
            report
        }),
    ]
}

#[tokio::test]
async fn a_forged_success_is_never_exit_0() {
    let all_at_once = lies().into_iter().map(async |(words, lie)| {
        let desk = desk(move |seen, member| told(lie(seen, member)));
        let ran = desk.run(&patient(all(), SHORT)).await;
        assert_eq!(ran.code(), 6, "{words}");
        assert!(ran.text().contains("✗ db-1 (1)                   claimed by db-1: "), "{}", ran.text());
        assert!(ran.text().contains(words), "{words}: {}", ran.text());
        assert!(ran.err.contains("2 ok · 1 failed"), "{}", ran.err);
        assert!(!ran.text().contains("words\n"), "claimed output is not shown");
        let kept = desk.home.reports(&desk.state.lock().unwrap().orders[0].id()).unwrap();
        assert_eq!(kept.len(), 2, "a claim is not remembered");
    });
    futures::future::join_all(all_at_once).await;
}

#[tokio::test]
async fn a_forged_success_of_one_named_host_is_6_too() {
    let (_, lie) = lies().remove(0);
    let desk = desk(move |seen, member| told(lie(seen, member)));
    let ran = desk.run(&patient(on("db-1"), SHORT)).await;
    assert_eq!((ran.code(), ran.out.len()), (6, 0));
    assert!(ran.err.contains("claimed by db-1"), "{}", ran.err);
}

#[tokio::test]
async fn the_truth_after_a_lie_stands_and_the_lie_is_told() {
    let (_, lie) = lies().remove(0);
    let desk = desk(move |seen, member| [told(lie(seen, member)), ok(seen, member)].concat());
    let ran = desk.run(&all()).await;
    assert_eq!(ran.code(), 0);
    assert!(ran.text().contains("another result was claimed"), "{}", ran.text());
}

#[tokio::test]
async fn another_hosts_good_report_proves_nothing_for_this_one() {
    // A host outside the roster lends its own, properly signed result to one that is silent.
    let desk = Desk::new(Fleet::of(&[("a", "x"), ("b", "y")]), |seen, member| {
        let other = SecretKey::<Executor>::from_seed(&[4; 32]);
        let mut report = seen.signed(&other, seen.record(member.id, Outcome::Exited { code: 0 }));
        report.host = member.id;
        told(report)
    });
    assert_eq!(desk.run(&patient(on("a"), SHORT)).await.code(), 6);
}

#[tokio::test]
async fn a_result_told_twice_is_one_result_and_a_second_one_is_a_conflict() {
    let twice = desk(|seen, member| [ok(seen, member), ok(seen, member)].concat());
    assert_eq!(twice.run(&all()).await.code(), 0);

    // The waiting must go on for the second to arrive: web-2 is silent.
    let conflict = Desk::new(Fleet::of(THREE), |seen, member| match member.name.as_str() {
        "db-1" => {
            let other = seen.report(member, Outcome::Exited { code: 1 }, b"", b"");
            [ok(seen, member), told(other)].concat()
        }
        "web-1" => ok(seen, member),
        _ => vec![],
    });
    let ran = conflict.run(&patient(all(), SHORT)).await;
    assert_eq!(ran.code(), 6);
    assert!(ran.text().contains("conflict: a second, different result"), "{}", ran.text());
    assert!(ran.err.contains("2 ok · 1 silent"), "{}", ran.err);
}

#[tokio::test]
async fn refusals_and_failures_are_told_apart_and_hosts_cannot_forge_marks() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| match member.name.as_str() {
        "db-1" => {
            let why = "no\n✓ db-1 (1)   exit 0\x1b[2J".to_owned();
            told(seen.report(member, Outcome::Refused { why }, b"", b""))
        }
        "web-1" => told(seen.report(member, Outcome::Exited { code: 3 }, b"", b"bad\x1b[31m\n")),
        _ => told(seen.report(
            member,
            Outcome::NotStarted { code: 127, why: "no such file".to_owned() },
            b"",
            b"",
        )),
    });
    let ran = desk.run(&all()).await;
    assert_eq!(ran.code(), 6);
    assert_eq!(
        ran.text(),
        "✗ web-1 (1)                  exit 3   0.4s\n  ! bad\\x1b[31m\n\
         ✗ db-1 (1)                   refused: no\\n\\u{2713} db-1 (1) \\x20\\x20exit 0\\x1b[2J   0.4s\n\
         ✗ web-2 (1)                  not started: no such file   0.4s\n"
    );
    assert!(ran.err.contains("1 failed · 1 refused · 1 not started"), "{}", ran.err);
    let mut max = all();
    max.exit = Some(ExitMode::Max);
    assert_eq!(desk.run(&max).await.code(), 127);
}

#[tokio::test]
async fn one_named_host_gives_its_own_bytes_and_code() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| {
        told(seen.report(member, Outcome::Exited { code: 42 }, b"\x1b[1mout\xff", b"err\n"))
    });
    let ran = desk.run(&on("db-1")).await;
    assert_eq!((ran.code(), ran.out.as_slice(), ran.err.as_str()), (42, &b"\x1b[1mout\xff"[..], "err\n"));
    let person = Person { at_terminal: true, ..Person::default() };
    let shown = desk.run_as(&on("db-1"), Format::Table, person).await;
    assert_eq!(shown.text(), "out\\xff", "a terminal gets no bytes that it would act on");
    let mut summary = on("db-1");
    summary.exit = Some(ExitMode::Summary);
    assert_eq!(desk.run(&summary).await.code(), 6);
    let mut remote = all();
    remote.exit = Some(ExitMode::Remote);
    assert_eq!(desk.run(&remote).await.error().code(), 2);
    let tagged = request(Targets { labels: vec!["role=db".to_owned()], ..Targets::default() });
    assert_eq!(desk.run(&tagged).await.code(), 6, "only a host called by name lends its code");
}

#[tokio::test]
async fn a_host_that_works_is_waited_for_past_the_wait_but_not_past_its_limit() {
    let desk = desk(|seen, member| vec![Reply::Running { order: seen.id, host: member.id }]);
    let mut request = patient(all(), SHORT);
    (request.timeout, request.grace) = (SHORT, Duration::from_secs(1));
    let begun = tokio::time::Instant::now();
    let ran = desk.run(&request).await;
    assert_eq!(ran.code(), 7);
    assert!(begun.elapsed() >= SHORT + request.grace, "waited {:?}", begun.elapsed());
    assert!(ran.text().contains("? db-1 (1)                   still running\n"), "{}", ran.text());
    assert!(ran.err.contains("2 ok · 1 running"), "{}", ran.err);
}

#[tokio::test]
async fn nothing_is_sent_that_hosts_would_refuse() {
    let fleet = Fleet::with(THREE, |certificate| certificate.scope = "tag.role = web".to_owned());
    let desk = Desk::new(fleet, ok);
    let ran = desk.run(&all()).await;
    assert_eq!(ran.error().code(), 4);
    assert_eq!(
        ran.error().to_string(),
        "not permitted: db-1: the certificate of ana does not cover this host (scope: tag.role = web); it allows run, \
         invite, tag, read on tag.role = web as any user"
    );
    assert_eq!((desk.submitted(), desk.home.orders().unwrap().len()), (0, 0));
    assert_eq!(desk.run(&on("web-1")).await.code(), 0);
}

#[tokio::test]
async fn a_dry_run_shows_all_and_sends_nothing() {
    let desk = Desk::new(Fleet::of(THREE), ok);
    let mut request = all();
    request.dry_run = true;
    request.reason = Some("CHG-1".to_owned());
    let ran = desk.run(&request).await;
    assert_eq!(ran.code(), 0);
    let certificate = desk.fleet.certificate.short();
    assert_eq!(
        ran.text(),
        format!(
            "command  uname -r\nas       @agent by grant of ana\n\
             by       certificate {certificate} of ana: scope all, until 2027-01-01T00:00:00Z\n\
             until    01:00 UTC for the start, then at most 1h\nreason   CHG-1\non       db-1,web-[1-2] (3 hosts)\n"
        )
    );
    let json = desk.run_as(&request, Format::Json, Person::default()).await;
    let json: serde_json::Value = serde_json::from_slice(&json.out).unwrap();
    assert_eq!((&json["schema"], &json["roster"][0]), (&"muster.plan/v1".into(), &"db-1".into()));
    assert_eq!(json["certificate"]["id"], desk.fleet.certificate.to_string());
    assert_eq!(
        (&json["certificate"]["scope"], &json["certificate"]["person"]),
        (&"all".into(), &"ana".into())
    );
    assert_eq!((&json["waves"], &json["errors_max"]), (&serde_json::json!([3]), &serde_json::Value::Null));
    assert_eq!(json["hosts"][0]["verdict"], "would run");
    assert_eq!((desk.submitted(), desk.home.orders().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn a_dry_run_shows_which_hosts_would_refuse_and_why() {
    let fleet = Fleet::with(THREE, |certificate| certificate.scope = "tag.role = web".to_owned());
    let desk = Desk::new(fleet, ok);
    let mut request = all();
    (request.dry_run, request.pace) = (true, Pace::batch("2").unwrap());
    request.errors_max = Some(Share::Percent(5_000));
    let ran = desk.run(&request).await;
    assert_eq!(ran.code(), 4, "what a script asks before it dares");
    for line in [
        "waves    2: 2, 1 hosts, in order of ids\n",
        "stops    when more than 1 have failed\n",
        "refused  db-1: the certificate of ana does not cover this host (scope: tag.role = web); it allows run, \
         invite, tag, read on tag.role = web as any user\n",
    ] {
        assert!(ran.text().contains(line), "{line}: {}", ran.text());
    }
    assert_eq!(ran.text().matches("refused").count(), 1, "{}", ran.text());
    let json = desk.run_as(&request, Format::Json, Person::default()).await;
    let json: serde_json::Value = serde_json::from_slice(&json.out).unwrap();
    let hosts = json["hosts"].as_array().unwrap();
    let of = |name: &str| hosts.iter().find(|host| host["host"] == name).unwrap();
    assert_eq!(of("db-1")["verdict"], "would refuse");
    assert!(of("db-1")["refusal"].as_str().unwrap().contains("does not cover"), "{json}");
    assert_eq!(
        (&of("web-1")["verdict"], &of("web-1")["refusal"]),
        (&"would run".into(), &serde_json::Value::Null)
    );
    let mut waves: Vec<u64> = hosts.iter().map(|host| host["wave"].as_u64().unwrap()).collect();
    waves.sort_unstable();
    assert_eq!(waves, [1, 1, 2]);
    assert_eq!(desk.submitted(), 0);
}

#[tokio::test]
async fn many_hosts_are_asked_about_and_without_a_terminal_need_yes() {
    let names: Vec<String> = (0..10).map(|at| format!("n-{at}")).collect();
    let hosts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "n")).collect();
    let desk = Desk::new(Fleet::of(&hosts), ok);
    let ran = desk.run(&all()).await;
    assert!(matches!(ran.error(), RunError::NobodyToAsk), "{:?}", ran.code);
    assert_eq!((ran.error().code(), desk.submitted()), (2, 0));

    let no = desk.run_as(&all(), Format::Table, Person { at_terminal: true, ..Person::default() }).await;
    assert_eq!((no.error().code(), no.asked.as_slice(), desk.submitted()), (1, &[Question::Yes][..], 0));
    assert!(no.err.contains("on       n-[0-9] (10 hosts)"), "{}", no.err);
    let yes = Person { at_terminal: true, agrees: true, ..Person::default() };
    assert_eq!(desk.run_as(&all(), Format::Table, yes).await.code(), 0);
    let mut sure = all();
    sure.yes = true;
    let ran = desk.run(&sure).await;
    assert_eq!((ran.code(), ran.asked.len()), (0, 0));
    assert_eq!(desk.submitted(), 2);
}

#[tokio::test]
async fn who_is_hung_up_detaches_and_is_told_how_to_come_back() {
    let desk = desk(|_, _| vec![]);
    let person = Person { interrupts: vec![Interrupt::Leave], ..Person::default() };
    let ran = desk.run_as(&all(), Format::Table, person).await;
    assert_eq!(ran.code(), 130);
    let id = desk.state.lock().unwrap().orders[0].id().short();
    assert!(ran.err.contains(&format!("come back: muster job watch {id}\n")), "{}", ran.err);
    assert_eq!(desk.home.orders().unwrap().len(), 1, "the order is remembered");
}

#[tokio::test]
async fn no_agent_is_5_and_one_that_goes_away_is_never_success() {
    let desk = desk(|_, _| vec![]);
    desk.state.lock().unwrap().leaves = true;
    let ran = desk.run(&all()).await;
    assert_eq!(ran.code(), 5);
    assert!(ran.text().starts_with("✓ web-[1-2] (2) "), "what is known is shown: {}", ran.text());
    assert!(ran.err.contains("error: the agent went away\n2 ok · 1 silent"), "{}", ran.err);
    let ends = self::desk(|_, _| vec![Reply::End {}]);
    assert_eq!(ends.run(&all()).await.code(), 5);
    let gone = Desk::new(Fleet::of(THREE), ok);
    std::fs::remove_file(&gone.socket).unwrap();
    let ran = gone.run(&all()).await;
    assert_eq!(ran.error().code(), 5);
    assert_eq!(ran.error().hints(), ["start it: muster agent"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_said_before_anything_is_asked() {
    let desk = Desk::new(Fleet::of(THREE), ok);
    let mut empty = all();
    empty.argv.clear();
    let mut long = all();
    long.queue = Duration::from_secs(31 * 86_400);
    let mut big = all();
    big.argv.push(vec![b'x'; 61 * 1024]);
    for request in [empty, long, big] {
        assert_eq!(desk.run(&request).await.error().code(), 2);
    }
    assert_eq!(desk.submitted(), 0);
}

#[tokio::test]
async fn json_lines_tell_each_step_and_end_with_the_sum() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| match member.name.as_str() {
        "db-1" => vec![],
        "web-1" => told(seen.report(member, Outcome::Exited { code: 1 }, b"\xff", b"")),
        _ => ok(seen, member),
    });
    let ran = desk.run_as(&patient(all(), SHORT), Format::Jsonl, Person::default()).await;
    assert_eq!(ran.code(), 6);
    let text = ran.text();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str| events.iter().filter(|value| value["event"] == event).count();
    assert_eq!((count("start"), count("chunk"), count("exit"), count("summary")), (1, 2, 3, 1));
    assert!(events.iter().all(|event| event["schema"] == "muster.job-event/v1"));
    let find = |event: &str, host: &str| {
        events.iter().find(|value| value["event"] == event && value["host"] == host).unwrap()
    };
    assert_eq!(
        (&find("chunk", "web-1")["data"], &find("chunk", "web-1")["encoding"]),
        (&"/w==".into(), &"base64".into())
    );
    assert_eq!((&find("exit", "web-2")["status"], &find("exit", "web-2")["code"]), (&"ok".into(), &0.into()));
    assert_eq!(find("exit", "db-1")["status"], "silent");
    let sum = events.last().unwrap();
    assert_eq!(
        (&sum["exit"], &sum["counts"]["total"], &sum["counts"]["silent"]),
        (&6.into(), &3.into(), &1.into())
    );
}

#[tokio::test]
async fn json_is_one_document_with_output_and_code() {
    let desk = Desk::new(Fleet::of(THREE), ok);
    let ran = desk.run_as(&all(), Format::Json, Person::default()).await;
    let document: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!(document["schema"], "muster.job/v1");
    assert_eq!((&document["exit"], &document["counts"]["ok"]), (&0.into(), &3.into()));
    assert_eq!(document["hosts"][0]["stdout"]["data"], "6.1.0\n");
    assert_eq!(document["hosts"][0]["ms"], 412);
    let csv = desk.run_as(&all(), Format::Csv, Person::default()).await;
    assert!(csv.text().contains("\r\ndb-1,ok,0,412,6,0,,"), "{}", csv.text());
    let name = desk.run_as(&all(), Format::Name, Person::default()).await;
    assert_eq!(name.text(), "db-1\nweb-1\nweb-2\n");
    let mut quiet = all();
    quiet.view = View::Quiet;
    assert!(desk.run(&quiet).await.out.is_empty());
}

const PIECE: usize = 256 * 1024;
type Way = fn() -> Box<dyn Iterator<Item = Vec<u8>> + Send>;
/// 100 MiB.
const MANY: usize = 400;
const SOME: usize = 9;

fn pieces(many: usize) -> impl Iterator<Item = Vec<u8>> + Send {
    (0..many).map(|at| vec![u8::try_from(at % 251).unwrap(); PIECE])
}

fn output_of(many: usize) -> Output {
    let mut hasher = blake3::Hasher::new();
    pieces(many).for_each(|piece| {
        hasher.update(&piece);
    });
    let length = (many * PIECE) as u64;
    Output { hash: *hasher.finalize().as_bytes(), kept: length, produced: length }
}

fn with_pieces(
    signed: Output,
    pieces: impl Fn() -> Box<dyn Iterator<Item = Vec<u8>> + Send> + Send + Sync + 'static,
) -> Desk {
    Desk::with_output(
        Fleet::of(THREE),
        move |seen, member| {
            let mut record = seen.record(member.id, Outcome::Exited { code: 0 });
            record.stdout = signed;
            told(seen.signed(&member.executor, record))
        },
        move |_, stream| {
            assert_eq!(stream, StreamName::Stdout, "what is empty is not fetched");
            pieces()
        },
    )
}

async fn count(desk: &Desk, request: &RunRequest) -> (Result<u8, RunError>, Counting, String) {
    let (mut out, mut err) = (Counting::default(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, Format::Table);
    let mut world =
        World { clock: &|| NOW, nonce: [1; 16], ask: &mut |_, _| Ok(false), listen: &mut || interrupts(&[]) };
    let code = run(request, &desk.home, &desk.socket, &mut streams, &mut world).await;
    (code, out, String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn a_hundred_megabytes_come_whole_and_in_pieces() {
    let desk = with_pieces(Output { produced: 3 << 30, ..output_of(MANY) }, || Box::new(pieces(MANY)));
    let (code, out, err) = count(&desk, &on("db-1")).await;
    assert_eq!(code.unwrap(), 0);
    assert_eq!((out.bytes, *out.hasher.finalize().as_bytes()), (MANY * PIECE, output_of(MANY).hash));
    assert!(out.longest <= PIECE, "no more than a piece is held");
    assert!(err.contains("db-1: output cut at 100.0 MiB of 3.0 GiB\n"), "{err}");
}

#[tokio::test]
async fn output_that_was_altered_on_the_way_is_never_exit_0() {
    fn altered() -> impl Iterator<Item = Vec<u8>> + Send {
        pieces(SOME).enumerate().map(|(at, mut piece)| {
            piece[0] ^= u8::from(at == SOME - 1);
            piece
        })
    }
    let ways: [(Way, &str); 3] = [
        (|| Box::new(altered()), "its hash is another"),
        (|| Box::new(pieces(SOME - 1)), "it is shorter"),
        (|| Box::new(pieces(SOME).chain([vec![0; 1]])), "it is longer"),
    ];
    for (way, words) in ways {
        let desk = with_pieces(output_of(SOME), way);
        let (code, _, err) = count(&desk, &on("db-1")).await;
        assert_eq!(code.unwrap(), 6, "{words}");
        assert!(err.contains(words), "{err}");
        // One host of a group suffices for output that all signed for; where that is altered, so says it.
        let (code, ..) = count(&desk, &all()).await;
        assert_eq!(code.unwrap(), 6, "{words}");
    }
}

#[tokio::test]
async fn output_that_cannot_be_had_is_not_success_of_this_command() {
    let desk = Desk::with_output(
        Fleet::of(THREE),
        |seen, member| {
            let mut record = seen.record(member.id, Outcome::Exited { code: 0 });
            record.stdout = output(&[1; 5000]);
            told(seen.signed(&member.executor, record))
        },
        // The agent breaks the answer off.
        |_, _| Box::new(std::iter::once(vec![0; crate::control::MESSAGE_BYTES_MAX])),
    );
    let ran = desk.run(&on("db-1")).await;
    assert_eq!(ran.code(), 1);
    assert!(ran.err.contains("try again: muster job output"), "{}", ran.err);
}

/// A reader that reads one piece and goes away.
struct Head(usize);
impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 > 0 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error_and_ends_the_transfer() {
    let desk =
        with_pieces(output_of(SOME), || Box::new(pieces(SOME).take(2).chain(std::iter::repeat(vec![]))));
    let (mut out, mut err) = (Head(0), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, Format::Table);
    let mut world =
        World { clock: &|| NOW, nonce: [1; 16], ask: &mut |_, _| Ok(false), listen: &mut || interrupts(&[]) };
    let code = run(&on("db-1"), &desk.home, &desk.socket, &mut streams, &mut world).await;
    assert_eq!(code.unwrap(), 0);
}
