//! `mmprm solve`: the best of N solutions of one question, with its steps.

mod interactive;
mod question;
mod session;

use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use mmprm::eval::selection::Selection;
use mmprm::search::guided::Method;

use crate::args::{EngineArgs, SamplingArgs};
use crate::exit::{Exit, Usage};
use crate::policy::PolicyArgs;
use crate::profile::{MAX_CANDIDATES, Profile};
use crate::scorer::{self, ReferenceArgs, ScorerPair};
use crate::ui::Ui;

use question::Question;
use session::Session;

/// Candidates of a question where nothing else is said.
const CANDIDATES: usize = 16;

/// Solve a problem: sample N solutions, score their steps, show the best.
///
/// Images are named before or after the question; a question of several words is quoted. Without one, it is read from standard
/// input. The policy writes the solutions, the process reward model scores each of their steps, and the one with the highest
/// product of scores is shown, with other answers and how many candidates have them. Without a reward model the most frequent
/// answer is chosen.
///
/// Models are those of the flags, else those of the profile (`mmprm config set policy FILE`), else the demo's where this runs in
/// the source tree.
#[derive(clap::Args)]
#[command(
    mut_group("source", |group| group.required(false)),
    mut_arg("repetition_penalty", |arg| arg.default_value("1"))
)]
pub struct Args {
    /// Image files, and the question.
    #[arg(value_name = "IMAGE|QUESTION")]
    inputs: Vec<String>,

    /// Candidates to sample [default: the profile's, else 16].
    #[arg(short, long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_CANDIDATES as u64))]
    n: Option<usize>,

    /// Rule that selects the answer: majority, product, min, weighted_vote, logprob_mean and others (`mmprm choose --help` lists
    /// them) [default: the profile's, else product with a reward model, majority without].
    #[arg(long, value_name = "RULE")]
    by: Option<Selection>,

    /// Let the reward model steer the solutions step by step: beam search or diverse verifier tree search (dvts), or not (bon).
    #[arg(long, value_name = "bon|beam|dvts|lookahead", default_value_t = Method::BestOfN)]
    search: Method,

    /// Show every candidate, the best first.
    #[arg(long)]
    all: bool,

    /// Ask for questions until the input ends, with the models loaded. A line holds a question and the images that it is about;
    /// without images it is about the earlier ones. `/help` lists the commands.
    #[arg(short, long)]
    interactive: bool,

    #[command(flatten)]
    prm: PrmArgs,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

/// The process reward model.
#[derive(clap::Args)]
#[command(next_help_heading = "Reward model")]
struct PrmArgs {
    /// Process reward model.
    #[arg(long, value_name = "GGUF")]
    prm: Option<PathBuf>,

    /// Its vision projector; without one, questions with images are refused.
    #[arg(long, value_name = "GGUF", requires = "prm")]
    prm_mmproj: Option<PathBuf>,

    /// How it reads solutions: the name of a built-in PRM form, or a TOML file (docs/prm-forms.md) [default: from the model's metadata].
    #[arg(long, value_name = "FILE|NAME", requires = "prm")]
    prm_form: Option<String>,

    #[command(flatten)]
    reference: ReferenceArgs,

    /// Do without the reward model of the profile or the demo.
    #[arg(long, conflicts_with = "prm")]
    no_prm: bool,
}

/// The pair in these keys of a profile.
fn of_profile(profile: &Profile, model: &str, mmproj: &str) -> Option<ScorerPair> {
    let reference = ReferenceArgs::default();
    profile.path(model).map(|path| ScorerPair { model: path, mmproj: profile.path(mmproj), form: None, reference })
}

/// A pair of the demo's.
fn of_demo(demo: &Path, name: &str) -> ScorerPair {
    let models = demo.join("models");
    let mmproj = Some(models.join(format!("mmproj-{name}-f16.gguf")));
    let reference = ReferenceArgs::default();
    ScorerPair { model: models.join(format!("{name}-q8_0.gguf")), mmproj, form: None, reference }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let profile = Profile::load()?;
    if args.policy.is_given() || profile.get("policy").is_some() {
        return start(args, &profile, None, ui);
    }
    let unnamed = |error| Usage(format!("{error}, or name it once for all: mmprm config set policy FILE"));
    let demo = super::bench::demo("--policy").map_err(unnamed)?;
    start(args, &profile, Some(&demo), ui)
}

fn start(args: &Args, profile: &Profile, demo: Option<&Path>, ui: &Ui) -> anyhow::Result<Exit> {
    let own = of_profile(profile, "policy", "mmproj").or_else(|| demo.map(|demo| of_demo(demo, "policy")));
    let policy = args.policy.with_default(own.map(|pair| (pair.model, pair.mmproj)));
    let form = args.prm.prm_form.as_deref().map(scorer::prm_form).transpose()?;
    let (mmproj, reference) = (args.prm.prm_mmproj.clone(), args.prm.reference.clone());
    let given = args.prm.prm.clone().map(|model| ScorerPair { model, mmproj, form, reference });
    let prm = match given {
        None if args.prm.no_prm => None,
        None => of_profile(profile, "prm", "prm-mmproj").or_else(|| demo.map(|demo| of_demo(demo, "implicit-prm"))),
        given => given,
    };
    policy.check(&args.engine, prm.is_some())?;
    prm.iter().try_for_each(ScorerPair::check)?;
    let by_profile = profile.get("by").and_then(|rule| rule.parse().ok());
    let rule = args.by.or_else(|| by_profile.filter(|rule| prm.is_some() || !session::needs_scores(*rule)));
    if let Some(rule) = rule.filter(|rule| prm.is_none() && session::needs_scores(*rule)) {
        return Err(Usage(format!("--by {rule} needs a process reward model; give it with --prm")).into());
    }
    if args.search != Method::BestOfN && prm.is_none() {
        return Err(Usage(format!("--search {} needs a process reward model; give it with --prm", args.search)).into());
    }
    if let Some(rule) = rule.filter(|rule| args.search != Method::BestOfN && session::needs_logprobs(*rule)) {
        let search = args.search;
        return Err(Usage(format!("--by {rule} needs log-probabilities, which --search {search} does not have")).into());
    }
    let count = args.n.or_else(|| profile.get("n")?.parse().ok()).unwrap_or(CANDIDATES);
    // A question that cannot be asked is found before models are loaded.
    let first = if args.interactive && args.inputs.is_empty() { None } else { Some(Question::read(&args.inputs)?) };
    if let Some(question) = &first {
        for (flag, has_projector) in [
            ("--mmproj", policy.has_projector()),
            ("--prm-mmproj", prm.as_ref().is_none_or(|pair| pair.mmproj.is_some())),
            ("--prm-reference-mmproj", prm.as_ref().is_none_or(|pair| pair.reference.has_projector())),
        ] {
            if !question.images.is_empty() && !has_projector {
                return Err(
                    Usage(format!("the question has an image; give the model's vision projector with {flag}")).into()
                );
            }
        }
    }
    let mut session = Session::open(&policy, prm, &args.sampling, &args.engine, ui)?;
    session.count = count;
    session.rule = rule;
    session.shows_all = args.all;
    session.search = args.search;
    if let Some(question) = first {
        session.answer(&question, ui)?;
        if !args.interactive {
            return Ok(Exit::Done);
        }
        return interactive::run(&mut session, question.images, ui);
    }
    interactive::run(&mut session, Vec::new(), ui)
}
