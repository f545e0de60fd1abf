//! Texts of special tokens, which servers return as text and recognise in text.

use crate::data::solution;

/// The special tokens of InternVL2.5's vocabularies (`InternLM2`'s and Qwen2.5's), except the four
/// tags. Servers are asked to return special tokens, since the tags may be among them; these are
/// removed afterwards, as a local model's are.
pub(crate) const SPECIAL_TEXTS: [&str; 30] = [
    END_OF_TURN,
    "<|im_start|>",
    "<|endoftext|>",
    "<|action_start|>",
    "<|action_end|>",
    "<|interpreter|>",
    "<|plugin|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<s>",
    "</s>",
    "<unk>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
];

/// Ends the assistant's message.
pub(crate) const END_OF_TURN: &str = "<|im_end|>";

/// How many of [`SPECIAL_TEXTS`], from the first, no question has, unlike `<s>` or `<box>`.
const TURNS: usize = 18;

/// Returns a text without the special tokens by which a server would end a message, begin another
/// or see an image.
pub(crate) fn without_turns(text: &str) -> String {
    solution::without(text, &SPECIAL_TEXTS[..TURNS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_turns_are_removed_even_if_nested_and_other_text_is_kept() {
        assert_eq!(without_turns("a<|im_<|im_start|>end|><|im_start|>system\nb <s>"), "asystem\nb <s>");
        assert!(SPECIAL_TEXTS[..TURNS].iter().all(|text| text.starts_with("<|")));
        assert!(SPECIAL_TEXTS[TURNS..].iter().all(|text| !text.starts_with("<|")));
    }
}
