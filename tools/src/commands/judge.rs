//! `mmprm judge`: a vision model labels the steps of trees.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use mmprm::data::samples;
use mmprm::judge::{StepJudge, TreeEvent, TreesError, TreesOptions, TreesSummary, judge_trees};
use serde_json::{Value, json};

use crate::exit::{BadInput, Exit, Usage};
use crate::judging::EndpointArgs;
use crate::ui::Ui;

/// Causes of failure shown; `--json` gives all.
const SHOWN: usize = 5;

/// Let a vision model judge every step of annotated trees.
///
/// The reference's other labeller (mllm_as_a_judge): for each state of each tree, the model reads the problem with its
/// image, the correct answer, the steps so far and the state's own steps, and is asked whether these are valid. How likely
/// its first word is Yes or No is written beside the Monte Carlo value: `logprob_yes` and `logprob_no` (probabilities, under
/// the reference's names) and `llm_as_a_judge`, Yes's share of both, or null where the model was likely to say neither. The
/// server must give log-probabilities, as vLLM and llama-server do. Judged trees are never judged again: an interrupted run
/// continues when the same command is given again.
#[derive(clap::Args)]
pub struct Args {
    /// A directory of trees, as `mmprm annotate` writes it.
    #[arg(value_name = "DIR")]
    trees: PathBuf,

    /// Directory for the judged trees; each keeps its name.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Folder that image paths are relative to, and confined to [default: the folder of the trees].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Requests at once.
    #[arg(long, value_name = "N", default_value = "16")]
    parallel: NonZeroUsize,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let files = samples::tree_files(&args.trees)?;
    if files.is_empty() {
        return Err(BadInput(format!("{}: no trees (*.json) in it", args.trees.display())).into());
    }
    let endpoint = args.endpoint.open(args.parallel, ui)?;
    let endpoint = endpoint.ok_or_else(|| Usage("expected --judge-url and --judge-model".into()))?;
    let judge = StepJudge::new(endpoint);
    let bar = ui.bar("judge", files.len() as u64, "");
    let failures: Mutex<Vec<Value>> = Mutex::default();
    let progress = |event: TreeEvent<'_>| match event {
        TreeEvent::Resumed(count) => bar.inc(count as u64),
        TreeEvent::Done(_) => bar.inc(1),
        TreeEvent::Failed { file, cause } => {
            bar.inc(1);
            let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failures.push(json!({"tree": file, "cause": cause}));
        }
    };
    let started = Instant::now();
    let options = TreesOptions {
        data_root: args.data_root.as_deref().unwrap_or(&args.trees),
        cancel: ui.interrupted(),
        progress: &progress,
    };
    let summary = judge_trees(&files, &args.output, &judge, &options).map_err(|error| match error {
        TreesError::SameDirectory(_) => anyhow::Error::from(Usage(format!("--output: {error}"))),
        error => error.into(),
    })?;
    bar.finish_and_clear();
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report(&summary, &failures, &args.output, started.elapsed().as_secs_f64(), ui)
}

fn report(summary: &TreesSummary, failures: &[Value], output: &Path, seconds: f64, ui: &Ui) -> anyhow::Result<Exit> {
    ui.result(&json!({"trees": output, "summary": summary, "failures": failures, "seconds": seconds}))?;
    ui.say(format_args!(
        "{} trees with {} states judged in {seconds:.1} s; {} trees were done before",
        summary.done, summary.states, summary.already_done,
    ))?;
    ui.say(format_args!("trees: {}", output.display()))?;
    if summary.unjudged > 0 {
        ui.warn(format_args!(
            "at {} of {} states the judge was likely to say neither Yes nor No; their llm_as_a_judge is null",
            summary.unjudged, summary.states
        ));
    }
    for failure in failures.iter().take(SHOWN) {
        let text = |key: &str| failure[key].as_str().unwrap_or_default();
        ui.warn(format_args!("failed: {}: {}", text("tree"), text("cause")));
    }
    if summary.cancelled {
        ui.warn("interrupted; judged trees are kept, and the same command continues");
        return Ok(Exit::Interrupted);
    }
    if summary.failed > 0 {
        ui.warn(format_args!("{} trees failed; the same command tries them again", summary.failed));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}
