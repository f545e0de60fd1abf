//! What a checkpoint or an adapter was trained for: the file `mmprm.json` that `mmprm train` writes beside its weights.
//!
//! Checkpoints of others have none. Conversion writes it into GGUF metadata (`mmprm.task`, `mmprm.prm.form`, `mmprm.prm.template`),
//! by which scoring refuses policies and reads solutions as they were in training.
//!
//! ```
//! use mmprm_quant::hf::origin::{Origin, Task};
//! let folder = tempfile::tempdir().unwrap();
//! assert_eq!(Origin::read(folder.path()).unwrap(), None);
//! let origin = Origin { prm_template: Some("internvl2_5-training".into()), ..Origin::new(Task::Prm) };
//! std::fs::write(folder.path().join("mmprm.json"), origin.to_json()).unwrap();
//! assert_eq!(Origin::read(folder.path()).unwrap(), Some(origin));
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::HfError;
use super::files::read_optional_json;
use crate::gguf::{GgufValue, Metadata};

/// The file's name.
pub const FILE: &str = "mmprm.json";

/// The GGUF key of the form of a PRM: how it reads solutions, as a TOML record.
pub const FORM_KEY: &str = "mmprm.prm.form";

/// The GGUF key of the name of the form of a PRM, as files had it before they had the form itself.
pub const TEMPLATE_KEY: &str = "mmprm.prm.template";

/// The GGUF key of the task.
pub const TASK_KEY: &str = "mmprm.task";

/// What a model was trained for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The task.
    pub task: Task,
    /// The form of a PRM, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prm_template: Option<String>,
    /// The form of a PRM, as a TOML record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prm_form: Option<String>,
}

/// The task of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// To score steps.
    Prm,
    /// To score steps by their log-probability.
    ImplicitPrm,
    /// To write solutions.
    Policy,
}

impl Origin {
    /// Returns that of a task alone.
    pub fn new(task: Task) -> Self {
        Self { task, prm_template: None, prm_form: None }
    }

    /// Reads the file of a directory; `None` if it has none.
    ///
    /// # Errors
    /// [`HfError`] if the file is not of this form.
    pub fn read(directory: &Path) -> Result<Option<Self>, HfError> {
        read_optional_json(&directory.join(FILE))
    }

    /// Returns the content of the file.
    pub fn to_json(&self) -> String {
        format!("{}\n", serde_json::json!(self))
    }

    /// Returns it as GGUF metadata.
    pub fn metadata(&self) -> Metadata {
        let text = |text: &str| GgufValue::String(text.to_owned());
        let given = |key: &str, value: &Option<String>| value.as_deref().map(|value| (key.to_owned(), text(value)));
        let forms = [given(TEMPLATE_KEY, &self.prm_template), given(FORM_KEY, &self.prm_form)];
        [(TASK_KEY.to_owned(), text(self.task.name()))].into_iter().chain(forms.into_iter().flatten()).collect()
    }
}

impl Task {
    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prm => "prm",
            Self::ImplicitPrm => "implicit-prm",
            Self::Policy => "policy",
        }
    }
}
