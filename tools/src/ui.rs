//! What a person or a script sees: progress bars on a terminal, one JSON object for machines, silence when asked.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::exit::Usage;
use mmprm::util::cancel::CancelToken;

/// How to report.
#[derive(clap::Args)]
pub struct OutputArgs {
    /// Print the result as one JSON object, and nothing else.
    #[arg(long, global = true)]
    json: bool,

    /// Print only errors.
    #[arg(long, short, global = true)]
    quiet: bool,

    /// What to log to standard error: error, warn, info, debug, trace, or a filter such as `llama.cpp=debug`.
    #[arg(long, global = true, env = "MMPRM_LOG", default_value = "warn", value_name = "LEVEL")]
    log: String,
}

/// The output of one run.
#[derive(Debug)]
pub struct Ui {
    json: bool,
    quiet: bool,
    bars: bool,
    interrupted: CancelToken,
    started: Instant,
}

impl Ui {
    /// Sets up logging and the interrupt handler.
    pub fn start(args: &OutputArgs) -> anyhow::Result<Self> {
        let started = Instant::now();
        let filter = tracing_subscriber::EnvFilter::try_new(&args.log)
            .map_err(|error| Usage(format!("--log {}: expected a level or a filter ({error})", args.log)))?;
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
        let interrupted = CancelToken::new();
        let flag = interrupted.clone();
        // The first interrupt asks the run to stop and keep its state; a second one ends the process at once, which the
        // journals survive as well.
        ctrlc::set_handler(move || {
            if flag.is_cancelled() {
                std::process::exit(i32::from(crate::exit::Exit::Interrupted.code()));
            }
            flag.cancel();
        })
        .context("cannot handle interrupts")?;
        let bars = !args.json && !args.quiet && std::io::stderr().is_terminal();
        Ok(Self { json: args.json, quiet: args.quiet, bars, interrupted, started })
    }

    /// Seconds since the program began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Turns true when the user interrupts.
    pub fn interrupted(&self) -> &CancelToken {
        &self.interrupted
    }

    /// Whether the user has interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_cancelled()
    }

    /// A bar over `total` of something; hidden unless standard error is a terminal. `unit` is `B` for bytes.
    pub fn bar(&self, label: &str, total: u64, unit: &str) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
        let template = if unit == "B" {
            "{prefix:>10} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left {msg}"
        } else {
            "{prefix:>10} [{bar:30}] {pos}/{len} {elapsed} elapsed, {eta} left  {msg}"
        };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }

    /// A line for people, on standard output; nothing in quiet and JSON modes.
    pub fn say(&self, line: impl std::fmt::Display) -> anyhow::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        writeln!(std::io::stdout().lock(), "{line}")?;
        Ok(())
    }

    /// A line for people about something they may not expect, on standard error; nothing in quiet and JSON modes.
    pub fn note(&self, line: impl std::fmt::Display) {
        if !self.json && !self.quiet {
            eprintln!("mmprm: note: {line}");
        }
    }

    /// A line about something that went wrong without ending the run, on standard error.
    #[expect(clippy::unused_self, reason = "all output goes through the run's Ui")]
    pub fn warn(&self, line: impl std::fmt::Display) {
        eprintln!("mmprm: {line}");
    }

    /// The result for machines, on standard output; nothing outside JSON mode.
    pub fn result(&self, value: &Value) -> anyhow::Result<()> {
        if self.json {
            writeln!(std::io::stdout().lock(), "{value}")?;
        }
        Ok(())
    }
}

/// `1.5 GiB` and the like.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
