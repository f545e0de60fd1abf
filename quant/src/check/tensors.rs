//! The tensors of a file: exactly those that the architecture has, with its dimensions, in types
//! that ggml's CPU kernels take for their role.

use std::collections::HashMap;

use super::keys::bad_tensor;
use crate::blocks::GgmlType;
use crate::gguf::{GgufError, GgufFile, TensorInfo};

/// What a tensor is used for, which decides its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Added to or multiplied with hidden states: ggml aborts unless it is F32.
    Vector,
    /// The right factor of a matrix product, or a table of rows.
    Matrix,
    /// A kernel of a convolution: F32 or F16.
    Kernel,
}

/// A tensor that an architecture has.
#[derive(Debug)]
struct Expected {
    dims: Vec<u64>,
    role: Role,
    required: bool,
}

/// The tensors that an architecture has.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// In order, so that the first missing tensor is named.
    names: Vec<String>,
    expected: HashMap<String, Expected>,
}

impl Layout {
    /// Adds a tensor that must be there.
    pub(super) fn must(&mut self, name: impl Into<String>, dims: &[u64], role: Role) {
        self.add(name.into(), dims, role, true);
    }

    /// Adds a tensor that may be there.
    pub(super) fn may(&mut self, name: impl Into<String>, dims: &[u64], role: Role) {
        self.add(name.into(), dims, role, false);
    }

    fn add(&mut self, name: String, dims: &[u64], role: Role, required: bool) {
        self.names.push(name.clone());
        self.expected.insert(name, Expected { dims: dims.to_vec(), role, required });
    }

    /// Checks that a file has all tensors of this layout and no others.
    ///
    /// # Errors
    /// [`GgufError::UnsoundTensor`].
    pub(super) fn check(&self, file: &GgufFile) -> Result<(), GgufError> {
        for name in &self.names {
            let expected = &self.expected[name];
            match file.tensor(name) {
                Some(tensor) => expected.check(file, tensor)?,
                None if expected.required => {
                    return Err(bad_tensor(file, name, "missing", format!("dimensions {:?}", expected.dims)));
                }
                None => {}
            }
        }
        match file.tensors().iter().find(|tensor| !self.expected.contains_key(&tensor.name)) {
            Some(tensor) => {
                Err(bad_tensor(file, &tensor.name, "found", "none of this name: the architecture has no such tensor"))
            }
            None => Ok(()),
        }
    }
}

impl Expected {
    fn check(&self, file: &GgufFile, tensor: &TensorInfo) -> Result<(), GgufError> {
        if significant(&tensor.dims) != significant(&self.dims) {
            let expected = format!("dimensions {:?}", self.dims);
            return Err(bad_tensor(file, &tensor.name, format!("dimensions {:?}", tensor.dims), expected));
        }
        let (fits, expected) = match self.role {
            Role::Vector => (tensor.ggml_type == GgmlType::F32, "F32 for norms, biases and positions"),
            Role::Kernel => (matches!(tensor.ggml_type, GgmlType::F32 | GgmlType::F16), "F32 or F16 for convolutions"),
            Role::Matrix => (has_kernel(tensor.ggml_type), "F32, F16, BF16 or a block format of weights"),
        };
        if fits { Ok(()) } else { Err(bad_tensor(file, &tensor.name, tensor.ggml_type.to_string(), expected)) }
    }
}

/// Returns the dimensions without trailing ones, which ggml ignores.
fn significant(dims: &[u64]) -> &[u64] {
    &dims[..dims.iter().rposition(|dim| *dim > 1).map_or(1, |last| last + 1)]
}

/// Returns whether ggml's CPU backend multiplies by matrices of this type and reads their rows: it
/// has no such kernel for integers, doubles and the formats of activations.
fn has_kernel(of: GgmlType) -> bool {
    use GgmlType as T;
    let number = matches!(of, T::F32 | T::F16 | T::BF16);
    let simple = matches!(of, T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 | T::Q8_0 | T::IQ4_NL | T::Q1_0 | T::Q2_0);
    let k_quant = matches!(of, T::Q2_K | T::Q3_K | T::Q4_K | T::Q5_K | T::Q6_K | T::IQ4_XS);
    let codebook = matches!(of, T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ3_XXS | T::IQ3_S | T::IQ1_S | T::IQ1_M);
    let other = matches!(of, T::TQ1_0 | T::TQ2_0 | T::MXFP4 | T::NVFP4);
    number || simple || k_quant || codebook || other
}
