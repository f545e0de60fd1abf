//! Prefixes that stay in the KV cache after their request is done, least recently used first out.
//!
//! An entry is a sequence id that holds the cells of one whole prompt. Prompts with a common start share those cells, so
//! an entry costs only what it alone has. Finding the longest common start is a scan: there are at most a few dozen
//! entries.

use std::sync::Arc;

use super::prompt::common_prefix;

#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    entries: Vec<Entry>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    sequence: i32,
    keys: Arc<[u64]>,
    used: u64,
}

impl PrefixCache {
    /// The sequence that shares the longest start with `keys`, and how long it is.
    pub fn longest(&mut self, keys: &[u64]) -> Option<(i32, usize)> {
        self.clock += 1;
        let clock = self.clock;
        let (length, entry) =
            self.entries.iter_mut().map(|entry| (common_prefix(&entry.keys, keys), entry)).max_by_key(|pair| pair.0)?;
        if length == 0 {
            return None;
        }
        entry.used = clock;
        Some((entry.sequence, length))
    }

    /// Keeps `sequence`, which holds `keys`; returns the sequences that it makes superfluous, perhaps itself.
    pub fn insert(&mut self, sequence: i32, keys: Arc<[u64]>) -> Vec<i32> {
        self.clock += 1;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.keys.starts_with(&keys)) {
            entry.used = self.clock;
            return vec![sequence];
        }
        let (covered, kept) = self.entries.drain(..).partition::<Vec<_>, _>(|entry| keys.starts_with(&entry.keys));
        self.entries = kept;
        self.entries.push(Entry { sequence, keys, used: self.clock });
        covered.into_iter().map(|entry| entry.sequence).collect()
    }

    /// Gives up the least recently used entry.
    pub fn evict(&mut self) -> Option<i32> {
        let (oldest, _) = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used)?;
        Some(self.entries.swap_remove(oldest).sequence)
    }

    /// The prompts held.
    pub fn prompts(&self) -> impl Iterator<Item = &[u64]> {
        self.entries.iter().map(|entry| &*entry.keys)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Cells that prompts take together when equal starts are shared.
pub(super) fn distinct_positions(mut prompts: Vec<&[u64]>) -> usize {
    prompts.sort_unstable();
    let all: usize = prompts.iter().map(|prompt| prompt.len()).sum();
    let shared: usize = prompts.windows(2).map(|pair| common_prefix(pair[0], pair[1])).sum();
    all - shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(values: &[u64]) -> Arc<[u64]> {
        values.into()
    }

    #[test]
    fn the_longest_common_start_wins() {
        let mut cache = PrefixCache::default();
        cache.insert(1, keys(&[1, 2, 3]));
        cache.insert(2, keys(&[1, 2, 9, 9]));
        assert_eq!(cache.longest(&[1, 2, 9, 5]), Some((2, 3)));
        assert_eq!(cache.longest(&[7]), None);
    }

    #[test]
    fn entries_that_another_covers_are_given_back() {
        let mut cache = PrefixCache::default();
        assert_eq!(cache.insert(1, keys(&[1, 2])), Vec::<i32>::new());
        assert_eq!(cache.insert(2, keys(&[1, 2, 3])), [1]);
        assert_eq!(cache.insert(3, keys(&[1, 2])), [3]);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn equal_starts_are_counted_once() {
        assert_eq!(distinct_positions(vec![&[1, 2, 3], &[7], &[1, 2, 4, 5]]), 6);
        assert_eq!(distinct_positions(Vec::new()), 0);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = PrefixCache::default();
        cache.insert(1, keys(&[1]));
        cache.insert(2, keys(&[2]));
        cache.longest(&[1, 5]);
        assert_eq!(cache.evict(), Some(2));
        assert_eq!(cache.evict(), Some(1));
        assert_eq!(cache.evict(), None);
    }
}
