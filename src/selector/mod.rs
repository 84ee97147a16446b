//! The targeting language: which hosts an order, a certificate or a view is about.
//!
//! It decides whether a text is a selector, and for which hosts a selector is true. The text is read once
//! into a tree; the same tree answers on the command line, in the mesh process and in the executor.
//!
//! What always holds:
//!
//! - It is pure: the same text and the same answers of a [`Subject`] give the same outcome on every host.
//! - Its cost is bounded: at most 4 KiB of text (as written, and as printed), 32 levels, 256 nodes.
//! - Three values, after S. C. Kleene: a comparison on something absent is unknown, `not` unknown is unknown,
//!   and only true selects. So `tag.env != prod` never takes a host without that tag.
//! - Not knowing is a set: [`Selector::outcomes`] gives every truth that is still possible, and learning more
//!   only takes truths away. The executor knows nothing but signed tags and refuses when true is not among
//!   them; what a host says of itself can therefore narrow, and can never widen.
//! - What is printed reads back as an equal selector, and holds no character that a terminal would not show.
//!
//! It does not know where values come from, who may ask, or which host it looks at: that is the subject's part.
//!
//! What stands on the left decides how the right is read:
//!
//! - `deb.NAME` is the version of an installed package, in dpkg's order ([`version::deb`]) for `=` as well as
//!   for `<`: `3.0` is `0:3.0-0`. What is no version on the right is an error; on the host it makes the test
//!   unknown. A package that is installed for several architectures has several versions.
//! - `fact.TABLE.COLUMN` is a cell of a table of the host, with osquery's names or short ones (`fact.os.id`,
//!   `fact.mem.total`). Whole numbers and sizes (`16GiB`) are compared as numbers; other texts are the same or
//!   not, and by order stand so that `6.9` is before `6.10`. A column has as many values as its table has rows.
//! - All else is text, which is the same or not.
//!
//! Of several values any one is enough: `deb.libc6 < 2.36` takes a host with one old libc6, and so does
//! `deb.libc6 != 2.36` where one is another. `not deb.libc6 = 2.36` takes it where none is.
//!
//! Ordered comparisons of other roots, `ver()` and `num()`, `matches`, `any` and `every`, and saved selectors
//! are recognised and refused by name.

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
pub mod version;

pub use error::{Position, SelectorError};
pub use evaluate::{Cells, Look, Rows, Subject, Wanted};
pub use explain::Leaf;
pub use outcome::{Outcomes, Truth};
pub use path::Path;
pub use query::Selector;
pub use root::Root;
pub use tag::{TagError, check_group_name, check_tag, parse_label};

#[cfg(test)]
mod tests;
