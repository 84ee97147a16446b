//! What to try from a second terminal, as it can be pasted there.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Component, Path, PathBuf},
};

use serde_json::json;

use super::{
    super::{
        failure::{Failure, quoted},
        teller::Teller,
    },
    fleet::Fleet,
    packages::Packages,
};

/// From so many hosts on `run` asks, which it cannot where no terminal is.
pub(super) const ASKS_FROM_HOSTS: usize = 10;

/// Commands for a second terminal.
pub(super) struct Suggestions {
    environment: String,
    commands: Vec<(String, &'static str)>,
}

impl Suggestions {
    /// Those for `fleet`. `called`: how this program was called; `socket`: whether the environment says
    /// where the socket is, which then has to be said anew.
    pub(super) fn new(fleet: &Fleet, packages: &Packages, called: Option<OsString>, socket: bool) -> Self {
        let mut environment = String::from("export");
        if let Some(first) = fleet.agents.first() {
            let _always = write!(environment, " MUSTER_STATE={}", quoted(&first.places.state));
            if socket {
                let _always = write!(environment, " MUSTER_SOCKET={}", quoted(&first.places.socket));
            }
        }
        let _always = write!(environment, " MUSTER_OPERATORS={}", quoted(&fleet.operators));
        let program = program(called);
        let yes = if fleet.agents.len() >= ASKS_FROM_HOSTS { " --yes" } else { "" };
        let last = fleet.agents.last().map_or("web-1", |agent| agent.name.as_str());
        let (path, later, alone) =
            (format!("deb.{}", packages.name), packages.later(), fleet.agents.len() == 1);
        let old = if alone { "=" } else { "<" };
        let commands = [
            (format!("run --all{yes} -- uname -r"), "run a command on every host"),
            ("host ls".to_owned(), "the hosts, with their tags"),
            (format!("host tag {last} env=lab --yes"), "a tag is an operator's signature"),
            ("run -l env=lab -- id".to_owned(), "and says what runs where"),
            (
                format!("inventory search '{path} {old} {later}'"),
                if alone { "who has the new one, and since when" } else { "who still has the old one" },
            ),
            (format!("inventory search all --count-by {path}"), "which versions there are, and where"),
            (format!("inventory show {last}"), "what a host says of itself, also when it is off"),
            ("job ls".to_owned(), "what was ordered, and what came of it"),
            ("status".to_owned(), "one agent: its processes, links, confinement"),
        ];
        let commands = commands.into_iter().map(|(words, why)| (format!("{program} {words}"), why)).collect();
        Self { environment, commands }
    }

    /// Tells them.
    pub(super) fn tell(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let mut text = format!("\ntry, in a second terminal:\n  {}\n", self.environment);
        let width = self.commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        for (command, why) in &self.commands {
            let _always = writeln!(text, "  {command:width$}   # {why}");
        }
        let commands: Vec<&str> = self.commands.iter().map(|(command, _)| command.as_str()).collect();
        let fields = json!({ "environment": self.environment, "commands": commands });
        teller.write("ready", &text, fields)
    }
}

/// This program as it can be called from any directory: by its name if it was found by that, else by the
/// whole path.
fn program(called: Option<OsString>) -> String {
    let called = called.unwrap_or_else(|| "muster".into());
    let path = Path::new(&called);
    if path.components().count() < 2 && !called.as_encoded_bytes().contains(&b'/') {
        return quoted(path);
    }
    let whole = std::env::current_dir().map(|dir| -> PathBuf {
        // Without the `.` of `./muster`; links stay as they are.
        let parts = dir.components().chain(path.components());
        parts.filter(|part| *part != Component::CurDir).collect()
    });
    quoted(&whole.unwrap_or_else(|_| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_called_by_a_path_is_named_by_the_whole_of_it() {
        assert_eq!(program(Some("muster".into())), "muster");
        assert_eq!(program(Some("/opt/muster".into())), "/opt/muster");
        let here = std::env::current_dir().unwrap();
        assert_eq!(program(Some("./muster".into())), quoted(&here.join("muster")));
        assert_eq!(program(Some("target/debug/muster".into())), quoted(&here.join("target/debug/muster")));
    }
}
