//! Passes over the logits of a vocabulary: argmax, top-k, and sums of exponentials.
//!
//! A vocabulary has a hundred thousand entries or more and a batch samples dozens of tokens, so
//! each entry is read once, in loops over blocks that vectorise. That pass keeps the largest logit
//! of each block; later passes read only the blocks that can contain a result.

use crate::engine::Token;

/// Logits per block: the number of bits in a word of `seen`.
const BLOCK: usize = 64;
/// Entries processed in parallel.
const LANES: usize = 16;

/// Logits with the repetition penalty for seen tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logits<'a> {
    pub raw: &'a [f32],
    /// One bit per token: seen, so penalised. May be shorter than the vocabulary.
    pub seen: &'a [u64],
    pub penalty: f32,
}

/// Buffers of a draw, kept for the next one.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    maxima: Vec<f32>,
    order: Vec<f32>,
}

impl<'a> Logits<'a> {
    /// Returns a block, copied into `buffer` if anything in it is penalised.
    fn block<'b>(&self, index: usize, buffer: &'b mut [f32; BLOCK]) -> &'b [f32]
    where
        'a: 'b,
    {
        let raw = &self.raw[index * BLOCK..self.raw.len().min((index + 1) * BLOCK)];
        let mut seen = self.seen.get(index).copied().unwrap_or(0);
        if seen == 0 {
            return raw;
        }
        let block = &mut buffer[..raw.len()];
        block.copy_from_slice(raw);
        while seen != 0 {
            if let Some(logit) = block.get_mut(seen.trailing_zeros() as usize) {
                *logit = if *logit > 0.0 { *logit / self.penalty } else { *logit * self.penalty };
            }
            seen &= seen - 1;
        }
        block
    }

    fn blocks(&self) -> usize {
        self.raw.len().div_ceil(BLOCK)
    }

    /// Computes the largest logit of every block.
    fn maxima(&self, maxima: &mut Vec<f32>) {
        maxima.clear();
        maxima.extend(self.raw.chunks(BLOCK).map(largest));
        for (index, _) in self.seen.iter().enumerate().take(self.blocks()).filter(|(_, seen)| **seen != 0) {
            maxima[index] = largest(self.block(index, &mut [0.0; BLOCK]));
        }
    }

    /// Returns the token of the largest logit, the first among equal ones.
    pub fn argmax(&self, workspace: &mut Workspace) -> Token {
        self.maxima(&mut workspace.maxima);
        let best = largest(&workspace.maxima);
        let index = workspace.maxima.iter().position(|&maximum| maximum >= best).unwrap_or(0);
        let mut buffer = [0.0; BLOCK];
        let offset = self.block(index, &mut buffer).iter().position(|&logit| logit >= best).unwrap_or(0);
        (index * BLOCK + offset) as Token
    }

    /// Collects the `k` largest logits in descending order, equal ones by token; all logits if `k`
    /// is larger than the vocabulary.
    pub fn top(&self, k: usize, workspace: &mut Workspace, kept: &mut Vec<(f32, Token)>) {
        kept.clear();
        let k = k.min(self.raw.len());
        if k == 0 {
            return;
        }
        let Workspace { maxima, order } = workspace;
        self.maxima(maxima);
        // Each of the k blocks with the largest maxima contains a logit that reaches the k-th
        // largest maximum.
        let mut threshold = f32::NEG_INFINITY;
        if k < maxima.len() {
            order.clone_from(maxima);
            threshold = *order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
        }
        let mut buffer = [0.0; BLOCK];
        for (index, _) in maxima.iter().enumerate().filter(|(_, maximum)| **maximum >= threshold) {
            let tokens = index * BLOCK..;
            let block = self.block(index, &mut buffer).iter().zip(tokens).filter(|(logit, _)| **logit >= threshold);
            kept.extend(block.map(|(&logit, token)| (logit, token as Token)));
        }
        let descending = |a: &(f32, Token), b: &(f32, Token)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, descending);
            kept.truncate(k);
        }
        kept.sort_unstable_by(descending);
    }

    /// Returns the sum of `exp((logit - from) · scale)` over all logits.
    pub fn exponentials(&self, from: f32, scale: f64) -> f64 {
        let mut buffer = [0.0; BLOCK];
        (0..self.blocks()).map(|index| exponentials(self.block(index, &mut buffer), from, scale)).sum()
    }
}

/// Returns the log-softmax of `logits` at `token`.
pub(super) fn log_probability(logits: &[f32], token: Token) -> f32 {
    let largest = largest(logits);
    let total: f64 = logits.chunks(BLOCK).map(|block| exponentials(block, largest, 1.0)).sum();
    (f64::from(logits[token as usize] - largest) - total.ln()) as f32
}

fn largest(logits: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let rows = logits.chunks_exact(LANES);
    let rest = rows.remainder();
    for row in rows {
        for (lane, &logit) in lanes.iter_mut().zip(row) {
            *lane = greater(*lane, logit);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, greater)
}

fn exponentials(logits: &[f32], from: f32, scale: f64) -> f64 {
    let term = |logit: f32| exp(f64::from(logit - from) * scale);
    let mut lanes = [0.0; LANES];
    let rows = logits.chunks_exact(LANES);
    let rest: f64 = rows.remainder().iter().map(|&logit| term(logit)).sum();
    for row in rows {
        for (lane, &logit) in lanes.iter_mut().zip(row) {
            *lane += term(logit);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Returns the exponential of a number up to 700, without branches or calls so that loops
/// vectorise. Below −700 it returns `exp(-700)`, which is negligible in any sum.
#[inline]
fn exp(x: f64) -> f64 {
    /// Adding it leaves the nearest integer in the lowest bits.
    const SHIFT: f64 = 1.5 * (1_u64 << 52) as f64;
    /// ln 2 in two parts; the first is short enough that its multiples are exact.
    const LN2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    let x = if x < -700.0 { -700.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + SHIFT;
    let power = shifted - SHIFT;
    let r = x - power * LN2[0] - power * LN2[1];
    // Taylor polynomial with an error below 2e-16 for |r| up to ln 2 / 2.
    let mut sum = 1.0 / 479_001_600.0;
    let factorials =
        [39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0_f64];
    for factorial in factorials {
        sum = sum * r + 1.0 / factorial;
    }
    f64::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 52))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(raw: &[f32]) -> Logits<'_> {
        Logits { raw, seen: &[], penalty: 1.0 }
    }

    /// Unordered values, some of them equal.
    fn scattered(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed * 31) % 4001) as f32 / 100.0 - 20.0).collect()
    }

    fn sorted(raw: &[f32]) -> Vec<(f32, Token)> {
        let mut all: Vec<(f32, Token)> = raw.iter().copied().zip(0..).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all
    }

    #[test]
    fn top_k_agrees_with_sorting() {
        let mut kept = Vec::new();
        for count in [1, 63, 64, 65, 1000, 10_007] {
            let raw = scattered(count, count);
            let sorted = sorted(&raw);
            for k in [1, 2, 50, 64, 900, 20_000] {
                plain(&raw).top(k, &mut Workspace::default(), &mut kept);
                assert_eq!(kept, sorted[..k.min(count)], "{k} of {count}");
            }
            assert_eq!(plain(&raw).argmax(&mut Workspace::default()), sorted[0].1);
        }
    }

    #[test]
    fn equal_logits_keep_the_lowest_tokens() {
        let mut kept = Vec::new();
        plain(&[1.0; 1000]).top(3, &mut Workspace::default(), &mut kept);
        assert_eq!(kept.iter().map(|&(_, token)| token).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(plain(&[1.0; 1000]).argmax(&mut Workspace::default()), 0);
    }

    #[test]
    fn the_penalty_divides_positive_and_multiplies_negative_logits() {
        for penalty in [2.0, 0.5] {
            let raw = scattered(777, 3);
            let seen: Vec<u64> = (0..13).map(|word| 0x8000_0000_0000_1001_u64.rotate_left(word * 5)).collect();
            let penalised: Vec<f32> = raw
                .iter()
                .enumerate()
                .map(|(token, &logit)| match seen[token / 64] >> (token % 64) & 1 {
                    1 if logit > 0.0 => logit / penalty,
                    1 => logit * penalty,
                    _ => logit,
                })
                .collect();
            let logits = Logits { raw: &raw, seen: &seen, penalty };
            let (mut kept, sorted) = (Vec::new(), sorted(&penalised));
            logits.top(9, &mut Workspace::default(), &mut kept);
            assert_eq!(kept, sorted[..9]);
            assert_eq!(logits.argmax(&mut Workspace::default()), sorted[0].1);
            let total: f64 = penalised.iter().map(|&logit| (f64::from(logit) / 2.0).exp()).sum();
            approx::assert_relative_eq!(logits.exponentials(0.0, 0.5), total, max_relative = 1e-13);
        }
    }

    #[test]
    fn nan_logits_come_after_all_others() {
        let mut raw = vec![f32::NAN; 200];
        raw[150] = -3.0;
        let mut kept = Vec::new();
        plain(&raw).top(2, &mut Workspace::default(), &mut kept);
        assert_eq!((kept, plain(&raw).argmax(&mut Workspace::default())), (vec![(-3.0, 150)], 150));
    }

    #[test]
    fn the_exponential_is_accurate_to_a_few_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for step in 0..2_000_000 {
            let x = -700.0 + f64::from(step) * 3.51e-4;
            worst = worst.max((exp(x) / x.exp() - 1.0).abs());
        }
        assert!(worst < 1e-15, "{worst:e}");
        assert!(exp(-1e9) < 1e-300 && exp(f64::NEG_INFINITY) < 1e-300);
        assert_eq!(exp(0.0).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn the_log_probability_is_the_log_softmax() {
        let raw = scattered(5003, 9);
        let total: f64 = raw.iter().map(|&logit| f64::from(logit).exp()).sum();
        for token in [0, 77, 5002] {
            let expected = f64::from(raw[token]) - total.ln();
            approx::assert_relative_eq!(
                f64::from(log_probability(&raw, token as Token)),
                expected,
                max_relative = 1e-6
            );
        }
    }
}
