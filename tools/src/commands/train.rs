//! `mmprm train`: flags of a training run, and printing its progress. [`mmprm::train`] does the work.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command};
use mmprm::train::recipe::{LoraOptions, Recipe};
use mmprm::train::{self, Event, Step, Summary, TrainError, Validation};
use mmprm_quant::atomic::check_directory;
use serde::Serialize;
use serde_json::{Value, json};

use super::expand;
use crate::exit::{BadInput, Exit};
use crate::planning;
use crate::ui::{Ui, output_directory};

/// Train a process reward model or a policy.
///
/// A recipe (TOML) holds all settings of a run; flags override it. The run's directory gets the resolved recipe, a log (JSON
/// Lines and TensorBoard), the last and the best checkpoint as Hugging Face directories, and the state. An interrupted run
/// resumes bit-exactly when the same command is given again.
///
/// With a table `[lora]` in the recipe, or one of the flags for it, adapters are trained over frozen weights, and checkpoints
/// are adapter directories in the form of Python's PEFT: `mmprm merge` folds one into its base, `mmprm convert --base`
/// converts it to a GGUF adapter.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Train a process reward model on samples with a soft label for each step (`mmprm samples`).
    ///
    /// The loss is the cross entropy of Yes against No at each `<prm>`, or of the two tokens of another form (`prm_form`), or another
    /// one (--loss). Models: InternVL2.5, and text models (Llama, Mistral, Qwen2, InternLM2), with adapters also over a GGUF file.
    Prm(RunArgs),
    /// Train a process reward model that scores by log-probability.
    ///
    /// It learns to rank the candidates of each problem (`mmprm samples --ranking`). The loss is −ln Σ right eˢ / Σ all eˢ, with s
    /// the log-probability of a candidate.
    ///
    /// With `--loss outcome` a candidate's score is σ(β · Σ (log-probability − that of a reference model)), and the loss its cross
    /// entropy with whether the candidate is right; with `--loss steps` the same for the text up to each step and its soft label
    /// (`mmprm samples`). Such a model scores beside its reference (`--prm-reference`).
    ImplicitPrm(RunArgs),
    /// Train a policy on solutions or conversations.
    ///
    /// Solutions are `question`, `image` and `solution`, a list of steps that ends in the answer, one object a line. The loss is
    /// on the text that the model should write.
    Policy(RunArgs),
    /// Append identity-initialised layers to a model (block expansion, a research aid).
    Expand(expand::Args),
}

#[derive(clap::Args)]
struct RunArgs {
    /// Recipe, a TOML file. Its paths, like those of flags, are relative to the working directory.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set any key of the recipe, such as `sequence_samples=2`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// Print the recipe that the flags make, with every key, its meaning and its value, and exit: what --config reads.
    #[arg(long, conflicts_with = "plan")]
    print_recipe: bool,

    /// Print the memory that the run needs and exit. Without samples, sequences of `sequence_tokens` tokens are assumed, and of
    /// the model only config.json is read.
    #[arg(long)]
    plan: bool,

    /// Allow distillation, a research aid: the recipe's logprob_of or expected_of replaces the samples' labels by targets from
    /// a policy (PRM).
    #[arg(long)]
    distill: bool,

    #[command(flatten)]
    overrides: Overrides,
}

/// The largest integer of a recipe, which is TOML. The keys have smaller ranges.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// Values that replace the recipe's keys of the same names.
#[derive(clap::Args, Clone, Serialize)]
#[command(next_help_heading = "Recipe overrides")]
struct Overrides {
    /// The subcommand.
    #[arg(skip)]
    task: Option<&'static str>,

    /// Hugging Face directory of the initial model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Training samples, JSON Lines.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,

    /// Directory of the run.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: Option<PathBuf>,

    /// Root of image paths, which may not leave it.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Fraction of problems held out for validation.
    #[arg(long, value_name = "FRACTION")]
    validation: Option<f64>,

    /// Validation samples, instead of a fraction of the training samples.
    #[arg(long, value_name = "FILE")]
    validation_samples: Option<PathBuf>,

    /// Passes over the samples. Default: 1; with `--steps` alone, as many as these take.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    epochs: Option<u64>,

    /// Maximum optimiser steps.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    steps: Option<u64>,

    /// Samples of an optimiser step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    batch_samples: Option<u64>,

    /// Maximum tokens of an optimiser step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    batch_tokens: Option<u64>,

    /// Maximum tokens of a packed sequence.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    sequence_tokens: Option<u64>,

    /// Optimiser: adamw or muon.
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,

    /// Peak learning rate of AdamW.
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// Peak learning rate of Muon.
    #[arg(long, value_name = "RATE")]
    muon_lr: Option<f64>,

    /// Learning-rate schedule: constant, linear or cosine.
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,

    /// Warm-up, as a fraction of all steps.
    #[arg(long, value_name = "FRACTION")]
    warmup: Option<f64>,

    /// Decoupled weight decay.
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,

    /// Gradient-clipping norm (0 = off).
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,

    /// Arithmetic of matrix products: f32, bf16 or f16.
    #[arg(long, value_name = "TYPE")]
    precision: Option<String>,

    /// Name prefix of frozen tensors. May be repeated.
    #[arg(long, value_name = "PREFIX")]
    freeze: Option<Vec<String>>,

    /// Loss of a PRM: soft (cross entropy with the labels), hard (with 1 for right steps and 0 for others), mse (squared error of
    /// the probability), pqm (right steps above earlier and wrong ones of a solution) or pairwise (steps of a problem with higher
    /// labels above others). Default: soft. Loss of an implicit PRM: ranking (right candidates of a problem above others by
    /// log-probability), outcome (log-probability ratio of a candidate to the reference) or steps (of each step). Default: ranking.
    #[arg(long, value_name = "NAME")]
    loss: Option<String>,

    /// Reference model of an implicit PRM, a Hugging Face directory (outcome, steps). Default: the initial model.
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,

    /// Factor of log-probability ratios (outcome, steps). Default: 0.05.
    #[arg(long, value_name = "FACTOR")]
    beta: Option<f64>,

    /// A step is right if its label is above this (hard, pqm). Default: 0, so that one right rollout suffices.
    #[arg(long, value_name = "LABEL")]
    right_above: Option<f32>,

    /// Margin between the logits of right and wrong steps (pqm). Default: 4, as in its paper.
    #[arg(long, value_name = "LOGITS")]
    margin: Option<f32>,

    /// Replace labels of at least this value by 1 and others by 0 (soft, mse, pairwise).
    #[arg(long, value_name = "THRESHOLD")]
    hard_labels: Option<f32>,

    /// Distillation: learn this policy's probability of each token (Hugging Face directory).
    #[arg(long, alias = "likelihood-of", value_name = "DIR", requires = "distill", hide = true)]
    logprob_of: Option<PathBuf>,

    /// Distillation: predict this policy's most probable token in place of each (Hugging Face directory).
    #[arg(long, value_name = "DIR", requires = "distill", hide = true)]
    expected_of: Option<PathBuf>,

    /// Use the mean of the sequences' means, as MM-PRM, instead of the mean over the batch.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    reference_loss: Option<bool>,

    /// Cut samples that are too long instead of refusing them, and leave out those with nothing to
    /// learn within the limit.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    truncate: Option<bool>,

    /// Recognise special tokens that questions and solutions spell out, as MM-PRM's code does.
    /// Otherwise they are text.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    reference_special_tokens: Option<bool>,

    /// Random seed of order, split, dropout and initial weights.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    seed: Option<u64>,

    /// Steps between saves; 0 for one each epoch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    save_every: Option<u64>,

    /// Steps between validations; 0 for one each epoch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    evaluate_every: Option<u64>,

    /// Validations without improvement after which the run stops.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    patience: Option<u64>,

    #[command(flatten)]
    #[serde(skip_serializing_if = "LoraOverrides::is_empty")]
    lora: LoraOverrides,
}

/// Values that replace those of the recipe's table `[lora]`; any of them turns adapters on.
#[derive(clap::Args, Clone, Default, PartialEq, Serialize)]
#[command(next_help_heading = "LoRA")]
struct LoraOverrides {
    /// Rank of the adapters.
    #[arg(long = "lora-rank", value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    rank: Option<u64>,

    /// Scaling numerator: an adapter's output is multiplied by alpha / rank. Default: twice the rank.
    #[arg(long = "lora-alpha", value_name = "ALPHA")]
    alpha: Option<f64>,

    /// Matrices that get an adapter, by the last part of their names, such as wqkv or q_proj. Default: all of the language
    /// model's.
    #[arg(long = "lora-targets", value_name = "NAME,…", value_delimiter = ',')]
    targets: Option<Vec<String>>,

    /// Dropout probability of an adapter's inputs.
    #[arg(long = "lora-dropout", value_name = "PROBABILITY")]
    dropout: Option<f64>,

    /// Token whose rows of embedding and head are trained. May be repeated. Default for a PRM: the step token.
    #[arg(long = "lora-token", value_name = "TEXT")]
    tokens: Option<Vec<String>>,

    /// Train the projector too.
    #[arg(long = "lora-projector", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    projector: Option<bool>,

    /// GGUF file of the model (see convert and quantize), whose language model's weights are used as stored.
    #[arg(long = "lora-base", value_name = "GGUF")]
    base: Option<PathBuf>,
}

impl LoraOverrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Adds the recipe's defaults to the help of the flags that replace its keys.
pub fn with_defaults(program: Command) -> Command {
    let recipe = json!(Recipe::default());
    let lora = json!(LoraOptions::default());
    program.mut_subcommand("train", |train| {
        ["prm", "implicit-prm", "policy"].into_iter().fold(train, |train, task| {
            train.mut_subcommand(task, |command| {
                command.mut_args(|arg| match arg.get_help_heading() {
                    Some("Recipe overrides") => with_default(arg, &recipe),
                    Some("LoRA") => with_default(arg, &lora),
                    _ => arg,
                })
            })
        })
    })
}

/// A flag with the default of the key of its name, if that has one.
fn with_default(arg: Arg, table: &Value) -> Arg {
    let value = match &table[arg.get_id().as_str()] {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        number @ (Value::Number(_) | Value::Bool(_)) => number.to_string(),
        _ => return arg,
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{} [default: {value}]", help.trim_end_matches('.')))
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let (task, args) = match &args.task {
        Task::Prm(args) => ("prm", args),
        Task::ImplicitPrm(args) => ("implicit-prm", args),
        Task::Policy(args) => ("policy", args),
        Task::Expand(args) => return expand::run(args, ui),
    };
    if args.print_recipe {
        let overrides = Overrides { task: Some(task), ..args.overrides.clone() };
        let recipe = Recipe::draft_with(args.config.as_deref(), &overrides, &args.settings).map_err(bad_input)?;
        let text = recipe.to_commented_toml();
        ui.result(&json!({"recipe": text}))?;
        ui.say_lines(text.trim_end())?;
        return Ok(Exit::Done);
    }
    let recipe = read_recipe(task, args).map_err(bad_input)?;
    if recipe.distills() && !args.distill {
        return Err(bad_input(
            "the recipe asks for distillation (logprob_of or expected_of: targets from a policy in place of the samples' \
             labels), a research aid; give --distill to use it",
        )
        .into());
    }
    if args.plan {
        return planning::show(&train::plan(&recipe).map_err(bad_input)?, ui);
    }
    check_directory(&recipe.output)?;
    let bar = ui.bar("train", 0, "steps");
    let (mut samples, mut printed) = (0, Ok(()));
    let cancel = ui.interrupted().child();
    let mut on_event = |event: &Event| match event {
        Event::UnknownKeys(keys) => {
            let keys = keys.join(", ");
            ui.note(format_args!("keys of the configuration that are unknown and ignored: {keys}"));
        }
        Event::Ready(ready) => {
            samples = ready.samples;
            let left_out = match ready.left_out {
                0 => String::new(),
                count => format!(", {count} left out: nothing to learn is within the length limit"),
            };
            printed = ui.say(format_args!(
                "{samples} samples, {} held out{left_out}; {} values are trained",
                ready.held_out, ready.trained
            ));
            if printed.is_err() {
                cancel.cancel();
            }
        }
        Event::Resumed { step } => {
            bar.set_position(*step);
            bar.reset_eta();
            ui.note(format_args!("resuming after step {step}"));
        }
        Event::Step(step) => {
            bar.set_length(step.total);
            bar.set_position(step.step);
            bar.set_message(progress(step));
        }
        Event::Skipped { step, scale } => {
            bar.set_position(*step);
            bar.println(format!("step {step} skipped: gradient overflow; the loss scale is now {scale}"));
        }
        Event::Validated { step, results, best } => {
            let mark = if *best { ", the best so far" } else { "" };
            bar.println(format!("step {step}: {}{mark}", validation(results)));
        }
        _ => {}
    };
    let summary = train::train(&recipe, &mut on_event, &cancel).map_err(error_of)?;
    bar.finish_and_clear();
    printed?;
    ui.say(sentence(&summary))?;
    ui.say(format_args!("checkpoints are in {}", recipe.output.display()))?;
    ui.result(&json!({"out": recipe.output, "samples": samples, "run": summary}))?;
    Ok(if summary.interrupted { Exit::Interrupted } else { Exit::Done })
}

/// The recipe of a run that another command asks for.
pub fn recipe(args: &Args) -> Result<Recipe, String> {
    match &args.task {
        Task::Prm(args) => read_recipe("prm", args),
        Task::ImplicitPrm(args) => read_recipe("implicit-prm", args),
        Task::Policy(args) => read_recipe("policy", args),
        Task::Expand(_) => return Err("expand trains nothing".to_owned()),
    }
    .map_err(|error| error.to_string())
}

/// The recipe of the flags. For a plan without samples its `samples` is empty.
fn read_recipe(task: &'static str, args: &RunArgs) -> Result<Recipe, train::recipe::RecipeError> {
    let mut overrides = Overrides { task: Some(task), ..args.overrides.clone() };
    let without_samples = args.plan && args.config.is_none() && overrides.samples.is_none();
    if without_samples {
        overrides.samples = Some("none".into());
        overrides.output.get_or_insert("none".into());
    }
    let mut recipe = Recipe::read_with(args.config.as_deref(), &overrides, &args.settings)?;
    if without_samples {
        recipe.samples = PathBuf::new();
    }
    Ok(recipe)
}

fn bad_input(error: impl std::fmt::Display) -> BadInput {
    BadInput(error.to_string())
}

fn error_of(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::Memory(report) => planning::too_large(&report),
        error if error.is_bad_input() => bad_input(error).into(),
        error => error.into(),
    }
}

/// The message beside the progress bar.
fn progress(step: &Step) -> String {
    format!(
        "loss {:.4}, lr {:.2e}, grad norm {:.3}, {:.0} tokens/s, {} left",
        step.loss,
        step.lr,
        step.grad_norm,
        step.tokens_per_second,
        clock(step.left)
    )
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn validation(results: &Validation) -> String {
    let mut parts = vec![format!("validation loss {:.4}", results.loss)];
    parts.extend(results.accuracy.map(|accuracy| format!("step accuracy {accuracy:.3}")));
    parts.extend(results.auc.map(|auc| format!("AUC {auc:.3}")));
    parts.extend(results.best_of_n.map(|accuracy| format!("Best-of-N {accuracy:.3}")));
    parts.join(", ")
}

fn sentence(summary: &Summary) -> String {
    let ended = match (summary.interrupted, summary.stopped_early) {
        (true, _) => "interrupted; the same command resumes",
        (_, true) => "stopped early: validation did not improve",
        _ => "done",
    };
    let mut parts = vec![format!("{} of {} steps, {ended}", summary.steps, summary.total)];
    parts.extend(summary.loss.map(|loss| format!("loss {loss:.4}")));
    parts.extend(summary.validation.as_ref().map(validation));
    parts.extend(summary.best.map(|(loss, step)| format!("best {loss:.4} at step {step}")));
    if summary.skipped > 0 {
        parts.push(format!("{} steps skipped", summary.skipped));
    }
    let ratio = summary.effective_tokens as f64 / (summary.tokens as f64).max(1.0);
    parts.push(format!(
        "{} tokens computed instead of {} (prefix sharing: {ratio:.2}×)",
        summary.tokens, summary.effective_tokens
    ));
    parts.join("; ")
}
