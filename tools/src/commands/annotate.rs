//! `mmprm annotate`: `OmegaPRM` over a data set.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use mmprm::data::solution::Continue;
use mmprm::judge::OnUnjudged;
use mmprm::search::SearchParams;
use mmprm::search::annotate::{self, AnnotateError, AnnotateOptions, Event, Shard, Summary};
use mmprm_quant::atomic::check_directory;
use serde_json::{Value, json};

use crate::args::{self, EngineArgs, ProblemArgs, SamplingArgs};
use crate::exit::{Exit, Usage};
use crate::judging::{self, JudgeArgs};
use crate::monitor::Monitor;
use crate::policy::PolicyArgs;
use crate::ui::{Ui, output_directory};

/// Label the steps of solutions with Monte Carlo success rates by tree search (OmegaPRM).
///
/// Samples rollouts of each problem and locates the first wrong step of each wrong one by binary
/// search; every step on the way is labelled with the fraction of rollouts from there that end
/// right, by rules or, where these are undecided, a judge model. Writes one tree per problem in
/// MM-PRM's format. The defaults are those of MM-PRM's run script, except for the judge: MM-PRM's
/// way is --judge always --unjudged incorrect. Finished problems are never searched again: the same
/// command resumes an interrupted run.
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the trees.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// Problems searched in parallel [default: enough to fill --parallel or --policy-parallel].
    #[arg(long, value_name = "N", value_parser = args::at_once)]
    problems_at_once: Option<NonZeroUsize>,

    /// Retry problems that failed in an earlier run.
    #[arg(long)]
    retry_failed: bool,

    /// Annotate one share of the problems, such as 2/4 on the second of four machines: every fourth
    /// problem from the second. The trees of all shares in one directory equal those of a single
    /// run.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    /// Allow a directory with trees of other settings (model, search, sampling, judge), and mix
    /// them.
    #[arg(long)]
    mix_settings: bool,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    problems: ProblemArgs,

    #[command(flatten)]
    search: SearchArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    judge: JudgeArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Parameters of the search.
#[derive(clap::Args)]
#[command(next_help_heading = "Search")]
struct SearchArgs {
    /// Weight of the exploration term in a candidate's priority.
    #[arg(long, default_value_t = SearchParams::default().c_puct, allow_negative_numbers = true)]
    c_puct: f64,

    /// Base of alpha^(1 - MC), the preference for states with a high Monte Carlo value.
    #[arg(long, default_value_t = SearchParams::default().alpha, allow_negative_numbers = true)]
    alpha: f64,

    /// Base of beta^(words / length scale), the preference for short rollouts.
    #[arg(long, default_value_t = SearchParams::default().beta, allow_negative_numbers = true)]
    beta: f64,

    /// Words per factor beta.
    #[arg(long, default_value_t = SearchParams::default().length_scale, allow_negative_numbers = true)]
    length_scale: f64,

    /// Rollouts per state.
    #[arg(long, value_name = "N", default_value_t = SearchParams::default().rollouts)]
    rollouts: usize,

    /// Maximum searches per problem.
    #[arg(long, value_name = "N", default_value_t = SearchParams::default().max_searches)]
    max_searches: usize,

    /// Rollouts per problem after which no further search begins.
    #[arg(long, value_name = "N", default_value_t = SearchParams::default().rollout_budget)]
    rollout_budget: usize,

    /// Where the prompt of a rollout has the steps so far: in the user's message, as MM-PRM's models
    /// are trained, or at the start of the assistant's, so that the model continues its own text and
    /// the cached prefix is reused.
    #[arg(long = "continue", value_name = "user|assistant", default_value_t = Continue::User)]
    continues: Continue,

    /// Sample fewer rollouts from states below the root: of 16, five where none of these is right,
    /// else eight. Success rates stay unbiased and become less exact.
    #[arg(long)]
    adaptive: bool,

    /// Request both possible next states while a search waits for one, as far as --parallel has
    /// room. The trees are the same; unneeded rollouts are not counted.
    #[arg(long, conflicts_with = "deterministic")]
    speculative: bool,
}

impl SearchArgs {
    fn params(&self, unjudged: OnUnjudged) -> SearchParams {
        SearchParams {
            c_puct: self.c_puct,
            alpha: self.alpha,
            beta: self.beta,
            length_scale: self.length_scale,
            rollouts: self.rollouts,
            max_searches: self.max_searches,
            rollout_budget: self.rollout_budget,
            adaptive: self.adaptive,
            speculative: self.speculative,
            unjudged,
        }
    }
}

impl Args {
    /// What the trees depend on besides the problems and the search parameters. `--parallel`
    /// affects rounding only.
    fn settings(&self, judge: &Value) -> anyhow::Result<Value> {
        let mut policy = self.policy.settings()?;
        if let Some(policy) = policy.as_object_mut() {
            policy.remove("parallel");
        }
        let sampling = self.sampling.sampling()?;
        let mut settings = json!({
            "policy": policy, "continue": self.search.continues.to_string(), "sampling": args::sampling_settings(sampling),
            "max_tokens": self.sampling.max_tokens, "seed": self.sampling.seed,
            "deterministic": self.engine.deterministic, "vision_encoder": self.engine.vision_encoder(),
            "answers": judge,
        });
        self.engine.add_settings(&mut settings)?;
        Ok(settings)
    }
}

/// A directory with other settings is a usage error.
fn refusal(error: AnnotateError) -> anyhow::Error {
    match error {
        AnnotateError::OtherSettings { .. } | AnnotateError::OtherFormat { .. } => {
            Usage(format!("{error}; give another --output, or --mix-settings to allow both")).into()
        }
        error => error.into(),
    }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    args.policy.check(&args.engine, args.judge.is_local())?;
    let params = args.search.params(args.judge.on_unjudged());
    params.validate().map_err(|error| Usage(error.to_string()))?;
    let (mut problems, data_root) = args.problems.load_with_answers()?;
    if let Some(shard) = args.shard {
        problems = shard.select(problems);
    }
    let mut settings = args.settings(&args.judge.settings()?)?;
    settings["images"] = args::images_of(&data_root, problems.iter().map(|problem| &problem.images[..]));
    let (retry_failed, mixed) = (args.retry_failed, args.mix_settings);
    let options = AnnotateOptions { params, retry_failed, settings, mixed, ..AnnotateOptions::default() };
    annotate::check(&args.output, &options).map_err(refusal)?;
    args.policy.check_images(&args.problems.problems, &problems)?;
    let judge = args.judge.open(&args.engine, &args.output, ui)?;
    let verifier = args.judge.verifier(judge.as_ref(), ui);
    let policy = args.policy.open(&args.engine, &args.sampling, data_root, true, args.search.continues, ui)?;
    // A search waits for one state at a time, so several problems in parallel fill the batch.
    let slots = args.policy.width(&policy, args.search.rollouts);
    let filling = slots.div_ceil(options.params.first_request()) + 1;
    let parallel = args.problems_at_once.or(NonZeroUsize::new(filling)).unwrap_or(NonZeroUsize::MIN);
    let monitor = Monitor::new(ui, "annotate", problems.len(), || policy.counters());
    let rollouts = AtomicUsize::new(0);
    let progress = |event: Event<'_>| {
        match event {
            Event::Damaged { log, lines } => {
                let log = log.display();
                monitor.note(format!("{log}: {lines} damaged lines were moved to {log}.damaged"));
            }
            Event::Planned(plan) => monitor.bar().inc((problems.len() - plan.pending) as u64),
            Event::Rollouts { count, .. } => {
                rollouts.fetch_add(count, Ordering::Relaxed);
            }
            Event::Finished { .. } => monitor.bar().inc(1),
            Event::Failed { problem, cause } => {
                monitor.bar().inc(1);
                monitor.failed(&format!("problem {}: {cause}", problem.id));
            }
            _ => {}
        }
        monitor.tick();
    };
    let options = AnnotateOptions { parallel, slots, ..options };
    let summary =
        annotate::annotate(&problems, &args.output, &options, &policy, &verifier, &progress, ui.interrupted())
            .map_err(refusal)?;
    monitor.close(ui);
    policy.close()?;
    judging::close(&verifier, judge.is_some(), ui)?;
    let (counters, seconds) = monitor.totals();
    let mut result = json!({
        "trees": args.output, "summary": summary, "seconds": seconds,
        "rollouts_per_second": summary.rollouts as f64 / seconds.max(1e-9), "answers": verifier.counts(),
    });
    counters.put_into(&mut result);
    ui.result(&result)?;
    ui.say(format_args!(
        "{} problems searched in {seconds:.1} s, {} rollouts ({})",
        summary.done,
        summary.rollouts,
        counters.rates(seconds, ui.is_verbose()),
    ))?;
    ui.say(sentence(&summary))?;
    ui.say(format_args!("trees: {}", args.output.display()))?;
    if summary.cancelled {
        ui.warn("interrupted; finished trees are kept, and the same command resumes");
        return Ok(Exit::Interrupted);
    }
    if summary.failed_before > 0 {
        ui.warn(format_args!(
            "{} problems failed in an earlier run; --retry-failed retries them",
            summary.failed_before
        ));
    }
    if summary.failed > 0 {
        let log = args.output.join(mmprm::search::annotate::LOG_NAME);
        ui.warn(format_args!("{} problems failed; causes are in {}", summary.failed, log.display()));
    }
    // A data set with failed problems is incomplete, whichever run they failed in.
    Ok(if summary.failed + summary.failed_before > 0 { Exit::Failed } else { Exit::Done })
}

/// How many problems got labels, and why the others did not.
fn sentence(summary: &Summary) -> String {
    let Summary { done, already_done, always_solved, never_solved, .. } = *summary;
    let failed = summary.failed + summary.failed_before;
    let labelled = done - always_solved - never_solved;
    let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!(
        "{} problems: {labelled} labelled, {always_solved} always solved (no labels), {never_solved} never solved, \
         {already_done} already done{failures}",
        done + already_done + failed,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_adds_up_to_all_problems() {
        let summary = Summary { done: 10, always_solved: 1, ..Summary::default() };
        assert_eq!(
            sentence(&summary),
            "10 problems: 9 labelled, 1 always solved (no labels), 0 never solved, 0 already done"
        );
        let summary = Summary { done: 3, never_solved: 2, already_done: 4, failed: 1, ..Summary::default() };
        assert_eq!(
            sentence(&summary),
            "8 problems: 1 labelled, 0 always solved (no labels), 2 never solved, 4 already done, 1 failed"
        );
    }
}
