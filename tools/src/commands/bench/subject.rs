//! The models that a benchmark runs, and random tokens for their prompts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmprm::engine::{Chunk, Engine, EngineError, Model, Prompt, Stream, Token};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::quantize::QuantType;

use crate::args::EngineArgs;
use crate::exit::Usage;
use crate::models;

/// The model to run.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The model, a GGUF file [default: the mini model in demo/].
    #[arg(short, long, value_name = "GGUF")]
    pub model: Option<PathBuf>,

    /// Its vision projector [default: that of the mini model, without --model].
    #[arg(long, value_name = "GGUF", requires = "model")]
    pub mmproj: Option<PathBuf>,
}

/// The mini models in demo/.
#[derive(Debug, Clone, Copy)]
pub enum Mini {
    Policy,
    Prm,
}

impl ModelArgs {
    /// The model and its projector: those of the flags, or the mini ones.
    pub fn files(&self, mini: Mini) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
        if let Some(model) = &self.model {
            [Some(model), self.mmproj.as_ref()].into_iter().flatten().try_for_each(|file| models::check(file))?;
            return Ok((model.clone(), self.mmproj.clone()));
        }
        let name = match mini {
            Mini::Policy => "policy",
            Mini::Prm => "prm",
        };
        let models = demo("--model")?.join("models");
        Ok((models.join(format!("{name}-q8_0.gguf")), Some(models.join(format!("mmproj-{name}-f16.gguf")))))
    }
}

/// The directory `demo` of the source tree, searched above this program (as in a build of the
/// source) and above the current directory. The error names `flag`, which does without it.
pub fn demo(flag: &str) -> anyhow::Result<PathBuf> {
    let missing = || {
        let places: Vec<String> = models::places().iter().map(|place| place.display().to_string()).collect();
        format!("found no demo/models/ above {}; name a file with {flag}", places.join(" or "))
    };
    Ok(models::demo().ok_or_else(|| Usage(missing()))?)
}

/// The model that is measured: the first columns of the table.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub quantisation: String,
    pub backend: String,
    pub threads: u64,
    pub file: PathBuf,
}

impl Subject {
    /// The model that `engine` runs.
    pub fn of(engine: &Engine, args: &EngineArgs) -> Self {
        let model = engine.model();
        Self::of_file(model.path(), model.file(), args.backend(), engine.stats().threads)
    }

    /// A GGUF file that is run on `backend` with `threads` threads.
    pub fn of_file(path: &Path, file: &GgufFile, backend: String, threads: u64) -> Self {
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file_type = file.get_u32("general.file_type").ok();
        let quant_type = QuantType::all().find(|one| Some(one.file_type()) == file_type);
        Self {
            name: file.get_str("general.name").map_or_else(|_| stem(), str::to_owned),
            quantisation: quant_type.map_or("unknown", QuantType::name).to_owned(),
            backend,
            threads,
            file: path.to_owned(),
        }
    }
}

/// Loads a model and starts an engine on it, with `cells` cache positions unless the flags set
/// them.
pub fn start(
    model: &Path,
    args: &EngineArgs,
    parallel: u32,
    cells: Option<usize>,
    fixed_schedule: bool,
) -> Result<Engine, EngineError> {
    let model = Model::load(model, args.model_options())?;
    let mut options = args.options(&model, Some(parallel), fixed_schedule);
    options.context = options.context.or(cells.map(|cells| cells.try_into().unwrap_or(u32::MAX)));
    Engine::start(&model, options)
}

/// Random tokens, the same in every run with the same seed.
#[derive(Debug)]
pub struct RandomTokens {
    ordinary: Vec<Token>,
    stream: Stream,
    drawn: u64,
}

impl RandomTokens {
    /// Tokens of `model`'s vocabulary except `without` and end-of-text tokens, drawn with `seed`.
    pub fn new(model: &Arc<Model>, without: &[Token], seed: u64) -> Self {
        let is_ordinary = |token: &Token| !without.contains(token) && !model.is_end(*token);
        let ordinary: Vec<Token> = (0..model.vocabulary_size() as Token).filter(is_ordinary).collect();
        Self { ordinary, stream: Stream::named(seed, "bench", 0, 0), drawn: 0 }
    }

    /// Draws the next `count` tokens.
    pub fn take(&mut self, count: usize) -> Vec<Token> {
        (0..count)
            .map(|_| {
                self.drawn += 1;
                let at = self.stream.uniform(self.drawn) * self.ordinary.len() as f64;
                self.ordinary[at as usize]
            })
            .collect()
    }
}

/// A prompt of these tokens.
pub fn prompt(tokens: Vec<Token>) -> Result<Prompt, EngineError> {
    Ok(Prompt::new([Chunk::Tokens(tokens)])?)
}
