//! `mmprm data`: data sets of others.

mod import;

use crate::exit::Exit;
use crate::ui::Ui;

/// Import published data sets.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Import(import::Args),
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Import(args) => import::run(args, ui),
    }
}
