//! `mmprm eval`: evaluation of selection methods.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mmprm::data::candidates::{self, CandidateSet};
use mmprm::eval::bon::{self, BASELINES, BonOptions, MethodAccuracy, Report};
use mmprm::eval::steps;
use mmprm_quant::atomic::{AtomicFile, check_file};
use serde_json::{Map, Value, json};

use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::{Ui, output_file};

/// Evaluate Best-of-N selection and step scores.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Bon(BonArgs),
    Steps(StepsArgs),
}

/// Report how well step scores separate right steps from wrong ones.
///
/// The truth of each step must be known. Needs `prm_scores` and `step_labels`: for each candidate a list with 1 (right) or 0 (wrong) for each step, which may end at the
/// first 0. Solutions count up to and including their first wrong step. Prints the ROC AUC over all steps, over pairs of steps of
/// the same problem and by group, and the calibration of the scores.
#[derive(clap::Args)]
struct StepsArgs {
    /// Scored Best-of-N file with `step_labels`.
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Output file for the results as JSON; `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: Option<PathBuf>,

    /// Field of the records whose values divide the steps into groups, such as `family`.
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,
}

/// Report the accuracy of each selection method with 95 % bootstrap intervals.
///
/// Also reports how much better each is than a majority vote and the policy's own log-probability on the same problems.
///
/// Methods: a random candidate, pass@k, any right candidate (oracle), majority vote over equal
/// answers; where the file has `prm_scores`, every aggregator of step scores and votes weighted by
/// it; where it has the policy's log-probabilities (`generate` writes them), the solution whose
/// least likely step is likeliest and the one with the highest mean of token log-probabilities.
///
/// Problems that failed, have no labels or could not be scored are left out of every figure, and
/// counted.
#[derive(clap::Args)]
struct BonArgs {
    /// Best-of-N file with `labels`, from `mmprm generate` or `mmprm score`.
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Output file for the results as JSON; `-` is standard output.
    #[arg(short, long, alias = "out", value_name = "FILE", value_parser = output_file())]
    output: Option<PathBuf>,

    /// Give candidates without steps the value 0, as MM-PRM does, which ranks them above others for
    /// sums of logarithms.
    #[arg(long)]
    reference: bool,

    /// Random seed of the bootstrap.
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Show a problem in which this method, such as `product`, selects a right candidate and the majority a wrong one.
    #[arg(long, value_name = "METHOD")]
    example: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Bon(args) => best_of_n(args, ui),
        What::Steps(args) => evaluate_steps(args, ui),
    }
}

fn evaluate_steps(args: &StepsArgs, ui: &Ui) -> anyhow::Result<Exit> {
    if let Some(output) = &args.output {
        check_file(output)?;
    }
    let sets = candidates::load(&args.input)?;
    let report = steps::report(&sets, args.by.as_deref())
        .map_err(|error| BadInput(format!("{}: {error}", args.input.display())))?;
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

/// Writes results to a file, if one is given.
fn write_result(output: Option<&Path>, result: &Value) -> anyhow::Result<()> {
    let Some(output) = output else { return Ok(()) };
    let write = || {
        let mut file = AtomicFile::create(output)?;
        writeln!(file, "{result:#}")?;
        file.commit()
    };
    write().with_context(|| format!("cannot write {}", output.display()))
}

fn best_of_n(args: &BonArgs, ui: &Ui) -> anyhow::Result<Exit> {
    if let Some(output) = &args.output {
        check_file(output)?;
    }
    let sets = candidates::load(&args.input)?;
    let report = bon::report(&sets, BonOptions { reference: args.reference, seed: args.seed });
    if report.used == 0 {
        let left_out = left_out(&report).map_or_else(String::new, |line| format!(": {line}"));
        let message = format!("{}: no problem counts{left_out}", args.input.display());
        // A file without labels is of the wrong kind; one of failed records is a failed run.
        let has_failures = report.failed + report.unscored > 0;
        return Err(if has_failures { anyhow!(message) } else { BadInput(message).into() });
    }
    let methods = &report.methods;
    let example = args.example.as_ref().map(|name| {
        let names = || methods.iter().map(|method| method.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || BadInput(format!("{}: --example {name}: expected one of {}", args.input.display(), names()));
        methods.iter().find(|method| method.name == *name).ok_or_else(unknown)
    });
    let example = example.transpose()?;
    let aggregators: Map<String, Value> = methods.iter().map(|method| (method.name.clone(), json!(method))).collect();
    let result = json!({"input": args.input, "problems": report.used, "counts": report, "aggregators": aggregators});
    write_result(args.output.as_deref(), &result)?;
    let beside = args.output.as_deref().unwrap_or(Path::new(""));
    ui.result_beside(beside, &result)?;
    let max = sets.iter().map(|set| set.solutions.len()).max().unwrap_or(0);
    ui.say_beside(beside, format_args!("{} problems, up to {max} candidates each", report.used))?;
    if let Some(line) = left_out(&report) {
        ui.say_beside(beside, format_args!("left out of every figure: {line}"))?;
    }
    if report.without_logprobs > 0 {
        let count = report.without_logprobs;
        ui.say_beside(
            beside,
            format_args!("{count} problems have no log-probabilities, so methods that need them are not listed"),
        )?;
    }
    ui.say_lines_beside(beside, format_args!("\n{}", table(methods)))?;
    if let Some(errors) = errors(methods) {
        ui.say_beside(beside, format_args!("wrong choices by their first error (step_errors):"))?;
        ui.say_lines_beside(beside, format_args!("\n{errors}"))?;
    }
    if let Some(method) = example {
        show_example(&sets, method, beside, ui)?;
    }
    if let Some(output) = &args.output {
        ui.say_beside(beside, format_args!("written: {}", output.display()))?;
    }
    Ok(Exit::Done)
}

/// Prints a problem that `method` gets right and the majority wrong: both choices, with the scores of their steps.
fn show_example(sets: &[CandidateSet], method: &MethodAccuracy, beside: &Path, ui: &Ui) -> anyhow::Result<()> {
    let name = &method.name;
    let Some(example) = method.beats_majority else {
        ui.say_beside(beside, format_args!("no problem in which {name} is right and the majority is wrong"))?;
        return Ok(());
    };
    let set = &sets[example.set];
    let place = candidates::place(&set.record, example.set);
    ui.say_beside(beside, format_args!("{place}: {}", set.question.as_deref().unwrap_or_default()))?;
    for (chosen_by, candidate) in [("majority, wrong", example.majority), (&format!("{name}, right"), example.choice)] {
        ui.say_beside(beside, format_args!("{chosen_by}:"))?;
        let scores = set.scores.as_ref().and_then(|scores| scores.get(candidate));
        for (index, step) in set.solutions[candidate].iter().enumerate() {
            let score = scores.and_then(|scores| scores.get(index));
            let score = score.map_or_else(|| "    -".to_owned(), |score| format!("{score:.3}"));
            ui.say_beside(beside, format_args!("  {score}  {step}"))?;
        }
    }
    Ok(())
}

/// The wrong choices of each method by the kind of their first error; `None` where the file names none.
fn errors(methods: &[MethodAccuracy]) -> Option<Table> {
    let kinds: BTreeSet<&String> = methods.iter().flat_map(|method| method.errors.keys()).collect();
    if kinds.is_empty() {
        return None;
    }
    let mut table = Table::new(["method".to_owned()].into_iter().chain(kinds.iter().map(|kind| (*kind).clone())));
    for method in methods.iter().filter(|method| !method.errors.is_empty()) {
        let counts = kinds.iter().map(|kind| method.errors.get(*kind).copied().unwrap_or(0).to_string());
        table.row([method.name.clone()].into_iter().chain(counts));
    }
    Some(table)
}

/// The problems left out, by reason.
fn left_out(report: &Report) -> Option<String> {
    let reasons = [(report.failed, "failed"), (report.unlabelled, "without labels"), (report.unscored, "not scored")];
    let counted = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}"));
    let counted: Vec<String> = counted.collect();
    (!counted.is_empty()).then(|| counted.join(", "))
}

fn table(methods: &[MethodAccuracy]) -> Table {
    let baselines: Vec<&str> =
        BASELINES.into_iter().filter(|name| methods.iter().any(|method| method.name == *name)).collect();
    let heads = ["method", "accuracy", "from", "to"].map(str::to_owned);
    let mut table = Table::new(heads.into_iter().chain(baselines.iter().map(|name| format!("minus {name}"))));
    for method in methods {
        let number = |value: f64| format!("{value:.3}");
        let difference = |name: &&str| {
            let comparison = method.against.iter().find(|comparison| comparison.baseline == *name);
            comparison
                .map_or_else(String::new, |it| format!("{:+.3} ({:+.3} to {:+.3})", it.difference, it.ci[0], it.ci[1]))
        };
        let numbers = [number(method.accuracy), number(method.ci[0]), number(method.ci[1])];
        let differences: Vec<String> = baselines.iter().map(difference).collect();
        table.row([method.name.clone()].into_iter().chain(numbers).chain(differences));
    }
    table
}
