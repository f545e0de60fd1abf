//! The flags of judge models, and the verifier they make.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use mmprm::judge::RuleVerifier;
use mmprm::judge::{CachedJudge, EndpointJudge, JudgeModel, JudgedVerifier, LocalJudge, OnUnjudged, Report, When};
use mmprm::remote::{Endpoint, EndpointOptions};
use serde_json::{Value, json};

use crate::args::{EngineArgs, api_key, prompt_template};
use crate::exit::{BadInput, Usage};
use crate::ui::Ui;

/// Where keys are looked for.
const KEY_VARIABLES: [&str; 2] = ["MMPRM_JUDGE_KEY", "OPENAI_API_KEY"];

/// The rules that come before a judge.
const RULES: RuleVerifier = RuleVerifier;

/// A model behind an OpenAI-compatible endpoint.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Judge")]
#[expect(clippy::struct_field_names, reason = "fields are named as their flags")]
pub struct EndpointArgs {
    /// Address of an OpenAI-compatible server with the judge model (vLLM, llama-server, Ollama), as in
    /// http://localhost:8000/v1.
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge_url: Option<String>,

    /// The judge model's name on that server.
    #[arg(long, value_name = "NAME", requires = "judge_url")]
    judge_model: Option<String>,

    /// Environment variable that holds the server's key [default: MMPRM_JUDGE_KEY, or else OPENAI_API_KEY; none is needed
    /// where the server asks for none].
    #[arg(long, value_name = "VARIABLE")]
    judge_key_env: Option<String>,

    /// Seconds that one request may take; one that takes longer is tried again, up to 5 times in all.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    judge_timeout: u32,
}

impl EndpointArgs {
    /// The endpoint, if its address was given.
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
    /// When the judge model is asked whether an answer is right.
    #[arg(long, value_enum, default_value_t = Mode::Undecided)]
    judge: Mode,

    #[command(flatten)]
    endpoint: EndpointArgs,

    /// A text model, a GGUF file, that runs here as the judge instead.
    #[arg(long, value_name = "GGUF", conflicts_with = "judge_url")]
    judge_gguf: Option<PathBuf>,

    /// As --prompt-template, for --judge-gguf [default: ChatML, the turns of Qwen and many others].
    #[arg(long, value_name = "FILE", requires = "judge_gguf")]
    judge_prompt_template: Option<PathBuf>,

    /// File that keeps verdicts, so that no question is asked twice, in this run or another [default: judge-cache.jsonl
    /// beside the output].
    #[arg(long, value_name = "FILE")]
    judge_cache: Option<PathBuf>,

    /// Questions the judge is asked at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=128))]
    judge_parallel: usize,

    /// What becomes of rollouts that nobody could judge: the rules cannot tell, and the judge failed or there is none.
    #[arg(long, value_enum, default_value_t = Fate::Drop)]
    unjudged: Fate,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Where the rules cannot tell; without a judge model, never.
    Undecided,
    /// For every rollout, as the reference does; the rules are not asked.
    Always,
    /// Never.
    Never,
}

impl Mode {
    /// The name in settings files, as on the command line.
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
    /// They leave the counts; a problem none of whose rollouts could be judged fails.
    Drop,
    /// They count as wrong, as in the reference.
    Incorrect,
    /// Their problem fails, with a cause.
    Fail,
}

impl JudgeArgs {
    /// The judge, if one is configured and may be asked; its verdicts are kept in `directory` unless a file was named.
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
        Ok(Some(CachedJudge::open(judge, &cache).map_err(|error| BadInput(error.to_string()))?))
    }

    fn local(&self, gguf: &Path, engine: &EngineArgs, ui: &Ui) -> anyhow::Result<LocalJudge> {
        let template = self.judge_prompt_template.as_deref().map(prompt_template).transpose()?;
        let (engine, encoder) = engine.start_judge(gguf, self.judge_parallel as u32, ui)?;
        Ok(LocalJudge::new(engine, encoder, template, self.judge_parallel, ui.interrupted().clone())
            .map_err(|error| Usage(format!("--judge-gguf: {error} with --judge-prompt-template")))?)
    }

    /// Whether the judge is a model of this machine, so that an engine runs it.
    pub fn runs_here(&self) -> bool {
        self.judge_gguf.is_some()
    }

    /// The rules, and `judge` where it is to be asked.
    pub fn verifier<'a>(&self, judge: Option<&'a CachedJudge<'a>>, ui: &'a Ui) -> JudgedVerifier<'a> {
        let when = if self.judge == Mode::Always { When::Always } else { When::Undecided };
        JudgedVerifier::new(&RULES, judge.map(|judge| judge as &dyn JudgeModel), when, ui.interrupted())
    }

    /// What becomes of rollouts that nobody could judge.
    pub fn on_unjudged(&self) -> OnUnjudged {
        match self.unjudged {
            Fate::Drop => OnUnjudged::Drop,
            Fate::Incorrect => OnUnjudged::Incorrect,
            Fate::Fail => OnUnjudged::Fail,
        }
    }

    /// What of these flags can change a run's results.
    pub fn settings(&self, judge: Option<&CachedJudge<'_>>) -> Value {
        json!({"judge": judge.map(JudgeModel::identity), "when": self.judge.name(), "unjudged": self.on_unjudged().name()})
    }
}

/// Ends a run that its judge stopped; says who decided how many answers where that is news.
pub fn close(verifier: &JudgedVerifier<'_>, has_judge: bool, ui: &Ui) -> anyhow::Result<()> {
    if let Some(error) = verifier.stopped_by() {
        return Err(error.clone().into());
    }
    let Report { by_rules, by_judge, from_cache, unjudged, last_cause } = verifier.report();
    if !has_judge {
        if unjudged > 0 {
            let of = by_rules + unjudged;
            ui.say(format_args!(
                "rules could not judge {unjudged} of {of} answers; a judge could (--judge-url, --judge-gguf)"
            ))?;
        }
        return Ok(());
    }
    let line = format!("answers: {by_rules} decided by rules, {by_judge} by the judge ({from_cache} from its cache)");
    match last_cause {
        Some(cause) => ui.warn(format_args!("{line}, {unjudged} by nobody; the last because {cause}")),
        None => ui.note(line),
    }
    Ok(())
}
