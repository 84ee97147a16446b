//! What surrounds the process, and what of it every command has at hand.

use std::{
    cell::RefCell,
    env,
    ffi::OsString,
    io::{self, BufRead, BufReader, IsTerminal as _, Write},
    path::PathBuf,
    rc::Rc,
};

use crate::{
    cli::{arguments::Global, failure::Site},
    journal::signer::Ways,
    node::{Places, clock},
    terminal::{
        Output, Style, Talk,
        style::{ColorChoice, ColorEnvironment, wants_color},
    },
    time::Timestamp,
};

/// Looks a variable of the environment up.
type Variables = Box<dyn Fn(&str) -> Option<OsString>>;

/// What surrounds the process: so that a test can be that.
pub(in crate::cli) struct Surroundings {
    pub(in crate::cli) env: Variables,
    pub(in crate::cli) is_root: bool,
    pub(in crate::cli) input: Box<dyn BufRead>,
    pub(in crate::cli) out: Box<dyn Write>,
    pub(in crate::cli) err: Box<dyn Write>,
    /// Which of the three are terminals, in that order.
    pub(in crate::cli) terminals: [bool; 3],
    /// How many columns the terminal has, if output goes to one.
    pub(in crate::cli) columns: Option<usize>,
    pub(in crate::cli) now: Timestamp,
}

impl Surroundings {
    /// Those that there are.
    pub(super) fn real() -> Self {
        Self {
            env: Box::new(|name| env::var_os(name)),
            is_root: rustix::process::geteuid().is_root(),
            input: Box::new(BufReader::new(io::stdin())),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            terminals: [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()],
            columns: rustix::termios::tcgetwinsize(io::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns > 0),
            now: clock::now(),
        }
    }

    /// What the environment offers to sign with.
    pub(super) fn ways(&self) -> Ways {
        let set = |name: &str| (self.env)(name).filter(|value| !value.is_empty());
        Ways {
            agent: set("SSH_AUTH_SOCK").map(PathBuf::from),
            forwarded: set("MUSTER_FORWARDED_AGENT").is_some_and(|value| value == "yes"),
            by_ssh: set("SSH_CONNECTION").is_some(),
            passphrase_descriptor: set("MUSTER_PASSPHRASE_FD").and_then(|value| value.to_str()?.parse().ok()),
        }
    }
}

/// What every command has at hand.
pub(in crate::cli) struct Context {
    pub(in crate::cli) site: Site,
    pub(in crate::cli) output: Output<Box<dyn Write>>,
    pub(in crate::cli) talk: Talk,
    pub(in crate::cli) now: Timestamp,
    /// Whether standard input, output and error are terminals.
    pub(in crate::cli) terminals: [bool; 3],
    /// How many columns standard output has, if it is one.
    pub(in crate::cli) columns: Option<usize>,
    /// What is said for every command.
    pub(in crate::cli) global: Global,
    /// How standard output looks.
    pub(in crate::cli) out_style: Style,
    /// The user's name, if the environment says.
    pub(in crate::cli) user: Option<String>,
    /// The context that is meant, if the flag or the environment says.
    pub(in crate::cli) named: Option<String>,
    /// From when what is shown is, if no member of the fleet answers.
    pub(in crate::cli) as_of: Option<Timestamp>,
}

/// Standard error, for the talk of a command and for its failure.
#[derive(Clone)]
pub(super) struct Shared(Rc<RefCell<Box<dyn Write>>>);

impl Shared {
    pub(super) fn say(&self, text: &str) {
        let _best_effort = self.0.borrow_mut().write_all(text.as_bytes());
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Surroundings {
    fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    /// Whether to colour what goes to stream `number`.
    pub(super) fn color(&self, choice: ColorChoice, number: usize) -> bool {
        let (no_color, clicolor_force, term) =
            (self.var("NO_COLOR"), self.var("CLICOLOR_FORCE"), self.var("TERM"));
        let environment = ColorEnvironment {
            no_color: no_color.as_deref(),
            clicolor_force: clicolor_force.as_deref(),
            term: term.as_deref(),
        };
        wants_color(choice, environment, self.terminals.get(number).copied().unwrap_or_default())
    }

    pub(super) fn context(self, global: &Global) -> (Context, Shared) {
        let places = Places::find(
            global.state.as_deref(),
            global.socket.as_deref(),
            |name| (self.env)(name),
            self.is_root,
        );
        let site = Site { places, state: global.state.clone(), socket: global.socket.clone() };
        let style = |number| Style { color: self.color(global.color, number) };
        let (out_style, err_style) = (style(1), style(2));
        let named = global.context.clone().or_else(|| self.var("MUSTER_CONTEXT"));
        let user = self.var("SUDO_USER").or_else(|| self.var("USER"));
        let [in_terminal, out_terminal, err_terminal] = self.terminals;
        let errors = Shared(Rc::new(RefCell::new(self.err)));
        let context = Context {
            site,
            // A table that was asked for is one on a pipe as well.
            output: Output::new(
                self.out,
                global.output.unwrap_or_default(),
                out_terminal || global.output.is_some(),
                out_style,
                self.now,
            )
            .within(self.columns),
            talk: Talk::new(
                errors.clone(),
                self.input,
                err_style,
                in_terminal && err_terminal,
                global.yes,
                global.quiet,
            ),
            now: self.now,
            terminals: self.terminals,
            columns: self.columns,
            global: global.clone(),
            out_style,
            user,
            named,
            as_of: None,
        };
        (context, errors)
    }
}
