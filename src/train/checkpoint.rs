//! Hugging Face checkpoint directories: `model.safetensors` with configuration and tokenizer.
//!
//! The small files of a directory are written first and the weights last, and a later save replaces only the weights, so
//! that readers always find complete weights. The state to resume a run is in [`super::state`].
//!
//! ```
//! use mmprm::train::checkpoint::{prepare, save};
//! use mmprm_quant::safetensors::{StoredType, NewTensor, Values};
//! let folder = tempfile::tempdir().unwrap();
//! let (base, target) = (folder.path().join("base"), folder.path().join("last"));
//! std::fs::create_dir(&base).unwrap();
//! std::fs::write(base.join("config.json"), r#"{"torch_dtype": "bfloat16", "vocab_size": 1}"#).unwrap();
//! prepare(&base, &target, StoredType::F16).unwrap();
//! let tensor = NewTensor { name: "w".into(), shape: &[1], values: Values::F32(&[1.0]), stored: StoredType::F16 };
//! save(&target, &[tensor]).unwrap();
//! let config = std::fs::read_to_string(target.join("config.json")).unwrap();
//! assert_eq!(config, "{\n  \"torch_dtype\": \"float16\",\n  \"vocab_size\": 1\n}\n");
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic;
use mmprm_quant::hf::origin::{self, Origin};
use mmprm_quant::read::{inside, without_bom};
use mmprm_quant::safetensors::{NewTensor, StoredType, WriteError, write};
use serde_json::Value;

use super::recipe::{Recipe, RecipeError, Task};
use crate::prompt::{PrmForm, PrmTemplate};

use crate::util::io::{self, FileError};

/// Maximum bytes of a file to copy; tokenizers are below 40 MB.
const MAX_FILE: u64 = 256 << 20;

/// Files that accompany the weights of a checkpoint, besides code.
const COMPANIONS: &[&str] = &[
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "mmprm.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// An error of writing a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file of the base checkpoint cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The base's configuration is not JSON.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What the checkpoints of a recipe are trained for, by which conversion and scoring read them.
///
/// # Errors
/// [`RecipeError::Form`].
pub(super) fn origin(recipe: &Recipe) -> Result<Origin, RecipeError> {
    let with_form = |task, form: &str| Origin { prm_form: Some(form.to_owned()), ..Origin::new(task) };
    Ok(match recipe.task {
        Task::Prm => {
            let form = recipe.form()?;
            with_form(origin::Task::Prm, form.as_ref().unwrap_or_else(|| PrmTemplate::Training.form()).record())
        }
        Task::ImplicitPrm if recipe.has_reference() => {
            with_form(origin::Task::ImplicitPrm, PrmForm::log_ratio(recipe.beta()).record())
        }
        Task::ImplicitPrm => Origin::new(origin::Task::ImplicitPrm),
        Task::Policy => Origin::new(origin::Task::Policy),
    })
}

/// Writes what the checkpoint or adapter in `target` is trained for.
///
/// # Errors
/// [`CheckpointError::Write`].
pub(super) fn write_origin(target: &Path, origin: &Origin) -> Result<(), CheckpointError> {
    Ok(atomic::write(&target.join(origin::FILE), origin.to_json().as_bytes()).map_err(WriteError::from)?)
}

/// Copies the files that accompany the weights of `base` to `target`: configuration (with the stored type), tokenizer, code.
///
/// # Errors
/// [`CheckpointError`].
pub fn prepare(base: &Path, target: &Path, stored: StoredType) -> Result<(), CheckpointError> {
    for path in companions(base)? {
        let Some(name) = path.file_name() else { continue };
        let bytes = read_companion(&path)?;
        let bytes = if name == "config.json" { config(&path, &bytes, stored)? } else { bytes };
        atomic::write(&target.join(name), &bytes).map_err(WriteError::from)?;
    }
    Ok(())
}

/// Files that accompany the weights of a checkpoint, sorted. Each is a regular file of the checkpoint: a link that leaves it
/// could bring any file of this machine into the result.
pub(super) fn companions(base: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let list = fs::read_dir(base).map_err(FileError::reading(base))?;
    let mut files: Vec<PathBuf> = list.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.retain(|path| is_companion(path));
    files.sort();
    for path in &files {
        inside(base, path).map_err(FileError::reading(path))?;
    }
    Ok(files)
}

/// Returns weights in `target` that writing the files `names` would leave beside them, so that the directory would have two
/// checkpoints.
pub(super) fn other_weights(target: &Path, names: &[&OsStr]) -> Option<PathBuf> {
    let list = ["model.safetensors", "model.safetensors.index.json"]
        .into_iter()
        .filter(|name| !names.contains(&OsStr::new(name)));
    list.map(|name| target.join(name)).find(|path| path.exists())
}

/// Reads a companion file.
pub(super) fn read_companion(path: &Path) -> Result<Vec<u8>, FileError> {
    io::read(path, MAX_FILE)
}

/// Whether a file belongs to every checkpoint made from a base: neither weights nor records of the base's training.
fn is_companion(path: &Path) -> bool {
    let known = path.file_name().is_some_and(|name| COMPANIONS.iter().any(|companion| *companion == name));
    known || path.extension().is_some_and(|extension| extension == "py")
}

/// The configuration with every `torch_dtype` set to the stored type.
fn config(path: &Path, bytes: &[u8], stored: StoredType) -> Result<Vec<u8>, CheckpointError> {
    let fail = |source| CheckpointError::Config { path: path.to_owned(), source };
    let mut config: Value = serde_json::from_slice(without_bom(bytes)).map_err(fail)?;
    let name = match stored {
        StoredType::F32 => "float32",
        StoredType::F16 => "float16",
        StoredType::Bf16 => "bfloat16",
    };
    let parts = ["", "/llm_config", "/vision_config"];
    for part in parts {
        if let Some(dtype) = config.pointer_mut(&format!("{part}/torch_dtype")).filter(|dtype| dtype.is_string()) {
            *dtype = name.into();
        }
    }
    let mut text = serde_json::to_string_pretty(&config).map_err(fail)?;
    text.push('\n');
    Ok(text.into_bytes())
}

/// Replaces the weights of a [prepared](prepare) checkpoint.
///
/// # Errors
/// [`WriteError`]; the old weights are then untouched.
pub fn save(target: &Path, tensors: &[NewTensor<'_>]) -> Result<(), WriteError> {
    write(&target.join("model.safetensors"), tensors, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmprm_quant::safetensors::StoredType;

    #[test]
    fn a_checkpoint_gets_the_companion_files_but_not_the_old_weights() {
        let folder = tempfile::tempdir().unwrap();
        let (base, target) = (folder.path().join("base"), folder.path().join("out/best"));
        fs::create_dir(&base).unwrap();
        for name in
            ["tokenizer.model", "vocab.json", "merges.txt", "modeling.py", "model.safetensors", "trainer_state.json"]
        {
            fs::write(base.join(name), name).unwrap();
        }
        fs::write(base.join("config.json"), r#"{"llm_config": {"torch_dtype": "bfloat16"}, "torch_dtype": null}"#)
            .unwrap();
        prepare(&base, &target, StoredType::F32).unwrap();
        let mut names: Vec<String> =
            fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "merges.txt", "modeling.py", "tokenizer.model", "vocab.json"]);
        let config: Value = serde_json::from_slice(&fs::read(target.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["llm_config"]["torch_dtype"], "float32");
        assert!(config["torch_dtype"].is_null());
    }

    #[cfg(unix)]
    #[test]
    fn companions_are_regular_files_inside_the_checkpoint() {
        use std::os::unix::fs::symlink;
        /// A name, and what makes the file.
        type Case<'a> = (&'a str, &'a dyn Fn(&Path));
        let folder = tempfile::tempdir().unwrap();
        let (base, target) = (folder.path().join("base"), folder.path().join("out"));
        let secret = folder.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let link = |to: &'static str| move |path: &Path| symlink(to, path).unwrap();
        let pipe = |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        let cases: [Case<'_>; 6] = [
            ("chat_template.jinja", &|path| symlink(&secret, path).unwrap()),
            ("modeling.py", &link("../secret")),
            ("vocab.json", &link("nowhere")),
            ("tokenizer.json", &pipe),
            ("merges.txt", &link("/dev/zero")),
            ("config.json", &|path| fs::create_dir(path).unwrap()),
        ];
        for (name, make) in cases {
            fs::create_dir(&base).unwrap();
            make(&base.join(name));
            let error = prepare(&base, &target, StoredType::F32).unwrap_err().to_string();
            assert!(error.starts_with("cannot read ") && error.contains(name), "{error}");
            assert!(!target.exists());
            fs::remove_dir_all(&base).unwrap();
        }
        fs::create_dir(&base).unwrap();
        fs::write(base.join("code.py"), "x").unwrap();
        symlink("code.py", base.join("alias.py")).unwrap();
        fs::write(base.join("config.json"), "\u{feff}{}").unwrap();
        prepare(&base, &target, StoredType::F32).unwrap();
        assert_eq!(fs::read_to_string(target.join("alias.py")).unwrap(), "x");
    }

    #[test]
    fn a_missing_base_is_named() {
        let error = prepare(Path::new("nowhere"), Path::new("out"), StoredType::F32).unwrap_err();
        assert!(error.to_string().starts_with("cannot read nowhere: "), "{error}");
    }
}
