//! Drawing the next token from logits: repetition penalty, temperature, top-k, top-p, in the order of the reference's
//! engine (vLLM), from a random stream that belongs to the rollout alone.

use rayon::prelude::*;

use super::Token;

/// Logits to look through, over all rollouts, from which sampling is spread over threads.
const PARALLEL: usize = 1 << 18;

/// How to sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens that hold this probability together; 1 keeps all.
    pub top_p: f32,
    /// Divides the logits of tokens seen in prompt or output where positive, multiplies them where negative; 1 is off.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    /// The reference's annotation settings.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 50, top_p: 0.9, repetition_penalty: 1.05 }
    }
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 };
}

/// A counter-based random stream: draw `i` depends on the stream's name and `i` only, never on what was drawn before or
/// elsewhere.
///
/// ```
/// use mmprm::engine::Stream;
/// let stream = Stream::named(42, "problem-7", 3, 0);
/// assert_eq!(stream.uniform(5), Stream::named(42, "problem-7", 3, 0).uniform(5));
/// assert_ne!(stream.uniform(5), stream.uniform(6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(u64);

impl Stream {
    /// The stream of one rollout: `index` among those drawn at `node` of `problem` in a run with `seed`.
    pub fn named(seed: u64, problem: &str, node: u64, index: u64) -> Self {
        let name = problem.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self(mix(mix(name ^ mix(node)) ^ index))
    }

    /// A number in `[0, 1)`.
    pub fn uniform(self, draw: u64) -> f64 {
        let bits = mix(self.0.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014): every output bit depends on every input bit.
pub(super) fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The sampler of one rollout: settings, stream, and which tokens were seen.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    settings: Sampling,
    stream: Stream,
    seen: SeenTokens,
    draws: u64,
    /// Log-probabilities of what was drawn, where they are kept.
    likelihood: Option<Vec<f32>>,
}

/// A set of tokens with its members in a list, so that penalties cost as much as there are members.
#[derive(Debug, Clone, Default)]
struct SeenTokens {
    bits: Vec<u64>,
    members: Vec<Token>,
}

impl SeenTokens {
    fn insert(&mut self, token: Token) {
        let (word, bit) = (token as usize / 64, 1 << (token as usize % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.members.push(token);
        }
    }
}

/// Memory that draws reuse.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<(f32, Token)>,
}

impl Sampler {
    pub fn new(settings: Sampling, stream: Stream, prompt: impl Iterator<Item = Token>) -> Self {
        let mut seen = SeenTokens::default();
        if penalises(&settings) {
            prompt.for_each(|token| seen.insert(token));
        }
        Self { settings, stream, seen, draws: 0, likelihood: None }
    }

    /// Keeps the log-probability of each token drawn, under the model's own distribution: at temperature 1, nothing cut
    /// off, no penalty.
    pub fn keep_likelihood(&mut self) {
        self.likelihood = Some(Vec::new());
    }

    /// The log-probabilities of the tokens drawn; empty where they were not kept.
    pub fn into_likelihood(self) -> Vec<f32> {
        self.likelihood.unwrap_or_default()
    }

    /// Draws the next token from `logits` and remembers it.
    pub fn draw(&mut self, logits: &[f32], scratch: &mut Scratch) -> Token {
        let token = if penalises(&self.settings) {
            scratch.logits.clear();
            scratch.logits.extend_from_slice(logits);
            penalise(&mut scratch.logits, &self.seen.members, self.settings.repetition_penalty);
            choose(&scratch.logits, &self.settings, self.stream.uniform(self.draws), &mut scratch.candidates)
        } else {
            choose(logits, &self.settings, self.stream.uniform(self.draws), &mut scratch.candidates)
        };
        self.draws += 1;
        if let Some(kept) = &mut self.likelihood {
            kept.push(log_probability(logits, token));
        }
        if penalises(&self.settings) {
            self.seen.insert(token);
        }
        token
    }
}

/// One draw of each sampler from its logits, in order.
pub(super) fn draw_all(work: Vec<(&mut Sampler, &[f32])>, scratch: &mut Scratch) -> Vec<Token> {
    if work.iter().map(|(_, logits)| logits.len()).sum::<usize>() < PARALLEL {
        work.into_iter().map(|(sampler, logits)| sampler.draw(logits, scratch)).collect()
    } else {
        work.into_par_iter()
            .map_init(Scratch::default, |scratch, (sampler, logits)| sampler.draw(logits, scratch))
            .collect()
    }
}

/// The logarithm of the softmax at `token`.
fn log_probability(logits: &[f32], token: Token) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    (f64::from(logits[token as usize] - largest) - total.ln()) as f32
}

fn penalises(settings: &Sampling) -> bool {
    settings.repetition_penalty.to_bits() != 1.0_f32.to_bits()
}

fn penalise(logits: &mut [f32], seen: &[Token], penalty: f32) {
    for &token in seen {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// Picks a token: the largest logit at temperature 0, otherwise the token where the cumulative probability of the kept
/// tokens, most likely first, passes `uniform`. Equal logits are ordered by token, so the choice is defined exactly.
fn choose(logits: &[f32], settings: &Sampling, uniform: f64, kept: &mut Vec<(f32, Token)>) -> Token {
    if settings.temperature <= 0.0 {
        return argmax(logits);
    }
    keep_top_k(logits, settings.top_k, kept);
    let Some(&(largest, first)) = kept.first() else { return 0 };
    let weight = |logit: f32| (f64::from(logit - largest) / f64::from(settings.temperature)).exp();
    let total: f64 = kept.iter().map(|&(logit, _)| weight(logit)).sum();
    let nucleus = total * f64::from(settings.top_p);
    let (mut mass, mut count) = (0.0, 0);
    while count < kept.len() && (count == 0 || mass < nucleus) {
        mass += weight(kept[count].0);
        count += 1;
    }
    let target = uniform * mass;
    let mut passed = 0.0;
    for &(logit, token) in &kept[..count] {
        passed += weight(logit);
        if passed > target {
            return token;
        }
    }
    kept[..count].last().map_or(first, |&(_, token)| token)
}

fn argmax(logits: &[f32]) -> Token {
    let mut best = (f32::NEG_INFINITY, 0);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > best.0 {
            best = (logit, token as Token);
        }
    }
    best.1
}

/// Collects the `k` largest logits, largest first, ties by token; all for `k` = 0.
fn keep_top_k(logits: &[f32], k: usize, kept: &mut Vec<(f32, Token)>) {
    let order = |a: &(f32, Token), b: &(f32, Token)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    kept.clear();
    let k = if k == 0 { logits.len() } else { k.min(logits.len()) };
    // Most tokens fall below the smallest of the best seen so far: the list is cut back to k when it has doubled, and
    // that raises the bar that a token must pass.
    let mut bar = f32::NEG_INFINITY;
    for (token, &logit) in logits.iter().enumerate() {
        if logit > bar || kept.len() < k {
            kept.push((logit, token as Token));
            if kept.len() >= 2 * k {
                kept.select_nth_unstable_by(k - 1, order);
                kept.truncate(k);
                bar = kept[k - 1].0;
            }
        }
    }
    kept.sort_unstable_by(order);
    kept.truncate(k);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw_many(logits: &[f32], settings: Sampling, draws: usize) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut scratch = Scratch::default();
        for index in 0..draws {
            let mut sampler = Sampler::new(settings, Stream::named(1, "p", 0, index as u64), std::iter::empty());
            counts[sampler.draw(logits, &mut scratch) as usize] += 1.0 / draws as f64;
        }
        counts
    }

    const OPEN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 };

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [1.0_f32, 0.0, 2.0, -1.0];
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        for (frequency, logit) in draw_many(&logits, OPEN, 40_000).iter().zip(logits) {
            assert!((frequency - f64::from(logit.exp() / total)).abs() < 0.01);
        }
    }

    #[test]
    fn top_k_keeps_the_k_largest() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 100.0).collect();
        let mut kept = Vec::new();
        keep_top_k(&logits, 50, &mut kept);
        let mut all: Vec<(f32, Token)> = logits.iter().copied().zip(0..).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        assert_eq!(kept, all[..50]);
    }

    #[test]
    fn equal_logits_keep_the_lowest_tokens() {
        let mut kept = Vec::new();
        keep_top_k(&[1.0; 100], 3, &mut kept);
        assert_eq!(kept.iter().map(|&(_, token)| token).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_mark() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let frequencies = draw_many(&logits, Sampling { top_p: 0.6, ..OPEN }, 20_000);
        assert!((frequencies[0] - 0.625).abs() < 0.02, "{frequencies:?}");
        assert!((frequencies[1] - 0.375).abs() < 0.02);
        assert!(frequencies[2] < 1e-9);
    }

    #[test]
    fn the_penalty_divides_positive_and_multiplies_negative_logits() {
        let mut logits = [2.0, -2.0, 2.0];
        penalise(&mut logits, &[0, 1, 99], 2.0);
        assert_eq!(logits.map(f32::to_bits), [1.0_f32, -4.0, 2.0].map(f32::to_bits));
    }

    #[test]
    fn a_penalised_token_is_penalised_once_however_often_it_was_seen() {
        let settings = Sampling { temperature: 0.0, repetition_penalty: 1.5, ..OPEN };
        let mut sampler = Sampler::new(settings, Stream::named(0, "", 0, 0), [0, 0, 0].into_iter());
        assert_eq!(sampler.draw(&[3.0, 1.9], &mut Scratch::default()), 0);
    }

    #[test]
    fn the_likelihood_is_the_models_own_whatever_is_drawn_from() {
        let logits = [1.0_f32, 2.0, 0.0];
        let settings = Sampling { temperature: 0.0, repetition_penalty: 1.5, ..OPEN };
        let mut sampler = Sampler::new(settings, Stream::named(0, "", 0, 0), std::iter::empty());
        sampler.keep_likelihood();
        assert_eq!(sampler.draw(&logits, &mut Scratch::default()), 1);
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        approx::assert_relative_eq!(sampler.into_likelihood()[0], 2.0 - total.ln(), epsilon = 1e-6);
    }

    #[test]
    fn greedy_takes_the_first_of_equal_maxima() {
        let mut sampler = Sampler::new(Sampling::GREEDY, Stream::named(0, "", 0, 0), std::iter::empty());
        assert_eq!(sampler.draw(&[0.0, 5.0, 5.0], &mut Scratch::default()), 1);
    }
}
