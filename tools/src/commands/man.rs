//! `mmprm man`: man pages, written from the declarations of the commands and flags.
//!
//! Hidden from the help: `make man` and `make install` run it.

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use mmprm_quant::atomic::{self, check_directory};
use serde_json::json;

use crate::exit::Exit;
use crate::ui::{Ui, output_directory};

/// Write a man page for the program and one for each command.
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the pages, such as man1.
    #[arg(short, long, value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,
}

/// Writes the pages of `program`.
pub fn run(args: &Args, mut program: Command, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    program.build();
    let mut files = Vec::new();
    pages(&program, &mut files)?;
    for (name, page) in &files {
        atomic::write(&args.output.join(name), page)?;
    }
    let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    ui.result(&json!({"output": args.output, "pages": names}))?;
    ui.say(format_args!("written: {} man pages in {}", files.len(), args.output.display()))?;
    Ok(Exit::Done)
}

/// Adds the page of `command`, which is built, and those of the commands below it.
fn pages(command: &Command, files: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    let man = Man::new(command.clone()).source(concat!("mmprm ", env!("CARGO_PKG_VERSION"))).manual("mmprm");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut end = Vec::new();
    man.render_extra_section(&mut end)?;
    page.extend_from_slice(headed(&String::from_utf8_lossy(&end)).as_bytes());
    files.push((man.get_filename(), page));
    let mut below = command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
    below.try_for_each(|inner| pages(inner, files))
}

/// The text after the options under the usual heading of a man page.
fn headed(end: &str) -> String {
    const HEADINGS: [(&str, &str); 2] =
        [(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n"), (".SH EXTRA\nExit codes: ", ".SH \"EXIT STATUS\"\n")];
    HEADINGS.iter().fold(end.to_owned(), |end, (from, to)| end.replace(from, to))
}
