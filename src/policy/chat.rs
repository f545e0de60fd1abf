//! The chat template of a local policy: MM-PRM's for InternVL2.5's family, Qwen-VL's own, that of its file for another instruct model, and none for
//! a model without one.

use crate::engine::{EngineError, Model, apply_chat_template};
use crate::prompt::ChatTemplate;

/// A token that the vocabularies of `InternVL`'s family have.
const IMAGE_TOKEN: &str = "<IMG_CONTEXT>";
/// The text in place of the user's message.
const MESSAGE: &str = "{prompt}";

/// Whether a model is of `InternVL`'s family, whose policies write solutions in step tags.
pub(super) fn is_internvl(model: &Model) -> bool {
    model.token(IMAGE_TOKEN).is_some()
}

/// Returns the chat template of a model.
///
/// # Errors
/// [`EngineError::Load`] for a template of the file that llama.cpp does not know.
pub(super) fn template_of(model: &Model) -> Result<ChatTemplate, EngineError> {
    let architecture = model.file().get_str("general.architecture").unwrap_or_default();
    let family = ChatTemplate::default().for_architecture(architecture);
    if is_internvl(model) || family != ChatTemplate::default() {
        return Ok(family);
    }
    let Ok(own) = model.file().get_str("tokenizer.chat_template") else { return Ok(ChatTemplate::plain()) };
    let refuse = |cause: String| EngineError::Load { path: model.path().to_owned(), cause };
    let applied = apply_chat_template(own, MESSAGE).map_err(refuse)?;
    let template = applied.and_then(|text| ChatTemplate::new(&text).ok());
    let unknown = "its chat template (tokenizer.chat_template) is not one that llama.cpp knows; give its text";
    Ok(template.ok_or_else(|| refuse(unknown.to_owned()))?.with_default_system(own))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
    use mmprm_quant::gguf::GgufWriter;

    use super::*;
    use crate::engine::ModelOptions;
    use crate::prompt::{Images, render};

    const KEY: &str = "tokenizer.chat_template";

    /// The vocabulary of a golden checkpoint with another template.
    fn model(checkpoint: &str, template: Option<&str>) -> Arc<Model> {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(checkpoint);
        let plan = plan(&checkpoint, folder.path(), &ConvertOptions::new(WeightType::F16)).unwrap();
        let mut metadata = plan.files[0].metadata.clone();
        metadata.retain(|(key, _)| key != KEY);
        metadata.extend(template.map(|template| (KEY.to_owned(), template.into())));
        let path = folder.path().join("vocabulary.gguf");
        GgufWriter::create(&path, &metadata, &[]).unwrap().finish().unwrap();
        Model::load(&path, ModelOptions { vocab_only: true, ..ModelOptions::default() }).unwrap()
    }

    fn chat(model: &Model) -> String {
        render(&template_of(model).unwrap().chat("Hi {{x}}", 0, Images::All), &[])
    }

    #[test]
    fn a_model_is_asked_in_its_own_template() {
        let smollm2 = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou \
                       are SmolLM<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
                       '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        assert_eq!(
            chat(&model("families/smollm2", Some(smollm2))),
            "<|im_start|>system\nYou are SmolLM<|im_end|>\n<|im_start|>user\nHi {{x}}<|im_end|>\n<|im_start|>assistant\n"
        );
        let llama3 = "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + \
                      message['content'] + '<|eot_id|>' }}{% endfor %}";
        let header = |role: &str| format!("<|start_header_id|>{role}<|end_header_id|>\n\n");
        assert_eq!(
            chat(&model("families/llama3", Some(llama3))),
            format!("{}Hi {{{{x}}}}<|eot_id|>{}", header("user"), header("assistant"))
        );
        assert_eq!(chat(&model("families/smollm2", None)), "Hi {{x}}\n");
        let internvl = model("ckpt/internlm2", Some(llama3));
        assert!(is_internvl(&internvl) && template_of(&internvl).unwrap() == ChatTemplate::default());
    }

    #[test]
    fn an_unknown_template_is_refused() {
        for template in ["{{ messages }}", "", "\u{fffd}{%"] {
            let error = template_of(&model("families/smollm2", Some(template))).unwrap_err().to_string();
            assert!(error.contains("tokenizer.chat_template"), "{error}");
        }
    }
}
