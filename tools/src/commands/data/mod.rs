//! `mmprm data`: data sets, of others and as a whole.

mod convert;
mod curate;
mod import;
mod split;
mod stats;

use crate::exit::Exit;
use crate::ui::Ui;

/// Import, count, divide, curate and convert data sets.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Import(import::Args),
    Stats(stats::Args),
    Split(split::Args),
    Curate(curate::Args),
    Convert(convert::Args),
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Import(args) => import::run(args, ui),
        What::Stats(args) => stats::run(args, ui),
        What::Split(args) => split::run(args, ui),
        What::Curate(args) => curate::run(args, ui),
        What::Convert(args) => convert::run(args, ui),
    }
}
