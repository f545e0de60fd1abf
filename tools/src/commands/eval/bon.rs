//! `mmprm eval bon`: how well each rule selects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use mmprm::data::candidates::{self, CandidateSet};
use mmprm::eval::bon::{self, BASELINES, BonOptions, MethodAccuracy, Report};
use mmprm::eval::curve::{Curves, curves};
use mmprm_quant::atomic::check_file;
use serde_json::{Value, json};

use super::{aggregators, group_table, write_result};
use crate::args::check_distinct;
use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::{Ui, output_file};

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
pub struct Args {
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

    /// Also print the accuracy of each method with 1, 2, 4 and so on of the candidates.
    #[arg(long)]
    curve: bool,

    /// Field of the records whose values divide the problems into groups, such as `subject`: also print the accuracy in each.
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,

    /// Show a problem in which this method, such as `product`, selects a right candidate and the majority a wrong one.
    #[arg(long, value_name = "METHOD")]
    example: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if let Some(output) = &args.output {
        check_file(output)?;
        check_distinct(output, [&args.input])?;
    }
    let sets = candidates::load(&args.input)?;
    let options = BonOptions { reference: args.reference, seed: args.seed };
    let report = bon::report(&sets, options);
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
    let curves = args.curve.then(|| curves(&sets, args.seed));
    let mut result =
        json!({"input": args.input, "problems": report.used, "counts": report, "aggregators": aggregators(&report)});
    if let Some(curves) = &curves {
        result["curves"] = json!(curves);
    }
    let groups = args.by.as_deref().map(|by| bon::grouped(&sets, by, options));
    if let Some(groups) = &groups {
        let of_group = |(name, report): &(String, Report)| {
            (name.clone(), json!({"problems": report.used, "aggregators": aggregators(report)}))
        };
        result["groups"] = Value::Object(groups.iter().map(of_group).collect());
    }
    write_result(args.output.as_deref(), &result)?;
    let beside = args.output.as_deref().unwrap_or(Path::new(""));
    ui.result_beside(beside, &result)?;
    let max = sets.iter().map(|set| set.solutions.len()).max().unwrap_or(0);
    let scored = if methods.iter().any(|method| method.name == "product") { "scored" } else { "not scored" };
    ui.say_beside(beside, format_args!("{} problems, {scored}, up to {max} candidates each", report.used))?;
    let others = left_out(&report).unwrap_or_else(|| "none".to_owned());
    ui.say_beside(beside, format_args!("left out of every figure: {others}"))?;
    if report.without_logprobs > 0 {
        let count = report.without_logprobs;
        ui.say_beside(
            beside,
            format_args!("{count} problems have no log-probabilities, so methods that need them are not listed"),
        )?;
    }
    ui.say_lines_beside(beside, format_args!("\n{}", table(methods)))?;
    ui.say_beside(beside, LEGEND)?;
    if let Some(curves) = &curves {
        ui.say_beside(beside, format_args!("with n candidates drawn at random from those of the file:"))?;
        ui.say_lines_beside(beside, format_args!("\n{}", curve_table(curves)))?;
    }
    if let Some(groups) = &groups {
        let accuracy = |method: &MethodAccuracy| format!("{:.3}", method.accuracy);
        ui.say_lines_beside(beside, format_args!("\n{}", group_table("group", groups, &compared(methods), accuracy)))?;
    }
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

/// The methods that compare best: those without a reward model, the best selection and the oracle.
fn compared(methods: &[MethodAccuracy]) -> Vec<(&str, String)> {
    let best = MethodAccuracy::best(methods).map(|method| method.name.as_str());
    let mut shown: Vec<&str> = BASELINES.to_vec();
    shown.extend(best.filter(|best| !BASELINES.contains(best)));
    shown.push("oracle");
    shown.retain(|name| methods.iter().any(|method| method.name == *name));
    shown.into_iter().map(|name| (name, name.to_owned())).collect()
}

/// A row for each rule, a column for each number of candidates.
fn curve_table(curves: &Curves) -> Table {
    let heads = curves.counts.iter().map(|count| format!("n = {count}"));
    let mut table = Table::new(["method".to_owned()].into_iter().chain(heads));
    for line in &curves.lines {
        let cells = line.points.iter().map(|one| format!("{:.3} ({:.3} to {:.3})", one.accuracy, one.ci[0], one.ci[1]));
        table.row([line.name.clone()].into_iter().chain(cells));
    }
    table
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
pub(super) fn left_out(report: &Report) -> Option<String> {
    let counted = report.left_out().into_iter().map(|(count, reason)| format!("{count} {reason}"));
    let counted: Vec<String> = counted.collect();
    (!counted.is_empty()).then(|| counted.join(", "))
}

/// The table of all methods. The best selection is marked.
fn table(methods: &[MethodAccuracy]) -> Table {
    let baselines: Vec<&str> =
        BASELINES.into_iter().filter(|name| methods.iter().any(|method| method.name == *name)).collect();
    let heads = ["method", "accuracy", "95 % CI"].map(str::to_owned);
    let mut table = Table::new(heads.into_iter().chain(baselines.iter().map(|name| format!("minus {name}"))));
    let best = MethodAccuracy::best(methods).map(|method| method.accuracy);
    for method in methods {
        let difference = |name: &&str| {
            let comparison = method.against.iter().find(|comparison| comparison.baseline == *name);
            comparison
                .map_or_else(String::new, |it| format!("{:+.3} ({:+.3} to {:+.3})", it.difference, it.ci[0], it.ci[1]))
        };
        let mark = if method.selects() && Some(method.accuracy) == best { " *" } else { "" };
        let interval = format!("{:.3} to {:.3}", method.ci[0], method.ci[1]);
        let numbers = [format!("{}{mark}", method.name), format!("{:.3}", method.accuracy), interval];
        table.row(numbers.into_iter().chain(baselines.iter().map(difference)));
    }
    table
}

/// What the table's columns are.
const LEGEND: &str = "accuracy: fraction of problems in which a right candidate is selected; * the best selection. pass@k and oracle: a \
right candidate among k, or among all. 95 % CI and, in brackets, those of the differences on the same problems: bootstrap over \
problems.";
