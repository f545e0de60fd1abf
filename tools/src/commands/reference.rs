//! `mmprm cli-reference`: `docs/cli.md`, written from the declarations of the commands and flags.
//!
//! Hidden from the help: `tools/tests/docs.rs` runs it and compares its output with the file.

use std::fmt::{self, Write as _};
use std::io;

use anyhow::Context;
use clap::{Arg, Command};

use crate::exit::Exit;

const INTRODUCTION: &str = "\
# Command line

<!-- Generated from the flags' declarations; do not edit. To regenerate:
     MMPRM_UPDATE=1 cargo test --release -p mmprm-tools --test docs -->

Every command and flag of `mmprm`, as `mmprm COMMAND --help` shows them.
";

/// Print docs/cli.md.
#[derive(clap::Args)]
pub struct Args {}

/// Prints the reference of `command`, the whole program.
pub fn run(mut command: Command) -> anyhow::Result<Exit> {
    command.build();
    let mut text = INTRODUCTION.to_owned();
    section(&mut text, &command, &[])?;
    io::Write::write_all(&mut io::stdout(), text.as_bytes()).context("cannot print the reference")?;
    Ok(Exit::Done)
}

/// Appends the section of `command` and those of its subcommands; `above` are the commands it is
/// under.
fn section(text: &mut String, command: &Command, above: &[&str]) -> fmt::Result {
    let path: Vec<&str> = above.iter().copied().chain([command.get_name()]).collect();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    write!(text, "\n## `{}`\n\n", path.join(" "))?;
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        write!(text, "{}\n\n", escaped(&about.to_string()))?;
    }
    writeln!(text, "```text\n{usage}\n```")?;
    let subcommands: Vec<&Command> =
        command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help").collect();
    if !subcommands.is_empty() {
        writeln!(text, "\nCommands:\n")?;
    }
    for subcommand in &subcommands {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        let link = [path.as_slice(), &[subcommand.get_name()]].concat();
        writeln!(text, "* [`{}`](#{}): {}", subcommand.get_name(), link.join("-"), escaped(&about))?;
    }
    // Flags for all commands are listed once, at the top.
    let is_listed = |arg: &&Arg| {
        !arg.is_hide_set()
            && !["help", "version"].contains(&arg.get_id().as_str())
            && (above.is_empty() || !arg.is_global_set())
    };
    let heading = |arg: &Arg| match arg.get_help_heading() {
        Some(heading) => heading.to_owned(),
        None if arg.is_positional() => "Arguments".to_owned(),
        None => "Options".to_owned(),
    };
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for arg in command.get_arguments().filter(is_listed) {
        match groups.iter_mut().find(|(name, _)| *name == heading(arg)) {
            Some((_, args)) => args.push(arg),
            None => groups.push((heading(arg), vec![arg])),
        }
    }
    // Arguments and ungrouped flags come first, the other groups as they are declared.
    groups.sort_by_key(|(name, _)| match name.as_str() {
        "Arguments" => 0,
        "Options" => 1,
        _ => 2,
    });
    for (name, args) in groups {
        write!(text, "\n{name}:\n\n")?;
        for arg in args {
            entry(text, arg)?;
        }
    }
    if let Some(examples) = command.get_after_long_help() {
        let lines = examples.to_string();
        let lines: Vec<&str> = lines.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        write!(text, "\nExamples:\n\n```sh\n{}\n```\n", lines.join("\n"))?;
    }
    for subcommand in subcommands {
        section(text, subcommand, &path)?;
    }
    Ok(())
}

/// Appends the list item of one argument or flag.
fn entry(text: &mut String, arg: &Arg) -> fmt::Result {
    let takes_values =
        arg.get_action().takes_values() && arg.get_num_args().is_none_or(|number| number.max_values() > 0);
    let names = arg.get_value_names().filter(|_| takes_values).unwrap_or_default();
    let value = names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ");
    let spelling = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
        (None, Some(long)) => format!("--{long} {value}"),
        (Some(short), None) => format!("-{short} {value}"),
        (None, None) => value,
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    write!(text, "* `{}`: {}", spelling.trim(), escaped(&help.replace("\n\n", "\n")))?;
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_values && !defaults.is_empty() {
        write!(text, " [default: `{}`]", defaults.join(" "))?;
    }
    if let Some(variable) = arg.get_env() {
        write!(text, " [environment: `{}`]", variable.to_string_lossy())?;
    }
    writeln!(text)?;
    let values = if takes_values { arg.get_possible_values() } else { Vec::new() };
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        let help = value.get_help().map(|help| format!(": {}", escaped(&help.to_string()))).unwrap_or_default();
        writeln!(text, "  * `{}`{help}", value.get_name())?;
    }
    Ok(())
}

/// `text` with the characters escaped that Markdown would read as its own, outside of code.
fn escaped(text: &str) -> String {
    let mut in_code = false;
    let mut escaped = String::new();
    for character in text.chars() {
        in_code ^= character == '`';
        if !in_code && ['<', '*'].contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
