//! `mmprm samples`: makes training samples from search trees.

use std::path::PathBuf;

use mmprm::data::samples::{self, RankingSample, SampleKind, SamplesError};
use mmprm::data::{candidates, tree};
use mmprm_quant::atomic::check_file;
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::monitor;
use crate::ui::{Ui, output_file};

/// Make PRM training samples from search trees or candidates.
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
///
/// With `--ranking`, each problem becomes one line with its candidates and whether each is right, for `mmprm train
/// implicit-prm`. The candidates are those of a Best-of-N file (`mmprm generate`), or the rollouts of trees.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of trees, written by `mmprm annotate`; with `--ranking` also a file of candidates.
    #[arg(value_name = "PATH")]
    input: PathBuf,

    /// Output file (JSON Lines); `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
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

    /// Make a line of each problem with its candidates, for an implicit PRM.
    #[arg(long, conflicts_with_all = ["seed", "every_rollout", "relative"])]
    ranking: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_file(&args.output)?;
    if args.ranking && !args.input.is_dir() {
        let sets = candidates::load(&args.input)?;
        return ranking(sets.iter().map(|set| Ok(RankingSample::of_candidates(set))), args, ui);
    }
    let files = monitor::trees(&args.input, ui)?;
    if files.is_empty() {
        return Err(BadInput(format!(
            "{}: expected trees (*.json) in this directory, found none",
            args.input.display()
        ))
        .into());
    }
    if args.ranking {
        let of_file = |file: &PathBuf| Ok(RankingSample::of_tree(&tree::json::read(file)?));
        return ranking(files.iter().map(of_file), args, ui);
    }
    let kind = if args.every_rollout {
        SampleKind::Rollouts { relative: args.relative }
    } else {
        SampleKind::States { seed: args.seed }
    };
    let stats = samples::write_file(&files, kind, &args.output)?;
    ui.result_beside(&args.output, &json!({"output": args.output, "stats": stats}))?;
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

/// Writes ranking samples.
fn ranking(
    problems: impl Iterator<Item = Result<Option<RankingSample>, SamplesError>>,
    args: &Args,
    ui: &Ui,
) -> anyhow::Result<Exit> {
    let stats = samples::write_ranking(problems, &args.output)?;
    if stats.problems == 0 {
        let cause = "no problem has both right and wrong candidates, so there is nothing to rank";
        return Err(BadInput(format!("{}: {cause}", args.input.display())).into());
    }
    ui.result_beside(&args.output, &json!({"output": args.output, "stats": stats}))?;
    ui.say_beside(
        &args.output,
        format_args!(
            "{} problems with {} candidates, {} of them right; {} problems skipped: not labelled, all right or all wrong",
            stats.problems, stats.candidates, stats.right, stats.skipped,
        ),
    )?;
    ui.say_beside(&args.output, format_args!("written: {}", args.output.display()))?;
    Ok(Exit::Done)
}
