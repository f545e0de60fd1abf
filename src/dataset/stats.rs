//! What is in a file of problems, candidates or training samples.
//!
//! ```
//! use mmprm::data::records::Records;
//! use mmprm::dataset::stats::stats;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("candidates.json");
//! std::fs::write(&path, r#"[{"question": "q", "solutions_splits": [["a", "b"], ["c"]], "labels": [1, 0]}]"#)?;
//! let stats = stats(&Records::load(&path, None)?);
//! assert_eq!(stats.candidates.unwrap().right, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::images::facts;
use crate::answer::{AnswerSpec, kind};
use crate::data::records::{Item, RecordKind, Records};
use crate::data::samples::STEP_TOKEN;

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Stats {
    /// Records.
    pub records: usize,
    /// Records without an image.
    pub without_images: usize,
    /// Records with more than one image.
    pub several_images: usize,
    /// Records whose answer is not known; 0 for files that have no answers.
    pub without_answer: usize,
    /// Records by the kind of their answer.
    pub answers: BTreeMap<String, usize>,
    /// Records with options, by their number.
    pub choices: BTreeMap<usize, usize>,
    /// Records whose question and images are those of an earlier one, as written.
    pub repeated: usize,
    /// Characters of the questions, options included.
    pub question_characters: Option<Spread>,
    /// The image files.
    pub images: ImageStats,
    /// Of a file of candidates: the candidates.
    pub candidates: Option<CandidateStats>,
    /// Of training samples for a PRM: the labels.
    pub labels: Option<LabelStats>,
}

/// The image files of a set of records.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ImageStats {
    /// Distinct paths.
    pub files: usize,
    /// Files with the same bytes as another one.
    pub equal: usize,
    /// Files by format.
    pub formats: BTreeMap<&'static str, usize>,
    /// Width in pixels.
    pub width: Option<Spread>,
    /// Height in pixels.
    pub height: Option<Spread>,
    /// Files that cannot be read, with the cause.
    pub unreadable: BTreeMap<String, String>,
}

/// The candidates of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct CandidateStats {
    /// Candidates.
    pub count: usize,
    /// Candidates with a verdict.
    pub labelled: usize,
    /// Candidates whose answer is right.
    pub right: usize,
    /// Steps in a candidate.
    pub steps: Option<Spread>,
    /// Steps with a label.
    pub labelled_steps: usize,
    /// Steps labelled wrong.
    pub wrong_steps: usize,
}

/// The labels of training samples.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct LabelStats {
    /// Labels.
    pub count: usize,
    /// Labels that are 0.
    pub zero: usize,
    /// Labels that are 1.
    pub one: usize,
    /// The mean of all labels.
    pub mean: f64,
    /// Labels in a sample.
    pub per_sample: Option<Spread>,
}

/// How values are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Spread {
    /// The least value.
    pub min: usize,
    /// The median; of an even number of values the lower of the two in the middle.
    pub median: usize,
    /// The greatest value.
    pub max: usize,
}

impl Spread {
    /// Returns the spread of values; `None` without any.
    ///
    /// ```
    /// use mmprm::dataset::stats::Spread;
    /// assert_eq!(Spread::of([5, 1, 9, 2]), Some(Spread { min: 1, median: 2, max: 9 }));
    /// ```
    pub fn of(values: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut values: Vec<usize> = values.into_iter().collect();
        values.sort_unstable();
        Some(Self { min: *values.first()?, median: values[(values.len() - 1) / 2], max: *values.last()? })
    }
}

/// Counts what is in a file; opens every image.
pub fn stats(records: &Records) -> Stats {
    let items = &records.items;
    let mut stats = Stats { records: items.len(), images: image_stats(records), ..Stats::default() };
    let mut seen = HashSet::new();
    for item in items {
        stats.without_images += usize::from(item.images.is_empty());
        stats.several_images += usize::from(item.images.len() > 1);
        stats.repeated += usize::from(!item.question.is_empty() && !seen.insert((&item.question, &item.images)));
        add_answer(&mut stats, item, records.kind);
    }
    let questions = items.iter().filter(|item| !item.question.is_empty());
    stats.question_characters = Spread::of(questions.map(|item| item.question.chars().count()));
    match records.kind {
        RecordKind::Problems => {}
        RecordKind::Candidates => stats.candidates = Some(candidate_stats(items)),
        RecordKind::Samples => stats.labels = label_stats(items),
    }
    stats
}

fn add_answer(stats: &mut Stats, item: &Item, file: RecordKind) {
    let answer =
        ["correct_answer", "answer"].iter().find_map(|name| item.record.get(*name).filter(|answer| !answer.is_null()));
    let answer = match answer {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let spec = AnswerSpec::from_record(&item.record);
    match kind(&answer, &spec) {
        Some(kind) => *stats.answers.entry(kind.to_string()).or_default() += 1,
        // Training samples have none.
        None => stats.without_answer += usize::from(file != RecordKind::Samples),
    }
    if !spec.choices.is_empty() {
        *stats.choices.entry(spec.choices.len()).or_default() += 1;
    }
}

fn image_stats(records: &Records) -> ImageStats {
    let facts = facts(&records.root, records.items.iter().flat_map(|item| &item.images));
    let mut stats = ImageStats { files: facts.len(), ..ImageStats::default() };
    let (mut widths, mut heights, mut digests) = (Vec::new(), Vec::new(), HashSet::new());
    for (path, facts) in facts {
        match facts {
            Ok(facts) => {
                *stats.formats.entry(facts.format).or_default() += 1;
                widths.push(facts.width);
                heights.push(facts.height);
                stats.equal += usize::from(!digests.insert(facts.sha256));
            }
            Err(error) => drop(stats.unreadable.insert(path, error.to_string())),
        }
    }
    (stats.width, stats.height) = (Spread::of(widths), Spread::of(heights));
    stats
}

fn list<'a>(record: &'a Map<String, Value>, field: &str) -> &'a [Value] {
    record.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn candidate_stats(items: &[Item]) -> CandidateStats {
    let mut stats = CandidateStats::default();
    let mut steps = Vec::new();
    for Item { record, .. } in items {
        let (solutions, labels) = (list(record, "solutions_splits"), list(record, "labels"));
        stats.count += solutions.len().max(labels.len());
        stats.labelled += labels.len();
        stats.right +=
            labels.iter().filter(|label| label.as_f64() == Some(1.0) || label.as_bool() == Some(true)).count();
        steps.extend(solutions.iter().filter_map(|steps| Some(steps.as_array()?.len())));
        let labels = list(record, "step_labels").iter().filter_map(Value::as_array).flatten();
        for label in labels.filter(|label| !label.is_null()) {
            stats.labelled_steps += 1;
            stats.wrong_steps += usize::from(label.as_f64() == Some(0.0) || label.as_bool() == Some(false));
        }
    }
    stats.steps = Spread::of(steps);
    stats
}

/// The labels of samples for a PRM, or of candidates to rank; `None` for samples without labels.
fn label_stats(items: &[Item]) -> Option<LabelStats> {
    let labels = |item: &Item| -> Vec<f64> {
        let turns = item.record.get("conversations").and_then(Value::as_array);
        let last = turns.and_then(|turns| turns.last()?.get("value")?.as_array());
        // A policy's samples are conversations too, whose last turn is a text.
        let has_steps = || {
            turns.and_then(|turns| turns.first()?.get("value")?.as_str()).is_some_and(|text| text.contains(STEP_TOKEN))
        };
        let own = last.filter(|_| has_steps()).map_or_else(|| list(&item.record, "labels"), Vec::as_slice);
        own.iter().filter_map(Value::as_f64).collect()
    };
    let all: Vec<Vec<f64>> = items.iter().map(labels).collect();
    let flat = || all.iter().flatten();
    let count = flat().count();
    (count > 0).then(|| LabelStats {
        count,
        zero: flat().filter(|label| **label <= 0.0).count(),
        one: flat().filter(|label| **label >= 1.0).count(),
        mean: flat().sum::<f64>() / count as f64,
        per_sample: Spread::of(all.iter().map(Vec::len)),
    })
}
