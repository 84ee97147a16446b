//! The targeting language: which hosts an order, a certificate or a view is about.
//!
//! It decides whether a text is a selector, and for which hosts a selector is true. The text is read once
//! into a tree; the same tree answers on the command line, in the mesh process and in the executor.
//!
//! What always holds:
//!
//! - It is pure: the same text and the same answers of a [`Subject`] give the same outcome on every host.
//! - Its cost is bounded: at most 4 KiB of text (as written, as printed, and with groups written out), 32
//!   levels, 256 nodes, 8 patterns of at most 512 bytes and 64 KiB of program. A test reads a value once; `like`
//!   and `matches` read at most 4 KiB of it, and of a longer one nothing is known. So a selector takes at most 256
//!   times what it takes to read all that the host tells.
//! - Three values, after S. C. Kleene: a comparison on something absent is unknown, `not` unknown is unknown,
//!   and only true selects. So `tag.env != prod` never takes a host without that tag.
//! - Not knowing is a set: [`Selector::outcomes`] gives every truth that is still possible, and learning more
//!   only takes truths away. The executor knows nothing but signed tags and refuses when true is not among
//!   them; what a host says of itself can therefore narrow, and can never widen.
//! - The order of members, of rows and of values makes no difference.
//! - What is printed reads back as an equal selector, and holds no character that a terminal would not show.
//!
//! It does not know where values come from, who may ask, or which host it looks at: that is the subject's part.
//!
//! # What stands on the left decides how the right is read
//!
//! Each path has a declared kind (`kind`, `schema`); a right side of another kind is an error that says what
//! to write. What a host says may be anything: what is not of the kind is unknown, neither equal nor less nor
//! more.
//!
//! - `name id site state tag.*` are text, which is the same or not.
//! - `deb rpm apk pip npm.NAME` is the version of an installed package, in its ecosystem's order ([`version`])
//!   for `=` as well as for `<`. `pkg.NAME` says only whether there is one of any kind.
//! - `fact.TABLE.COLUMN` is a cell of a table of the host, with osquery's names or short ones (`fact.os.id`,
//!   `fact.mem.total`). Of columns that are not declared, whole numbers and sizes are compared as numbers; other
//!   texts are the same or not, and by order stand so that `6.9` is before `6.10`.
//! - `disk ip port user vuln patch drift` are tables and `disk.COLUMN` a column of theirs, as `unit.NAME.COLUMN`
//!   is one of the row of that name. The short words stand for osquery's tables and columns.
//! - Numbers: a plain one; a size (`16GiB`, `16GB`); a percentage (`90%`); a duration (`90s 15m 2h 7d 4w`).
//!   Addresses: the same, or `in` a range. Booleans. Words, some of which are ranked (`severity >= high`).
//! - `ver()` and `num()` read a text, such as a tag, as a version of no known rule, and as a number of any unit.
//! - `like` (`*` and `?`) and `matches` (a regular expression) take the whole text of whatever stands there.
//!
//! Of several values any one is enough: `deb.libc6 < 2.36` takes a host with one old libc6, and so does
//! `deb.libc6 != 2.36` where one is another. `not deb.libc6 = 2.36` takes it where none is.
//!
//! # Rows
//!
//! `any disk(mount = / and used > 90%)` asks each row of a table, in whose parentheses a word is a column. The
//! greatest truth of all rows is that of `any`, the least that of `every`; of a table known to have no rows they
//! are false and true. A cell without text is absent (`missing used`), and one of a column that the host's agent
//! does not tell is unknown, as is everything about a table that nobody tells: `any`, `every`, `has` and
//! `missing`. Only what no row could change is known all the same: `any pkg(eco = deb and …)` does not wait for
//! someone to tell of packages of rpm.
//!
//! # Groups
//!
//! `@name` stands for a saved selector. [`Selector::expand`] puts that in its place; what is signed has none left,
//! since nobody who judges looks one up: for them it is unknown.
//!
//! What collectors do not tell today is read, checked, and unknown for every host: `port user unit vuln patch
//! drift rpm apk pip npm`, and how full a disk is.

mod address;
mod character;
mod comparison;
mod error;
mod evaluate;
mod explain;
mod expression;
mod glob;
mod group;
mod kind;
mod number;
mod outcome;
mod parse;
mod path;
mod pattern;
mod quantified;
mod query;
mod root;
mod schema;
mod spelling;
mod tag;
mod token;
mod tree;
pub mod version;

pub use error::{Position, SelectorError};
pub use evaluate::{Cells, Look, Rows, Subject, Wanted};
pub use explain::Leaf;
pub use outcome::{Outcomes, Truth};
pub use path::Path;
pub use query::Selector;
pub use root::Root;
pub use tag::{TagError, check_group_name, check_tag, parse_label};
pub use tree::Node;

#[cfg(test)]
mod tests;
