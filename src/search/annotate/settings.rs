//! With which settings the trees of a directory were made.
//!
//! Trees do not tell, and a directory whose trees were made with several settings is rarely meant. A run therefore leaves its
//! settings beside its trees, one JSON object a line, those of the last run last.

use std::collections::BTreeMap;
use std::path::Path;

use mmprm_quant::atomic;
use serde_json::{Map, Value, json};

use super::AnnotateError;
use crate::search::SearchParams;
use crate::util::io::FileError;

/// The name of the file in the output directory that tells with which settings its trees were made.
pub const SETTINGS_NAME: &str = "annotate.settings.jsonl";

/// The settings of a run: the parameters of its searches, and what its caller knows of the rest.
pub(super) fn settings(params: &SearchParams, others: &Value) -> Value {
    let mut settings = Map::new();
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

/// Compares `settings` with those that `directory` was left with and puts them on record; `mixed` allows others, and so does a
/// directory without trees.
pub(super) fn record(directory: &Path, settings: &Value, mixed: bool) -> Result<(), AnnotateError> {
    let path = directory.join(SETTINGS_NAME);
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(FileError::Read { path, source }.into()),
    };
    if let Some(last) = text.lines().last() {
        let last: Value = serde_json::from_str(last).map_err(|_| AnnotateError::Settings { path: path.clone() })?;
        let differences = differences(&last, settings);
        if differences.is_empty() {
            return Ok(());
        }
        if !has_trees(directory).map_err(FileError::reading(directory))? {
            text.clear();
        } else if !mixed {
            return Err(AnnotateError::OtherSettings { directory: directory.to_owned(), differences });
        }
    }
    text.push_str(&settings.to_string());
    text.push('\n');
    atomic::write(&path, text.as_bytes()).map_err(AnnotateError::Write)
}

fn has_trees(directory: &Path) -> std::io::Result<bool> {
    let mut names = std::fs::read_dir(directory)?;
    Ok(names.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "json"))))
}

/// What differs, as `name (value there, not value here)`; empty where nothing does.
fn differences(there: &Value, here: &Value) -> String {
    let (mut flat_there, mut flat_here) = (BTreeMap::new(), BTreeMap::new());
    flatten(there, "", &mut flat_there);
    flatten(here, "", &mut flat_here);
    let names: std::collections::BTreeSet<&String> = flat_there.keys().chain(flat_here.keys()).collect();
    let told = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
    let differing = names.into_iter().filter(|&name| flat_there.get(name) != flat_here.get(name));
    let differing = differing
        .map(|name| format!("{name} ({} there, {} here)", told(flat_there.get(name)), told(flat_here.get(name))));
    differing.collect::<Vec<_>>().join(", ")
}

/// Every value that is no object, under its path; nulls are as good as absent.
fn flatten(value: &Value, name: &str, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(value, &name, flat);
            }
        }
        value => drop(flat.insert(name.to_owned(), value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_with_both_values() {
        let there = json!({"seed": 0, "policy": {"model": "a.gguf", "mmproj": null}, "n": 1});
        let here = json!({"seed": 1, "policy": {"model": "a.gguf"}, "limit": 2});
        assert_eq!(
            differences(&there, &here),
            "limit (none there, 2 here), n (1 there, none here), seed (0 there, 1 here)"
        );
        assert_eq!(differences(&there, &there), "");
    }

    #[test]
    fn other_settings_are_refused_unless_they_are_meant_and_the_last_ones_count() {
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
}
