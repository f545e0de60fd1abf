//! What the continuous-batching executor keeps of a request: the request itself, its rollouts, and which rows of a batch are
//! theirs. When they run is `batching`'s business.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use super::sampling::Sampler;
use super::{Completion, EngineError, Finish, GenerateRequest, Token};

/// What a request's caller waits for.
pub(super) type Reply = Sender<Result<Vec<Completion>, EngineError>>;

/// A request on its way through.
#[derive(Debug)]
pub(super) struct Job {
    pub id: u64,
    pub request: GenerateRequest,
    pub reply: Reply,
    /// The sequence that holds the prompt, while the request is admitted.
    pub sequence: i32,
    /// Cells that its prompt was thought to need when it was admitted, beyond those of other requests.
    pub reserved: usize,
    /// Whether its prompt is on its way in, or in; until then it waits for another that starts alike.
    pub begun: bool,
    /// Prompt positions in the cache.
    pub position: usize,
    /// Logits at the end of the prompt, once it is in.
    pub first: Option<Vec<f32>>,
    pub started: usize,
    /// Rollouts that gave way to others, oldest first.
    pub paused: VecDeque<Rollout>,
    pub completions: Vec<Option<Completion>>,
    pub unfinished: usize,
}

/// One rollout of a request.
#[derive(Debug)]
pub(super) struct Rollout {
    pub job: u64,
    pub index: usize,
    /// Positions of the prompt.
    pub prompt: usize,
    pub sequence: i32,
    pub tokens: Vec<Token>,
    /// Tokens already in the cache.
    pub fed: usize,
    pub sampler: Sampler,
}

impl Rollout {
    pub fn into_completion(self, finish: Finish) -> Completion {
        Completion { tokens: self.tokens, logprob: self.sampler.into_logprob(), finish }
    }
}

/// Rows of a batch that lead to a draw.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Row and index into the running rollouts.
    pub rollouts: Vec<(usize, usize)>,
    /// Index into the running rollouts and tokens fed.
    pub fed: Vec<(usize, usize)>,
    /// Index into the admitted requests, positions decoded, and the row of the prompt's end if it is reached.
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
            first: None,
            started: 0,
            paused: VecDeque::new(),
            completions: vec![None; count],
            unfinished: count,
        }
    }

    /// Rollouts that neither run nor are finished.
    pub fn waiting(&self) -> usize {
        self.request.streams.len() - self.started + self.paused.len()
    }

    /// Whether its prompt is on its way in.
    pub fn is_entering(&self) -> bool {
        self.begun && self.first.is_none()
    }

    /// Cells that its prompt still needs.
    pub fn missing(&self) -> usize {
        match (self.begun, &self.first) {
            (false, _) => self.reserved,
            (true, None) => self.request.prompt.len() - self.position,
            (true, Some(_)) => 0,
        }
    }

    /// Whether its prompt is in and a rollout of it waits.
    pub fn can_start(&self) -> bool {
        self.first.is_some() && self.waiting() > 0
    }

    /// The next rollout of those not yet started, to run in `sequence`.
    pub fn next_rollout(&mut self, sequence: i32) -> Rollout {
        let index = self.started;
        self.started += 1;
        let prompt = &self.request.prompt;
        let sampler = self.request.sampler(index);
        Rollout { job: self.id, index, prompt: prompt.len(), sequence, tokens: Vec::new(), fed: 0, sampler }
    }

    /// Answers a cancelled request; true if it was.
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
