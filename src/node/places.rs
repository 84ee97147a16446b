//! Where files are: flag over `MUSTER_*` over the default for root or for anyone else (XDG).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A file.
    File(PathBuf),
    /// Nobody said anything else.
    Default,
}

impl Source {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Flag(flag) => format!("flag {flag}"),
            Self::Variable(name) => format!("variable {name}"),
            Self::File(path) => format!("file {}", path.display()),
            Self::Default => "default".to_owned(),
        }
    }
}

/// The paths that a process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The agent's state directory.
    pub state: PathBuf,
    /// The agent's settings.
    pub config: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
    /// The directory that has one directory a fleet with this user's operator key.
    pub operators: PathBuf,
    /// The directory that has one directory a context.
    pub contexts: PathBuf,
    /// Where state, config, socket, operators and contexts come from, in that order.
    sources: [Source; 5],
}

impl Places {
    /// Each place with its name and where it comes from.
    pub fn origins(&self) -> [(&'static str, &Path, &Source); 5] {
        let [state, config, socket, operators, contexts] = &self.sources;
        [
            ("state", &self.state, state),
            ("config", &self.config, config),
            ("socket", &self.socket, socket),
            ("operators", &self.operators, operators),
            ("contexts", &self.contexts, contexts),
        ]
    }

    /// Whether somebody said which agent is meant.
    pub fn names_agent(&self) -> bool {
        let [state, _, socket, ..] = &self.sources;
        *state != Source::Default || *socket != Source::Default
    }

    /// Finds them. `env` looks a variable up; `root` says whether this process is root.
    pub fn find(
        state: Option<&Path>,
        socket: Option<&Path>,
        env: impl Fn(&str) -> Option<OsString>,
        root: bool,
    ) -> Self {
        let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let data = path("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")).join("muster");
        let said = |flag: Option<&'static str>, variable: &'static str| match flag {
            Some(flag) => Source::Flag(flag),
            None if path(variable).is_some() => Source::Variable(variable),
            None => Source::Default,
        };
        let sources = [
            said(state.map(|_| "--state"), "MUSTER_STATE"),
            said(None, "MUSTER_CONFIG"),
            said(socket.map(|_| "--socket"), "MUSTER_SOCKET"),
            said(None, "MUSTER_OPERATORS"),
            said(None, "MUSTER_CONTEXTS"),
        ];
        let operators = path("MUSTER_OPERATORS").unwrap_or_else(|| data.join("operators"));
        let contexts = path("MUSTER_CONTEXTS").unwrap_or_else(|| data.join("contexts"));
        let given = state.map(Path::to_owned).or_else(|| path("MUSTER_STATE"));
        let (state, config, default_socket) = match given {
            Some(state) => {
                let (config, socket) = (state.join("agent.toml"), state.join("agent.sock"));
                (state, config, socket)
            }
            None if root => {
                ("/var/lib/muster".into(), "/etc/muster/agent.toml".into(), "/run/muster/agent.sock".into())
            }
            None => {
                let config = path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
                let state = data.join("agent");
                let socket = path("XDG_RUNTIME_DIR")
                    .map_or_else(|| state.join("agent.sock"), |dir| dir.join("muster/agent.sock"));
                (state, config.join("muster/config.toml"), socket)
            }
        };
        let socket = socket.map(Path::to_owned).or_else(|| path("MUSTER_SOCKET")).unwrap_or(default_socket);
        let config = path("MUSTER_CONFIG").unwrap_or(config);
        Self { state, config, socket, operators, contexts, sources }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(state: Option<&str>, vars: &[(&str, &str)], root: bool) -> Places {
        let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        Places::find(state.map(Path::new), None, env, root)
    }

    #[test]
    fn root_and_anyone_else_have_their_own_places() {
        let root = find(None, &[("HOME", "/root")], true);
        assert_eq!(root.socket, Path::new("/run/muster/agent.sock"));
        assert_eq!(root.operators, Path::new("/root/.local/share/muster/operators"));
        let ana = find(None, &[("HOME", "/home/ana"), ("XDG_RUNTIME_DIR", "/run/user/7")], false);
        assert_eq!(ana.state, Path::new("/home/ana/.local/share/muster/agent"));
        assert_eq!(ana.socket, Path::new("/run/user/7/muster/agent.sock"));
        assert_eq!(ana.config, Path::new("/home/ana/.config/muster/config.toml"));
    }

    #[test]
    fn each_place_says_where_it_comes_from() {
        let vars =
            [("HOME", "/h"), ("MUSTER_STATE", "/a"), ("MUSTER_OPERATORS", "/o"), ("MUSTER_CONFIG", "")];
        let words = |places: &Places| places.origins().map(|(_, _, source)| source.words());
        assert_eq!(
            words(&find(None, &vars, false)),
            ["variable MUSTER_STATE", "default", "default", "variable MUSTER_OPERATORS", "default"]
        );
        assert_eq!(words(&find(Some("/b"), &vars, false))[0], "flag --state");
    }

    #[test]
    fn a_flag_is_over_a_variable() {
        let vars = [("HOME", "/h"), ("MUSTER_STATE", "/a"), ("MUSTER_SOCKET", "/s")];
        assert_eq!(find(None, &vars, false).state, Path::new("/a"));
        let flag = find(Some("/b"), &vars, false);
        assert_eq!((flag.state.as_path(), flag.socket.as_path()), (Path::new("/b"), Path::new("/s")));
    }
}
