//! `mmprm bench`: how fast this machine is, one file a kind of work.

mod annotate;
mod infer;
mod measure;
mod score;
mod subject;
mod synth;
mod train;
mod vision;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;

use crate::exit::Exit;
use crate::ui::Ui;

/// Measure speed and memory: of raw inference, of scoring, of annotation, of encoding images, of
/// training.
///
/// Without arguments, each runs the mini models that come with the source. Results are a Markdown table, or with --json an
/// object with every single run. `bench synth` makes models of real shapes with random weights to measure.
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
    /// Runs that count, after one that does not.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repetitions: usize,

    /// Names the prompts' tokens and the random streams; the same seed measures the same work.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Run the same work in a second way, in turns with the first.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Measuring")]
pub struct CompareArgs {
    /// Also run the same work without sharing what requests have in common, in turns in the same process, check that the
    /// results are the same, and give the speedup: the median over the runs, with an interval that assumes nothing of how
    /// times are distributed.
    #[arg(long, value_name = "WITH")]
    compare: Option<Compare>,
}

/// What to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compare {
    /// No prefix is computed once for many.
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
