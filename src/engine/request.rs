//! What callers ask of the engine and what they get back.

use super::prompt::Prompt;
use super::sampling::{Sampler, Sampling, Stream};
use super::{EngineError, Model, Token};
use crate::util::cancel::CancelToken;

/// How to run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineOptions {
    /// Cache cells: positions of all prompts and rollouts together, rounded up to whole 256s; `None` takes 16384 and 1024 a
    /// rollout side by side, or what of that fits 2 GiB of memory, within 4096 to 65536.
    pub context: Option<u32>,
    /// Rollouts decoded side by side, at most 128; `None` takes 16, and 64 where the whole model is on a GPU.
    pub parallel: Option<u32>,
    /// Compute threads; `None` takes one a core, fewer while other programs use the cores, and a single one for a model so small
    /// that threads would mostly wait for each other.
    pub threads: Option<u32>,
    /// Results do not depend on threads, width, or what else runs: requests run one by one on a fixed schedule, without
    /// fused attention. Probing runs that way on any processor; on a GPU only where this asks for it.
    pub deterministic: bool,
}

/// A request for rollouts of one prompt.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "what a caller wants kept are switches of their own")]
pub struct GenerateRequest {
    /// What the model reads.
    pub prompt: Prompt,
    /// How to draw.
    pub sampling: Sampling,
    /// One random stream a rollout: as many rollouts as streams.
    pub streams: Vec<Stream>,
    /// Most tokens a rollout may have.
    pub max_tokens: usize,
    /// Tokens that end a rollout, besides those that the vocabulary marks as ends.
    pub stop: Vec<Token>,
    /// Keep the prompt in the cache afterwards, for requests that start alike.
    pub keep: bool,
    /// Keep the rollouts' own tokens too, for requests that continue one of them.
    pub keep_rollouts: bool,
    /// Keep the logprob of what is drawn; costs a pass over the vocabulary for each token.
    pub logprob: bool,
    /// Go on after end tokens, which are then kept, to `max_tokens`: to measure work of a known size.
    pub ignore_ends: bool,
    /// When this is cancelled the request ends with [`EngineError::Cancelled`].
    pub cancel: CancelToken,
}

impl GenerateRequest {
    /// A request without extra stop tokens and logprobs, that keeps its prompt alone and cannot be cancelled.
    pub fn new(prompt: Prompt, sampling: Sampling, streams: Vec<Stream>, max_tokens: usize) -> Self {
        Self {
            prompt,
            sampling,
            streams,
            max_tokens,
            stop: Vec::new(),
            keep: true,
            keep_rollouts: false,
            logprob: false,
            ignore_ends: false,
            cancel: CancelToken::new(),
        }
    }

    /// The sampler of one of its rollouts.
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

    /// Adds a drawn token to a rollout, or tells why the rollout ends. End tokens are not kept.
    pub(super) fn accept(&self, token: Token, tokens: &mut Vec<Token>, model: &Model) -> Option<Finish> {
        if !self.ignore_ends && (model.is_end(token) || self.stop.contains(&token)) {
            return Some(Finish::Stop);
        }
        tokens.push(token);
        (tokens.len() >= self.max_tokens).then_some(Finish::Length)
    }
}

/// Why a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// An end token was drawn.
    Stop,
    /// It reached the most tokens allowed, or filled the context.
    Length,
}

/// A finished rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Its tokens, the end token left out.
    pub tokens: Vec<Token>,
    /// The log-probability of each token, and of the end token if that was drawn, under the model's own distribution
    /// (temperature 1, nothing cut off); empty where the request did not ask for it.
    pub logprob: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}
