//! Fingerprints that two people can read to each other: five syllable words of 16 bits, 80 bits in all.
//!
//! After D. Wilkerson, "A Proposal for Proquints" (2009): consonant, vowel, consonant, vowel, consonant, out of 16
//! and 4 letters that are hard to take for each other. A word list would be as good, and is a kilobyte more to check.

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// The words of a hash: `lusab-babad-gutih-tugad-mudof`. Who finds other keys with the same words has tried about
/// 2^80 of them.
pub fn words(hash: &[u8; 32]) -> String {
    let (pairs, _) = hash.as_chunks::<2>();
    let word = |pair: &[u8; 2]| {
        let bits = usize::from(u16::from_be_bytes(*pair));
        let pick = |letters: &[u8], shift: usize| {
            letters.get((bits >> shift) & (letters.len() - 1)).copied().map_or('?', char::from)
        };
        [pick(CONSONANTS, 12), pick(VOWELS, 10), pick(CONSONANTS, 6), pick(VOWELS, 4), pick(CONSONANTS, 0)]
            .iter()
            .collect::<String>()
    };
    pairs.iter().take(5).map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_paper() {
        // Its examples: 127.0.0.1 and 63.84.220.193.
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&[127, 0, 0, 1, 63, 84, 220, 193]);
        assert_eq!(words(&hash), "lusab-babad-gutih-tugad-babab");
    }

    #[test]
    fn every_one_of_the_first_eighty_bits_changes_the_words() {
        let mut seen = std::collections::BTreeSet::from([words(&[0; 32])]);
        for bit in 0..80 {
            let mut hash = [0; 32];
            hash[bit / 8] = 1 << (bit % 8);
            assert!(seen.insert(words(&hash)), "bit {bit}");
        }
    }
}
