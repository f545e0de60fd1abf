//! `mmprm data curate`: the problems of a file that are worth training or testing on.

use std::path::PathBuf;

use anyhow::anyhow;
use mmprm::data::records::Records;
use mmprm::dataset::curate::{CurateError, CurateOptions, CurateSummary, ProblemType, curate};
use mmprm_quant::atomic::check_directory;
use serde_json::json;

use super::split::output_error;
use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::{Ui, output_directory};

/// Keep the problems that are worth training on: one verifiable answer, a readable image, each once.
///
/// What made MM-K12 of raw problems (MM-PRM, section 3.1). Dropped are problems without an answer or a readable image; those that ask
/// for a proof or a drawing, have many right answers, or ask several numbered questions; answers that rules cannot tell from others;
/// duplicates, and problems of the test sets given by --against: equal questions, but for case, spaces and typography, whose images
/// look alike.
///
/// Writes DIR/problems.json, where each problem also has its `problem_type` (choice or fill-in), the images that it shows, and
/// DIR/curation.json with the ids that went and why. A problem that is dropped for several reasons is counted under the first.
#[derive(clap::Args)]
pub struct Args {
    /// The problems (JSON or JSON Lines).
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Directory for the result; created if missing.
    #[arg(short, long, value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// Test sets: problem files whose problems are dropped. Their images are beside each of them.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    against: Vec<PathBuf>,

    /// Keep problems without an image.
    #[arg(long)]
    text_only: bool,

    /// Candidates of a policy (mmprm generate) whose pass rates say how hard each problem is.
    #[arg(long, value_name = "FILE")]
    candidates: Option<PathBuf>,

    /// Minimum pass rate, 0 to 1: drops problems that the policy solves less often.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate, requires = "candidates")]
    min_pass: f64,

    /// Maximum pass rate, 0 to 1: drops problems that the policy solves more often.
    #[arg(long, value_name = "RATE", default_value_t = 1.0, value_parser = rate, requires = "candidates")]
    max_pass: f64,

    /// Keep as many choice problems as fill-in ones, drawn at random.
    #[arg(long)]
    balance: bool,

    /// Random seed of --balance.
    #[arg(long, default_value_t = 0, requires = "balance")]
    seed: u64,

    /// Directory that image paths are relative to and may not leave [default: that of FILE].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Replace the result of an earlier run.
    #[arg(long)]
    force: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate)).ok_or_else(|| "expected a rate from 0 to 1".to_owned())
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    if args.min_pass > args.max_pass {
        return Err(Usage("--min-pass is above --max-pass, so no problem is left".into()).into());
    }
    let records = Records::load(&args.input, args.data_root.as_deref())?;
    let test = |path: &PathBuf| Ok((path.display().to_string(), Records::load(path, None)?));
    let options = CurateOptions {
        keeps_text_only: args.text_only,
        against: args.against.iter().map(test).collect::<anyhow::Result<_>>()?,
        candidates: args.candidates.as_ref().map(|path| Records::load(path, None)).transpose()?,
        min_pass: args.min_pass,
        max_pass: args.max_pass,
        balance: args.balance.then_some(args.seed),
    };
    let spinner = ui.spinner("curating");
    let summary = curate(&records, &args.input, &args.output, &options, args.force);
    spinner.finish_and_clear();
    let summary = summary.map_err(|error| match error {
        CurateError::Output(error) => output_error(error),
        CurateError::OtherProblem { .. } | CurateError::NoPassRates => {
            let path = args.candidates.as_deref().unwrap_or(&args.input);
            BadInput(format!("{}: {error}", path.display())).into()
        }
        CurateError::Kind { .. } | CurateError::Unbalanced { .. } | CurateError::Nothing { .. } => {
            BadInput(format!("{}: {error}", args.input.display())).into()
        }
        error => anyhow!(error),
    })?;
    ui.result(&json!(summary))?;
    report(&summary, ui)?;
    Ok(Exit::Done)
}

fn report(summary: &CurateSummary, ui: &Ui) -> anyhow::Result<()> {
    let mut table = Table::new(["problems", "count", "first"]);
    let mut row =
        |what: &str, count: usize, first: &str| table.row([what.to_owned(), count.to_string(), first.to_owned()]);
    row("read", summary.read, "");
    for (reason, count) in &summary.dropped {
        let first = summary.examples.get(reason).map_or("", String::as_str);
        row(&format!("dropped: {reason}"), count.as_u64().unwrap_or_default() as usize, first);
    }
    row("kept", summary.kept, "");
    for (problem_type, count) in &summary.types {
        let name = match problem_type {
            ProblemType::Choice => "kept: choice",
            ProblemType::FillIn => "kept: fill-in",
        };
        row(name, *count, "");
    }
    ui.say_lines(table)?;
    ui.say(format_args!("written: {}, {}", summary.output.display(), summary.report.display()))
}
