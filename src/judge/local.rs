//! A judge of answers that runs here, on llama.cpp.

use super::{JudgeError, JudgeModel, VERDICT_TOKENS, reply};
use crate::data::problem::Problem;
use crate::engine::{Engine, EngineError, GenerateRequest, Sampling, Stream};
use crate::prompt::{ChatTemplate, Images, judge as wording};
use crate::util::cancel::CancelToken;
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// Asks a text model of this machine the reference's question, and takes its likeliest words.
#[derive(Debug)]
pub struct LocalJudge {
    engine: Engine,
    encoder: PromptEncoder,
    template: ChatTemplate,
    special_texts: Vec<String>,
    parallel: usize,
    cancel: CancelToken,
}

impl LocalJudge {
    /// A judge over a running engine that decodes `parallel` requests at once. `template` is the conversation that the model
    /// reads, `ChatML` where none is given; setting `cancel` ends questions with [`JudgeError::Cancelled`].
    ///
    /// # Errors
    /// [`JudgeError::Setup`] if no template is given and the model does not know `ChatML`'s turns.
    pub fn new(
        engine: Engine,
        encoder: PromptEncoder,
        template: Option<ChatTemplate>,
        parallel: usize,
        cancel: CancelToken,
    ) -> Result<Self, JudgeError> {
        let model = encoder.model();
        if template.is_none() && model.token("<|im_start|>").is_none() {
            let path = model.path().display();
            return Err(JudgeError::Setup(format!(
                "{path}: its vocabulary has no <|im_start|>: tell how to talk to it"
            )));
        }
        let special_texts = model.special_texts();
        let template = template.unwrap_or_else(ChatTemplate::chatml);
        Ok(Self { engine, encoder, template, special_texts, parallel, cancel })
    }

    /// The prompt with its turns; a turn that an answer pretends to end is cut out.
    fn prompt(&self, problem: &Problem, answer: &str) -> Result<crate::engine::Prompt, EncodeError> {
        let mut text = wording::answer(&problem.question, &problem.answer, answer);
        for special in self.special_texts.iter().filter(|special| !special.is_empty()) {
            if text.contains(special.as_str()) {
                text = text.replace(special.as_str(), "");
            }
        }
        self.encoder.prompt(&self.template.chat(&text, 0, Images::All), &[])
    }
}

impl JudgeModel for LocalJudge {
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let prompt = self.prompt(problem, answer).map_err(|error| match error {
            EncodeError::Engine(error) => no_verdict(error),
            error => JudgeError::Refused(error.to_string()),
        })?;
        let streams = vec![Stream::named(0, &problem.id, 0, 0)];
        let mut request = GenerateRequest::new(prompt, Sampling::GREEDY, streams, VERDICT_TOKENS);
        request.cancel = self.cancel.clone();
        let completions = self.engine.generate(request).map_err(no_verdict)?;
        let words = completions.first().map(|completion| self.encoder.model().detokenize(&completion.tokens));
        let words = words.unwrap_or_default();
        reply::yes_or_no(&words).ok_or_else(|| JudgeError::NoVerdict(reply::no_verdict(&words)))
    }

    fn identity(&self) -> String {
        let model = self.encoder.model();
        let name = model.path().file_name().unwrap_or_default().to_string_lossy();
        format!("{name} ({} bytes) {}", model.file().file_size(), wording::ANSWER_WORDING)
    }

    fn parallel(&self) -> usize {
        self.parallel
    }
}

fn no_verdict(error: EngineError) -> JudgeError {
    match error {
        EngineError::Cancelled => JudgeError::Cancelled,
        error @ (EngineError::Limit(_) | EngineError::Prompt(_) | EngineError::Tokenize(_)) => {
            JudgeError::Refused(error.to_string())
        }
        error => JudgeError::NoVerdict(error.to_string()),
    }
}
