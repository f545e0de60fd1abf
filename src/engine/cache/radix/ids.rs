//! A set of sequence ids as a bit mask.

/// The number of sequence ids in llama.cpp.
const MAX_IDS: usize = 256;

/// A set of sequence ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ids([u64; MAX_IDS / 64]);

impl Ids {
    pub fn insert(&mut self, id: i32) {
        self.0[id as usize / 64] |= 1 << (id as usize % 64);
    }

    pub fn remove(&mut self, id: i32) {
        self.0[id as usize / 64] &= !(1 << (id as usize % 64));
    }

    pub fn contains(self, id: i32) -> bool {
        self.0[id as usize / 64] & (1 << (id as usize % 64)) != 0
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn first(self) -> Option<i32> {
        self.iter().next()
    }

    pub fn iter(self) -> impl Iterator<Item = i32> {
        (0..MAX_IDS as i32).filter(move |&id| self.contains(id))
    }

    pub fn intersects(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    pub fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    pub fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_different_words_are_distinct() {
        let mut ids = Ids::default();
        for id in [0, 63, 64, 255] {
            ids.insert(id);
        }
        assert_eq!(ids.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        let mut other = Ids::default();
        for id in [1, 64] {
            other.insert(id);
        }
        assert!(ids.intersects(other));
        assert!(!ids.without(other).intersects(other));
        assert_eq!((ids.union(other).len(), ids.without(other).len()), (5, 3));
        other.remove(1);
        assert_eq!((other.first(), other.contains(1), other.is_empty()), (Some(64), false, false));
    }
}
