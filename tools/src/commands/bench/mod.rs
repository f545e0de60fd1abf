//! `mmprm bench`: speed and memory of each kind of work, one file per kind.

mod annotate;
mod infer;
mod measure;
mod score;
mod subject;
mod synth;
mod train;
mod vision;

pub use subject::demo;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;

use crate::exit::Exit;
use crate::ui::Ui;

/// Measure speed and memory of inference, scoring, annotation, image encoding and training.
///
/// Without arguments, each benchmark runs the mini models of the source tree. Results are a
/// Markdown table, or with --json an object with every single run. `bench synth` writes models of
/// real shapes with random weights to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Infer(infer::Args),
    Score(score::Args),
    Annotate(annotate::Args),
    Vision(vision::Args),
    Synth(synth::Args),
    Train(train::Args),
}

/// How to measure.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Measuring")]
pub struct MeasureArgs {
    /// Measured runs, after one unmeasured warm-up run.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repetitions: usize,

    /// Random seed of prompts and rollouts; the same seed measures the same work.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Run the same work in a second way, alternating with the first.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Measuring")]
pub struct CompareArgs {
    /// Also run the same work without prefix sharing, alternating in the same process; check that
    /// the results agree, and print the speedup: the median over the runs with a distribution-free
    /// confidence interval.
    #[arg(long, value_name = "WITH")]
    compare: Option<Compare>,
}

/// What to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compare {
    /// Compute every prompt whole.
    Naive,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Infer(args) => infer::run(args, ui),
        What::Score(args) => score::run(args, ui),
        What::Annotate(args) => annotate::run(args, ui),
        What::Vision(args) => vision::run(args, ui),
        What::Synth(args) => synth::run(args, ui),
        What::Train(args) => train::run(args, ui),
    }
}
