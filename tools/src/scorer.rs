//! The flags of a reward model that works beside a policy.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mmprm::engine::Engine;
use mmprm::prm::{LocalPrm, PrmForm, PrmOptions, form};
use mmprm::prompt::ReadOut;
use mmprm::vision::prompts::PromptEncoder;
use serde_json::{Value, json};

use crate::args::{self, EngineArgs};
use crate::exit::{BadInput, Usage};
use crate::models::{self, WithImages};
use crate::ui::Ui;

/// Returns the PRM form that `--prm-form` names: a built-in one, or a TOML file.
pub fn prm_form(name: &str) -> anyhow::Result<PrmForm> {
    form::named(name).map_err(|error| {
        let cause = format!("--prm-form {error}");
        if form::is_path(name) { BadInput(cause).into() } else { Usage(cause).into() }
    })
}

/// Rollouts that a reward model decodes in parallel: one if it writes nothing, or else as many as the engine chooses for its critiques.
pub fn parallel(form: &PrmForm) -> Option<u32> {
    if form.writes_critiques() { None } else { Some(1) }
}

/// Warns if critiques reached their maximum length, beyond the first `before` of them.
pub fn warn_truncated(prm: &LocalPrm, before: u64, ui: &Ui) {
    let ReadOut::Critique { max_tokens, .. } = prm.form().read_out() else { return };
    let count = prm.truncated_critiques() - before;
    if count > 0 {
        ui.warn(format_args!(
            "critiques that reached their maximum of {max_tokens} tokens (`max_tokens` of the PRM form {}): {count}; their steps were \
             scored all the same",
            prm.form()
        ));
    }
}

/// The reference model of a PRM form that reads log-probability ratios.
#[derive(clap::Args, Debug, Clone, Default)]
#[command(next_help_heading = "Reward model")]
pub struct ReferenceArgs {
    /// Reference model of an implicit PRM that scores by log-probability ratios: what it was trained against.
    #[arg(long, value_name = "GGUF", requires = "prm")]
    pub prm_reference: Option<PathBuf>,

    /// Its vision projector; problems with images need one.
    #[arg(long, value_name = "GGUF", requires = "prm_reference")]
    pub prm_reference_mmproj: Option<PathBuf>,
}

impl ReferenceArgs {
    /// Refuses files that cannot be models.
    pub fn check(&self) -> anyhow::Result<()> {
        self.files().try_for_each(models::check)
    }

    /// Refuses, before weights are loaded, a reference that `form` of the model at `prm` does not take, or one that is missing.
    pub fn check_form(&self, prm: &Path, form: &PrmForm) -> anyhow::Result<()> {
        let checked = LocalPrm::check_reference(prm, form, self.prm_reference.as_deref());
        match &self.prm_reference {
            None => checked.context("--prm-reference is missing"),
            Some(reference) => checked.with_context(|| format!("--prm-reference {}", reference.display())),
        }
    }

    /// Refuses input with images, if there is a reference without a projector.
    pub fn check_projector(&self, input: &Path, with_images: Option<WithImages>) -> anyhow::Result<()> {
        let Some(reference) = &self.prm_reference else { return Ok(()) };
        let mmproj = self.prm_reference_mmproj.as_deref();
        models::check_projector_flag("--prm-reference-mmproj", reference, mmproj, input, with_images)
    }

    /// Whether problems with images can be scored as far as the reference goes.
    pub fn has_projector(&self) -> bool {
        self.prm_reference.is_none() || self.prm_reference_mmproj.is_some()
    }

    /// Adds what scores depend on to the settings of a run.
    pub fn add_settings(&self, settings: &mut Value) -> anyhow::Result<()> {
        if let Some(reference) = &self.prm_reference {
            let mmproj = &self.prm_reference_mmproj;
            let files = args::identities([Some(reference), mmproj.as_deref()])?;
            settings["prm_reference"] = json!({"model": reference, "mmproj": mmproj, "files": files});
        }
        Ok(())
    }

    /// Starts the PRM of a running engine with its reference model.
    pub fn open(
        &self,
        (engine, encoder): (Engine, PromptEncoder),
        options: PrmOptions,
        args: &EngineArgs,
        ui: &Ui,
    ) -> anyhow::Result<LocalPrm> {
        let Some(reference) = &self.prm_reference else {
            return Ok(LocalPrm::new(engine, encoder, options)?.cancelled_by(ui.interrupted()));
        };
        let reference = args.start_scorer(reference, self.prm_reference_mmproj.as_deref(), Some(1), ui)?;
        Ok(LocalPrm::with_reference(engine, encoder, reference, options)?)
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.prm_reference, &self.prm_reference_mmproj].into_iter().filter_map(|file| file.as_deref())
    }
}

/// A reward model and its projector.
#[derive(Debug, Clone)]
pub struct ScorerPair {
    pub model: PathBuf,
    pub mmproj: Option<PathBuf>,
    /// The form that was asked for instead of the model's own.
    pub form: Option<PrmForm>,
    pub reference: ReferenceArgs,
}

impl ScorerPair {
    /// Refuses, before any weights are loaded, files that cannot be models, a model that lacks what its form reads, and a reference
    /// model that the form does not take.
    pub fn check(&self) -> anyhow::Result<()> {
        [Some(&self.model), self.mmproj.as_ref()].into_iter().flatten().try_for_each(|file| models::check(file))?;
        self.reference.check()?;
        let form = self.form()?;
        self.reference.check_form(&self.model, &form)?;
        LocalPrm::check_vocabulary(&self.model, &form).with_context(|| format!("--prm {}", self.model.display()))
    }

    /// The form in which the model reads solutions.
    pub fn form(&self) -> anyhow::Result<PrmForm> {
        Ok(LocalPrm::form_of(&self.model, &[], self.form.as_ref())?)
    }

    /// Loads the model; images of problems are below `data_root`.
    pub fn open(&self, engine: &EngineArgs, data_root: &Path, ui: &Ui) -> anyhow::Result<LocalPrm> {
        let parallel = parallel(&self.form()?);
        let started = engine.start_scorer(&self.model, self.mmproj.as_deref(), parallel, ui)?;
        let options = PrmOptions { data_root: data_root.to_owned(), form: self.form.clone() };
        let prm = self.reference.open(started, options, engine, ui);
        prm.with_context(|| format!("--prm {}", self.model.display()))
    }
}
