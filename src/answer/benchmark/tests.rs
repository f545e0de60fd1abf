//! The rules against the verdicts that the benchmarks' authors released. The data lie in the folder that `MMPRM_DATA` names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{mathvision, mathvista, normalize};
use crate::answer::AnswerSpec;
use crate::answer::extract::{Found, extract_for};
use crate::util::skips::skip;

/// The records of a data file; nothing where the data are not there.
fn records(file: &str) -> Option<Vec<Map<String, Value>>> {
    let Some(folder) = std::env::var_os("MMPRM_DATA") else {
        skip("MMPRM_DATA is not set");
        return None;
    };
    let path = PathBuf::from(folder).join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        skip(format_args!("no file {}", path.display()));
        return None;
    };
    let records: Vec<Map<String, Value>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!records.is_empty(), "{}: expected records", path.display());
    Some(records)
}

fn text<'a>(record: &'a Map<String, Value>, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn verdict(record: &Map<String, Value>) -> bool {
    record["verdict"].as_bool().unwrap()
}

fn options(record: &Map<String, Value>) -> AnswerSpec {
    record.get("opts").and_then(Value::as_object).map(AnswerSpec::of).unwrap_or_default()
}

/// Counts of cases and of agreements.
#[derive(Default)]
struct Tally {
    cases: usize,
    agreed: usize,
}

impl Tally {
    fn count(&mut self, agrees: bool) {
        self.cases += 1;
        self.agreed += usize::from(agrees);
    }

    #[track_caller]
    fn reaches(&self, share: f64, what: &str) {
        let reached = self.agreed as f64 / self.cases as f64;
        eprintln!("{what}: {} of {} ({:.2} %)", self.agreed, self.cases, 100.0 * reached);
        assert!(reached >= share, "{what}: expected {share}, found {reached}");
    }
}

#[test]
fn mathvista_decides_as_released() {
    let Some(records) = records("answers/mathvista_results.shared.jsonl") else { return };
    let (mut verdicts, mut forms) = (Tally::default(), Tally::default());
    for record in &records {
        let (said, spec) = (text(record, "pred"), options(record));
        verdicts.count(mathvista(text(record, "gold"), said, &spec) == verdict(record));
        // Some of the runs were scored by an older script that took no decimal for a whole number: they have no form there.
        if let Some(form) = record.get("normalized").and_then(Value::as_str) {
            forms.count(normalize(said, &spec).as_deref() == Some(form));
        }
    }
    verdicts.reaches(0.99, "MathVista's verdicts");
    forms.reaches(1.0, "MathVista's forms");
}

#[test]
fn mathvision_decides_as_released() {
    let Some(records) = records("answers/mathvision_outputs.shared.jsonl") else { return };
    let mut verdicts = Tally::default();
    for record in &records {
        let choices = options(record).choices;
        verdicts.count(mathvision(text(record, "gold"), text(record, "pred"), &choices) == verdict(record));
    }
    verdicts.reaches(0.999, "MATH-Vision's verdicts");
}

#[test]
fn what_is_extracted_from_short_answers_decides_as_a_judge_did() {
    for (file, vista) in
        [("answers/ursa_mathvista.shared.jsonl", true), ("answers/ursa_mathvision.shared.jsonl", false)]
    {
        let Some(records) = records(file) else { return };
        let mut verdicts = Tally::default();
        for record in &records {
            let (gold, spec) = (text(record, "gold"), options(record));
            let extraction = extract_for(text(record, "pred"), &spec);
            let said = extraction.parts.first().map_or("", |part| part);
            let correct = if vista { mathvista(gold, said, &spec) } else { mathvision(gold, said, &spec.choices) };
            verdicts.count(correct == verdict(record));
        }
        verdicts.reaches(0.98, file);
    }
}

#[test]
fn what_is_extracted_from_responses_decides_as_the_accepted_extraction_did() {
    let Some(records) = records("extraction/mathvista.shared.jsonl") else { return };
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for record in &records {
        let spec = AnswerSpec::of(record);
        let extraction = extract_for(text(record, "response"), &spec);
        let said = extraction.parts.first().map_or("", |part| part);
        let agrees = mathvista(text(record, "answer"), said, &spec) == verdict(record);
        let kind = match extraction.found {
            Found::Nothing => "none",
            found if found.is_fallback() => "guessed",
            _ => "stated",
        };
        let form = if spec.choices.is_empty() { "free" } else { "choice" };
        for key in ["all", kind, form] {
            tallies.entry(key).or_default().count(agrees);
        }
    }
    // A guess or nothing is often a program that is not run, or a refusal, to which a lenient extractor still gave a letter.
    for (key, share) in
        [("all", 0.89), ("stated", 0.96), ("free", 0.96), ("guessed", 0.8), ("none", 0.8), ("choice", 0.8)]
    {
        tallies.entry(key).or_default().reaches(share, key);
    }
}
