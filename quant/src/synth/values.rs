//! Random weights: a panel of rows, repeated in shuffled order.

use rayon::prelude::*;

use crate::blocks::{BlockError, quantize_rows};
use crate::gguf::TensorSpec;
use crate::random::mix;

/// Maximum number of values drawn for a matrix.
const PANEL: u64 = 1 << 20;
/// Maximum number of values drawn for the embeddings and the output. Equal rows make equal logits,
/// and many ties would change the work of sampling.
const VOCABULARY_PANEL: u64 = 1 << 24;
/// Bytes returned at a time.
const CHUNK: usize = 4 << 20;

/// Generates the rows of one tensor after another.
#[derive(Default)]
pub(super) struct Weights {
    values: Vec<f32>,
    panel: Vec<u8>,
    out: Vec<u8>,
    row_bytes: usize,
    rows: u64,
    next: u64,
    stream: u64,
}

impl Weights {
    /// Draws the panel of a tensor; [`Weights::next_rows`] then returns its rows.
    pub fn draw(&mut self, spec: &TensorSpec, seed: u64) -> Result<(), BlockError> {
        let row = spec.dims[0];
        self.rows = spec.dims[1..].iter().product();
        self.next = 0;
        self.stream = spec.name.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        let is_vocabulary = matches!(spec.name.as_str(), "token_embd.weight" | "output.weight");
        let budget = if is_vocabulary { VOCABULARY_PANEL } else { PANEL };
        let panel_rows = (budget / row).clamp(1, self.rows);
        self.values.resize((panel_rows * row) as usize, 0.0);
        let (stream, kind) = (self.stream, Kind::of(spec));
        self.values.par_chunks_mut(1 << 14).enumerate().for_each(|(chunk, values)| {
            let first = (chunk << 14) as u64;
            for (value, index) in values.iter_mut().zip(first..) {
                *value = kind.value(mix(stream ^ mix(index)));
            }
        });
        self.row_bytes = spec.ggml_type.row_bytes(row as usize).expect("a layout has only whole blocks");
        self.panel.resize(self.row_bytes * panel_rows as usize, 0);
        quantize_rows(spec.ggml_type, &self.values, row as usize, &mut self.panel)
    }

    /// Returns the next rows of the tensor; `None` after the last.
    pub fn next_rows(&mut self) -> Option<&[u8]> {
        let panel_rows = (self.panel.len() / self.row_bytes) as u64;
        let count = ((CHUNK / self.row_bytes).max(1) as u64).min(self.rows - self.next);
        self.out.clear();
        for row in self.next..self.next + count {
            let from = (mix(!self.stream ^ mix(row)) % panel_rows) as usize * self.row_bytes;
            self.out.extend_from_slice(&self.panel[from..from + self.row_bytes]);
        }
        self.next += count;
        (count > 0).then_some(self.out.as_slice())
    }
}

/// The distribution of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A constant.
    Constant(f32),
    /// Uniform within ± this value.
    Uniform(f32),
}

impl Kind {
    fn of(spec: &TensorSpec) -> Self {
        let name = spec.name.as_str();
        // Frequencies are divided by these.
        let is_factor = name == "rope_freqs.weight";
        let is_norm = ["norm.weight", "ln1.weight", "ln2.weight", "mlp.0.weight"].iter().any(|end| name.ends_with(end));
        if is_norm || is_factor {
            Self::Constant(1.0)
        } else if name.rsplit('.').next() == Some("bias") {
            Self::Constant(0.0)
        } else if name.ends_with("ls1.weight") || name.ends_with("ls2.weight") {
            // LayerScale: the weight of a block's output in the residual stream.
            Self::Constant(0.1)
        } else {
            // Variance 1 / number of inputs.
            let inputs = if name.contains("patch_embd") { spec.dims[..3].iter().product() } else { spec.dims[0] };
            Self::Uniform((3.0 / inputs as f32).sqrt())
        }
    }

    fn value(self, bits: u64) -> f32 {
        match self {
            Self::Constant(value) => value,
            Self::Uniform(half) => ((bits >> 40) as f32 / (1 << 23) as f32 - 1.0) * half,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{GgmlType, dequantize_row};

    /// A block format where there is one.
    const TYPE: GgmlType = if cfg!(feature = "ggml") { GgmlType::Q4_K } else { GgmlType::F16 };

    fn rows_of(spec: &TensorSpec, seed: u64) -> Vec<u8> {
        let mut weights = Weights::default();
        weights.draw(spec, seed).unwrap();
        let mut bytes = Vec::new();
        while let Some(rows) = weights.next_rows() {
            bytes.extend_from_slice(rows);
        }
        bytes
    }

    #[test]
    fn rows_are_complete_and_differ() {
        let spec = TensorSpec { name: "blk.0.ffn_up.weight".into(), dims: vec![256, 300], ggml_type: TYPE };
        let bytes = rows_of(&spec, 7);
        assert_eq!(bytes.len() as u64, spec.ggml_type.tensor_bytes(&spec.dims).unwrap());
        let mut values = vec![0.0; 256 * 300];
        dequantize_row(TYPE, &bytes, &mut values).unwrap();
        let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        assert!((variance * 256.0 - 1.0).abs() < 0.05, "{variance}");
        let mut rows: Vec<&[u8]> = bytes.chunks(TYPE.row_bytes(256).unwrap()).collect();
        rows.sort_unstable();
        rows.dedup();
        assert!(rows.len() > 150, "{} distinct rows of 300", rows.len());
        assert_eq!(bytes, rows_of(&spec, 7));
        assert_ne!(bytes, rows_of(&spec, 8));
    }

    #[test]
    fn norms_are_one_and_biases_zero() {
        let value = |name: &str| {
            let spec = TensorSpec { name: name.into(), dims: vec![4], ggml_type: GgmlType::F32 };
            rows_of(&spec, 0)
        };
        for name in ["output_norm.weight", "blk.1.attn_norm.weight", "v.blk.0.ln1.weight", "mm.model.mlp.0.weight"] {
            assert_eq!(value(name), 1_f32.to_le_bytes().repeat(4), "{name}");
        }
        assert_eq!(value("blk.0.attn_q.bias"), [0; 16]);
    }
}
