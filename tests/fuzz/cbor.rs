//! Changes of records: other values in the place of fields, fields more and fewer, another tag. What comes out is
//! encoded as records are, so that it gets past the reader of bytes and to the readers of fields.

use muster::wire::{Value, Wire, WireError, canonical, encode};

use crate::chance::Chance;

const BYTES_MAX: usize = 1 << 20;

/// Any value, as it is.
pub(crate) struct Any(pub(crate) Value);

impl Wire for Any {
    fn to_value(&self) -> Value {
        self.0.clone()
    }

    fn from_value(value: Value, _: &'static str) -> Result<Self, WireError> {
        Ok(Self(value))
    }
}

/// What `input` becomes by a few changes of its fields; nothing, if it is no record.
pub(crate) fn mutated(chance: &mut Chance, input: &[u8], other: &[u8], seeds: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut value = canonical(input, BYTES_MAX).ok()?;
    let other = canonical(other, BYTES_MAX).ok();
    for _ in 0..=chance.below(3) {
        let place = chance.below(count(&value));
        if let Some(node) = nth(&mut value, &mut { place }) {
            change(chance, node, other.as_ref(), seeds);
        }
    }
    Some(encode(&Any(value)))
}

fn change(chance: &mut Chance, node: &mut Value, other: Option<&Value>, seeds: &[Vec<u8>]) {
    let fresh = leaf(chance, seeds);
    match (chance.below(8), node, other) {
        (0 | 1, Value::Array(items), _) => items.push(fresh),
        (2, Value::Array(items), _) => drop(items.pop()),
        (3, Value::Array(items), _) if !items.is_empty() => {
            let from = items[chance.below(items.len())].clone();
            items.insert(chance.below(items.len() + 1), from);
        }
        (4, Value::Array(items), _) if !items.is_empty() => {
            let place = chance.below(items.len());
            items[place] = fresh;
        }
        (5, Value::Array(items), _) if items.len() > 1 => {
            let (a, b) = (chance.below(items.len()), chance.below(items.len()));
            items.swap(a, b);
        }
        (0..3, Value::Bytes(bytes), _) => {
            *bytes = crate::mutate::mutated(chance, bytes, &[], &[], 4096);
        }
        (6, node, Some(other)) => {
            let (mut other, place) = (other.clone(), chance.below(count(other)));
            if let Some(taken) = nth(&mut other, &mut { place }) {
                *node = taken.clone();
            }
        }
        (_, node, _) => *node = fresh,
    }
}

/// A value as fields have it.
pub(crate) fn leaf(chance: &mut Chance, seeds: &[Vec<u8>]) -> Value {
    let number =
        [0, 1, 2, 3, 4, 5, 7, 9, 12, 16, 23, 24, 40, 255, 256, 65_536, 1 << 32, 1_800_000_000_000, u64::MAX];
    let text = ["", "a", "web", "all", "tag.role = web", "0.1.0", "10.0.0.1:7946", "muster", "\u{e9}\0", "*"];
    let length = [0, 1, 8, 12, 15, 16, 17, 31, 32, 33, 64, 300];
    match chance.below(12) {
        0..3 => Value::from(chance.one(&number)),
        3 => Value::from(i64::try_from(chance.below(600)).unwrap_or(0) - 300),
        4..6 => {
            let fill = chance.next().to_le_bytes();
            Value::Bytes(fill.iter().copied().cycle().take(chance.one(&length)).collect())
        }
        6 => Value::from(chance.one(&text)),
        7 => Value::Bool(chance.once_in(2)),
        8 => Value::Null,
        9 if !seeds.is_empty() => Value::Bytes(seeds[chance.below(seeds.len())].clone()),
        10 => Value::Array((0..chance.below(5)).map(|_| Value::from(chance.one(&number))).collect()),
        11 => Value::Array(vec![Value::Array(Vec::new())]),
        _ => Value::Array(Vec::new()),
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// The value at a place, counted from the outside in.
fn nth<'v>(value: &'v mut Value, place: &mut usize) -> Option<&'v mut Value> {
    if *place == 0 {
        return Some(value);
    }
    *place -= 1;
    let Value::Array(items) = value else { return None };
    for item in items {
        let here = count(item);
        if *place < here {
            return nth(item, place);
        }
        *place -= here;
    }
    None
}

/// Whether `written` says what `read` said: a record may have fields that the reader passed over, and the writer
/// says of a field that was not there that it is absent.
pub(crate) fn says_the_same(read: &Value, written: &Value) -> bool {
    let (Value::Array(read), Value::Array(written)) = (read, written) else { return read == written };
    let shared = read.len().min(written.len());
    read.iter().zip(written).all(|(read, written)| says_the_same(read, written))
        && written[shared..].iter().all(|absent| matches!(absent, Value::Null))
}
