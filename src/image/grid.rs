//! The candidate grids in the order of `InternVL`'s code.
//!
//! `InternVL` collects them in a Python set and sorts by tile count only, so grids of equal count
//! keep the set's iteration order, which decides ties between equally close grids. The order
//! follows from how `CPython` hashes pairs of small integers and places them in its open-addressing
//! table, reproduced here.

/// Returns the grids (columns, rows) with `min_tiles` to `max_tiles` tiles, in the order in which
/// `InternVL` tries them.
pub fn candidate_grids(min_tiles: usize, max_tiles: usize) -> Vec<(usize, usize)> {
    let mut set = PairSet::new();
    for side in min_tiles..=max_tiles {
        for columns in 1..=side {
            for rows in 1..=side {
                if (min_tiles..=max_tiles).contains(&(columns * rows)) {
                    set.insert((columns, rows));
                }
            }
        }
    }
    let mut grids: Vec<_> = set.slots.into_iter().flatten().collect();
    grids.sort_by_key(|(columns, rows)| columns * rows);
    grids
}

/// `CPython`'s set of pairs, for insertion and iteration order only.
struct PairSet {
    /// Their number is a power of two.
    slots: Vec<Option<(usize, usize)>>,
    len: usize,
}

impl PairSet {
    fn new() -> Self {
        Self { slots: vec![None; 8], len: 0 }
    }

    fn insert(&mut self, pair: (usize, usize)) {
        let slot = self.find(pair);
        if self.slots[slot].is_some() {
            return;
        }
        self.slots[slot] = Some(pair);
        self.len += 1;
        let mask = self.slots.len() - 1;
        if self.len * 5 >= mask * 3 {
            self.grow();
        }
    }

    /// Returns the slot that holds `pair`, or the free one where it belongs: tries a run of ten
    /// neighbours (one where the run would pass the end), then jumps.
    fn find(&self, pair: (usize, usize)) -> usize {
        const NEIGHBOURS: usize = 9;
        let mask = self.slots.len() - 1;
        let mut perturbation = pair_hash(pair);
        let mut start = perturbation as usize & mask;
        loop {
            let run = if start + NEIGHBOURS <= mask { NEIGHBOURS } else { 0 };
            if let Some(slot) = (start..=start + run).find(|&slot| self.slots[slot].is_none_or(|held| held == pair)) {
                return slot;
            }
            perturbation >>= 5;
            start = start.wrapping_mul(5).wrapping_add(1).wrapping_add(perturbation as usize) & mask;
        }
    }

    fn grow(&mut self) {
        let mut size = 8;
        while size <= self.len * 4 {
            size *= 2;
        }
        let old = std::mem::replace(&mut self.slots, vec![None; size]);
        for pair in old.into_iter().flatten() {
            let slot = self.find(pair);
            self.slots[slot] = Some(pair);
        }
    }
}

/// Returns the hash of a tuple of two small integers: xxHash64's lane round over them (an integer
/// is its own hash).
fn pair_hash((first, second): (usize, usize)) -> u64 {
    const PRIME_1: u64 = 11400714785074694791;
    const PRIME_2: u64 = 14029467366897019727;
    const PRIME_5: u64 = 2870177450012600261;
    let mut hash = PRIME_5;
    for lane in [first, second] {
        hash = hash.wrapping_add((lane as u64).wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1);
    }
    hash.wrapping_add(2 ^ (PRIME_5 ^ 0x35_d373))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_of_equal_count_come_in_the_order_of_pythons_set() {
        assert_eq!(candidate_grids(1, 3), [(1, 1), (1, 2), (2, 1), (3, 1), (1, 3)]);
    }

    #[test]
    fn every_grid_within_the_bounds_comes_once() {
        let grids = candidate_grids(2, 12);
        for columns in 1..=12 {
            for rows in 1..=12 {
                let count = grids.iter().filter(|&&grid| grid == (columns, rows)).count();
                assert_eq!(count, usize::from((2..=12).contains(&(columns * rows))));
            }
        }
    }
}
