//! `mmprm samples`: training samples from trees.

use std::path::PathBuf;

use mmprm::data::samples::{self, Form};
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::ui::Ui;

/// Turn annotated trees into PRM training samples.
///
/// Walks each tree and writes MM-PRM's training form, one JSON object a line: the process so far with a `<prm>` after each
/// step, and the Monte Carlo value of each step as its label. All paths that end in a wrong step are kept; paths that end
/// well are sampled down to as many, with the seed. Trees that no rollout or every rollout solved give nothing.
///
/// With `--every-rollout`, all rollouts recorded in the trees become samples, from their first step to their answer, with a label
/// after each single step: the Monte Carlo value where the search measured one, else the share of right ones among the
/// rollouts that pass. That is many times as many labels from the same search, and shows a PRM wrong answers and right steps too.
///
/// With `--relative`, the odds of these labels are divided by the odds that the problem is solved at all: 0.5 is then a step that
/// leaves everything as it was, in easy problems and hard ones. Each label gets a weight, which `mmprm train` heeds. A PRM
/// so trained no longer tells how hard a problem is; it tells the candidates of one problem apart.
#[derive(clap::Args)]
pub struct Args {
    /// A directory of trees, as `mmprm annotate` writes it.
    #[arg(value_name = "DIR")]
    trees: PathBuf,

    /// Where the samples go.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Seed of the sampling (as Python's `random.seed`).
    #[arg(long, default_value_t = 0, conflicts_with = "every_rollout")]
    seed: u64,

    /// Make a sample of every rollout instead of paths of searched states.
    #[arg(long)]
    every_rollout: bool,

    /// Make labels relative to how often the problem is solved, for a PRM that chooses among candidates of one problem.
    #[arg(long, requires = "every_rollout")]
    relative: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let files = samples::tree_files(&args.trees)?;
    if files.is_empty() {
        return Err(BadInput(format!("{}: no trees (*.json) in it", args.trees.display())).into());
    }
    let form =
        if args.every_rollout { Form::Rollouts { relative: args.relative } } else { Form::States { seed: args.seed } };
    let stats = samples::write_file(&files, form, &args.output)?;
    ui.result(&json!({"output": args.output, "stats": stats}))?;
    ui.say(format_args!(
        "{} samples ({} end in a wrong step, {} end well) from {} trees; {} trees had nothing to teach",
        stats.negatives + stats.positives,
        stats.negatives,
        stats.positives,
        stats.trees,
        stats.skipped,
    ))?;
    ui.say(format_args!("written: {}", args.output.display()))?;
    Ok(Exit::Done)
}
