//! Progress and final report of the commands that run a model over many records.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use indicatif::ProgressBar;
use mmprm::data::samples::{self, TreeFiles};
use mmprm::engine::EngineStats;
use mmprm::eval::batch::{Event, Summary};
use mmprm::judge::VerdictCounts;
use mmprm::policy::Traffic;
use serde_json::{Value, json};

use crate::exit::{Exit, with_hint};
use crate::ui::Ui;

/// The trees of a directory; a note names what else has a tree's name.
pub fn trees(directory: &Path, ui: &Ui) -> anyhow::Result<Vec<PathBuf>> {
    let TreeFiles { trees, strays } = samples::tree_files(directory)?;
    if let Some(first) = strays.first() {
        let others = if strays.len() > 1 { format!(" and {} others", strays.len() - 1) } else { String::new() };
        ui.note(format_args!("{}{others} skipped: not a tree", first.display()));
    }
    Ok(trees)
}

/// Number of failures shown; the rest is in the output.
const SHOWN: usize = 5;

/// The counters of a model.
#[derive(Debug, Clone, Copy)]
pub enum Counters {
    /// A local model.
    Engine(EngineStats),
    /// A model on a server.
    Server(Traffic),
}

impl From<EngineStats> for Counters {
    fn from(snapshot: EngineStats) -> Self {
        Self::Engine(snapshot)
    }
}

impl Counters {
    /// `12.3 rollouts/s, 950 tokens/s, 1.02 processed/unique` and the like. For a server only
    /// generated tokens are shown, since prompts may have come from its cache.
    pub fn rates(&self, seconds: f64) -> String {
        let seconds = seconds.max(1e-9);
        let mut parts = Vec::new();
        if self.rollouts() > 0 {
            parts.push(format!("{:.1} rollouts/s", self.rollouts() as f64 / seconds));
        }
        match self {
            Self::Engine(snapshot) => {
                let tokens = snapshot.generated + snapshot.processed;
                parts.push(format!("{:.0} tokens/s", tokens as f64 / seconds));
                if snapshot.unique > 0 {
                    parts.push(format!("{:.2} processed/unique", snapshot.processed_per_unique()));
                    parts.push(format!("{:.1}x reuse", snapshot.requested as f64 / snapshot.processed.max(1) as f64));
                }
            }
            Self::Server(traffic) => {
                // Not every server reports token counts.
                if traffic.generated > 0 {
                    parts.push(format!("{:.0} tokens/s generated", traffic.generated as f64 / seconds));
                }
                parts.push(format!("{} requests", traffic.requests));
            }
        }
        parts.join(", ")
    }

    /// Tokens drawn, as far as a server reports them.
    pub fn generated(&self) -> u64 {
        match self {
            Self::Engine(snapshot) => snapshot.generated,
            Self::Server(traffic) => traffic.generated,
        }
    }

    /// Rollouts finished.
    fn rollouts(&self) -> u64 {
        match self {
            Self::Engine(snapshot) => snapshot.finished,
            Self::Server(traffic) => traffic.rollouts,
        }
    }

    /// The used part of an engine's cache, for the bar.
    fn cache(&self) -> String {
        match self {
            Self::Engine(snapshot) => format!(", cache {}%", 100 * snapshot.used / snapshot.cells.max(1)),
            Self::Server(_) => String::new(),
        }
    }

    /// Why results may be poor, if they may.
    fn warning(&self) -> Option<String> {
        match self {
            Self::Engine(EngineStats { beyond_trained: count @ 1.., .. }) => Some(format!(
                "prompts longer than the context that the model was trained with: {count}; their results may be poor"
            )),
            _ => None,
        }
    }

    /// Adds the counters to a JSON result, as `engine` and `processed_per_unique` or as `server`.
    pub fn put_into(&self, result: &mut Value) {
        match self {
            Self::Engine(snapshot) => {
                result["engine"] = json!(snapshot);
                result["processed_per_unique"] = json!(snapshot.processed_per_unique());
            }
            Self::Server(traffic) => result["server"] = json!(traffic),
        }
    }
}

/// Monitors a run: a bar with the model's rates, and the first failures.
pub struct Monitor<'a> {
    bar: ProgressBar,
    started: Instant,
    counters: Box<dyn Fn() -> Counters + Sync + 'a>,
    causes: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl<'a> Monitor<'a> {
    /// A monitor of `total` records, for a model whose counters `read` returns.
    pub fn new<C: Into<Counters>>(ui: &Ui, label: &str, total: usize, read: impl Fn() -> C + Sync + 'a) -> Self {
        Self {
            bar: ui.bar(label, total as u64, ""),
            started: Instant::now(),
            counters: Box::new(move || read().into()),
            causes: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// Handles an event.
    pub fn event(&self, event: Event<'_>) {
        match event {
            Event::Resumed(count) => self.bar.inc(count as u64),
            Event::Done => self.bar.inc(1),
            Event::Failed(cause) => {
                self.bar.inc(1);
                self.failed(cause);
            }
            Event::Damaged(lines) => self.note(format!(
                "{lines} damaged lines of the journal were moved to a file .damaged beside it; their records are made again"
            )),
        }
        self.tick();
    }

    /// Stores a note for the end of the run.
    pub fn note(&self, note: String) {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(note);
    }

    /// Stores a cause of failure.
    pub fn failed(&self, cause: &str) {
        let mut causes = self.causes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if causes.len() < SHOWN {
            causes.push(with_hint(cause));
        }
    }

    /// The bar, for commands that advance it themselves.
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Updates the rates beside the bar.
    pub fn tick(&self) {
        let (counters, seconds) = self.totals();
        self.bar.set_message(counters.rates(seconds) + &counters.cache());
    }

    /// The model's counters and the seconds since the start.
    pub fn totals(&self) -> (Counters, f64) {
        ((self.counters)(), self.started.elapsed().as_secs_f64())
    }

    /// Clears the bar and prints the causes of failure.
    pub fn close(&self, ui: &Ui) {
        self.bar.finish_and_clear();
        for note in self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            ui.note(note);
        }
        for cause in self.causes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            ui.warn(format_args!("failed: {cause}"));
        }
        if let Some(warning) = self.totals().0.warning() {
            ui.warn(warning);
        }
    }
}

/// Prints the final report of a run over records and returns its exit; `answers` counts the
/// verdicts, if there were any.
pub fn finish(
    summary: &Summary,
    output: &Path,
    monitor: &Monitor<'_>,
    answers: Option<&VerdictCounts>,
    ui: &Ui,
) -> anyhow::Result<Exit> {
    monitor.close(ui);
    let (counters, seconds) = monitor.totals();
    let mut result = json!({
        "output": output, "summary": summary, "seconds": seconds,
        "rollouts_per_second": counters.rollouts() as f64 / seconds.max(1e-9),
    });
    counters.put_into(&mut result);
    if let Some(answers) = answers {
        result["answers"] = json!(answers);
    }
    ui.result(&result)?;
    if summary.cancelled {
        ui.warn(format_args!("interrupted after {} records; the same command resumes", summary.done));
        return Ok(Exit::Interrupted);
    }
    if summary.resumed == summary.done {
        return found(summary, output, ui);
    }
    let rates = counters.rates(seconds);
    ui.say_beside(output, format_args!("{} records in {seconds:.1} s ({rates})", summary.done))?;
    ui.say_beside(output, format_args!("written: {}", output.display()))?;
    Ok(failures(summary, ui))
}

/// Prints the report of a run whose output was found finished before any model was loaded.
pub fn finished_before(summary: &Summary, output: &Path, ui: &Ui) -> anyhow::Result<Exit> {
    ui.result(&json!({"output": output, "summary": summary, "seconds": 0.0, "rollouts_per_second": 0.0}))?;
    found(summary, output, ui)
}

fn found(summary: &Summary, output: &Path, ui: &Ui) -> anyhow::Result<Exit> {
    ui.say_beside(output, format_args!("{}: finished by an earlier run; --force makes it anew", output.display()))?;
    Ok(failures(summary, ui))
}

fn failures(summary: &Summary, ui: &Ui) -> Exit {
    if summary.failed > 0 {
        ui.note("--retry-failed processes the failed records again");
        ui.warn(format_args!("{} of {} records failed; their causes are in the output", summary.failed, summary.done));
        return Exit::Failed;
    }
    Exit::Done
}
