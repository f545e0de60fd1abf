//! The exact prompts of the reference: rollout, PRM training, PRM scoring, and what [judges](judge) are asked.
//!
//! A prompt is a list of [`Piece`]s, text and places of images. The text is `ChatML` with special tokens written out; whoever
//! tokenises it parses them, and adds the beginning-of-sequence token where the vocabulary has one. What an image becomes
//! (`<img>`, its embeddings, `</img>`) is up to the engine; [`render`] writes it as the reference does.
//!
//! Images go to the `<image>` placeholders of a text from left to right. The reference shows only as many images as there
//! are placeholders (one where there is none) and drops the others; [`Images::All`] shows every image.
//!
//! ```
//! use mmprm::prompt::{Images, PrmTemplate, prm, prm_text, render};
//! let text = prm_text("1 + 1?", &["1 + 1 = 2", "Answer: 2"], PrmTemplate::Scoring);
//! assert_eq!(text, "Question: 1 + 1?\nProcess: 1 + 1 = 2<prm>Answer: 2<prm>");
//! let prompt = render(&prm(&text, 1, PrmTemplate::Scoring, Images::All), &[2]);
//! assert!(prompt.ends_with(&format!("assistant\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\n{text}<|im_end|>\n")));
//! ```

pub mod judge;

use std::fmt;
use std::str::FromStr;

use crate::compat::text::strip;

/// Stands for an image in the text of a question.
pub const IMAGE_PLACEHOLDER: &str = "<image>";
/// Ends a step; the PRM's scores are read there.
pub const STEP_TOKEN: &str = "<prm>";

/// The system message that InternVL2.5 was trained with.
const SYSTEM: &str =
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。";
/// What the policy is told before the question.
const TASK: &str = " Your task is to answer the question below. Give complete reasoning steps before you answer, and when \
                    you are ready to answer, use Answer: The final answer is ..";

/// A run of text or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text with special tokens written out.
    Text(String),
    /// The image of this index in the problem's list.
    Image(usize),
}

/// Which images a prompt shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Images {
    /// Every image: where a text has fewer placeholders than images, the missing ones are put in front, a line each.
    #[default]
    All,
    /// As the reference: where a text has no placeholder, one is put in front; images beyond the placeholders are dropped.
    Reference,
}

/// How a PRM was trained to read a solution; GGUF metadata `mmprm.prm.template`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrmTemplate {
    /// The reference's scoring prompt: an empty user turn that is not closed, steps with nothing between.
    #[default]
    Scoring,
    /// The reference's training prompt: an empty user turn, steps with a blank line between.
    Training,
}

impl fmt::Display for PrmTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scoring => "internvl2_5-scoring",
            Self::Training => "internvl2_5-training",
        })
    }
}

/// A template id that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the PRM template `internvl2_5-scoring` or `internvl2_5-training`, found `{0}`")]
pub struct UnknownTemplate(String);

impl FromStr for PrmTemplate {
    type Err = UnknownTemplate;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        [Self::Scoring, Self::Training]
            .into_iter()
            .find(|template| template.to_string() == id)
            .ok_or_else(|| UnknownTemplate(id.to_owned()))
    }
}

/// The reference's user message to the policy: a placeholder, the task, the question and, below the root of a search, the
/// steps so far.
pub fn rollout_user(question: &str, prefix: &[String]) -> String {
    format!("{IMAGE_PLACEHOLDER}\n{}", rollout_task(question, prefix))
}

fn rollout_task(question: &str, prefix: &[String]) -> String {
    let mut text = format!("{TASK}\n\nQuestion: {question}");
    if !prefix.is_empty() {
        text.push_str("\nPrevious Steps:");
    }
    text.push_str(&begun(prefix));
    text
}

/// Steps as the policy writes them, each in its tags, with nothing between.
pub fn begun(steps: &[String]) -> String {
    steps.iter().flat_map(|step| ["<step>", strip(step), "</step>"]).collect()
}

/// The prompt after which the policy writes a rollout of a problem with `images` images, in InternVL2.5's conversation.
///
/// With [`Images::All`] the placeholder before the task is there only where the question has too few of its own.
pub fn rollout(question: &str, prefix: &[String], images: usize, mode: Images) -> Vec<Piece> {
    ChatTemplate::default().rollout(question, prefix, images, mode)
}

/// How a conversation with the policy is written: what stands before and after the user's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    before: String,
    after: String,
}

impl Default for ChatTemplate {
    /// InternVL2.5's: `ChatML` with its system message.
    fn default() -> Self {
        Self {
            before: format!("<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"),
            after: "<|im_end|>\n<|im_start|>assistant\n".to_owned(),
        }
    }
}

/// A conversation without a place for the user's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {{prompt}} exactly once, in the place of the user's message, found it {0} times")]
pub struct TemplateError(usize);

impl ChatTemplate {
    /// `ChatML` without a system message, which most instruct models read.
    pub fn chatml() -> Self {
        Self { before: "<|im_start|>user\n".to_owned(), after: "<|im_end|>\n<|im_start|>assistant\n".to_owned() }
    }

    /// A conversation for another model: its text with `{prompt}` in the place of the user's message.
    ///
    /// ```
    /// use mmprm::prompt::ChatTemplate;
    /// assert!(ChatTemplate::new("<|user|>\n{prompt}\n<|assistant|>\n").is_ok());
    /// assert!(ChatTemplate::new("no place").is_err());
    /// ```
    ///
    /// # Errors
    /// [`TemplateError`] if there is no place, or more than one.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        match text.split("{prompt}").collect::<Vec<_>>()[..] {
            [before, after] => Ok(Self { before: before.to_owned(), after: after.to_owned() }),
            ref parts => Err(TemplateError(parts.len() - 1)),
        }
    }

    /// The system message, if this is `ChatML` with one: what a server is told that writes the turns itself.
    pub fn system(&self) -> Option<&str> {
        let message = self.before.strip_prefix("<|im_start|>system\n")?;
        message.split_once("<|im_end|>").map(|(message, _)| message)
    }

    /// The user's message alone, in the pieces that stand between the turns of [`rollout`](Self::rollout).
    pub fn rollout_message(question: &str, prefix: &[String], images: usize, mode: Images) -> Vec<Piece> {
        Self { before: String::new(), after: String::new() }.rollout(question, prefix, images, mode)
    }

    /// [`rollout`] in this conversation.
    pub fn rollout(&self, question: &str, prefix: &[String], images: usize, mode: Images) -> Vec<Piece> {
        let user = match mode {
            Images::All => rollout_task(question, prefix),
            Images::Reference => rollout_user(question, prefix),
        };
        self.chat(&user, images, mode)
    }

    /// The prompt after which a model answers one user message.
    pub fn chat(&self, user: &str, images: usize, mode: Images) -> Vec<Piece> {
        let mut prompt = Prompt { pieces: Vec::new() };
        prompt.text(&self.before);
        prompt.text_with_images(user, images, mode);
        prompt.text(&self.after);
        prompt.pieces
    }
}

/// A solution's steps as the PRM reads them, each ended by the [step token](STEP_TOKEN).
pub fn prm_process<S: AsRef<str>>(steps: &[S], template: PrmTemplate) -> String {
    let between = match template {
        PrmTemplate::Scoring => "",
        PrmTemplate::Training => "\n\n",
    };
    let steps: Vec<String> = steps.iter().map(|step| format!("{}{STEP_TOKEN}", step.as_ref())).collect();
    steps.join(between)
}

/// Question and process as one text: what a training sample's `human` turn holds.
pub fn prm_text<S: AsRef<str>>(question: &str, steps: &[S], template: PrmTemplate) -> String {
    format!("Question: {question}\nProcess: {}", prm_process(steps, template))
}

/// The prompt in which a PRM judges `text` (see [`prm_text`]) with `images` images.
pub fn prm(text: &str, images: usize, template: PrmTemplate, mode: Images) -> Vec<Piece> {
    let mut prompt = Prompt::new();
    prompt.text(match template {
        PrmTemplate::Scoring => "<|im_start|>user\n<|im_start|>assistant\n",
        PrmTemplate::Training => "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n",
    });
    prompt.text_with_images(text, images, mode);
    prompt.text("<|im_end|>\n");
    prompt.pieces
}

/// The prompt as one string, with `tokens_per_image[i]` context tokens for image `i` (none for images beyond the list).
pub fn render(pieces: &[Piece], tokens_per_image: &[usize]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Image(index) => {
                let tokens = tokens_per_image.get(*index).copied().unwrap_or(0);
                text.extend(["<img>", &"<IMG_CONTEXT>".repeat(tokens), "</img>"]);
            }
        }
    }
    text
}

/// A prompt being written; texts in a row are one piece.
struct Prompt {
    pieces: Vec<Piece>,
}

impl Prompt {
    fn new() -> Self {
        Self { pieces: vec![Piece::Text(format!("<|im_start|>system\n{SYSTEM}<|im_end|>\n"))] }
    }

    fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Text in which placeholders become images; placeholders beyond the images stay as they are.
    fn text_with_images(&mut self, text: &str, images: usize, mode: Images) {
        let placeholders = text.matches(IMAGE_PLACEHOLDER).count();
        let in_front = match mode {
            Images::All => images.saturating_sub(placeholders),
            Images::Reference => usize::from(images > 0 && placeholders == 0),
        };
        for image in 0..in_front {
            self.pieces.push(Piece::Image(image));
            self.text("\n");
        }
        let mut rest = text;
        for image in in_front..images {
            let Some((before, after)) = rest.split_once(IMAGE_PLACEHOLDER) else { break };
            self.text(before);
            self.pieces.push(Piece::Image(image));
            rest = after;
        }
        self.text(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The PRM prompt's text with `[i]` for image `i`, without the turns around it.
    fn laid_out(text: &str, images: usize, mode: Images) -> String {
        let pieces = prm(text, images, PrmTemplate::Scoring, mode);
        let whole: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Image(index) => format!("[{index}]"),
            })
            .collect();
        let (_, text) = whole.split_once("assistant\n").unwrap();
        text.strip_suffix("<|im_end|>\n").unwrap().to_owned()
    }

    #[test]
    fn every_image_is_shown_and_missing_placeholders_are_put_in_front() {
        assert_eq!(laid_out("a", 0, Images::All), "a");
        assert_eq!(laid_out("a", 1, Images::All), "[0]\na");
        assert_eq!(laid_out("a", 3, Images::All), "[0]\n[1]\n[2]\na");
        assert_eq!(laid_out("a <image> b", 2, Images::All), "[0]\na [1] b");
        assert_eq!(laid_out("<image><image>", 2, Images::All), "[0][1]");
    }

    #[test]
    fn placeholders_beyond_the_images_stay_text() {
        for mode in [Images::All, Images::Reference] {
            assert_eq!(laid_out("<image> and <image>", 1, mode), "[0] and <image>");
            assert_eq!(laid_out("<image>", 0, mode), "<image>");
        }
    }

    #[test]
    fn the_reference_drops_images_that_have_no_placeholder() {
        assert_eq!(laid_out("a", 0, Images::Reference), "a");
        assert_eq!(laid_out("a", 2, Images::Reference), "[0]\na");
        assert_eq!(laid_out("a <image> b", 2, Images::Reference), "a [0] b");
    }

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
    fn previous_steps_are_stripped_and_follow_each_other_directly() {
        let steps = [" one\n".to_owned(), "two".to_owned()];
        assert!(rollout_user("q", &steps).ends_with("Question: q\nPrevious Steps:<step>one</step><step>two</step>"));
    }

    #[test]
    fn a_candidate_without_steps_has_an_empty_process() {
        assert_eq!(prm_text::<&str>("q", &[], PrmTemplate::Scoring), "Question: q\nProcess: ");
    }

    #[test]
    fn a_conversation_can_be_taken_apart_for_servers_that_write_the_turns() {
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

    #[test]
    fn templates_are_known_by_their_ids() {
        for template in [PrmTemplate::Scoring, PrmTemplate::Training] {
            assert_eq!(template.to_string().parse(), Ok(template));
        }
        assert!("chatml".parse::<PrmTemplate>().unwrap_err().to_string().contains("found `chatml`"));
    }
}
