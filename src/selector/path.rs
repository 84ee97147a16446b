//! Where on a host a test looks: a fixed root, and parts between dots; or a column, within a table's rows.

use super::character::{is_hidden, is_segment, quoted};
use super::error::{Position, SelectorError};
use super::kind::Kind;
use super::quantified::cells_of;
use super::root::Root;
use super::schema::{self, Schema, Source};
use super::spelling::{self, nearest};
use super::tag::check_key;
use super::token::Part;
use super::version::deb::is_package_name;
use std::borrow::Cow;
use std::fmt;

/// The longest name of a package, a unit or a fact, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Where on a host a test looks, such as `tag.role` or `deb.openssl`. Prints as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    root: Root,
    segments: Vec<String>,
    place: Place,
    kind: Kind,
    /// The cells that it looks at in each row, by osquery's names; the one that has the rows' names is the last.
    /// They follow from the place, and are asked for at every host.
    cells: Vec<String>,
}

/// What a path comes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    /// One value of the host.
    Host,
    /// A table: are there rows, of this name if there is one?
    Rows { named: Option<String> },
    /// A column of all rows, or of those of this name.
    Column { source: Source, named: Option<String> },
    /// A column of the row that is looked at.
    OfRow { source: Source },
}

impl Path {
    /// The path of the tag with this key.
    pub(super) fn of_tag(key: &str) -> Self {
        Self::new(Root::Tag, vec![key.to_owned()], Place::Host, Kind::Text)
    }

    fn new(root: Root, segments: Vec<String>, place: Place, kind: Kind) -> Self {
        let mut path = Self { root, segments, place, kind, cells: Vec::new() };
        let key = path.named().map(|(key, _)| key);
        let looked_at = path.column().into_iter().flat_map(cells_of).filter(|cell| Some(*cell) != key);
        path.cells = looked_at.chain(key).map(str::to_owned).collect();
        path
    }

    /// Checks the parts that stood at `position`. Within the rows of `table` they name one of its columns.
    pub(super) fn from_parts(
        parts: Vec<Part>,
        position: Position,
        table: Option<&Self>,
    ) -> Result<Self, SelectorError> {
        let fault = |message: String| SelectorError::new(position, message);
        if let Some(table) = table {
            return table.column_of_row(&parts, position);
        }
        let longer = parts.len() > 1;
        let mut parts = parts.into_iter();
        let first = parts.next().map(|part| part.text).unwrap_or_default();
        if first.is_empty() {
            return Err(fault("a part of the path is empty".into()).hint("write tag.something"));
        }
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
        let joined = || {
            let all: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            clipped(&quoted(&all.join(".")))
        };
        if let Some(bad) = parts.iter().find(|part| !part.quoted && !part.text.chars().all(is_segment)) {
            return Err(fault(format!("{} cannot stand in a path without quotes", clipped(&bad.text)))
                .hint(format!("write {name}.{}", joined())));
        }
        if parts.iter().any(|part| part.text.is_empty()) {
            return Err(fault("a part of the path is empty".into()).hint(format!("write {name}.something")));
        }
        if let Some(long) = parts.iter().find(|part| part.text.len() > NAME_BYTES_MAX) {
            return Err(fault(format!("{} is longer than {NAME_BYTES_MAX} bytes", clipped(&long.text))));
        }
        let (least, most) = root.parts();
        if parts.len() < least {
            return Err(fault(format!("{name} alone is not a path")).hint(format!("write {name}.something")));
        }
        if parts.len() > most {
            let one = joined();
            return Err(match root {
                Root::Tag => fault("a tag has one key".into())
                    .hint(format!("a key with dots stands in quotes: tag.{one}")),
                Root::Fact => fault("a fact is a table and a column".into()).hint("write fact.os.version"),
                Root::Unit => fault("a unit has a name and a column".into())
                    .hint("a name with dots stands in quotes: unit.\"a.b\".state"),
                _ if root.is_packages() => fault("a package has one name".into())
                    .hint(format!("a name with dots stands in quotes: {name}.{one}")),
                _ if most == 1 => fault(format!("only a column comes after {name}")),
                _ => fault(format!("nothing comes after {name}")),
            });
        }
        let segments: Vec<String> = parts.into_iter().map(|part| part.text).collect();
        Self::placed(root, segments).map_err(|(message, hint)| match hint {
            Some(hint) => fault(message).hint(hint),
            None => fault(message),
        })
    }

    /// Finds what a path of the right length comes to.
    fn placed(root: Root, segments: Vec<String>) -> Result<Self, (String, Option<String>)> {
        let first = segments.first().map(String::as_str);
        let second = segments.get(1).map(String::as_str);
        let (place, kind) = match (root, first, second) {
            (Root::Tag, Some(key), _) => {
                check_key(key).map_err(|error| (format!("no tag has this key: {error}"), None))?;
                (Place::Host, Kind::Text)
            }
            (Root::Agent, ..) => (Place::Host, Kind::Natural),
            (Root::Fact, Some(table), Some(column)) => {
                let (name, kind) = schema::fact(schema::table(table), column);
                (Place::Column { source: Source::Cell(name), named: None }, kind)
            }
            (Root::Pkg, Some(name), _) => {
                check_name(name)?;
                (Place::Rows { named: Some(name.to_owned()) }, Kind::Presence)
            }
            (_, Some(name), _) if root.is_packages() => {
                if root == Root::Deb {
                    check_deb(name)?;
                }
                check_name(name)?;
                let source = Source::Cell(Cow::Borrowed("version"));
                (Place::Column { source, named: Some(name.to_owned()) }, Kind::Version(root))
            }
            (Root::Unit, Some(unit), column) => {
                check_name(unit)?;
                let named = Some(unit_id(unit));
                match column {
                    None => (Place::Rows { named }, Kind::Presence),
                    Some(word) => {
                        let (source, kind) = column_of(root, word)?;
                        (Place::Column { source, named }, kind)
                    }
                }
            }
            (_, None, _) if root.schema().is_none() => (Place::Host, Kind::Text),
            (_, Some(word), _) if root.schema().is_some() => {
                let (source, kind) = column_of(root, word)?;
                (Place::Column { source, named: None }, kind)
            }
            _ => (Place::Rows { named: None }, Kind::Presence),
        };
        Ok(Self::new(root, segments, place, kind))
    }

    /// The table whose rows `any` and `every` look at. Of units and packages that is the root alone.
    pub(super) fn table_from_parts(parts: Vec<Part>, position: Position) -> Result<Self, SelectorError> {
        let fault = |message: String| SelectorError::new(position, message);
        if let [one] = parts.as_slice()
            && !one.quoted
            && let Some(root) = Root::named(&one.text)
        {
            if root.schema().is_some() {
                return Ok(Self::new(root, Vec::new(), Place::Rows { named: None }, Kind::Presence));
            }
            let hint = match root {
                Root::Fact => "name its table: any fact.mounts(type = ext4)".to_owned(),
                _ => format!(
                    "compare it: {} = value",
                    if root == Root::Tag { "tag.role" } else { root.name() }
                ),
            };
            return Err(fault(format!("{} has no rows", root.name())).hint(hint));
        }
        let path = Self::from_parts(parts, position, None)?;
        match path.place {
            Place::Rows { named: None } => Ok(path),
            Place::Host => Err(fault(format!("{} has no rows", clipped(&path.to_string())))
                .hint(format!("compare it: {} = value", clipped(&path.to_string())))),
            _ => {
                let root = path.root.name();
                let table = match path.segments.first() {
                    Some(table) if path.root == Root::Fact => format!("{root}.{}", clipped(table)),
                    _ => root.to_owned(),
                };
                Err(fault("rows are those of a table".to_owned()).hint(format!("write any {table}(…)")))
            }
        }
    }

    fn column_of_row(&self, parts: &[Part], position: Position) -> Result<Self, SelectorError> {
        let fault = |message: String| SelectorError::new(position, message);
        let [part] = parts else {
            let whole: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            let last = whole.last().copied().unwrap_or_default();
            let own = whole.first() == Some(&self.root.name());
            let error = fault(format!("{} is no column of {self}", clipped(&whole.join("."))));
            return Err(error.hint(if own && !last.is_empty() && last.chars().all(is_segment) {
                format!("within the parentheses a column stands alone: write {}", clipped(last))
            } else {
                "what is no column is asked outside of the parentheses".to_owned()
            }));
        };
        let word = part.text.as_str();
        if !part.quoted && !word.chars().all(is_segment) {
            return Err(
                fault(format!("{} is no column of {self}", clipped(word))).hint(self.columns_hint(word))
            );
        }
        if word.is_empty() || word.len() > NAME_BYTES_MAX {
            return Err(fault(format!("no column of {self} has this name")).hint(self.columns_hint(word)));
        }
        let (source, kind) = match self.root {
            Root::Fact => {
                let (name, kind) = schema::fact(self.fact_table().unwrap_or_default(), word);
                (Source::Cell(name), kind)
            }
            root => column_of(root, word).map_err(|(message, hint)| match hint {
                Some(hint) => fault(message).hint(hint),
                None => fault(message),
            })?,
        };
        Ok(Self::new(self.root, vec![word.to_owned()], Place::OfRow { source }, kind))
    }

    /// What to say to someone who wrote `word` where a column of this table should stand.
    fn columns_hint(&self, word: &str) -> String {
        match self.root.schema() {
            Some(schema) => column_hint(schema, word),
            None => match nearest(word, schema::fact_words(self.fact_table().unwrap_or_default())) {
                Some(near) => format!("did you mean {near}?"),
                None => "a column stands here, such as name".to_owned(),
            },
        }
    }

    /// What it starts with.
    pub fn root(&self) -> Root {
        self.root
    }

    /// What follows the root, without dots and quotes.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(String::as_str)
    }

    /// What the values there are.
    pub(super) fn kind(&self) -> Kind {
        self.kind
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
    /// a column the table is asked for: it is there if it has a row.
    pub fn fact(&self) -> Option<(&str, Option<&str>)> {
        let table = self.fact_table()?;
        let column = match &self.place {
            Place::Column { source: Source::Cell(name), .. } => Some(name.as_ref()),
            _ => None,
        };
        Some((table, column))
    }

    fn fact_table(&self) -> Option<&str> {
        let first = self.segments.first().filter(|_| self.root == Root::Fact)?;
        Some(schema::table(first))
    }

    /// The tables that it looks at, by osquery's names; none, if it looks at the host itself.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.sources().map(|(table, _)| table)
    }

    /// Those tables, and whose packages they list.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, Option<Root>)> {
        let declared = self.root.schema().into_iter().flat_map(|schema| schema.tables.iter().copied());
        declared.chain(self.fact_table().map(|table| (table, None)))
    }

    /// The column that it looks at, of all rows or of the one that is looked at.
    pub(super) fn column(&self) -> Option<&Source> {
        match &self.place {
            Place::Column { source, .. } | Place::OfRow { source } => Some(source),
            Place::Host | Place::Rows { .. } => None,
        }
    }

    /// The cell by which rows have names, and the name of those that it looks at.
    pub(super) fn named(&self) -> Option<(&'static str, &str)> {
        match &self.place {
            Place::Column { named: Some(name), .. } | Place::Rows { named: Some(name) } => {
                self.root.schema().map(|schema| (schema.key, name.as_str()))
            }
            _ => None,
        }
    }

    /// The cells that it looks at in each row of its tables, by osquery's names, and which of them must have which
    /// text.
    pub(super) fn cells(&self) -> (&[String], Option<(usize, &str)>) {
        let only = self.named().map(|(_, name)| (self.cells.len().saturating_sub(1), name));
        (&self.cells, only)
    }

    /// Whether it looks at tables.
    pub(super) fn is_of_tables(&self) -> bool {
        matches!(self.place, Place::Rows { .. } | Place::Column { .. })
    }

    fn is_of_row(&self) -> bool {
        matches!(self.place, Place::OfRow { .. })
    }

    /// Why nothing can be compared here, and what to write; nothing if it can.
    pub(super) fn incomparable(&self) -> Option<(String, String)> {
        let Place::Rows { .. } = self.place else { return None };
        let shown = clipped(&self.to_string());
        Some(match (self.root, self.root.schema()) {
            (Root::Unit, _) => {
                (format!("{shown} is a whole unit"), format!("write {shown}.state = failed, or has {shown}"))
            }
            (Root::Pkg, _) => (
                format!("{shown} may be a package of any kind, each with its order of versions"),
                "say which: deb.openssl < 3, or any pkg(eco = npm and name = lodash and version < 4.17.21)"
                    .to_owned(),
            ),
            (root, Some(schema)) => {
                let words: Vec<&str> = schema.words().collect();
                let name = root.name();
                let first = words.first().copied().unwrap_or("name");
                (
                    format!("{shown} is a table, of which one column is compared"),
                    format!("write any {name}({first} = value); columns are {}", words.join(" ")),
                )
            }
            _ => (
                format!("{shown} is a table, of which one column is compared"),
                format!("write {shown}.column = value, or any {shown}(column = value)"),
            ),
        })
    }
}

impl Root {
    /// How few and how many parts follow it.
    fn parts(self) -> (usize, usize) {
        match self {
            Self::Name | Self::Id | Self::Site | Self::State | Self::Agent => (0, 0),
            Self::Fact | Self::Unit => (1, 2),
            Self::Tag | Self::Pkg | Self::Deb | Self::Rpm | Self::Apk | Self::Pip | Self::Npm => (1, 1),
            Self::Ip | Self::Disk | Self::Port | Self::User | Self::Vuln | Self::Patch | Self::Drift => {
                (0, 1)
            }
        }
    }

    fn is_packages(self) -> bool {
        matches!(self, Self::Pkg | Self::Deb | Self::Rpm | Self::Apk | Self::Pip | Self::Npm)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dot = "";
        if !self.is_of_row() {
            f.write_str(self.root.name())?;
            dot = ".";
        }
        for segment in &self.segments {
            f.write_str(dot)?;
            dot = ".";
            if segment.chars().all(is_segment) {
                f.write_str(segment)?;
            } else {
                f.write_str(&quoted(segment))?;
            }
        }
        Ok(())
    }
}

fn column_of(root: Root, word: &str) -> Result<(Source, Kind), (String, Option<String>)> {
    let Some(schema) = root.schema() else { return Err((format!("{} has no columns", root.name()), None)) };
    match schema.column(word) {
        Some(column) => Ok((column.source.clone(), column.kind)),
        None => Err((
            format!("{} is no column of {}", clipped(word), root.name()),
            Some(column_hint(schema, word)),
        )),
    }
}

fn column_hint(schema: &Schema, word: &str) -> String {
    match nearest(word, schema.words()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("columns are {}", schema.words().collect::<Vec<_>>().join(" ")),
    }
}

/// systemd's name of a unit; one without a type is a service, as `systemctl` has it.
fn unit_id(name: &str) -> String {
    const TYPES: [&str; 11] = [
        "service",
        "socket",
        "target",
        "timer",
        "mount",
        "automount",
        "path",
        "slice",
        "scope",
        "swap",
        "device",
    ];
    match name.rsplit_once('.') {
        Some((_, end)) if TYPES.contains(&end) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

fn check_name(name: &str) -> Result<(), (String, Option<String>)> {
    if name.chars().any(|c| is_hidden(c) || c == ' ') {
        return Err((format!("nothing has the name {}", clipped(name)), None));
    }
    Ok(())
}

/// Checks the name of a package of dpkg. An error is a message and a hint.
fn check_deb(name: &str) -> Result<(), (String, Option<String>)> {
    if is_package_name(name) {
        return Ok(());
    }
    let message = format!("no package of dpkg has the name {}", clipped(name));
    let small = name.to_ascii_lowercase();
    let without = small.split_once(':').map_or(small.as_str(), |(name, _)| name);
    let hint = if !is_package_name(without) {
        "a name is made of small letters, digits and + - .".to_owned()
    } else if without == small {
        format!("names of packages are small: write {}", clipped(&small))
    } else {
        format!("every architecture is looked at: write {}", clipped(without))
    };
    Err((message, Some(hint)))
}

/// Shortens what someone wrote, for a message. Hidden characters are spelled out.
pub(super) fn clipped(word: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let mut short = String::new();
    for c in word.chars().take(SHOWN_MAX) {
        if is_hidden(c) {
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
