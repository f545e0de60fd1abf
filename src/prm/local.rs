//! A process reward model that runs on this machine, on llama.cpp.

use std::fmt;
use std::path::{Path, PathBuf};

use mmprm_quant::gguf::{GgufFile, GgufValue};
use mmprm_quant::hf::origin::{TASK_KEY, TEMPLATE_KEY, Task};

use super::{PrmError, ScoreRequest, StepScorer, finite};
use crate::data::solution;
use crate::engine::{Engine, EngineError, EngineStats, LoraAdapter, PromptError, Token};
use crate::image;
use crate::prompt::{self, ChatTemplate, Images, PrmTemplate, STEP_TOKEN};
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// Ends the assistant's turn in every chat template.
const END_OF_TURN: &str = "<|im_end|>";

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
    read_out: ReadOut,
}

/// Where and how the model's scores are read.
#[derive(Debug)]
enum ReadOut {
    /// The softmax of two label tokens at the mark after each step, as in MM-PRM.
    Marks { template: PrmTemplate, step: Token, labels: [Token; 2] },
    /// The probability of each step as the text that the model itself would write (an implicit PRM).
    Logprob,
}

/// The form in which a PRM reads candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrmForm {
    /// MM-PRM's: a score at the mark after each step, in the text of a template.
    Marks(PrmTemplate),
    /// An implicit PRM's: the probability of each step, in the form in which a policy writes it.
    Implicit,
}

impl fmt::Display for PrmForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marks(template) => template.fmt(f),
            Self::Implicit => f.write_str("implicit"),
        }
    }
}

impl PrmForm {
    /// The form of a model with these texts in its metadata: with the template that was asked for, or else its own, or else
    /// MM-PRM's.
    fn of(asked: Option<PrmTemplate>, task: Option<&str>, template: Option<&str>) -> Result<Self, String> {
        if task == Some(Task::ImplicitPrm.name()) {
            return match asked {
                None => Ok(Self::Implicit),
                Some(_) => Err("it scores by log-probability (mmprm.task), which has no PRM template".into()),
            };
        }
        Ok(Self::Marks(match (asked, template) {
            (Some(template), _) => template,
            (None, Some(name)) => name.parse().map_err(|error| format!("mmprm.prm.template: {error}"))?,
            (None, None) => PrmTemplate::Scoring,
        }))
    }
}

impl LocalPrm {
    /// The form that a model which is not loaded yet will be used in.
    ///
    /// # Errors
    /// [`EngineError`] if a file is no GGUF file, names an unknown template, or has no templates and one is asked for.
    pub fn form_of(model: &Path, adapters: &[LoraAdapter], asked: Option<PrmTemplate>) -> Result<PrmForm, EngineError> {
        let (mut task, mut template) = (None, None);
        let used = adapters.iter().filter(|adapter| adapter.scale != 0.0).map(|adapter| adapter.path.as_path());
        for path in std::iter::once(model).chain(used) {
            let file = GgufFile::open_outline(path)?;
            let own = |key: &str| file.get(key).and_then(GgufValue::as_str).map(str::to_owned);
            (task, template) = (own(TASK_KEY).or(task), own(TEMPLATE_KEY).or(template));
        }
        let refuse = |cause| EngineError::Load { path: model.to_owned(), cause };
        PrmForm::of(asked, task.as_deref(), template.as_deref()).map_err(refuse)
    }

    /// Wraps a running engine and the encoder of the same model.
    ///
    /// # Errors
    /// [`EngineError::Load`] if the model is not a PRM: it has no step or label tokens, was trained as
    /// a policy, or names an unknown template.
    pub fn new(engine: Engine, encoder: PromptEncoder, options: PrmOptions) -> Result<Self, EngineError> {
        let model = encoder.model();
        let refuse = |cause: String| EngineError::Load { path: model.path().to_owned(), cause };
        let task = model.own_text(TASK_KEY);
        let form = PrmForm::of(options.template, task, model.own_text(TEMPLATE_KEY)).map_err(refuse)?;
        let PrmForm::Marks(template) = form else {
            return Ok(Self { engine, data_root: options.data_root, read_out: ReadOut::Logprob, encoder });
        };
        let token = |key: &str, text: &str| {
            let text = model.own_text(key).unwrap_or(text);
            model.token(text).ok_or_else(|| {
                refuse(format!("its vocabulary has no single token {text:?}; is this a process reward model?"))
            })
        };
        let step = token("mmprm.prm.step_token", STEP_TOKEN)?;
        let labels = [token("mmprm.prm.yes_token", "Yes")?, token("mmprm.prm.no_token", "No")?];
        if task == Some(Task::Policy.name()) {
            return Err(refuse("it was trained as a policy (mmprm.task), expected a process reward model".into()));
        }
        Ok(Self { engine, data_root: options.data_root, read_out: ReadOut::Marks { template, step, labels }, encoder })
    }

    /// The engine's counters.
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    fn scores(&self, request: &ScoreRequest<'_>, is_finished: bool) -> Result<Vec<Vec<f64>>, EncodeError> {
        let resolve = |path: &String| image::resolve(&self.data_root, path);
        let images = request.images.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        match &self.read_out {
            ReadOut::Marks { template, step, labels } => self.at_marks(request, &images, *template, *step, labels),
            ReadOut::Logprob => self.by_logprob(request, &images, is_finished),
        }
    }

    /// Scores of an implicit PRM: for each step the probability that the model would write it, given the steps before.
    fn by_logprob(
        &self,
        request: &ScoreRequest<'_>,
        images: &[PathBuf],
        is_finished: bool,
    ) -> Result<Vec<Vec<f64>>, EncodeError> {
        let (model, special) = (self.encoder.model(), self.encoder.model().special_texts());
        let context = ChatTemplate::default().rollout(request.question, &[], images.len(), Images::All);
        let from = self.encoder.prompt(&context, images)?.len();
        let (mut prompts, mut ends) = (Vec::new(), Vec::new());
        for steps in request.solutions.iter().filter(|steps| !steps.is_empty()) {
            let (mut run, mut own_ends) = (self.encoder.run(), Vec::new());
            for (index, step) in steps.iter().enumerate() {
                let is_answer = is_finished && index + 1 == steps.len();
                let (open, close) = if is_answer { ("<answer>", "</answer>") } else { ("<step>", "</step>") };
                run.template(open);
                run.plain(&solution::without(step, &special));
                run.template(close);
                if is_answer {
                    run.template(END_OF_TURN);
                }
                own_ends.push(model.tokenize_run(&run, false)?);
            }
            let tokens = own_ends.last().cloned().unwrap_or_default();
            // A token that spans two steps belongs to the later one.
            let shared = |own: &Vec<Token>| own.iter().zip(&tokens).take_while(|(own, all)| own == all).count();
            ends.push(own_ends.iter().map(shared).collect::<Vec<_>>());
            prompts.push(self.encoder.prompt_then(&context, images, &tokens)?);
        }
        let mut logprobs = self.engine.logprobs(prompts, from)?.into_iter().zip(ends);
        let score = |steps: &Vec<String>| {
            if steps.is_empty() {
                return Vec::new();
            }
            let (logprobs, ends) = logprobs.next().unwrap_or_default();
            let mut start = 0;
            let step = |end: usize| {
                // A tokenizer may divide a longer text anew from before the last end; such a step has no tokens of its own.
                let end = end.max(start);
                let own = &logprobs[std::mem::replace(&mut start, end)..end];
                own.iter().map(|logprob| f64::from(*logprob)).sum::<f64>().exp()
            };
            ends.into_iter().map(step).collect()
        };
        Ok(request.solutions.iter().map(score).collect())
    }

    /// Scores at the marks after the steps.
    fn at_marks(
        &self,
        request: &ScoreRequest<'_>,
        images: &[PathBuf],
        template: PrmTemplate,
        step: Token,
        labels: &[Token],
    ) -> Result<Vec<Vec<f64>>, EncodeError> {
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
            let pieces = prompt::prm_of(&question, &steps, images.len(), template, Images::All);
            self.encoder.prompt(&pieces, images)
        };
        let solutions = request.solutions.iter().filter(|steps| !steps.is_empty());
        let prompts = solutions.map(|steps| prompt(steps)).collect::<Result<Vec<_>, _>>()?;
        let mut readings = self.engine.probe(prompts, step, labels)?.into_iter();
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
        self.scores(request, true).map_err(failure).and_then(finite)
    }

    fn score_unfinished(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        self.scores(request, false).map_err(failure).and_then(finite)
    }
}

fn failure(error: EncodeError) -> PrmError {
    match error {
        EncodeError::Engine(EngineError::Cancelled) => PrmError::Cancelled,
        EncodeError::Engine(error @ (EngineError::Limit(_) | EngineError::Prompt(_))) => {
            PrmError::Problem(Box::new(error))
        }
        EncodeError::Engine(error) => PrmError::Model(Box::new(error)),
        EncodeError::Vision(error) => PrmError::Model(Box::new(error)),
        error => PrmError::Problem(Box::new(error)),
    }
}

/// The first entry of the softmax over the two label logits.
fn probability(yes: f32, no: f32) -> f64 {
    1.0 / (1.0 + (f64::from(no) - f64::from(yes)).exp())
}
