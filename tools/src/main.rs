//! The `mmprm` command line.
//!
//! Each subcommand is one file under `commands`: its flags, declared once, and what they mean in terms of the library.
//! Only this package parses flags and prints; everything it does can be called from the `mmprm` and `mmprm-quant` crates.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, where backticks would be noise")]

mod args;
mod commands;
mod exit;
mod judging;
mod machine;
mod planning;
mod policy;
mod table;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;
use ui::Ui;

/// Step-level judging of multimodal mathematics on one workstation.
///
/// The pipeline: `convert` and `quantize` make GGUF files of a checkpoint; `generate` writes candidate solutions; `score`
/// judges each of their steps; `eval` chooses among them; `annotate` searches solutions for their first wrong step
/// (OmegaPRM); `judge` lets a vision model label the same steps; `samples` turns what was found into training data, and `train` learns
/// from it, whole models or adapters, which `merge` folds into them; `verify` compares answers by rules. `doctor` says what
/// fits this machine, and `bench` measures it.
/// `make demo` shows all of it on small models that come with the source.
#[derive(Parser)]
#[command(name = "mmprm", version, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    output: ui::OutputArgs,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input data, 4 interrupted with state kept \
(the same command continues).";

#[derive(Subcommand)]
enum Command {
    Convert(commands::convert::Args),
    Quantize(commands::quantize::Args),
    Inspect(commands::inspect::Args),
    Generate(commands::generate::Args),
    Score(commands::score::Args),
    Eval(commands::eval::Args),
    Annotate(commands::annotate::Args),
    Judge(commands::judge::Args),
    Samples(commands::samples::Args),
    Train(commands::train::Args),
    Merge(commands::merge::Args),
    #[command(hide = true)]
    Grow(commands::expand::Args),
    Verify(commands::verify::Args),
    Bench(commands::bench::Args),
    Doctor(commands::doctor::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = match Ui::start(&cli.output) {
        Ok(ui) => ui,
        Err(error) => {
            eprintln!("mmprm: {}", exit::sentence(&error));
            return Exit::of(&error).into();
        }
    };
    let result = match cli.command {
        Command::Convert(args) => commands::convert::run(&args, &ui),
        Command::Quantize(args) => commands::quantize::run(&args, &ui),
        Command::Inspect(args) => commands::inspect::run(&args, &ui),
        Command::Generate(args) => commands::generate::run(&args, &ui),
        Command::Score(args) => commands::score::run(&args, &ui),
        Command::Eval(args) => commands::eval::run(&args, &ui),
        Command::Annotate(args) => commands::annotate::run(&args, &ui),
        Command::Judge(args) => commands::judge::run(&args, &ui),
        Command::Samples(args) => commands::samples::run(&args, &ui),
        Command::Train(args) => commands::train::run(&args, &ui),
        Command::Merge(args) => commands::merge::run(&args, &ui),
        Command::Grow(args) => commands::expand::run(&args, &ui),
        Command::Verify(args) => commands::verify::run(&args, &ui),
        Command::Bench(args) => commands::bench::run(&args, &ui),
        Command::Doctor(args) => commands::doctor::run(&args, &ui),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            if exit != Exit::BrokenPipe {
                eprintln!("mmprm: {}", exit::sentence(&error));
            }
            exit.into()
        }
    }
}
