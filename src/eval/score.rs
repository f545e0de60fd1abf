//! Scoring the steps of a Best-of-N file.
//!
//! ```
//! # use mmprm::prm::{PrmError, ScoreRequest, StepScorer};
//! use mmprm::data::candidates;
//! use mmprm::eval::batch::Batch;
//! use mmprm::eval::score::score;
//! use mmprm::judge::RuleVerifier;
//! use mmprm::util::cancel::CancelToken;
//! # struct Half;
//! # impl StepScorer for Half {
//! #     fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
//! #         Ok(request.solutions.iter().map(|steps| vec![0.5; steps.len()]).collect())
//! #     }
//! # }
//! # let prm = Half;
//! # let directory = tempfile::tempdir().unwrap();
//! # let output = directory.path().join("scored.json");
//! let text = r#"[{"question": "1 + 1?", "solutions_splits": [["Add.", "Answer: 2"]]}]"#;
//! let sets = candidates::parse("candidates.json".as_ref(), text.as_bytes()).unwrap();
//! let (settings, cancel) = (serde_json::json!({"prm": "half"}), CancelToken::new());
//! let batch = Batch::new(&output, &settings, &cancel);
//! score(&sets, &prm, &RuleVerifier, &batch).unwrap();
//! assert_eq!(candidates::load(&output).unwrap()[0].scores, Some(vec![vec![0.5, 0.5]]));
//! ```

use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::data::candidates::{self, CandidateSet};
use crate::data::problem::Problem;
use crate::judge::{self, OnUnjudged, Verifier};
use crate::prm::{self, PrmError, ScoreRequest, StepScorer};

/// Adds `prm_scores` to each record and writes them to the batch's output. A failed record has
/// `prm_scores` null and its cause in `prm_error`. A record with a correct answer but without
/// `labels` is labelled too, if `verifier` can judge every candidate.
///
/// # Errors
/// [`BatchError`]; a failed record does not end the run.
pub fn score(
    sets: &[CandidateSet],
    model: &dyn StepScorer,
    verifier: &dyn Verifier,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    write(sets, model, verifier, batch, false)
}

/// As [`score`], and keeps what a generative reward model writes about each step as `prm_critiques`.
///
/// # Errors
/// As [`score`].
pub fn score_with_critiques(
    sets: &[CandidateSet],
    model: &dyn StepScorer,
    verifier: &dyn Verifier,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    write(sets, model, verifier, batch, true)
}

fn write(
    sets: &[CandidateSet],
    model: &dyn StepScorer,
    verifier: &dyn Verifier,
    batch: &Batch<'_>,
    keeps_critiques: bool,
) -> Result<Summary, BatchError> {
    batch.run(sets.len(), &|index| {
        let set = &sets[index];
        let mut record = set.record.clone();
        for earlier in ["prm_error", "prm_critiques"] {
            record.shift_remove(earlier);
        }
        let failed = |record, cause: String| failed(record, index, &cause);
        let Some(question) = &set.question else { return failed(record, "the record has no question".into()) };
        let request = ScoreRequest { question, images: &set.images, solutions: &set.solutions };
        let scored = model.score_with_critiques(&request);
        match scored.and_then(|scored| Ok((prm::finite(scored.scores)?, scored.critiques))) {
            Err(PrmError::Cancelled) => Outcome::Cancelled,
            Err(error) => failed(record, error.to_string()),
            Ok((scores, critiques)) => {
                if set.labels.is_none()
                    && let Some(labels) = labels(set, verifier)
                {
                    record.insert("labels".into(), json!(labels));
                }
                record.insert("prm_scores".into(), json!(scores));
                if let Some(critiques) = critiques.filter(|_| keeps_critiques) {
                    record.insert("prm_critiques".into(), json!(critiques));
                }
                Outcome::Done(record)
            }
        }
    })
}

fn failed(mut record: Map<String, Value>, index: usize, cause: &str) -> Outcome {
    record.insert("prm_scores".into(), Value::Null);
    record.insert("prm_error".into(), cause.into());
    let place = candidates::place(&record, index);
    Outcome::Failed(record, format!("{place}: {cause}"))
}

/// 1 for each right candidate and 0 for each wrong one; `None` without a correct answer, or where a
/// candidate cannot be judged.
fn labels(set: &CandidateSet, verifier: &dyn Verifier) -> Option<Vec<u8>> {
    let problem = Problem {
        record: set.record.clone(),
        id: String::new(),
        question: set.question.clone()?,
        answer: set.answer()?.to_owned(),
        images: set.images.clone(),
    };
    let verdicts = judge::verdicts(verifier, &problem, &set.solutions).ok()?;
    verdicts.into_iter().map(|verdict| OnUnjudged::Drop.is_right(verdict).map(u8::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;
    use crate::eval::batch::Existing;
    use crate::judge::RuleVerifier;
    use crate::prm::{Critique, Scored};
    use crate::util::cancel::CancelToken;

    /// Gives every step of a candidate the score in its text.
    struct Written;

    impl StepScorer for Written {
        fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
            let score = |step: &String| step.parse().unwrap();
            Ok(request.solutions.iter().map(|steps| steps.iter().map(score).collect()).collect())
        }
    }

    #[test]
    fn a_score_that_is_no_number_fails_its_record_and_names_candidate_and_step() {
        let text = r#"[
            {"id": "a", "question": "q", "solutions_splits": [["0.5"], ["0.25", "NaN", "1"]]},
            {"id": "b", "question": "q", "solutions_splits": [["-inf"]]},
            {"id": "c", "question": "q", "solutions_splits": [["0.5"]]}]"#;
        let sets = parse("c.json".as_ref(), text.as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (output, settings, cancel) = (folder.path().join("s.json"), json!({}), CancelToken::default());
        let summary = score(&sets, &Written, &RuleVerifier, &Batch::new(&output, &settings, &cancel)).unwrap();
        assert_eq!((summary.done, summary.failed), (3, 2));
        let records: Vec<Value> = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
        let errors: Vec<&str> = records.iter().filter_map(|record| record["prm_error"].as_str()).collect();
        assert_eq!(
            errors,
            [
                "candidate 2 of 2, step 2 of 3: the score is NaN, expected a number from 0 to 1",
                "candidate 1 of 1, step 1 of 1: the score is -inf, expected a number from 0 to 1",
            ]
        );
        assert!(records[0]["prm_scores"].is_null() && records[2]["prm_scores"] == json!([[0.5]]));
    }

    /// Writes a critique of each step.
    struct Wordy;

    impl StepScorer for Wordy {
        fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
            Written.score(request)
        }

        fn score_with_critiques(&self, request: &ScoreRequest<'_>) -> Result<Scored, PrmError> {
            let critique = |step: &String| Critique { text: format!("I see {step}."), truncated: step == "1" };
            let critiques = request.solutions.iter().map(|steps| steps.iter().map(critique).collect()).collect();
            Ok(Scored { scores: self.score(request)?, critiques: Some(critiques) })
        }
    }

    #[test]
    fn critiques_are_kept_if_asked_for_and_those_of_an_earlier_run_never() {
        let text = r#"[{"question": "q", "prm_critiques": [], "solutions_splits": [["0.5", "1"], []]}]"#;
        let sets = parse("c.json".as_ref(), text.as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (output, settings, cancel) = (folder.path().join("s.json"), json!({}), CancelToken::default());
        let written = |model: &dyn StepScorer, keeps: bool| {
            let batch = Batch { existing: Existing::Replace, ..Batch::new(&output, &settings, &cancel) };
            let run = if keeps { score_with_critiques } else { score };
            run(&sets, model, &RuleVerifier, &batch).unwrap();
            let records: Vec<Value> = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
            records[0].clone()
        };
        let kept = written(&Wordy, true);
        let critiques =
            json!([[{"text": "I see 0.5.", "truncated": false}, {"text": "I see 1.", "truncated": true}], []]);
        assert_eq!((&kept["prm_critiques"], &kept["prm_scores"]), (&critiques, &json!([[0.5, 1.0], []])));
        assert_eq!(written(&Wordy, false).get("prm_critiques"), None);
        assert_eq!(written(&Written, true).get("prm_critiques"), None);
    }

    #[test]
    fn candidates_are_labelled_where_all_can_be_judged() {
        let text = r#"[
            {"question": "q", "answer": "1/2", "solutions_splits": [["Answer: 0.5"], ["Answer: 2"], []]},
            {"question": "q", "answer": "the long side", "solutions_splits": [["Answer: the side that is long"]]},
            {"question": "q", "solutions_splits": [["Answer: 2"]]}]"#;
        let sets = parse("c.json".as_ref(), text.as_bytes()).unwrap();
        let found: Vec<_> = sets.iter().map(|set| labels(set, &RuleVerifier)).collect();
        assert_eq!(found, [Some(vec![1, 0, 0]), None, None]);
    }
}
