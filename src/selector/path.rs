//! Where on a host a test looks: a fixed root, and parts between dots.

use super::alias;
use super::character::{is_segment, quoted};
use super::error::{Position, SelectorError};
use super::spelling;
use super::tag::check_key;
use super::token::Part;
use super::version::deb::is_package_name;
use std::fmt;

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

    /// How few and how many parts follow it.
    fn parts(self) -> (usize, usize) {
        match self {
            Self::Name | Self::Id | Self::Site | Self::State => (0, 0),
            Self::Tag | Self::Deb => (1, 1),
            Self::Agent
            | Self::Ip
            | Self::Disk
            | Self::Port
            | Self::User
            | Self::Vuln
            | Self::Patch
            | Self::Drift => (0, usize::MAX),
            _ => (1, usize::MAX),
        }
    }
}

/// Where on a host a test looks, such as `tag.role` or `deb.openssl`. Prints as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    root: Root,
    segments: Vec<String>,
}

impl Path {
    /// The path of the tag with this key.
    pub(super) fn of_tag(key: &str) -> Self {
        Self { root: Root::Tag, segments: vec![key.to_owned()] }
    }

    /// Checks the parts that stood at `position`.
    pub(super) fn from_parts(parts: Vec<Part>, position: Position) -> Result<Self, SelectorError> {
        let fault = |message: String| SelectorError::new(position, message);
        let longer = parts.len() > 1;
        let mut parts = parts.into_iter();
        let first = parts.next().map(|part| part.text).unwrap_or_default();
        let Some(root) = Root::named(&first) else {
            if let Some(keyword) = spelling::keyword(&first) {
                return Err(fault(format!("{} is not a path", clipped(&first)))
                    .hint(format!("keywords are small: write {keyword}")));
            }
            let hint = spelling::root(&first, longer);
            return Err(fault(format!("no path starts with {}", clipped(&first))).hint(hint));
        };
        let name = root.name();
        let parts: Vec<Part> = parts.collect();
        if let Some(bad) = parts.iter().find(|part| !part.quoted && !part.text.chars().all(is_segment)) {
            let all: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            return Err(fault(format!("{} cannot stand in a path without quotes", clipped(&bad.text)))
                .hint(format!("write {name}.{}", clipped(&quoted(&all.join("."))))));
        }
        if parts.iter().any(|part| part.text.is_empty()) {
            return Err(fault("a part of the path is empty".into()).hint(format!("write {name}.something")));
        }
        let (least, most) = root.parts();
        if parts.len() < least {
            return Err(fault(format!("{name} alone is not a path")).hint(format!("write {name}.something")));
        }
        if parts.len() > most {
            let all: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            let one = clipped(&quoted(&all.join(".")));
            return Err(match root {
                Root::Tag => fault("a tag has one key".into())
                    .hint(format!("a key with dots stands in quotes: tag.{one}")),
                Root::Deb => fault("a package has one name".into())
                    .hint(format!("a name with dots stands in quotes: deb.{one}")),
                _ => fault(format!("nothing comes after {name}")),
            });
        }
        let segments: Vec<String> = parts.into_iter().map(|part| part.text).collect();
        if root == Root::Tag {
            for key in &segments {
                check_key(key).map_err(|error| fault(format!("no tag has this key: {error}")))?;
            }
        }
        if root == Root::Deb {
            for package in &segments {
                check_package(package).map_err(|(message, hint)| fault(message).hint(hint))?;
            }
        }
        Ok(Self { root, segments })
    }

    /// What it starts with.
    pub fn root(&self) -> Root {
        self.root
    }

    /// What follows the root, without dots and quotes.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(String::as_str)
    }

    /// The key, if it looks at a tag.
    pub fn tag(&self) -> Option<&str> {
        self.segments.first().filter(|_| self.root == Root::Tag).map(String::as_str)
    }

    /// The name of the package, if it looks at one of dpkg. The values there are the versions in which it is
    /// installed: one for each architecture, without those that are removed or only half there.
    pub fn deb(&self) -> Option<&str> {
        self.segments.first().filter(|_| self.root == Root::Deb).map(String::as_str)
    }

    /// The table and the column, if it looks at a fact, by the names of osquery whatever was written. Without
    /// a column the table is asked for: it is there if it has a row. Longer paths look at nothing that there is.
    pub fn fact(&self) -> Option<(&str, Option<&str>)> {
        if self.root != Root::Fact {
            return None;
        }
        let mut segments = self.segments();
        let (table, column) = (segments.next()?, segments.next());
        segments.next().is_none().then(|| alias::resolved(table, column))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.name())?;
        for segment in &self.segments {
            f.write_str(".")?;
            if segment.chars().all(is_segment) {
                f.write_str(segment)?;
            } else {
                f.write_str(&quoted(segment))?;
            }
        }
        Ok(())
    }
}

/// Checks the name of a package of dpkg. An error is a message and a hint.
fn check_package(name: &str) -> Result<(), (String, String)> {
    if is_package_name(name) {
        return Ok(());
    }
    let message = format!("no package of dpkg has the name {}", clipped(name));
    let small = name.to_ascii_lowercase();
    let without = small.split_once(':').map_or(small.as_str(), |(name, _)| name);
    Err(if !is_package_name(without) {
        (message, "a name is made of small letters, digits and + - .".to_owned())
    } else if without == small {
        (message, format!("names of packages are small: write {}", clipped(&small)))
    } else {
        (message, format!("every architecture is looked at: write {}", clipped(without)))
    })
}

/// Shortens what someone wrote, for a message. Hidden characters are spelled out.
pub(super) fn clipped(word: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let mut short = String::new();
    for c in word.chars().take(SHOWN_MAX) {
        if super::character::is_hidden(c) {
            short.extend(c.escape_unicode());
        } else {
            short.push(c);
        }
    }
    if word.chars().nth(SHOWN_MAX).is_some() {
        short.push('…');
    }
    short
}
