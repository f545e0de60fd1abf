//! Reads a model from a Hugging Face directory, or a text model from a GGUF file.

use std::path::Path;
use std::sync::Arc;

use mmprm_quant::hf::config::{KeyError, check_keys};

use super::checkpoint::{WeightsError, read_directory_layout, read_json, read_some};
use super::layout::Layout;
use super::parameters::Parameters;
use super::quantised::{read_gguf_layout, read_quantised};

/// Reads `config.json` from a directory, or the metadata of a text model's GGUF file, and lists the
/// tensors of the model.
///
/// ```
/// use mmprm::internvl::{WeightsError, read_layout};
/// let directory = tempfile::tempdir().unwrap();
/// assert!(matches!(read_layout(directory.path()), Err(WeightsError::File(_))));
/// ```
///
/// # Errors
/// [`WeightsError`] with the file and field.
pub fn read_layout(directory: &Path) -> Result<Arc<Layout>, WeightsError> {
    if directory.is_file() {
        return read_gguf_layout(directory);
    }
    read_directory_layout(directory)
}

/// Returns the keys of `config.json` that are unknown and ignored; none of a GGUF file.
///
/// # Errors
/// As [`read_layout`].
pub fn unknown_keys(directory: &Path) -> Result<Vec<String>, WeightsError> {
    if directory.is_file() {
        return Ok(Vec::new());
    }
    let source = |error: KeyError| WeightsError::Config { path: directory.to_owned(), source: error.into() };
    check_keys(&read_json(directory)?).map_err(source)
}

/// Reads the weights of a model from its directory or GGUF file: vectors, and tensors for which
/// `masters` is true, as `f32`; other matrices in the format of the file.
///
/// # Errors
/// [`WeightsError`] if a tensor is missing or not part of the model, has the wrong shape or format, or a file is invalid.
pub fn read_parameters(
    directory: &Path,
    layout: &Arc<Layout>,
    masters: impl Fn(usize) -> bool,
) -> Result<Parameters, WeightsError> {
    if directory.is_file() {
        return read_quantised(directory, directory, layout, masters);
    }
    let mut stores = read_some(directory, layout, |_| true, masters)?;
    Parameters::load(layout, |index| Ok(stores[index].take().unwrap_or_else(|| unreachable!("all were read"))))
}
