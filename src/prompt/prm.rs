//! Prompts for a PRM: the question and a solution whose steps end in the step token.
//!
//! To add a template, add a variant to [`PrmTemplate`], its entry in [`PrmTemplate::ALL`] and its
//! arm in `PrmTemplate::layout`; everything else, from `--template` and GGUF metadata to
//! tokenising, follows.

use std::fmt;
use std::str::FromStr;

use super::chat::system_turn;
use super::pieces::{Builder, Images, Piece};

/// Ends a step; the PRM's scores are read at its positions.
pub const STEP_TOKEN: &str = "<prm>";

/// The prompt format that a PRM was trained with; GGUF metadata `mmprm.prm.template`.
///
/// MM-PRM's code trains with one template and scores with the other; they differ in whether the
/// empty user turn is closed, and in the text between steps.
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

/// What distinguishes one template from another.
struct Layout {
    /// The name in GGUF metadata and on the command line; never changes once models have it.
    id: &'static str,
    /// The turns between the system message and the solution.
    turns: &'static str,
    /// The text between two steps.
    separator: &'static str,
}

impl PrmTemplate {
    /// All templates.
    pub const ALL: [Self; 2] = [Self::Scoring, Self::Training];

    const fn layout(self) -> Layout {
        match self {
            Self::Scoring => {
                Layout { id: "internvl2_5-scoring", turns: "<|im_start|>user\n<|im_start|>assistant\n", separator: "" }
            }
            Self::Training => Layout {
                id: "internvl2_5-training",
                turns: "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n",
                separator: "\n\n",
            },
        }
    }
}

/// The end of the prompt, after the solution.
const TURN_END: &str = "<|im_end|>\n";

impl fmt::Display for PrmTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.layout().id)
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
        Self::ALL.into_iter().find(|template| template.layout().id == id).ok_or_else(|| UnknownTemplate(id.to_owned()))
    }
}

/// Returns a solution as the PRM reads it: each step ended by the [step token](STEP_TOKEN).
fn prm_process<S: AsRef<str>>(steps: &[S], template: PrmTemplate) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("{}{STEP_TOKEN}", step.as_ref())).collect();
    steps.join(template.layout().separator)
}

/// Returns question and solution as one text: the `human` turn of a training sample.
pub fn prm_text<S: AsRef<str>>(question: &str, steps: &[S], template: PrmTemplate) -> String {
    format!("Question: {question}\nProcess: {}", prm_process(steps, template))
}

/// Returns the prompt in which a PRM scores `text` (see [`prm_text`]) with `images` images.
pub fn prm(text: &str, images: usize, template: PrmTemplate, mode: Images) -> Vec<Piece> {
    let mut prompt = Builder::default();
    prompt.text(&system_turn());
    prompt.text(template.layout().turns);
    prompt.text_with_images(text, images, mode);
    prompt.text(TURN_END);
    prompt.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_without_steps_has_an_empty_process() {
        assert_eq!(prm_text::<&str>("q", &[], PrmTemplate::Scoring), "Question: q\nProcess: ");
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
