//! A judge of answers that runs on this machine, on llama.cpp.

use std::path::Path;
use std::sync::Arc;

use super::model::VERDICT_TOKENS;
use super::{JudgeError, JudgeModel, reply};
use crate::data::problem::Problem;
use crate::engine::{Engine, EngineError, GenerateRequest, Prompt, Sampling, Stream};
use crate::prompt::{ChatTemplate, Images, judge as wording};
use crate::util::cancel::CancelToken;
use crate::util::io::FileError;
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// Asks a local text model MM-PRM's question and takes its most likely reply.
#[derive(Debug)]
pub struct LocalJudge {
    engine: Engine,
    encoder: PromptEncoder,
    template: ChatTemplate,
    parallel: usize,
    cancel: CancelToken,
}

fn identity(model: &Path, bytes: u64) -> String {
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    format!("{name} ({bytes} bytes) {}", wording::ANSWER_WORDING)
}

impl LocalJudge {
    /// The [identity](JudgeModel::identity) of a judge that is not loaded yet.
    ///
    /// # Errors
    /// [`FileError::Read`].
    pub fn identity_of(model: &Path) -> Result<String, FileError> {
        let metadata = std::fs::metadata(model).map_err(FileError::reading(model))?;
        Ok(identity(model, metadata.len()))
    }

    /// Wraps a running engine that decodes `parallel` requests at once. `template` is the model's
    /// chat template, by default `ChatML`. Once `cancel` is cancelled, questions end with
    /// [`JudgeError::Cancelled`].
    ///
    /// # Errors
    /// [`JudgeError::NoChatTemplate`] if no template is given and the model has no `ChatML` tokens.
    pub fn new(
        engine: Engine,
        encoder: PromptEncoder,
        template: Option<ChatTemplate>,
        parallel: usize,
        cancel: CancelToken,
    ) -> Result<Self, JudgeError> {
        let model = encoder.model();
        if template.is_none() && model.token("<|im_start|>").is_none() {
            return Err(JudgeError::NoChatTemplate { path: model.path().to_owned() });
        }
        let template = template.unwrap_or_else(ChatTemplate::chatml);
        Ok(Self { engine, encoder, template, parallel, cancel })
    }

    /// Builds the prompt. Special tokens in it are text, so that an answer cannot end the user's
    /// message.
    fn prompt(&self, problem: &Problem, answer: &str) -> Result<Prompt, EncodeError> {
        let text = wording::answer(&problem.question, &problem.answer, answer);
        self.encoder.prompt(&self.template.chat(&text, 0, Images::All), &[])
    }
}

impl JudgeModel for LocalJudge {
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let prompt = self.prompt(problem, answer).map_err(|error| match error {
            EncodeError::Engine(error) => error.into(),
            error => JudgeError::Refused(Arc::new(error)),
        })?;
        let streams = vec![Stream::named(0, &problem.id, 0, 0)];
        let mut request = GenerateRequest::new(prompt, Sampling::GREEDY, streams, VERDICT_TOKENS);
        request.cancel = self.cancel.clone();
        let completions = self.engine.generate(request)?;
        let reply = completions.first().map(|completion| self.encoder.model().detokenize(&completion.tokens));
        let reply = reply.unwrap_or_default();
        reply::yes_or_no(&reply).ok_or(JudgeError::NoVerdict { reply })
    }

    fn identity(&self) -> String {
        let model = self.encoder.model();
        identity(model.path(), model.file().file_size())
    }

    fn parallel(&self) -> usize {
        self.parallel
    }
}

impl From<EngineError> for JudgeError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cancelled => Self::Cancelled,
            error @ (EngineError::Limit(_) | EngineError::Prompt(_) | EngineError::Tokenize(_)) => {
                Self::Refused(Arc::new(error))
            }
            error => Self::Model(Arc::new(error)),
        }
    }
}
