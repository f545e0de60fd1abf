//! `mmprm eval judge`: agreement of answer rules with given verdicts.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mmprm::answer::Comparison;
use mmprm::eval::triples::{self, Agreement, Triple};
use mmprm_quant::atomic::check_file;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::write_result;
use crate::args::check_distinct;
use crate::commands::verify::{RuleName, table};
use crate::exit::{BadInput, Exit};
use crate::ui::{Ui, output_file};

/// Report how often answer rules agree with the verdicts of people or of a judge model.
///
/// Reads JSON Lines with `gold`, `pred` and `verdict`, as `mmprm verify -o` does, which writes the outcome of each line. For each rule
/// and each `source`: the fraction of lines with a verdict that the rule decides the same way, answers that it takes to be equal
/// although they are not and the reverse, and those that it leaves to a judge.
#[derive(clap::Args)]
pub struct Args {
    /// Files of answers with verdicts.
    #[arg(value_name = "JSONL", required = true)]
    inputs: Vec<PathBuf>,

    /// Rule to measure; may be repeated.
    #[arg(long, value_name = "RULE", default_value = "general")]
    rule: Vec<RuleName>,

    /// Output file for the results as JSON; `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if let Some(output) = &args.output {
        check_file(output)?;
        check_distinct(output, &args.inputs)?;
    }
    let mut all: Vec<Triple> = Vec::new();
    for path in &args.inputs {
        all.extend(triples::load(path)?);
    }
    let judged = all.iter().filter(|triple| triple.verdict.is_some()).count();
    if judged == 0 {
        return Err(BadInput(format!("{}: no line has a `verdict`", args.inputs[0].display())).into());
    }
    let rules: Vec<(String, Vec<Agreement>)> =
        args.rule.iter().map(|rule| (name(*rule), measure(*rule, &all))).collect();
    let by_rule: Map<String, Value> = rules.iter().map(|(name, rows)| (name.clone(), json!(rows))).collect();
    let result = json!({"inputs": args.inputs, "answers": all.len(), "judged": judged, "rules": by_rule});
    write_result(args.output.as_deref(), &result)?;
    let beside = args.output.as_deref().unwrap_or(Path::new(""));
    ui.result_beside(beside, &result)?;
    ui.say_beside(beside, format_args!("{} answers, {judged} with a verdict", all.len()))?;
    for (name, rows) in &rules {
        ui.say_lines_beside(beside, format_args!("\n{name} rule\n\n{}", table(rows)))?;
    }
    if let Some(output) = &args.output {
        ui.say_beside(beside, format_args!("written: {}", output.display()))?;
    }
    Ok(Exit::Done)
}

fn measure(rule: RuleName, all: &[Triple]) -> Vec<Agreement> {
    let comparisons: Vec<Comparison> = all.par_iter().map(|triple| triple.compare(rule.rule())).collect();
    triples::tally(all, &comparisons)
}

/// The rule's name on the command line.
fn name(rule: RuleName) -> String {
    rule.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
