//! How the inputs were made: settings, recipes, seeds, hashes.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Section, count, table};
use crate::report::escape::html;
use crate::report::input::{Content, Input};
use crate::util::settings::IMAGES;

/// Returns the section of all inputs.
pub fn section(inputs: &[Input]) -> Section {
    let body = inputs.iter().map(of_input).collect();
    let (id, heading) = ("configuration".to_owned(), "Configuration".to_owned());
    Section { id, short: heading.clone(), heading, body }
}

fn of_input(input: &Input) -> String {
    let mut rows = vec![("content".to_owned(), kind(&input.content)), ("sha256".to_owned(), input.sha256.clone())];
    if let Some(settings) = &input.settings {
        flatten(settings, "", &mut rows);
    }
    if let Content::Training(training) = &input.content {
        rows.extend(training.recipe.iter().map(|(key, value)| (format!("recipe: {key}"), value.clone())));
    }
    let row = |(key, value): &(String, String)| ("", vec![html(key), format!("<code>{}</code>", html(value))]);
    let rows: Vec<(&str, Vec<String>)> = rows.iter().map(row).collect();
    let path = input.path.display().to_string();
    let open = if rows.len() < 40 { " open" } else { "" };
    let name = html(&path);
    format!(
        "<details{open}><summary><code>{name}</code></summary>{}</details>",
        table(&path, &["setting", "value"], &rows)
    )
}

fn kind(content: &Content) -> String {
    match content {
        Content::Candidates(sets) => {
            let candidates: usize = sets.iter().map(|set| set.solutions.len()).sum();
            format!("{} problems, {} candidates", count(sets.len()), count(candidates))
        }
        Content::Trees(trees) => format!("{} search trees", count(trees.len())),
        Content::Samples(samples) => format!("{} training samples", count(samples.count)),
        Content::Training(training) => format!("training run, {} lines of log", count(training.log.len())),
        Content::Bench(_) => "benchmark".to_owned(),
        Content::Evaluation(..) => "evaluation".to_owned(),
    }
}

/// Adds every value under its path. The images of a run become their number and one hash.
fn flatten(value: &Value, path: &str, rows: &mut Vec<(String, String)>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Object(images) if key == IMAGES => {
                        let hash = Sha256::digest(value.to_string());
                        rows.push((
                            below(key),
                            format!("{} files, sha256 of their list {hash:x}", count(images.len())),
                        ));
                    }
                    _ => flatten(value, &below(key), rows),
                }
            }
        }
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        other => rows.push((path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_listed_by_path_and_escaped() {
        let settings =
            json!({"settings": {"seed": 7, "images": {"a.png": "x", "b.png": "y"}, "prm": "</code><b>"}, "failed": []});
        let input = Input {
            path: "x.json".into(),
            sha256: "abc".into(),
            content: Content::Bench(json!({})),
            settings: Some(settings),
        };
        let body = section(&[input]).body;
        assert!(body.contains(">settings.seed</th><td><code>7</code>") && body.contains("2 files, sha256"), "{body}");
        assert!(!body.contains("<b>") && body.contains("<code>abc</code>"));
    }
}
