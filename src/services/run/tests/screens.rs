//! What a person sees of a whole run, as expected text.

use std::time::Duration;

use super::agent::{Desk, Fleet, Member, NOW, Person, Ran, SHORT, Seen, all, on, told};
use super::attacks::ATTACKS;
use crate::{
    control::StreamName,
    replica::Outcome,
    services::run::{Chunk, Event, ExitMode, RunRequest, Streams, Tally, View, verify, view::Job},
    terminal::{Format, escape},
};

const DEBIAN_12: &str =
    "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nHOME_URL=\"https://www.debian.org/\"\n";
const DEBIAN_13: &str =
    "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nHOME_URL=\"https://www.debian.org/\"\n";

/// The example of the contract: ten hosts agree, one differs, one is silent.
fn twelve() -> Desk {
    let names: Vec<String> = (1..=12).map(|at| format!("web-{at:02}")).collect();
    let hosts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "web")).collect();
    Desk::new(Fleet::of(&hosts), |seen: &Seen<'_>, member: &Member| match member.name.as_str() {
        "web-11" => told(seen.ok(member, DEBIAN_13)),
        "web-12" => vec![],
        _ => told(seen.ok(member, DEBIAN_12)),
    })
}

fn patient(view: View) -> RunRequest {
    let mut request = all();
    (request.wait, request.yes, request.view) = (SHORT, true, view);
    request
}

async fn seen(desk: &Desk, request: &RunRequest, columns: Option<usize>, color: bool) -> Ran {
    let person = Person { at_terminal: columns.is_some(), columns, color, ..Person::default() };
    desk.run_as(request, Format::Table, person).await
}

/// What was said beside it, without the job's id, and without progress, which a slow machine gets to see.
fn talk(ran: &Ran, desk: &Desk) -> String {
    let id = desk.state.lock().unwrap().orders[0].id().short();
    let parts = ran.err.split("\r\x1b[K").filter(|part| !part.contains(" answered"));
    parts.collect::<String>().replace(&id, "ID")
}

#[tokio::test]
async fn equal_outputs_fold_and_what_differs_shows_its_lines() {
    let ran = seen(&twelve(), &patient(View::Auto), Some(100), false).await;
    assert_eq!(
        ran.text(),
        "✓ web-[01-10] (10)           exit 0   0.4s\n\
         \x20 PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n\
         \x20 ID=debian\n\
         \x20 HOME_URL=\"https://www.debian.org/\"\n\
         ✓ web-11 (1)                 exit 0   0.4s   differs in 1 line\n\
         \x20 PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n\
         ? web-12 (1)                 no answer, last seen 3h ago · queued until 01:00 UTC\n"
    );
    assert_eq!(ran.code(), 7);
    assert!(ran.err.contains("11 ok (1 differs) · 1 silent          muster job watch "), "{}", ran.err);
    let group = seen(&twelve(), &patient(View::Group), Some(100), false).await;
    assert_eq!(group.text(), ran.text());
}

#[tokio::test]
async fn forty_columns_put_facts_under_names_and_wrap_behind_a_mark() {
    let ran = seen(&twelve(), &patient(View::Group), Some(40), false).await;
    assert_eq!(
        ran.text(),
        "✓ web-[01-10] (10)   exit 0   0.4s\n\
         \x20 PRETTY_NAME=\"Debian GNU/Linux 12 (book\n\
         \x20┆worm)\"\n\
         \x20 ID=debian\n\
         \x20 HOME_URL=\"https://www.debian.org/\"\n\
         ✓ web-11 (1)\n\
         \x20   exit 0 · 0.4s · differs in 1 line\n\
         \x20 PRETTY_NAME=\"Debian GNU/Linux 13 (trix\n\
         \x20┆ie)\"\n\
         ? web-12 (1)\n\
         \x20   no answer, last seen 3h ago · queued\n\
         \x20   until 01:00 UTC\n"
    );
}

#[tokio::test]
async fn twenty_columns_hold_everything_too() {
    let desk = twelve();
    let ran = seen(&desk, &patient(View::Group), Some(20), false).await;
    assert!(
        ran.text().starts_with(
            "✓ web-[01-10] (10)\n\
         \x20   exit 0 · 0.4s\n\
         \x20 PRETTY_NAME=\"Debia\n\
         \x20┆n GNU/Linux 12 (bo\n\
         \x20┆okworm)\"\n"
        ),
        "{}",
        ran.text()
    );
    assert!(ran.text().lines().all(|row| escape::width(row) <= 20), "{}", ran.text());
    let talk = talk(&ran, &desk);
    assert!(talk.contains("11 ok (1 differs) ·\n1 silent\nmuster job watch"), "{talk}");
}

#[tokio::test]
async fn colour_adds_nothing_to_read_and_takes_nothing_away() {
    let plain = seen(&twelve(), &patient(View::Group), Some(100), false).await.text();
    let colored = seen(&twelve(), &patient(View::Group), Some(100), true).await.text();
    assert!(colored.contains("\x1b[32m✓ \x1b[0mweb-[01-10]") && !plain.contains('\x1b'), "{colored}");
    let without: String = colored
        .split('\x1b')
        .map(|part| part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, text)| text))
        .collect();
    assert_eq!(without, plain);
}

#[tokio::test]
async fn live_shows_each_hosts_lines_and_then_how_it_ended() {
    let ran = seen(&twelve(), &patient(View::Live), Some(80), false).await;
    let text = ran.text();
    assert_eq!(text.matches("\nweb-11 │ ID=debian\n").count(), 1, "{text}");
    assert_eq!(text.matches(" │ PRETTY_NAME=").count(), 11, "{text}");
    assert!(
        text.ends_with(
            "✓ web-[01-10] (10)   exit 0   0.4s\n\
         ✓ web-11 (1)         exit 0   0.4s   differs in 1 line\n\
         ? web-12 (1)         no answer, last seen 3h ago · queued until 01:00 UTC\n"
        ),
        "what was shown is not shown again: {text}"
    );
    let pipe = seen(&twelve(), &patient(View::Live), None, false).await.text();
    assert!(pipe.contains("web-01: ID=debian\n"), "{pipe}");
}

#[tokio::test]
async fn raw_of_several_is_one_host_after_the_other_in_order_of_names() {
    let desk = Desk::new(Fleet::of(&[("b", "x"), ("c", "x"), ("a", "x")]), |seen, member| {
        told(seen.report(member, Outcome::Exited { code: 0 }, member.name.as_bytes(), b"!"))
    });
    let ran = seen(&desk, &patient(View::Raw), None, false).await;
    assert_eq!(ran.text(), "abc");
}

#[tokio::test]
async fn where_most_lines_differ_the_whole_is_shown_and_a_missing_line_shows_as_missing() {
    let desk = Desk::new(Fleet::of(&[("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")]), |seen, member| {
        let said = match member.name.as_str() {
            "c" => "one\nthree\nfour\n",
            "d" => "1\n2\nthree\nfour\n",
            _ => "one\ntwo\nthree\nfour\n",
        };
        told(seen.ok(member, said))
    });
    let ran = seen(&desk, &patient(View::Group), None, false).await;
    assert_eq!(
        ran.text(),
        "✓ a,b (2)                    exit 0   0.4s\n  one\n  two\n  three\n  four\n\
         ✓ c (1)                      exit 0   0.4s   differs in 1 line\n  - two\n\
         ✓ d (1)                      exit 0   0.4s   differs in 2 lines\n  1\n  2\n"
    );
}

#[tokio::test]
async fn a_fleet_of_one_is_one_host() {
    let desk = Desk::new(Fleet::of(&[("solo", "x")]), |seen, member| told(seen.ok(member, "hi\n")));
    let ran = seen(&desk, &patient(View::Auto), Some(80), false).await;
    assert_eq!((ran.text().as_str(), ran.code()), ("hi\n", 0));
    let talk = talk(&ran, &desk);
    assert_eq!(talk, "1 host · as @agent by grant of ana · job ID\n1 ok          muster job show ID\n");
    let raw = seen(&desk, &on("solo"), None, false).await;
    assert_eq!((raw.text().as_str(), raw.err.as_str()), ("hi\n", ""));
}

#[test]
fn a_hosts_last_line_is_not_taken_away_where_no_progress_stood() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, Format::Table);
    streams.err_terminal = true;
    streams.progress("");
    streams.progress("1 of 2");
    streams.progress("");
    streams.progress("");
    assert_eq!(err, b"\r\x1b[K1 of 2\r\x1b[K");
}

/// Plays live output and a result of one of two hosts, and gives both streams and the exit code.
async fn live(format: Format, said: &[&str], signed: &str) -> (String, String, u8) {
    let desk = Desk::new(Fleet::of(&[("a", "x"), ("b", "x")]), |seen, member| told(seen.ok(member, "")));
    desk.run(&all()).await;
    let order = desk.state.lock().unwrap().orders[0].clone();
    let member = desk.fleet.member("a");
    let seen = Seen {
        fleet: desk.fleet.replica.fleet(),
        id: order.id(),
        order: order.body(),
        asked: 1,
        cancelled: false,
    };
    let result = verify(&seen.ok(member, signed), order.id(), desk.fleet.replica.authority());

    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, format);
    let mut job = Job::of(&order, order.body().roster.named(), &desk.fleet.replica, NOW);
    let mut tally = Tally::new(order.body().roster.named());
    job.begin(&mut streams, View::Live).unwrap();
    for (seq, text) in said.iter().enumerate() {
        let data = text.as_bytes().to_vec();
        let chunk = Chunk { host: member.id, fd: StreamName::Stdout, seq: seq as u64, data };
        job.happens(&mut streams, &Event::Chunk(chunk), Duration::ZERO).unwrap();
    }
    tally.report(member.id, result);
    job.settled(&mut streams, &mut tally, member.id, Duration::ZERO).unwrap();
    let code = tally.code(ExitMode::Summary);
    job.end(&mut streams, &tally, code).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

#[tokio::test]
async fn what_was_live_is_not_shown_again_and_the_rest_comes_with_the_result() {
    for said in [&[][..], &["one\n"], &["o", "ne\ntwo"], &["one\n", "two\n"]] {
        let (out, _, code) = live(Format::Table, said, "one\ntwo\n").await;
        assert_eq!((out.as_str(), code), ("a: one\na: two\n", 7), "{said:?}");
        let (out, ..) = live(Format::Jsonl, said, "one\ntwo\n").await;
        let events: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let chunks = events.iter().filter(|event| event["event"] == "chunk");
        let text: String = chunks.clone().map(|event| event["data"].as_str().unwrap()).collect();
        assert_eq!(text, "one\ntwo\n", "{said:?}");
        assert!(chunks.enumerate().all(|(at, event)| event["seq"] == at as u64), "{out}");
    }
}

#[tokio::test]
async fn what_was_live_and_is_not_what_was_signed_is_never_success() {
    for said in [&["evil\n"][..], &["one\nevil"], &["one\ntwo\nmore\n"], &["ONE\ntwo\n"]] {
        let (_, err, code) = live(Format::Table, said, "one\ntwo\n").await;
        assert_eq!(code, 6, "{said:?}");
        assert!(err.contains("✗ output of a: what was shown is not what was signed\n"), "{err}");
        let (out, ..) = live(Format::Jsonl, said, "one\ntwo\n").await;
        assert!(out.contains("\"status\":\"failed\""), "{out}");
        assert!(out.contains("but its output is not what was signed"), "{out}");
    }
}

#[tokio::test]
async fn no_view_shows_a_terminal_what_a_host_wrote_to_take_it_over() {
    let attack = ATTACKS.join("\n");
    let desk = Desk::new(Fleet::of(&[("a", "x"), ("b", "x"), ("c", "x")]), move |seen, member| {
        let odd = if member.name == "c" { "more\x1b]0;t\x07\n" } else { "" };
        let said = format!("{attack}\n{odd}");
        told(seen.report(member, Outcome::Exited { code: 0 }, said.as_bytes(), said.as_bytes()))
    });
    for view in [View::Auto, View::Live, View::Group, View::Raw, View::Quiet] {
        for request in [patient(view), RunRequest { view, ..on("a") }] {
            let ran = seen(&desk, &request, Some(60), false).await;
            assert_eq!(ran.code(), 0);
            // Raw bytes may erase their own line. Nothing else here is coloured, so no command is this program's.
            let erased = |shown: String| shown.replace("\x1b[2K", "").replace("\r\x1b[K", "");
            for shown in [ran.text(), ran.err].map(erased) {
                let hidden = |c: char| escape::is_hidden(c) && c != '\n';
                assert!(!shown.contains(hidden), "{view:?}: {shown:?}");
            }
            if view == View::Group {
                assert!(ran.out.starts_with("✓ a".as_bytes()), "{:?}", ran.out);
                let lines = String::from_utf8(ran.out.clone()).unwrap();
                let marks = lines.lines().filter(|row| !row.starts_with(' ')).count();
                assert_eq!(marks, if request.target.all { 2 } else { 1 }, "{lines}");
            }
        }
    }
}
