//! The flags of a reward model that works beside a policy.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mmprm::prm::{LocalPrm, PrmForm, PrmOptions, form};

use crate::args::EngineArgs;
use crate::exit::{BadInput, Usage};
use crate::models;
use crate::ui::Ui;

/// Returns the PRM form that `--prm-form` names: a built-in one, or a TOML file.
pub fn prm_form(name: &str) -> anyhow::Result<PrmForm> {
    form::named(name).map_err(|error| {
        let cause = format!("--prm-form {error}");
        if form::is_path(name) { BadInput(cause).into() } else { Usage(cause).into() }
    })
}

/// A reward model and its projector.
#[derive(Debug, Clone)]
pub struct ScorerPair {
    pub model: PathBuf,
    pub mmproj: Option<PathBuf>,
    /// The form that was asked for instead of the model's own.
    pub form: Option<PrmForm>,
}

impl ScorerPair {
    /// Refuses files that cannot be models.
    pub fn check(&self) -> anyhow::Result<()> {
        [Some(&self.model), self.mmproj.as_ref()].into_iter().flatten().try_for_each(|file| models::check(file))
    }

    /// The form in which the model reads solutions.
    pub fn form(&self) -> anyhow::Result<PrmForm> {
        Ok(LocalPrm::form_of(&self.model, &[], self.form.as_ref())?)
    }

    /// Loads the model; images of problems are below `data_root`.
    pub fn open(&self, engine: &EngineArgs, data_root: &Path, ui: &Ui) -> anyhow::Result<LocalPrm> {
        LocalPrm::check_vocabulary(&self.model, &self.form()?)
            .with_context(|| format!("--prm {}", self.model.display()))?;
        let (engine, encoder) = engine.start_scorer(&self.model, self.mmproj.as_deref(), ui)?;
        let options = PrmOptions { data_root: data_root.to_owned(), form: self.form.clone() };
        LocalPrm::new(engine, encoder, options).with_context(|| format!("--prm {}", self.model.display()))
    }
}
