//! The pairs of neighbouring bytes in a text, which tell at once that most of many words do not
//! occur in it. Searching for the words that remain is left to the rules.

/// Number of bits that pairs are hashed to.
const BITS: usize = 1024;

/// The pairs of neighbouring bytes in a text.
pub struct BytePairs([u64; BITS / 64]);

impl BytePairs {
    /// Collects the pairs of `text`.
    pub fn of(text: &str) -> Self {
        let mut bits = [0; BITS / 64];
        for (word, bit) in places(text) {
            bits[word] |= bit;
        }
        Self(bits)
    }

    /// Returns whether `word` may occur in the text: all of its pairs do.
    pub fn may_hold(&self, word: &str) -> bool {
        places(word).all(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// Returns the place of each pair.
fn places(text: &str) -> impl Iterator<Item = (usize, u64)> {
    let bytes = text.as_bytes();
    bytes.iter().zip(bytes.iter().skip(1)).map(|(first, second)| {
        let place = (usize::from(*first) * 37 + usize::from(*second)) % BITS;
        (place / 64, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_another_pair_is_excluded() {
        let pairs = BytePairs::of("x is at least 2, 大");
        for word in ["x is at least 2, 大", "is at least", "大", "z", ""] {
            assert!(pairs.may_hold(word), "{word}");
        }
        for word in ["is at most", "tea", "小"] {
            assert!(!pairs.may_hold(word), "{word}");
        }
    }
}
