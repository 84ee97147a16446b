//! What stands on a real terminal: one that is narrow, and one that becomes so while a command runs.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use crate::{
    fleet::{Fleet, Reach},
    orders::two,
};

/// A terminal with a shell script in it; what it shows goes to a file.
struct Terminal<'a> {
    fleet: &'a Fleet,
    child: Child,
}

impl<'a> Terminal<'a> {
    /// `$M` is the program with this fleet's places, `$D` the fleet's directory.
    fn of(fleet: &'a Fleet, script: &str) -> Self {
        let inner = fleet.command("a");
        let dir = fleet.dir();
        let words = inner.get_args().map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ");
        let text = format!("M='{} {words}'; D={}\n{script}\n", env!("CARGO_BIN_EXE_muster"), dir.display());
        let path = dir.join("script.sh");
        fs::write(&path, text).expect("a script");
        let mut command = Command::new("script");
        command.env_clear().current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm").env("NO_COLOR", "1").env("SHELL", "/bin/sh");
        command.args(["-q", "-f", "-c", &format!("sh {}", path.display()), "typescript"]);
        Self { fleet, child: command.spawn().expect("a terminal") }
    }

    /// The rows so far, without what begins and ends the file.
    fn rows(&self) -> Vec<String> {
        let text = fs::read(self.fleet.dir().join("typescript")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).replace('\r', "\n").replace("\u{1b}[K", "");
        let ours = |row: &&str| !row.starts_with("Script ") && !row.is_empty();
        text.lines().filter(ours).map(str::to_owned).collect()
    }

    fn until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        self.fleet.until(what, |_| if is_so(&self.rows()) { Ok(()) } else { Err(self.rows().join("\n")) });
    }

    fn ends(mut self) -> Vec<String> {
        let child = &mut self.child;
        self.fleet.until("the terminal ends", |_| {
            child.try_wait().expect("it is ours").map(drop).ok_or_else(|| "it runs".to_owned())
        });
        self.rows()
    }
}

fn width(row: &str) -> usize {
    row.chars().count()
}

#[test]
fn at_twenty_columns_no_row_of_run_or_of_a_list_of_jobs_is_longer() {
    let fleet = two();
    fleet.order("a", &["--all"], &["echo", "a long command line for a narrow terminal"]).ends(0);
    for (script, wanted) in [
        ("$M run --all --view live -- echo one two three four five", &["one two three"]),
        ("$M job ls", &["COMMAND"]),
        ("$M host ls", &["STATE"]),
    ] {
        let rows = Terminal::of(&fleet, &format!("stty cols 20 rows 24\n{script}")).ends();
        for row in &rows {
            // Standing orders of a terminal's cursor take no room.
            let row = row.split('\u{1b}').next().unwrap_or_default();
            assert!(width(row) <= 20, "{script}: {row:?} in {rows:#?}");
        }
        for word in wanted {
            assert!(rows.iter().any(|row| row.contains(word)), "{script}: no {word:?} in {rows:#?}");
        }
    }
}

#[test]
fn a_terminal_that_becomes_narrow_while_a_command_runs_gets_rows_that_fit() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    let long = "word ".repeat(12);
    let terminal = Terminal::of(
        &fleet,
        &format!(
            "stty cols 100 rows 24\n\
             $M run --all --view live -- sh -c 'echo {long}; while ! [ -e '$D'/go ]; do sleep 0.1; done; echo {long}' &\n\
             while ! [ -e $D/narrow ]; do sleep 0.1; done\n\
             stty cols 24; touch $D/go; wait"
        ),
    );
    terminal.until("both hosts' first lines show", |rows| {
        rows.iter().filter(|row| row.contains(long.trim())).count() == 2
    });
    let before = terminal.rows().len();
    fs::write(fleet.dir().join("narrow"), "").expect("a mark");
    let rows = terminal.ends();
    let after: Vec<&String> = rows.iter().skip(before).filter(|row| row.contains("word")).collect();
    assert!(after.len() >= 6, "{rows:#?}");
    for row in after {
        assert!(width(row) <= 24, "{row:?} in {rows:#?}");
    }
}
