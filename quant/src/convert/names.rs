//! The names of tensors in the layouts of checkpoints.

use crate::hf::config::TensorNames;
use crate::safetensors::Checkpoint;

/// The beginning of the language model's names where transformers saves modules as they are called.
const NESTED: &str = "model.language_model.";

/// Parts of the names of a vision tower: `InternVL`'s own, and transformers'.
const VISION: &[(&str, &str)] = &[
    ("vision_model.", "vision_tower."),
    ("embeddings.class_embedding", "embeddings.cls_token"),
    ("embeddings.patch_embedding.", "embeddings.patch_embeddings.projection."),
    ("embeddings.position_embedding", "embeddings.position_embeddings"),
    ("encoder.layers.", "encoder.layer."),
    (".attn.proj.", ".attention.projection_layer."),
    (".attn.", ".attention."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".ls1", ".lambda_1"),
    (".ls2", ".lambda_2"),
    ("mlp1.0.", "multi_modal_projector.layer_norm."),
    ("mlp1.1.", "multi_modal_projector.linear_1."),
    ("mlp1.3.", "multi_modal_projector.linear_2."),
];

/// The names of a checkpoint's tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    layout: TensorNames,
    /// Whether modules are inside `model.`.
    nested: bool,
}

impl Names {
    /// Returns the names of a checkpoint; without one to look at, those of any.
    pub(super) fn of(layout: TensorNames, checkpoint: Option<&Checkpoint>) -> Self {
        let nested = matches!(layout, TensorNames::Transformers | TensorNames::QwenVl)
            && checkpoint.is_some_and(|checkpoint| checkpoint.names().any(|name| name.starts_with(NESTED)));
        Self { layout, nested }
    }

    /// Returns the name of a tensor of the language model, given as in a model of its own.
    pub(super) fn language(self, name: &str) -> String {
        match (self.layout, self.nested, name.strip_prefix("model.")) {
            (TensorNames::Chat | TensorNames::Transformers, false, _) => format!("language_model.{name}"),
            (TensorNames::Transformers | TensorNames::QwenVl, true, Some(inner)) => format!("{NESTED}{inner}"),
            _ => name.to_owned(),
        }
    }

    /// Returns whether a name is one of the language model.
    pub(super) fn is_language(self, name: &str) -> bool {
        match (self.layout, self.nested) {
            (TensorNames::Text, _) => true,
            (TensorNames::QwenVl, false) => !name.starts_with("visual."),
            (_, false) => name.starts_with("language_model."),
            (_, true) => name.starts_with(NESTED) || name.starts_with("lm_head."),
        }
    }

    /// Returns the name of a tensor of the vision tower or projector, given as `InternVL` or the older layout of `Qwen-VL` calls it.
    pub(super) fn vision(self, name: &str) -> String {
        if self.layout == TensorNames::QwenVl && self.nested {
            return format!("model.{name}");
        }
        if self.layout != TensorNames::Transformers {
            return name.to_owned();
        }
        let own = VISION.iter().fold(name.to_owned(), |name, (from, to)| name.replacen(from, to, 1));
        if self.nested { format!("model.{own}") } else { own }
    }

    /// Returns whether queries, keys and values of the vision tower are one matrix.
    pub(super) fn fuses_vision(self) -> bool {
        self.layout != TensorNames::Transformers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_layout() {
        let names = |layout, nested| Names { layout, nested };
        let (norm, head, block) =
            ("model.norm.weight", "lm_head.weight", "vision_model.encoder.layers.1.attn.q_norm.weight");
        for (names, expected) in [
            (names(TensorNames::Text, false), [norm, head, block]),
            (
                names(TensorNames::Chat, false),
                ["language_model.model.norm.weight", "language_model.lm_head.weight", block],
            ),
            (
                names(TensorNames::Transformers, false),
                [
                    "language_model.model.norm.weight",
                    "language_model.lm_head.weight",
                    "vision_tower.encoder.layer.1.attention.q_norm.weight",
                ],
            ),
            (
                names(TensorNames::Transformers, true),
                [
                    "model.language_model.norm.weight",
                    head,
                    "model.vision_tower.encoder.layer.1.attention.q_norm.weight",
                ],
            ),
        ] {
            assert_eq!([names.language(norm), names.language(head), names.vision(block)], expected);
            assert!(names.is_language(&names.language(norm)) && names.is_language(&names.language(head)));
        }
        let names = names(TensorNames::Transformers, false);
        assert_eq!(names.vision("vision_model.encoder.layers.0.ls1"), "vision_tower.encoder.layer.0.lambda_1");
        assert_eq!(names.vision("mlp1.3.bias"), "multi_modal_projector.linear_2.bias");
    }
}
