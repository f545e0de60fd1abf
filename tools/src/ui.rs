//! Output of a run: lines and progress bars for people, one JSON object for scripts, nothing with
//! `--quiet`.
//!
//! Also sets up logging and the handler of interrupts. Results go to standard output, everything else
//! to standard error.

use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::builder::{PathBufValueParser, TypedValueParser};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use mmprm_quant::atomic::is_written_through;
use serde_json::Value;

use crate::exit::{Exit, Usage};
use mmprm::util::cancel::CancelToken;
use mmprm::util::printable::{printable, printable_lines};

/// How to report.
#[derive(clap::Args)]
#[command(next_help_heading = "Reporting")]
pub struct OutputArgs {
    /// Print the result as one JSON object and nothing else.
    #[arg(long, global = true)]
    json: bool,

    /// Print only errors.
    #[arg(long, short, global = true)]
    quiet: bool,

    /// Print more: tables of single tensors, and figures of prefix reuse.
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    verbose: bool,

    /// Log level on standard error: error, warn, info, debug, trace, or a filter such as
    /// `llama.cpp=debug`.
    #[arg(long, global = true, env = "MMPRM_LOG", default_value = "warn", value_name = "LEVEL")]
    log: String,
}

/// The output of one run.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag, or follows from some")]
pub struct Ui {
    json: bool,
    quiet: bool,
    verbose: bool,
    bars: bool,
    /// Whether results are printed: not those of a step of a longer command.
    prints_results: bool,
    interrupted: CancelToken,
    started: Instant,
}

/// Takes over the handling of interrupts (Ctrl-C, SIGTERM, SIGHUP), which otherwise end the process
/// with the signal's code; returns the token that they cancel.
pub fn handle_interrupts() -> anyhow::Result<CancelToken> {
    let interrupted = CancelToken::new();
    let flag = interrupted.clone();
    // The first interrupt asks the run to stop and keep its state; the second ends the process
    // at once, which journals survive too.
    ctrlc::set_handler(move || {
        if flag.is_cancelled() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        flag.cancel();
    })
    .context("cannot handle interrupts")?;
    Ok(interrupted)
}

impl Ui {
    /// Sets up logging. `interrupted` is what [`handle_interrupts`] returned.
    pub fn start(args: &OutputArgs, interrupted: CancelToken) -> anyhow::Result<Self> {
        let started = Instant::now();
        let filter = tracing_subscriber::EnvFilter::try_new(&args.log).map_err(|error| {
            Usage(format!(
                "--log {}: expected error, warn, info, debug, trace or a filter such as llama.cpp=debug ({error})",
                args.log
            ))
        })?;
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).without_time().init();
        let bars = !args.json && !args.quiet && std::io::stderr().is_terminal();
        Ok(Self {
            json: args.json,
            quiet: args.quiet,
            verbose: args.verbose,
            bars,
            prints_results: true,
            interrupted,
            started,
        })
    }

    /// As this, for a step of a longer command: shows progress, notes and warnings, but prints no result.
    #[must_use]
    pub fn for_a_step(&self) -> Self {
        let interrupted = self.interrupted.clone();
        Self { prints_results: false, interrupted, ..*self }
    }

    /// Whether to print more than the summary.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether results are printed for people.
    pub fn is_for_people(&self) -> bool {
        !self.json && !self.quiet && self.prints_results
    }

    /// Seconds since the program started.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The token that an interrupt cancels.
    pub fn interrupted(&self) -> &CancelToken {
        &self.interrupted
    }

    /// Whether the user has interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }

    /// A progress bar up to `total`, hidden unless standard error is a terminal. The unit `B` shows
    /// bytes.
    pub fn bar(&self, label: &str, total: u64, unit: &str) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        let template = if unit == "B" {
            "{prefix:>10} {bar:30} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {left}  {wide_msg}"
        } else {
            "{prefix:>10} {bar:30} {pos}/{len}, {rate}, {left}  {wide_msg}"
        };
        shown(ProgressBar::new(total), label, template)
    }

    /// As [`bar`](Self::bar), for work of unknown length.
    pub fn spinner(&self, label: &str) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        shown(ProgressBar::new_spinner(), label, "{prefix:>10} {spinner} {elapsed}  {wide_msg}")
    }

    /// Prints a line on standard output; nothing with `--quiet` or `--json`. Control characters are
    /// [escaped](printable).
    pub fn say(&self, line: impl std::fmt::Display) -> anyhow::Result<()> {
        if self.is_for_people() { print(&printable(line)) } else { Ok(()) }
    }

    /// As [`say`](Self::say), for several lines, such as a table.
    pub fn say_lines(&self, lines: impl std::fmt::Display) -> anyhow::Result<()> {
        if self.is_for_people() { print(&printable_lines(lines)) } else { Ok(()) }
    }

    /// Prints text that is drawn for a terminal, whose parts from elsewhere are escaped already; nothing with `--quiet` or
    /// `--json`.
    pub fn draw(&self, text: &str) -> anyhow::Result<()> {
        if self.is_for_people() { print(text.strip_suffix('\n').unwrap_or(text)) } else { Ok(()) }
    }

    /// Prints a result that has a form of its own, such as JSON Lines, on standard output in every mode.
    #[expect(clippy::unused_self, reason = "all output goes through the run's Ui")]
    pub fn write_result(&self, text: &str) -> anyhow::Result<()> {
        let Some(text) = text.strip_suffix('\n') else { return Ok(()) };
        print(text)
    }

    /// Prints a line about a run that writes to `output`: as [`say`](Self::say), or on standard error
    /// where the output itself is a device or a pipe, such as standard output.
    pub fn say_beside(&self, output: &Path, line: impl std::fmt::Display) -> anyhow::Result<()> {
        self.say_lines_beside(output, printable(line))
    }

    /// As [`say_beside`](Self::say_beside), for several lines.
    pub fn say_lines_beside(&self, output: &Path, lines: impl std::fmt::Display) -> anyhow::Result<()> {
        if !is_written_through(output) {
            return self.say_lines(lines);
        }
        if self.is_for_people() {
            print_error(&printable_lines(lines));
        }
        Ok(())
    }

    /// Prints a line about something unexpected on standard error; nothing with `--quiet` or
    /// `--json`.
    pub fn note(&self, line: impl std::fmt::Display) {
        if !self.json && !self.quiet {
            print_error(&printable(format_args!("mmprm: note: {line}")));
        }
    }

    /// Prints a line about a failure that does not end the run, on standard error, in every mode.
    #[expect(clippy::unused_self, reason = "all output goes through the run's Ui")]
    pub fn warn(&self, line: impl std::fmt::Display) {
        print_error(&printable(format_args!("mmprm: {line}")));
    }

    /// As [`result`](Self::result), for a run that writes to `output`: on standard error where that is standard output, whose
    /// reader gets the output alone.
    pub fn result_beside(&self, output: &Path, value: &Value) -> anyhow::Result<()> {
        if self.json && self.prints_results && is_stdout(output) {
            print_error(&value.to_string());
            return Ok(());
        }
        self.result(value)
    }

    /// Prints the result on standard output; nothing without `--json`.
    pub fn result(&self, value: &Value) -> anyhow::Result<()> {
        if self.json && self.prints_results { print(&value.to_string()) } else { Ok(()) }
    }
}

/// Draws a bar in the form of `template`, often enough to look smooth.
fn shown(bar: ProgressBar, label: &str, template: &str) -> ProgressBar {
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(12));
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
        let _ = write!(text, "{:.1}/s", state.per_sec());
    });
    let style = style.with_key("left", |state: &ProgressState, text: &mut dyn fmt::Write| {
        // Nothing is known before the first is done.
        let _ = match state.pos() {
            0 => write!(text, "? left"),
            _ => write!(text, "{:#} left", HumanDuration(state.eta())),
        };
    });
    // Eighths of a column, so that the bar grows evenly.
    bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(125));
    bar
}

/// Parses the path of an output file, where `-` is standard output.
pub fn output_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| if path.as_os_str() == "-" { STDOUT.into() } else { path })
}

/// Parses the path of an output directory, which standard output cannot be.
pub fn output_directory() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            Err("this command writes several files; give a directory (./- for one of that name)")
        } else {
            Ok(path)
        }
    })
}

/// Parses the path of a binary output file, which is not for a terminal.
pub fn binary_output() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.as_os_str() == "-" {
            Err("a GGUF file is binary and not written to standard output; give a file")
        } else {
            Ok(path)
        }
    })
}

/// Standard output as a file.
const STDOUT: &str = "/dev/stdout";

/// Whether a path names standard output.
fn is_stdout(path: &Path) -> bool {
    [STDOUT, "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// Prints a line on standard output. That its reader has gone does not end the run, whose work and
/// exit code do not depend on it; a full disk does.
fn print(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

/// Prints a line on standard error. There is nowhere to say that this failed.
pub fn print_error(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The log on standard error: one line an event, without control characters.
struct Log;

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        print_error(&printable(text.strip_suffix('\n').unwrap_or(&text)));
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A size such as `1.50 GiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
