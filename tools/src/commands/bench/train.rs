//! `mmprm bench train`: tokens a second, what packing gives, and memory.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use mmprm::internvl::TensorInfo;
use mmprm::train::data::Sample;
use mmprm::train::full::Full;
use mmprm::train::learner::Learner;
use mmprm::train::measure::{Course, Lap, Shape, lap};
use mmprm::train::optim::Optimizer;
use mmprm::train::prepare::prepare;
use mmprm::train::recipe::Recipe;
use mmprm::train::vocabulary::Vocabulary;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::Ui;

/// Measure whole training steps: tokens a second, packed and one by one, and peak memory.
///
/// Packed, samples of one problem are a tree and others stand side by side; one by one, each goes through the model alone.
/// Both see all samples once in a repetition, in turns. Nothing is learnt and nothing written. Effective tokens are those of the
/// samples one by one, whether they were computed or shared.
#[derive(clap::Args)]
pub struct Args {
    /// The recipe whose model and samples are measured.
    #[arg(short, long, value_name = "FILE", required_unless_present = "shape", conflicts_with = "shape")]
    config: Option<PathBuf>,

    /// Any key of a recipe as KEY=VALUE, such as `checkpointing=true`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// Measure this many of the samples, the first ones.
    #[arg(long, value_name = "N", requires = "config")]
    first: Option<usize>,

    /// Epochs that count, of each kind, after one that does not.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repetitions: usize,

    /// Measure an InternLM2-shaped language model with random weights on random text instead.
    #[arg(long)]
    shape: bool,

    #[command(flatten)]
    sizes: Sizes,
}

/// What `--shape` is.
#[derive(clap::Args)]
#[command(next_help_heading = "The shape")]
struct Sizes {
    /// Width of the stream.
    #[arg(long, value_name = "N", default_value_t = 768, requires = "shape")]
    width: usize,

    /// Number of blocks.
    #[arg(long, value_name = "N", default_value_t = 12, requires = "shape")]
    layers: usize,

    /// Query heads.
    #[arg(long, value_name = "N", default_value_t = 12, requires = "shape")]
    heads: usize,

    /// Key and value heads.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "shape")]
    keys: usize,

    /// Width of the feed-forward layers.
    #[arg(long, value_name = "N", default_value_t = 2048, requires = "shape")]
    inner: usize,

    /// Tokens of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 32_000, requires = "shape", value_parser = RangedU64ValueParser::<usize>::new().range(5..))]
    vocabulary: usize,

    /// Samples of a step.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "shape", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    batch: usize,

    /// Tokens of each.
    #[arg(long, value_name = "N", default_value_t = 512, requires = "shape", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    tokens: usize,
}

/// Recipe keys that a shape does not read.
#[derive(Serialize)]
struct Places {
    model: &'static str,
    samples: &'static str,
    out: &'static str,
    batch_samples: usize,
    sequence_tokens: usize,
}

/// What is measured.
struct Subject {
    recipe: Recipe,
    learner: Full,
    samples: Vec<Sample>,
    context: u32,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let mut subject = if args.shape { shaped(args)? } else { configured(args)? };
    let tensors = subject.learner.tensors();
    let shapes = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
    let mut optimizer = Optimizer::new(subject.recipe.optim(), shapes);
    let (limits, seed) = (subject.recipe.limits(), subject.recipe.seed);
    let courses = [
        ("packed", Course::new(&subject.samples, subject.context, &limits, seed)),
        ("one by one", Course::one_by_one(&subject.samples, subject.context, &limits, seed)),
    ];
    let bar = ui.bar("bench", (courses.len() * (args.repetitions + 1)) as u64, "epochs");
    let mut laps = [Vec::new(), Vec::new()];
    for repetition in 0..=args.repetitions {
        for (laps, (_, course)) in laps.iter_mut().zip(&courses) {
            let lap = lap(&mut subject.learner, &mut optimizer, course)?;
            if repetition > 0 {
                laps.push(lap);
            }
            bar.inc(1);
            if ui.is_interrupted() {
                bar.finish_and_clear();
                return Ok(Exit::Interrupted);
            }
        }
    }
    bar.finish_and_clear();
    let rows = [0, 1].map(|kind| Row::of(courses[kind].0, &laps[kind]));
    let ratio: Vec<f64> = laps[0].iter().zip(&laps[1]).map(|(packed, alone)| alone.seconds / packed.seconds).collect();
    let ratio = Spread::of(&ratio);
    let parameters: usize = subject.learner.weights().layout().tensors().iter().map(TensorInfo::len).sum();
    let trained = subject.learner.trained();
    let threads = rayon::current_num_threads();
    ui.say(format_args!(
        "{} samples, {parameters} parameters of which {trained} are trained, {threads} threads, {} repetitions\n",
        subject.samples.len(),
        args.repetitions
    ))?;
    ui.say(table(&rows))?;
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
    let shape = Shape { width, layers, heads, keys, inner, vocabulary };
    let (places, sequence_tokens) = ("shape", batch * tokens);
    let places = Places { model: places, samples: places, out: places, batch_samples: batch, sequence_tokens };
    let recipe = Recipe::read(None, &places, &args.settings).map_err(|error| Usage(error.to_string()))?;
    let learner = shape.model(&recipe).map_err(|error| Usage(error.to_string()))?;
    Ok(Subject { recipe, learner, samples: shape.samples(batch, tokens), context: 0 })
}

fn configured(args: &Args) -> anyhow::Result<Subject> {
    let recipe = Recipe::read(args.config.as_deref(), &Value::Object(serde_json::Map::new()), &args.settings);
    let recipe = recipe.map_err(bad_input)?;
    let vocabulary = Vocabulary::open(&recipe.model).map_err(bad_input)?;
    let data = prepare(&recipe, &vocabulary).map_err(bad_input)?;
    let learner = Full::open(&recipe, data.train.words, data.train.images.clone()).map_err(bad_input)?;
    let mut samples = data.train.samples;
    samples.truncate(args.first.unwrap_or(usize::MAX));
    Ok(Subject { recipe, learner, samples, context: data.train.words.context })
}

/// What several laps say about one number.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
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
        Self { mean, sd, min, max }
    }

    fn text(&self, digits: usize) -> String {
        let Self { mean, sd, min, max } = self;
        format!("{mean:.digits$} ± {sd:.digits$} ({min:.digits$}…{max:.digits$})")
    }
}

/// One kind of laps.
struct Row {
    name: &'static str,
    lap: Lap,
    unique: Spread,
    effective: Spread,
    seconds: Spread,
    peak: Option<u64>,
}

impl Row {
    fn of(name: &'static str, laps: &[Lap]) -> Self {
        let spread = |value: &dyn Fn(&Lap) -> f64| Spread::of(&laps.iter().map(value).collect::<Vec<_>>());
        Self {
            name,
            lap: laps[0],
            unique: spread(&|lap| lap.tokens as f64 / lap.seconds),
            effective: spread(&|lap| lap.effective as f64 / lap.seconds),
            seconds: spread(&|lap| lap.seconds),
            peak: laps.iter().filter_map(|lap| lap.peak).max(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "steps": self.lap.steps, "sequences": self.lap.sequences,
            "unique_tokens": self.lap.tokens, "effective_tokens": self.lap.effective,
            "unique_tokens_per_second": self.unique, "effective_tokens_per_second": self.effective,
            "seconds": self.seconds, "peak_bytes": self.peak,
        })
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(["samples", "sequences", "unique tokens/s", "effective tokens/s", "seconds an epoch", "peak MiB"]);
    for row in rows {
        let peak = row.peak.map_or_else(|| "?".into(), |peak| (peak >> 20).to_string());
        let sequences = row.lap.sequences.to_string();
        table.row([row.name.into(), sequences, row.unique.text(0), row.effective.text(0), row.seconds.text(3), peak]);
    }
    table
}
