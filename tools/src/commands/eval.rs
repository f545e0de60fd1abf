//! `mmprm eval`: evaluation of selection methods.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mmprm::data::candidates;
use mmprm::eval::bon::{self, BonOptions, MethodAccuracy, Report};
use mmprm_quant::atomic::{AtomicFile, check_file};
use serde_json::{Map, Value, json};

use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::Ui;

/// Evaluate Best-of-N selection.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Bon(BonArgs),
}

/// Report the accuracy of each selection method with 95 % bootstrap intervals.
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

    /// Output file for the results as JSON.
    #[arg(short, long, alias = "out", value_name = "FILE")]
    output: Option<PathBuf>,

    /// Give candidates without steps the value 0, as MM-PRM does, which ranks them above others for
    /// sums of logarithms.
    #[arg(long)]
    reference: bool,

    /// Random seed of the bootstrap.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Bon(args) => best_of_n(args, ui),
    }
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
    let aggregators: Map<String, Value> = methods.iter().map(|method| (method.name.clone(), json!(method))).collect();
    let result = json!({"input": args.input, "problems": report.used, "counts": report, "aggregators": aggregators});
    if let Some(output) = &args.output {
        let write = || {
            let mut file = AtomicFile::create(output)?;
            writeln!(file, "{result:#}")?;
            file.commit()
        };
        write().with_context(|| format!("cannot write {}", output.display()))?;
    }
    let beside = args.output.as_deref().unwrap_or(Path::new(""));
    ui.result(&result)?;
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
    if let Some(output) = &args.output {
        ui.say_beside(beside, format_args!("written: {}", output.display()))?;
    }
    Ok(Exit::Done)
}

/// The problems left out, by reason.
fn left_out(report: &Report) -> Option<String> {
    let reasons = [(report.failed, "failed"), (report.unlabelled, "without labels"), (report.unscored, "not scored")];
    let counted = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}"));
    let counted: Vec<String> = counted.collect();
    (!counted.is_empty()).then(|| counted.join(", "))
}

fn table(methods: &[MethodAccuracy]) -> Table {
    let mut table = Table::new(["method", "accuracy", "from", "to"]);
    for method in methods {
        let number = |value: f64| format!("{value:.3}");
        table.row([method.name.clone(), number(method.accuracy), number(method.ci[0]), number(method.ci[1])]);
    }
    table
}
