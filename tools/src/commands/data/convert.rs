//! `mmprm data convert`: step-labelled solutions in another form.

use std::path::PathBuf;

use anyhow::anyhow;
use mmprm::data::convert::{ConvertError, StepForm, convert};
use mmprm::data::import::ImportError;
use mmprm_quant::atomic::check_file;
use serde_json::json;

use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::{Ui, output_file};

/// Convert step-labelled solutions between published forms.
///
/// The form of FILE is recognised by its fields. Every solution is written so that it reads back the same; what the form has no place
/// for is an error that names it: labels between 0 and 1 in forms with hard labels (see --threshold), images in text forms, steps without
/// a label, labels after the first wrong step in ProcessBench. Fields that no form knows are carried along. Paths of images stay as they
/// are.
///
/// Forms: mmprm (training samples), solutions (of data import), prm800k, math-shepherd, trl (prompt, completions, labels), processbench,
/// visualprm (steps_with_score), omegaprm (OpenR's prefixes with MC values).
#[derive(clap::Args)]
pub struct Args {
    /// The solutions (JSON, JSON Lines or Parquet).
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// The form to write.
    #[arg(long, value_name = "FORM")]
    to: StepForm,

    /// Output file (JSON Lines); `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: PathBuf,

    /// Make labels hard: right from this value on, 0 to 1. An MC value counts as right in Math-Shepherd's way with a tiny threshold.
    #[arg(long, value_name = "LABEL", value_parser = threshold)]
    threshold: Option<f64>,
}

fn threshold(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| *number > 0.0 && *number <= 1.0);
    number.ok_or_else(|| "expected a label above 0, at most 1".to_owned())
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_file(&args.output)?;
    let summary = convert(&args.input, args.to, args.threshold, &args.output).map_err(|error| match error {
        ConvertError::Source(ImportError::File(error)) => anyhow!(error),
        ConvertError::IsSource { .. } => Usage(format!("{error}; give another --output")).into(),
        ConvertError::Write(error) => anyhow!(error),
        error => {
            let text = error.to_string();
            let hint = if text.ends_with("give a threshold") { " (--threshold)" } else { "" };
            BadInput(format!("{text}{hint}")).into()
        }
    })?;
    ui.result_beside(&args.output, &json!(summary))?;
    ui.say_beside(
        &args.output,
        format_args!(
            "{} to {}: {} solutions of {} records",
            summary.from, summary.to, summary.solutions, summary.records
        ),
    )?;
    if !summary.not_carried.is_empty() {
        let mut table = Table::new(["not carried along", "records"]);
        for (what, count) in &summary.not_carried {
            table.row([(*what).to_owned(), count.to_string()]);
        }
        ui.say_lines_beside(&args.output, format_args!("\n{table}"))?;
    }
    ui.say_beside(&args.output, format_args!("written: {}", args.output.display()))?;
    Ok(Exit::Done)
}
