//! `mmprm report`: a page about runs.

use std::path::PathBuf;

use anyhow::Context;
use mmprm::data::candidates::CandidateSet;
use mmprm::eval::selection::Selection;
use mmprm::report::input::{Content, Input};
use mmprm::report::{ReportOptions, input, report};
use mmprm_quant::atomic::{check_file, write};
use serde_json::json;

use crate::args::check_distinct;
use crate::exit::{BadInput, Exit};
use crate::ui::{self, Ui, output_file};

/// Show runs as one page of HTML that needs nothing else.
///
/// Inputs, in any combination, recognised by what is in them: candidates of `generate` or `score`, trees of `annotate`, training
/// samples, training runs (directory or log.jsonl), results of `bench --json`.
///
/// The page shows accuracy against the number of candidates and the table of `eval bon`, score distributions and calibration,
/// training curves, speed, the configuration of each run, and every problem with its image, its candidates, the score of each
/// step, and its search tree. Problems can be filtered; the address in the browser is a link to what is shown. Problems that
/// failed, have no labels or could not be scored are shown as such and are in no figure.
#[derive(clap::Args)]
pub struct Args {
    /// File or directory to show.
    #[arg(value_name = "PATH", required = true)]
    inputs: Vec<PathBuf>,

    /// Output file.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: PathBuf,

    /// Folder that image paths are relative to and confined to [default: that of the problems, where the input is from `mmprm
    /// generate` or `score`, else the folder of the input].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Field of the records whose values divide the problems into groups [default: the first of family, subject, category and
    /// source that there is].
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,

    /// Selection rule that the list of problems begins with, such as `min` [default: product, or majority without scores].
    #[arg(long, value_name = "RULE")]
    rule: Option<Selection>,

    /// Title of the page [default: the names of the inputs].
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// Random seed of the bootstrap.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Refuses a rule or a field that no candidates have what it needs of.
fn check_choices(args: &Args, inputs: &[Input]) -> anyhow::Result<()> {
    let sets = inputs.iter().filter_map(|input| match &input.content {
        Content::Candidates(sets) => Some(sets),
        _ => None,
    });
    let sets: Vec<&CandidateSet> = sets.flatten().collect();
    let missing =
        |rule: Selection| if sets.is_empty() { Some("candidates") } else { rule.missing_in(sets.iter().copied()) };
    if let Some(rule) = args.rule
        && let Some(missing) = missing(rule)
    {
        return Err(BadInput(format!("--rule {rule}: no record has `{missing}`")).into());
    }
    let has = |field: &String| sets.iter().any(|set| set.record.get(field).is_some_and(|value| !value.is_null()));
    match &args.by {
        Some(field) if !has(field) => Err(BadInput(format!("--by {field}: no record has this field")).into()),
        _ => Ok(()),
    }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_file(&args.output)?;
    check_distinct(&args.output, &args.inputs)?;
    let mut inputs = Vec::new();
    for path in &args.inputs {
        inputs.extend(input::read(path)?);
    }
    check_choices(args, &inputs)?;
    let options = ReportOptions {
        title: args.title.clone(),
        data_root: args.data_root.clone(),
        by: args.by.clone(),
        rule: args.rule,
        seed: args.seed,
    };
    let page = report(&inputs, &options);
    write(&args.output, page.html.as_bytes()).with_context(|| format!("cannot write {}", args.output.display()))?;
    let summary = &page.summary;
    ui.result(&json!({"output": args.output, "summary": summary}))?;
    let mut parts = vec![format!("{} problems, {} candidates", summary.problems, summary.candidates)];
    let others = [
        (summary.trees, "search trees"),
        (summary.images, "images"),
        (summary.images_missing, "images not found or unreadable, shown as their path"),
        (summary.formulas_as_text, "formulas shown as text"),
    ];
    parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    ui.say_beside(&args.output, parts.join(", "))?;
    let size = ui::bytes(summary.bytes as u64);
    ui.say_beside(&args.output, format_args!("written: {} ({size})", args.output.display()))?;
    Ok(Exit::Done)
}
