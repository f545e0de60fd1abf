//! The chat template of a local policy: MM-PRM's for InternVL2.5's family, that of its file for another instruct model, and none for
//! a model without one.

use crate::engine::{EngineError, Model, apply_chat_template};
use crate::prompt::ChatTemplate;

/// A token that the vocabularies of InternVL's family have.
const IMAGE_TOKEN: &str = "<IMG_CONTEXT>";
/// The text in place of the user's message.
const MESSAGE: &str = "{prompt}";

/// Whether a model is of InternVL's family, whose policies write solutions in step tags.
pub(super) fn is_internvl(model: &Model) -> bool {
    model.token(IMAGE_TOKEN).is_some()
}

/// Returns the chat template of a model.
///
/// # Errors
/// [`EngineError::Load`] for a template of the file that llama.cpp does not know.
pub(super) fn template_of(model: &Model) -> Result<ChatTemplate, EngineError> {
    if is_internvl(model) {
        return Ok(ChatTemplate::default());
    }
    let Ok(own) = model.file().get_str("tokenizer.chat_template") else { return Ok(ChatTemplate::plain()) };
    let refuse = |cause: String| EngineError::Load { path: model.path().to_owned(), cause };
    let applied = apply_chat_template(own, MESSAGE).map_err(refuse)?;
    let template = applied.and_then(|text| ChatTemplate::new(&text).ok());
    let unknown = "its chat template (tokenizer.chat_template) is not one that llama.cpp knows; give its text";
    Ok(template.ok_or_else(|| refuse(unknown.to_owned()))?.with_default_system(own))
}
