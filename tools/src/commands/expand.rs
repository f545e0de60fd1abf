//! `mmprm train expand`: a model with more layers.

use std::path::PathBuf;

use mmprm::train::expand::{ExpandError, expand};
use mmprm::util::io::FileError;
use mmprm_quant::atomic::check_directory;
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::ui::{Ui, output_directory};

/// Append identity-initialised layers to a model (block expansion, a research aid).
///
/// Each new layer is a copy of the last one with output matrices of zero, so that the model computes the same until it is
/// trained. A small policy needs them to become a reward model: its prediction of the next token forms in its last
/// layer, whose output no later position attends to. Models of real size have enough layers.
#[derive(clap::Args)]
pub struct Args {
    /// The model, a Hugging Face directory.
    #[arg(value_name = "HF_DIR")]
    model: PathBuf,

    /// Number of new layers of the language model.
    #[arg(long, value_name = "N")]
    layers: usize,

    /// Directory for the expanded checkpoint.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    match expand(&args.model, args.layers, &args.output) {
        Err(error @ ExpandError::File(FileError::Write { .. })) => return Err(error.into()),
        result => result.map_err(|error| BadInput(error.to_string()))?,
    }
    ui.say(format_args!("{} more layers: {}", args.layers, args.output.display()))?;
    ui.result(&json!({"model": args.model, "layers": args.layers, "out": args.output}))?;
    Ok(Exit::Done)
}
