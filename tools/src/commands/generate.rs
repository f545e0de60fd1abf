//! `mmprm generate`: candidate solutions for problems.

use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use mmprm::data::solution::Continue;
use mmprm::eval::batch::Batch;
use mmprm::eval::generate;
use serde_json::json;

use crate::args::{self, EngineArgs, ExistingArgs, ProblemArgs, SamplingArgs, data_root, fingerprint};
use crate::exit::Exit;
use crate::judging::{self, JudgeArgs};
use crate::monitor::{self, Monitor};
use crate::policy::PolicyArgs;
use crate::ui::{Ui, output_file};

/// Generate N candidate solutions for each problem.
///
/// The output is a Best-of-N file: each problem's record with `solutions_splits` (the steps of
/// every candidate) and `labels` (1 where the final answer is right, by rules or, where these are
/// undecided, a judge model; none for a problem without an answer). `mmprm score` adds step scores, `mmprm eval bon` evaluates the
/// selection. The same command resumes an interrupted run and leaves a finished one as it is.
#[derive(clap::Args)]
pub struct Args {
    /// Output file; `-` is standard output.
    #[arg(short, long, alias = "out", value_name = "FILE", value_parser = output_file())]
    output: PathBuf,

    #[command(flatten)]
    existing: ExistingArgs,

    #[command(flatten)]
    generation: GenerationArgs,
}

/// What candidates are generated from, and how.
#[derive(clap::Args)]
pub struct GenerationArgs {
    /// Candidates per problem.
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 16))]
    n: usize,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    pub problems: ProblemArgs,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    #[command(flatten)]
    judge: JudgeArgs,

    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    generate_to(&args.output, &args.generation, args.existing, ui)
}

/// Generates candidates and writes them to `output`.
pub fn generate_to(output: &Path, args: &GenerationArgs, existing: ExistingArgs, ui: &Ui) -> anyhow::Result<Exit> {
    args.policy.check(&args.engine, args.judge.is_local())?;
    let sampling = args.sampling.sampling()?;
    let (problems, images) = args.problems.load()?;
    let mut settings = json!({
        "command": "generate", "policy": args.policy.settings()?,
        "problems": fingerprint(&args.problems.problems)?, "data_root": args.problems.data_root,
        "limit": args.problems.limit, "n": args.n, "sampling": args::sampling_settings(sampling),
        "max_tokens": args.sampling.max_tokens, "seed": args.sampling.seed,
        "deterministic": args.engine.deterministic, "vision_encoder": args.engine.vision_encoder(),
        "answers": args.judge.settings()?,
        "images": args::images_of(&images, problems.iter().map(|problem| &problem.images[..])),
    });
    args.engine.add_settings(&mut settings)?;
    let batch = Batch {
        data_root: Some(&images),
        existing: existing.choice(),
        ..Batch::new(output, &settings, ui.interrupted())
    };
    if let Some(summary) = batch.check().map_err(args::refusal)? {
        return monitor::finished_before(&summary, output, ui);
    }
    args.policy.check_images(&args.problems.problems, &problems)?;
    let judge = args.judge.open(&args.engine, &data_root(None, output), ui)?;
    let verifier = args.judge.verifier(judge.as_ref(), ui);
    let without_answer = problems.iter().filter(|problem| !problem.has_answer()).count();
    if without_answer > 0 {
        let all = problems.len();
        ui.note(format_args!("{without_answer} of {all} problems have no answer, so their candidates get no labels"));
    }
    let policy = args.policy.open(&args.engine, &args.sampling, images.clone(), false, Continue::User, ui)?;
    let monitor = Monitor::new(ui, "generate", problems.len(), || policy.counters());
    // Enough problems in parallel that the batch stays full while the last rollouts of some finish.
    let workers = (2 * args.policy.width(&policy, args.n)).div_ceil(args.n.max(1)) + 1;
    let summary = generate::generate(
        &problems,
        args.n,
        &policy,
        &verifier,
        args.judge.on_unjudged(),
        &Batch { workers, progress: &|event| monitor.event(event), ..batch },
    )
    .map_err(args::refusal)?;
    monitor.bar().finish_and_clear();
    policy.close()?;
    judging::close(&verifier, judge.is_some(), ui)?;
    monitor::finish(&summary, output, &monitor, Some(&verifier.counts()), ui)
}
