//! The settings that the trees of a directory were made with.
//!
//! Trees do not contain them, and mixing trees of different settings is rarely intended. A run
//! therefore stores its settings beside its trees, one JSON object per line, the last run's last.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic;
use serde_json::{Map, Value, json};

use super::AnnotateError;
use crate::search::SearchParams;
use crate::util::io::FileError;
use crate::util::own_file;
use crate::util::settings::{add_images, differences};

/// File name of the settings in the output directory.
pub const SETTINGS_NAME: &str = "annotate.settings.jsonl";

/// The format of the settings. Lines without a format are from versions that stored the sampling
/// parameters as Rust debug text.
const FORMAT: u64 = 2;

/// Maximum size in bytes of the file of settings.
const MAX_BYTES: u64 = 1 << 30;

/// The settings of a run: its search parameters and those that its caller passes.
pub(super) fn settings(params: &SearchParams, others: &Value) -> Value {
    let mut settings = Map::new();
    settings.insert("format".into(), FORMAT.into());
    let search = json!({
        "c_puct": params.c_puct, "alpha": params.alpha, "beta": params.beta, "length_scale": params.length_scale,
        "rollouts": params.rollouts, "max_searches": params.max_searches, "rollout_budget": params.rollout_budget,
        "unjudged": params.unjudged.name(), "adaptive": params.adaptive,
    });
    settings.insert("search".into(), search);
    match others {
        Value::Object(others) => settings.extend(others.clone()),
        Value::Null => {}
        other => drop(settings.insert("others".into(), other.clone())),
    }
    Value::Object(settings)
}

/// What a run has to store.
#[derive(Debug)]
pub(super) struct Compared {
    path: PathBuf,
    /// The new content of the file of settings; `None` if it stays.
    text: Option<String>,
}

impl Compared {
    /// Stores the settings.
    pub(super) fn store(&self) -> Result<(), AnnotateError> {
        let Some(text) = &self.text else { return Ok(()) };
        atomic::write(&self.path, text.as_bytes()).map_err(AnnotateError::Write)
    }
}

/// Compares `settings` with the last ones stored in `directory`. Other settings are an error unless
/// `mixed` allows them or the directory has no trees. Changes nothing.
pub(super) fn compare(directory: &Path, settings: &Value, mixed: bool) -> Result<Compared, AnnotateError> {
    let path = directory.join(SETTINGS_NAME);
    let mut text = String::new();
    match own_file::open(&path, OpenOptions::new().read(true)) {
        Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text).map(drop),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(FileError::reading(&path))?;
    if let Some(line) = text.lines().last() {
        let mut last: Value = serde_json::from_str(line).map_err(|_| AnnotateError::Settings { path: path.clone() })?;
        let differences = differences(&last, settings);
        if differences.is_empty() {
            if !add_images(&mut last, settings) {
                return Ok(Compared { path, text: None });
            }
            text.truncate(text.trim_end().len() - line.len());
            return Ok(Compared { path, text: Some(format!("{text}{last}\n")) });
        }
        let directory = directory.to_owned();
        match has_trees(&directory) {
            Err(source) => return Err(FileError::reading(&directory)(source).into()),
            Ok(false) => text.clear(),
            Ok(true) if mixed => {}
            Ok(true) if last.get("format") != settings.get("format") => {
                return Err(AnnotateError::OtherFormat { directory });
            }
            Ok(true) => return Err(AnnotateError::OtherSettings { directory, differences }),
        }
    }
    text.push_str(&settings.to_string());
    text.push('\n');
    Ok(Compared { path, text: Some(text) })
}

fn has_trees(directory: &Path) -> std::io::Result<bool> {
    let mut names = std::fs::read_dir(directory)?;
    Ok(names.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "json"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(directory: &Path, settings: &Value, mixed: bool) -> Result<(), AnnotateError> {
        compare(directory, settings, mixed)?.store()
    }

    #[test]
    fn other_settings_are_refused_unless_mixed_and_the_last_ones_count() {
        let folder = tempfile::tempdir().unwrap();
        let note = |seed: u32, mixed| record(folder.path(), &json!({"seed": seed}), mixed);
        note(2, false).unwrap();
        note(0, false).unwrap();
        note(0, false).unwrap();
        std::fs::write(folder.path().join("tree.json"), "").unwrap();
        let error = note(1, false).unwrap_err().to_string();
        assert!(error.contains("other settings: seed (0 there, 1 here)"), "{error}");
        note(1, true).unwrap();
        note(1, false).unwrap();
        assert!(note(0, false).is_err());
        let text = std::fs::read_to_string(folder.path().join(SETTINGS_NAME)).unwrap();
        assert_eq!(text, "{\"seed\":0}\n{\"seed\":1}\n");
        std::fs::write(folder.path().join(SETTINGS_NAME), "nonsense\n").unwrap();
        assert!(matches!(note(0, false), Err(AnnotateError::Settings { .. })));
    }

    #[test]
    fn a_changed_image_is_refused_and_new_ones_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let note = |image: &str, hash: &str| record(folder.path(), &json!({"images": {image: hash}}), false);
        note("a.png", "1").unwrap();
        std::fs::write(folder.path().join("tree.json"), "").unwrap();
        note("b.png", "2").unwrap();
        assert!(note("a.png", "1").is_ok() && note("b.png", "2").is_ok());
        let error = note("b.png", "3").unwrap_err().to_string();
        assert!(error.contains("images.b.png (\"2\" there, \"3\" here)"), "{error}");
    }

    #[test]
    fn settings_of_an_earlier_version_are_refused_unless_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SETTINGS_NAME);
        let old = "{\"search\":{\"rollouts\":16},\"sampling\":\"Sampling { temperature: 1.0, top_k: 50 }\"}\n";
        std::fs::write(&path, old).unwrap();
        std::fs::write(folder.path().join("tree.json"), "").unwrap();
        let new = settings(&SearchParams::default(), &json!({"sampling": {"temperature": 1.0, "top_k": 50}}));
        let error = record(folder.path(), &new, false).unwrap_err();
        assert!(matches!(error, AnnotateError::OtherFormat { .. }));
        let expected = "was annotated by an earlier version whose settings cannot be compared";
        assert!(error.to_string().ends_with(expected), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), old);
        record(folder.path(), &new, true).unwrap();
        record(folder.path(), &new, false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{old}{new}\n"));
        // Without trees there is nothing to compare with.
        std::fs::write(&path, old).unwrap();
        std::fs::remove_file(folder.path().join("tree.json")).unwrap();
        record(folder.path(), &new, false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{new}\n"));
    }
}
