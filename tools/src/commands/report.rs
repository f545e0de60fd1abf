//! Progress and closing lines of the commands that run a model over many records.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use indicatif::ProgressBar;
use mmprm::engine::Snapshot;
use mmprm::eval::batch::{Event, Summary};
use mmprm::judge::Report;
use serde_json::json;

use crate::exit::Exit;
use crate::ui::Ui;

/// Causes of failure shown; the rest is in the output.
const SHOWN: usize = 5;

/// Follows a run: a bar with the engine's rates, and the first causes of failure.
pub struct Watch<'a> {
    bar: ProgressBar,
    started: Instant,
    stats: Box<dyn Fn() -> Snapshot + Sync + 'a>,
    causes: Mutex<Vec<String>>,
}

impl<'a> Watch<'a> {
    /// A watch over `total` records, on an engine whose counters `stats` reads.
    pub fn new(ui: &Ui, label: &str, total: usize, stats: impl Fn() -> Snapshot + Sync + 'a) -> Self {
        Self {
            bar: ui.bar(label, total as u64, ""),
            started: Instant::now(),
            stats: Box::new(stats),
            causes: Mutex::default(),
        }
    }

    /// Takes note of an event.
    pub fn event(&self, event: Event<'_>) {
        match event {
            Event::Resumed(count) => self.bar.inc(count as u64),
            Event::Done => self.bar.inc(1),
            Event::Failed(cause) => {
                self.bar.inc(1);
                self.failed(cause);
            }
        }
        self.tick();
    }

    /// Remembers a cause of failure.
    pub fn failed(&self, cause: &str) {
        let mut causes = self.causes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if causes.len() < SHOWN {
            causes.push(cause.to_owned());
        }
    }

    /// The bar, for commands that count in their own way.
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Shows the engine's rates beside the bar.
    pub fn tick(&self) {
        let snapshot = (self.stats)();
        let cache = format!(", cache {}%", 100 * snapshot.used / snapshot.cells.max(1));
        self.bar.set_message(rates(&snapshot, self.started.elapsed().as_secs_f64()) + &cache);
    }

    /// The engine's counters and the seconds since the start.
    pub fn totals(&self) -> (Snapshot, f64) {
        ((self.stats)(), self.started.elapsed().as_secs_f64())
    }

    /// Clears the bar and prints the causes of failure.
    pub fn close(&self, ui: &Ui) {
        self.bar.finish_and_clear();
        for cause in self.causes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            ui.warn(format_args!("failed: {cause}"));
        }
    }
}

/// `12.3 rollouts/s, 950 tokens/s, prefix reuse 1.02 processed/unique` and the like.
pub fn rates(snapshot: &Snapshot, seconds: f64) -> String {
    let seconds = seconds.max(1e-9);
    let mut parts = Vec::new();
    if snapshot.finished > 0 {
        parts.push(format!("{:.1} rollouts/s", snapshot.finished as f64 / seconds));
    }
    let tokens = snapshot.generated + snapshot.processed;
    parts.push(format!("{:.0} tokens/s", tokens as f64 / seconds));
    if snapshot.unique > 0 {
        parts.push(format!("{:.2} processed/unique", snapshot.processed_per_unique()));
        parts.push(format!("{:.1}x reuse", snapshot.requested as f64 / snapshot.processed.max(1) as f64));
    }
    parts.join(", ")
}

/// The closing lines of a run over records, and its exit; `answers` tells who judged them, where there were any.
pub fn finish(
    summary: &Summary,
    output: &Path,
    watch: &Watch<'_>,
    answers: Option<&Report>,
    ui: &Ui,
) -> anyhow::Result<Exit> {
    watch.close(ui);
    let (snapshot, seconds) = watch.totals();
    let mut result = json!({
        "output": output, "summary": summary, "engine": snapshot, "seconds": seconds,
        "rollouts_per_second": snapshot.finished as f64 / seconds.max(1e-9),
        "processed_per_unique": snapshot.processed_per_unique(),
    });
    if let Some(answers) = answers {
        result["answers"] = json!(answers);
    }
    ui.result(&result)?;
    if summary.cancelled {
        ui.warn(format_args!("interrupted after {} records; the same command continues", summary.done));
        return Ok(Exit::Interrupted);
    }
    ui.say(format_args!("{} records in {seconds:.1} s ({})", summary.done, rates(&snapshot, seconds)))?;
    ui.say(format_args!("written: {}", output.display()))?;
    if summary.failed > 0 {
        ui.warn(format_args!("{} of {} records failed; their causes are in the output", summary.failed, summary.done));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}
