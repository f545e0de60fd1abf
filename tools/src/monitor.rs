//! Progress and final report of the commands that run a model over many records.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use indicatif::ProgressBar;
use mmprm::data::candidates;
use mmprm::data::samples::{self, TreeFiles};
use mmprm::engine::EngineStats;
use mmprm::eval::batch::{Event, Summary};
use mmprm::judge::VerdictCounts;
use mmprm::policy::Traffic;
use mmprm_quant::atomic::is_written_through;
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
    /// `12.3 rollouts/s, 950 tokens/s` and the like, and where the reader wants more, how far prefixes
    /// were reused. For a server only generated tokens are shown, since prompts may have come from its
    /// cache.
    pub fn rates(&self, seconds: f64, is_verbose: bool) -> String {
        let seconds = seconds.max(1e-9);
        let mut parts = Vec::new();
        if self.rollouts() > 0 {
            parts.push(format!("{:.1} rollouts/s", self.rollouts() as f64 / seconds));
        }
        match self {
            Self::Engine(snapshot) => {
                let tokens = snapshot.generated + snapshot.processed;
                parts.push(format!("{:.0} tokens/s", tokens as f64 / seconds));
                if is_verbose && snapshot.unique > 0 {
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
    is_verbose: bool,
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
            is_verbose: ui.is_verbose(),
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
        let cache = if self.is_verbose { counters.cache() } else { String::new() };
        self.bar.set_message(counters.rates(seconds, self.is_verbose) + &cache);
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
    ui.result_beside(output, &result)?;
    if summary.cancelled {
        ui.warn(format_args!("interrupted after {} records; the same command resumes", summary.done));
        return Ok(Exit::Interrupted);
    }
    if summary.resumed == summary.done {
        return found(summary, output, ui);
    }
    let rates = counters.rates(seconds, ui.is_verbose());
    ui.say_beside(output, format_args!("{} problems in {seconds:.1} s ({rates})", summary.done))?;
    if let Some(line) = candidates_of(output) {
        ui.say_beside(output, line)?;
    }
    ui.say_beside(output, format_args!("written: {}", output.display()))?;
    Ok(failures(summary, ui))
}

/// Maximum size in bytes of an output that is read again for its report.
const MAX_READ: u64 = 256 << 20;

/// How many problems of a Best-of-N file are solved by at least one candidate, and how many candidates are right, as far as answers
/// are known; or how many candidates and step scores there are. `None` for an output that cannot be read again, such as a pipe.
fn candidates_of(output: &Path) -> Option<String> {
    let metadata = std::fs::metadata(output).ok().filter(|_| !is_written_through(output))?;
    if metadata.len() > MAX_READ {
        return None;
    }
    let sets = candidates::load(output).ok()?;
    let count: usize = sets.iter().map(|set| set.solutions.len()).sum();
    let scores: usize = sets.iter().filter_map(|set| set.scores.as_ref()).flatten().map(Vec::len).sum();
    let scored = if scores > 0 { format!(", {scores} steps scored") } else { String::new() };
    let labels: Vec<&Vec<bool>> =
        sets.iter().filter_map(|set| set.labels.as_ref()).filter(|labels| !labels.is_empty()).collect();
    let solved = labels.iter().filter(|labels| labels.contains(&true)).count();
    let (right, judged) = labels.iter().fold((0, 0), |(right, judged), labels| {
        (right + labels.iter().filter(|label| **label).count(), judged + labels.len())
    });
    let right = match judged {
        0 => "; no answer is known".to_owned(),
        judged => format!(
            "; {solved} of {} problems with a known answer have a right one (solved), {:.1} % of their candidates are right",
            labels.len(),
            100.0 * right as f64 / judged as f64
        ),
    };
    Some(format!("{count} candidates{scored}{right}"))
}

/// Prints the report of a run whose output was found finished before any model was loaded.
pub fn finished_before(summary: &Summary, output: &Path, ui: &Ui) -> anyhow::Result<Exit> {
    ui.result_beside(
        output,
        &json!({"output": output, "summary": summary, "seconds": 0.0, "rollouts_per_second": 0.0}),
    )?;
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
