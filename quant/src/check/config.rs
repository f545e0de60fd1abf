//! The configuration of a language model in a GGUF file, as llama.cpp computes it.

use super::keys::{bad_key, number, optional};
use super::language::language;
use crate::gguf::{GgufError, GgufFile, GgufValue};
use crate::hf::config::{DYNAMIC_ROPE, LanguageArch, LanguageConfig, RopeScaling, WINDOW};

/// llama.cpp's base of the rotary frequencies.
const ROPE_BASE: f32 = 10_000.0;

/// Checks a language model as [`language`] and returns its configuration. Llama 3's scaling is in the
/// tensor `rope_freqs.weight`, not here, and a head that scores positions is not read.
///
/// ```
/// use mmprm_quant::check;
/// use mmprm_quant::gguf::{GgufFile, GgufWriter};
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("empty.gguf");
/// GgufWriter::create(&path, &[], &[]).unwrap().finish().unwrap();
/// assert!(check::language_config(&GgufFile::open(&path).unwrap()).is_err());
/// ```
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn language_config(file: &GgufFile) -> Result<LanguageConfig, GgufError> {
    language(file)?;
    let name = file.get_str("general.architecture")?;
    let known = [LanguageArch::InternLm2, LanguageArch::Qwen2, LanguageArch::Qwen3, LanguageArch::Llama];
    let Some(arch) = known.into_iter().find(|arch| arch.name() == name) else {
        let names: Vec<&str> = known.iter().map(|arch| arch.name()).collect();
        return Err(bad_key(file, "general.architecture", format!("'{name}'"), names.join(", ")));
    };
    let key = |part: &str| format!("{name}.{part}");
    let size = |part: &str| number(file, &key(part));
    let heads = size("attention.head_count")?;
    let hidden = size("embedding_length")?;
    let token = |part: &str| optional(file, &format!("tokenizer.ggml.{part}_token_id")).map(|id| id as u32);
    let context = size("context_length")?;
    Ok(LanguageConfig {
        arch,
        hidden,
        feed_forward: size("feed_forward_length")?,
        layers: size("block_count")?,
        heads,
        kv_heads: optional(file, &key("attention.head_count_kv")).unwrap_or(heads),
        vocab: file.get_strings("tokenizer.ggml.tokens")?.len() as u64,
        context,
        norm_eps: file.get_f32(&key("attention.layer_norm_rms_epsilon"))?,
        rope_base: float(file, &key("rope.freq_base")).unwrap_or(ROPE_BASE),
        rope_scaling: scaling(file, name)?,
        own_head_width: optional(file, &key("attention.key_length")).filter(|_| arch.has_own_head_width()),
        window: optional(file, WINDOW).filter(|window| *window < context),
        scoring_head: None,
        position_sections: None,
        deepstack: 0,
        tied: file.tensor("output.weight").is_none(),
        token_ids: ["bos", "eos", "padding"].map(token),
    })
}

fn float(file: &GgufFile, key: &str) -> Option<f32> {
    file.get(key).and_then(GgufValue::as_f32)
}

/// Returns the scaling of rotary positions, with llama.cpp's defaults.
fn scaling(file: &GgufFile, arch: &str) -> Result<RopeScaling, GgufError> {
    let key = |part: &str| format!("{arch}.rope.{part}");
    if let Some(factor) = float(file, DYNAMIC_ROPE) {
        return Ok(RopeScaling::Dynamic { factor });
    }
    let kind = file.get(&key("scaling.type")).and_then(GgufValue::as_str).unwrap_or("linear");
    let factor = float(file, &key("scaling.factor")).or_else(|| float(file, &key("scale_linear"))).unwrap_or(1.0);
    let attention = float(file, &key("scaling.attn_factor")).unwrap_or(1.0);
    let unread = |part: &str, found: String| Err(bad_key(file, &key(part), found, "no such scaling"));
    if let Some(alpha) = float(file, &key("scaling.alpha")) {
        return unread("scaling.alpha", alpha.to_string());
    }
    match kind {
        "yarn" => {
            let original = optional(file, &key("scaling.original_context_length"));
            let original_context = original.map_or_else(|| number(file, &format!("{arch}.context_length")), Ok)? as u32;
            Ok(RopeScaling::Yarn { factor, original_context, attention })
        }
        _ if (attention - 1.0).abs() > f32::EPSILON => unread("scaling.attn_factor", attention.to_string()),
        "linear" if (factor - 1.0).abs() > f32::EPSILON => Ok(RopeScaling::Linear { factor }),
        "linear" | "none" => Ok(RopeScaling::None),
        other => unread("scaling.type", format!("'{other}'")),
    }
}
