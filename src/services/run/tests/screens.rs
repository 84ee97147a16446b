//! What a person sees of a whole run, as expected text.

use super::agent::{Desk, Fleet, Member, Person, Ran, SHORT, Seen, all, on, told};
use crate::{
    replica::Outcome,
    services::run::{RunRequest, View},
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

/// What was said beside it, without the job's id.
fn talk(ran: &Ran, desk: &Desk) -> String {
    let id = desk.state.lock().unwrap().orders[0].id().short();
    ran.err.replace(&id, "ID").replace("\r\x1b[K", "")
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
