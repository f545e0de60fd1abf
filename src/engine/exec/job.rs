//! The state of a request in the batched executor: its prompt, its rollouts, and their rows in a
//! batch. When they run is left to `admission`.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use crate::engine::sampling::Sampler;
use crate::engine::{Completion, EngineError, Finish, GenerateRequest, Token};

/// The channel to a request's caller.
pub(in crate::engine) type Reply = Sender<Result<Vec<Completion>, EngineError>>;

/// A queued or admitted request.
#[derive(Debug)]
pub(super) struct Job {
    pub id: u64,
    pub request: GenerateRequest,
    pub reply: Reply,
    /// The sequence that holds the prompt; valid while the request is admitted.
    pub sequence: i32,
    /// Cells that the prompt was estimated to need on admission, beyond those of other requests.
    pub reserved: usize,
    /// Whether prefill has begun; until then the prompt waits for another with the same prefix.
    pub begun: bool,
    /// Prompt positions that are decoded.
    pub position: usize,
    /// Those of them that are in the cache for other requests: not a part of an image that is cached
    /// whole or not at all.
    pub held: usize,
    /// Logits at the end of the prompt, after prefill.
    pub first: Option<Vec<f32>>,
    pub started: usize,
    /// Preempted rollouts, oldest first.
    pub paused: VecDeque<Rollout>,
    pub completions: Vec<Option<Completion>>,
    pub unfinished: usize,
}

/// A running or paused rollout.
#[derive(Debug)]
pub(super) struct Rollout {
    pub job: u64,
    pub index: usize,
    /// Rotary positions of its prompt.
    pub prompt: usize,
    pub sequence: i32,
    pub tokens: Vec<Token>,
    /// Tokens that are in the cache.
    pub fed: usize,
    pub sampler: Sampler,
}

impl Rollout {
    pub fn into_completion(self, finish: Finish) -> Completion {
        Completion { tokens: self.tokens, logprob: self.sampler.into_logprob(), finish }
    }
}

/// What the rows of a batch belong to.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Rows to sample from, each with the index of a running rollout.
    pub rollouts: Vec<(usize, usize)>,
    /// Indices of running rollouts, each with the number of its tokens in the batch.
    pub fed: Vec<(usize, usize)>,
    /// Indices of admitted requests, each with the number of its positions in the batch and the row
    /// of the prompt's last position, if the batch reaches it.
    pub prompts: Vec<(usize, usize, Option<usize>)>,
}

impl Job {
    pub fn new(id: u64, request: GenerateRequest, reply: Reply) -> Self {
        let count = request.streams.len();
        Self {
            id,
            request,
            reply,
            sequence: -1,
            reserved: 0,
            begun: false,
            position: 0,
            held: 0,
            first: None,
            started: 0,
            paused: VecDeque::new(),
            completions: vec![None; count],
            unfinished: count,
        }
    }

    /// Returns the number of rollouts that neither run nor have finished.
    pub fn waiting(&self) -> usize {
        self.request.streams.len() - self.started + self.paused.len()
    }

    /// Returns whether the prompt is being prefilled.
    pub fn is_prefilling(&self) -> bool {
        self.begun && self.first.is_none()
    }

    /// Returns the cells that the prompt still needs.
    pub fn missing(&self) -> usize {
        match (self.begun, &self.first) {
            (false, _) => self.reserved,
            (true, None) => self.request.prompt.len() - self.position,
            (true, Some(_)) => 0,
        }
    }

    /// Returns whether the prompt is prefilled and a rollout waits.
    pub fn can_start(&self) -> bool {
        self.first.is_some() && self.waiting() > 0
    }

    /// Starts the next rollout in `sequence`.
    pub fn next_rollout(&mut self, sequence: i32) -> Rollout {
        let index = self.started;
        self.started += 1;
        let prompt = &self.request.prompt;
        let sampler = self.request.sampler(index);
        Rollout {
            job: self.id,
            index,
            prompt: prompt.rotary(prompt.len()),
            sequence,
            tokens: Vec::new(),
            fed: 0,
            sampler,
        }
    }

    /// Answers the caller if the request was cancelled; returns whether it was.
    pub fn answer_if_cancelled(&self) -> bool {
        match self.request.check_cancelled() {
            Ok(()) => false,
            Err(error) => {
                let _ = self.reply.send(Err(error));
                true
            }
        }
    }
}
