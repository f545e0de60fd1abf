//! A model whose language model stays in the blocks of a GGUF file; rows are unpacked where a product wants them.
//!
//! The file is mapped, not read: its pages are the system's to keep or to give up. Only the language model is taken from it;
//! vision tower and projector, and the configuration, are those of the checkpoint directory that it was converted from.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use mmprm_quant::blocks::{GgmlType, dequantize_row};
use mmprm_quant::gguf::{GgufFile, TensorInfo};

use super::checkpoint::{CheckpointError, read_some};
use super::config::LanguageKind;
use super::layout::{Layout, Linear, Qkv};
use super::parameters::{Parameters, Store};
use crate::nn::gemm::RowSource;

/// Read the values of a model's tensors: the language model's from a GGUF file, whose matrices stay as they are there, the
/// others from its directory, where those of which `masters` is true become `f32`.
///
/// # Errors
/// [`CheckpointError`] with the file and the tensor: missing, of another shape, of a type that cannot be unpacked, or broken.
pub fn read_quantised(
    directory: &Path,
    gguf: &Path,
    layout: &Arc<Layout>,
    masters: impl Fn(usize) -> bool,
) -> Result<Parameters, CheckpointError> {
    let file = Arc::new(GgufFile::open(gguf)?);
    let wanted = match layout.config().language.kind {
        LanguageKind::InternLm2 => "internlm2",
        LanguageKind::Qwen2 => "qwen2",
    };
    let found = file.get_str("general.architecture")?;
    if found != wanted {
        return Err(wrong(gguf, "general.architecture", format!("'{found}', expected '{wanted}' by config.json")));
    }
    let names = names(layout);
    if let Some(number) = names.keys().copied().find(|number| masters(*number)) {
        return Err(wrong(gguf, &layout.tensors()[number].name, "cannot be trained in this form".into()));
    }
    let mut rest = read_some(directory, layout, |number| !names.contains_key(&number), masters)?;
    Parameters::load(layout, |number| match names.get(&number) {
        None => Ok(rest[number].take().unwrap_or_else(|| unreachable!("it is not in the file"))),
        Some(names) => store(&file, layout, number, names),
    })
}

fn wrong(path: &Path, name: &str, problem: String) -> CheckpointError {
    CheckpointError::Tensor { path: path.to_owned(), name: name.to_owned(), problem }
}

/// The GGUF names of each tensor of the language model: three for a fused matrix of queries, keys and values.
fn names(layout: &Layout) -> HashMap<usize, Vec<String>> {
    let language = &layout.language;
    let mut names = HashMap::from([
        (language.norm.weight, vec!["output_norm.weight".to_owned()]),
        (language.head, vec!["output.weight".to_owned()]),
        // After the head, which may be the same.
        (language.embedding, vec!["token_embd.weight".to_owned()]),
    ]);
    for (number, block) in language.blocks.iter().enumerate() {
        let name = |part: &str, end: &str| format!("blk.{number}.{part}.{end}");
        let mut add = |linear: &Linear, parts: &[&str]| {
            names.insert(linear.weight, parts.iter().map(|part| name(part, "weight")).collect());
            if let Some(bias) = linear.bias {
                names.insert(bias, parts.iter().map(|part| name(part, "bias")).collect());
            }
        };
        match &block.qkv {
            Qkv::Fused(linear) => add(linear, &["attn_q", "attn_k", "attn_v"]),
            Qkv::Separate(linears) => {
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

/// The values of a tensor that is made of these.
fn store(file: &Arc<GgufFile>, layout: &Layout, number: usize, names: &[String]) -> Result<Store, CheckpointError> {
    let (tensor, config) = (&layout.tensors()[number], &layout.config().language);
    let (rows, cols) = if tensor.is_matrix() { tensor.matrix() } else { (1, tensor.len()) };
    let fused = Fused { group: config.heads / config.kv_heads, head: config.head() };
    let keys = config.kv_heads * config.head();
    let heights = if names.len() == 1 { vec![rows] } else { vec![rows.saturating_sub(2 * keys), keys, keys] };
    let mut parts = Vec::new();
    for (name, rows) in names.iter().zip(heights) {
        let missing = || wrong(file.path(), name, format!("missing, expected it for '{}'", tensor.name));
        let info = file.tensor(name).ok_or_else(missing)?;
        let dims = if tensor.is_matrix() { vec![cols as u64, rows as u64] } else { vec![cols as u64] };
        if info.dims != dims {
            return Err(wrong(
                file.path(),
                name,
                format!("dimensions {:?}, expected {dims:?} by config.json", info.dims),
            ));
        }
        // What cannot be unpacked is found here and not in the middle of a product.
        let block = info.ggml_type.block_len() as usize;
        let mut values = vec![0.0; block];
        let bytes = &file.tensor_data(info)[..info.ggml_type.block_bytes() as usize];
        dequantize_row(info.ggml_type, bytes, &mut values)
            .map_err(|error| wrong(file.path(), name, error.to_string()))?;
        parts.push(Part::of(info));
    }
    let source = Rows { file: Arc::clone(file), parts, fused: (names.len() > 1).then_some(fused), height: rows, cols };
    if tensor.is_matrix() {
        return Ok(Store::Rows(Arc::new(source)));
    }
    if names.len() > 1 {
        return Err(wrong(file.path(), &tensor.name, "has no place in a GGUF file".into()));
    }
    let mut values = vec![0.0; cols];
    source.write_row(0, 0..cols, &mut values);
    Ok(Store::F32(values))
}

/// Where the rows of a matrix are in the file.
#[derive(Debug, Clone, Copy)]
struct Part {
    ggml_type: GgmlType,
    offset: usize,
    row_bytes: usize,
}

impl Part {
    fn of(info: &TensorInfo) -> Self {
        let rows = info.rows() as usize;
        Self { ggml_type: info.ggml_type, offset: info.offset as usize, row_bytes: info.size as usize / rows }
    }
}

/// How the rows of a fused matrix are spread over three in the file.
#[derive(Debug, Clone, Copy)]
struct Fused {
    /// Query heads of a key head.
    group: usize,
    /// Width of a head.
    head: usize,
}

impl Fused {
    /// The part that a row of the fused matrix is in, and its row there: the reverse of what conversion does, which orders
    /// the dimensions of queries and keys so that those which are turned together are neighbours.
    fn place(self, row: usize) -> (usize, usize) {
        let Self { group, head } = self;
        let (index, within) = (row / head, row % head);
        let (block, slot) = (index / (group + 2), index % (group + 2));
        let paired = within % (head / 2) * 2 + within / (head / 2);
        match slot.cmp(&group) {
            Ordering::Less => (0, (block * group + slot) * head + paired),
            Ordering::Equal => (1, block * head + paired),
            Ordering::Greater => (2, block * head + within),
        }
    }
}

/// A matrix in the file.
#[derive(Debug)]
struct Rows {
    file: Arc<GgufFile>,
    parts: Vec<Part>,
    fused: Option<Fused>,
    height: usize,
    cols: usize,
}

impl RowSource for Rows {
    fn rows(&self) -> usize {
        self.height
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn write_row(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let (part, row) = self.fused.map_or((0, row), |fused| fused.place(row));
        let Part { ggml_type, offset, row_bytes } = self.parts[part];
        // Blocks are no longer than the alignment of the columns that are asked for.
        let bytes = |column: usize| column / ggml_type.block_len() as usize * ggml_type.block_bytes() as usize;
        let start = offset + row * row_bytes;
        let data = &self.file.bytes()[start + bytes(columns.start)..start + bytes(columns.end)];
        dequantize_row(ggml_type, data, out).expect("the type was tried when the file was opened");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_a_fused_matrix_has_a_place_of_its_own() {
        let fused = Fused { group: 3, head: 4 };
        let mut places: Vec<_> = (0..2 * 5 * 4).map(|row| fused.place(row)).collect();
        // The first key head's: dimensions 0 and 2 are turned together.
        assert_eq!(places[12..16], [(1, 0), (1, 2), (1, 1), (1, 3)]);
        assert_eq!(places[16..20], [(2, 0), (2, 1), (2, 2), (2, 3)]);
        places.sort_unstable();
        let part = |number: usize, rows: usize| (0..rows).map(move |row| (number, row));
        assert_eq!(places, part(0, 24).chain(part(1, 8)).chain(part(2, 8)).collect::<Vec<_>>());
    }
}
