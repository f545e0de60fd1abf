//! `mmprm samples`: makes training samples from search trees.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::builder::RangedU64ValueParser;
use mmprm::data::samples::{self, PathOptions, RankingSample, SampleKind, SamplesError};
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
/// How paths are chosen: `--positives` sets the ratio of the two kinds, `--per-tree` their number, `--pool` adds up the rollouts of equal
/// prefixes that were searched apart, `--hard` makes labels 0 or 1, and `--consensus` keeps paths on which the judge of `mmprm judge`
/// agrees with the MC values at every state, which makes fewer but cleaner labels (Qwen2.5-Math-PRM, arXiv 2501.07301).
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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
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

    /// Paths that do not end in an incorrect step, for each one that does.
    #[arg(long, value_name = "RATIO", default_value_t = 1.0, value_parser = ratio, conflicts_with = "every_rollout")]
    positives: f64,

    /// Maximum samples of a tree, and so of a problem, drawn at random.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..), conflicts_with = "every_rollout")]
    per_tree: Option<usize>,

    /// Add up the rollouts of equal prefixes that were searched apart.
    #[arg(long, conflicts_with = "every_rollout")]
    pool: bool,

    /// Make labels hard: 1 where a rollout was right, 0 elsewhere.
    #[arg(long, conflicts_with = "every_rollout")]
    hard: bool,

    /// Keep paths on which the judge agrees: P(Yes) of one half or more at states with a right rollout, less at others.
    #[arg(long, conflicts_with = "every_rollout")]
    consensus: bool,

    /// Make a sample of every recorded rollout instead of paths of searched states.
    #[arg(long)]
    every_rollout: bool,

    /// Make labels relative to the problem's success rate, for a PRM that chooses among candidates of one problem.
    #[arg(long, requires = "every_rollout")]
    relative: bool,

    /// Make a line of each problem with its candidates, for an implicit PRM.
    #[arg(long, conflicts_with_all = ["seed", "every_rollout", "relative", "positives", "per_tree", "pool", "hard", "consensus"])]
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
        SampleKind::States(PathOptions {
            seed: args.seed,
            positives: args.positives,
            max_per_tree: args.per_tree,
            pools: args.pool,
            hard: args.hard,
            consensus: args.consensus,
        })
    };
    let stats = samples::write_file(&files, kind, &args.output).map_err(|error| match error {
        SamplesError::NotJudged => {
            BadInput(format!("{}: {error}; judge them first (mmprm judge)", args.input.display())).into()
        }
        error => anyhow!(error),
    })?;
    ui.result_beside(&args.output, &json!({"output": args.output, "stats": stats}))?;
    ui.say_beside(&args.output, format_args!(
        "{} samples ({} end in an incorrect step, {} do not) from {} trees; {} trees skipped: always or never solved",
        stats.negatives + stats.positives,
        stats.negatives,
        stats.positives,
        stats.trees,
        stats.skipped,
    ))?;
    if stats.disagreed + stats.beyond > 0 {
        ui.say_beside(
            &args.output,
            format_args!(
                "left out: {} that the judge disagrees with, {} beyond the maximum of a tree",
                stats.disagreed, stats.beyond
            ),
        )?;
    }
    ui.say_beside(&args.output, format_args!("written: {}", args.output.display()))?;
    Ok(Exit::Done)
}

fn ratio(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|ratio| (0.0..=1e6).contains(ratio)).ok_or_else(|| "expected 0 or more".to_owned())
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
