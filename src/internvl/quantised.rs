//! Reads a model whose language model stays quantised in a GGUF file; the rest comes from the
//! checkpoint directory.
//!
//! The GGUF file provides the language model only. Configuration, vision tower and projector are
//! those of the checkpoint that the file was converted from. A text model is all in the file.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use mmprm_quant::blocks::dequantize_row;
use mmprm_quant::check::language_config;
use mmprm_quant::gguf::{GgufFile, TensorInfo};

use super::checkpoint::{WeightsError, read_some};
use super::config::{Config, LanguageKind};
use super::gguf_rows::{FusedQkv, GgufRows, RowOrder};
use super::layout::{Layout, Linear, QkvTensors};
use super::parameters::{Parameters, Store};
use crate::nn::gemm::RowSource;

/// What the rotary frequencies are divided by.
const DIVISORS: &str = "rope_freqs.weight";

/// Lists the tensors of the text model in a GGUF file.
pub(super) fn read_gguf_layout(path: &Path) -> Result<Arc<Layout>, WeightsError> {
    let file = GgufFile::open(path)?;
    let config = Config::text(&language_config(&file)?);
    let mut config = config.map_err(|source| WeightsError::GgufConfig { path: path.to_owned(), source })?;
    if let Some(divisors) = file.tensor(DIVISORS) {
        config.language.rope_divisors = vector(&file, divisors)?;
    }
    Ok(Layout::new(&config))
}

/// Returns the values of a vector.
fn vector(file: &GgufFile, tensor: &TensorInfo) -> Result<Vec<f32>, WeightsError> {
    let mut values = vec![0.0; tensor.row_len() as usize];
    dequantize_row(tensor.ggml_type, file.tensor_data(tensor), &mut values).map_err(|source| {
        WeightsError::Dequantise { path: file.path().to_owned(), name: tensor.name.clone(), source }
    })?;
    Ok(values)
}

/// Reads the language model from the GGUF file `gguf`, whose matrices stay quantised, and all other
/// tensors from `directory`, as `f32` where `masters` is true (see
/// [`read_parameters`](super::read_parameters)).
///
/// # Errors
/// [`WeightsError`] if the file belongs to another architecture, a tensor is missing, not part of the
/// model or has the wrong shape, its type cannot be dequantised, or `masters` names a quantised tensor.
pub fn read_quantised(
    directory: &Path,
    gguf: &Path,
    layout: &Arc<Layout>,
    masters: impl Fn(usize) -> bool,
) -> Result<Parameters, WeightsError> {
    let file = Arc::new(GgufFile::open(gguf)?);
    let expected = layout.config().language.kind.name();
    let found = file.get_str("general.architecture")?;
    if found != expected {
        return Err(WeightsError::Architecture { path: gguf.to_owned(), found: found.to_owned(), expected });
    }
    let names = names(layout);
    if let Some(index) = names.keys().copied().find(|index| masters(*index)) {
        let name = layout.tensors()[index].name.clone();
        return Err(WeightsError::NotTrainable { path: gguf.to_owned(), name });
    }
    if let Some(name) = unexpected(&file, layout, &names) {
        return Err(WeightsError::Unexpected { path: gguf.to_owned(), name });
    }
    let mut rest = if names.len() == layout.tensors().len() {
        Vec::new()
    } else {
        read_some(directory, layout, |index| !names.contains_key(&index), masters)?
    };
    Parameters::load(layout, |index| match names.get(&index) {
        None => Ok(rest[index].take().unwrap_or_else(|| unreachable!("`read_some` reads all others"))),
        Some(names) => read_tensor(&file, layout, index, names),
    })
}

/// Returns a tensor of the file that the layout has no place for.
fn unexpected(file: &GgufFile, layout: &Layout, names: &HashMap<usize, Vec<String>>) -> Option<String> {
    let known: HashSet<&str> = names.values().flatten().map(String::as_str).collect();
    let is_tied = layout.head() == layout.embedding();
    let is_known = |name: &str| known.contains(name) || name == DIVISORS || (is_tied && name == "output.weight");
    file.tensors().iter().map(|tensor| &tensor.name).find(|name| !is_known(name)).cloned()
}

/// Returns the GGUF names of each tensor of the language model: three for fused queries, keys and
/// values.
fn names(layout: &Layout) -> HashMap<usize, Vec<String>> {
    let language = &layout.language;
    let mut names = HashMap::from([
        (language.norm.weight, vec!["output_norm.weight".to_owned()]),
        (language.head, vec!["output.weight".to_owned()]),
        // After the head: a tied head is the same tensor, and goes by this name.
        (language.embedding, vec!["token_embd.weight".to_owned()]),
    ]);
    for (index, block) in language.blocks.iter().enumerate() {
        let name = |part: &str, end: &str| format!("blk.{index}.{part}.{end}");
        let mut add = |linear: &Linear, parts: &[&str]| {
            names.insert(linear.weight, parts.iter().map(|part| name(part, "weight")).collect());
            if let Some(bias) = linear.bias {
                names.insert(bias, parts.iter().map(|part| name(part, "bias")).collect());
            }
        };
        match &block.qkv {
            QkvTensors::Fused(linear) => add(linear, &["attn_q", "attn_k", "attn_v"]),
            QkvTensors::Separate(linears) => {
                linears.iter().zip(["attn_q", "attn_k", "attn_v"]).for_each(|(linear, part)| add(linear, &[part]));
            }
        }
        let others =
            [("attn_output", &block.out), ("ffn_gate", &block.gate), ("ffn_up", &block.up), ("ffn_down", &block.down)];
        for (part, linear) in others {
            add(linear, &[part]);
        }
        names.insert(block.attention_norm.weight, vec![name("attn_norm", "weight")]);
        names.insert(block.norm.weight, vec![name("ffn_norm", "weight")]);
    }
    names
}

/// Reads a tensor that consists of these GGUF tensors.
fn read_tensor(file: &Arc<GgufFile>, layout: &Layout, index: usize, names: &[String]) -> Result<Store, WeightsError> {
    let (tensor, config) = (&layout.tensors()[index], &layout.config().language);
    let path = || file.path().to_owned();
    let (is_fused, is_matrix) = (names.len() > 1, tensor.is_matrix());
    if is_fused && !is_matrix {
        return Err(WeightsError::NoGgufForm { path: path(), name: tensor.name.clone() });
    }
    let (rows, cols) = if is_matrix { tensor.matrix() } else { (1, tensor.len()) };
    let keys = config.kv_heads * config.head;
    let heights = if is_fused { vec![rows.saturating_sub(2 * keys), keys, keys] } else { vec![rows] };
    let mut parts = Vec::new();
    for (name, rows) in names.iter().zip(heights) {
        let expected = if is_matrix { vec![cols as u64, rows as u64] } else { vec![cols as u64] };
        let Some(info) = file.tensor(name) else {
            return Err(WeightsError::Missing { path: path(), name: name.clone(), expected });
        };
        if info.dims != expected {
            let (name, found) = (name.clone(), info.dims.clone());
            return Err(WeightsError::Shape { path: path(), name, found, expected });
        }
        parts.push(info);
    }
    let is_rotated = config.kind == LanguageKind::Llama
        && names.iter().any(|name| name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight"));
    let order = if is_fused {
        RowOrder::FusedQkv(FusedQkv { group: config.heads / config.kv_heads, head: config.head })
    } else if is_rotated {
        RowOrder::Rotated { head: config.head }
    } else {
        RowOrder::Stacked
    };
    let source = GgufRows::new(file, &parts, order, cols).map_err(|(name, source)| WeightsError::Dequantise {
        path: path(),
        name,
        source,
    })?;
    if is_matrix {
        return Ok(Store::Rows(Arc::new(source)));
    }
    let mut values = vec![0.0; cols];
    source.write_row(0, 0..cols, &mut values);
    Ok(Store::F32(values))
}
