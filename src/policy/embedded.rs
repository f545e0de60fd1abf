//! A policy that runs here, on llama.cpp.

use std::path::PathBuf;

use super::{Drawn, PolicyError, RolloutModel, RolloutRequest, StepLogprob, StepTokens, Traced, logprob, step_tokens};
use crate::data::solution::{self, Continue, Rollout};
use crate::engine::{Completion, Engine, EngineError, EngineStats, GenerateRequest, Prompt, Sampling, Stream, Token};
use crate::image;
use crate::prompt::{self, ChatTemplate, Images};
use crate::util::cancel::CancelToken;
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// How an [`LocalPolicy`] draws.
#[derive(Debug, Clone)]
pub struct PolicyOptions {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens in a rollout.
    pub max_tokens: usize,
    /// Names the random streams of the run.
    pub seed: u64,
    /// Folder that image paths are relative to, and confined to.
    pub data_root: PathBuf,
    /// How a conversation is written for the model.
    pub template: ChatTemplate,
    /// Where the steps before a rollout stand.
    pub continues: Continue,
    /// Keep prompts in the cache for requests that start alike, as a search makes them.
    pub keep_prompts: bool,
    /// When this turns true, rollouts end with [`PolicyError::Cancelled`].
    pub cancel: CancelToken,
}

/// A model, its vision tower and the engine that runs it, as a [`RolloutModel`].
#[derive(Debug)]
pub struct LocalPolicy {
    engine: Engine,
    encoder: PromptEncoder,
    options: PolicyOptions,
    special_texts: Vec<String>,
}

impl LocalPolicy {
    /// A policy over a running engine.
    pub fn new(engine: Engine, encoder: PromptEncoder, options: PolicyOptions) -> Self {
        let special_texts = encoder.model().special_texts();
        Self { engine, encoder, options, special_texts }
    }

    /// Rollouts that its engine decodes side by side.
    pub fn parallel(&self) -> usize {
        self.engine.parallel() as usize
    }

    /// What its engine has done so far.
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Forgets what it keeps of earlier prompts, so that what follows is computed as if for the first time.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub fn forget(&self) -> Result<(), EngineError> {
        self.engine.forget()
    }

    /// The prompt of a request.
    ///
    /// # Errors
    /// [`PolicyError::Problem`] for an image or text that cannot be read.
    fn prompt(&self, request: &RolloutRequest<'_>) -> Result<Prompt, PolicyError> {
        let &RolloutRequest { problem, prefix, .. } = request;
        let resolve = |path: &String| image::resolve(&self.options.data_root, path).map_err(EncodeError::from);
        let images = problem.images.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let (asked, begun) = match self.options.continues {
            Continue::User => (prefix, Vec::new()),
            Continue::Assistant => (&[][..], self.begun(request)?),
        };
        let pieces = self.options.template.rollout(&problem.question, asked, images.len(), Images::All);
        Ok(self.encoder.prompt_then(&pieces, &images, &begun)?)
    }

    /// The model's own tokens for the steps of a request, or those of their text where they are not known.
    fn begun(&self, request: &RolloutRequest<'_>) -> Result<Vec<Token>, PolicyError> {
        if let Some(tokens) = step_tokens::tokens(request.written, request.prefix.len()) {
            Ok(tokens)
        } else {
            let text = prompt::begun(request.prefix);
            Ok(self.encoder.model().tokenize(&text, false).map_err(EncodeError::from)?)
        }
    }
}

impl LocalPolicy {
    fn complete(&self, request: &RolloutRequest<'_>, logprob: bool) -> Result<Vec<Completion>, PolicyError> {
        let prompt = self.prompt(request)?;
        let stream = |index| Stream::named(self.options.seed, &request.problem.id, request.node, index);
        let mut generate = GenerateRequest::new(
            prompt,
            self.options.sampling,
            (request.first..request.first + request.count).map(|index| stream(index as u64)).collect(),
            self.options.max_tokens,
        );
        generate.keep = self.options.keep_prompts;
        // Prompts of states further down then begin with these rollouts' own tokens.
        generate.keep_rollouts = self.options.keep_prompts && self.options.continues == Continue::Assistant;
        generate.logprob = logprob;
        let run = &self.options.cancel;
        generate.cancel = request.guess.map_or_else(|| run.clone(), |guess| run.or(guess.dropped()));
        Ok(self.engine.generate(generate).map_err(EncodeError::from)?)
    }

    fn parse(&self, completion: &Completion) -> Rollout {
        solution::parse(&self.encoder.model().detokenize(&completion.tokens), &self.special_texts)
    }

    fn written(&self, completion: &Completion, rollout: &[String]) -> Vec<StepTokens> {
        let piece = |token| self.encoder.model().detokenize(&[token]);
        step_tokens::in_tokens(&completion.tokens, piece, &self.special_texts, rollout)
    }

    fn logprob(&self, completion: &Completion, rollout: &[String]) -> Vec<StepLogprob> {
        let model = self.encoder.model();
        let pieces = completion.tokens.iter().map(|&token| model.detokenize(&[token]));
        let logarithms = completion.logprob.iter().map(|&logarithm| f64::from(logarithm));
        logprob::of_elements(pieces.zip(logarithms), &self.special_texts, rollout)
    }
}

impl RolloutModel for LocalPolicy {
    fn continues(&self) -> Continue {
        self.options.continues
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError> {
        Ok(self.complete(request, false)?.iter().map(|completion| self.parse(completion)).collect())
    }

    fn traced(&self, request: &RolloutRequest<'_>) -> Result<Vec<Traced>, PolicyError> {
        let traced = |completion: &Completion| {
            let rollout = self.parse(completion);
            let written = match self.options.continues {
                Continue::User => Vec::new(),
                Continue::Assistant => self.written(completion, &rollout),
            };
            Traced { rollout, written }
        };
        Ok(self.complete(request, false)?.iter().map(traced).collect())
    }

    fn drawn(&self, request: &RolloutRequest<'_>) -> Result<Vec<Drawn>, PolicyError> {
        let completions = self.complete(request, true)?;
        let drawn = |completion: &Completion| {
            let rollout = self.parse(completion);
            let logprob = self.logprob(completion, &rollout);
            Drawn { rollout, logprob }
        };
        Ok(completions.iter().map(drawn).collect())
    }
}

impl From<EncodeError> for PolicyError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Engine(EngineError::Cancelled) => Self::Cancelled,
            EncodeError::Engine(error @ EngineError::Limit(_)) => Self::Problem(error.to_string()),
            EncodeError::Engine(error) => Self::Engine(error.to_string()),
            EncodeError::Vision(error) => Self::Engine(error.to_string()),
            problem => Self::Problem(problem.to_string()),
        }
    }
}
