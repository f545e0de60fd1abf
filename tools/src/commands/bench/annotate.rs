//! `mmprm bench annotate`: labels per second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::builder::RangedU64ValueParser;
use mmprm::data::problem::{Problem, Problems};
use mmprm::data::tree;
use mmprm::engine::{EngineError, Sampling};
use mmprm::image;
use mmprm::judge::RuleVerifier;
use mmprm::policy::{GenerationOptions, LocalPolicy};
use mmprm::search::SearchParams;
use mmprm::search::annotate::{AnnotateOptions, Event, annotate};
use mmprm::vision::prompts::PromptEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::measure::{Arm, Report, Series, in_turns};
use super::subject::{Mini, ModelArgs, Subject, demo, start};
use super::{CompareArgs, MeasureArgs};
use crate::args::EngineArgs;
use crate::exit::{Exit, Usage};
use crate::ui::Ui;

/// Labels per second: OmegaPRM over problems, from prompts to trees on disk.
///
/// A label is the Monte Carlo value of a state below the root of a tree. Images are encoded before
/// the clock starts (`bench vision` measures that), and caches are cleared between runs. `overhead`
/// is the time outside decoding (scheduling, sampling, search, answer checking, files) divided by
/// the decoding time. With --compare naive the engine drops each prompt after its request, so that
/// every estimate of a state computes its whole prompt again.
#[derive(clap::Args)]
pub struct Args {
    /// Problem file, as for `mmprm annotate` [default: the test problems of demo/].
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,

    /// Use only the first N problems.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,

    /// Rollouts per Monte Carlo estimate of a state.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    rollouts: usize,

    /// A problem is finished after this many rollouts (checked between searches).
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(0..=1 << 30))]
    rollout_budget: usize,

    /// Maximum new tokens per rollout.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    max_tokens: usize,

    /// Rollouts decoded at once, of all problems together.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=128))]
    parallel: u32,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    measure: MeasureArgs,

    #[command(flatten)]
    compare: CompareArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if args.compare.compare.is_some() && args.engine.deterministic {
        let cause =
            "--compare naive cannot be used with --deterministic, which shares prefixes in any case; leave one out";
        return Err(Usage(cause.into()).into());
    }
    let file = match &args.problems {
        Some(file) => file.clone(),
        None => demo("--problems")?.join("mini-k12/test/test.json"),
    };
    let mut problems = Problems::load(&file, None)?;
    problems.items.truncate(args.limit);
    let shared = Side::open(args, &problems, true, ui)?;
    let naive = args.compare.compare.map(|_| Side::open(args, &problems, false, ui)).transpose()?;
    let sides: Vec<&Side> = [Some(&shared), naive.as_ref()].into_iter().flatten().collect();
    let items = problems.items.as_slice();
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for &side in &sides {
        arms.push(Box::new(move |repetition| side.run(args, items, repetition, ui)));
    }
    let times = in_turns("annotate", args.measure.repetitions, &mut arms, ui)?;
    drop(arms);
    let mut report = Report::new("annotate");
    let work = format!("{} problems, {} rollouts a state", problems.items.len(), args.rollouts);
    let names = [work.clone(), format!("{work}, no prefix kept")];
    for (side, work) in sides.iter().zip(names) {
        let runs = side.runs.borrow();
        let rate =
            |count: fn(&Run) -> usize| Series::new(runs.iter().map(|run| count(run) as f64 / run.seconds).collect());
        report.row(&side.subject, work.clone(), "labels/s", rate(|run| run.labels));
        report.row(&side.subject, work, "rollouts/s", rate(|run| run.rollouts));
    }
    shared.facts(&mut report);
    if let [fast, slow] = &times[..] {
        report.speedup(fast, slow);
    }
    if let Some(naive) = &naive {
        agreement(&shared, naive, &mut report);
    }
    report.print(ui)?;
    Ok(Exit::Done)
}

/// A policy and its measured runs, the warm-up left out.
struct Side {
    policy: LocalPolicy,
    subject: Subject,
    runs: RefCell<Vec<Run>>,
    /// Of the last run's trees by file stem: the Monte Carlo value of the root, and a digest of the
    /// file.
    trees: RefCell<BTreeMap<String, (f64, u64)>>,
}

/// One run over all problems.
struct Run {
    seconds: f64,
    labels: usize,
    rollouts: usize,
    processed: u64,
    unique: u64,
    requested: u64,
    decoding: f64,
}

impl Side {
    /// Loads the policy; with `keep` it caches prompts for later requests.
    fn open(args: &Args, problems: &Problems, keep: bool, ui: &Ui) -> anyhow::Result<Self> {
        let (model, mmproj) = args.model.files(Mini::Policy)?;
        let engine = start(&model, &args.engine, args.parallel, None, false)?;
        let subject = Subject::of(&engine, &args.engine);
        let encoder =
            PromptEncoder::load(Arc::clone(engine.model()), mmproj.as_deref(), args.engine.encoder_options(None))
                .context("cannot use the vision projector")?;
        let bar = ui.bar("images", problems.items.len() as u64, "");
        for problem in &problems.items {
            for path in &problem.images {
                encoder.image(&image::resolve(&problems.root, path)?).context("cannot encode an image")?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let options = GenerationOptions {
            sampling: Sampling { repetition_penalty: 1.0, ..Sampling::default() },
            max_tokens: args.max_tokens,
            seed: args.measure.seed,
            data_root: problems.root.clone(),
            cancel: ui.interrupted().clone(),
            ..GenerationOptions::default()
        };
        let policy = LocalPolicy::new(engine, encoder, options)?.keep_prompts(keep);
        Ok(Self { policy, subject, runs: RefCell::default(), trees: RefCell::default() })
    }

    /// Annotates all problems and returns the seconds it took.
    fn run(&self, args: &Args, problems: &[Problem], repetition: usize, ui: &Ui) -> anyhow::Result<f64> {
        let directory = tempfile::tempdir().context("cannot make a temporary folder")?;
        self.policy.forget()?;
        let labels = AtomicUsize::new(0);
        let progress = |event: Event<'_>| {
            if let Event::Finished { outcome, .. } = event {
                labels.fetch_add(outcome.tree.root.count() - 1, Relaxed);
            }
        };
        let params =
            SearchParams { rollouts: args.rollouts, rollout_budget: args.rollout_budget, ..SearchParams::default() };
        // As `mmprm annotate` does: each search waits for one estimate at a time.
        let parallel = (args.parallel as usize).div_ceil(args.rollouts) + 1;
        let parallel = NonZeroUsize::new(parallel).unwrap_or(NonZeroUsize::MIN);
        let options = AnnotateOptions { params, parallel, slots: args.parallel as usize, ..AnnotateOptions::default() };
        let before = self.policy.stats();
        let started = Instant::now();
        let cancel = ui.interrupted();
        let summary = annotate(problems, directory.path(), &options, &self.policy, &RuleVerifier, &progress, cancel)?;
        let seconds = started.elapsed().as_secs_f64();
        let after = self.policy.stats();
        if summary.cancelled {
            return Err(EngineError::Cancelled).context("interrupted before the measurement was complete");
        }
        if summary.failed > 0 {
            bail!(
                "{} of {} problems failed; run `mmprm annotate` on them to see the causes",
                summary.failed,
                problems.len()
            );
        }
        *self.trees.borrow_mut() = trees(directory.path(), problems)?;
        if repetition > 0 {
            self.runs.borrow_mut().push(Run {
                seconds,
                labels: labels.into_inner(),
                rollouts: summary.rollouts,
                processed: after.processed - before.processed,
                unique: after.unique - before.unique,
                requested: after.requested - before.requested,
                decoding: after.decode.saturating_sub(before.decode).as_secs_f64(),
            });
        }
        Ok(seconds)
    }

    /// Adds the medians over the runs of what the engine did.
    fn facts(&self, report: &mut Report) {
        let runs = self.runs.borrow();
        let middle = |value: &dyn Fn(&Run) -> f64| Series::new(runs.iter().map(value).collect()).median();
        let ratio = middle(&|run| run.processed as f64 / run.unique.max(1) as f64);
        report.fact("processed_per_unique", ratio, format!("processed / unique prompt tokens: {ratio:.3}"));
        let reuse = middle(&|run| run.requested as f64 / run.processed.max(1) as f64);
        report.fact("reuse", reuse, format!("requested / processed prompt tokens: {reuse:.1}"));
        let overhead = middle(&|run| (run.seconds - run.decoding) / run.decoding);
        report.fact(
            "overhead",
            overhead,
            format!("scheduler, sampler and search / engine time: {:.1} %", 100.0 * overhead),
        );
    }
}

/// The Monte Carlo value of each root, and a digest of each tree.
fn trees(directory: &std::path::Path, problems: &[Problem]) -> anyhow::Result<BTreeMap<String, (f64, u64)>> {
    let mut found = BTreeMap::new();
    for problem in problems {
        let stem = tree::file_stem(problem);
        let path = directory.join(format!("{stem}.json"));
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let digest = Sha256::digest(&bytes);
        let value = tree::json::read(&path)?.root.mc_value;
        found.insert(stem, (value, u64::from_le_bytes(digest[..8].try_into()?)));
    }
    Ok(found)
}

/// Adds how far the trees of two sides agree.
fn agreement(one: &Side, other: &Side, report: &mut Report) {
    let (one, other) = (one.trees.borrow(), other.trees.borrow());
    let pairs: Vec<_> = one.values().zip(other.values()).collect();
    let equal = pairs.iter().filter(|(a, b)| a.1 == b.1).count();
    let difference = pairs.iter().map(|(a, b)| (a.0 - b.0).abs()).fold(0.0, f64::max);
    report.fact(
        "agreement",
        json!({"trees": pairs.len(), "equal": equal, "largest_difference": difference}),
        format!(
            "{equal} of {} trees equal; the Monte Carlo values of the roots differ by at most {difference:.3}",
            pairs.len()
        ),
    );
}
