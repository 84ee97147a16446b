//! Pairs of texts that come from a seed.

/// What versions of some ecosystem look like.
pub(crate) struct Kind {
    /// What they are made of, and a little of what they are not.
    pub(crate) characters: &'static [u8],
    /// What may follow one, often without making a difference.
    pub(crate) ends: &'static [&'static str],
    /// What may stand in front of one.
    pub(crate) starts: &'static [&'static str],
    /// Texts that say something to a rule. Each is asked with each.
    pub(crate) odd: &'static [&'static str],
    /// Makes one up.
    pub(crate) made: fn(&mut Chance) -> String,
    /// How long a run of digits may be.
    pub(crate) digits_max: usize,
}

impl Kind {
    /// At least `count` pairs from `seed`, of which each of `real` with each is a part.
    pub(crate) fn pairs(&self, seed: u64, count: usize, real: &[&str]) -> Vec<(String, String)> {
        let mut pairs = Vec::with_capacity(count);
        for all in [real, self.odd] {
            for a in all {
                pairs.extend(all.iter().map(|b| ((*a).to_owned(), (*b).to_owned())));
            }
        }
        let mut chance = Chance(seed);
        while pairs.len() < count {
            let a = self.version(&mut chance, real);
            let b =
                if chance.below(4) == 0 { self.version(&mut chance, real) } else { chance.near(&a, self) };
            pairs.push(if chance.below(2) == 0 { (a, b) } else { (b, a) });
        }
        pairs
    }

    fn version(&self, chance: &mut Chance, real: &[&str]) -> String {
        match chance.below(20) {
            0..8 if !real.is_empty() => chance.one(real).to_owned(),
            0..15 => (self.made)(chance),
            15..17 => {
                let count = chance.below(12);
                (0..count).map(|_| chance.character(self.characters)).collect()
            }
            17 => chance.one(self.odd).to_owned(),
            18 => format!("{}.{}", chance.digits(self.digits_max), chance.digits(self.digits_max)),
            _ => format!("{}{}", chance.one(self.starts), (self.made)(chance)),
        }
    }
}

/// `SplitMix64`, after G. Steele, D. Lea and C. Flood.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("64 bits");
        usize::try_from(self.next() % bound).expect("less than a usize")
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn character(&mut self, of: &[u8]) -> char {
        char::from(self.one(of))
    }

    pub(crate) fn digits(&mut self, most: usize) -> String {
        let count = 1 + self.below(most);
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.below(10)).expect("a digit"))).collect()
    }

    /// `text` with a few changes, of which many make no difference.
    pub(crate) fn near(&mut self, text: &str, kind: &Kind) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(2) {
            let at = self.below(chars.len() + 1);
            let digit = chars.iter().skip(at).position(char::is_ascii_digit).map(|after| at + after);
            match self.below(12) {
                0 => chars.insert(at, self.character(kind.characters)),
                1 if at < chars.len() => {
                    chars.remove(at);
                }
                2 if at < chars.len() => chars[at] = self.character(kind.characters),
                3 if at + 1 < chars.len() => chars.swap(at, at + 1),
                // Leading zeros, or others; more than any number has.
                4 => {
                    let zeros = 1 + self.below(30);
                    chars.splice(digit.unwrap_or(at)..digit.unwrap_or(at), vec!['0'; zeros]);
                }
                5 => {
                    let run: Vec<char> = self.digits(kind.digits_max.min(60)).chars().collect();
                    chars.splice(at..at, run);
                }
                6 => chars.truncate(at),
                7 => chars.extend(self.one(kind.ends).chars()),
                8 => {
                    chars.splice(0..0, self.one(kind.starts).chars());
                }
                9 if let Some(digit) = digit => {
                    chars[digit] = char::from(b'0' + u8::try_from(self.below(10)).expect("a digit"));
                }
                10 => {
                    if let Some(mark) = chars.iter().position(char::is_ascii_punctuation) {
                        chars[mark] = self.character(kind.characters);
                    }
                }
                _ => {}
            }
        }
        chars.into_iter().collect()
    }
}
