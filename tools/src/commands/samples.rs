//! `mmprm samples`: makes training samples from search trees.

use std::path::PathBuf;

use mmprm::data::samples::{self, SampleKind};
use mmprm_quant::atomic::check_file;
use serde_json::json;

use crate::commands::report;
use crate::exit::{BadInput, Exit};
use crate::ui::Ui;

/// Make PRM training samples from search trees.
///
/// Writes MM-PRM's training format, one JSON object a line: a path of the tree with `<prm>` after each state, and the state's
/// Monte Carlo (MC) value as its label. All paths that end in an incorrect step are kept; as many of the others are drawn at
/// random. Trees that no rollout or every rollout solved give no samples.
///
/// With `--every-rollout`, each rollout recorded in the trees becomes a sample, with a label after each single step: the MC
/// value of the prefix where the search measured it, and otherwise the fraction of correct rollouts among those that pass
/// through it. The same search gives many more labels this way, including incorrect answers and correct steps before the answer.
///
/// With `--relative`, the odds of each label are divided by the odds that the problem is solved: 0.5 is then a step that does not
/// change the odds, in easy and hard problems alike. Each label gets a weight, which `mmprm train` applies. A PRM trained on
/// these labels compares candidates of one problem and no longer predicts how hard a problem is.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of trees, written by `mmprm annotate`.
    #[arg(value_name = "DIR")]
    trees: PathBuf,

    /// Output file (JSON Lines).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Random seed for the draw of paths that do not end in an incorrect step (as Python's `random.seed`).
    #[arg(long, default_value_t = 0, conflicts_with = "every_rollout")]
    seed: u64,

    /// Make a sample of every recorded rollout instead of paths of searched states.
    #[arg(long)]
    every_rollout: bool,

    /// Make labels relative to the problem's success rate, for a PRM that chooses among candidates of one problem.
    #[arg(long, requires = "every_rollout")]
    relative: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_file(&args.output)?;
    let files = report::trees(&args.trees, ui)?;
    if files.is_empty() {
        return Err(BadInput(format!(
            "{}: expected trees (*.json) in this directory, found none",
            args.trees.display()
        ))
        .into());
    }
    let kind = if args.every_rollout {
        SampleKind::Rollouts { relative: args.relative }
    } else {
        SampleKind::States { seed: args.seed }
    };
    let stats = samples::write_file(&files, kind, &args.output)?;
    ui.result(&json!({"output": args.output, "stats": stats}))?;
    ui.say_beside(&args.output, format_args!(
        "{} samples ({} end in an incorrect step, {} do not) from {} trees; {} trees skipped: always or never solved",
        stats.negatives + stats.positives,
        stats.negatives,
        stats.positives,
        stats.trees,
        stats.skipped,
    ))?;
    ui.say_beside(&args.output, format_args!("written: {}", args.output.display()))?;
    Ok(Exit::Done)
}
