//! `mmprm eval`: evaluation of whole benchmarks, selection rules, step scores and answer rules.

mod bench;
mod bon;
mod judge;
mod steps;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use mmprm_quant::atomic::AtomicFile;
use serde_json::Value;

use crate::exit::Exit;
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
