//! Prompts for the policy: the task, the question and previous steps in a model's chat template.

use super::pieces::{Builder, IMAGE_PLACEHOLDER, Images, Part, Piece};
use crate::compat::text::strip;

/// The system message that InternVL2.5 was trained with.
const INTERNVL_SYSTEM: &str =
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。";

/// The system message in the chat template of `Qwen2-VL` and `Qwen2.5-VL`; that of `Qwen3-VL` has none.
const QWEN_SYSTEM: &str = "You are a helpful assistant.";

/// The instruction before the question, as in MM-PRM's data pipeline; MM-Policy was trained with
/// it.
const TASK: &str = " Your task is to answer the question below. Give complete reasoning steps before you answer, and when \
                    you are ready to answer, use Answer: The final answer is ..";

/// What comes before the question, and between it and the steps so far.
const BEFORE_QUESTION: &str = "\n\nQuestion: ";
const BEFORE_STEPS: &str = "\nPrevious Steps:";

/// The placeholder for the user's message in the text given to [`ChatTemplate::new`].
const MESSAGE_PLACEHOLDER: &str = "{prompt}";

/// Returns MM-PRM's user message to the policy: an image placeholder, the task, the question and,
/// below the root of a search, the steps so far.
pub fn rollout_user(question: &str, prefix: &[String]) -> String {
    let mut text = format!("{IMAGE_PLACEHOLDER}\n{TASK}{BEFORE_QUESTION}{question}");
    if !prefix.is_empty() {
        text.push_str(BEFORE_STEPS);
    }
    text.push_str(&tagged_steps(prefix));
    text
}

/// Returns steps as the policy writes them: each in `<step>` tags, with nothing in between.
pub fn tagged_steps(steps: &[String]) -> String {
    steps.iter().flat_map(|step| ["<step>", strip(step), "</step>"]).collect()
}

/// Returns the prompt for a rollout of a problem with `images` images, continuing the steps of
/// `prefix`, in InternVL2.5's chat template.
///
/// With [`Images::All`], a placeholder is put before the task only where the question has too few
/// of its own.
pub fn rollout(question: &str, prefix: &[String], images: usize, mode: Images) -> Vec<Piece> {
    ChatTemplate::default().rollout(question, prefix, images, mode)
}

/// A chat template for one user message: the text before and after it. The default is
/// InternVL2.5's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    before: String,
    after: String,
}

impl Default for ChatTemplate {
    /// Returns InternVL2.5's template: `ChatML` with its system message.
    fn default() -> Self {
        Self { before: format!("{}<|im_start|>user\n", system_turn()), ..Self::chatml() }
    }
}

/// InternVL2.5's system turn.
fn system_turn() -> String {
    format!("<|im_start|>system\n{INTERNVL_SYSTEM}<|im_end|>\n")
}

/// A chat template without exactly one `{prompt}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {{prompt}} exactly once, in the place of the user's message, found it {0} times")]
pub struct TemplateError(usize);

impl ChatTemplate {
    /// Returns `ChatML` without a system message, which most instruct models understand.
    pub fn chatml() -> Self {
        Self { before: "<|im_start|>user\n".to_owned(), after: "<|im_end|>\n<|im_start|>assistant\n".to_owned() }
    }

    /// Returns a template for models without one: the message on lines of its own.
    pub fn plain() -> Self {
        Self { before: String::new(), after: "\n".to_owned() }
    }

    /// Returns `ChatML` with the system message that a Jinja template writes where a conversation has none, if it has one as a
    /// text of its own.
    ///
    /// ```
    /// use mmprm::prompt::ChatTemplate;
    /// let jinja = r"{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}…";
    /// assert_eq!(ChatTemplate::chatml().with_default_system(jinja).system(), Some("Be brief."));
    /// assert_eq!(ChatTemplate::chatml().with_default_system("no system message"), ChatTemplate::chatml());
    /// ```
    #[must_use]
    pub fn with_default_system(self, jinja: &str) -> Self {
        const START: &str = "<|im_start|>system";
        if self.before != Self::chatml().before {
            return self;
        }
        let message = |after: &str| {
            let after = after.strip_prefix("\\n").or_else(|| after.strip_prefix('\n'))?;
            let (text, _) = after.split_once("<|im_end|>")?;
            // A quote or a brace ends the text: the rest is a variable.
            let is_text = !text.is_empty() && !text.contains(['{', '}', '"', '\'', '\\']);
            is_text.then(|| format!("{START}\n{text}<|im_end|>\n"))
        };
        match jinja.split(START).skip(1).find_map(message) {
            Some(system) => Self { before: format!("{system}{}", self.before), ..self },
            None => self,
        }
    }

    /// Returns the template for a model of an architecture, as llama.cpp calls it: a default one becomes that of `Qwen2.5-VL` or
    /// `Qwen3-VL` for their models; any other is kept.
    #[must_use]
    pub fn for_architecture(self, architecture: &str) -> Self {
        match architecture {
            "qwen2vl" if self == Self::default() => Self {
                before: format!("<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n<|im_start|>user\n"),
                ..Self::chatml()
            },
            "qwen3vl" if self == Self::default() => Self::chatml(),
            _ => self,
        }
    }

    /// Returns the template of another model, from its text with `{prompt}` in place of the user's
    /// message.
    ///
    /// ```
    /// use mmprm::prompt::ChatTemplate;
    /// assert!(ChatTemplate::new("<|user|>\n{prompt}\n<|assistant|>\n").is_ok());
    /// assert!(ChatTemplate::new("no placeholder").is_err());
    /// ```
    ///
    /// # Errors
    /// [`TemplateError`] unless `{prompt}` occurs exactly once.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        match text.split(MESSAGE_PLACEHOLDER).collect::<Vec<_>>()[..] {
            [before, after] => Ok(Self { before: before.to_owned(), after: after.to_owned() }),
            ref parts => Err(TemplateError(parts.len() - 1)),
        }
    }

    /// Returns the system message, if this is `ChatML` with one: for servers that apply the chat
    /// template themselves.
    pub fn system(&self) -> Option<&str> {
        let message = self.before.strip_prefix("<|im_start|>system\n")?;
        message.split_once("<|im_end|>").map(|(message, _)| message)
    }

    /// Returns the user's message of [`rollout`](Self::rollout) alone, without the template around
    /// it.
    pub fn rollout_message(question: &str, prefix: &[String], images: usize, mode: Images) -> Vec<Piece> {
        Self { before: String::new(), after: String::new() }.rollout(question, prefix, images, mode)
    }

    /// Returns the prompt for a rollout, as the function [`rollout`], in this template.
    pub fn rollout(&self, question: &str, prefix: &[String], images: usize, mode: Images) -> Vec<Piece> {
        let mut parts = Vec::new();
        if mode == Images::Reference {
            parts.extend([Part::Template(IMAGE_PLACEHOLDER), Part::Template("\n")]);
        }
        parts.extend([Part::Template(TASK), Part::Template(BEFORE_QUESTION), Part::Question(question)]);
        if !prefix.is_empty() {
            parts.push(Part::Template(BEFORE_STEPS));
        }
        for step in prefix {
            parts.extend([Part::Template("<step>"), Part::Step(strip(step)), Part::Template("</step>")]);
        }
        self.message(&parts, images, mode)
    }

    /// Returns the prompt for a model's answer to one user message.
    pub fn chat(&self, user: &str, images: usize, mode: Images) -> Vec<Piece> {
        self.message(&[Part::Question(user)], images, mode)
    }

    fn message(&self, parts: &[Part<'_>], images: usize, mode: Images) -> Vec<Piece> {
        let mut prompt = Builder::default();
        prompt.text(&self.before);
        prompt.message(parts, images, mode);
        prompt.text(&self.after);
        prompt.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::render;
    use super::*;

    #[test]
    fn rollout_prompts_of_text_problems_have_no_placeholder() {
        let text = |mode| render(&rollout("q", &[], 0, mode), &[]);
        assert!(text(Images::All).contains("user\n Your task is"));
        assert!(text(Images::Reference).contains("user\n<image>\n Your task is"));
    }

    #[test]
    fn a_question_that_places_its_image_itself_gets_it_there_and_not_in_front() {
        let prompt = render(&rollout("see <image>", &[], 1, Images::All), &[1]);
        assert!(prompt.contains("user\n Your task is"));
        assert!(prompt.contains("Question: see <img><IMG_CONTEXT></img><|im_end|>"));
        let reference = render(&rollout("see <image>", &[], 1, Images::Reference), &[1]);
        assert!(reference.contains("user\n<img><IMG_CONTEXT></img>\n Your task is"));
        assert!(reference.contains("Question: see <image><|im_end|>"));
    }

    #[test]
    fn models_of_qwen_vl_have_their_own_template_unless_one_is_given() {
        let before = |template: ChatTemplate| template.before;
        let of = |architecture| ChatTemplate::default().for_architecture(architecture);
        assert_eq!(
            before(of("qwen2vl")),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        );
        assert_eq!(of("qwen3vl"), ChatTemplate::chatml());
        assert_eq!(of("qwen2"), ChatTemplate::default());
        let given = ChatTemplate::new("<|user|>{prompt}").unwrap();
        assert_eq!(given.clone().for_architecture("qwen2vl"), given);
    }

    #[test]
    fn previous_steps_are_stripped_and_joined_without_separator() {
        let steps = [" one\n".to_owned(), "two".to_owned()];
        assert!(rollout_user("q", &steps).ends_with("Question: q\nPrevious Steps:<step>one</step><step>two</step>"));
    }

    #[test]
    fn system_and_user_messages_make_up_the_whole_prompt() {
        let steps = ["one".to_owned()];
        let template = ChatTemplate::default();
        let whole = render(&template.rollout("see <image>", &steps, 2, Images::All), &[1, 1]);
        let message = render(&ChatTemplate::rollout_message("see <image>", &steps, 2, Images::All), &[1, 1]);
        let system = template.system().unwrap();
        let (before, after) = ("<|im_start|>system\n", "<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(whole, format!("{before}{system}<|im_end|>\n<|im_start|>user\n{message}{after}"));
        assert_eq!(ChatTemplate::chatml().system(), None);
        assert_eq!(ChatTemplate::new("<|user|>{prompt}").unwrap().system(), None);
    }
}
