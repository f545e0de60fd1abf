//! One page of HTML about runs: Best-of-N figures, step scores, search trees, training, speed, and every problem with its
//! candidates.
//!
//! [`input`] recognises what the inputs are. The page is one file that loads nothing from elsewhere. Every text of an input is
//! [escaped](escape), and of formulas only [`MathML`](math) reaches the page as markup. Its figures are those of
//! [`eval`](crate::eval): problems that failed, or are not labelled or scored, are shown as such and in no figure.
//!
//! ```
//! use mmprm::report::{ReportOptions, input, report};
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("scored.json");
//! std::fs::write(&file, r#"[{"question": "What is $1+1$?", "solutions_splits": [["Answer: 3"], ["Answer: 2"]],
//!                            "labels": [0, 1], "prm_scores": [[0.1], [0.9]]}]"#)?;
//! let inputs = input::read(&file).unwrap();
//! let page = report(&inputs, &ReportOptions::default());
//! assert_eq!((page.summary.problems, page.summary.formulas), (1, 1));
//! assert!(page.html.starts_with("<!doctype html>") && page.html.contains("Best of N"));
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod chart;
pub mod escape;
pub mod images;
pub mod input;
pub mod math;
mod page;
pub mod problems;
pub mod sections;
pub mod texts;
pub mod trees;

use std::path::{Path, PathBuf};

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use self::input::{Content, Input};
use self::problems::{Run, Shared, add_trees};
use self::sections::{Section, best_of_n, configuration, evaluations, runs, steps};
use crate::eval::batch;
use crate::eval::selection::Selection;

/// The size in bytes that a page stays below, as far as images can be made smaller.
const TARGET_BYTES: usize = 4_800_000;

/// Bytes of texts and formulas from which on they are compressed.
const PACKED_FROM: usize = 1_000_000;

/// Bytes for images in any case.
const MIN_IMAGE_BYTES: usize = 400_000;

/// What to show.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// The title; otherwise one made of the inputs' names.
    pub title: Option<String>,
    /// The folder of all images; otherwise that of each input, as its run stored it, or the folder that it is in.
    pub data_root: Option<PathBuf>,
    /// The field that problems are grouped by; otherwise the first of family, subject, category and source.
    pub by: Option<String>,
    /// The rule that the list of problems begins with; otherwise the usual one of each file.
    pub rule: Option<Selection>,
    /// Random seed of the intervals, as in [`eval`](crate::eval::bon::BonOptions).
    pub seed: u64,
}

/// A page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The file.
    pub html: String,
    /// What is on it.
    pub summary: Summary,
}

/// What is on a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Problems.
    pub problems: usize,
    /// Candidates of them.
    pub candidates: usize,
    /// Search trees.
    pub trees: usize,
    /// Images shown.
    pub images: usize,
    /// Images that could not be found or read, and are shown as their path.
    pub images_missing: usize,
    /// Formulas shown as `MathML`.
    pub formulas: usize,
    /// Formulas shown as their text.
    pub formulas_as_text: usize,
    /// Size of the page in bytes.
    pub bytes: usize,
}

/// Makes a page of inputs.
pub fn report(inputs: &[Input], options: &ReportOptions) -> Page {
    let names = names(inputs);
    let own_roots: Vec<PathBuf> = inputs.iter().map(|input| data_root(input, options)).collect();
    let (mut before, mut shared, mut summary) = (Vec::new(), Shared::default(), Summary::default());
    let (mut listed, mut problems): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for (index, input) in inputs.iter().enumerate() {
        let first = before.len();
        match &input.content {
            Content::Candidates(sets) => {
                let roots = vec![own_roots[index].clone()];
                let run = Run::new(names[index].clone(), sets, roots, options.rule, options.by.as_deref());
                before.push(best_of_n::section(&run, options.seed));
                before.extend(steps::section(&run));
                problems.extend(run.problems(listed.len(), &mut shared));
                listed.push(run.value());
                summary.candidates += sets.iter().map(|set| set.solutions.len()).sum::<usize>();
            }
            Content::Trees(trees) => {
                before.push(runs::trees(trees));
                summary.trees += trees.len();
            }
            Content::Samples(samples) => before.push(runs::samples(samples)),
            Content::Training(training) => before.push(runs::training(training)),
            Content::Bench(result) => before.push(runs::bench(result)),
            Content::Evaluation(kind, result) => before.push(evaluations::section(*kind, result)),
        }
        for (number, section) in before[first..].iter_mut().enumerate() {
            name_section(section, inputs.len() > 1, &names[index], &format!("s{index}-{number}"));
        }
    }
    // After all candidates, whose problems trees join.
    for (index, input) in inputs.iter().enumerate() {
        if let Content::Trees(trees) = &input.content {
            // Trees do not store where images are; candidates of the same problems may.
            let mut roots = vec![own_roots[index].clone()];
            roots.extend(own_roots.iter().filter(|root| **root != own_roots[index]).cloned());
            add_trees(trees, listed.len(), &roots, &mut problems, &mut shared);
            listed.push(
                json!({"name": names[index], "rules": [], "rule": null, "scale": [0, 1], "scored": false, "by": null}),
            );
        }
    }
    summary.problems = problems.len();
    let after = [configuration::section(inputs)];
    let title = options.title.clone().unwrap_or_else(|| title(&names));
    let lead = lead(&summary, inputs.len());
    let mut data = json!({
        "runs": listed, "problems": problems, "images": [],
    });
    add_texts(&mut data, json!({"texts": shared.texts.list(), "math": shared.texts.formulas.markup()}));
    let has_problems = summary.problems > 0;
    let without = page::page(&title, &lead, &before, has_problems.then_some(&data), &after).len();
    let images = shared.images.encode(TARGET_BYTES.saturating_sub(without).max(MIN_IMAGE_BYTES));
    summary.images = images.iter().flatten().count();
    summary.images_missing = shared.images.missing + images.len() - summary.images;
    summary.formulas = shared.texts.formulas.markup().len();
    summary.formulas_as_text = shared.texts.formulas.as_text;
    data["images"] = json!(images);
    let html = page::page(&title, &lead, &before, has_problems.then_some(&data), &after);
    summary.bytes = html.len();
    Page { html, summary }
}

/// Adds texts and formulas to the data of the page's script; many of them as zlib in base64, which the script unpacks.
fn add_texts(data: &mut Value, texts: Value) {
    let plain = texts.to_string();
    let packed = || {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain.as_bytes())?;
        encoder.finish()
    };
    match (plain.len() >= PACKED_FROM).then(packed) {
        Some(Ok(packed)) => data["packed"] = STANDARD.encode(packed).into(),
        // Writing to memory does not fail.
        _ => {
            if let (Value::Object(data), Value::Object(texts)) = (data, texts) {
                data.extend(texts);
            }
        }
    }
}

/// Gives a section its anchor, and in a page of several inputs the name of its own.
fn name_section(section: &mut Section, is_one_of_several: bool, name: &str, id: &str) {
    id.clone_into(&mut section.id);
    if is_one_of_several {
        section.heading = format!("{}: {name}", section.heading);
        section.short = format!("{} · {name}", section.short);
    }
}

/// The folder of an input's images.
fn data_root(input: &Input, options: &ReportOptions) -> PathBuf {
    let folder = |path: &Path| match path.parent() {
        _ if path.is_dir() => path.to_owned(),
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let known = || batch::data_root(&input.path).unwrap_or_else(|| folder(&input.path));
    options.data_root.clone().unwrap_or_else(known)
}

/// A name for each input: the end of its path, as much of it as makes it another one than the others.
fn names(inputs: &[Input]) -> Vec<String> {
    let end = |path: &Path, parts: usize| {
        let all: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let name = |input: &Input| {
        let is_own = |parts: &usize| {
            let own = end(&input.path, *parts);
            inputs.iter().all(|other| other.path == input.path || end(&other.path, *parts) != own)
        };
        let parts = (1..=input.path.components().count()).find(is_own).unwrap_or(usize::MAX);
        end(&input.path, parts)
    };
    inputs.iter().map(name).collect()
}

fn title(names: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        if !distinct.contains(&name.as_str()) {
            distinct.push(name);
        }
    }
    match distinct[..] {
        [] => "Report".to_owned(),
        [one] => format!("Report: {one}"),
        [first, second] => format!("Report: {first}, {second}"),
        [first, .., _] => format!("Report: {first} and {} others", distinct.len() - 1),
    }
}

fn lead(summary: &Summary, inputs: usize) -> String {
    let counts = [
        (summary.problems, "problem"),
        (summary.candidates, "candidate"),
        (summary.trees, "search tree"),
        (inputs, "input"),
    ];
    let plural = |(number, name): &(usize, &str)| {
        let ending = if *number == 1 { "" } else { "s" };
        format!("{} {name}{ending}", sections::count(*number))
    };
    counts.iter().filter(|(number, _)| *number > 0).map(plural).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests;
