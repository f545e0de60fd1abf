//! `mmprm samples`: training samples from trees.

use std::path::PathBuf;

use mmprm::samples;
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::ui::Ui;

/// Turn annotated trees into PRM training samples.
///
/// Walks each tree and writes MM-PRM's training form, one JSON object a line: the process so far with a `<prm>` after each
/// step, and the Monte Carlo value of each step as its label. All paths that end in a wrong step are kept; paths that end
/// well are sampled down to as many, with the seed. Trees that no rollout or every rollout solved give nothing.
#[derive(clap::Args)]
pub struct Args {
    /// A directory of trees, as `mmprm annotate` writes it.
    #[arg(value_name = "DIR")]
    trees: PathBuf,

    /// Where the samples go.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Seed of the sampling (as Python's `random.seed`).
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let files = samples::tree_files(&args.trees)?;
    if files.is_empty() {
        return Err(BadInput(format!("{}: no trees (*.json) in it", args.trees.display())).into());
    }
    let stats = samples::write_file(&files, args.seed, &args.output)?;
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
