//! Comparing the settings of two runs: whether the second may continue the first.
//!
//! Settings are JSON objects. Storing them is left to the callers, since each has its own file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The setting that holds the images of a run, by name. An image that only one run has is no
/// difference: one run may have had fewer problems, or an image may have been missing.
pub const IMAGES: &str = "images";

/// Returns the differing settings as `name (value there, value here)`; empty where none differ.
/// Null counts as absent.
///
/// ```
/// use mmprm::util::settings::differences;
/// use serde_json::json;
/// assert_eq!(differences(&json!({"seed": 0}), &json!({"seed": 1})), "seed (0 there, 1 here)");
/// assert_eq!(differences(&json!({"seed": 0}), &json!({"seed": 0, "limit": null})), "");
/// ```
pub fn differences(there: &Value, here: &Value) -> String {
    let (mut flat_there, mut flat_here) = (BTreeMap::new(), BTreeMap::new());
    flatten(there, "", &mut flat_there);
    flatten(here, "", &mut flat_here);
    let names: BTreeSet<&String> = flat_there.keys().chain(flat_here.keys()).collect();
    let differ = |name: &&String| match (flat_there.get(*name), flat_here.get(*name)) {
        (Some(there), Some(here)) => there != here,
        _ => !name.starts_with("images."),
    };
    let text = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
    let named =
        |name: &String| format!("{name} ({} there, {} here)", text(flat_there.get(name)), text(flat_here.get(name)));
    names.into_iter().filter(differ).map(named).collect::<Vec<_>>().join(", ")
}

/// Adds to `there` the images that only `here` has; returns whether there were any.
pub fn add_images(there: &mut Value, here: &Value) -> bool {
    let Some(here) = here.get(IMAGES).and_then(Value::as_object) else { return false };
    let Some(settings) = there.as_object_mut() else { return false };
    let images = settings.entry(IMAGES).or_insert_with(|| Value::Object(serde_json::Map::new()));
    let Some(images) = images.as_object_mut() else { return false };
    let before = images.len();
    for (name, image) in here {
        images.entry(name.clone()).or_insert_with(|| image.clone());
    }
    images.len() > before
}

/// Inserts every value that is not an object under its path; null counts as absent.
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
    use serde_json::json;

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
    fn an_image_differs_only_from_itself() {
        let mut there = json!({"images": {"a.png": "1", "b.png": "2"}});
        assert_eq!(differences(&there, &json!({"images": {"a.png": "1", "c.png": "3"}})), "");
        assert_eq!(differences(&there, &json!({"images": {"a.png": "9"}})), "images.a.png (\"1\" there, \"9\" here)");
        assert!(add_images(&mut there, &json!({"images": {"c.png": "3"}})));
        assert!(!add_images(&mut there, &json!({"images": {"a.png": "1"}})));
        assert_eq!(there["images"]["c.png"], "3");
    }
}
