//! Files of hex with comments, and the comments.

use muster::wire::{Value, canonical};
use std::{fmt::Write as _, fs, path::PathBuf};

/// What the parts of some encoded bytes are called.
pub(crate) enum Names {
    /// One item.
    Leaf(&'static str),
    /// An array whose items have names of their own; a choice may end early.
    Record(&'static str, Vec<Names>),
    /// An array of equals.
    List(&'static str, Box<Names>),
    /// A byte string with encoded bytes inside.
    Inside(&'static str, Box<Names>),
}

pub(crate) fn leaf(name: &'static str) -> Names {
    Names::Leaf(name)
}
pub(crate) fn record(name: &'static str, fields: impl IntoIterator<Item = Names>) -> Names {
    Names::Record(name, fields.into_iter().collect())
}
pub(crate) fn list(name: &'static str, item: Names) -> Names {
    Names::List(name, Box::new(item))
}
pub(crate) fn inside(name: &'static str, content: Names) -> Names {
    Names::Inside(name, Box::new(content))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<String>()
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of digits");
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The bytes in `tests/wire/NAME.hex`. A missing file is written from `made` when blessing.
pub(crate) fn golden(name: &str, made: &[u8], names: &Names) -> Vec<u8> {
    let mut text = String::new();
    let value = canonical(made, 1 << 20).unwrap();
    annotate(&value, names, 0, &mut text);
    stored(name, made, &text)
}

/// The same for bytes that are not CBOR.
pub(crate) fn golden_text(name: &str, made: &[u8], about: &[String]) -> Vec<u8> {
    let mut text: String = about.iter().fold(String::new(), |text, line| text + "# " + line + "\n");
    for line in made.chunks(48) {
        text += &hex(line);
        text.push('\n');
    }
    stored(name, made, &text)
}

fn stored(name: &str, made: &[u8], text: &str) -> Vec<u8> {
    assert_eq!(unhex(text), made, "{name}: the comments leave something out");
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "wire", &format!("{name}.hex")].iter().collect();
    if std::env::var_os("MUSTER_BLESS").is_some() && !path.exists() {
        fs::write(&path, text).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    unhex(&held)
}

/// The first bytes of an item: its kind and its length or number (RFC 8949, section 3).
fn start(major: u8, number: usize) -> Vec<u8> {
    let [.., c, b, a, last] = u64::try_from(number).unwrap().to_be_bytes();
    match number {
        0..=23 => vec![(major << 5) | last],
        24..=0xff => vec![(major << 5) | 0x18, last],
        0x100..=0xffff => vec![(major << 5) | 0x19, a, last],
        _ => vec![(major << 5) | 0x1a, c, b, a, last],
    }
}

fn line(text: &mut String, depth: usize, comment: &str, bytes: &[u8]) {
    let indent = "  ".repeat(depth);
    writeln!(text, "# {indent}{comment}").unwrap();
    for piece in bytes.chunks(48) {
        writeln!(text, "{}", hex(piece)).unwrap();
    }
}

fn annotate(value: &Value, names: &Names, depth: usize, text: &mut String) {
    match (names, value) {
        (Names::Record(name, fields), Value::Array(items)) => {
            line(text, depth, &format!("{name}: {} fields", items.len()), &start(4, items.len()));
            assert!(items.len() <= fields.len(), "{name} has fields without names");
            for (item, field) in items.iter().zip(fields) {
                annotate(item, field, depth + 1, text);
            }
        }
        (Names::List(name, each), Value::Array(items)) => {
            line(text, depth, &format!("{name}: {} items", items.len()), &start(4, items.len()));
            for item in items {
                annotate(item, each, depth + 1, text);
            }
        }
        (Names::Inside(name, content), Value::Bytes(bytes)) => {
            line(text, depth, &format!("{name}: {} bytes, which hold", bytes.len()), &start(2, bytes.len()));
            annotate(&canonical(bytes, 1 << 20).unwrap(), content, depth + 1, text);
        }
        (
            Names::Leaf(name) | Names::Record(name, _) | Names::List(name, _) | Names::Inside(name, _),
            value,
        ) => {
            line(text, depth, &format!("{name}{}", shown(value)), &encoded(value));
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => format!(" = {}", i128::from(*number)),
        Value::Text(text) => format!(" = {text:?}"),
        Value::Null => " = none".to_owned(),
        Value::Bool(is) => format!(" = {is}"),
        _ => String::new(),
    }
}

fn encoded(value: &Value) -> Vec<u8> {
    struct One(Value);
    impl muster::wire::Wire for One {
        fn to_value(&self) -> Value {
            self.0.clone()
        }
        fn from_value(value: Value, _: &'static str) -> Result<Self, muster::wire::WireError> {
            Ok(Self(value))
        }
    }
    muster::wire::encode(&One(value.clone()))
}
