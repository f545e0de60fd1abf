//! `mmprm eval`: evaluation of selection rules and of step scores.

mod bon;
mod steps;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use mmprm_quant::atomic::AtomicFile;
use serde_json::Value;

use crate::exit::Exit;
use crate::ui::Ui;

/// Evaluate Best-of-N selection and step scores.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Bon(bon::Args),
    Steps(steps::Args),
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Bon(args) => bon::run(args, ui),
        What::Steps(args) => steps::run(args, ui),
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
