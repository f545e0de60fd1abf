//! `mmprm grow`: a model with more layers.

use std::path::PathBuf;

use mmprm::train::expand::{GrowError, grow};
use serde_json::json;

use crate::exit::{BadInput, Exit};
use crate::ui::Ui;

/// Put new layers on top of a model, which change nothing until they are trained.
///
/// A reward model must notice where a text is not what it would have written itself. A model of few layers only knows that in
/// its last one, where nothing can look at it any more: new layers give it room. Each is a copy of the last layer with outputs
/// of zero. Models of real size have layers enough.
#[derive(clap::Args)]
pub struct Args {
    /// The model, a Hugging Face directory.
    #[arg(value_name = "HF_DIR")]
    model: PathBuf,

    /// New layers of the language model.
    #[arg(long, value_name = "N")]
    layers: usize,

    /// Directory for the grown checkpoint.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match grow(&args.model, args.layers, &args.out) {
        Err(error @ GrowError::Write { .. }) => return Err(error.into()),
        result => result.map_err(|error| BadInput(error.to_string()))?,
    }
    ui.say(format_args!("{} more layers: {}", args.layers, args.out.display()))?;
    ui.result(&json!({"model": args.model, "layers": args.layers, "out": args.out}))?;
    Ok(Exit::Done)
}
