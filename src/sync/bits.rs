//! Numbers of unlike sizes in few bits: Exp-Golomb codes, each column with the order that makes it shortest.
//!
//! A number costs about its own length whatever stands around it, so one host whose clock is years off does not
//! make the others longer; of places next to each other each takes one bit, as in a bitmap. After J. Teuhola, "A
//! compression method for clustered bit-vectors" (1978). Reading makes no more numbers than it is asked for, and
//! no bytes make it panic.

/// Highest order that a column is tried with.
const ORDER_MAX: u32 = 20;
/// Zeros before a number of 65 bits, the longest there is.
const ZEROS_MAX: u32 = 64;

/// Writes numbers.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn bit(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.used);
        }
        self.used = (self.used + 1) % 8;
    }

    fn low(&mut self, number: u128, bits: u32) {
        (0..bits).rev().for_each(|at| self.bit(number >> at & 1 == 1));
    }

    /// Adds a column, with the order that makes it shortest before it.
    pub(super) fn column(&mut self, numbers: &[u64]) {
        let order = best(numbers);
        self.low(u128::from(order), 5);
        for number in numbers {
            let head = (u128::from(*number) >> order) + 1;
            let length = u128::BITS - head.leading_zeros();
            self.low(0, length - 1);
            self.low(head, length);
            self.low(u128::from(*number), order);
        }
    }

    /// What was written; the last byte is filled up with zeros.
    pub(super) fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// How many bits a number takes.
fn length(number: u64, order: u32) -> u64 {
    let head = (u128::from(number) >> order) + 1;
    u64::from(2 * (u128::BITS - head.leading_zeros()) - 1 + order)
}

/// The order that makes these shortest. The sum falls and then rises with the order, but for the small: so all
/// are tried.
fn best(numbers: &[u64]) -> u32 {
    let sum = |order: u32| numbers.iter().map(|number| length(*number, order)).sum::<u64>();
    (0..=ORDER_MAX).min_by_key(|order| sum(*order)).unwrap_or(0)
}

/// Reads numbers.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    fn low(&mut self, bits: u32) -> Option<u128> {
        (0..bits).try_fold(0, |number, _| Some(number << 1 | u128::from(self.bit()?)))
    }

    /// The next column, of so many numbers.
    pub(super) fn column(&mut self, count: usize) -> Option<Vec<u64>> {
        let order = u32::try_from(self.low(5)?).ok()?;
        // Each takes one bit at least.
        if count > self.bytes.len().saturating_mul(8) {
            return None;
        }
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut zeros = 0;
            while !self.bit()? {
                zeros += 1;
                if zeros > ZEROS_MAX {
                    return None;
                }
            }
            let head = (1 << zeros | self.low(zeros)?) - 1;
            let number = head.checked_mul(1 << order)? | self.low(order)?;
            numbers.push(u64::try_from(number).ok()?);
        }
        Some(numbers)
    }

    /// Whether nothing is left but what fills up the last byte.
    pub(super) fn done(&mut self) -> bool {
        let left = (self.bytes.len() * 8).saturating_sub(self.at);
        left < 8 && self.low(u32::try_from(left).unwrap_or(0)) == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(columns: &[&[u64]]) -> Vec<u8> {
        let mut bits = Bits::default();
        for column in columns {
            bits.column(column);
        }
        bits.bytes()
    }

    #[test]
    fn neighbouring_places_take_a_bit_each_and_one_outlier_no_more_than_itself() {
        assert_eq!(packed(&[&vec![0; 8_000]]).len(), 1_001);
        let mut near = vec![200; 1_000];
        let before = packed(&[&near]).len();
        near[500] = u64::MAX;
        assert!(packed(&[&near]).len() <= before + 16, "{}", packed(&[&near]).len());
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_none() {
        let bytes = packed(&[&[1, 2, 3], &[u64::MAX]]);
        for cut in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut]);
            let whole = reader.column(3).is_some() && reader.column(1).is_some() && reader.done();
            assert!(!whole, "{cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let mut reader = Reader::new(&longer);
        assert!(reader.column(3).is_some() && reader.column(1).is_some() && !reader.done());
        assert_eq!(Reader::new(&[0; 64]).column(1), None, "zeros without an end");
        assert_eq!(Reader::new(&bytes).column(usize::MAX), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            small in proptest::collection::vec(0_u64..300, 0..50),
            large in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let bytes = packed(&[&small, &large]);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.column(small.len()), Some(small));
            prop_assert_eq!(reader.column(large.len()), Some(large));
            prop_assert!(reader.done());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), count in 0_usize..600) {
            let mut reader = Reader::new(&bytes);
            while let Some(numbers) = reader.column(count) {
                prop_assert_eq!(numbers.len(), count);
                if count == 0 && reader.at >= bytes.len() * 8 {
                    break;
                }
            }
        }
    }
}
