//! `mmprm annotate`: `OmegaPRM` over a data set.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use mmprm::data::solution::Continue;
use mmprm::judge::OnUnjudged;
use mmprm::search::SearchParams;
use mmprm::search::annotate::{AnnotateError, AnnotateOptions, Event, annotate};
use serde_json::{Value, json};

use crate::args::{self, EngineArgs, ProblemArgs, SamplingArgs};
use crate::commands::report::Watch;
use crate::exit::{Exit, Usage};
use crate::judging::{self, JudgeArgs};
use crate::policy::PolicyArgs;
use crate::ui::Ui;

/// Label the steps of solutions with success rates, by tree search.
///
/// OmegaPRM: rollouts from a problem, and for each wrong one a binary search for its first wrong step; every step on the way
/// is labelled with the share of rollouts from there that end right, as rules say, or a judge model where they cannot tell.
/// Writes one tree a problem, in the reference's form. The defaults are those of the reference's run script, but for the
/// judge: --judge always and --unjudged incorrect are the reference's way. Finished problems are never searched again: an
/// interrupted run continues when the same command is given again.
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the trees.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Problems searched at once [default: enough to fill --parallel or --policy-parallel].
    #[arg(long, value_name = "N")]
    problems_at_once: Option<NonZeroUsize>,

    /// Try problems again that failed before.
    #[arg(long)]
    retry_failed: bool,

    /// Only this share of the problems, such as 2/4 on the second of four machines: every fourth problem, from the second. The
    /// trees of all shares, copied into one directory, are those of one run.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,

    /// Go on in a directory whose trees were made with other settings (model, search, sampling, judge): it then holds both.
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

/// The `index`th of `count` shares, from 0.
#[derive(Debug, Clone, Copy)]
struct Shard {
    index: usize,
    count: usize,
}

fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match numbers {
        Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index: index - 1, count }),
        _ => Err("expected a share such as 2/4".into()),
    }
}

/// Parameters of the search.
#[derive(clap::Args)]
#[command(next_help_heading = "Search")]
struct SearchArgs {
    /// Weight of exploring states that were seldom selected.
    #[arg(long, default_value_t = SearchParams::default().c_puct, allow_negative_numbers = true)]
    c_puct: f64,

    /// How strongly states with a high Monte Carlo value are preferred.
    #[arg(long, default_value_t = SearchParams::default().alpha, allow_negative_numbers = true)]
    alpha: f64,

    /// How strongly long rollouts are avoided.
    #[arg(long, default_value_t = SearchParams::default().beta, allow_negative_numbers = true)]
    beta: f64,

    /// Words in a rollout that count as one unit of length.
    #[arg(long, default_value_t = SearchParams::default().length_scale, allow_negative_numbers = true)]
    length_scale: f64,

    /// Rollouts drawn to estimate a state.
    #[arg(long, value_name = "N", default_value_t = SearchParams::default().rollouts)]
    rollouts: usize,

    /// Most searches a problem.
    #[arg(long, value_name = "N", default_value_t = SearchParams::default().max_searches)]
    max_searches: usize,

    /// A problem is done when it has had this many rollouts (tested between searches).
    #[arg(long, value_name = "N", default_value_t = SearchParams::default().rollout_budget)]
    rollout_budget: usize,

    /// Where rollouts from a state have its steps: in the user's message, as the reference's models were trained for, or in the
    /// assistant's, where they continue their parent's own tokens and nothing is computed twice.
    #[arg(long = "continue", value_name = "user|assistant", default_value_t = Continue::User)]
    continues: Continue,

    /// Draw fewer rollouts from states (not from problems): of 16, five where none of these is right, else eight. Success rates
    /// stay without bias and become less exact.
    #[arg(long)]
    adaptive: bool,

    /// Ask for both states that a search may come to next while it waits for one, where --parallel has room for it. The trees
    /// are the same; rollouts that prove useless are counted apart.
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
    /// What the trees depend on besides the problems and the search's parameters; `--parallel` only as far as rounding goes.
    fn settings(&self, judge: &Value) -> anyhow::Result<Value> {
        let mut policy = self.policy.settings();
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
        self.engine.add_adapters(&mut settings)?;
        Ok(settings)
    }
}

/// A directory with other settings is a mistake in the call.
fn refusal(error: AnnotateError) -> anyhow::Error {
    match error {
        AnnotateError::OtherSettings { .. } => {
            Usage(format!("{error}; give another --output, or --mix-settings if that is meant")).into()
        }
        error => error.into(),
    }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    args.policy.check(&args.engine, args.judge.runs_here())?;
    let params = args.search.params(args.judge.on_unjudged());
    params.validate().map_err(|error| Usage(error.to_string()))?;
    let (mut problems, data_root) = args.problems.load()?;
    if let Some(Shard { index, count }) = args.shard {
        problems = problems.into_iter().skip(index).step_by(count).collect();
    }
    let judge = args.judge.open(&args.engine, &args.output, ui)?;
    let verifier = args.judge.verifier(judge.as_ref(), ui);
    let settings = args.settings(&args.judge.settings(judge.as_ref()))?;
    let policy = args.policy.open(&args.engine, &args.sampling, data_root, true, args.search.continues, ui)?;
    // A search waits for one estimate at a time, so problems side by side keep the batch full.
    let slots = args.policy.width(&policy, args.search.rollouts);
    let filling = slots.div_ceil(params.at_once()) + 1;
    let parallel = args.problems_at_once.or(NonZeroUsize::new(filling)).unwrap_or(NonZeroUsize::MIN);
    let watch = Watch::new(ui, "annotate", problems.len(), || policy.counters());
    let rollouts = AtomicUsize::new(0);
    let progress = |event: Event<'_>| {
        match event {
            Event::Planned(plan) => watch.bar().inc((problems.len() - plan.pending) as u64),
            Event::Rollouts { count, .. } => {
                rollouts.fetch_add(count, Ordering::Relaxed);
            }
            Event::Finished { .. } => watch.bar().inc(1),
            Event::Failed { problem, cause } => {
                watch.bar().inc(1);
                watch.failed(&format!("problem {}: {cause}", problem.id));
            }
            _ => {}
        }
        watch.tick();
    };
    let (retry_failed, mixed) = (args.retry_failed, args.mix_settings);
    let options = AnnotateOptions { params, parallel, retry_failed, slots, settings, mixed };
    let summary = annotate(&problems, &args.output, &options, &policy, &verifier, &progress, ui.interrupted())
        .map_err(refusal)?;
    watch.close(ui);
    policy.close()?;
    judging::close(&verifier, judge.is_some(), ui)?;
    let (counters, seconds) = watch.totals();
    let mut result = json!({
        "trees": args.output, "summary": summary, "seconds": seconds,
        "rollouts_per_second": summary.rollouts as f64 / seconds.max(1e-9), "answers": verifier.report(),
    });
    counters.put_into(&mut result);
    ui.result(&result)?;
    ui.say(format_args!(
        "{} problems searched in {seconds:.1} s, {} rollouts ({})",
        summary.done,
        summary.rollouts,
        counters.rates(seconds),
    ))?;
    ui.say(format_args!(
        "{} of them never solved and {} always solved at the root, which teach nothing; {} were done before",
        summary.never_solved, summary.always_solved, summary.already_done,
    ))?;
    ui.say(format_args!("trees: {}", args.output.display()))?;
    if summary.cancelled {
        ui.warn("interrupted; finished trees are kept, and the same command continues");
        return Ok(Exit::Interrupted);
    }
    if summary.failed_before > 0 {
        ui.warn(format_args!(
            "{} problems failed in an earlier run; --retry-failed tries them again",
            summary.failed_before
        ));
    }
    if summary.failed > 0 {
        let log = args.output.join(mmprm::search::annotate::LOG_NAME);
        ui.warn(format_args!("{} problems failed; causes are in {}", summary.failed, log.display()));
    }
    // A data set with failed problems is not done, whichever run they failed in.
    Ok(if summary.failed + summary.failed_before > 0 { Exit::Failed } else { Exit::Done })
}
