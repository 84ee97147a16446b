//! An order for texts of no known rule, in which numbers count as numbers.

use super::deb::compare_parts;
use std::cmp::Ordering;

/// Compares two texts so that `6.9` stands before `6.10`, and `12` before `12 (bookworm)`.
///
/// It is the order of dpkg's parts, which holds for any text; texts that are equal there (`1.0` and `1.00`)
/// stand by their characters, so that equal means the same text.
pub fn compare(a: &str, b: &str) -> Ordering {
    compare_parts(a, b).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_count_as_numbers() {
        for (less, more) in [
            ("6.9", "6.10"),
            ("6.1.0-18-amd64", "6.1.0-21-amd64"),
            ("12", "12 (bookworm)"),
            ("bookworm", "trixie"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.00"),
            ("", "a"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in prop::collection::vec("[0-1.~aé]{0,5}|\\PC{0,6}", 3)) {
            for x in &texts {
                for y in &texts {
                    prop_assert_eq!(compare(x, y), compare(y, x).reverse());
                    prop_assert_eq!(compare(x, y).is_eq(), x == y);
                    for z in &texts {
                        prop_assert!(!(compare(x, y).is_le() && compare(y, z).is_le()) || compare(x, z).is_le());
                    }
                }
            }
        }
    }
}
