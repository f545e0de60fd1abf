//! The flags of a reward model that works beside a policy.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mmprm::prm::{LocalPrm, PrmForm, PrmOptions};

use crate::args::EngineArgs;
use crate::models;
use crate::ui::Ui;

/// A reward model and its projector.
#[derive(Debug, Clone)]
pub struct ScorerPair {
    pub model: PathBuf,
    pub mmproj: Option<PathBuf>,
}

impl ScorerPair {
    /// Refuses files that cannot be models.
    pub fn check(&self) -> anyhow::Result<()> {
        [Some(&self.model), self.mmproj.as_ref()].into_iter().flatten().try_for_each(|file| models::check(file))
    }

    /// The form in which the model reads solutions.
    pub fn form(&self) -> anyhow::Result<PrmForm> {
        Ok(LocalPrm::form_of(&self.model, &[], None)?)
    }

    /// Loads the model; images of problems are below `data_root`.
    pub fn open(&self, engine: &EngineArgs, data_root: &Path, ui: &Ui) -> anyhow::Result<LocalPrm> {
        let (engine, encoder) = engine.start_scorer(&self.model, self.mmproj.as_deref(), ui)?;
        let options = PrmOptions { data_root: data_root.to_owned(), template: None };
        LocalPrm::new(engine, encoder, options).with_context(|| format!("--prm {}", self.model.display()))
    }
}
