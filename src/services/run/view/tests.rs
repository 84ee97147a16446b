//! Screens of live and raw views, from events alone.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    group::{Differs, Page},
    screen::{Effect, LIVE_HOSTS_MAX, Mode, Options, Screen},
};
use crate::{
    control::StreamName,
    identity::{EntryId, HostId},
    replica::Output,
    services::run::{
        Counts, Status, View,
        event::{Chunk, Event, Exit, Note, Start, Summary},
        tests::attacks::ATTACKS,
    },
    terminal::{Style, escape, raw},
};

const OUT: StreamName = StreamName::Stdout;
const ERR: StreamName = StreamName::Stderr;

/// A screen, and what stands on the terminal.
struct Play {
    screen: Screen,
    out: Vec<u8>,
    /// Everything on both streams as one terminal shows it, progress in brackets.
    both: String,
    next: std::collections::BTreeMap<(usize, bool), u64>,
    at: Duration,
}

fn id(at: usize) -> HostId {
    HostId([at.to_be_bytes(); 4].concat().try_into().unwrap())
}

fn terminal(view: View, columns: usize) -> Options {
    Options {
        view,
        columns: Some(columns),
        err_columns: Some(columns),
        out_terminal: true,
        err_terminal: true,
        style: Style::default(),
    }
}

fn pipe(view: View) -> Options {
    Options { view, ..Options::default() }
}

impl Play {
    fn of(options: Options, hosts: &[&str]) -> Self {
        let mut play = Self {
            screen: Screen::new(options),
            out: Vec::new(),
            both: String::new(),
            next: std::collections::BTreeMap::new(),
            at: Duration::ZERO,
        };
        let roster = hosts.iter().enumerate().map(|(at, name)| (id(at), (*name).to_owned())).collect();
        play.on(&Event::Start(Start {
            job: EntryId([7; 32]),
            run_as: "root".to_owned(),
            by: "ana".to_owned(),
            roster,
        }));
        play
    }

    fn on(&mut self, event: &Event) {
        for effect in self.screen.on(event, self.at) {
            match effect {
                Effect::Out(bytes) => {
                    self.both += &String::from_utf8_lossy(&bytes);
                    self.out.extend(bytes);
                }
                Effect::Err(bytes) => self.both += &String::from_utf8_lossy(&bytes),
                Effect::Say(line) => self.both.extend([&line, "\n"]),
                Effect::Progress(text) => self.both.extend(["[", &text, "]"]),
            }
        }
    }

    fn after(&mut self, millis: u64) -> &mut Self {
        self.at += Duration::from_millis(millis);
        self.on(&Event::Tick);
        self
    }

    fn says(&mut self, host: usize, fd: StreamName, text: impl AsRef<[u8]>) -> &mut Self {
        let seq = self.next.entry((host, fd == ERR)).or_default();
        let chunk = Chunk { host: id(host), fd, seq: *seq, data: text.as_ref().to_vec() };
        *seq += 1;
        self.on(&Event::Chunk(chunk));
        self
    }

    fn ends(&mut self, host: usize, code: i32) -> &mut Self {
        self.on(&Event::Exit(Box::new(exit(host, code))));
        self
    }

    fn sums(&mut self) -> &mut Self {
        self.on(&Event::Summary(Summary {
            counts: Counts::default(),
            code: 0,
            conflicts: Vec::new(),
            strays: 0,
        }));
        self
    }

    fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }
}

fn exit(host: usize, code: i32) -> Exit {
    Exit {
        host: id(host),
        status: if code == 0 { Status::Ok } else { Status::Failed },
        words: format!("exit {code}"),
        code: Some(code),
        signal: None,
        started: None,
        ms: Some(412),
        stdout: Some(Output::default()),
        stderr: Some(Output::default()),
        left_behind: None,
        conflict: false,
        spoilt: false,
        claim: None,
        seen: None,
    }
}

#[test]
fn auto_is_raw_for_one_live_for_twenty_and_folded_beyond() {
    assert_eq!(Mode::of(View::Auto, 1), Mode::Raw);
    assert!(matches!(Mode::of(View::Auto, 2), Mode::Live(_)));
    assert!(matches!(Mode::of(View::Auto, LIVE_HOSTS_MAX), Mode::Live(_)));
    assert_eq!(Mode::of(View::Auto, 21), Mode::Folded);
    assert_eq!(Mode::of(View::Live, 1000), Mode::Live(Duration::ZERO));
    assert_eq!(Mode::of(View::Group, 1), Mode::Folded);
    assert_eq!(Mode::of(View::Raw, 3), Mode::RawLater);
}

#[test]
fn live_lines_stand_behind_their_hosts_names_in_one_column() {
    let mut play = Play::of(terminal(View::Live, 60), &["web-1", "db-primary"]);
    play.says(0, OUT, "start\nsecond").says(1, ERR, "warn\n").says(0, OUT, " line\n");
    play.says(1, OUT, "no end").ends(1, 1).ends(0, 0);
    assert_eq!(
        play.text(),
        "web-1      │ start\n\
         db-primary ! warn\n\
         web-1      │ second line\n\
         db-primary │ no end\n"
    );
}

#[test]
fn a_terminal_of_twenty_columns_has_names_above_the_lines() {
    let mut play = Play::of(terminal(View::Live, 20), &["web-1", "a-host-with-a-long-name-1"]);
    play.says(0, OUT, "the quick brown fox jumps\n").says(0, ERR, "over\n").says(1, OUT, "the lazy dog\n");
    assert_eq!(
        play.text(),
        "web-1\n\
         │ the quick brown fo\n\
         ┆ x jumps\n\
         ! over\n\
         a-host-with-a-long-n\n\
         ame-1\n\
         │ the lazy dog\n"
    );
    assert!(play.text().lines().all(|row| escape::width(row) <= 20));
}

#[test]
fn forty_columns_keep_names_beside_and_wrap_behind_the_margin() {
    let mut play = Play::of(terminal(View::Live, 40), &["web-1", "web-2"]);
    play.says(0, OUT, format!("{}✓ web-2 exit 0\n", "x".repeat(32)));
    assert_eq!(play.text(), format!("web-1 │ {}\n      ┆ ✓ web-2 exit 0\n", "x".repeat(32)));
}

#[test]
fn a_pipe_gets_whole_names_and_whole_lines_without_marks_of_a_terminal() {
    let mut play = Play::of(pipe(View::Live), &["web-1", "db-1"]);
    play.says(0, OUT, format!("{}\n", "x".repeat(300))).says(1, ERR, "bad\n");
    assert_eq!(play.text(), format!("web-1: {}\ndb-1: ! bad\n", "x".repeat(300)));
}

#[test]
fn colour_is_only_in_the_margin_and_nothing_is_lost_without_it() {
    let colored = Options { style: Style { color: true }, ..terminal(View::Live, 60) };
    let mut play = Play::of(colored, &["a", "b"]);
    play.says(0, OUT, "\x1b[31mred\n");
    assert_eq!(play.text(), "\x1b[2ma │\x1b[0m \\x1b[31mred\n");
    let mut plain = Play::of(terminal(View::Live, 60), &["a", "b"]);
    plain.says(0, OUT, "\x1b[31mred\n");
    assert_eq!(plain.text(), "a │ \\x1b[31mred\n");
}

#[test]
fn auto_holds_what_is_over_within_a_second_for_its_groups() {
    let mut play = Play::of(terminal(View::Auto, 60), &["quick", "slow"]);
    play.says(0, OUT, "folded\n").says(1, OUT, "one\n").after(500).ends(0, 0);
    assert_eq!(play.text(), "");
    play.after(600);
    assert_eq!(play.text(), "slow  │ one\n");
    play.says(1, OUT, "two\n");
    assert_eq!(play.text(), "slow  │ one\nslow  │ two\n", "from then on as it comes");
    assert!(play.screen.wants_all(&id(1)), "its output is shown to its end");
    assert!(!play.screen.wants_all(&id(0)));
    play.ends(1, 0);
    let groups = play.screen.groups();
    let unseen: Vec<_> = groups.iter().map(|(group, unseen)| (group.labels.join(","), *unseen)).collect();
    assert_eq!(
        unseen,
        [("quick,slow".to_owned(), true)],
        "the same signed output, which one of them did not show"
    );
}

#[test]
fn a_host_that_floods_is_not_held() {
    let mut play = Play::of(terminal(View::Auto, 60), &["flood", "b"]);
    for _ in 0..100 {
        play.says(0, OUT, [b"y\n".repeat(1000), vec![]].concat());
    }
    assert!(play.out.len() > 1000, "it shows before its second is over");
    let mut silent = Play::of(terminal(View::Live, 60), &["endless", "b"]);
    for _ in 0..100 {
        silent.says(0, OUT, vec![b'x'; 10_000]);
    }
    assert!(silent.out.len() > 990_000, "a line without end is shown in parts");
}

#[test]
fn progress_is_under_what_is_written_and_goes_when_it_is() {
    let mut play = Play::of(terminal(View::Live, 80), &["a", "b"]);
    play.on(&Event::Running { host: id(0) });
    play.after(500).after(600);
    assert!(
        play.both.ends_with("[[                    ] 0 of 2 answered · 1 running · 1s]"),
        "{}",
        play.both
    );
    play.says(0, OUT, "x\n");
    assert!(play.both.ends_with("1s][]a │ x\n"), "{}", play.both);
    play.after(1000).ends(0, 0).ends(1, 1).sums();
    assert!(play.both.contains("0 of 2 answered · 1 running · 2s][]"), "{}", play.both);
    let end = play.both.lines().last().unwrap();
    assert!(end.ends_with(&format!("muster job show {}", EntryId([7; 32]).short())), "{end}");
}

#[test]
fn where_progress_cannot_be_redrawn_it_is_a_line_every_ten_seconds() {
    let mut play = Play::of(pipe(View::Group), &["a", "b"]);
    for _ in 0..25 {
        play.after(1000);
    }
    let lines: Vec<&str> = play.both.lines().skip(1).collect();
    assert_eq!(lines, ["0 of 2 answered · 10s", "0 of 2 answered · 20s"]);
}

#[test]
fn what_is_missing_of_output_is_said_and_what_came_twice_shows_once() {
    let mut play = Play::of(terminal(View::Live, 60), &["a", "b"]);
    let chunk =
        |seq, text: &str| Event::Chunk(Chunk { host: id(0), fd: OUT, seq, data: text.as_bytes().to_vec() });
    for event in [chunk(0, "one\n"), chunk(0, "one\n"), chunk(2, "three\n"), chunk(1, "two\n")] {
        play.on(&event);
    }
    assert_eq!(play.text(), "a │ one\na │ three\n");
    assert!(play.both.contains("a: output is missing here\n"), "{}", play.both);
}

#[test]
fn quiet_leaves_out_remarks_and_output_but_no_warning() {
    let mut play = Play::of(pipe(View::Quiet), &["a", "b"]);
    play.says(0, OUT, "x\n");
    play.on(&Event::Note(Note::remark("batch 2 of 3")));
    play.on(&Event::Note(Note::warning("warning: look")));
    assert_eq!(play.text(), "");
    assert!(play.both.ends_with("\nwarning: look\n") && !play.both.contains("batch"), "{}", play.both);
}

#[test]
fn what_is_said_after_raw_bytes_begins_its_own_line() {
    let mut play = Play::of(terminal(View::Raw, 60), &["a"]);
    play.says(0, OUT, "no end").after(2000).ends(0, 0).sums();
    assert!(play.both.contains("\nno end\n          muster job show "), "{}", play.both);
}

#[test]
fn a_thousand_hosts_are_a_screen_that_a_person_reads() {
    let names: Vec<String> = (0..1000).map(|at| format!("web-{at:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut play = Play::of(terminal(View::Auto, 60), &names);
    for at in 0..999 {
        play.says(at, OUT, "not held: it is folded\n");
        let mut exit = exit(at, i32::from(at == 500));
        if at % 7 == 0 {
            exit.stdout = Some(Output { hash: [1; 32], kept: 6, produced: 6 });
        }
        play.on(&Event::Exit(Box::new(exit)));
    }
    play.after(3000);
    assert_eq!(play.text(), "");
    assert!(play.both.ends_with("[999 of 1000 answered · 1 failed · 3s]"), "{}", play.both);
    let (groups, _): (Vec<_>, Vec<_>) = play.screen.groups().into_iter().unzip();
    let page = Page::new(&groups, Some(60), Style::default());
    let heads: String = groups.iter().map(|group| page.head(group, Differs::Not)).collect();
    assert_eq!(
        heads,
        "✓ web-[0001-0006,0008-0013,0015-0020,0022-0027,0029-0034,003\n\
         \x20 6-0041,0043-0048,0050-0055,0057-0062,0064-0069,0071-0076,0\n\
         \x20 078-0083,0085-0090,0092-0097,0099-0104,0106-0111,0113-0118\n\
         \x20 ,0120-0125,0127-0132,0134-0139,0141-0146,0148-0153,0155-01\n\
         \x20 60,0162-0167,0169-0174,0176-0181,0183-0188,0190-0195,0197-\n\
         \x20 … (855)\n\
         \x20   exit 0 · 0.4s\n\
         ✓ web-[0000,0007,0014,0021,0028,0035,0042,0049,0056,0063,007\n\
         \x20 0,0077,0084,0091,0098,0105,0112,0119,0126,0133,0140,0147,0\n\
         \x20 154,0161,0168,0175,0182,0189,0196,0203,0210,0217,0224,0231\n\
         \x20 ,0238,0245,0252,0259,0266,0273,0280,0287,0294,0301,0308,03\n\
         \x20 15,0322,0329,0336,0343,0350,0357,0364,0371,0378,0385,0392,\n\
         \x20 … (143)\n\
         \x20   exit 0 · 0.4s\n\
         ✗ web-0500 (1)\n\
         \x20   exit 1 · 0.4s\n"
    );
}

#[test]
fn no_view_lets_a_host_take_over_the_terminal() {
    for view in [View::Auto, View::Live, View::Group, View::Raw, View::Quiet] {
        for hosts in [&["a"][..], &["a", "b"]] {
            for (attack, fd) in ATTACKS.iter().flat_map(|attack| [(attack, OUT), (attack, ERR)]) {
                for size in [1, 3, 1000] {
                    let mut play = Play::of(terminal(view, 60), hosts);
                    for piece in attack.as_bytes().chunks(size) {
                        play.says(0, fd, piece);
                    }
                    play.after(1500).ends(0, 0).sums();
                    // Raw is one host's own line: it may erase that, and nothing else.
                    let shown = play.both.replace("\x1b[2K", "");
                    assert!(!shown.contains('\x1b'), "{view:?} {attack:?}: {:?}", play.both);
                    let hidden = |c: char| escape::is_hidden(c) && c != '\n';
                    assert!(!shown.contains(hidden), "{view:?} {attack:?}: {:?}", play.both);
                }
            }
        }
    }
}

#[test]
fn a_host_cannot_put_anything_where_marks_stand() {
    let fake = "✓ b (1)   exit 0\n\n\r✗ b\nx\t✓ b (1) exit 0".repeat(20);
    for columns in [20, 33, 40, 80] {
        let mut play = Play::of(terminal(View::Live, columns), &["a", "b"]);
        play.says(0, OUT, &fake).says(0, ERR, &fake).ends(0, 0);
        for row in play.text().lines() {
            let margin =
                ["a │ ", "a ! ", "  ┆ ", "│ ", "! ", "┆ "].iter().any(|margin| row.starts_with(margin));
            assert!(margin || row == "a", "{row:?}");
            assert!(escape::width(row) <= columns, "{columns}: {row:?}");
        }
    }
}

proptest! {
    #[test]
    fn raw_pieces_read_as_the_filtered_whole(
        pieces in prop::collection::vec(prop::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(b"\x1b[]m;0K\\\x07\xc3\xa9\n".to_vec()),
        ], 0..20), 0..20),
        at_terminal: bool,
        color: bool,
    ) {
        let options = Options {
            out_terminal: at_terminal, style: Style { color }, ..pipe(View::Raw)
        };
        let mut play = Play::of(options, &["a"]);
        for piece in &pieces {
            play.says(0, OUT, piece);
        }
        play.ends(0, 0);
        let whole = pieces.concat();
        let mut filter = raw::Filter::new(color);
        let filtered = filter.push(&whole) + &filter.finish();
        prop_assert_eq!(play.out, if at_terminal { filtered.into_bytes() } else { whole });
    }

    #[test]
    fn live_lines_hold_all_that_was_said(
        pieces in prop::collection::vec((0_usize..3, any::<bool>(), "[a-zé\\n]{0,30}"), 0..30),
    ) {
        let mut play = Play::of(pipe(View::Live), &["a", "b", "c"]);
        for (host, is_err, text) in &pieces {
            play.says(*host, if *is_err { ERR } else { OUT }, text);
        }
        (0..3).for_each(|host| { play.ends(host, 0); });
        for (host, name) in ["a", "b", "c"].into_iter().enumerate() {
            for (is_err, margin) in [(false, format!("{name}: ")), (true, format!("{name}: ! "))] {
                let said: String =
                    pieces.iter().filter(|piece| (piece.0, piece.1) == (host, is_err)).map(|piece| piece.2.as_str()).collect();
                let text = play.text();
                let shown: Vec<&str> = text
                    .lines()
                    .filter_map(|line| line.strip_prefix(&margin))
                    .filter(|line| !line.starts_with('!'))
                    .collect();
                prop_assert_eq!(shown, said.lines().collect::<Vec<_>>());
            }
        }
    }
}
