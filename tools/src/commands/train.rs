//! `mmprm train`: fine-tune a policy or a process reward model.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use mmprm::internvl;
use mmprm::train::data::Dataset;
use mmprm::train::distillation::{Lesson, teach};
use mmprm::train::full::Full;
use mmprm::train::learner::Learner;
use mmprm::train::lora::Lora;
use mmprm::train::plan::Demand;
use mmprm::train::prepare::prepare;
use mmprm::train::recipe::Recipe;
use mmprm::train::run::{Event, Step, Summary, run as train};
use mmprm::train::validation::Validation;
use mmprm::train::vocabulary::Vocabulary;
use serde::Serialize;
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::planning;
use crate::ui::Ui;

/// Fine-tune a model.
///
/// A recipe says what to train on what and how; flags override it. The run's directory gets the resolved recipe, a log
/// (JSON Lines and TensorBoard), the last and the best checkpoint as Hugging Face directories, and the state: an
/// interrupted run continues when the same command is given again, to the same bits.
///
/// With a table `[lora]` in the recipe, or one of the flags for it, adapters are trained beside weights that stay as they are,
/// and the checkpoints are adapter directories as Python's PEFT has them: `mmprm merge` folds one into its base, `mmprm
/// convert --base` makes a GGUF adapter of it.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Train a process reward model on samples with a soft label for each step (`mmprm samples`).
    ///
    /// The loss is the cross entropy of Yes and No at each `<prm>`; nothing else is predicted.
    Prm(RunArgs),
    /// Train a policy on solutions or conversations.
    ///
    /// Solutions are `question`, `image` and `solution`, a list of steps that ends in the answer, one object a line; the loss
    /// is on what the model is to write.
    Policy(RunArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    /// The recipe, a TOML file. Its paths are relative to the working directory, as those of the flags are.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Any key of a recipe as KEY=VALUE, such as `sequence_samples=2`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// Tell how much memory the run would take, and train nothing. Without samples, for sequences of `sequence_tokens` tokens;
    /// the model's directory needs no more than its config.json then.
    #[arg(long)]
    plan: bool,

    #[command(flatten)]
    overrides: Overrides,
}

/// Values that take the place of the recipe's keys of the same names.
#[derive(clap::Args, Clone, Serialize)]
#[command(next_help_heading = "Instead of the recipe's")]
struct Overrides {
    /// What is learnt: the subcommand.
    #[arg(skip)]
    task: Option<&'static str>,

    /// Hugging Face directory of the model to begin with.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Training samples, JSON Lines.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,

    /// Directory of the run.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Folder that image paths are relative to, and confined to.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Share of the problems that is kept for validation.
    #[arg(long, value_name = "SHARE")]
    validation: Option<f64>,

    /// Samples to validate on, instead of a part of the others.
    #[arg(long, value_name = "FILE")]
    validation_samples: Option<PathBuf>,

    /// Passes over the samples.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,

    /// Most optimiser steps.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,

    /// Samples of an optimiser step.
    #[arg(long, value_name = "N")]
    batch_samples: Option<u64>,

    /// Most tokens of an optimiser step.
    #[arg(long, value_name = "N")]
    batch_tokens: Option<u64>,

    /// Most tokens that go through the model at once.
    #[arg(long, value_name = "N")]
    sequence_tokens: Option<u64>,

    /// adamw or muon.
    #[arg(long, value_name = "RULE")]
    optimizer: Option<String>,

    /// Learning rate of AdamW.
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// Learning rate of Muon.
    #[arg(long, value_name = "RATE")]
    muon_lr: Option<f64>,

    /// constant, linear or cosine.
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,

    /// Share of the steps that the learning rate rises in.
    #[arg(long, value_name = "SHARE")]
    warmup: Option<f64>,

    /// Decoupled weight decay.
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,

    /// Most length of the gradient; 0 leaves it as it is.
    #[arg(long, value_name = "LENGTH")]
    clip: Option<f64>,

    /// How products are computed: f32, bf16 or f16.
    #[arg(long, value_name = "TYPE")]
    precision: Option<String>,

    /// Beginning of the names of tensors that are not trained; may be given several times.
    #[arg(long, value_name = "NAME")]
    freeze: Option<Vec<String>>,

    /// Labels become 1 from here on and 0 below, instead of staying soft.
    #[arg(long, value_name = "THRESHOLD")]
    hard_labels: Option<f32>,

    /// Learn this policy's logprob of each token instead of the samples' labels, as a first stage (PRM).
    #[arg(long, value_name = "DIR")]
    logprob_of: Option<PathBuf>,

    /// Learn instead which token this policy would have written in the place of each, as a first lesson (PRM).
    #[arg(long, value_name = "DIR")]
    expected_of: Option<PathBuf>,

    /// Mean of the sequences' means, as the reference has it.
    #[arg(long, num_args = 0, default_missing_value = "true", require_equals = true)]
    reference_loss: Option<bool>,

    /// Cut samples that are too long instead of refusing them.
    #[arg(long, num_args = 0, default_missing_value = "true", require_equals = true)]
    truncate: Option<bool>,

    /// Decides order, split and random weights.
    #[arg(long)]
    seed: Option<u64>,

    /// Steps between saves; 0 for one an epoch.
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,

    /// Steps between validations; 0 for one an epoch.
    #[arg(long, value_name = "N")]
    evaluate_every: Option<u64>,

    /// Validations without a better loss after which the run stops.
    #[arg(long, value_name = "N")]
    patience: Option<u64>,

    #[command(flatten)]
    #[serde(skip_serializing_if = "LoraOverrides::is_empty")]
    lora: LoraOverrides,
}

/// Values that take the place of those in the recipe's table `[lora]`; any of them asks for adapters.
#[derive(clap::Args, Clone, Default, PartialEq, Serialize)]
#[command(next_help_heading = "Adapters instead of whole weights")]
struct LoraOverrides {
    /// Inner width of the adapters.
    #[arg(long = "lora-rank", value_name = "N")]
    rank: Option<u64>,

    /// What adapters add is multiplied by this over the rank; twice the rank if not given.
    #[arg(long = "lora-alpha", value_name = "FACTOR")]
    alpha: Option<f64>,

    /// Matrices that get an adapter, by the last part of their names, such as wqkv or q_proj; all of the language model's if
    /// not given.
    #[arg(long = "lora-targets", value_name = "NAME,…", value_delimiter = ',')]
    targets: Option<Vec<String>>,

    /// Share of an adapter's inputs that is dropped.
    #[arg(long = "lora-dropout", value_name = "SHARE")]
    dropout: Option<f64>,

    /// Token whose rows of embedding and head are trained; may be given several times. The step token if not given, for a PRM.
    #[arg(long = "lora-token", value_name = "TEXT")]
    tokens: Option<Vec<String>>,

    /// Train the projector too.
    #[arg(long = "lora-projector", num_args = 0, default_missing_value = "true", require_equals = true)]
    projector: Option<bool>,

    /// GGUF file of the model (see convert and quantize) whose language model's weights are used as they are in it.
    #[arg(long = "lora-base", value_name = "GGUF")]
    base: Option<PathBuf>,
}

impl LoraOverrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let (task, args) = match &args.task {
        Task::Prm(args) => ("prm", args),
        Task::Policy(args) => ("policy", args),
    };
    let mut overrides = Overrides { task: Some(task), ..args.overrides.clone() };
    let bare = args.plan && args.config.is_none() && overrides.samples.is_none();
    if bare {
        overrides.samples = Some("none".into());
        overrides.out.get_or_insert("none".into());
    }
    let recipe = Recipe::read(args.config.as_deref(), &overrides, &args.settings).map_err(bad_input)?;
    let layout = internvl::read_layout(&recipe.model).map_err(bad_input)?;
    if bare {
        return planning::show(&Demand::of(&recipe, &layout, None), ui);
    }
    let vocabulary = Vocabulary::open(&recipe.model).map_err(bad_input).context("cannot read the model's tokenizer")?;
    let mut data = prepare(&recipe, &vocabulary).map_err(bad_input)?;
    let demand = Demand::of(&recipe, &layout, Some(&data));
    if args.plan {
        return planning::show(&demand, ui);
    }
    planning::refuse_too_large(&demand)?;
    let lessons = [(Lesson::Logprob, &recipe.logprob_of), (Lesson::Expected, &recipe.expected_of)];
    for (lesson, policy) in lessons {
        if let Some(policy) = policy {
            let Dataset { samples, images, words } = &mut data.train;
            teach(samples, lesson, policy, &recipe, *words, images).map_err(bad_input)?;
        }
    }
    let (words, images) = (data.train.words, data.train.images.clone());
    let mut learner: Box<dyn Learner> = if recipe.lora.is_some() {
        Box::new(Lora::open(&recipe, words, images, &vocabulary).map_err(bad_input)?)
    } else {
        Box::new(Full::open(&recipe, words, images).map_err(bad_input)?)
    };
    let trained: usize = learner.sums().iter().map(|gradient| gradient.len()).sum();
    ui.say(format_args!(
        "{} samples, {} held out; {trained} values are trained",
        data.train.samples.len(),
        data.held_out.len()
    ))?;
    let bar = ui.bar("train", 0, "steps");
    let mut watch = |event: &Event| match event {
        Event::Resumed { step } => {
            bar.set_position(*step);
            bar.reset_eta();
            ui.note(format_args!("goes on after step {step}"));
        }
        Event::Step(step) => {
            bar.set_length(step.total);
            bar.set_position(step.step);
            bar.set_message(progress(step));
        }
        Event::Skipped { step, scale } => {
            bar.set_position(*step);
            bar.println(format!(
                "step {step} skipped: its gradients overflowed; the loss scale is {scale} from now on"
            ));
        }
        Event::Validated { step, results, best } => {
            let mark = if *best { ", the best so far" } else { "" };
            bar.println(format!("step {step}: {}{mark}", validation(results)));
        }
        _ => {}
    };
    let summary = train(&mut *learner, &data, &recipe, &mut watch, ui.interrupted())?;
    bar.finish_and_clear();
    ui.say(sentence(&summary))?;
    ui.say(format_args!("checkpoints are in {}", recipe.out.display()))?;
    ui.result(&json!({"out": recipe.out, "samples": data.train.samples.len(), "run": summary}))?;
    Ok(if summary.interrupted { Exit::Interrupted } else { Exit::Done })
}

fn bad_input(error: impl std::fmt::Display) -> BadInput {
    BadInput(error.to_string())
}

/// What stands beside the bar.
fn progress(step: &Step) -> String {
    format!(
        "loss {:.4}, lr {:.2e}, grad norm {:.3}, {:.0} tokens/s, {} to go",
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
    parts.join(", ")
}

fn sentence(summary: &Summary) -> String {
    let ended = match (summary.interrupted, summary.stopped_early) {
        (true, _) => "interrupted, the same command continues",
        (_, true) => "stopped early: validations got no better",
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
    parts.push(format!("{} tokens stood for {ratio:.2} times as many", summary.tokens));
    parts.join("; ")
}
