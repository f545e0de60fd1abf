//! `mmprm eval`: evaluation of whole benchmarks, selection rules, step scores and answer rules.

mod bench;
mod bon;
mod judge;
mod steps;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use mmprm::eval::bon::{MethodAccuracy, Report};
use mmprm_quant::atomic::AtomicFile;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::table::Table;
use crate::ui::Ui;

/// Evaluate Best-of-N selection, step scores, answer rules and whole benchmarks.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Bench(Box<bench::Args>),
    Bon(bon::Args),
    Steps(steps::Args),
    Judge(judge::Args),
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Bench(args) => bench::run(args, ui),
        What::Bon(args) => bon::run(args, ui),
        What::Steps(args) => steps::run(args, ui),
        What::Judge(args) => judge::run(args, ui),
    }
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

/// The figures of each method, by its name.
fn aggregators(report: &Report) -> Map<String, Value> {
    report.methods.iter().map(|method| (method.name.clone(), json!(method))).collect()
}

/// A method's figures, if it was measured on any problem.
fn measured<'a>(report: &'a Report, name: &str) -> Option<&'a MethodAccuracy> {
    report.methods.iter().find(|method| method.name == name && method.total > 0)
}

/// A row for each group: its problems and the accuracy of the methods `shown`, each under a heading of its own.
fn group_table(
    what: &str,
    groups: &[(String, Report)],
    shown: &[(&str, String)],
    figure: impl Fn(&MethodAccuracy) -> String,
) -> Table {
    let headings = shown.iter().map(|(_, heading)| heading.clone());
    let mut table = Table::new([what, "problems"].map(str::to_owned).into_iter().chain(headings));
    for (group, report) in groups {
        let accuracy = |(name, _): &(&str, String)| measured(report, name).map_or_else(|| "-".to_owned(), &figure);
        table.row([group.clone(), report.used.to_string()].into_iter().chain(shown.iter().map(accuracy)));
    }
    table
}
