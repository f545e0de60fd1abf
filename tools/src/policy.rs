//! The flags of the policy: a local model or one on a server.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::ArgGroup;
use clap::builder::RangedU64ValueParser;
use mmprm::data::problem::Problem;
use mmprm::data::solution::Continue;
use mmprm::policy::{
    GenerationOptions, LocalPolicy, PolicyError, RemotePolicy, RolloutModel, RolloutRequest, SampledRollout,
};
use mmprm::remote::{Endpoint, EndpointError, EndpointOptions, SetupError};
use serde_json::{Value, json};

use crate::args::{self, Automatic, EngineArgs, SamplingArgs, api_key, prompt_template};
use crate::exit::{BadInput, Usage};
use crate::models::{self, WithImages};
use crate::monitor::Counters;
use crate::ui::Ui;

/// Environment variables that may hold the key.
const KEY_VARIABLES: [&str; 2] = ["MMPRM_POLICY_KEY", "OPENAI_API_KEY"];

/// The model that generates solutions.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Policy", group = ArgGroup::new("source").required(true).args(["model", "policy_url"]))]
pub struct PolicyArgs {
    /// Policy model.
    #[arg(long = "policy", value_name = "GGUF")]
    model: Option<PathBuf>,

    /// Its vision projector; problems with images need one.
    #[arg(long, value_name = "GGUF")]
    mmproj: Option<PathBuf>,

    /// Chat template, with `{prompt}` in place of the user's message [default: InternVL2.5's or Qwen-VL's
    /// for their families, that of the file for other instruct models, none for a model without one]. A
    /// server applies its own template and receives only the system message of a ChatML template
    /// [default: InternVL2.5's].
    #[arg(long, value_name = "FILE")]
    prompt_template: Option<PathBuf>,

    /// Maximum tiles per image [default: the model's]. Qwen-VL, which reads images whole, reads as many pixels as tiles of 448×448
    /// have, up to 16 [default: 1280 tokens].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    max_tiles: Option<usize>,

    /// Rollouts decoded in parallel, of all problems together, at most 128; `auto` is 16, and 64 on
    /// a GPU.
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = args::parallel)]
    parallel: Automatic,

    #[command(flatten)]
    server: ServerArgs,
}

/// A policy on a server.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Policy on a server")]
#[expect(clippy::struct_field_names, reason = "fields are named as their flags")]
struct ServerArgs {
    /// Base URL of an OpenAI-compatible server (vLLM, SGLang, llama-server) to use instead of
    /// --policy, such as http://localhost:8000/v1. It must apply the model's own chat template. The
    /// same --seed gives the same rollouts as far as the server reproduces them.
    #[arg(long, value_name = "URL", requires = "policy_model")]
    policy_url: Option<String>,

    /// The policy's name on the server.
    #[arg(long, value_name = "NAME", requires = "policy_url")]
    policy_model: Option<String>,

    /// Environment variable with the server's API key [default: MMPRM_POLICY_KEY, then
    /// OPENAI_API_KEY; optional if the server needs no key].
    #[arg(long, value_name = "VARIABLE", requires = "policy_url")]
    policy_key_env: Option<String>,

    /// Timeout in seconds of a request for all rollouts of a prompt; 5 attempts in all.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "policy_url",
        value_parser = clap::value_parser!(u32).range(1..=86400))]
    policy_timeout: u32,

    /// Maximum requests at once.
    #[arg(long, value_name = "N", default_value_t = 16, requires = "policy_url",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    policy_parallel: usize,
}

impl PolicyArgs {
    /// Rejects flags that do not apply to a policy on a server, and directories in the place of model
    /// files. Flags of the engine are accepted where it runs a judge.
    pub fn check(&self, engine: &EngineArgs, judge_is_local: bool) -> anyhow::Result<()> {
        [&self.model, &self.mmproj].into_iter().flatten().try_for_each(|file| models::check(file))?;
        engine.adapters().iter().try_for_each(|adapter| models::check(&adapter.path))?;
        if self.server.policy_url.is_none() {
            return Ok(());
        }
        let local = [
            (self.mmproj.is_some(), "--mmproj"),
            (self.max_tiles.is_some(), "--max-tiles"),
            (self.parallel.0.is_some(), "--parallel"),
            (engine.has_adapters(), "--lora"),
        ];
        let local = local.into_iter().find_map(|(given, flag)| given.then_some(flag));
        match local.or(engine.given().filter(|_| !judge_is_local)) {
            None => Ok(()),
            Some("--parallel") => Err(Usage(
                "--parallel applies to a local policy only; with --policy-url, give the number of requests at once with \
                 --policy-parallel"
                    .into(),
            )
            .into()),
            Some(flag) => Err(Usage(format!(
                "{flag} applies to a local policy only; with --policy-url, the server decides"
            ))
            .into()),
        }
    }

    /// Whether the flags name a policy.
    pub fn is_given(&self) -> bool {
        self.model.is_some() || self.server.policy_url.is_some()
    }

    /// These flags, with `default` for the model and its projector where they name no policy.
    #[must_use]
    pub fn with_default(&self, default: Option<(PathBuf, Option<PathBuf>)>) -> Self {
        match default {
            Some((model, mmproj)) if !self.is_given() => {
                Self { model: Some(model), mmproj: self.mmproj.clone().or(mmproj), ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// Whether the policy can be shown images: a local one with its projector, or one on a server.
    pub fn has_projector(&self) -> bool {
        self.mmproj.is_some() || self.server.policy_url.is_some()
    }

    /// Refuses problems with images, read from `file`, for a local policy without a vision projector.
    pub fn check_images(&self, file: &Path, problems: &[Problem]) -> anyhow::Result<()> {
        let Some(model) = &self.model else { return Ok(()) };
        let with_images =
            WithImages::count(problems, |problem| !problem.images.is_empty(), |_, problem| problem.id.clone());
        models::check_projector(model, self.mmproj.as_deref(), file, with_images)
    }

    /// Loads the policy and starts its engine, or prepares its endpoint. Searches set
    /// `keep_prompts`, since their requests have common prefixes, and `continues`.
    pub fn open(
        &self,
        engine: &EngineArgs,
        sampling: &SamplingArgs,
        data_root: PathBuf,
        keep_prompts: bool,
        continues: Continue,
        ui: &Ui,
    ) -> anyhow::Result<OpenPolicy> {
        let options = GenerationOptions {
            sampling: sampling.sampling()?,
            max_tokens: sampling.max_tokens,
            seed: sampling.seed,
            data_root,
            template: self.prompt_template.as_deref().map(prompt_template).transpose()?,
            continues,
            cancel: ui.interrupted().clone(),
        };
        if let Some(endpoint) = self.server.endpoint(ui)? {
            return Ok(OpenPolicy::Server(Box::new(RemotePolicy::new(endpoint, options))));
        }
        let model = self.model.as_deref().ok_or_else(|| Usage("expected --policy or --policy-url".into()))?;
        let (engine, encoder) =
            engine.start(model, self.mmproj.as_deref(), self.max_tiles, self.parallel.0, false, ui)?;
        let policy = LocalPolicy::new(engine, encoder, options)
            .map_err(|error| BadInput(format!("{error}, with --prompt-template")))?;
        Ok(OpenPolicy::Local(Box::new(policy.keep_prompts(keep_prompts))))
    }

    /// The maximum number of rollouts in flight with `policy`, for requests of `each` rollouts.
    pub fn width(&self, policy: &OpenPolicy, each: usize) -> usize {
        match policy {
            OpenPolicy::Server(_) => self.server.policy_parallel.saturating_mul(each.max(1)),
            OpenPolicy::Local(policy) => policy.parallel(),
        }
    }

    /// The flags that can change a run's results, for journals and settings files.
    pub fn settings(&self) -> anyhow::Result<Value> {
        let template = self.prompt_template.as_deref().map(args::fingerprint).transpose()?;
        Ok(match &self.server.policy_model {
            // The address is left out, so that the same model on another server resumes a run.
            Some(model) => json!({"server_model": model, "prompt_template": template}),
            None => json!({
                "model": self.model, "mmproj": self.mmproj, "prompt_template": template,
                "max_tiles": self.max_tiles, "parallel": self.parallel.0,
                "files": args::identities([self.model.as_deref(), self.mmproj.as_deref()])?,
            }),
        })
    }
}

impl ServerArgs {
    /// The endpoint, if --policy-url was given.
    fn endpoint(&self, ui: &Ui) -> anyhow::Result<Option<Endpoint>> {
        let (Some(url), Some(model)) = (&self.policy_url, &self.policy_model) else { return Ok(None) };
        let mut options = EndpointOptions::new(url, model);
        options.key = api_key("--policy-key-env", self.policy_key_env.as_deref(), &KEY_VARIABLES)?;
        options.timeout = Duration::from_secs(self.policy_timeout.into());
        options.parallel = NonZeroUsize::new(self.policy_parallel).expect("the parser lets nothing below 1 pass");
        options.cancel = ui.interrupted().clone();
        Endpoint::new(options).map(Some).map_err(|error| Usage(format!("--policy-url: {error}")).into())
    }
}

/// What to do about a missing or rejected key; empty for other errors.
pub fn key_hint(error: &SetupError, flag: &str, variable: &str) -> String {
    match error {
        SetupError::Unauthorized { .. } => format!("; set {variable}, or name another variable with {flag}"),
        _ => String::new(),
    }
}

/// An open policy.
pub enum OpenPolicy {
    /// A local one.
    Local(Box<LocalPolicy>),
    /// One on a server.
    Server(Box<RemotePolicy>),
}

impl OpenPolicy {
    /// Its counters.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Local(policy) => Counters::Engine(policy.stats()),
            Self::Server(policy) => Counters::Server(policy.traffic()),
        }
    }

    /// Fails if the policy's server ended the run.
    pub fn close(&self) -> anyhow::Result<()> {
        let Self::Server(policy) = self else { return Ok(()) };
        let Some(error) = policy.stopped_by() else { return Ok(()) };
        let hint = match error {
            EndpointError::Setup(SetupError::NoContinuation { .. }) => "; use --continue user".to_owned(),
            EndpointError::Setup(error) => key_hint(error, "--policy-key-env", KEY_VARIABLES[0]),
            _ => String::new(),
        };
        let sentence = format!("the policy cannot be used: {error}{hint}");
        Err(error.clone()).context(sentence)
    }

    fn policy(&self) -> &dyn RolloutModel {
        match self {
            Self::Local(policy) => policy.as_ref(),
            Self::Server(policy) => policy.as_ref(),
        }
    }
}

impl RolloutModel for OpenPolicy {
    fn continues(&self) -> Continue {
        self.policy().continues()
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        self.policy().rollouts(request)
    }
}
