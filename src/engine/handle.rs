//! The handle of a running engine: starts its thread and sends it requests.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::exec::{Command, ExecutionMode, FIXED_BATCH, WIDTH, run};
use super::ffi::{Context, ContextOptions, is_cache_f32};
use super::memory::planning;
use super::request::{ProbeRequest, Reading};
use super::stats::{EngineStats, Stats};
use super::trained::TrainedContext;
use super::{Completion, EngineError, EngineOptions, Finish, GenerateRequest, Model, Prompt, PromptError, Token};

/// A model run by its own thread. Dropping it waits for the thread.
#[derive(Debug)]
pub struct Engine {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    stats: Arc<Stats>,
    model: Arc<Model>,
    parallel: u32,
    is_deterministic: bool,
    trained: TrainedContext,
}

/// The answer to a request for rollouts.
enum Answer {
    Known(Vec<Completion>),
    Awaited(mpsc::Receiver<Result<Vec<Completion>, EngineError>>),
}

/// Maximum cells of a context: more than any machine can use, few enough that no size in llama.cpp
/// overflows.
const MAX_CELLS: u32 = 1 << 24;

impl Engine {
    /// Allocates a context for `model` and starts its thread.
    ///
    /// # Errors
    /// [`EngineError::Context`] if there is not enough memory, [`EngineError::Limit`] for options
    /// outside their range.
    pub fn start(model: &Arc<Model>, options: EngineOptions) -> Result<Self, EngineError> {
        let width = planning::width(model, &options)?;
        let cells = options.context.unwrap_or_else(|| planning::cells(model, width.rollouts));
        if !(2..=MAX_CELLS).contains(&cells) {
            return Err(EngineError::out_of_range("context", cells.into(), 2, MAX_CELLS.into()));
        }
        // llama.cpp rounds up to whole 256s; knowing the true number keeps every limit exact.
        let cells = cells.next_multiple_of(256);
        let limits = planning::limits(model, width, cells as usize);
        let sequences = if options.deterministic { WIDTH as u32 + 1 } else { limits.sequences() };
        let context = Context::new(
            Arc::clone(model),
            ContextOptions {
                cells,
                batch: if options.deterministic { FIXED_BATCH as u32 } else { planning::BATCH }.min(cells),
                sequences,
                max_outputs: planning::outputs(sequences as usize, model.vocabulary_size()) as u32,
                threads: planning::threads(options.threads, model.file().file_size())?,
                adapts_threads: options.threads.is_none(),
                flash_attention: !options.deterministic && planning::fused_attention_pays(model),
                f32_cache: is_cache_f32(model.file()),
            },
        )?;
        let threads = context.options().threads;
        tracing::info!(
            "running {}: {threads} threads, {} rollouts in parallel, a cache of {cells} positions ({} MiB)",
            model.path().display(),
            width.rollouts,
            (model.cache_bytes_per_token() * u64::from(cells)) >> 20,
        );
        let stats = Arc::new(Stats::new(cells, threads));
        let (commands, receiver) = mpsc::channel();
        let shared = Arc::clone(&stats);
        let mode = ExecutionMode {
            deterministic: options.deterministic,
            probe_together: !options.deterministic && model.is_offloaded(),
        };
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || run(context, limits, mode, &receiver, &shared))
            .map_err(|error| EngineError::Thread(Arc::new(error)))?;
        let (commands, thread) = (Some(commands), Some(thread));
        let trained = TrainedContext::of(model.file());
        let (model, parallel, is_deterministic) = (Arc::clone(model), width.rollouts, options.deterministic);
        Ok(Self { commands, thread, stats, model, parallel, is_deterministic, trained })
    }

    /// Returns the number of rollouts decoded in parallel.
    pub fn parallel(&self) -> u32 {
        self.parallel
    }

    /// Returns whether requests run one by one ([`EngineOptions::deterministic`]).
    pub fn is_deterministic(&self) -> bool {
        self.is_deterministic
    }

    /// Returns the model that the engine runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Draws the request's rollouts, in the order of its streams. A model with dynamic scaling of
    /// positions draws tokens up to its trained context only.
    ///
    /// # Errors
    /// [`EngineError::Prompt`] for a prompt made for another model, [`EngineError::Limit`] for one
    /// longer than the context, [`EngineError::Cancelled`], or [`EngineError::Decode`].
    pub fn generate(&self, request: GenerateRequest) -> Result<Vec<Completion>, EngineError> {
        self.submit(request)?.wait()
    }

    /// As [`Engine::generate`] for several requests at once, in their order. Unless the engine is deterministic, they are decoded
    /// together.
    ///
    /// # Errors
    /// As [`Engine::generate`], for the first request that fails.
    pub fn generate_each(&self, requests: Vec<GenerateRequest>) -> Result<Vec<Vec<Completion>>, EngineError> {
        let answers = requests.into_iter().map(|request| self.submit(request)).collect::<Result<Vec<_>, _>>()?;
        answers.into_iter().map(Answer::wait).collect()
    }

    fn submit(&self, mut request: GenerateRequest) -> Result<Answer, EngineError> {
        self.check(&request.prompt)?;
        request.max_tokens = request.max_tokens.min(self.trained.room(request.prompt.rotary(request.prompt.len())));
        if request.streams.is_empty() || request.max_tokens == 0 {
            return Ok(Answer::Known(vec![
                Completion {
                    tokens: Vec::new(),
                    logprob: Vec::new(),
                    finish: Finish::Length
                };
                request.streams.len()
            ]));
        }
        let (reply, answer) = mpsc::channel();
        self.send(Command::Generate(request, reply))?;
        Ok(Answer::Awaited(answer))
    }

    /// Decodes each prompt and returns the logits of the tokens `read` at every position whose
    /// token is `at`, in order: `[prompts][positions][read]`. Each result depends on its own prompt
    /// only, except on a GPU without [`EngineOptions::deterministic`], where prompts are decoded
    /// together and rounding depends on batch composition.
    ///
    /// # Errors
    /// [`EngineError::Prompt`] for a prompt made for another model or an unknown token to read,
    /// [`EngineError::Limit`] for a prompt longer than the context, or [`EngineError::Decode`].
    pub fn probe(&self, prompts: Vec<Prompt>, at: Token, read: &[Token]) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        self.logits(prompts.into_iter().map(|prompt| prompt.marked_at(at)).collect(), read)
    }

    /// As [`Engine::probe`], at the positions that each prompt marks ([`Prompt::marked`]).
    ///
    /// # Errors
    /// As [`Engine::probe`].
    pub fn logits(&self, prompts: Vec<Prompt>, read: &[Token]) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        let vocabulary = self.model.vocabulary_size();
        if let Some(&token) = read.iter().find(|&&token| token < 0 || token as usize >= vocabulary) {
            return Err(PromptError::UnknownToken { token, vocabulary }.into());
        }
        self.read(prompts, Reading::Logits(read.to_vec()))
    }

    /// Decodes each prompt and returns the hidden state after the final norm at the positions that it marks
    /// ([`Prompt::marked`]): `[prompts][marks][width]`. Each result depends on its own prompt only, with the exception of
    /// [`Engine::probe`].
    ///
    /// # Errors
    /// As [`Engine::probe`].
    pub fn hidden(&self, prompts: Vec<Prompt>) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        self.read(prompts, Reading::Hidden)
    }

    /// Decodes each prompt and returns the log-probability of each of its tokens from position `from` on, under the model's own
    /// distribution (temperature 1): `[prompts][tokens]`. Each result depends on its own prompt only, with the exception of
    /// [`Engine::probe`].
    ///
    /// # Errors
    /// [`EngineError::Prompt`] for a prompt made for another model, [`EngineError::Limit`] for a prompt longer than the
    /// context, or [`EngineError::Decode`].
    ///
    /// # Panics
    /// If `from` is 0: nothing predicts the first token.
    pub fn logprobs(&self, prompts: Vec<Prompt>, from: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        assert!(from > 0, "nothing predicts the first token");
        let readings = self.read(prompts, Reading::Continuation { from })?;
        Ok(readings.into_iter().map(|rows| rows.into_iter().flatten().collect()).collect())
    }

    fn read(&self, prompts: Vec<Prompt>, reading: Reading) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        prompts.iter().try_for_each(|prompt| self.check(prompt))?;
        let (reply, answer) = mpsc::channel();
        self.send(Command::Probe(ProbeRequest { prompts, reading }, reply))?;
        answer.recv().map_err(|_| EngineError::Stopped)?
    }

    /// Clears all cached prefixes once running requests have finished: the next request decodes its
    /// whole prompt.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub fn forget(&self) -> Result<(), EngineError> {
        let (reply, answer) = mpsc::channel();
        self.send(Command::Forget(reply))?;
        answer.recv().map_err(|_| EngineError::Stopped)
    }

    /// Refuses a prompt that llama.cpp would refuse or compute differently, so that it cannot fail
    /// requests decoded beside it, and counts one beyond the trained context.
    fn check(&self, prompt: &Prompt) -> Result<(), EngineError> {
        prompt.check(self.model.vocabulary_size(), self.model.embedding_width(), self.model.has_sections())?;
        if !self.trained.admit(prompt.rotary(prompt.len()))? {
            self.stats.beyond_trained();
        }
        Ok(())
    }

    fn send(&self, command: Command) -> Result<(), EngineError> {
        let commands = self.commands.as_ref().ok_or(EngineError::Stopped)?;
        commands.send(command).map_err(|_| EngineError::Stopped)
    }

    /// Returns a snapshot of the counters.
    pub fn stats(&self) -> EngineStats {
        self.stats.snapshot()
    }
}

impl Answer {
    fn wait(self) -> Result<Vec<Completion>, EngineError> {
        match self {
            Self::Known(completions) => Ok(completions),
            Self::Awaited(answer) => answer.recv().map_err(|_| EngineError::Stopped)?,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.commands.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
