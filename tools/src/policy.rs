//! The flags of the policy, a model that runs here or one behind a server.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;
use clap::builder::RangedU64ValueParser;
use mmprm::data::solution::{Continue, Rollout};
use mmprm::policy::{
    Drawn, LocalPolicy, PolicyError, PolicyOptions, RemoteOptions, RemotePolicy, RolloutModel, RolloutRequest, Traced,
};
use mmprm::prompt::ChatTemplate;
use mmprm::remote::{Endpoint, EndpointOptions};
use serde_json::{Value, json};

use crate::args::{self, Automatic, EngineArgs, SamplingArgs, api_key, prompt_template};
use crate::commands::report::Counters;
use crate::exit::Usage;
use crate::ui::Ui;

/// Where keys are looked for.
const KEY_VARIABLES: [&str; 2] = ["MMPRM_POLICY_KEY", "OPENAI_API_KEY"];

/// The model that writes solutions.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Policy", group = ArgGroup::new("source").required(true).args(["model", "policy_url"]))]
pub struct PolicyArgs {
    /// The policy, a GGUF file.
    #[arg(long = "policy", value_name = "GGUF")]
    model: Option<PathBuf>,

    /// Its vision projector; without one, only problems without images can be worked on.
    #[arg(long, value_name = "GGUF")]
    mmproj: Option<PathBuf>,

    /// A file with the conversation to put before the model, `{prompt}` in the place of the user's message [default:
    /// InternVL2.5's]. For other instruct models. A server writes the turns itself: of this, it is given ChatML's system
    /// message, if there is one.
    #[arg(long, value_name = "FILE")]
    prompt_template: Option<PathBuf>,

    /// Most tiles an image is cut into [default: the model's own number].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    max_tiles: Option<usize>,

    /// Rollouts decoded side by side, of all problems together, at most 128; `auto` takes 16, and 64 on a GPU.
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = args::parallel)]
    parallel: Automatic,

    #[command(flatten)]
    server: ServerArgs,
}

/// A policy behind a server.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Policy on a server")]
#[expect(clippy::struct_field_names, reason = "fields are named as their flags")]
struct ServerArgs {
    /// Instead of --policy, the address of an OpenAI-compatible server with it (vLLM, SGLang, llama-server), as in
    /// http://localhost:8000/v1. Its conversation template is to be the model's own. The same --seed draws the same rollouts
    /// as far as the server keeps to seeds.
    #[arg(long, value_name = "URL", requires = "policy_model")]
    policy_url: Option<String>,

    /// The policy's name on that server.
    #[arg(long, value_name = "NAME", requires = "policy_url")]
    policy_model: Option<String>,

    /// Environment variable that holds the server's key [default: MMPRM_POLICY_KEY, or else OPENAI_API_KEY; none is needed
    /// where the server asks for none].
    #[arg(long, value_name = "VARIABLE", requires = "policy_url")]
    policy_key_env: Option<String>,

    /// Seconds that one request may take, for all rollouts of a prompt; one that takes longer is tried again, up to 5 times
    /// in all.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "policy_url",
        value_parser = clap::value_parser!(u32).range(1..=86400))]
    policy_timeout: u32,

    /// Requests at once.
    #[arg(long, value_name = "N", default_value_t = 16, requires = "policy_url",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    policy_parallel: usize,
}

impl PolicyArgs {
    /// Refuses flags that mean nothing to a policy on a server. Those of the engine are let pass where it runs a judge.
    pub fn check(&self, engine: &EngineArgs, judge_runs_here: bool) -> anyhow::Result<()> {
        if self.server.policy_url.is_none() {
            return Ok(());
        }
        let own = [
            (self.mmproj.is_some(), "--mmproj"),
            (self.max_tiles.is_some(), "--max-tiles"),
            (self.parallel.0.is_some(), "--parallel"),
            (engine.has_adapters(), "--lora"),
        ];
        let own = own.into_iter().find_map(|(given, flag)| given.then_some(flag));
        match own.or(engine.given().filter(|_| !judge_runs_here)) {
            None => Ok(()),
            Some("--parallel") => Err(Usage(
                "--parallel is for a policy that runs here; with --policy-url, --policy-parallel tells how many requests \
                 there may be at once"
                    .into(),
            )
            .into()),
            Some(flag) => Err(Usage(format!(
                "{flag} is for a policy that runs here; with --policy-url, it is the server's business"
            ))
            .into()),
        }
    }

    /// Loads the policy and starts its engine, or gets ready to ask its server; `keep_prompts` for searches, whose requests
    /// start alike and have the steps before a rollout where `continues` says.
    pub fn open(
        &self,
        engine: &EngineArgs,
        sampling: &SamplingArgs,
        data_root: PathBuf,
        keep_prompts: bool,
        continues: Continue,
        ui: &Ui,
    ) -> anyhow::Result<OpenPolicy> {
        let (template, max_tokens, seed) = (self.template()?, sampling.max_tokens, sampling.seed);
        let drawing = sampling.sampling()?;
        if let Some(endpoint) = self.server.endpoint(ui)? {
            let options = RemoteOptions { sampling: drawing, max_tokens, seed, data_root, template, continues };
            return Ok(OpenPolicy::Server(Box::new(RemotePolicy::new(endpoint, options))));
        }
        let model = self.model.as_deref().ok_or_else(|| Usage("expected --policy or --policy-url".into()))?;
        let cancel = ui.interrupted().clone();
        let options =
            PolicyOptions { sampling: drawing, max_tokens, seed, data_root, template, continues, keep_prompts, cancel };
        let (engine, encoder) =
            engine.start(model, self.mmproj.as_deref(), self.max_tiles, self.parallel.0, false, ui)?;
        Ok(OpenPolicy::Here(Box::new(LocalPolicy::new(engine, encoder, options))))
    }

    /// The conversation around a prompt.
    fn template(&self) -> anyhow::Result<ChatTemplate> {
        self.prompt_template.as_deref().map_or_else(|| Ok(ChatTemplate::default()), prompt_template)
    }

    /// How many rollouts are under way at once with `policy` where each request is for `each`.
    pub fn width(&self, policy: &OpenPolicy, each: usize) -> usize {
        match policy {
            OpenPolicy::Server(_) => self.server.policy_parallel.saturating_mul(each.max(1)),
            OpenPolicy::Here(policy) => policy.parallel(),
        }
    }

    /// What of these flags can change a run's results.
    pub fn settings(&self) -> Value {
        match &self.server.policy_model {
            // The same model on another server goes on with the same work.
            Some(model) => json!({"server_model": model, "prompt_template": self.prompt_template}),
            None => json!({
                "model": self.model, "mmproj": self.mmproj, "prompt_template": self.prompt_template,
                "max_tiles": self.max_tiles, "parallel": self.parallel.0,
            }),
        }
    }
}

impl ServerArgs {
    /// The endpoint, if its address was given.
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

/// A policy that is ready.
pub enum OpenPolicy {
    /// It runs here.
    Here(Box<LocalPolicy>),
    /// It is asked.
    Server(Box<RemotePolicy>),
}

impl OpenPolicy {
    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Here(policy) => Counters::Engine(policy.stats()),
            Self::Server(policy) => Counters::Server(policy.traffic()),
        }
    }

    /// Ends a run that the policy's server stopped.
    pub fn close(&self) -> anyhow::Result<()> {
        match self {
            Self::Server(policy) => match policy.stopped_by() {
                Some(error) => Err(anyhow::anyhow!("the policy cannot be used: {error}")),
                None => Ok(()),
            },
            Self::Here(_) => Ok(()),
        }
    }

    fn policy(&self) -> &dyn RolloutModel {
        match self {
            Self::Here(policy) => policy.as_ref(),
            Self::Server(policy) => policy.as_ref(),
        }
    }
}

impl RolloutModel for OpenPolicy {
    fn continues(&self) -> Continue {
        self.policy().continues()
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError> {
        self.policy().rollouts(request)
    }

    fn traced(&self, request: &RolloutRequest<'_>) -> Result<Vec<Traced>, PolicyError> {
        self.policy().traced(request)
    }

    fn drawn(&self, request: &RolloutRequest<'_>) -> Result<Vec<Drawn>, PolicyError> {
        self.policy().drawn(request)
    }
}
