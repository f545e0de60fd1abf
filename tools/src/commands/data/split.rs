//! `mmprm data split`: a file of records divided into parts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::anyhow;
use mmprm::data::records::Records;
use mmprm::dataset::OutputError;
use mmprm::dataset::split::{Part, SplitError, SplitOptions, SplitSummary, split};
use mmprm_quant::atomic::check_directory;
use serde_json::json;

use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::{Ui, output_directory};

/// Divide a file into parts, such as training and test problems.
///
/// FILE has problems, candidates or training samples. Every record is in one part, as it is and in the file's order; the parts are
/// DIR/NAME.json, or .jsonl for JSON Lines, with the images copied beside them. The same file and seed give the same parts.
///
/// Records of one problem are never in two parts: equal questions (but for case, spaces and typography) whose images look alike, all
/// records that show one image file, and candidates of one id. A part may miss its size where such a group is larger than what is left
/// of it; the table then says so.
#[derive(clap::Args)]
pub struct Args {
    /// The file (JSON or JSON Lines).
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Directory for the parts; created if missing.
    #[arg(short, long, value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// Names and sizes of the parts: fractions that add up to 1, or numbers of records; one may be `rest`.
    #[arg(long, value_name = "NAME=SIZE,…", value_delimiter = ',', default_value = "train=0.8,val=0.1,test=0.1")]
    parts: Vec<Part>,

    /// Field whose values every part has in the same proportions, such as level or subject.
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,

    /// Random seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Directory that image paths are relative to and may not leave [default: that of FILE].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Replace the parts of an earlier split.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    let records = Records::load(&args.input, args.data_root.as_deref())?;
    let options =
        SplitOptions { parts: args.parts.clone(), by: args.by.clone(), seed: args.seed, replaces: args.force };
    let summary = split(&records, &args.input, &args.output, &options).map_err(|error| match error {
        SplitError::Sizes(cause) => Usage(format!("--parts: {cause}")).into(),
        SplitError::NoField { .. } => BadInput(format!("{}: {error}", args.input.display())).into(),
        SplitError::Output(error) => output_error(error),
        error => anyhow!(error),
    })?;
    ui.result(&json!(summary))?;
    report(&summary, ui)?;
    Ok(Exit::Done)
}

/// An error of the output, with the option that helps.
pub(super) fn output_error(error: OutputError) -> anyhow::Error {
    match error {
        OutputError::Exists { is_source: false, .. } => {
            Usage(format!("{error}; give another --output, or --force to replace it")).into()
        }
        OutputError::Exists { .. } | OutputError::OtherImage { .. } => {
            Usage(format!("{error}; give another --output")).into()
        }
        OutputError::Image { .. } => BadInput(format!("{error} (mmprm data curate drops such records)")).into(),
        error => anyhow!(error),
    }
}

fn report(summary: &SplitSummary, ui: &Ui) -> anyhow::Result<()> {
    let values: BTreeSet<&String> = summary.parts.iter().flat_map(|part| part.by.keys()).collect();
    let mut header = vec!["part".to_owned(), "records".to_owned(), "wanted".to_owned()];
    header.extend(values.iter().map(|value| (*value).clone()));
    let mut table = Table::new(header);
    for part in &summary.parts {
        let counts = values.iter().map(|value| part.by.get(*value).copied().unwrap_or_default());
        let numbers = [part.records, part.wanted].into_iter().chain(counts);
        table.row(std::iter::once(part.name.clone()).chain(numbers.map(|number| number.to_string())));
    }
    ui.say_lines(table)?;
    if summary.tied_groups > 0 {
        ui.say(format_args!(
            "{} records share their question or an image with others: {} groups, the largest of {}, each in one part",
            summary.tied_records, summary.tied_groups, summary.largest_group
        ))?;
    }
    for part in summary.parts.iter().filter(|part| part.records != part.wanted) {
        ui.say(format_args!(
            "{} has {} records instead of {}: groups are not divided",
            part.name, part.records, part.wanted
        ))?;
    }
    let paths: Vec<String> = summary.parts.iter().map(|part| part.path.display().to_string()).collect();
    ui.say(format_args!("written: {}", paths.join(", ")))
}
