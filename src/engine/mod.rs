//! The inference engine: llama.cpp driven by one thread, for many callers.
//!
//! Knows prompts, tokens and sequences; knows no problem, step or search. A caller blocks in [`Engine::generate`] (n
//! rollouts of one prompt) or [`Engine::probe`] (logits of a few tokens at marked positions); requests of different callers
//! are decoded together, or one by one where their results must not depend on each other.
//!
//! ```no_run
//! use mmprm::engine::{Chunk, Engine, EngineOptions, GenerateRequest, Model, ModelOptions, Prompt, Sampling, Stream};
//! # fn main() -> Result<(), mmprm::engine::EngineError> {
//! let model = Model::load("policy.gguf".as_ref(), ModelOptions::default())?;
//! let engine = Engine::start(&model, EngineOptions::default())?;
//! let prompt = Prompt::new([Chunk::Tokens(model.tokenize("1 + 1 =", true)?)])?;
//! let request = GenerateRequest::new(prompt, Sampling::GREEDY, vec![Stream::named(0, "sum", 0, 0)], 8);
//! println!("{}", model.detokenize(&engine.generate(request)?[0].tokens));
//! # Ok(()) }
//! ```

mod admission;
mod batching;
mod cache;
mod chain;
mod crew;
pub(crate) mod ffi;
mod job;
mod planning;
mod prompt;
mod radix;
mod sampling;
mod schedule;
mod scheduler;
mod select;
mod stats;
#[cfg(test)]
mod testing;
mod trie;

pub use chain::WIDTH;
pub use ffi::{Device, Model, ModelOptions, Vision};
pub use planning::sequence_ids;
pub use prompt::{Chunk, Embeddings, Prompt};
pub use sampling::{Sampler, Sampling, Scratch, Stream, draw_all};
pub use schedule::FIXED_BATCH;
pub use stats::Snapshot;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use mmprm_quant::gguf::GgufError;

use chain::Reading;
use ffi::{Context, ContextOptions};
use scheduler::{Command, Mode, ProbeRequest};
use stats::Stats;

/// A token of a model's vocabulary.
pub type Token = i32;

/// What can go wrong in the engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// llama.cpp itself could not start.
    #[error("llama.cpp could not start: {0}")]
    Backend(String),
    /// A GGUF file is missing or not sound.
    #[error(transparent)]
    Gguf(Arc<GgufError>),
    /// A sound file that cannot be used.
    #[error("cannot load {}: {cause}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Text that cannot be tokenised.
    #[error("cannot tokenise: {0}")]
    Tokenize(String),
    /// A prompt that cannot be run.
    #[error("cannot run the prompt: {0}")]
    Prompt(String),
    /// A limit of the context or of llama.cpp was reached.
    #[error("{0}")]
    Limit(String),
    /// An image could not be encoded.
    #[error("{} could not encode an image: {cause}", path.display())]
    Vision {
        /// The mmproj file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// llama.cpp failed to decode a batch.
    #[error("llama.cpp failed to decode: {0}")]
    Decode(String),
    /// The request was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The engine's thread is gone.
    #[error("the engine has stopped")]
    Stopped,
}

impl EngineError {
    fn too_long(prompt: &Prompt, cells: usize) -> Self {
        let positions = prompt.len();
        Self::Limit(format!("the prompt takes {positions} positions but the context has {cells}; raise --context"))
    }
}

impl From<GgufError> for EngineError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(Arc::new(error))
    }
}

/// How to run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineOptions {
    /// Cache cells: positions of all prompts and rollouts together, rounded up to whole 256s; `None` takes 16384 and 1024 a
    /// rollout side by side, or what of that fits 2 GiB of memory, within 4096 to 65536.
    pub context: Option<u32>,
    /// Rollouts decoded side by side, at most 128; `None` takes 16, and 64 where the whole model is on a graphics device.
    pub parallel: Option<u32>,
    /// Compute threads; `None` takes one a core, fewer while other programs use the cores, and a single one for a model so small
    /// that threads would mostly wait for each other.
    pub threads: Option<u32>,
    /// Results do not depend on threads, width, or what else runs: requests run one by one on a fixed schedule, without
    /// fused attention. Probing runs that way on any processor; on a graphics device only where this asks for it.
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
    /// Keep the likelihood of what is drawn; costs a pass over the vocabulary for each token.
    pub likelihood: bool,
    /// Go on after end tokens, which are then kept, to `max_tokens`: to measure work of a known size.
    pub ignore_ends: bool,
    /// When this turns true the request ends with [`EngineError::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
    /// Another such flag, where a run and one of its requests have their own.
    pub also_cancel: Option<Arc<AtomicBool>>,
}

impl GenerateRequest {
    /// A request without extra stop tokens and likelihoods, that keeps its prompt alone and cannot be cancelled.
    pub fn new(prompt: Prompt, sampling: Sampling, streams: Vec<Stream>, max_tokens: usize) -> Self {
        Self {
            prompt,
            sampling,
            streams,
            max_tokens,
            stop: Vec::new(),
            keep: true,
            keep_rollouts: false,
            likelihood: false,
            ignore_ends: false,
            cancel: None,
            also_cancel: None,
        }
    }

    /// The sampler of one of its rollouts.
    fn sampler(&self, index: usize) -> Sampler {
        let mut sampler = Sampler::new(self.sampling, self.streams[index], self.prompt.text_tokens());
        if self.likelihood {
            sampler.keep_likelihood();
        }
        sampler
    }

    fn check_cancelled(&self) -> Result<(), EngineError> {
        let is_set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        let is_cancelled = [&self.cancel, &self.also_cancel].into_iter().flatten().any(is_set);
        if is_cancelled { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// Adds a drawn token to a rollout, or tells why the rollout ends. End tokens are not kept.
    fn accept(&self, token: Token, tokens: &mut Vec<Token>, model: &Model) -> Option<Finish> {
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
    pub likelihood: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

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
        let sequences = if options.deterministic { chain::WIDTH as u32 + 1 } else { limits.sequences() };
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
                Completion { tokens: Vec::new(), likelihood: Vec::new(), finish: Finish::Length };
                request.streams.len()
            ]);
        }
        let (reply, answer) = mpsc::channel();
        self.send(Command::Generate(request, reply))?;
        answer.recv().map_err(|_| EngineError::Stopped)?
    }

    /// Runs each prompt and returns, per prompt, the logits of `read` at every position whose token is `at`, in order:
    /// `[prompts][positions][read]`. An answer depends on its own prompt only, but on a graphics device without
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

/// The graphics devices that this build can use on this machine; empty without one.
pub fn gpu_devices() -> Vec<Device> {
    ffi::gpu_devices()
}
