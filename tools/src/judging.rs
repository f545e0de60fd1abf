//! The flags of judge models, and the verifier that they configure.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use mmprm::judge::{
    CachedJudge, EndpointJudge, JudgeError, JudgeMode, JudgeModel, LocalJudge, OnUnjudged, RuleVerifier,
    RulesThenJudge, VerdictCounts,
};
use mmprm::remote::{Endpoint, EndpointOptions};
use serde_json::{Value, json};

use crate::args::{EngineArgs, api_key, prompt_template};
use crate::exit::{BadInput, Usage};
use crate::models;
use crate::policy::key_hint;
use crate::ui::Ui;

/// Environment variables that may hold the key.
const KEY_VARIABLES: [&str; 2] = ["MMPRM_JUDGE_KEY", "OPENAI_API_KEY"];

/// The rules that precede a judge.
const RULES: RuleVerifier = RuleVerifier;

/// A model on an OpenAI-compatible server.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Judge")]
#[expect(clippy::struct_field_names, reason = "fields are named as their flags")]
pub struct EndpointArgs {
    /// Base URL of an OpenAI-compatible server with the judge model (vLLM, llama-server, Ollama),
    /// such as http://localhost:8000/v1.
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge_url: Option<String>,

    /// The judge model's name on the server.
    #[arg(long, value_name = "NAME", requires = "judge_url")]
    judge_model: Option<String>,

    /// Environment variable with the server's API key [default: MMPRM_JUDGE_KEY, then
    /// OPENAI_API_KEY; optional if the server needs no key].
    #[arg(long, value_name = "VARIABLE")]
    judge_key_env: Option<String>,

    /// Timeout in seconds of one request; 5 attempts in all.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    judge_timeout: u32,
}

impl EndpointArgs {
    /// The endpoint, if --judge-url was given.
    pub fn open(&self, parallel: NonZeroUsize, ui: &Ui) -> anyhow::Result<Option<Endpoint>> {
        let (Some(url), Some(model)) = (&self.judge_url, &self.judge_model) else { return Ok(None) };
        let mut options = EndpointOptions::new(url, model);
        options.key = api_key("--judge-key-env", self.judge_key_env.as_deref(), &KEY_VARIABLES)?;
        options.timeout = Duration::from_secs(self.judge_timeout.into());
        options.parallel = parallel;
        options.cancel = ui.interrupted().clone();
        Endpoint::new(options).map(Some).map_err(|error| Usage(format!("--judge-url: {error}")).into())
    }
}

/// Who decides whether an answer is right.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Judge")]
pub struct JudgeArgs {
    /// When to ask the judge model whether an answer is right.
    #[arg(long, value_enum, default_value_t = Mode::Undecided)]
    judge: Mode,

    #[command(flatten)]
    endpoint: EndpointArgs,

    /// Local text model to use as the judge instead.
    #[arg(long, value_name = "GGUF", conflicts_with = "judge_url")]
    judge_gguf: Option<PathBuf>,

    /// Chat template of --judge-gguf, with `{prompt}` in place of the user's message [default:
    /// ChatML, as in Qwen and many others].
    #[arg(long, value_name = "FILE", requires = "judge_gguf")]
    judge_prompt_template: Option<PathBuf>,

    /// File of verdicts, so that no question is asked twice in any run [default: judge-cache.jsonl
    /// beside the output].
    #[arg(long, value_name = "FILE")]
    judge_cache: Option<PathBuf>,

    /// Maximum questions at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=128))]
    judge_parallel: usize,

    /// What to do with rollouts that could not be judged: the rules are undecided, and the judge
    /// failed or there is none.
    #[arg(long, value_enum, default_value_t = Fate::Drop)]
    unjudged: Fate,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Where the rules are undecided; never without a judge model.
    Undecided,
    /// For every rollout, without asking the rules, as MM-PRM does.
    Always,
    /// Never.
    Never,
}

impl Mode {
    /// The name in settings files and on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Fate {
    /// Leave them out; a problem with no judged rollout fails.
    Drop,
    /// Count them as wrong, as MM-PRM does.
    Incorrect,
    /// Fail the problem.
    Fail,
}

impl JudgeArgs {
    /// The judge, if one is configured and may be asked; its verdicts are stored in `directory`
    /// unless a file was given.
    pub fn open(&self, engine: &EngineArgs, directory: &Path, ui: &Ui) -> anyhow::Result<Option<CachedJudge<'static>>> {
        if self.judge == Mode::Never {
            return Ok(None);
        }
        let parallel = NonZeroUsize::new(self.judge_parallel).expect("the parser lets nothing below 1 pass");
        let judge: Box<dyn JudgeModel> = match (self.endpoint.open(parallel, ui)?, &self.judge_gguf) {
            (Some(endpoint), _) => Box::new(EndpointJudge::new(endpoint)),
            (None, Some(gguf)) => Box::new(self.local(gguf, engine, ui)?),
            (None, None) if self.judge == Mode::Always => {
                let cause = "--judge always needs a judge: --judge-url and --judge-model, or --judge-gguf";
                return Err(Usage(cause.into()).into());
            }
            (None, None) => return Ok(None),
        };
        let cache = self.judge_cache.clone().unwrap_or_else(|| directory.join("judge-cache.jsonl"));
        let judge = CachedJudge::open(judge, &cache).map_err(|error| BadInput(error.to_string()))?;
        if judge.damaged_lines() > 0 {
            ui.note(format_args!("{}: {} damaged lines are skipped", cache.display(), judge.damaged_lines()));
        }
        Ok(Some(judge))
    }

    fn local(&self, gguf: &Path, engine: &EngineArgs, ui: &Ui) -> anyhow::Result<LocalJudge> {
        let template = self.judge_prompt_template.as_deref().map(prompt_template).transpose()?;
        let (engine, encoder) = engine.start_judge(gguf, self.judge_parallel as u32, ui)?;
        Ok(LocalJudge::new(engine, encoder, template, self.judge_parallel, ui.interrupted().clone())
            .map_err(|error| Usage(format!("--judge-gguf: {error} with --judge-prompt-template")))?)
    }

    /// Whether the judge is a local model, run by an engine.
    pub fn is_local(&self) -> bool {
        self.judge_gguf.is_some()
    }

    /// The rules, and `judge` where it is to be asked.
    pub fn verifier<'a>(&self, judge: Option<&'a CachedJudge<'a>>, ui: &'a Ui) -> RulesThenJudge<'a> {
        let mode = if self.judge == Mode::Always { JudgeMode::Always } else { JudgeMode::Undecided };
        RulesThenJudge::new(&RULES, judge.map(|judge| judge as &dyn JudgeModel), mode, ui.interrupted())
    }

    /// What to do with rollouts that could not be judged.
    pub fn on_unjudged(&self) -> OnUnjudged {
        match self.unjudged {
            Fate::Drop => OnUnjudged::Drop,
            Fate::Incorrect => OnUnjudged::Incorrect,
            Fate::Fail => OnUnjudged::Fail,
        }
    }

    /// The flags that can change a run's results, for journals and settings files.
    pub fn settings(&self) -> anyhow::Result<Value> {
        self.judge_gguf.iter().try_for_each(|gguf| models::check(gguf))?;
        let judge = match (&self.endpoint.judge_model, &self.judge_gguf) {
            _ if self.judge == Mode::Never => None,
            (Some(model), _) => Some(EndpointJudge::identity_of(model)),
            (None, Some(gguf)) => Some(LocalJudge::identity_of(gguf)?),
            (None, None) => None,
        };
        Ok(json!({"judge": judge, "when": self.judge.name(), "unjudged": self.on_unjudged().name()}))
    }
}

/// Fails if the judge ended the run; otherwise reports how many answers rules and judge decided.
pub fn close(verifier: &RulesThenJudge<'_>, has_judge: bool, ui: &Ui) -> anyhow::Result<()> {
    if let Some(error) = verifier.stopped_by() {
        let hint = match error {
            JudgeError::Setup(error) => key_hint(error, "--judge-key-env", KEY_VARIABLES[0]),
            _ => String::new(),
        };
        return Err(error.clone()).with_context(|| format!("{error}{hint}"));
    }
    let VerdictCounts { by_rules, by_judge, from_cache, unjudged, last_cause } = verifier.counts();
    if !has_judge {
        if unjudged > 0 {
            let of = by_rules + unjudged;
            ui.say(format_args!(
                "the rules are undecided about {unjudged} of {of} answers; a judge model can decide (--judge-url, --judge-gguf)"
            ))?;
        }
        return Ok(());
    }
    let line = format!("answers: {by_rules} decided by rules, {by_judge} by the judge ({from_cache} from its cache)");
    match last_cause {
        Some(cause) => ui.warn(format_args!("{line}, {unjudged} unjudged; the last because {cause}")),
        None => ui.note(line),
    }
    Ok(())
}
