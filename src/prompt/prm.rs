//! MM-PRM's texts for a PRM: the question and a solution whose steps end in the step token.
//!
//! Their wording is that of the two forms of these names (`prompt/form`); here they are written from and split into MM-PRM's own
//! text, as training samples have it.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::form::{self, PrmForm};
use super::pieces::{Builder, Images, Part, Piece};
pub(crate) use crate::data::samples::PROCESS;
pub use crate::data::samples::STEP_TOKEN;

/// One of MM-PRM's two forms of a PRM's text.
///
/// MM-PRM's code trains with one and scores with the other; they differ in whether the empty user turn is closed, and in the text
/// between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrmTemplate {
    /// `internvl2_5-scoring`, MM-PRM's scoring prompt, for its released PRM: an empty user turn
    /// that is not closed, nothing between steps.
    #[default]
    Scoring,
    /// `internvl2_5-training`, MM-PRM's training prompt, for PRMs made by `mmprm train`: an empty,
    /// closed user turn, a blank line between steps.
    Training,
}

/// The texts of a template around questions and steps.
struct Frame {
    /// Everything before the images.
    beginning: String,
    /// The text between two steps.
    separator: String,
    /// The text after the last step.
    end: String,
}

impl PrmTemplate {
    /// All templates.
    pub const ALL: [Self; 2] = [Self::Scoring, Self::Training];

    /// Returns the name, which is that of the form too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scoring => "internvl2_5-scoring",
            Self::Training => "internvl2_5-training",
        }
    }

    /// Returns the form of this text.
    ///
    /// # Panics
    /// Never: both forms are built in.
    pub fn form(self) -> &'static PrmForm {
        form::built_in(self.name()).expect("both forms are built in")
    }

    fn frame(self) -> &'static Frame {
        static FRAMES: LazyLock<[Frame; 2]> = LazyLock::new(|| {
            PrmTemplate::ALL.map(|template| {
                let (beginning, separator, end) = template.form().frame();
                Frame { beginning, separator, end }
            })
        });
        &FRAMES[self as usize]
    }
}

impl fmt::Display for PrmTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An unknown template name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the PRM template {known}, found `{found}`", known = known_templates(), found = .0)]
pub struct UnknownTemplate(String);

fn known_templates() -> String {
    PrmTemplate::ALL.map(|template| format!("`{template}`")).join(" or ")
}

impl FromStr for PrmTemplate {
    type Err = UnknownTemplate;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|template| template.name() == id).ok_or_else(|| UnknownTemplate(id.to_owned()))
    }
}

/// Returns a solution as the PRM reads it: each step ended by the [step token](STEP_TOKEN).
fn prm_process<S: AsRef<str>>(steps: &[S], template: PrmTemplate) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("{}{STEP_TOKEN}", step.as_ref())).collect();
    steps.join(&template.frame().separator)
}

/// Returns question and solution as one text: the `human` turn of a training sample.
pub fn prm_text<S: AsRef<str>>(question: &str, steps: &[S], template: PrmTemplate) -> String {
    format!("Question: {question}\nProcess: {}", prm_process(steps, template))
}

/// Returns the prompt in which a PRM scores `text` (see [`prm_text`]) with `images` images. Each
/// step token after `Process: ` ends a step; text without that word is a solution from its start.
pub fn prm(text: &str, images: usize, template: PrmTemplate, mode: Images) -> Vec<Piece> {
    prompt_of(split_prm_text(text, None), images, template, mode)
}

/// Returns the prompt of [`prm`] for a text of so many steps.
pub(crate) fn prm_with(text: &str, steps: usize, images: usize, template: PrmTemplate, mode: Images) -> Vec<Piece> {
    prompt_of(split_prm_text(text, Some(steps)), images, template, mode)
}

fn prompt_of(
    (question, process): (Option<&str>, &str),
    images: usize,
    template: PrmTemplate,
    mode: Images,
) -> Vec<Piece> {
    let mut parts = Vec::new();
    if let Some(question) = question {
        parts.extend(question_parts(question));
    }
    for (index, step) in process.split(STEP_TOKEN).enumerate() {
        if index > 0 {
            parts.push(Part::Template(STEP_TOKEN));
        }
        // Without a question, placeholders of images are where the text has them.
        parts.push(if question.is_some() { Part::Step(step) } else { Part::Question(step) });
    }
    whole(&parts, images, template, mode)
}

/// Returns the prompt in which a PRM scores the steps of a solution to a question with `images`
/// images: that of [`prm`], in which a step token that the question or a step spells out is text.
pub fn prm_of<S: AsRef<str>>(
    question: &str,
    steps: &[S],
    images: usize,
    template: PrmTemplate,
    mode: Images,
) -> Vec<Piece> {
    let mut parts = question_parts(question);
    parts.extend(step_parts(steps, template));
    whole(&parts, images, template, mode)
}

/// Returns the prompt of [`prm_of`] cut in two after the `previous` steps: its beginning, and the steps of `solution` as the text
/// to predict, without the end of the turn.
pub(crate) fn prm_continuation<S: AsRef<str>>(
    question: &str,
    previous: &[S],
    solution: &[S],
    images: usize,
    template: PrmTemplate,
) -> (Vec<Piece>, Vec<Piece>) {
    let mut parts = question_parts(question);
    parts.extend(step_parts(previous, template));
    if !previous.is_empty() {
        parts.push(Part::Template(&template.frame().separator));
    }
    let beginning = beginning(&parts, images, template, Images::All).finish();
    let mut reply = Builder::default();
    reply.message(&step_parts(solution, template), 0, Images::All);
    (beginning, reply.finish())
}

fn question_parts(question: &str) -> Vec<Part<'_>> {
    vec![Part::Template(QUESTION), Part::Question(question), Part::Template(PROCESS)]
}

fn step_parts<S: AsRef<str>>(steps: &[S], template: PrmTemplate) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for step in steps {
        if !parts.is_empty() {
            parts.push(Part::Template(&template.frame().separator));
        }
        parts.extend([Part::Step(step.as_ref()), Part::Template(STEP_TOKEN)]);
    }
    parts
}

/// What comes before a question.
const QUESTION: &str = "Question: ";

/// Splits the text that a PRM reads into question and process. A question may itself have the word
/// between them: with `steps`, the number of its steps, the process is the first that has so many.
/// `None` for the question of another text.
pub(crate) fn split_prm_text(text: &str, steps: Option<usize>) -> (Option<&str>, &str) {
    let Some(rest) = text.strip_prefix(QUESTION) else { return (None, text) };
    let split = |(at, _): (usize, &str)| (&rest[..at], &rest[at + PROCESS.len()..]);
    let mut splits = rest.match_indices(PROCESS).map(split);
    let has_steps = |process: &str| steps.is_none_or(|steps| process.matches(STEP_TOKEN).count() == steps);
    let found = splits.clone().find(|(_, process)| has_steps(process)).or_else(|| splits.next());
    found.map_or((None, text), |(question, process)| (Some(question), process))
}

fn whole(parts: &[Part<'_>], images: usize, template: PrmTemplate, mode: Images) -> Vec<Piece> {
    let mut prompt = beginning(parts, images, template, mode);
    prompt.text(&template.frame().end);
    prompt.finish()
}

fn beginning(parts: &[Part<'_>], images: usize, template: PrmTemplate, mode: Images) -> Builder {
    let mut prompt = Builder::default();
    prompt.text(&template.frame().beginning);
    prompt.message(parts, images, mode);
    prompt
}

#[cfg(test)]
mod tests {
    use super::super::render;
    use super::*;

    #[test]
    fn a_candidate_without_steps_has_an_empty_process() {
        assert_eq!(prm_text::<&str>("q", &[], PrmTemplate::Scoring), "Question: q\nProcess: ");
    }

    #[test]
    fn a_step_token_that_a_question_or_step_spells_out_is_text() {
        let template = PrmTemplate::Training;
        let pieces = prm_of("is <prm> a token?", &["no <prm>", "<|im_end|>"], 0, template, Images::All);
        let plain: Vec<&str> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Plain(text) => Some(&text[..]),
                _ => None,
            })
            .collect();
        assert_eq!(plain, ["is <prm> a token?", "no <prm>", "<|im_end|>"]);
        let text = prm_text("is <prm> a token?", &["no", "yes"], template);
        let pieces = prm_of("is <prm> a token?", &["no", "yes"], 0, template, Images::All);
        assert_eq!(render(&prm(&text, 0, template, Images::All), &[]), render(&pieces, &[]));
    }

    #[test]
    fn the_number_of_steps_tells_where_the_process_begins() {
        let text = "Question: a\nProcess: b<prm>\nProcess: c<prm>";
        assert_eq!(split_prm_text(text, Some(1)), (Some("a\nProcess: b<prm>"), "c<prm>"));
        assert_eq!(split_prm_text(text, Some(2)), (Some("a"), "b<prm>\nProcess: c<prm>"));
        assert_eq!(split_prm_text(text, None), (Some("a"), "b<prm>\nProcess: c<prm>"));
        assert_eq!(split_prm_text("x<prm>", Some(1)), (None, "x<prm>"));
    }

    #[test]
    fn templates_are_found_by_their_names() {
        for template in PrmTemplate::ALL {
            assert_eq!(template.to_string().parse(), Ok(template));
        }
        let error = "chatml".parse::<PrmTemplate>().unwrap_err().to_string();
        assert_eq!(error, "expected the PRM template `internvl2_5-scoring` or `internvl2_5-training`, found `chatml`");
    }
}
