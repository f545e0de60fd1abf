//! The benchmark rules against the verdicts that the benchmarks' authors released. `MMPRM_DATA`
//! names the data directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{mathvision, mathvista, normalize};
use crate::answer::extract::{Method, extract_for};
use crate::answer::spec::AnswerSpec;
use crate::util::skips::skip;

/// Reads the records of a data file; `None` if the data are not available.
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
    record.get("opts").and_then(Value::as_object).map(AnswerSpec::from_record).unwrap_or_default()
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
        let (prediction, spec) = (text(record, "pred"), options(record));
        verdicts.count(mathvista(text(record, "gold"), prediction, &spec) == verdict(record));
        // Some runs were scored by an older script that rejects decimals as integers; they have no
        // normalised form.
        if let Some(form) = record.get("normalized").and_then(Value::as_str) {
            forms.count(normalize(prediction, &spec).as_deref() == Some(form));
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
fn answers_extracted_from_short_texts_agree_with_a_judge() {
    for (file, vista) in
        [("answers/ursa_mathvista.shared.jsonl", true), ("answers/ursa_mathvision.shared.jsonl", false)]
    {
        let Some(records) = records(file) else { return };
        let mut verdicts = Tally::default();
        for record in &records {
            let (gold, spec) = (text(record, "gold"), options(record));
            let extraction = extract_for(text(record, "pred"), &spec);
            let prediction = extraction.parts.first().map_or("", |part| part);
            let correct =
                if vista { mathvista(gold, prediction, &spec) } else { mathvision(gold, prediction, &spec.choices) };
            verdicts.count(correct == verdict(record));
        }
        verdicts.reaches(0.98, file);
    }
}

#[test]
fn answers_extracted_from_responses_agree_with_the_released_extraction() {
    let Some(records) = records("extraction/mathvista.shared.jsonl") else { return };
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for record in &records {
        let spec = AnswerSpec::from_record(record);
        let extraction = extract_for(text(record, "response"), &spec);
        let prediction = extraction.parts.first().map_or("", |part| part);
        let agrees = mathvista(text(record, "answer"), prediction, &spec) == verdict(record);
        let kind = match extraction.method {
            Method::Nothing => "none",
            found if found.is_fallback() => "guessed",
            _ => "stated",
        };
        let form = if spec.choices.is_empty() { "free" } else { "choice" };
        for key in ["all", kind, form] {
            tallies.entry(key).or_default().count(agrees);
        }
    }
    // A guess or a missing answer often comes from a program that is not run, or from a refusal,
    // for which a lenient extractor still returned a letter.
    for (key, share) in
        [("all", 0.89), ("stated", 0.96), ("free", 0.96), ("guessed", 0.8), ("none", 0.8), ("choice", 0.8)]
    {
        tallies.entry(key).or_default().reaches(share, key);
    }
}
