//! A binary heap that moves its entries exactly as Python's `heapq` does.
//!
//! Which of two equal entries is popped first depends on how a heap sifts, and in a search the
//! order of entries even changes while they are queued (ties are broken by visit counts).
//! Reproducing MM-PRM's trees therefore needs the same moves: a new entry sifts up from the end;
//! the entry that replaces the smallest first sifts down to a leaf, always along the smaller child,
//! and then up from there.

/// Entries in heap order under the `less` passed to each call.
#[derive(Debug)]
pub(super) struct Heap<T> {
    entries: Vec<T>,
}

impl<T: Copy> Heap<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, entry: T, less: &mut impl FnMut(&T, &T) -> bool) {
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, less);
    }

    /// Pops the smallest entry.
    pub(super) fn pop(&mut self, less: &mut impl FnMut(&T, &T) -> bool) -> Option<T> {
        let last = self.entries.pop()?;
        let Some(first) = self.entries.first_mut() else { return Some(last) };
        let smallest = std::mem::replace(first, last);
        let leaf = self.sift_to_leaf(less);
        self.sift_up(leaf, less);
        Some(smallest)
    }

    /// Sifts the first entry down to a leaf, whatever its size, and returns that leaf.
    fn sift_to_leaf(&mut self, less: &mut impl FnMut(&T, &T) -> bool) -> usize {
        let entry = self.entries[0];
        let mut hole = 0;
        loop {
            let left = 2 * hole + 1;
            let Some(left_entry) = self.entries.get(left) else { break };
            // The right child moves up unless the left one is strictly less.
            let child = match self.entries.get(left + 1) {
                Some(right_entry) if !less(left_entry, right_entry) => left + 1,
                _ => left,
            };
            self.entries[hole] = self.entries[child];
            hole = child;
        }
        self.entries[hole] = entry;
        hole
    }

    /// Sifts the entry at `position` up while it is less than its parent.
    fn sift_up(&mut self, position: usize, less: &mut impl FnMut(&T, &T) -> bool) {
        let entry = self.entries[position];
        let mut hole = position;
        while hole > 0 {
            let parent = (hole - 1) / 2;
            if !less(&entry, &self.entries[parent]) {
                break;
            }
            self.entries[hole] = self.entries[parent];
            hole = parent;
        }
        self.entries[hole] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_pop_smallest_first() {
        let mut heap = Heap::new();
        let mut less = |a: &u32, b: &u32| a < b;
        for entry in (0..100).map(|i| i * 37 % 101) {
            heap.push(entry, &mut less);
        }
        let mut expected: Vec<u32> = (0..100).map(|i| i * 37 % 101).collect();
        expected.sort_unstable();
        assert_eq!(std::iter::from_fn(|| heap.pop(&mut less)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn equal_entries_pop_in_the_order_of_heapq() {
        // The result of Python's heapq for objects whose `__lt__` is always false.
        let mut heap = Heap::new();
        let mut less = |_: &char, _: &char| false;
        for entry in "abcdefg".chars() {
            heap.push(entry, &mut less);
        }
        assert_eq!(std::iter::from_fn(|| heap.pop(&mut less)).collect::<String>(), "acfgebd");
    }
}
