//! Flags that several subcommands share, each declared once: engine, vision, sampling, problems.
//!
//! Flags of the policy are in `policy`, those of the judge in `judging`, those of output in `ui`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::RangedU64ValueParser;
use mmprm::data::problem::{Problem, Problems};
use mmprm::engine::{Engine, EngineOptions, LoraAdapter, Model, ModelOptions, Sampling, gpu_devices};
use mmprm::eval::batch::{BatchError, Existing};
use mmprm::prompt::ChatTemplate;
use mmprm::remote::ApiKey;
use mmprm::util::identity::identity;
use mmprm::util::machine::cores;
use mmprm::util::printable::printable;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm::vision::{EncoderChoice, VisionError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::exit::{BadInput, Usage};
use crate::ui::Ui;

/// How to run a model on this machine.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Layers of the language model to offload to the GPU; `auto` offloads all that fit.
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = layers)]
    gpu_layers: Automatic,

    /// Exact number of compute threads, at most one per core without --force-threads [default: one
    /// per core, fewer while other programs use the cores; one for models under 64 MiB, whose threads
    /// would only wait for each other].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    threads: Option<u32>,

    /// Allow more --threads than there are cores, which then wait for each other.
    #[arg(long, requires = "threads")]
    force_threads: bool,

    /// KV cache size, in positions of all prompts and rollouts together [default: 4096 to 65536,
    /// from --parallel, limited to 2 GiB].
    #[arg(long, value_name = "POSITIONS", value_parser = clap::value_parser!(u32).range(2..=1 << 24))]
    context: Option<u32>,

    /// Bit-identical results for any --threads, --parallel and batch composition; usually slower.
    #[arg(long)]
    pub deterministic: bool,

    /// LoRA adapter to apply to the model, a GGUF file of `mmprm convert`, with a factor on its scale
    /// [default: 1]; may be given several times.
    #[arg(long, value_name = "FILE[=SCALE]", value_parser = adapter)]
    lora: Vec<LoraAdapter>,

    /// Recognise special tokens that questions and solutions spell out, as MM-PRM's code does.
    /// Otherwise they are text, so that a solution cannot forge a step token or end a turn.
    #[arg(long)]
    reference_special_tokens: bool,

    #[command(flatten)]
    vision: VisionArgs,
}

/// How images are encoded.
#[derive(clap::Args, Debug, Clone)]
struct VisionArgs {
    /// Vision encoder: native (mmprm's own, on the CPU), llama.cpp, or auto: llama.cpp on a GPU,
    /// else native.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    vision_encoder: EncoderChoice,

    /// Directory that caches image embeddings between runs; created if missing. Entries are keyed
    /// by image, vision tower and encoder. The cache has no size limit; its files may be deleted at
    /// any time.
    #[arg(long, value_name = "DIR")]
    vision_cache: Option<PathBuf>,
}

/// Parses `--lora`: a file and, after the last `=`, a finite factor.
fn adapter(text: &str) -> Result<LoraAdapter, String> {
    match text.rsplit_once('=').map(|(path, scale)| (path, scale.parse())) {
        Some((path, Ok(scale))) if f32::is_finite(scale) && !path.is_empty() => {
            Ok(LoraAdapter { scale, ..LoraAdapter::new(path) })
        }
        Some((_, Ok(_))) => Err("expected FILE or FILE=SCALE with a finite number".into()),
        _ => Ok(LoraAdapter::new(text)),
    }
}

/// A number, or `None` for automatic choice.
#[derive(Debug, Clone, Copy)]
pub struct Automatic(pub Option<u32>);

/// Maximum number of layers to offload; no model has as many.
const MAX_LAYERS: u32 = 1 << 16;

fn layers(text: &str) -> Result<Automatic, String> {
    match text {
        "auto" => Ok(Automatic(None)),
        number => match number.parse() {
            Ok(count @ 0..=MAX_LAYERS) => Ok(Automatic(Some(count))),
            Ok(_) => Err(format!("expected 0 to {MAX_LAYERS}, or auto")),
            Err(_) => Err("expected a number or auto".into()),
        },
    }
}

/// Parses `--parallel`.
pub fn parallel(text: &str) -> Result<Automatic, String> {
    match layers(text) {
        Ok(Automatic(Some(count))) if !(1..=128).contains(&count) => Err("expected 1 to 128, or auto".into()),
        Ok(parallel) => Ok(parallel),
        Err(_) => Err("expected 1 to 128, or auto".into()),
    }
}

/// Parses a number of things done at once, each of which takes a thread.
pub fn at_once(text: &str) -> Result<NonZeroUsize, String> {
    const MAX: usize = 4096;
    text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MAX).ok_or_else(|| format!("expected 1 to {MAX}"))
}

impl EngineArgs {
    /// The first of these flags that was set on the command line.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            (self.gpu_layers.0.is_some(), "--gpu-layers"),
            (self.threads.is_some(), "--threads"),
            (self.context.is_some(), "--context"),
            (self.deterministic, "--deterministic"),
            (self.has_adapters(), "--lora"),
            (self.reference_special_tokens, "--reference-special-tokens"),
            (self.vision.vision_encoder != EncoderChoice::Auto, "--vision-encoder"),
            (self.vision.vision_cache.is_some(), "--vision-cache"),
        ];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// The name of the requested vision encoder, for the settings of a journal.
    pub fn vision_encoder(&self) -> String {
        self.vision.vision_encoder.to_string()
    }

    /// The adapters of `--lora`.
    pub fn adapters(&self) -> &[LoraAdapter] {
        &self.lora
    }

    /// Whether `--lora` was given.
    pub fn has_adapters(&self) -> bool {
        !self.lora.is_empty()
    }

    /// The same for another model than the one that `--lora` is for.
    #[must_use]
    pub fn without_adapters(&self) -> Self {
        Self { lora: Vec::new(), ..self.clone() }
    }

    /// Adds to the settings of a run what is not the default: the adapters, by content and scale, and
    /// how special tokens are read.
    pub fn add_settings(&self, settings: &mut Value) -> anyhow::Result<()> {
        if self.reference_special_tokens {
            settings["reference_special_tokens"] = true.into();
        }
        if self.has_adapters() {
            let adapters = self
                .lora
                .iter()
                .map(|LoraAdapter { path, scale }| Ok(json!({"adapter": fingerprint(path)?, "scale": scale})));
            settings["lora"] = adapters.collect::<anyhow::Result<Value>>()?;
        }
        Ok(())
    }

    /// The device names for tables: the GPUs that layers may be offloaded to, or `CPU`.
    pub fn backend(&self) -> String {
        let devices = if self.gpu_layers.0 == Some(0) { Vec::new() } else { gpu_devices() };
        let names: Vec<String> = devices.into_iter().map(|device| device.name).collect();
        if names.is_empty() { "CPU".to_owned() } else { names.join("+") }
    }

    /// The number of compute threads: `--threads`, capped at the number of cores.
    fn threads(&self) -> Option<u32> {
        let cores = u32::try_from(cores()).unwrap_or(u32::MAX);
        self.threads.map(|threads| if self.force_threads { threads } else { threads.min(cores) })
    }

    /// How to load a language model.
    pub fn model_options(&self) -> ModelOptions {
        ModelOptions { gpu_layers: self.gpu_layers.0, adapters: self.lora.clone(), ..ModelOptions::default() }
    }

    /// How to load a vision projector.
    pub fn encoder_options(&self, max_tiles: Option<usize>) -> PromptEncoderOptions {
        PromptEncoderOptions {
            threads: self.threads(),
            gpu: self.gpu_layers.0 != Some(0),
            max_tiles,
            vision: self.vision.vision_encoder,
            vision_cache: self.vision.vision_cache.clone(),
            reference_special_tokens: self.reference_special_tokens,
        }
    }

    /// How to run `model`; `fixed_schedule` as in [`EngineArgs::start`].
    pub fn options(&self, model: &Model, parallel: Option<u32>, fixed_schedule: bool) -> EngineOptions {
        EngineOptions {
            context: self.context,
            parallel,
            threads: self.threads(),
            deterministic: self.deterministic || fixed_schedule && !model.is_offloaded(),
        }
    }

    /// Loads `model` and its vision projector, if any, and starts the engine. On a CPU,
    /// `fixed_schedule` makes results independent of batch composition even without
    /// `--deterministic`.
    pub fn start(
        &self,
        model: &Path,
        mmproj: Option<&Path>,
        max_tiles: Option<usize>,
        parallel: Option<u32>,
        fixed_schedule: bool,
        ui: &Ui,
    ) -> anyhow::Result<(Engine, PromptEncoder)> {
        self.load(model, self.model_options(), mmproj, max_tiles, parallel, fixed_schedule, ui)
    }

    /// As [`EngineArgs::start`] for a reward model beside a policy; `--lora` does not apply to it.
    pub fn start_scorer(
        &self,
        model: &Path,
        mmproj: Option<&Path>,
        parallel: Option<u32>,
        ui: &Ui,
    ) -> anyhow::Result<(Engine, PromptEncoder)> {
        let options = ModelOptions { adapters: Vec::new(), ..self.model_options() };
        self.load(model, options, mmproj, None, parallel, true, ui)
    }

    /// As [`EngineArgs::start`] for a text-only judge; `--lora` does not apply to it.
    pub fn start_judge(&self, model: &Path, parallel: u32, ui: &Ui) -> anyhow::Result<(Engine, PromptEncoder)> {
        let options = ModelOptions { adapters: Vec::new(), ..self.model_options() };
        self.load(model, options, None, None, Some(parallel), false, ui)
    }

    #[expect(clippy::too_many_arguments, reason = "each is one choice of a caller")]
    fn load(
        &self,
        model: &Path,
        options: ModelOptions,
        mmproj: Option<&Path>,
        max_tiles: Option<usize>,
        parallel: Option<u32>,
        fixed_schedule: bool,
        ui: &Ui,
    ) -> anyhow::Result<(Engine, PromptEncoder)> {
        if let (Some(given), Some(used)) = (self.threads, self.threads())
            && used < given
        {
            ui.note(format_args!("--threads {given} is more than the {used} cores; {used} are used (--force-threads)"));
        }
        let bar = ui.spinner("loading");
        bar.set_message(printable(model.display()));
        let model = Model::load(model, options)?;
        let encoder = PromptEncoder::load(Arc::clone(&model), mmproj, self.encoder_options(max_tiles));
        let encoder = encoder.map_err(|error| match error {
            VisionError::Cache { .. } => anyhow::Error::from(error),
            error => anyhow::Error::from(error).context("cannot use the vision projector"),
        })?;
        let engine = Engine::start(&model, self.options(&model, parallel, fixed_schedule))?;
        bar.finish_and_clear();
        Ok((engine, encoder))
    }
}

/// Maximum size of a conversation template in bytes.
const MAX_TEMPLATE: u64 = 1 << 20;

/// Reads the conversation template in the file at `path`.
pub fn prompt_template(path: &Path) -> anyhow::Result<ChatTemplate> {
    let text = mmprm::util::io::read_to_string(path, MAX_TEMPLATE)?;
    ChatTemplate::new(&text).map_err(|error| BadInput(format!("{}: {error}", path.display())).into())
}

/// How to sample solutions. The defaults are MM-PRM's annotation settings.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Sampling temperature; 0 is greedy decoding.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f32,

    /// Top-k: sample from the K most likely tokens (0 = off).
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(0..=1 << 24))]
    top_k: usize,

    /// Top-p: sample from the most likely tokens whose probabilities sum to P (1 = off).
    #[arg(long, value_name = "P", default_value_t = 0.9, allow_negative_numbers = true)]
    top_p: f32,

    /// Repetition penalty for tokens already in the text (1 = off).
    #[arg(long, value_name = "X", default_value_t = 1.05, allow_negative_numbers = true)]
    repetition_penalty: f32,

    /// Maximum new tokens per rollout.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    pub max_tokens: usize,

    /// Random seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// The validated parameters.
    pub fn sampling(&self) -> anyhow::Result<Sampling> {
        let usage = |text: &str| Err(Usage(text.to_owned()).into());
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return usage("--temperature: expected 0 or more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return usage("--top-p: expected more than 0, at most 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return usage("--repetition-penalty: expected more than 0");
        }
        Ok(Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
        })
    }
}

/// The sampling parameters as written to settings files and journals.
pub fn sampling_settings(sampling: Sampling) -> Value {
    let Sampling { temperature, top_k, top_p, repetition_penalty } = sampling;
    json!({
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition_penalty": repetition_penalty,
    })
}

/// The problems to process.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Problems")]
pub struct ProblemArgs {
    /// Problem file: a JSON array or JSON Lines of `{id, question, correct_answer, image_path, …}`.
    #[arg(long, value_name = "FILE")]
    pub problems: PathBuf,

    /// Directory that image paths are relative to and may not leave [default: the directory of the
    /// problem file].
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,

    /// Use only the first N problems.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: Option<usize>,
}

impl ProblemArgs {
    /// Loads the problems; also returns the directory that their image paths are relative to.
    pub fn load(&self) -> anyhow::Result<(Vec<Problem>, PathBuf)> {
        let mut problems = Problems::load(&self.problems, self.data_root.as_deref())?;
        problems.items.truncate(self.limit.unwrap_or(usize::MAX));
        if problems.items.is_empty() {
            return Err(
                BadInput(format!("{}: found no problems, expected at least one", self.problems.display())).into()
            );
        }
        Ok((problems.items, problems.root))
    }

    /// As [`load`](Self::load), for a command that compares answers with those of the problems.
    pub fn load_with_answers(&self) -> anyhow::Result<(Vec<Problem>, PathBuf)> {
        let (problems, root) = self.load()?;
        let mut without = problems.iter().filter(|problem| !problem.has_answer());
        if let Some(first) = without.next() {
            let (file, id, count) = (self.problems.display(), &first.id, 1 + without.count());
            let message = "expected a field `correct_answer` or `answer` in every problem, which the rollouts' answers are \
                           compared with";
            return Err(BadInput(format!("{file}: {message}; {count} have none, the first of them {id}")).into());
        }
        Ok((problems, root))
    }
}

/// Refuses an output that is one of the inputs.
pub fn check_distinct<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let Ok(existing) = output.canonicalize() else { return Ok(()) };
    let is_input = |input: &PathBuf| existing.is_file() && input.canonicalize().is_ok_and(|input| input == existing);
    match inputs.into_iter().find(|input| is_input(input)) {
        Some(input) => Err(Usage(format!("{} is the input; give another --output", input.display())).into()),
        None => Ok(()),
    }
}

/// `given`, or else the directory that contains `file`.
pub fn data_root(given: Option<&Path>, file: &Path) -> PathBuf {
    match (given, file.parent()) {
        (Some(given), _) => given.to_owned(),
        (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
        (None, _) => PathBuf::from("."),
    }
}

/// A server's API key from the environment: from the variable `named` by `flag`, or else from the
/// first of the `usual` ones that is set.
pub fn api_key(flag: &str, named: Option<&str>, usual: &[&str]) -> anyhow::Result<Option<ApiKey>> {
    let read = |name: &str| {
        std::env::var(name).ok().filter(|value| !value.trim().is_empty()).map(|key| (name.to_owned(), key))
    };
    let found = match named {
        None => usual.iter().find_map(|name| read(name)),
        Some(name) => {
            let missing = || Usage(format!("{flag} {name}: the environment has no such variable, or it is empty"));
            Some(read(name).ok_or_else(missing)?)
        }
    };
    found.map(|(name, key)| ApiKey::new(&key).map_err(|error| Usage(format!("{name}: {error}")).into())).transpose()
}

/// The model files of a run, for its settings: another file under the same name makes another run.
pub fn identities<const N: usize>(files: [Option<&Path>; N]) -> anyhow::Result<Vec<String>> {
    Ok(files.into_iter().flatten().map(identity).collect::<Result<_, _>>()?)
}

/// The images of a run, for its settings: size and hash of each.
pub fn images_of<'a>(root: &Path, images: impl IntoIterator<Item = &'a [String]>) -> Value {
    json!(mmprm::image::fingerprints(root, images.into_iter().flatten().map(String::as_str)))
}

/// What to do about an output that exists.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct ExistingArgs {
    /// Replace an output that exists. Without it, an output with the same settings is finished work
    /// and one with other settings is refused.
    #[arg(long, conflicts_with = "retry_failed")]
    force: bool,

    /// Process the records again that failed in a finished run.
    #[arg(long)]
    retry_failed: bool,
}

impl ExistingArgs {
    /// The choice.
    pub fn choice(self) -> Existing {
        match (self.force, self.retry_failed) {
            (true, _) => Existing::Replace,
            (false, true) => Existing::RetryFailed,
            (false, false) => Existing::Keep,
        }
    }
}

/// An output of another run is a usage error.
pub fn refusal(error: BatchError) -> anyhow::Error {
    match error {
        BatchError::Exists { .. } | BatchError::OtherSettings { .. } => {
            Usage(format!("{error}; give another --output, or --force to replace it")).into()
        }
        BatchError::Changed { .. } => {
            BadInput(format!("{error}; give another --output, or --force to replace it")).into()
        }
        error => error.into(),
    }
}

/// Maximum size in bytes of an input that is identified by its whole content.
const MAX_INPUT: u64 = 16 << 30;

/// SHA-256 of a file in hexadecimal, which identifies an input in the settings of a journal.
pub fn fingerprint(path: &Path) -> anyhow::Result<String> {
    Ok(format!("{:x}", Sha256::digest(mmprm::util::io::read(path, MAX_INPUT)?)))
}
