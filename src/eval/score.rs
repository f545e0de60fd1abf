//! Step scores for a Best-of-N file.

use serde_json::{Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::data::candidates::CandidateSet;
use crate::data::problem::Problem;
use crate::judge::Verifier;
use crate::judge::{self, OnUnjudged};
use crate::prm::{PrmError, ScoreRequest, StepScorer};

/// Adds `prm_scores` to each record and writes them to the batch's output. A record that failed has `prm_scores` null and
/// its cause in `prm_error`. A record that has an expected answer but no `labels` gets these too, if `verifier` can judge every
/// candidate.
///
/// # Errors
/// [`BatchError`]; a record that fails does not stop the run.
pub fn score(
    sets: &[CandidateSet],
    reward: &dyn StepScorer,
    verifier: &dyn Verifier,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    batch.run(sets.len(), &|index| {
        let set = &sets[index];
        let mut record = set.record.clone();
        record.shift_remove("prm_error");
        let scores = match &set.question {
            Some(question) => reward.score(&ScoreRequest { question, images: &set.images, solutions: &set.solutions }),
            None => Err(PrmError::Problem("the record has no question".into())),
        };
        match scores {
            Err(PrmError::Cancelled) => Outcome::Cancelled,
            Err(error) => {
                let cause = error.to_string();
                record.insert("prm_scores".into(), Value::Null);
                record.insert("prm_error".into(), cause.clone().into());
                Outcome::Failed(record, cause)
            }
            Ok(scores) => {
                if set.labels.is_none()
                    && let Some(labels) = labels(set, verifier)
                {
                    record.insert("labels".into(), json!(labels));
                }
                record.insert("prm_scores".into(), json!(scores));
                Outcome::Done(record)
            }
        }
    })
}

/// 1 for each right candidate and 0 for each wrong one; nothing where there is no expected answer, or where one candidate
/// cannot be judged.
fn labels(set: &CandidateSet, verifier: &dyn Verifier) -> Option<Vec<u8>> {
    let answer = ["correct_answer", "answer"].iter().find_map(|key| set.record.get(*key)?.as_str())?;
    let problem = Problem {
        record: set.record.clone(),
        id: String::new(),
        question: set.question.clone()?,
        answer: answer.to_owned(),
        images: set.images.clone(),
    };
    let verdicts = judge::verdicts(verifier, &problem, &set.solutions).ok()?;
    verdicts.into_iter().map(|verdict| OnUnjudged::Drop.is_right(verdict).map(u8::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;
    use crate::judge::RuleVerifier;

    #[test]
    fn candidates_are_labelled_where_every_one_can_be_judged() {
        let text = r#"[
            {"question": "q", "answer": "1/2", "solutions_splits": [["Answer: 0.5"], ["Answer: 2"], []]},
            {"question": "q", "answer": "the long side", "solutions_splits": [["Answer: the side that is long"]]},
            {"question": "q", "solutions_splits": [["Answer: 2"]]}]"#;
        let sets = parse("c.json".as_ref(), text.as_bytes()).unwrap();
        let found: Vec<_> = sets.iter().map(|set| labels(set, &RuleVerifier)).collect();
        assert_eq!(found, [Some(vec![1, 0, 0]), None, None]);
    }
}
