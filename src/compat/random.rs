//! The Mersenne Twister MT19937 as Python's `random.Random(seed)` uses it.
//!
//! MM-PRM samples with Python's `random`. To choose the same items, the generator, its seeding from
//! an integer, and the way `sample`, `choice` and `shuffle` consume its output must be the same.
//! The generator is that of Matsumoto and Nishimura (ACM TOMACS 8, 1998) with their seeding by
//! array; the rest follows the documented behaviour of Python 3.9 to 3.13. Rollouts draw from
//! counter-based streams instead.
//!
//! ```
//! use mmprm::compat::random::Random;
//! let mut random = Random::new(0);
//! assert_eq!(random.sample(10, 4), [6, 9, 0, 2]); // random.seed(0); random.sample(range(10), 4)
//! assert_eq!(random.random(), 0.9654648863619172);
//! ```

use std::collections::HashSet;

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// A random generator; see the [module](self).
#[derive(Debug, Clone)]
pub struct Random {
    state: [u32; WORDS],
    next: usize,
}

impl Random {
    /// Returns `random.Random(seed)`.
    pub fn new(seed: u64) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        // Python's key has no leading zero words, but at least one word.
        let length = if key[1] == 0 { 1 } else { 2 };
        let mut random = Self::from_number(19_650_218);
        random.mix_in(&key[..length]);
        random
    }

    fn from_number(seed: u32) -> Self {
        let mut state = [seed; WORDS];
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = (last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: WORDS }
    }

    fn mix_in(&mut self, key: &[u32]) {
        let state = &mut self.state;
        let mut i = 1;
        let mut advance = |update: &dyn Fn(u32, u32, usize) -> u32| {
            let last = state[i - 1];
            state[i] = update(state[i], last ^ last >> 30, i);
            i += 1;
            if i == WORDS {
                state[0] = state[WORDS - 1];
                i = 1;
            }
        };
        for (j, &word) in key.iter().enumerate().cycle().take(WORDS.max(key.len())) {
            advance(&|old, last, _| (old ^ last.wrapping_mul(1_664_525)).wrapping_add(word).wrapping_add(j as u32));
        }
        for _ in 1..WORDS {
            advance(&|old, last, i| (old ^ last.wrapping_mul(1_566_083_941)).wrapping_sub(i as u32));
        }
        state[0] = 1 << 31;
    }

    /// Returns the next 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.renew();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    fn renew(&mut self) {
        for i in 0..WORDS {
            let joined = self.state[i] & 1 << 31 | self.state[(i + 1) % WORDS] & !(1 << 31);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ joined >> 1 ^ twist;
        }
        self.next = 0;
    }

    /// Returns `random.random()`: 53 random bits as a number from 0 (inclusive) to 1 (exclusive).
    pub fn random(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * f64::from(1 << 26) + f64::from(low)) / (1_u64 << 53) as f64
    }

    /// Returns `random.getrandbits(count)`.
    ///
    /// # Panics
    /// If `count` is above 64.
    pub fn bits(&mut self, count: u32) -> u64 {
        assert!(count <= 64, "at most 64 bits at a time");
        match count {
            0 => 0,
            1..=32 => u64::from(self.word() >> (32 - count)),
            _ => {
                let low = u64::from(self.word());
                low | u64::from(self.word() >> (64 - count)) << 32
            }
        }
    }

    /// Returns `random.randrange(bound)`: a uniformly distributed number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "expected a bound above 0");
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let number = self.bits(bits) as usize;
            if number < bound {
                return number;
            }
        }
    }

    /// Returns `random.choice(items)`.
    ///
    /// # Panics
    /// If there are no items.
    pub fn choice<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Shuffles as `random.shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Returns `random.sample(range(population), count)`: distinct numbers below `population`, in
    /// random order.
    ///
    /// # Panics
    /// If `count` is above `population`.
    pub fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        assert!(count <= population, "expected a sample no larger than its population");
        // Python copies a small population and draws from the copy; from a large one it draws again
        // what it drew before. It chooses by the size of a set that holds the sample, and the two
        // methods consume the generator's output differently.
        if population <= set_size(count) {
            let mut pool: Vec<usize> = (0..population).collect();
            return (0..count).map(|_| pool.swap_remove(self.below(pool.len()))).collect();
        }
        let mut chosen = HashSet::with_capacity(count);
        let mut fresh = || {
            loop {
                let number = self.below(population);
                if chosen.insert(number) {
                    return number;
                }
            }
        };
        (0..count).map(|_| fresh()).collect()
    }
}

/// Returns `21 + 4 ** ceil(log(3 * count, 4))`, and 21 for at most 5.
fn set_size(count: usize) -> usize {
    if count <= 5 {
        return 21;
    }
    let mut power = 1_usize;
    while power < count.saturating_mul(3) {
        power = power.saturating_mul(4);
    }
    power.saturating_add(21)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeding_and_output_equal_cpythons() {
        // random.Random(seed): two of random(), then getrandbits(5), getrandbits(40),
        // getrandbits(64).
        for (seed, first, second, bits) in [
            (0, 0.8444218515250481, 0.7579544029403025, [13, 283641720628, 9431353882395063546]),
            (1, 0.13436424411240122, 0.8474337369372327, [24, 279443915985, 9139164268605729673]),
            (42, 0.6394267984578837, 0.025010755222666936, [8, 245864938384, 13585496030504862185]),
            (4294967295, 0.6353574441341173, 0.20319993954407756, [19, 320071261652, 6272406001566189819]),
            (4294967296, 0.11299430095636409, 0.41782886486292836, [0, 670112917261, 14861564313759884179]),
            (1099511640121, 0.31036222241287226, 0.1148930862836336, [17, 223935612730, 14966593939063139906]),
            (18446744073709551615, 0.021825695401270107, 0.3380953268613758, [6, 676268644946, 16963090519847801214]),
        ] {
            let mut random = Random::new(seed);
            assert_eq!((random.random(), random.random()), (first, second), "seed {seed}");
            assert_eq!([5, 40, 64].map(|count| random.bits(count)), bits, "seed {seed}");
        }
        let mut random = Random::new(7);
        let words: Vec<u32> = (0..2000).map(|_| random.word()).collect();
        assert_eq!(words[1999], 2803521222);
    }

    #[test]
    fn samples_equal_cpythons_for_small_and_large_populations() {
        // random.Random(3): sample(range(n), k) in this order from one generator.
        let mut random = Random::new(3);
        for (population, count, expected) in [
            (1, 1, vec![0]),
            (5, 0, vec![]),
            (21, 5, vec![18, 17, 4, 11, 15]),
            (22, 5, vec![20, 18, 2, 19, 0]),
            (22, 6, vec![15, 8, 17, 7, 6, 21]),
            (85, 6, vec![69, 70, 60, 50, 19, 29]),
            (86, 6, vec![81, 19, 66, 49, 1, 85]),
            (1000, 10, vec![795, 65, 163, 776, 980, 605, 43, 308, 798, 31]),
            (8589934592, 3, vec![5452167500, 6128638683, 6772775428]),
        ] {
            assert_eq!(random.sample(population, count), expected, "{count} of {population}");
        }
    }

    #[test]
    fn choices_and_shuffles_equal_cpythons() {
        let mut random = Random::new(5);
        let mut items: Vec<u32> = (0..12).collect();
        random.shuffle(&mut items);
        assert_eq!(items, [10, 2, 11, 7, 1, 3, 6, 0, 8, 5, 4, 9]);
        let chosen: Vec<u32> = (0..8).map(|_| *random.choice(&items)).collect();
        assert_eq!(chosen, [3, 0, 7, 6, 8, 2, 5, 7]);
    }
}
