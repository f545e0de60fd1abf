//! A process reward model that runs on this machine, on llama.cpp.

use std::path::{Path, PathBuf};

use mmprm_quant::gguf::{GgufFile, GgufValue};
use mmprm_quant::hf::origin::{TASK_KEY, TEMPLATE_KEY, Task};

use super::{PrmError, ScoreRequest, StepScorer, finite};
use crate::data::solution;
use crate::engine::{Engine, EngineError, EngineStats, LoraAdapter, PromptError, Token};
use crate::image;
use crate::prompt::{self, Images, PrmTemplate, STEP_TOKEN};
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// How a [`LocalPrm`] reads candidates.
#[derive(Debug, Clone)]
pub struct PrmOptions {
    /// Folder that image paths are relative to and confined to.
    pub data_root: PathBuf,
    /// The PRM template; `None` takes the one named in the model's metadata, or else MM-PRM's
    /// scoring template.
    pub template: Option<PrmTemplate>,
}

/// A language model, its vision encoder and the engine that runs them, as a [`StepScorer`].
#[derive(Debug)]
pub struct LocalPrm {
    engine: Engine,
    encoder: PromptEncoder,
    data_root: PathBuf,
    template: PrmTemplate,
    step: Token,
    labels: [Token; 2],
}

/// The template that was asked for, or else that of the model's metadata, or else MM-PRM's.
fn template_of(asked: Option<PrmTemplate>, own: Option<&str>) -> Result<PrmTemplate, String> {
    match (asked, own) {
        (Some(template), _) => Ok(template),
        (None, Some(name)) => name.parse().map_err(|error| format!("mmprm.prm.template: {error}")),
        (None, None) => Ok(PrmTemplate::Scoring),
    }
}

impl LocalPrm {
    /// The template that a model which is not loaded yet will be used with.
    ///
    /// # Errors
    /// [`EngineError`] if a file is no GGUF file or names an unknown template.
    pub fn template_of(
        model: &Path,
        adapters: &[LoraAdapter],
        asked: Option<PrmTemplate>,
    ) -> Result<PrmTemplate, EngineError> {
        let mut own = None;
        let used = adapters.iter().filter(|adapter| adapter.scale != 0.0).map(|adapter| adapter.path.as_path());
        for path in std::iter::once(model).chain(used) {
            let file = GgufFile::open_outline(path)?;
            own = file.get(TEMPLATE_KEY).and_then(GgufValue::as_str).map(str::to_owned).or(own);
        }
        let refuse = |cause| EngineError::Load { path: model.to_owned(), cause };
        template_of(asked, own.as_deref()).map_err(refuse)
    }

    /// Wraps a running engine and the encoder of the same model.
    ///
    /// # Errors
    /// [`EngineError::Load`] if the model is not a PRM: it has no step or label tokens, was trained as
    /// a policy, or names an unknown template.
    pub fn new(engine: Engine, encoder: PromptEncoder, options: PrmOptions) -> Result<Self, EngineError> {
        let model = encoder.model();
        let refuse = |cause: String| EngineError::Load { path: model.path().to_owned(), cause };
        let token = |key: &str, text: &str| {
            let text = model.own_text(key).unwrap_or(text);
            model.token(text).ok_or_else(|| {
                refuse(format!("its vocabulary has no single token {text:?}; is this a process reward model?"))
            })
        };
        let step = token("mmprm.prm.step_token", STEP_TOKEN)?;
        let labels = [token("mmprm.prm.yes_token", "Yes")?, token("mmprm.prm.no_token", "No")?];
        if model.own_text(TASK_KEY) == Some(Task::Policy.name()) {
            return Err(refuse("it was trained as a policy (mmprm.task), expected a process reward model".into()));
        }
        let template = template_of(options.template, model.own_text(TEMPLATE_KEY)).map_err(refuse)?;
        Ok(Self { engine, data_root: options.data_root, template, step, labels, encoder })
    }

    /// The template in use.
    pub fn template(&self) -> PrmTemplate {
        self.template
    }

    /// The engine's counters.
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    fn scores(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, EncodeError> {
        let resolve = |path: &String| image::resolve(&self.data_root, path);
        let images = request.images.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        // MM-PRM's code would read a step token inside the text as the end of a step; here it is text.
        let text = |text: &str| {
            if self.encoder.has_reference_special_tokens() {
                solution::without(text, &[STEP_TOKEN])
            } else {
                text.to_owned()
            }
        };
        let question = text(request.question);
        let prompt = |steps: &[String]| {
            let steps: Vec<String> = steps.iter().map(|step| text(step)).collect();
            let pieces = prompt::prm_of(&question, &steps, images.len(), self.template, Images::All);
            self.encoder.prompt(&pieces, &images)
        };
        let solutions = request.solutions.iter().filter(|steps| !steps.is_empty());
        let prompts = solutions.map(|steps| prompt(steps)).collect::<Result<Vec<_>, _>>()?;
        let mut readings = self.engine.probe(prompts, self.step, &self.labels)?.into_iter();
        request
            .solutions
            .iter()
            .map(|steps| {
                if steps.is_empty() {
                    return Ok(Vec::new());
                }
                let rows = readings.next().unwrap_or_default();
                if rows.len() != steps.len() {
                    return Err(PromptError::Marks { found: rows.len(), expected: steps.len() }.into());
                }
                Ok(rows.iter().map(|row| probability(row[0], row[1])).collect())
            })
            .collect()
    }
}

impl StepScorer for LocalPrm {
    fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        let scores = self.scores(request);
        scores
            .map_err(|error| match error {
                EncodeError::Engine(EngineError::Cancelled) => PrmError::Cancelled,
                EncodeError::Engine(error @ (EngineError::Limit(_) | EngineError::Prompt(_))) => {
                    PrmError::Problem(Box::new(error))
                }
                EncodeError::Engine(error) => PrmError::Model(Box::new(error)),
                EncodeError::Vision(error) => PrmError::Model(Box::new(error)),
                error => PrmError::Problem(Box::new(error)),
            })
            .and_then(finite)
    }
}

/// The first entry of the softmax over the two label logits.
fn probability(yes: f32, no: f32) -> f64 {
    1.0 / (1.0 + (f64::from(no) - f64::from(yes)).exp())
}
