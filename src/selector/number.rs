//! Reads numbers, and the units that they are written with.

/// The most digits before or after the point of a number.
const DIGITS_MAX: usize = 20;
/// The most digits after the point that count.
const DECIMALS_MAX: usize = 6;
/// What one is, in the smallest steps that are told apart.
const ONE: i128 = 1_000_000;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Unit {
    /// Things: no unit is written.
    Plain,
    Bytes,
    Percent,
    Seconds,
}

/// Units as they are written, and how many of the base each is. Longer ones stand before their endings.
const UNITS: &[(&str, Unit, i128)] = &[
    ("KiB", Unit::Bytes, 1 << 10),
    ("MiB", Unit::Bytes, 1 << 20),
    ("GiB", Unit::Bytes, 1 << 30),
    ("TiB", Unit::Bytes, 1 << 40),
    ("PiB", Unit::Bytes, 1 << 50),
    ("kB", Unit::Bytes, 1_000),
    ("MB", Unit::Bytes, 1_000_000),
    ("GB", Unit::Bytes, 1_000_000_000),
    ("TB", Unit::Bytes, 1_000_000_000_000),
    ("PB", Unit::Bytes, 1_000_000_000_000_000),
    ("B", Unit::Bytes, 1),
    ("%", Unit::Percent, 1),
    ("s", Unit::Seconds, 1),
    ("m", Unit::Seconds, 60),
    ("h", Unit::Seconds, 3_600),
    ("d", Unit::Seconds, 86_400),
    ("w", Unit::Seconds, 604_800),
];

/// A number, in millionths of its unit's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) millionths: i128,
    pub(super) unit: Unit,
    /// It was written with a point.
    pub(super) pointed: bool,
}

impl Number {
    /// Reads what a person wrote: `17`, `-1.5`, `16GiB`, `90%`, `7d`.
    pub(super) fn read(text: &str) -> Option<Self> {
        Self::read_with(text, false)
    }

    /// Reads what a host says: digits after the point that are too many to count are left out.
    pub(super) fn read_lax(text: &str) -> Option<Self> {
        Self::read_with(text.trim(), true)
    }

    /// Itself, if it is a whole number without a unit, and not less than 0.
    pub(super) fn whole(self) -> Option<u128> {
        let whole = self.unit == Unit::Plain && self.millionths % ONE == 0;
        if whole { u128::try_from(self.millionths / ONE).ok() } else { None }
    }

    fn read_with(text: &str, cut: bool) -> Option<Self> {
        // Nothing of length is a number; and no search through a long text.
        if text.len() > 2 * DIGITS_MAX + 8 {
            return None;
        }
        let found =
            UNITS.iter().find_map(|(mark, unit, base)| Some((text.strip_suffix(mark)?, *unit, *base)));
        let (number, unit, base) = found.unwrap_or((text, Unit::Plain, 1));
        let (sign, digits) = number.strip_prefix('-').map_or((1, number), |digits| (-1, digits));
        let (units, decimals) = match digits.split_once('.') {
            None => (digits, None),
            Some((units, decimals)) => (units, Some(decimals)),
        };
        let mut millionths = whole(units)?.checked_mul(ONE)?;
        if let Some(decimals) = decimals {
            whole(decimals)?;
            let counted = decimals.get(..DECIMALS_MAX.min(decimals.len()))?;
            if counted.len() < decimals.len() && !cut {
                return None;
            }
            let places = u32::try_from(DECIMALS_MAX - counted.len()).ok()?;
            millionths = millionths.checked_add(whole(counted)? * 10i128.pow(places))?;
        }
        let millionths = millionths.checked_mul(base)?.checked_mul(sign)?;
        Some(Self { millionths, unit, pointed: decimals.is_some() })
    }
}

fn whole(digits: &str) -> Option<i128> {
    let plain = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// What to write for a size whose unit has other letters, such as `16gb`, or only one, such as `16G`.
pub(super) fn size_meant(text: &str) -> Option<String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let letters = text.strip_prefix(number)?;
    let unit = letters.to_ascii_lowercase();
    let known = UNITS.iter().any(|(mark, ..)| *mark == letters);
    if known && !matches!(letters, "m") {
        return None;
    }
    let read = Number::read(number).filter(|read| read.unit == Unit::Plain)?;
    let prefix = unit.chars().next().filter(|prefix| "kmgtp".contains(*prefix))?;
    let big = prefix.to_ascii_uppercase();
    match unit.get(1..)? {
        // `1.0g` is a version somewhere; `16G` is a size everywhere.
        "" if !read.pointed => Some(format!("{number}{big}iB")),
        "ib" => Some(format!("{number}{big}iB")),
        "b" if prefix == 'k' => Some(format!("{number}kB")),
        "b" => Some(format!("{number}{big}B")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<(i128, Unit)> {
        Number::read(text).map(|number| (number.millionths, number.unit))
    }

    #[test]
    fn numbers_are_read_with_their_units() {
        for (text, millionths, unit) in [
            ("0", 0, Unit::Plain),
            ("007", 7 * ONE, Unit::Plain),
            ("-1", -ONE, Unit::Plain),
            ("9.8", 9_800_000, Unit::Plain),
            ("1KiB", 1024 * ONE, Unit::Bytes),
            ("1.5KiB", 1536 * ONE, Unit::Bytes),
            ("1kB", 1000 * ONE, Unit::Bytes),
            ("16GiB", (16 << 30) * ONE, Unit::Bytes),
            ("16GB", 16_000_000_000 * ONE, Unit::Bytes),
            ("12B", 12 * ONE, Unit::Bytes),
            ("90%", 90 * ONE, Unit::Percent),
            ("0.5%", 500_000, Unit::Percent),
            ("90s", 90 * ONE, Unit::Seconds),
            ("15m", 900 * ONE, Unit::Seconds),
            ("2h", 7_200 * ONE, Unit::Seconds),
            ("7d", 604_800 * ONE, Unit::Seconds),
            ("1w", 604_800 * ONE, Unit::Seconds),
        ] {
            assert_eq!(number(text), Some((millionths, unit)), "{text}");
        }
    }

    #[test]
    fn no_number_of_digits_overflows() {
        assert!(Number::read(&format!("-{}.999999PiB", "9".repeat(17))).is_some());
        assert_eq!(number(&format!("{}PiB", "9".repeat(20))), None);
        assert!(Number::read(&"9".repeat(20)).is_some());
        assert_eq!(number(&"9".repeat(21)), None);
        assert_eq!(number(&format!("1.{}", "9".repeat(21))), None);
        assert_eq!(number(&"9".repeat(100_000)), None);
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in [
            "",
            "-",
            "--1",
            "1e3",
            "+1",
            " 1",
            "GiB",
            ".5GiB",
            "1.GiB",
            "1.2.3",
            "1.0000001",
            "16gb",
            "16G",
            "1,5",
            "٣",
            "0x10",
            "1 GiB",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(Number::read_lax(" 0.33333333 ").map(|number| number.millionths), Some(333_333));
    }

    #[test]
    fn other_spellings_of_units_are_recognised() {
        for (text, meant) in [
            ("16G", "16GiB"),
            ("512m", "512MiB"),
            ("512mb", "512MB"),
            ("4kib", "4KiB"),
            ("4KB", "4kB"),
            ("1.5Tb", "1.5TB"),
        ] {
            assert_eq!(size_meant(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["16GiB", "16GB", "16", "1.0g", "12a", "bookworm", "", "m", "6.1.0mb"] {
            assert_eq!(size_meant(text), None, "{text}");
        }
    }
}
