//! The run: workers that each search one problem at a time.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::directory::{Directory, LOG_NAME};
use super::log::{Line, Log, Status};
use super::slots::Slots;
use super::{AnnotateError, AnnotateOptions, Event, Plan, Progress, Summary, settings};
use crate::data::problem::Problem;
use crate::data::solution::Continue;
use crate::data::tree::file_stem;
use crate::judge::Verifier;
use crate::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use crate::search::{Observer, Outcome, SearchError, SearchStats, search_observed};
use crate::util::cancel::CancelToken;
use crate::util::pool;

/// Searches every problem that has no tree in `directory` yet; see the [module](super).
///
/// Cancelling `cancel` ends the run at each search's next request to the policy; problems in
/// progress are abandoned and searched by a later run. A search that fails or panics fails its own
/// problem only.
///
/// # Errors
/// [`AnnotateError`] where the run cannot continue: a directory in use, a full disk.
pub fn annotate(
    problems: &[Problem],
    directory: &Path,
    options: &AnnotateOptions,
    policy: &dyn RolloutModel,
    verifier: &dyn Verifier,
    progress: &dyn Progress,
    cancel: &CancelToken,
) -> Result<Summary, AnnotateError> {
    // Nothing is written, not even the lock, to a directory that is then refused.
    check(directory, options)?;
    let log_path = directory.join(LOG_NAME);
    let directory = Directory::open(directory)?;
    let settings = settings::settings(&options.params, &options.settings);
    let settings = settings::compare(directory.path(), &settings, options.mixed)?;
    let (log, history) = Log::open(&log_path, |stem| directory.has_tree(stem))?;
    settings.store()?;
    if history.damaged > 0 {
        progress.event(Event::Damaged { log: &log_path, lines: history.damaged });
    }
    let (plan, tasks) = plan(problems, &directory, &history.failures, options.retry_failed);
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

/// Checks, without changing anything and before any model is loaded, that [`annotate`] will not refuse
/// the parameters or the directory.
///
/// # Errors
/// [`AnnotateError`].
pub fn check(directory: &Path, options: &AnnotateOptions) -> Result<(), AnnotateError> {
    options.params.validate()?;
    Directory::check(directory)?;
    let settings = settings::settings(&options.params, &options.settings);
    settings::compare(directory, &settings, options.mixed)?;
    Log::check(&directory.join(LOG_NAME))
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

/// A policy whose requests end once the run is stopped, even if it has no cancel token itself, and
/// whose speculative requests wait for room.
struct Cancellable<'a> {
    policy: &'a dyn RolloutModel,
    stop: CancelToken,
    slots: Slots,
}

impl Cancellable<'_> {
    fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }
}

impl RolloutModel for Cancellable<'_> {
    fn continues(&self) -> Continue {
        self.policy.continues()
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let sample = || if self.is_cancelled() { Err(PolicyError::Cancelled) } else { self.policy.rollouts(request) };
        self.slots.run(request.count, request.speculation, || self.is_cancelled(), sample)
    }
}

/// State shared by the workers.
struct Run<'a> {
    directory: &'a Directory,
    options: &'a AnnotateOptions,
    policy: Cancellable<'a>,
    verifier: &'a dyn Verifier,
    progress: &'a dyn Progress,
    shared: Mutex<Shared>,
}

/// What the workers change, under one lock.
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
    /// Searches a problem and writes its tree or its failure; returns false if the run is cancelled.
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
        let search = || search_observed(problem, &self.policy, self.verifier, &self.options.params, observer);
        // Only the policy outlives a search that panics, and it guards its own state.
        match catch_unwind(AssertUnwindSafe(search)) {
            Ok(Ok(outcome)) => End::Finished(Box::new(outcome)),
            Ok(Err(SearchError::Policy(PolicyError::Cancelled))) => End::Cancelled,
            // A verifier without a verdict because the run is being stopped does not fail the
            // problem.
            Ok(Err(SearchError::Verifier(_))) if self.policy.is_cancelled() => End::Cancelled,
            Ok(Err(error)) => End::Failed(error.to_string()),
            Err(panic) => End::Failed(format!("internal error: {}", message(&*panic))),
        }
    }

    fn keep_tree(&self, task: &Task<'_>, outcome: &Outcome, elapsed: Duration) -> Result<(), AnnotateError> {
        let &Task { problem, ref stem } = task;
        let tree = self.directory.write_tree(stem, &outcome.tree)?;
        let SearchStats { rollouts, unjudged, searches, speculative_probes, cancelled_probes, .. } = outcome.stats;
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
            speculative_probes,
            cancelled_probes,
            seconds,
            continues: self.continues(),
        })?;
        // Under the same lock as the line: only the last line of a log can lack its tree.
        tree.put_in_place().map_err(AnnotateError::Write)?;
        shared.summary.done += 1;
        shared.summary.searches += searches;
        shared.summary.speculative_probes += speculative_probes;
        shared.summary.cancelled_probes += cancelled_probes;
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
            speculative_probes: 0,
            cancelled_probes: 0,
            seconds,
            continues: self.continues(),
        })?;
        shared.summary.failed += 1;
        drop(shared);
        self.progress.event(Event::Failed { problem, cause });
        Ok(())
    }

    /// Which message of the prompt holds the steps before a rollout, for the log.
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
        // Only this module runs code under the lock, and none of it leaves a partial change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a problem's rollouts and reports them as progress.
struct Counter<'a> {
    progress: &'a dyn Progress,
    problem: &'a Problem,
    rollouts: usize,
    unjudged: usize,
}

impl Observer for Counter<'_> {
    fn rollouts_sampled(&mut self, count: usize) {
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
