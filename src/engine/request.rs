//! Requests to the engine and their results.

use super::ffi::Context;
use super::prompt::Prompt;
use super::sampling::{Sampler, Sampling, Stream};
use super::{EngineError, Model, Token};
use crate::util::cancel::CancelToken;

/// How to run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineOptions {
    /// Cells of the KV cache: positions of all prompts and rollouts together, rounded up to a
    /// multiple of 256, from 2 to 2²⁴. `None` chooses 16384 plus 1024 per parallel rollout, within
    /// 4096 to 65536 and 2 GiB of memory.
    pub context: Option<u32>,
    /// Rollouts decoded in parallel, 1 to 128. `None` chooses 64 where the whole model is on a GPU and
    /// 16 on a CPU. For a model of less than 64 MiB on a CPU it chooses 8, and decodes requests together
    /// only if all their rollouts fit. Without `deterministic`, results depend on the number of
    /// rollouts that run together, through rounding.
    pub parallel: Option<u32>,
    /// Compute threads, 1 to 512. `None` chooses one per core, fewer while other programs use the
    /// cores, and one for a model of less than 64 MiB.
    pub threads: Option<u32>,
    /// Makes results independent of threads, of `parallel` and of other requests: requests run one
    /// by one on a fixed schedule, without fused attention. Probes always run that way on a CPU; on
    /// a GPU only with this option.
    pub deterministic: bool,
}

/// A request for rollouts of one prompt.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the switches are independent of each other")]
pub struct GenerateRequest {
    /// The prompt that every rollout continues.
    pub prompt: Prompt,
    /// How to sample.
    pub sampling: Sampling,
    /// One random stream per rollout; their number is the number of rollouts.
    pub streams: Vec<Stream>,
    /// Maximum new tokens per rollout.
    pub max_tokens: usize,
    /// Tokens that end a rollout, besides the vocabulary's own end tokens.
    pub stop: Vec<Token>,
    /// Texts that end a rollout, with the token that completes one.
    pub stop_texts: Vec<String>,
    /// Keep the prompt in the cache afterwards, for requests with the same prefix.
    pub keep: bool,
    /// Keep the rollouts' tokens in the cache too, for requests that continue one of them.
    pub keep_rollouts: bool,
    /// Return the log-probability of each drawn token; costs a pass over the vocabulary per token.
    pub logprob: bool,
    /// Continue past end tokens, which are then part of the rollout, up to `max_tokens`; benchmarks
    /// use it to measure work of a known size.
    pub ignore_ends: bool,
    /// Cancelling it ends the request with [`EngineError::Cancelled`].
    pub cancel: CancelToken,
}

impl GenerateRequest {
    /// Returns a request with a cancel token of its own that keeps its prompt in the cache, without
    /// extra stop tokens or log-probabilities.
    pub fn new(prompt: Prompt, sampling: Sampling, streams: Vec<Stream>, max_tokens: usize) -> Self {
        Self {
            prompt,
            sampling,
            streams,
            max_tokens,
            stop: Vec::new(),
            stop_texts: Vec::new(),
            keep: true,
            keep_rollouts: false,
            logprob: false,
            ignore_ends: false,
            cancel: CancelToken::new(),
        }
    }

    /// Returns the sampler of rollout `index`.
    pub(super) fn sampler(&self, index: usize) -> Sampler {
        let mut sampler = Sampler::new(self.sampling, self.streams[index], self.prompt.text_tokens());
        if self.logprob {
            sampler.keep_logprob();
        }
        sampler
    }

    pub(super) fn check_cancelled(&self) -> Result<(), EngineError> {
        if self.cancel.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// Appends a drawn token to a rollout's `tokens`, unless it is an end token. Returns why the
    /// rollout ends, if it does.
    pub(super) fn accept(&self, token: Token, tokens: &mut Vec<Token>, model: &Model) -> Option<Finish> {
        if !self.ignore_ends && (model.is_end(token) || self.stop.contains(&token)) {
            return Some(Finish::Stop);
        }
        tokens.push(token);
        if self.has_stop_text(tokens, model) {
            return Some(Finish::Stop);
        }
        (tokens.len() >= self.max_tokens).then_some(Finish::Length)
    }

    /// Whether one of the texts that end a rollout is in its last tokens.
    fn has_stop_text(&self, tokens: &[Token], model: &Model) -> bool {
        // Every token has a byte or more.
        let longest = self.stop_texts.iter().map(String::len).max().unwrap_or(0);
        let last = &tokens[tokens.len().saturating_sub(longest)..];
        longest > 0 && {
            let text = model.detokenize(last);
            self.stop_texts.iter().any(|stop| text.contains(&stop[..]))
        }
    }
}

/// A request for what a model computes in some prompts.
#[derive(Debug)]
pub(super) struct ProbeRequest {
    pub prompts: Vec<Prompt>,
    pub reading: Reading,
}

/// What a probe returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// The logits of these tokens at every marked position.
    Logits(Vec<Token>),
    /// The hidden state after the final norm at every marked position.
    Hidden,
    /// The log-probability of every token from position `from` on, which is at least 1.
    Continuation { from: usize },
}

impl Reading {
    /// Returns how many positions of `prompt` have to be decoded; those after them do not affect what is read.
    pub fn end(&self, prompt: &Prompt) -> usize {
        match self {
            Self::Logits(_) | Self::Hidden => prompt.marks().last().map_or(0, |last| last + 1),
            Self::Continuation { from } if prompt.len() > *from => prompt.len() - 1,
            Self::Continuation { .. } => 0,
        }
    }

    /// Returns whether something is read at `position`.
    pub fn is_at(&self, prompt: &Prompt, position: usize) -> bool {
        match self {
            Self::Logits(_) | Self::Hidden => prompt.is_mark(position),
            Self::Continuation { from } => position + 1 >= *from && position + 1 < prompt.len(),
        }
    }

    /// Returns whether hidden states are read, which llama.cpp returns for all rows of a batch or none.
    pub fn is_hidden(&self) -> bool {
        *self == Self::Hidden
    }

    /// Returns what is read at `position` from its row of the last batch.
    pub fn values(&self, prompt: &Prompt, position: usize, row: usize, context: &Context) -> Vec<f32> {
        match self {
            Self::Logits(read) => {
                let logits = context.logits(row);
                read.iter().map(|&token| logits[token as usize]).collect()
            }
            Self::Hidden => context.hidden(row).to_vec(),
            // An image has no log-probability.
            Self::Continuation { .. } => {
                let next = prompt.token(position + 1);
                vec![next.map_or(f32::NAN, |next| log_softmax(context.logits(row), next as usize))]
            }
        }
    }
}

/// The logarithm of the softmax of `logits` at `index`.
fn log_softmax(logits: &[f32], index: usize) -> f32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    (f64::from(logits[index] - highest) - total.ln()) as f32
}

/// Why a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// An end token was drawn.
    Stop,
    /// The rollout reached its maximum length or filled the context.
    Length,
}

/// A finished rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The tokens, without the end token.
    pub tokens: Vec<Token>,
    /// The log-probability of each token, and of the end token if one was drawn, under the model's
    /// own distribution (temperature 1, nothing cut off). Empty if the request did not ask for it.
    pub logprob: Vec<f32>,
    /// Why the rollout ended.
    pub finish: Finish,
}
