//! A policy that runs on this machine, on llama.cpp.

use super::chat;
use super::{
    Detail, GenerationOptions, PolicyError, RolloutModel, RolloutRequest, SampledRollout, StepLogprob, StepTokens,
    logprob, step_tokens,
};
use crate::compat::text::strip;
use crate::data::solution::{self, Continue};
use crate::engine::{Completion, Engine, EngineError, EngineStats, GenerateRequest, Prompt, Stream, Token};
use crate::image;
use crate::prompt::{ChatTemplate, Images};
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// A language model, its vision encoder and the engine that runs them, as a [`RolloutModel`].
#[derive(Debug)]
pub struct LocalPolicy {
    engine: Engine,
    encoder: PromptEncoder,
    options: GenerationOptions,
    template: ChatTemplate,
    /// Whether the model was trained to write step tags; without them its paragraphs are steps.
    writes_tags: bool,
    keep_prompts: bool,
    special_texts: Vec<String>,
}

impl LocalPolicy {
    /// Wraps a running engine and the encoder of the same model.
    ///
    /// # Errors
    /// [`EngineError::Load`] if no template is given and that of the model is unknown.
    pub fn new(engine: Engine, encoder: PromptEncoder, options: GenerationOptions) -> Result<Self, EngineError> {
        let model = encoder.model();
        let template = options.template.clone().map_or_else(|| chat::template_of(model), Ok)?;
        let (special_texts, writes_tags) = (model.special_texts(), chat::is_internvl(model));
        Ok(Self { engine, encoder, options, template, writes_tags, keep_prompts: false, special_texts })
    }

    /// Sets whether prompts stay in the engine's cache for later requests with the same beginning,
    /// as a search makes them. Off by default.
    #[must_use]
    pub fn keep_prompts(mut self, keep: bool) -> Self {
        self.keep_prompts = keep;
        self
    }

    /// Number of rollouts that the engine decodes in parallel.
    pub fn parallel(&self) -> usize {
        self.engine.parallel() as usize
    }

    /// The engine's counters.
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Clears the engine's cache of prompts, so that later requests are computed from scratch.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub fn forget(&self) -> Result<(), EngineError> {
        self.engine.forget()
    }

    /// Builds the prompt of a request.
    fn prompt(&self, request: &RolloutRequest<'_>) -> Result<Prompt, PolicyError> {
        let &RolloutRequest { problem, prefix, .. } = request;
        let resolve = |path: &String| image::resolve(&self.options.data_root, path).map_err(EncodeError::from);
        let images = problem.images.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let (in_user_message, in_assistant_message) = match self.options.continues {
            Continue::User => (prefix, Vec::new()),
            Continue::Assistant => (&[][..], self.prefix_tokens(request)?),
        };
        let pieces = self.template.rollout(&problem.question, in_user_message, images.len(), Images::All);
        Ok(self.encoder.prompt_then(&pieces, &images, &in_assistant_message)?)
    }

    /// The model's own tokens for the steps of a request; the tokens of their text where unknown.
    fn prefix_tokens(&self, request: &RolloutRequest<'_>) -> Result<Vec<Token>, PolicyError> {
        if let Some(tokens) = step_tokens::tokens(request.step_tokens, request.prefix.len()) {
            Ok(tokens)
        } else {
            let mut run = self.encoder.run();
            for step in request.prefix {
                if !self.writes_tags {
                    run.plain(strip(step));
                    run.template("\n\n");
                    continue;
                }
                run.template("<step>");
                run.plain(strip(step));
                run.template("</step>");
            }
            Ok(self.encoder.model().tokenize_run(&run, false).map_err(EncodeError::from)?)
        }
    }

    fn complete(&self, request: &RolloutRequest<'_>) -> Result<Vec<Completion>, PolicyError> {
        let prompt = self.prompt(request)?;
        let stream = |index| Stream::named(self.options.seed, &request.problem.id, request.node, index);
        let mut generate = GenerateRequest::new(
            prompt,
            self.options.sampling,
            (request.first..request.first + request.count).map(|index| stream(index as u64)).collect(),
            self.options.max_tokens,
        );
        generate.keep = self.keep_prompts;
        // Prompts of deeper states then begin with these rollouts' own tokens.
        generate.keep_rollouts = self.keep_prompts && self.options.continues == Continue::Assistant;
        generate.logprob = request.detail == Detail::Logprobs;
        if request.one_step {
            generate.stop_texts = solution::ENDS.map(str::to_owned).into();
        }
        let run = &self.options.cancel;
        generate.cancel = request.speculation.map_or_else(|| run.clone(), |one| run.or(one.token()));
        Ok(self.engine.generate(generate).map_err(EncodeError::from)?)
    }

    fn sampled(&self, completion: &Completion, request: &RolloutRequest<'_>) -> SampledRollout {
        let detail = request.detail;
        let text = self.encoder.model().detokenize(&completion.tokens);
        let rollout = if self.writes_tags {
            solution::parse(&text, &self.special_texts)
        } else {
            solution::parse_untagged(&text, &self.special_texts)
        };
        let unfinished = request.one_step && solution::is_unfinished(&text);
        let step_tokens = match (detail, self.options.continues) {
            (Detail::Tokens, Continue::Assistant) => self.step_tokens(completion, &rollout),
            _ => None,
        };
        let logprobs = if detail == Detail::Logprobs { self.logprobs(completion, &rollout) } else { None };
        SampledRollout { rollout, unfinished, step_tokens, logprobs }
    }

    fn step_tokens(&self, completion: &Completion, rollout: &[String]) -> Option<Vec<StepTokens>> {
        let piece = |token| self.encoder.model().detokenize(&[token]);
        step_tokens::from_tokens(&completion.tokens, piece, &self.special_texts, rollout)
    }

    fn logprobs(&self, completion: &Completion, rollout: &[String]) -> Option<Vec<StepLogprob>> {
        let model = self.encoder.model();
        let pieces = completion.tokens.iter().map(|&token| model.detokenize(&[token]));
        let logprobs = completion.logprob.iter().map(|&logprob| f64::from(logprob));
        logprob::of_steps(pieces.zip(logprobs), &self.special_texts, rollout)
    }
}

impl RolloutModel for LocalPolicy {
    fn continues(&self) -> Continue {
        self.options.continues
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let completions = self.complete(request)?;
        Ok(completions.iter().map(|completion| self.sampled(completion, request)).collect())
    }
}

impl From<EncodeError> for PolicyError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Engine(EngineError::Cancelled) => Self::Cancelled,
            EncodeError::Engine(error @ EngineError::Limit(_)) => Self::problem(error),
            EncodeError::Engine(error) => Self::model(error),
            EncodeError::Vision(error) => Self::model(error),
            error => Self::problem(error),
        }
    }
}
