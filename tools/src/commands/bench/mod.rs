//! `mmprm bench`: how fast this machine is, one file a kind of work.

mod train;

use crate::exit::Exit;
use crate::ui::Ui;

/// Measure speed and memory.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Train(train::Args),
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Train(args) => train::run(args, ui),
    }
}
