//! Step scores for a Best-of-N file.

use serde_json::{Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use super::candidates::CandidateSet;
use crate::reward::{Reward, RewardError, ScoreRequest};

/// Adds `prm_scores` to each record and writes them to the batch's output. A record that failed has `prm_scores` null and
/// its cause in `prm_error`.
///
/// # Errors
/// [`BatchError`]; a record that fails does not stop the run.
pub fn score(sets: &[CandidateSet], reward: &dyn Reward, batch: &Batch<'_>) -> Result<Summary, BatchError> {
    batch.run(sets.len(), &|index| {
        let set = &sets[index];
        let mut record = set.record.clone();
        record.shift_remove("prm_error");
        let scores = match &set.question {
            Some(question) => reward.score(&ScoreRequest { question, images: &set.images, solutions: &set.solutions }),
            None => Err(RewardError::Problem("the record has no question".into())),
        };
        match scores {
            Err(RewardError::Cancelled) => Outcome::Cancelled,
            Err(error) => {
                let cause = error.to_string();
                record.insert("prm_scores".into(), Value::Null);
                record.insert("prm_error".into(), cause.clone().into());
                Outcome::Failed(record, cause)
            }
            Ok(scores) => {
                record.insert("prm_scores".into(), json!(scores));
                Outcome::Done(record)
            }
        }
    })
}
