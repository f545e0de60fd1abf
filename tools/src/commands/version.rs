//! `mmprm version`: what this program is built from.

use crate::build_info;
use crate::exit::Exit;
use crate::ui::Ui;

/// Show version, commit, engine backends and llama.cpp's version.
///
/// The same as --version; with --json as an object.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    ui.say_lines(format_args!("mmprm {}", build_info::version()))?;
    ui.result(&build_info::to_json())?;
    Ok(Exit::Done)
}
