//! What makes a language model and a projector a pair: the weights of the vision tower that both were converted with.
//!
//! Both files get the same id, so that a projector of another checkpoint is refused although its sizes fit. Checkpoints with equal
//! vision weights, such as a policy and a reward model trained from it over a frozen tower, have equal ids: their projectors are
//! interchangeable.

use sha2::{Digest, Sha256};

use super::names::Names;
use crate::safetensors::Checkpoint;

/// The GGUF key of the id, in both files.
pub const PAIR_KEY: &str = "mmprm.pair.id";

/// Bytes hashed at the start, in the middle and at the end of each tensor. Training changes values everywhere in a tensor, so that
/// these are enough, and a tower of six billion parameters is not read twice.
const BLOCK: usize = 4096;

/// Digits of an id.
const DIGITS: usize = 32;

/// Returns the id: a hash of names, shapes, types and parts of the data of all tensors but the language model's.
pub(super) fn id(checkpoint: &Checkpoint, names: Names) -> String {
    let mut hash = Sha256::new();
    for name in checkpoint.names().filter(|name| !names.is_language(name)) {
        let Some(tensor) = checkpoint.get(name) else { continue };
        let data = checkpoint.data(tensor);
        hash.update(format!("{name} {:?} {:?} {}\n", tensor.dtype, tensor.shape, data.len()));
        if data.len() <= 3 * BLOCK {
            hash.update(data);
        } else {
            let middle = data.len() / 2;
            hash.update(&data[..BLOCK]);
            hash.update(&data[middle..middle + BLOCK]);
            hash.update(&data[data.len() - BLOCK..]);
        }
        checkpoint.release(tensor);
    }
    let mut id = format!("{:x}", hash.finalize());
    id.truncate(DIGITS);
    id
}
