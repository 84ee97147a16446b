//! The words that a path may start with.

/// What a path starts with. The list is closed: another word is a mistake, never a host without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// The host's label.
    Name,
    /// The host's id.
    Id,
    /// Where the host stands.
    Site,
    /// Whether the host is up, as seen from here.
    State,
    /// The agent that runs there.
    Agent,
    /// A signed tag: the only root that authorises.
    Tag,
    /// What the host says of itself.
    Fact,
    /// An address.
    Ip,
    /// A file system.
    Disk,
    /// A listening port.
    Port,
    /// A user account.
    User,
    /// A systemd unit.
    Unit,
    /// A package of any kind.
    Pkg,
    /// A package of dpkg.
    Deb,
    /// A package of rpm.
    Rpm,
    /// A package of apk.
    Apk,
    /// A package of pip.
    Pip,
    /// A package of npm.
    Npm,
    /// A known weakness of an installed package.
    Vuln,
    /// A patch that is due.
    Patch,
    /// A difference from the desired state.
    Drift,
}

impl Root {
    /// All roots, in the order of their documentation.
    pub const EVERY: [Self; 21] = [
        Self::Name,
        Self::Id,
        Self::Site,
        Self::State,
        Self::Agent,
        Self::Tag,
        Self::Fact,
        Self::Ip,
        Self::Disk,
        Self::Port,
        Self::User,
        Self::Unit,
        Self::Pkg,
        Self::Deb,
        Self::Rpm,
        Self::Apk,
        Self::Pip,
        Self::Npm,
        Self::Vuln,
        Self::Patch,
        Self::Drift,
    ];

    /// Its word in the language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Id => "id",
            Self::Site => "site",
            Self::State => "state",
            Self::Agent => "agent",
            Self::Tag => "tag",
            Self::Fact => "fact",
            Self::Ip => "ip",
            Self::Disk => "disk",
            Self::Port => "port",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Pkg => "pkg",
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Pip => "pip",
            Self::Npm => "npm",
            Self::Vuln => "vuln",
            Self::Patch => "patch",
            Self::Drift => "drift",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|root| root.name() == name)
    }
}
