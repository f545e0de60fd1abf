//! The run: a few workers, each searching one problem at a time.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::log::{Line, Log, Status};
use super::slots::Slots;
use super::{AnnotateError, AnnotateOptions, Event, Plan, Progress, Summary, settings};
use crate::data::problem::Problem;
use crate::data::solution::{Continue, Rollout};
use crate::data::tree::file_stem;
use crate::judge::Verifier;
use crate::policy::{PolicyError, RolloutModel, RolloutRequest, Traced};
use crate::search::{Observer, Outcome, SearchError, SearchStats, search};
use crate::util::cancel::CancelToken;
use crate::util::pool;

/// Searches every problem that has no tree in `directory` yet; see the [module](super).
///
/// Setting `cancel` stops the run at each search's next request to the policy; the problems in flight are abandoned, and a
/// later run takes them up. A search that fails, or panics, costs its own problem only.
///
/// # Errors
/// [`AnnotateError`] where the run itself cannot go on: a directory in use, a full disk.
pub fn annotate(
    problems: &[Problem],
    directory: &Path,
    options: &AnnotateOptions,
    policy: &dyn RolloutModel,
    verifier: &dyn Verifier,
    progress: &dyn Progress,
    cancel: &CancelToken,
) -> Result<Summary, AnnotateError> {
    options.params.validate()?;
    let directory = Directory::open(directory)?;
    settings::record(directory.path(), &settings::settings(&options.params, &options.settings), options.mixed)?;
    let (log, failed_before) = Log::open(&directory.log_path())?;
    let (plan, tasks) = plan(problems, &directory, &failed_before, options.retry_failed);
    progress.event(Event::Planned(plan));

    let stop = cancel.child();
    let shared = Shared { log, summary: Summary::default() };
    let run = Run {
        directory: &directory,
        options,
        policy: Cancellable { policy, stop: stop.clone(), slots: Slots::new(options.slots) },
        verifier,
        progress,
        shared: Mutex::new(shared),
    };
    let work = |task: &Task<'_>| {
        let kept = run.work(task);
        if !matches!(kept, Ok(true)) {
            stop.cancel();
        }
        kept
    };
    pool::run(&tasks, options.parallel.get(), &stop, work, |_, kept| kept.map(drop))?;

    let Shared { summary, .. } = run.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Summary {
        already_done: plan.already_done,
        failed_before: plan.failed_before,
        repeated: plan.repeated,
        cancelled: summary.done + summary.failed < tasks.len(),
        ..summary
    })
}

/// A problem to search.
struct Task<'a> {
    problem: &'a Problem,
    stem: String,
}

fn plan<'a>(
    problems: &'a [Problem],
    directory: &Directory,
    failed_before: &HashSet<String>,
    retry_failed: bool,
) -> (Plan, Vec<Task<'a>>) {
    let mut plan = Plan { pending: 0, already_done: 0, failed_before: 0, repeated: 0 };
    let mut seen = HashSet::new();
    let mut tasks = Vec::new();
    for problem in problems {
        let stem = file_stem(problem);
        if !seen.insert(stem.clone()) {
            plan.repeated += 1;
        } else if directory.has_tree(&stem) {
            plan.already_done += 1;
        } else if !retry_failed && failed_before.contains(&stem) {
            plan.failed_before += 1;
        } else {
            plan.pending += 1;
            tasks.push(Task { problem, stem });
        }
    }
    (plan, tasks)
}

/// A policy that draws nothing more once a flag is set, whether or not the policy itself knows of it, and guesses only where
/// there is room for them.
struct Cancellable<'a> {
    policy: &'a dyn RolloutModel,
    stop: CancelToken,
    slots: Slots,
}

impl Cancellable<'_> {
    fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    fn draw<T>(
        &self,
        request: &RolloutRequest<'_>,
        draw: impl FnOnce() -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        let draw = || if self.is_cancelled() { Err(PolicyError::Cancelled) } else { draw() };
        self.slots.draw(request.count, request.guess, || self.is_cancelled(), draw)
    }
}

impl RolloutModel for Cancellable<'_> {
    fn continues(&self) -> Continue {
        self.policy.continues()
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError> {
        self.draw(request, || self.policy.rollouts(request))
    }

    fn traced(&self, request: &RolloutRequest<'_>) -> Result<Vec<Traced>, PolicyError> {
        self.draw(request, || self.policy.traced(request))
    }
}

/// What the workers have in common.
struct Run<'a> {
    directory: &'a Directory,
    options: &'a AnnotateOptions,
    policy: Cancellable<'a>,
    verifier: &'a dyn Verifier,
    progress: &'a dyn Progress,
    shared: Mutex<Shared>,
}

/// What the workers change.
struct Shared {
    log: Log,
    summary: Summary,
}

/// How a search ended.
enum End {
    Finished(Box<Outcome>),
    Failed(String),
    Cancelled,
}

impl Run<'_> {
    /// Searches a problem and keeps what came of it; returns false if the run is being cancelled.
    fn work(&self, task: &Task<'_>) -> Result<bool, AnnotateError> {
        self.progress.event(Event::Started { problem: task.problem });
        let started = Instant::now();
        let mut counter = Counter { progress: self.progress, problem: task.problem, rollouts: 0, unjudged: 0 };
        let end = self.search(task.problem, &mut counter);
        self.count(&counter);
        match &end {
            End::Finished(outcome) => self.keep_tree(task, outcome, started.elapsed())?,
            End::Failed(cause) => self.keep_failure(task, cause, &counter, started.elapsed())?,
            End::Cancelled => return Ok(false),
        }
        Ok(true)
    }

    fn search(&self, problem: &Problem, observer: &mut dyn Observer) -> End {
        let search = || search(problem, &self.policy, self.verifier, &self.options.params, observer);
        // Nothing outlives the search that a panic could have left half-changed, save the policy, which guards itself.
        match catch_unwind(AssertUnwindSafe(search)) {
            Ok(Ok(outcome)) => End::Finished(Box::new(outcome)),
            Ok(Err(SearchError::RolloutModel(PolicyError::Cancelled))) => End::Cancelled,
            // A verifier that is being stopped, or that stops the run, has no verdict: the problem did not fail.
            Ok(Err(SearchError::Verifier(_))) if self.policy.is_cancelled() => End::Cancelled,
            Ok(Err(error)) => End::Failed(error.to_string()),
            Err(panic) => End::Failed(format!("internal error: {}", message(&*panic))),
        }
    }

    fn keep_tree(&self, task: &Task<'_>, outcome: &Outcome, elapsed: Duration) -> Result<(), AnnotateError> {
        let &Task { problem, ref stem } = task;
        self.directory.write_tree(stem, &outcome.tree)?;
        let SearchStats { rollouts, unjudged, searches, guesses, guesses_dropped, .. } = outcome.stats;
        let seconds = elapsed.as_secs_f64();
        let mut shared = self.shared();
        shared.log.append(&Line {
            id: &problem.id,
            stem,
            status: Status::Done,
            cause: None,
            rollouts,
            unjudged,
            searches,
            guesses,
            guesses_dropped,
            seconds,
            continues: self.continues(),
        })?;
        shared.summary.done += 1;
        shared.summary.searches += searches;
        shared.summary.guesses += guesses;
        shared.summary.guesses_dropped += guesses_dropped;
        shared.summary.never_solved += usize::from(outcome.tree.root.mc_value <= 0.0);
        shared.summary.always_solved += usize::from(outcome.tree.root.mc_value >= 1.0);
        drop(shared);
        self.progress.event(Event::Finished { problem, outcome, elapsed });
        Ok(())
    }

    fn keep_failure(
        &self,
        task: &Task<'_>,
        cause: &str,
        counter: &Counter<'_>,
        elapsed: Duration,
    ) -> Result<(), AnnotateError> {
        let &Task { problem, ref stem } = task;
        let seconds = elapsed.as_secs_f64();
        let status = Status::Failed;
        let mut shared = self.shared();
        shared.log.append(&Line {
            id: &problem.id,
            stem,
            status,
            cause: Some(cause),
            rollouts: counter.rollouts,
            unjudged: counter.unjudged,
            searches: 0,
            guesses: 0,
            guesses_dropped: 0,
            seconds,
            continues: self.continues(),
        })?;
        shared.summary.failed += 1;
        drop(shared);
        self.progress.event(Event::Failed { problem, cause });
        Ok(())
    }

    /// Where rollouts have the steps before them, for the log.
    fn continues(&self) -> Option<String> {
        let continues = self.policy.continues();
        (continues != Continue::default()).then(|| continues.to_string())
    }

    fn count(&self, counter: &Counter<'_>) {
        let summary = &mut self.shared().summary;
        summary.rollouts += counter.rollouts;
        summary.unjudged += counter.unjudged;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Only this module's own few lines run under the lock, and none of them leaves half a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a problem's rollouts and passes them on.
struct Counter<'a> {
    progress: &'a dyn Progress,
    problem: &'a Problem,
    rollouts: usize,
    unjudged: usize,
}

impl Observer for Counter<'_> {
    fn rollouts_drawn(&mut self, count: usize) {
        self.rollouts += count;
        self.progress.event(Event::Rollouts { problem: self.problem, count });
    }

    fn rollouts_unjudged(&mut self, count: usize) {
        self.unjudged += count;
    }
}

/// The text of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}
