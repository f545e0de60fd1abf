//! `mmprm eval steps`: step scores against the truth of the steps.

use std::path::{Path, PathBuf};

use mmprm::data::candidates;
use mmprm::eval::detection::{Detection, Goal};
use mmprm::eval::prmbench::PrmScores;
use mmprm::eval::steps::{self, PLACES as LAST_PLACE, StepsOptions, StepsReport, Tuned};
use mmprm_quant::atomic::check_file;
use serde_json::json;

use super::write_result;
use crate::args::check_distinct;
use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::{Ui, output_file};

/// Report how well step scores separate right steps from wrong ones.
///
/// Needs `prm_scores` and `step_labels`: for each candidate a list with 1 (right), 0 (wrong) or null (not counted) for each step,
/// which may end at the first 0 (`mmprm data import` makes such files of ProcessBench, PRMBench, VisualProcessBench and others).
///
/// Prints the ROC AUC over all steps up to the first wrong one, over pairs of steps of the same problem, by group and by place in the solution; the detection of
/// wrong steps by a threshold as ProcessBench counts it (accuracy on wrong and on right solutions, and their F1) and as
/// VisualProcessBench and PRMBench do (macro F1 over all labelled steps, PRMBench's PRMScore); where records have PRMBench's `classification`,
/// its figures of each class and dimension; and the calibration of the scores.
#[derive(clap::Args)]
pub struct Args {
    /// Scored Best-of-N file with `step_labels`.
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Output file for the results as JSON; `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: Option<PathBuf>,

    /// Field of the records whose values divide the steps into groups, such as `family`.
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,

    /// Steps with a score below this are taken to be wrong.
    #[arg(long, value_name = "SCORE", default_value_t = 0.5, allow_negative_numbers = true, value_parser = finite)]
    threshold: f64,

    /// Also choose the threshold with the best value of this on one half of the problems, and measure it on the other half; with
    /// --tune-on, on another file.
    #[arg(long, value_name = "FIGURE")]
    tune: Option<Tune>,

    /// File on which --tune chooses the threshold, to be measured on all of this one: does it hold for other problems?
    #[arg(long, value_name = "FILE", requires = "tune")]
    tune_on: Option<PathBuf>,

    /// Random seed that divides the problems for --tune.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What a threshold is chosen for.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Tune {
    /// ProcessBench's F1 of solutions.
    F1,
    /// The macro F1 of steps: VisualProcessBench's, and PRMBench's PRMScore.
    MacroF1,
}

impl Tune {
    fn goal(self) -> Goal {
        match self {
            Self::F1 => Goal::F1,
            Self::MacroF1 => Goal::MacroF1,
        }
    }
}

fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if let Some(output) = &args.output {
        check_file(output)?;
        check_distinct(output, [&args.input])?;
    }
    let sets = candidates::load(&args.input)?;
    let tuned = match (args.tune.map(Tune::goal), &args.tune_on) {
        (None, _) => Tuned::No,
        (Some(goal), None) => Tuned::OnHalf(goal),
        (Some(goal), Some(path)) => steps::tuned_threshold(&candidates::load(path)?, goal)
            .map_err(|error| BadInput(format!("{}: {error}", path.display())))?
            .map_or(Tuned::No, Tuned::Elsewhere),
    };
    let options = StepsOptions { by: args.by.as_deref(), threshold: args.threshold, tuned, seed: args.seed };
    let report =
        steps::report(&sets, &options).map_err(|error| BadInput(format!("{}: {error}", args.input.display())))?;
    let result = json!({"input": args.input, "report": report});
    write_result(args.output.as_deref(), &result)?;
    let beside = args.output.as_deref().unwrap_or(Path::new(""));
    ui.result_beside(beside, &result)?;
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let (all, within) = (&report.all, number(report.within_problem));
    ui.say_beside(beside, format_args!("{} problems, {} left out", report.problems, report.left_out))?;
    ui.say_beside(beside, format_args!("steps up to the first error: {}, of which wrong: {}", all.steps, all.wrong))?;
    ui.say_beside(beside, format_args!("AUC {}, within a problem {within}", number(all.auc)))?;
    let mut groups = Table::new(["group", "steps", "wrong", "AUC"]);
    for (name, own) in &report.groups {
        groups.row([name.clone(), own.steps.to_string(), own.wrong.to_string(), number(own.auc)]);
    }
    if !report.groups.is_empty() {
        ui.say_lines_beside(beside, format_args!("\n{groups}"))?;
    }
    ui.say_lines_beside(beside, format_args!("\n{}", detections(&report, args.tune_on.as_deref())))?;
    if let Some(scores) = &report.prmbench {
        ui.say_lines_beside(beside, format_args!("\n{}", prm_scores(scores)))?;
        ui.say_beside(
            beside,
            "PRMBench's PRMScore of each class, of each dimension with all of its classes, and of all steps",
        )?;
    }
    if args.tune.is_some() && report.tuned.is_none() {
        ui.say_beside(
            beside,
            match &args.tune_on {
                None => "no threshold could be chosen: one half of the problems has no right or no wrong solutions"
                    .to_owned(),
                Some(path) => {
                    format!("no threshold could be chosen: {} has no right or no wrong solutions", path.display())
                }
            },
        )?;
    }
    ui.say_lines_beside(beside, format_args!("\n{}", places(&report)))?;
    let mut bins = Table::new(["score", "steps", "mean score", "right"]);
    for (index, bin) in report.calibration.iter().enumerate() {
        let range = format!("{:.1} to {:.1}", index as f64 / 10.0, (index + 1) as f64 / 10.0);
        let mean = |value: f64| number((bin.steps > 0).then_some(value));
        bins.row([range, bin.steps.to_string(), mean(bin.score), mean(bin.right)]);
    }
    ui.say_lines_beside(beside, format_args!("\n{bins}"))?;
    ui.say_beside(beside, format_args!("calibration error {:.3}", report.calibration_error))?;
    Ok(Exit::Done)
}

/// PRMBench's figures.
fn prm_scores(scores: &PrmScores) -> Table {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let mut table = Table::new(["PRMBench", "PRMScore"]);
    table.row(["overall".to_owned(), number(scores.overall)]);
    for dimension in &scores.dimensions {
        table.row([dimension.name.to_owned(), number(dimension.score)]);
        for (class, score) in &dimension.classes {
            table.row([format!("  {class}"), number(*score)]);
        }
    }
    table
}

/// The steps by their place in the solution.
fn places(report: &StepsReport) -> Table {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let mut table = Table::new(["step", "steps", "wrong", "AUC", "mean score, right", "mean score, wrong"]);
    for place in &report.places {
        let name = if place.step == LAST_PLACE { format!("{LAST_PLACE} and later") } else { place.step.to_string() };
        let own = &place.separation;
        let numbers = [number(own.auc), number(place.score_right), number(place.score_wrong)];
        table.row([name, own.steps.to_string(), own.wrong.to_string()].into_iter().chain(numbers));
    }
    table
}

/// The detection of wrong steps: overall, by group, and at the tuned threshold.
fn detections(report: &StepsReport, tuned_on: Option<&Path>) -> Table {
    let heads = ["wrong steps found", "threshold", "on wrong", "on right", "F1", "F1 right", "F1 wrong", "macro F1"];
    let mut table = Table::new(heads);
    let mut row = |name: &str, one: &Detection| {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let figures =
            [one.accuracy_wrong, one.accuracy_right, one.f1, one.f1_right_steps, one.f1_wrong_steps, one.macro_f1];
        let figures = figures.into_iter().map(number);
        table.row([name.to_owned(), format!("{:.3}", one.threshold)].into_iter().chain(figures));
    };
    row("all", &report.detection);
    for (name, one) in &report.detection_groups {
        row(name, one);
    }
    if let Some(tuned) = &report.tuned {
        match tuned_on {
            None => row("half, tuned on the other", tuned),
            Some(path) => row(&format!("tuned on {}", path.display()), tuned),
        }
    }
    table
}
