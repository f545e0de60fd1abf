//! Sampling the next token from logits: repetition penalty, temperature, top-k and top-p, in the
//! order of vLLM, which MM-PRM uses, from a random stream per rollout.
//!
//! Passes over the vocabulary are in `select`; when to sample is left to the executors.

mod select;

use rayon::prelude::*;

use super::Token;
use crate::util::random::{CounterStream, mix};
use select::{Logits, Workspace, log_probability};

/// Logits of all rollouts together from which sampling uses several threads.
const PARALLEL_FROM: usize = 1 << 18;

/// Sampling parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Temperature; 0 is greedy decoding.
    pub temperature: f32,
    /// Top-k: keep the `k` most likely tokens (0 = off).
    pub top_k: usize,
    /// Top-p: keep the fewest most likely tokens whose probabilities sum to this (1 = off).
    pub top_p: f32,
    /// Repetition penalty: divides positive and multiplies negative logits of tokens in the prompt
    /// or the output (1 = off).
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    /// MM-PRM's annotation settings.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 50, top_p: 0.9, repetition_penalty: 1.05 }
    }
}

impl Sampling {
    /// Greedy decoding.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 };
}

/// The counter-based random stream of a rollout: draw `i` depends on the stream's name and `i`
/// only, not on earlier draws or other rollouts.
///
/// ```
/// use mmprm::engine::Stream;
/// let stream = Stream::named(42, "problem-7", 3, 0);
/// assert_eq!(stream.uniform(5), Stream::named(42, "problem-7", 3, 0).uniform(5));
/// assert_ne!(stream.uniform(5), stream.uniform(6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(CounterStream);

impl Stream {
    /// Returns the stream of rollout `index` at `node` of `problem`, in a run with `seed`.
    pub fn named(seed: u64, problem: &str, node: u64, index: u64) -> Self {
        let name = problem.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self(CounterStream::new(mix(mix(name ^ mix(node)) ^ index)))
    }

    /// Returns the uniform number in `[0, 1)` of draw `draw`.
    pub fn uniform(self, draw: u64) -> f64 {
        self.0.uniform(draw)
    }
}

/// The sampler of one rollout: parameters, random stream and the set of tokens seen.
///
/// ```
/// use mmprm::engine::{Sampler, Sampling, Scratch, Stream};
/// let mut sampler = Sampler::new(Sampling::GREEDY, Stream::named(0, "sum", 0, 0), std::iter::empty());
/// assert_eq!(sampler.draw(&[0.5, 2.0, 1.0], &mut Scratch::default()), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    stream: Stream,
    /// One bit per token, up to the highest seen.
    seen: Vec<u64>,
    draws: u64,
    /// Log-probabilities of the drawn tokens, if they are kept.
    logprob: Option<Vec<f32>>,
}

/// Buffers reused between draws.
#[derive(Debug, Default)]
pub struct Scratch {
    workspace: Workspace,
    candidates: Vec<(f32, Token)>,
}

impl Sampler {
    /// Returns a sampler that has seen the tokens of `prompt`.
    pub fn new(sampling: Sampling, stream: Stream, prompt: impl Iterator<Item = Token>) -> Self {
        let mut sampler = Self { sampling, stream, seen: Vec::new(), draws: 0, logprob: None };
        prompt.for_each(|token| sampler.see(token));
        sampler
    }

    fn see(&mut self, token: Token) {
        if self.sampling.repetition_penalty.to_bits() == 1.0_f32.to_bits() {
            return;
        }
        let Ok(token) = usize::try_from(token) else { return };
        let word = token / 64;
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << (token % 64);
    }

    /// Keeps the log-probability of each drawn token under the model's own distribution:
    /// temperature 1, nothing cut off, no penalty.
    pub fn keep_logprob(&mut self) {
        self.logprob = Some(Vec::new());
    }

    /// Returns the log-probabilities of the drawn tokens; empty if they were not kept.
    pub fn into_logprob(self) -> Vec<f32> {
        self.logprob.unwrap_or_default()
    }

    /// Draws the next token from `logits` and marks it as seen.
    pub fn draw(&mut self, logits: &[f32], scratch: &mut Scratch) -> Token {
        let penalised = Logits { raw: logits, seen: &self.seen, penalty: self.sampling.repetition_penalty };
        let token = choose(&penalised, &self.sampling, self.stream.uniform(self.draws), scratch);
        self.draws += 1;
        if let Some(kept) = &mut self.logprob {
            kept.push(log_probability(logits, token));
        }
        self.see(token);
        token
    }
}

/// Draws one token with each sampler from its logits, in order; on several threads for large
/// vocabularies.
pub fn draw_all(work: Vec<(&mut Sampler, &[f32])>, scratch: &mut Scratch) -> Vec<Token> {
    if work.iter().map(|(_, logits)| logits.len()).sum::<usize>() < PARALLEL_FROM {
        work.into_iter().map(|(sampler, logits)| sampler.draw(logits, scratch)).collect()
    } else {
        work.into_par_iter()
            .map_init(Scratch::default, |scratch, (sampler, logits)| sampler.draw(logits, scratch))
            .collect()
    }
}

/// Without top-k: the number of most likely tokens sorted first, and the factor by which it grows.
const FIRST_CANDIDATES: usize = 64;
const CANDIDATE_GROWTH: usize = 8;

/// Returns the token of the largest logit at temperature 0, else the token at which the cumulative
/// probability of the kept tokens, most likely first, exceeds `uniform`. Equal logits are ordered
/// by token, so the choice is unique.
fn choose(logits: &Logits<'_>, sampling: &Sampling, uniform: f64, scratch: &mut Scratch) -> Token {
    let Scratch { workspace, candidates } = scratch;
    if sampling.temperature <= 0.0 {
        return logits.argmax(workspace);
    }
    let temperature = f64::from(sampling.temperature);
    if sampling.top_k > 0 {
        logits.top(sampling.top_k, workspace, candidates);
        let total = candidates.iter().map(|&(logit, _)| weight(logit, candidates[0].0, temperature)).sum();
        return walk(candidates, total, sampling, uniform, true).unwrap_or(0);
    }
    // The token is nearly always among the first few, so the vocabulary is summed but not sorted.
    let mut count = FIRST_CANDIDATES;
    let mut total = None;
    loop {
        logits.top(count, workspace, candidates);
        let Some(&(largest, _)) = candidates.first() else { return 0 };
        let total = *total.get_or_insert_with(|| logits.exponentials(largest, 1.0 / temperature));
        let all = count >= logits.raw.len();
        if let Some(token) = walk(candidates, total, sampling, uniform, all) {
            return token;
        }
        count *= CANDIDATE_GROWTH;
    }
}

/// Returns the probability of a token relative to the most likely one.
fn weight(logit: f32, largest: f32, temperature: f64) -> f64 {
    (f64::from(logit - largest) / temperature).exp()
}

/// Returns the token that `uniform` selects among `kept`, the most likely tokens of a distribution
/// of weight `total`; `None` if `kept` is empty, or if it is not `all` tokens and the choice needs
/// more.
fn walk(kept: &[(f32, Token)], total: f64, sampling: &Sampling, uniform: f64, all: bool) -> Option<Token> {
    let &(largest, _) = kept.first()?;
    let weight = |logit| weight(logit, largest, f64::from(sampling.temperature));
    let (mut mass, mut count) = (total, kept.len());
    if all || sampling.top_p < 1.0 {
        let nucleus = total * f64::from(sampling.top_p);
        (mass, count) = (0.0, 0);
        while count < kept.len() && (count == 0 || mass < nucleus) {
            mass += weight(kept[count].0);
            count += 1;
        }
        if !all && mass < nucleus {
            return None;
        }
    }
    let target = uniform * mass;
    let mut passed = 0.0;
    for &(logit, token) in &kept[..count] {
        passed += weight(logit);
        if passed > target {
            return Some(token);
        }
    }
    // `kept` holds the whole mass, except for rounding.
    (all || sampling.top_p < 1.0).then(|| kept[count - 1].1)
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

    /// The definition of a draw, with all tokens sorted.
    fn defined(logits: &[f32], settings: &Sampling, uniform: f64) -> Token {
        let mut all: Vec<(f32, Token)> = logits.iter().copied().zip(0..).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(if settings.top_k == 0 { all.len() } else { settings.top_k });
        let weights: Vec<f64> =
            all.iter().map(|pair| (f64::from(pair.0 - all[0].0) / f64::from(settings.temperature)).exp()).collect();
        let nucleus = weights.iter().sum::<f64>() * f64::from(settings.top_p);
        let (mut mass, mut count) = (0.0, 0);
        while count < all.len() && (count == 0 || mass < nucleus) {
            mass += weights[count];
            count += 1;
        }
        let mut passed = 0.0;
        let hit = weights[..count].iter().position(|weight| {
            passed += weight;
            passed > uniform * mass
        });
        all[hit.unwrap_or(count - 1)].1
    }

    #[test]
    #[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
    fn draws_follow_the_definition_for_any_parameters() {
        let mut scratch = Scratch::default();
        for (flatness, count) in [(1.0_f32, 70), (4.0, 3000), (0.05, 3000)] {
            let logits: Vec<f32> =
                (0..count).map(|i| ((i * 7919) % count) as f32 / count as f32 * 30.0 / flatness - 9.0).collect();
            for (top_k, top_p) in [(0, 1.0), (0, 0.9), (0, 0.999), (50, 0.9), (50, 1.0), (1, 0.5), (5000, 0.95)] {
                for temperature in [0.6, 1.0, 30.0] {
                    let settings = Sampling { temperature, top_k, top_p, repetition_penalty: 1.0 };
                    for index in 0..60 {
                        let stream = Stream::named(3, "defined", 0, index);
                        let drawn = Sampler::new(settings, stream, std::iter::empty()).draw(&logits, &mut scratch);
                        assert_eq!(drawn, defined(&logits, &settings, stream.uniform(0)), "{settings:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_threshold() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let frequencies = draw_many(&logits, Sampling { top_p: 0.6, ..OPEN }, 20_000);
        assert!((frequencies[0] - 0.625).abs() < 0.02, "{frequencies:?}");
        assert!((frequencies[1] - 0.375).abs() < 0.02);
        assert!(frequencies[2] < 1e-9);
    }

    #[test]
    fn a_token_seen_several_times_is_penalised_once() {
        let settings = Sampling { temperature: 0.0, repetition_penalty: 1.5, ..OPEN };
        let mut sampler = Sampler::new(settings, Stream::named(0, "", 0, 0), [0, 0, 0].into_iter());
        assert_eq!(sampler.draw(&[3.0, 1.9], &mut Scratch::default()), 0);
    }

    #[test]
    fn the_logprob_ignores_temperature_cutoffs_and_penalty() {
        let logits = [1.0_f32, 2.0, 0.0];
        let settings = Sampling { temperature: 0.0, repetition_penalty: 1.5, ..OPEN };
        let mut sampler = Sampler::new(settings, Stream::named(0, "", 0, 0), std::iter::empty());
        sampler.keep_logprob();
        assert_eq!(sampler.draw(&logits, &mut Scratch::default()), 1);
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        approx::assert_relative_eq!(sampler.into_logprob()[0], 2.0 - total.ln(), epsilon = 1e-6);
    }

    /// Seeds of runs on disk rely on these numbers.
    #[test]
    fn streams_do_not_change() {
        let bits = |problem, draw| Stream::named(7, problem, 3, 2).uniform(draw).to_bits();
        let expected: [u64; 3] = [0x3fa3_5872_763b_1440, 0x3fde_32fb_83e4_508c, 0x3fde_bd9d_30c5_89e8];
        assert_eq!([bits("p", 0), bits("p", 1), bits("", 9)], expected);
    }

    #[test]
    fn greedy_takes_the_first_of_equal_maxima() {
        let mut sampler = Sampler::new(Sampling::GREEDY, Stream::named(0, "", 0, 0), std::iter::empty());
        assert_eq!(sampler.draw(&[0.0, 5.0, 5.0], &mut Scratch::default()), 1);
    }

    #[test]
    fn samplers_draw_the_same_in_parallel_and_one_by_one() {
        let logits: Vec<f32> = (0..9000).map(|i| ((i * 7919) % 9000) as f32 / 700.0).collect();
        let samplers = || -> Vec<Sampler> {
            let of = |index| Sampler::new(Sampling::default(), Stream::named(5, "p", 0, index), [5, 8999].into_iter());
            (0..64).map(of).collect()
        };
        assert!(64 * logits.len() > PARALLEL_FROM);
        let mut scratch = Scratch::default();
        let alone: Vec<Token> = samplers().iter_mut().map(|sampler| sampler.draw(&logits, &mut scratch)).collect();
        let mut together = samplers();
        let work = together.iter_mut().map(|sampler| (sampler, logits.as_slice())).collect();
        assert_eq!(draw_all(work, &mut scratch), alone);
    }
}
