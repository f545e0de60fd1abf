//! `mmprm data import`: files of a published data set become problems or step-labelled solutions.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::builder::RangedU64ValueParser;
use mmprm::data::import::sets::{SETS, Set};
use mmprm::data::import::{ImportError, ImportOptions, ImportSummary, import};
use mmprm::engine::EngineError;
use mmprm_quant::atomic::check_directory;
use serde_json::json;

use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::Ui;

/// Import a data set: Parquet, JSON, JSON Lines or CSV as published, with zip archives of images.
///
/// Writes DIR/problems.json for `generate`, `annotate` and `solve`, or DIR/solutions.json (steps with their labels) for `score` and
/// `eval steps`, and every image once in DIR/images. Questions read as the set's own evaluation shows them; columns that are not used
/// stay in the records. Rows that cannot be used are counted by reason, and the first of each named.
///
/// Sets: auto (recognised by its columns), mathvista, mathverse, mathvision, olympiadbench, mmk12 (also mm-k12), math500, gsm8k,
/// processbench, prmbench, visualprocessbench, prm800k, math-shepherd,
/// omegaprm, json (also csv; columns named by --map).
#[derive(clap::Args)]
pub struct Args {
    /// Name of the set, or auto.
    #[arg(value_name = "NAME", value_parser = set)]
    set: Choice,

    /// Its files, and zip archives of the images that are not beside them; archives are read, not unpacked.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Directory for the problems and images; created if missing.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Column that holds a field (id, question, answer, image, or another one such as unit); for the set json.
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = mapping)]
    map: Vec<(String, String)>,

    /// Directory that image paths in the files are relative to and may not leave [default: that of each file].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Replace the problems of an earlier import.
    #[arg(long)]
    force: bool,

    /// Read only the first N rows.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: Option<usize>,
}

/// A set, or `None` to recognise it.
#[derive(Clone)]
struct Choice(Option<&'static Set>);

fn set(name: &str) -> Result<Choice, String> {
    let names = || SETS.iter().map(|set| set.name).collect::<Vec<_>>().join(", ");
    match name {
        "auto" => Ok(Choice(None)),
        name => {
            Set::named(name).map(|set| Choice(Some(set))).ok_or_else(|| format!("expected auto or one of {}", names()))
        }
    }
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(field, column)| !field.is_empty() && !column.is_empty());
    parts.map(|(field, column)| (field.to_owned(), column.to_owned())).ok_or_else(|| "expected FIELD=COLUMN".to_owned())
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    let is_general = args.set.0.is_some_and(|set| set.name == "json" || set.name == "mmk12");
    if !args.map.is_empty() && !is_general {
        return Err(
            Usage("--map names the columns of the set json; other sets have columns of their own".into()).into()
        );
    }
    let options = ImportOptions {
        set: args.set.0,
        mapping: args.map.clone(),
        image_root: args.data_root.clone(),
        limit: args.limit,
        replaces: args.force,
    };
    let bar = ui.bar("importing", 0, "");
    let summary = import(&args.files, &args.output, &options, &mut |rows| {
        bar.set_length(rows as u64);
        bar.set_position(rows as u64);
        !ui.is_interrupted()
    });
    bar.finish_and_clear();
    let summary = summary.map_err(|error| match error {
        ImportError::Cancelled => anyhow!(EngineError::Cancelled).context("interrupted; nothing was written"),
        ImportError::File(error) => anyhow!(error),
        ImportError::Exists { is_source: false, .. } => {
            Usage(format!("{error}; give another --output, or --force to replace it")).into()
        }
        ImportError::Exists { .. } => Usage(format!("{error}; give another --output")).into(),
        ImportError::UnknownSet { .. } => {
            BadInput(format!("{error} (mmprm data import json … --map FIELD=COLUMN)")).into()
        }
        error => BadInput(error.to_string()).into(),
    })?;
    report(&summary, ui)?;
    Ok(Exit::Done)
}

fn report(summary: &ImportSummary, ui: &Ui) -> anyhow::Result<()> {
    let ImportSummary { set, rows, records, without_answer, images, .. } = summary;
    ui.result(&json!(summary))?;
    let what = if summary.output.ends_with("solutions.json") { "solutions" } else { "problems" };
    ui.say(format_args!("{set}: {records} {what} of {rows} rows, {images} images"))?;
    if *without_answer > 0 && what == "problems" {
        ui.say(format_args!("{without_answer} problems have no answer"))?;
    }
    if !summary.dropped.is_empty() {
        let mut table = Table::new(["left out", "rows", "first"]);
        for (reason, count) in &summary.dropped {
            let first = summary.examples.get(reason).and_then(|examples| examples.first()).cloned().unwrap_or_default();
            table.row([(*reason).to_owned(), count.to_string(), first]);
        }
        ui.say_lines(format_args!("\n{table}"))?;
    }
    ui.say(format_args!("written: {}", summary.output.display()))
}
