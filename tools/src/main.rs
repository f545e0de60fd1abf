//! The `mmprm` command line.
//!
//! Each subcommand is one file in `commands`: its flags and what they mean in terms of the library.
//! Only this package parses flags and prints; everything it does can be called from the crates
//! `mmprm` and `mmprm-quant`.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, where backticks would be noise")]

mod args;
mod build_info;
mod commands;
mod draw;
mod examples;
mod exit;
mod judging;
mod machine;
mod models;
mod monitor;
mod planning;
mod policy;
mod profile;
mod scorer;
mod table;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use exit::Exit;
use ui::Ui;

/// Process reward models for multimodal mathematics (MM-PRM) on one workstation.
///
/// One problem: `solve` samples solutions, scores their steps and shows the best; `config` stores
/// which models it uses.
///
/// Models: `convert` turns a checkpoint into GGUF files, `quantize` makes them smaller, `inspect`
/// shows what is in one.
///
/// Best-of-N: `generate` samples candidate solutions, `score` scores each of their steps,
/// `search` lets the scores steer them as they grow, `choose` selects one of each problem, `eval` measures selection, `ablate` compares ways of training by it, `show` and `report` show any of
/// these files, in the terminal and as a page, `verify` compares answers by rules.
///
/// Data: `data import` reads published data sets, `data stats` counts what is in a file, `data split` divides it,
/// `data curate` keeps what is worth training on, `data convert`
/// writes step-labelled solutions in other forms.
///
/// Training: `annotate` labels steps by tree search (OmegaPRM), `judge` by a vision model;
/// `samples` turns labelled trees into training samples; `train` trains a policy or a reward model,
/// whole or as adapters, which `merge` folds into their base.
///
/// This machine: `doctor` shows what fits, `bench` measures speed, `version` shows what this
/// program is built from, `completions` completes commands and flags in a shell.
///
/// `make demo` in the source tree runs the whole pipeline on small models.
#[derive(Parser)]
#[command(name = "mmprm", version, long_version = build_info::version(), max_term_width = 110, after_help = EXIT_CODES)]
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
    Solve(commands::solve::Args),
    Convert(commands::convert::Args),
    Quantize(commands::quantize::Args),
    Inspect(commands::inspect::Args),
    Generate(commands::generate::Args),
    Score(commands::score::Args),
    Search(commands::search::Args),
    Choose(commands::choose::Args),
    Show(commands::show::Args),
    Eval(commands::eval::Args),
    Ablate(commands::ablate::Args),
    Data(commands::data::Args),
    Report(commands::report::Args),
    Annotate(commands::annotate::Args),
    Judge(commands::judge::Args),
    Samples(commands::samples::Args),
    Train(commands::train::Args),
    Merge(commands::merge::Args),
    #[command(hide = true)]
    Grow(commands::expand::Args),
    Verify(commands::verify::Args),
    Bench(commands::bench::Args),
    Config(commands::config::Args),
    Doctor(commands::doctor::Args),
    Version(commands::version::Args),
    Completions(commands::completions::Args),
    #[command(hide = true)]
    Man(commands::man::Args),
    #[command(hide = true)]
    CliReference(commands::reference::Args),
}

/// The program with all commands, flags and examples.
fn program() -> clap::Command {
    commands::train::with_defaults(examples::add_to(Cli::command()))
}

fn main() -> ExitCode {
    // First of all: an interrupt during the start, too, ends with its own exit code.
    let result = ui::handle_interrupts().and_then(|interrupted| {
        let cli = Cli::from_arg_matches(&program().get_matches()).unwrap_or_else(|error| error.exit());
        let ui = Ui::start(&cli.output, interrupted)?;
        run(cli.command, &ui)
    });
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            if exit != Exit::BrokenPipe {
                ui::print_error(&format!("mmprm: {}", exit::sentence(&error)));
            }
            exit.into()
        }
    }
}

fn run(command: Command, ui: &Ui) -> anyhow::Result<Exit> {
    if ui.is_interrupted() {
        ui.warn("interrupted before the work began");
        return Ok(Exit::Interrupted);
    }
    match command {
        Command::Solve(args) => commands::solve::run(&args, ui),
        Command::Convert(args) => commands::convert::run(&args, ui),
        Command::Quantize(args) => commands::quantize::run(&args, ui),
        Command::Inspect(args) => commands::inspect::run(&args, ui),
        Command::Generate(args) => commands::generate::run(&args, ui),
        Command::Score(args) => commands::score::run(&args, ui),
        Command::Search(args) => commands::search::run(&args, ui),
        Command::Choose(args) => commands::choose::run(&args, ui),
        Command::Show(args) => commands::show::run(&args, ui),
        Command::Eval(args) => commands::eval::run(&args, ui),
        Command::Ablate(args) => commands::ablate::run(&args, ui),
        Command::Data(args) => commands::data::run(&args, ui),
        Command::Report(args) => commands::report::run(&args, ui),
        Command::Annotate(args) => commands::annotate::run(&args, ui),
        Command::Judge(args) => commands::judge::run(&args, ui),
        Command::Samples(args) => commands::samples::run(&args, ui),
        Command::Train(args) => commands::train::run(&args, ui),
        Command::Merge(args) => commands::merge::run(&args, ui),
        Command::Grow(args) => commands::expand::run(&args, ui),
        Command::Verify(args) => commands::verify::run(&args, ui),
        Command::Bench(args) => commands::bench::run(&args, ui),
        Command::Config(args) => commands::config::run(&args, ui),
        Command::Doctor(args) => commands::doctor::run(&args, ui),
        Command::Version(args) => commands::version::run(&args, ui),
        Command::Completions(args) => commands::completions::run(&args, program()),
        Command::Man(args) => commands::man::run(&args, program(), ui),
        Command::CliReference(_) => commands::reference::run(program()),
    }
}
