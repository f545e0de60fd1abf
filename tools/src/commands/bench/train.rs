//! `mmprm bench train`: tokens per second, the speedup of packing, and memory.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use mmprm::internvl::TensorInfo;
use mmprm::train::data::Sample;
use mmprm::train::full::FullModel;
use mmprm::train::measure::{EpochBatches, EpochTiming, ModelShape, optimizer, time_epoch};
use mmprm::train::prepare::prepare;
use mmprm::train::recipe::Recipe;
use mmprm::train::vocabulary::Vocabulary;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::Ui;

/// Measure training steps: tokens per second, packed and one by one, and peak memory.
///
/// Packed, the samples of a problem form a tree and trees stand side by side in a sequence; one by one, each sample passes
/// through the model alone. Both process all samples once in a repetition, in turns. Nothing is learnt or written. Effective
/// tokens are those of the samples before sharing.
#[derive(clap::Args)]
pub struct Args {
    /// The recipe whose model and samples are measured [default: --shape].
    #[arg(short, long, value_name = "FILE", conflicts_with = "shape")]
    config: Option<PathBuf>,

    /// Set any key of the recipe, such as `checkpointing=true`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// Measure the first N samples only.
    #[arg(long, value_name = "N", requires = "config")]
    first: Option<usize>,

    /// Measured epochs of each kind, after one warm-up epoch.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repetitions: usize,

    /// Measure an InternLM2-shaped language model with random weights on random text.
    #[arg(long)]
    shape: bool,

    #[command(flatten)]
    sizes: Sizes,
}

/// Sizes of the model of `--shape`.
#[derive(clap::Args)]
#[command(next_help_heading = "The shape")]
struct Sizes {
    /// Hidden size.
    #[arg(long, value_name = "N", default_value_t = 768, requires = "shape")]
    width: usize,

    /// Number of blocks.
    #[arg(long, value_name = "N", default_value_t = 12, requires = "shape")]
    layers: usize,

    /// Number of query heads.
    #[arg(long, value_name = "N", default_value_t = 12, requires = "shape")]
    heads: usize,

    /// Number of key and value heads.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "shape")]
    keys: usize,

    /// Width of the feed-forward layers.
    #[arg(long, value_name = "N", default_value_t = 2048, requires = "shape")]
    inner: usize,

    /// Vocabulary size.
    #[arg(long, value_name = "N", default_value_t = 32_000, requires = "shape", value_parser = RangedU64ValueParser::<usize>::new().range(5..=1 << 20))]
    vocabulary: usize,

    /// Samples of a step.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "shape", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 16))]
    batch: usize,

    /// Tokens of a sample.
    #[arg(long, value_name = "N", default_value_t = 512, requires = "shape", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    tokens: usize,
}

/// Recipe keys that `--shape` sets.
#[derive(Serialize)]
struct Places {
    model: &'static str,
    samples: &'static str,
    output: &'static str,
    batch_samples: usize,
    sequence_tokens: usize,
}

/// The measured model and samples.
struct Subject {
    recipe: Recipe,
    model: FullModel,
    samples: Vec<Sample>,
    context: Option<u32>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let mut subject = if args.shape || args.config.is_none() { shaped(args)? } else { configured(args)? };
    let mut optimizer = optimizer(&subject.recipe, &subject.model);
    let (limits, seed) = (subject.recipe.packing_limits(), subject.recipe.seed);
    let epochs = [
        ("packed", EpochBatches::new(&subject.samples, subject.context, &limits, seed)),
        ("one by one", EpochBatches::one_by_one(&subject.samples, subject.context, &limits, seed)),
    ];
    let bar = ui.bar("bench", (epochs.len() * (args.repetitions + 1)) as u64, "epochs");
    let mut timings = [Vec::new(), Vec::new()];
    for repetition in 0..=args.repetitions {
        for (timings, (_, epoch)) in timings.iter_mut().zip(&epochs) {
            let timing = time_epoch(&mut subject.model, &mut optimizer, epoch)?;
            if repetition > 0 {
                timings.push(timing);
            }
            bar.inc(1);
            if ui.is_interrupted() {
                bar.finish_and_clear();
                return Ok(Exit::Interrupted);
            }
        }
    }
    bar.finish_and_clear();
    let rows = [0, 1].map(|kind| Row::of(epochs[kind].0, &timings[kind]));
    let ratio: Vec<f64> =
        timings[0].iter().zip(&timings[1]).map(|(packed, alone)| alone.seconds / packed.seconds).collect();
    let ratio = Spread::of(&ratio);
    let parameters: usize = subject.model.weights().layout().tensors().iter().map(TensorInfo::len).sum();
    let trained = subject.model.trained();
    let threads = rayon::current_num_threads();
    ui.say_lines(format_args!(
        "{} samples, {parameters} parameters of which {trained} are trained, {threads} threads, {} repetitions\n",
        subject.samples.len(),
        args.repetitions
    ))?;
    ui.say_lines(table(&rows))?;
    ui.say(format_args!("packed is {} times as fast as one by one", ratio.text(2)))?;
    let (precision, checkpointing) = (subject.recipe.precision, subject.recipe.checkpointing);
    ui.result(&json!({
        "samples": subject.samples.len(), "parameters": parameters, "trained": trained, "threads": threads,
        "precision": precision, "checkpointing": checkpointing,
        "packed": rows[0].json(), "one_by_one": rows[1].json(), "ratio": ratio,
    }))?;
    Ok(Exit::Done)
}

fn bad_input(error: impl std::fmt::Display) -> BadInput {
    BadInput(error.to_string())
}

fn shaped(args: &Args) -> anyhow::Result<Subject> {
    let Sizes { width, layers, heads, keys, inner, vocabulary, batch, tokens } = args.sizes;
    let shape = ModelShape { width, layers, heads, keys, inner, vocabulary };
    let (places, sequence_tokens) = ("shape", batch * tokens);
    let places = Places { model: places, samples: places, output: places, batch_samples: batch, sequence_tokens };
    let recipe = Recipe::read_with(None, &places, &args.settings).map_err(|error| Usage(error.to_string()))?;
    let model = shape.model(&recipe).map_err(|error| Usage(error.to_string()))?;
    Ok(Subject { recipe, model, samples: shape.samples(batch, tokens), context: Some(0) })
}

fn configured(args: &Args) -> anyhow::Result<Subject> {
    let recipe = Recipe::read_with(args.config.as_deref(), &Value::Object(serde_json::Map::new()), &args.settings);
    let recipe = recipe.map_err(bad_input)?;
    let vocabulary = Vocabulary::of(&recipe).map_err(bad_input)?;
    let data = prepare(&recipe, &vocabulary).map_err(bad_input)?;
    let model = FullModel::open(&recipe, data.train.special, data.train.images.clone()).map_err(bad_input)?;
    let mut samples = data.train.samples;
    samples.truncate(args.first.unwrap_or(usize::MAX));
    Ok(Subject { recipe, model, samples, context: data.train.special.context })
}

/// Mean, standard deviation and range of several measurements.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
    #[serde(skip)]
    count: usize,
    mean: f64,
    sd: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (squares / (values.len().max(2) - 1) as f64).sqrt();
        let (min, max) =
            (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max));
        Self { count: values.len(), mean, sd, min, max }
    }

    fn text(&self, digits: usize) -> String {
        let Self { count, mean, sd, min, max } = self;
        if *count < 2 {
            return format!("{mean:.digits$} ± n/a");
        }
        format!("{mean:.digits$} ± {sd:.digits$} ({min:.digits$}…{max:.digits$})")
    }
}

/// The timings of one kind of epoch.
struct Row {
    name: &'static str,
    timing: EpochTiming,
    unique: Spread,
    effective: Spread,
    seconds: Spread,
    peak: Option<u64>,
}

impl Row {
    fn of(name: &'static str, timings: &[EpochTiming]) -> Self {
        let spread = |value: &dyn Fn(&EpochTiming) -> f64| Spread::of(&timings.iter().map(value).collect::<Vec<_>>());
        Self {
            name,
            timing: timings[0],
            unique: spread(&|timing| timing.tokens as f64 / timing.seconds),
            effective: spread(&|timing| timing.effective_tokens as f64 / timing.seconds),
            seconds: spread(&|timing| timing.seconds),
            peak: timings.iter().filter_map(|timing| timing.peak).max(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "steps": self.timing.steps, "sequences": self.timing.sequences,
            "unique_tokens": self.timing.tokens, "effective_tokens": self.timing.effective_tokens,
            "unique_tokens_per_second": self.unique, "effective_tokens_per_second": self.effective,
            "seconds": self.seconds, "peak_bytes": self.peak,
        })
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(["samples", "sequences", "unique tokens/s", "effective tokens/s", "seconds per epoch", "peak MiB"]);
    for row in rows {
        let peak = row.peak.map_or_else(|| "?".into(), |peak| (peak >> 20).to_string());
        let sequences = row.timing.sequences.to_string();
        table.row([row.name.into(), sequences, row.unique.text(0), row.effective.text(0), row.seconds.text(3), peak]);
    }
    table
}
