//! `mmprm generate`: candidates for problems.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use mmprm::data::solution::Continue;
use mmprm::eval::batch::Batch;
use mmprm::eval::generate::generate;
use serde_json::json;

use crate::args::{self, EngineArgs, ProblemArgs, SamplingArgs, data_root, fingerprint};
use crate::commands::report::{self, Watch};
use crate::exit::Exit;
use crate::judging::{self, JudgeArgs};
use crate::policy::PolicyArgs;
use crate::ui::Ui;

/// Write N candidate solutions for each problem.
///
/// The output is a Best-of-N file: each problem's record with `solutions_splits` (the steps of every candidate) and `labels`
/// (1 where the final answer is right, as rules say, or a judge model where they cannot tell). `mmprm score` adds a score per step to it, `mmprm evaluate` compares. An interrupted
/// run continues when the same command is given again.
#[derive(clap::Args)]
pub struct Args {
    /// Candidates a problem.
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    n: usize,

    /// Where the candidates go.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

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
    args.policy.check(&args.engine, args.judge.runs_here())?;
    let sampling = args.sampling.sampling()?;
    let (problems, images) = args.problems.load()?;
    let judge = args.judge.open(&args.engine, &data_root(None, &args.output), ui)?;
    let verifier = args.judge.verifier(judge.as_ref(), ui);
    let policy = args.policy.open(&args.engine, &args.sampling, images, false, Continue::User, ui)?;
    let mut settings = json!({
        "command": "generate", "policy": args.policy.settings(),
        "problems": fingerprint(&args.problems.problems)?, "data_root": args.problems.data_root,
        "limit": args.problems.limit, "n": args.n, "sampling": args::sampling_settings(sampling),
        "max_tokens": args.sampling.max_tokens, "seed": args.sampling.seed,
        "deterministic": args.engine.deterministic, "vision_encoder": args.engine.vision_encoder(),
        "answers": args.judge.settings(judge.as_ref()),
    });
    args.engine.add_adapters(&mut settings)?;
    let watch = Watch::new(ui, "generate", problems.len(), || policy.counters());
    // Enough problems at once that the engine's batch stays full while the last rollouts of some finish.
    let workers = (2 * args.policy.width(&policy, args.n)).div_ceil(args.n.max(1)) + 1;
    let summary = generate(
        &problems,
        args.n,
        &policy,
        &verifier,
        args.judge.on_unjudged(),
        &Batch {
            output: &args.output,
            settings: &settings,
            workers,
            cancel: ui.interrupted(),
            progress: &|event| watch.event(event),
        },
    )?;
    watch.bar().finish_and_clear();
    policy.close()?;
    judging::close(&verifier, judge.is_some(), ui)?;
    report::finish(&summary, &args.output, &watch, Some(&verifier.report()), ui)
}
