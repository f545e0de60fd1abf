//! `mmprm judge`: a vision model judges the steps of trees.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use mmprm::judge::{StepJudge, TreeEvent, TreesError, TreesOptions, TreesSummary, judge_trees};
use mmprm_quant::atomic::check_directory;
use serde_json::{Value, json};

use crate::args;
use crate::exit::{BadInput, Exit, Usage};
use crate::judging::EndpointArgs;
use crate::monitor;
use crate::ui::{Ui, output_directory};

/// Number of failures shown; `--json` has all.
const SHOWN: usize = 5;

/// Judge every step of annotated trees with a vision model.
///
/// MM-PRM's alternative labels (mllm_as_a_judge): for each state of each tree, the model reads the
/// problem with its image, the correct answer, the steps so far and the state's own steps, and is
/// asked whether these are valid. The probabilities that its first token is Yes and No are written
/// beside the Monte Carlo value: `logprob_yes` and `logprob_no` (probabilities, despite MM-PRM's
/// names) and `llm_as_a_judge`, P(Yes) / (P(Yes) + P(No)), null where neither is among the most
/// likely tokens. The server must return log-probabilities, as vLLM and llama-server do. The same
/// command resumes an interrupted run.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of trees from `mmprm annotate`.
    #[arg(value_name = "DIR")]
    trees: PathBuf,

    /// Directory for the judged trees, which keep their file names.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// Folder that image paths are relative to and confined to [default: the folder of the trees].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Maximum requests at once.
    #[arg(long, value_name = "N", default_value = "16", value_parser = args::at_once)]
    parallel: NonZeroUsize,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    let files = monitor::trees(&args.trees, ui)?;
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
    finish(&summary, &failures, &args.output, started.elapsed().as_secs_f64(), ui)
}

fn finish(summary: &TreesSummary, failures: &[Value], output: &Path, seconds: f64, ui: &Ui) -> anyhow::Result<Exit> {
    ui.result(&json!({"trees": output, "summary": summary, "failures": failures, "seconds": seconds}))?;
    ui.say(format_args!(
        "{} trees: {} judged ({} states) in {seconds:.1} s, {} already done, {} failed",
        summary.done + summary.already_done + summary.failed,
        summary.done,
        summary.states,
        summary.already_done,
        summary.failed,
    ))?;
    ui.say(format_args!("trees: {}", output.display()))?;
    if summary.unjudged > 0 {
        ui.warn(format_args!(
            "at {} of {} states neither Yes nor No is among the most likely tokens; their llm_as_a_judge is null",
            summary.unjudged, summary.states
        ));
    }
    for failure in failures.iter().take(SHOWN) {
        let text = |key: &str| failure[key].as_str().unwrap_or_default();
        ui.warn(format_args!("failed: {}: {}", text("tree"), text("cause")));
    }
    if summary.cancelled {
        ui.warn("interrupted; judged trees are kept, and the same command resumes");
        return Ok(Exit::Interrupted);
    }
    if summary.failed > 0 {
        ui.warn(format_args!("{} trees failed; the same command retries them", summary.failed));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}
