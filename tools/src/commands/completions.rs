//! `mmprm completions`: the completion script of a shell.

use std::io::Write as _;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

use crate::exit::Exit;

/// Print the completion script of a shell.
///
/// Commands, flags and their values are completed once the shell has read the script. `make install` puts those of bash, zsh and
/// fish in their usual places.
#[derive(clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script for `program`.
pub fn run(args: &Args, mut program: Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "mmprm", &mut script);
    std::io::stdout().lock().write_all(&script).context("cannot print the script")?;
    Ok(Exit::Done)
}
