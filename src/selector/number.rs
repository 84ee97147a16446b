//! Reads numbers: whole ones, and sizes with a unit.

/// The most digits that are read as one number.
const DIGITS_MAX: usize = 24;
/// The most digits after the point of a size.
const DECIMALS_MAX: u32 = 3;
/// Units of size, and how many bits a number moves by them.
const UNITS: &[(&str, u32)] = &[("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// A number, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) thousandths: i128,
    /// It was written with a unit, so that nothing but a number can be meant.
    pub(super) is_size: bool,
}

impl Number {
    /// Reads `17`, `-1` or `1.5GiB`. A point without a unit is none: `6.10` is a version, not six and a tenth.
    pub(super) fn read(text: &str) -> Option<Self> {
        let size = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
        let Some((text, bits)) = size else {
            let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
            return Some(Self { thousandths: sign * whole(digits)? * 1000, is_size: false });
        };
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let places = u32::try_from(decimals.len()).ok().filter(|places| *places <= DECIMALS_MAX)?;
        let thousandths = whole(units)? * 1000 + whole(decimals)? * 10i128.pow(DECIMALS_MAX - places);
        Some(Self { thousandths: thousandths << bits, is_size: true })
    }
}

fn whole(digits: &str) -> Option<i128> {
    let plain = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// What to write for a size that was written with a unit of another system, such as `16GB`.
pub(super) fn size_meant(text: &str) -> Option<String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(number)?.to_ascii_lowercase();
    let (_, right) =
        [("k", "KiB"), ("m", "MiB"), ("g", "GiB"), ("t", "TiB")].into_iter().find(|(letter, _)| {
            unit == *letter || unit == format!("{letter}b") || unit == format!("{letter}ib")
        })?;
    // `1.0g` is a version somewhere; `16G` is a size everywhere.
    let read = Number::read(&format!("{number}{right}"))?;
    let meant = read.is_size && !text.ends_with(right) && (unit.len() > 1 || whole(number).is_some());
    meant.then(|| format!("{number}{right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<i128> {
        Number::read(text).map(|number| number.thousandths)
    }

    #[test]
    fn whole_numbers_and_sizes_are_read() {
        for (text, thousandths) in [
            ("0", 0),
            ("007", 7000),
            ("-1", -1000),
            ("1KiB", 1024 * 1000),
            ("1.5KiB", 1536 * 1000),
            ("0.001KiB", 1024),
            ("16GiB", 17_179_869_184_000),
            ("1TiB", 1_099_511_627_776_000),
        ] {
            assert_eq!(number(text), Some(thousandths), "{text}");
        }
        assert!(Number::read(&format!("{}TiB", "9".repeat(24))).is_some());
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in
            ["", "-", "1.5", "6.10", "1e3", "+1", " 1", "GiB", ".5GiB", "1.GiB", "1.0001GiB", "16GB", "-1GiB"]
        {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(number(&"9".repeat(25)), None);
    }

    #[test]
    fn other_units_are_recognised() {
        for (text, meant) in
            [("16GB", "16GiB"), ("16G", "16GiB"), ("512mb", "512MiB"), ("1.5TB", "1.5TiB"), ("4kib", "4KiB")]
        {
            assert_eq!(size_meant(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["16GiB", "16", "1.0g", "12a", "bookworm", "", "m", "6.1.0mb"] {
            assert_eq!(size_meant(text), None, "{text}");
        }
    }
}
