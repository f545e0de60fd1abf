//! `mmprm merge`: folds an adapter into its base checkpoint.

use std::ops::ControlFlow;
use std::path::PathBuf;

use mmprm::train::lora::{MergeError, merge};
use mmprm::util::io::FileError;
use mmprm::util::printable::printable;
use mmprm_quant::atomic::check_directory;
use mmprm_quant::progress::Progress;
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::ui::{Ui, output_directory};

/// Fold an adapter into its base checkpoint.
///
/// The result is a checkpoint directory with the base's files: tensors of the same names, shapes and types with merged values,
/// and the trained rows of new tokens and projector, if any. Weights are streamed, so memory does not depend on the size of the
/// checkpoint.
#[derive(clap::Args)]
pub struct Args {
    /// The adapter's directory, as written by `mmprm train` with `lora` or by Python's PEFT.
    #[arg(value_name = "ADAPTER")]
    adapter: PathBuf,

    /// The checkpoint that it was trained on.
    #[arg(long, value_name = "HF_DIR")]
    base: PathBuf,

    /// Directory for the merged checkpoint.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    let bar = ui.bar("merge", 0, "B");
    let mut watch = |progress: Progress<'_>| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(printable(progress.item));
        if ui.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result = merge(&args.adapter, &args.base, &args.output, &mut watch);
    bar.finish_and_clear();
    match result {
        Err(MergeError::Cancelled) => {
            ui.warn("interrupted; unfinished files were removed");
            return Ok(Exit::Interrupted);
        }
        Err(error @ MergeError::File(FileError::Write { .. })) => return Err(error.into()),
        result => result.map_err(|error| BadInput(error.to_string()))?,
    }
    ui.say(format_args!("merged: {}", args.output.display()))?;
    ui.result(&json!({"adapter": args.adapter, "base": args.base, "out": args.output}))?;
    Ok(Exit::Done)
}
