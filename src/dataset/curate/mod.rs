//! Choosing the problems of a file that are worth training or testing on, as MM-K12 was made of raw problems (MM-PRM, arXiv
//! 2505.13427, section 3.1): those with one verifiable answer and a readable image, each once.
//!
//! Every problem that is dropped has one [`Reason`], the first that holds in the order of the enum, and what was found. A problem that
//! is kept has its type, `choice` or `fill-in`, in the field `problem_type`. Its other fields stay as they are.
//!
//! ```
//! use mmprm::data::records::Records;
//! use mmprm::dataset::curate::{CurateOptions, Reason, choose};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("problems.jsonl");
//! let lines = [r#"{"id": "a", "question": "1 + 1?", "answer": "2"}"#, r#"{"id": "b", "question": "Prove it.", "answer": "…"}"#];
//! std::fs::write(&path, lines.join("\n"))?;
//! let options = CurateOptions { keeps_text_only: true, ..CurateOptions::default() };
//! let choice = choose(&Records::load(&path, None)?, &options)?;
//! assert_eq!((choice.kept.len(), choice.dropped[0].reason), (1, Reason::Proof));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod question;
mod reason;
mod report;

use std::collections::BTreeMap;

pub use reason::Reason;
pub use report::{CurateSummary, curate};

use super::images::{Facts, facts};
use super::output::OutputError;
use super::similar::{Key, Seen};
use crate::answer::{AnswerKind, AnswerSpec, is_verifiable, kind};
use crate::data::records::{Item, RecordKind, Records};
use crate::util::random::{CounterStream, mix};

/// Minimum side of an image in pixels; `InternVL`'s smallest patch.
const MIN_SIDE: usize = 14;

/// What is kept.
#[derive(Debug, Clone, Default)]
pub struct CurateOptions {
    /// Keeps problems without an image.
    pub keeps_text_only: bool,
    /// Test sets, with their names: problems that are in one of them are dropped.
    pub against: Vec<(String, Records)>,
    /// Candidates of a policy, by which problems are as hard as wanted; no filter without any.
    pub candidates: Option<Records>,
    /// Minimum pass rate of the policy, 0 to 1.
    pub min_pass: f64,
    /// Maximum pass rate of the policy, 0 to 1.
    pub max_pass: f64,
    /// Keeps as many choice problems as fill-in ones, drawn with this seed.
    pub balance: Option<u64>,
}

/// The type of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemType {
    /// One or more of given options is the answer.
    Choice,
    /// The answer is to be found.
    FillIn,
}

/// A problem that is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// Its place among the records.
    pub index: usize,
    /// Its type.
    pub problem_type: ProblemType,
}

/// A problem that is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// Its place among the records.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// What was found: words of the question, a cause, or the id of another problem.
    pub found: String,
}

/// Which problems are kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Those that are kept, in the file's order.
    pub kept: Vec<Kept>,
    /// Those that are dropped, in the file's order.
    pub dropped: Vec<Dropped>,
}

/// Why problems cannot be curated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurateError {
    /// A file has records of another kind.
    #[error("{what}: expected {expected}, found {found:?}")]
    Kind {
        /// The file's part in the curation.
        what: String,
        /// What is expected.
        expected: &'static str,
        /// What was found.
        found: RecordKind,
    },
    /// The candidates are not of these problems.
    #[error("the candidates of {id} are of another question: {found}")]
    OtherProblem {
        /// The id of the problem.
        id: String,
        /// The question of the candidates, shortened.
        found: String,
    },
    /// No problem has candidates with verdicts.
    #[error("no problem has candidates with verdicts")]
    NoPassRates,
    /// There is nothing to balance with.
    #[error("of the {kept} problems that are left none is of the type {missing}, so types cannot be balanced")]
    Unbalanced {
        /// Problems that are left.
        kept: usize,
        /// The type without problems.
        missing: &'static str,
    },
    /// No problem is left.
    #[error("none of the {read} problems is left: {reasons}")]
    Nothing {
        /// Problems read.
        read: usize,
        /// Reasons with their counts.
        reasons: String,
    },
    /// The result cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Decides which problems are kept.
///
/// # Errors
/// [`CurateError`] for records that are no problems, and options that do not fit them.
pub fn choose(records: &Records, options: &CurateOptions) -> Result<Choice, CurateError> {
    expect(records, "the file", RecordKind::Problems, "problems")?;
    for (name, set) in &options.against {
        expect(set, name, RecordKind::Problems, "problems")?;
    }
    let rates = options.candidates.as_ref().map(|sets| pass_rates(records, sets)).transpose()?;
    let own = facts(&records.root, records.items.iter().flat_map(|item| &item.images));
    let test_facts: Vec<Facts> = options
        .against
        .iter()
        .map(|(_, set)| facts(&set.root, set.items.iter().flat_map(|item| &item.images)))
        .collect();
    let tests: Vec<Seen<'_>> =
        options.against.iter().zip(&test_facts).map(|((_, set), facts)| seen(set, facts)).collect();

    let mut choice = Choice::default();
    let mut earlier = Seen::default();
    for (index, item) in records.items.iter().enumerate() {
        let key = Key::new(item, &own);
        let leak = || {
            let found = options.against.iter().zip(&tests).find_map(|((name, set), seen)| {
                seen.find(&key).map(|number| format!("{name}: {}", set.items[number].id))
            });
            found.map(|found| (Reason::Leak, found))
        };
        let reason = by_itself(item, &own, options.keeps_text_only)
            .or_else(leak)
            .or_else(|| {
                let first = earlier.add(index, key.clone())?;
                Some((Reason::Duplicate, records.items[first].id.clone()))
            })
            .or_else(|| by_rate(rates.as_ref()?.get(&item.id).copied(), options));
        match reason {
            Some((reason, found)) => choice.dropped.push(Dropped { index, reason, found }),
            None => choice.kept.push(Kept { index, problem_type: type_of(item) }),
        }
    }
    if let Some(seed) = options.balance {
        balance(&mut choice, seed)?;
    }
    if choice.kept.is_empty() {
        let reasons: Vec<String> =
            choice.counts().iter().map(|(reason, count)| format!("{} ({count})", reason.name())).collect();
        return Err(CurateError::Nothing { read: records.items.len(), reasons: reasons.join(", ") });
    }
    Ok(choice)
}

impl Choice {
    /// Returns the number of problems dropped for each reason.
    pub fn counts(&self) -> BTreeMap<Reason, usize> {
        let mut counts = BTreeMap::new();
        self.dropped.iter().for_each(|dropped| *counts.entry(dropped.reason).or_default() += 1);
        counts
    }
}

fn expect(records: &Records, what: &str, kind: RecordKind, expected: &'static str) -> Result<(), CurateError> {
    if records.kind == kind {
        return Ok(());
    }
    Err(CurateError::Kind { what: what.to_owned(), expected, found: records.kind })
}

fn seen<'a>(set: &'a Records, facts: &'a Facts) -> Seen<'a> {
    let mut seen = Seen::default();
    for (index, item) in set.items.iter().enumerate() {
        seen.add(index, Key::new(item, facts));
    }
    seen
}

/// The reason that a problem gives by itself.
fn by_itself(item: &Item, facts: &Facts, keeps_text_only: bool) -> Option<(Reason, String)> {
    let answer = answer_of(item);
    let spec = AnswerSpec::from_record(&item.record);
    let kind = kind(&answer, &spec);
    if kind.is_none() {
        return Some((Reason::NoAnswer, String::new()));
    }
    if item.images.is_empty() && !keeps_text_only {
        return Some((Reason::NoImage, String::new()));
    }
    for path in &item.images {
        match facts.get(path) {
            Some(Ok(facts)) if facts.width.min(facts.height) < MIN_SIDE => {
                return Some((Reason::UnreadableImage, format!("{} × {} pixels", facts.width, facts.height)));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Some((Reason::UnreadableImage, error.to_string())),
            None => return Some((Reason::UnreadableImage, path.clone())),
        }
    }
    let references = image_references(&item.question);
    if references > item.images.len() {
        return Some((Reason::MissingImage, format!("{references} in the text, {} in the record", item.images.len())));
    }
    if let Some(found) = question::unverifiable(&item.question) {
        return Some(found);
    }
    let shortened = || crate::data::images::shortened(&answer);
    match kind {
        Some(AnswerKind::Open) => Some((Reason::Open, shortened())),
        Some(AnswerKind::Parts) => Some((Reason::SeveralQuestions, shortened())),
        _ if !is_verifiable(&answer, &spec) => Some((Reason::NotVerifiable, shortened())),
        _ => None,
    }
}

fn answer_of(item: &Item) -> String {
    match ["correct_answer", "answer"].iter().find_map(|name| item.record.get(*name).filter(|answer| !answer.is_null()))
    {
        Some(serde_json::Value::String(answer)) => answer.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Counts the images that a text shows as Markdown does: `[image](name)` or `![](name)`.
fn image_references(text: &str) -> usize {
    let lower = text.to_lowercase();
    let links = lower.match_indices("](").filter(|(at, _)| {
        let label = lower[..*at].rsplit('[').next().unwrap_or_default().trim();
        let is_link = lower[..*at].contains('[') && lower[at + 2..].contains(')');
        // A vector such as [1](2) is no link.
        let name = lower[at + 2..].split(')').next().unwrap_or_default();
        is_link && (label.is_empty() || label.contains("image") || label.contains("figure")) && name.len() > 4
    });
    links.count()
}

fn type_of(item: &Item) -> ProblemType {
    if AnswerSpec::from_record(&item.record).choices.is_empty() { ProblemType::FillIn } else { ProblemType::Choice }
}

/// The rate at which each problem's candidates are right, by the problem's id.
fn pass_rates(records: &Records, sets: &Records) -> Result<BTreeMap<String, f64>, CurateError> {
    expect(sets, "the candidates", RecordKind::Candidates, "candidates")?;
    let questions: BTreeMap<&str, &str> =
        records.items.iter().map(|item| (item.id.as_str(), item.question.as_str())).collect();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for set in &sets.items {
        let Some(question) = questions.get(set.id.as_str()) else { continue };
        if !set.question.is_empty() && set.question != *question {
            let found = crate::data::images::shortened(&set.question);
            return Err(CurateError::OtherProblem { id: set.id.clone(), found });
        }
        let labels = set.record.get("labels").and_then(serde_json::Value::as_array).map_or(&[][..], Vec::as_slice);
        let is_right = |label: &&serde_json::Value| label.as_bool() == Some(true) || label.as_f64() == Some(1.0);
        let (right, all) = counts.entry(set.id.clone()).or_default();
        *right += labels.iter().filter(is_right).count();
        *all += labels.len();
    }
    let rates: BTreeMap<String, f64> = counts
        .into_iter()
        .filter(|(_, (_, all))| *all > 0)
        .map(|(id, (right, all))| (id, right as f64 / all as f64))
        .collect();
    if rates.is_empty() { Err(CurateError::NoPassRates) } else { Ok(rates) }
}

/// The reason that a policy's pass rate gives.
fn by_rate(rate: Option<f64>, options: &CurateOptions) -> Option<(Reason, String)> {
    let Some(rate) = rate else { return Some((Reason::NoPassRate, String::new())) };
    let found = || format!("pass rate {rate:.3}");
    if rate < options.min_pass {
        Some((Reason::TooHard, found()))
    } else if rate > options.max_pass {
        Some((Reason::TooEasy, found()))
    } else {
        None
    }
}

/// Drops problems of the more frequent type until there are as many of each.
fn balance(choice: &mut Choice, seed: u64) -> Result<(), CurateError> {
    let of = |problem_type: ProblemType| -> Vec<usize> {
        choice.kept.iter().filter(|kept| kept.problem_type == problem_type).map(|kept| kept.index).collect()
    };
    let (choices, fill_ins) = (of(ProblemType::Choice), of(ProblemType::FillIn));
    for (own, missing) in [(&choices, "choice"), (&fill_ins, "fill-in")] {
        if own.is_empty() {
            return Err(CurateError::Unbalanced { kept: choice.kept.len(), missing });
        }
    }
    let count = choices.len().min(fill_ins.len());
    let draw = CounterStream::new(mix(seed));
    let mut larger = if choices.len() > count { choices } else { fill_ins };
    larger.sort_by_key(|index| draw.bits(*index as u64));
    let surplus: std::collections::BTreeSet<usize> = larger.into_iter().skip(count).collect();
    choice.kept.retain(|kept| !surplus.contains(&kept.index));
    let dropped = surplus.into_iter().map(|index| Dropped { index, reason: Reason::Balance, found: String::new() });
    choice.dropped.extend(dropped);
    choice.dropped.sort_by_key(|dropped| dropped.index);
    Ok(())
}
