//! The set of bytes of a text, which tells at once that most of many words do not occur in it.
//! Searching for the words that remain is left to the rules.

/// The bytes of a text.
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// Collects the bytes of `text`.
    pub fn of(text: &str) -> Self {
        let mut bits = [0; 4];
        for byte in text.bytes() {
            bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        Self(bits)
    }

    /// Returns whether `word` may occur in the text: all of its bytes do.
    pub fn may_hold(&self, word: &str) -> bool {
        word.bytes().all(|byte| self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_another_byte_is_excluded() {
        let set = ByteSet::of("x is at least 2, 大");
        assert!(set.may_hold("is at least") && set.may_hold("大") && set.may_hold(""));
        assert!(!set.may_hold("is at most") && !set.may_hold("小") && !ByteSet::of("").may_hold("a"));
    }
}
