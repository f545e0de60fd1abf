//! Starting an engine, and what its callers may ask of it.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::ffi::{self, Context, ContextOptions, Device};
use super::scheduler::{self, Command, Mode, ProbeRequest};
use super::serial::{self, Reading};
use super::stats::{Snapshot, Stats};
use super::{
    Completion, EngineError, EngineOptions, FIXED_BATCH, Finish, GenerateRequest, Model, Prompt, Token, planning,
};

/// A model being run by its own thread. Dropping it waits for the thread.
#[derive(Debug)]
pub struct Engine {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    stats: Arc<Stats>,
    model: Arc<Model>,
    parallel: u32,
}

/// Most tokens in one decoded batch.
pub const BATCH: u32 = 512;
/// Most cells a context may have: more than any machine can use, few enough that no size in llama.cpp overflows.
const MOST_CELLS: u32 = 1 << 24;
/// Most rollouts side by side: half of llama.cpp's sequence ids.
const MOST_PARALLEL: u32 = 128;

impl Engine {
    /// Makes a context for `model` and starts its thread.
    ///
    /// # Errors
    /// [`EngineError::Load`] if there is no memory for the context, [`EngineError::Limit`] for impossible options.
    pub fn start(model: &Arc<Model>, options: EngineOptions) -> Result<Self, EngineError> {
        let parallel = options.parallel.unwrap_or_else(|| planning::parallel(model));
        if parallel == 0 || parallel > MOST_PARALLEL {
            return Err(EngineError::Limit(format!("--parallel {parallel}: expected 1 to {MOST_PARALLEL}")));
        }
        let cells = options.context.unwrap_or_else(|| planning::cells(model, parallel));
        if !(2..=MOST_CELLS).contains(&cells) {
            return Err(EngineError::Limit(format!("--context {cells}: expected 2 to {MOST_CELLS}")));
        }
        // llama.cpp makes whole 256s of cells; knowing the true number keeps every limit exact.
        let cells = cells.next_multiple_of(256);
        let limits = planning::limits(model, parallel as usize, cells as usize);
        let sequences = if options.deterministic { serial::WIDTH as u32 + 1 } else { limits.sequences() };
        let context = Context::new(
            Arc::clone(model),
            ContextOptions {
                cells,
                batch: if options.deterministic { FIXED_BATCH as u32 } else { BATCH }.min(cells),
                sequences,
                threads: planning::threads(options.threads, model.file().file_size())?,
                gives_way: options.threads.is_none(),
                flash_attention: !options.deterministic && planning::fused_attention_pays(model),
                wide_cache: model.file().get_u32("general.file_type").is_ok_and(|kind| kind == 0),
            },
        )?;
        let stats = Arc::new(Stats::new(cells, context.options().threads));
        let (commands, receiver) = mpsc::channel();
        let shared = Arc::clone(&stats);
        let mode = Mode {
            deterministic: options.deterministic,
            probe_together: !options.deterministic && model.is_offloaded(),
        };
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || scheduler::run(context, limits, mode, &receiver, &shared))
            .map_err(|error| EngineError::Backend(error.to_string()))?;
        Ok(Self { commands: Some(commands), thread: Some(thread), stats, model: Arc::clone(model), parallel })
    }

    /// Rollouts decoded side by side.
    pub fn parallel(&self) -> u32 {
        self.parallel
    }

    /// The model it runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Draws the request's rollouts, in the order of its streams.
    ///
    /// # Errors
    /// [`EngineError::Prompt`] for a prompt made for another model, [`EngineError::Limit`] for one longer than the context,
    /// [`EngineError::Cancelled`], or what llama.cpp said.
    pub fn generate(&self, request: GenerateRequest) -> Result<Vec<Completion>, EngineError> {
        self.check(&request.prompt)?;
        if request.streams.is_empty() || request.max_tokens == 0 {
            return Ok(vec![
                Completion { tokens: Vec::new(), logprob: Vec::new(), finish: Finish::Length };
                request.streams.len()
            ]);
        }
        let (reply, answer) = mpsc::channel();
        self.send(Command::Generate(request, reply))?;
        answer.recv().map_err(|_| EngineError::Stopped)?
    }

    /// Runs each prompt and returns, per prompt, the logits of `read` at every position whose token is `at`, in order:
    /// `[prompts][positions][read]`. An answer depends on its own prompt only, but on a GPU without
    /// [`EngineOptions::deterministic`], where prompts are read together and rounding depends on the company.
    ///
    /// # Errors
    /// [`EngineError::Prompt`] for a prompt made for another model or an unknown token to read, [`EngineError::Limit`] for a
    /// prompt longer than the context, or what llama.cpp said.
    pub fn probe(&self, prompts: Vec<Prompt>, at: Token, read: &[Token]) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        prompts.iter().try_for_each(|prompt| self.check(prompt))?;
        let vocabulary = self.model.vocabulary_size();
        if let Some(token) = read.iter().find(|&&token| token < 0 || token as usize >= vocabulary) {
            return Err(EngineError::Prompt(format!("token {token} to read of a vocabulary of {vocabulary}")));
        }
        let (reply, answer) = mpsc::channel();
        let reading = Reading { at, read: read.to_vec() };
        self.send(Command::Probe(ProbeRequest { prompts, reading }, reply))?;
        answer.recv().map_err(|_| EngineError::Stopped)?
    }

    /// Forgets all cached prefixes once what runs is done: the next request computes its whole prompt.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub fn forget(&self) -> Result<(), EngineError> {
        let (reply, answer) = mpsc::channel();
        self.send(Command::Forget(reply))?;
        answer.recv().map_err(|_| EngineError::Stopped)
    }

    /// A prompt that llama.cpp would refuse must not fail what is decoded beside it.
    fn check(&self, prompt: &Prompt) -> Result<(), EngineError> {
        prompt.check(self.model.vocabulary_size(), self.model.embedding_width())
    }

    fn send(&self, command: Command) -> Result<(), EngineError> {
        let commands = self.commands.as_ref().ok_or(EngineError::Stopped)?;
        commands.send(command).map_err(|_| EngineError::Stopped)
    }

    /// What it has done so far.
    pub fn stats(&self) -> Snapshot {
        self.stats.snapshot()
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

/// The GPUs that this build can use on this machine; empty without one.
pub fn gpu_devices() -> Vec<Device> {
    ffi::gpu_devices()
}
