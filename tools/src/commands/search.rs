//! `mmprm search`: candidates that a reward model steers step by step.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use mmprm::data::solution::Continue;
use mmprm::eval::batch::Batch;
use mmprm::eval::guided::{self, Models};
use mmprm::prm::form;
use mmprm::search::guided::{GuidedParams, Method};
use serde_json::json;

use crate::args::{self, EngineArgs, ExistingArgs, ProblemArgs, SamplingArgs, data_root, fingerprint};
use crate::exit::Exit;
use crate::judging::{self, JudgeArgs};
use crate::models::{self, WithImages};
use crate::monitor::{self, Monitor};
use crate::policy::PolicyArgs;
use crate::scorer::{self, ReferenceArgs, ScorerPair};
use crate::ui::{Ui, output_file};

/// Search solutions step by step with a reward model (beam search, DVTS, lookahead).
///
/// N solutions grow side by side. After each step the reward model scores them: with `beam` the best N/M of all go on, with
/// `dvts` (diverse verifier tree search) the best of each of N/M independent groups, and each is continued M times (--width). `lookahead` is `beam` that scores each solution by a
/// continuation of --lookahead more steps, which is then thrown away. `bon` samples whole solutions, for comparison. All methods sample
/// at most N steps at a time; `lookahead` samples that many for each step that it looks ahead too.
///
/// The output is a scored Best-of-N file, as of `mmprm score`: `eval bon`, `choose`, `show` and `report` read it. The same command
/// resumes an interrupted run and leaves a finished one as it is.
#[derive(clap::Args)]
pub struct Args {
    /// Method: beam, dvts, lookahead or bon.
    #[arg(long, value_name = "NAME", default_value_t = Method::Beam)]
    method: Method,

    /// Candidates per problem, N.
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 12))]
    n: usize,

    /// Continuations of each solution that goes on, M.
    #[arg(long, value_name = "M", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 12))]
    width: usize,

    /// Steps after which a solution is given up.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    max_steps: usize,

    /// Steps that `lookahead` looks ahead.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    lookahead: usize,

    /// Where the prompt of a step has those before it: in the user's message, as MM-PRM's models are trained, or at the start of the
    /// assistant's, so that the model continues its own text and the cached prefix is reused.
    #[arg(long = "continue", value_name = "user|assistant", default_value_t = Continue::Assistant)]
    continues: Continue,

    /// Output file.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: PathBuf,

    #[command(flatten)]
    existing: ExistingArgs,

    /// Process reward model.
    #[arg(long, value_name = "GGUF", help_heading = "Reward model")]
    prm: PathBuf,

    /// Its vision projector; without one, problems with images fail.
    #[arg(long, value_name = "GGUF", help_heading = "Reward model")]
    prm_mmproj: Option<PathBuf>,

    /// How it reads solutions: the name of a built-in PRM form, or a TOML file (docs/prm-forms.md) [default: from the model's metadata].
    #[arg(long, value_name = "FILE|NAME", help_heading = "Reward model")]
    prm_form: Option<String>,

    #[command(flatten)]
    reference: ReferenceArgs,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    problems: ProblemArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    judge: JudgeArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    args.policy.check(&args.engine, true)?;
    let form = args.prm_form.as_deref().map(scorer::prm_form).transpose()?;
    let reference = args.reference.clone();
    let scorer = ScorerPair { model: args.prm.clone(), mmproj: args.prm_mmproj.clone(), form, reference };
    scorer.check()?;
    let sampling = args.sampling.sampling()?;
    let (problems, images) = args.problems.load()?;
    let params = GuidedParams {
        method: args.method,
        candidates: args.n,
        width: args.width,
        max_steps: args.max_steps,
        lookahead: args.lookahead,
    };
    let mut settings = json!({
        "command": "search", "method": args.method.name(), "n": args.n, "width": args.width, "max_steps": args.max_steps,
        "continue": args.continues.to_string(), "policy": args.policy.settings()?, "prm": args.prm,
        "prm_mmproj": args.prm_mmproj, "prm_form": form::recorded(&scorer.form()?),
        "files": args::identities([Some(&args.prm), args.prm_mmproj.as_deref()])?,
        "problems": fingerprint(&args.problems.problems)?, "data_root": args.problems.data_root,
        "limit": args.problems.limit, "sampling": args::sampling_settings(sampling),
        "max_tokens": args.sampling.max_tokens, "seed": args.sampling.seed,
        "deterministic": args.engine.deterministic, "vision_encoder": args.engine.vision_encoder(),
        "answers": args.judge.settings()?,
        "images": args::images_of(&images, problems.iter().map(|problem| &problem.images[..])),
    });
    if args.method == Method::Lookahead {
        settings["lookahead"] = args.lookahead.into();
    }
    args.reference.add_settings(&mut settings)?;
    args.engine.add_settings(&mut settings)?;
    let batch = Batch {
        data_root: Some(&images),
        existing: args.existing.choice(),
        ..Batch::new(&args.output, &settings, ui.interrupted())
    };
    if let Some(summary) = batch.check().map_err(args::refusal)? {
        return monitor::finished_before(&summary, &args.output, ui);
    }
    args.policy.check_images(&args.problems.problems, &problems)?;
    let with_images =
        WithImages::count(&problems, |problem| !problem.images.is_empty(), |_, problem| problem.id.clone());
    args.reference.check_projector(&args.problems.problems, with_images.clone())?;
    models::check_projector(&args.prm, args.prm_mmproj.as_deref(), &args.problems.problems, with_images)?;
    let judge = args.judge.open(&args.engine, &data_root(None, &args.output), ui)?;
    let verifier = args.judge.verifier(judge.as_ref(), ui);
    let policy = args.policy.open(&args.engine, &args.sampling, images.clone(), true, args.continues, ui)?;
    let prm = scorer.open(&args.engine, &images, ui)?;
    let monitor = Monitor::new(ui, "search", problems.len(), || policy.counters());
    // A search waits for the reward model after each step, so that several problems keep the policy busy.
    let workers = (2 * args.policy.width(&policy, args.n)).div_ceil(args.n) + 1;
    let models = Models { policy: &policy, prm: &prm, verifier: &verifier, on_unjudged: args.judge.on_unjudged() };
    let batch = Batch { workers, progress: &|event| monitor.event(event), ..batch };
    let summary = guided::search(&problems, &params, &models, &batch).map_err(args::refusal)?;
    monitor.bar().finish_and_clear();
    policy.close()?;
    scorer::warn_truncated(&prm, 0, ui);
    judging::close(&verifier, judge.is_some(), ui)?;
    monitor::finish(&summary, &args.output, &monitor, Some(&verifier.counts()), ui)
}
