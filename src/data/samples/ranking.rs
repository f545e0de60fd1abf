//! Ranking samples, for implicit PRMs: the candidates of a problem with their verdicts, a problem a line.
//!
//! A line is `{id, image, question, candidates, labels}`: `candidates` are lists of steps whose last one is the answer, and
//! `labels` has 1 for each right one and 0 for each wrong one. Candidates come from a Best-of-N file, each as often as it was
//! drawn, or from the rollouts of search trees. Problems without a right or without a wrong candidate have nothing to rank and
//! are skipped. Training on them is left to [`train`](crate::train).
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::data::samples::RankingSample;
//! let text = r#"[{"id": 7, "question": "1+1?", "image_path": "a.png", "labels": [1, 0],
//!                 "solutions_splits": [["Add.", "Answer: 2"], ["Answer: 3"]]}]"#;
//! let sets = parse("candidates.json".as_ref(), text.as_bytes()).unwrap();
//! let sample = RankingSample::of_candidates(&sets[0]).unwrap();
//! assert_eq!(
//!     sample.line(),
//!     r#"{"id":7,"image":["a.png"],"question":"1+1?","candidates":[["Add.","Answer: 2"],["Answer: 3"]],"labels":[1,0]}"#
//! );
//! ```

use serde_json::{Map, Value, json};

use super::every_rollout;
use crate::data::candidates::CandidateSet;
use crate::data::solution::Rollout;
use crate::data::tree::Tree;

/// The candidates of a problem, some of them right and some wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct RankingSample {
    /// The problem's id, as in its record.
    pub id: Value,
    /// Paths of its images: a string, an array of several, or null for none.
    pub image: Value,
    /// The question.
    pub question: String,
    /// The steps of each candidate; the last one is the answer.
    pub candidates: Vec<Rollout>,
    /// Whether each candidate's answer is right.
    pub labels: Vec<bool>,
}

impl RankingSample {
    /// The candidates of a Best-of-N record that have steps. `None` if they are not labelled, or all right or all wrong.
    pub fn of_candidates(set: &CandidateSet) -> Option<Self> {
        let (question, labels) = (set.question.clone()?, set.labels.as_ref()?);
        let labelled = set.solutions.iter().zip(labels).filter(|(steps, _)| !steps.is_empty());
        let (candidates, labels) = labelled.map(|(steps, label)| (steps.clone(), *label)).unzip();
        let image = if set.images.is_empty() { Value::Null } else { json!(set.images) };
        let id = set.record.get("id").cloned().unwrap_or_default();
        Self { id, image, question, candidates, labels }.if_mixed()
    }

    /// The distinct rollouts of a search tree. `None` if all are right or all wrong.
    pub fn of_tree(tree: &Tree) -> Option<Self> {
        let rollouts = every_rollout(tree);
        let labels = rollouts.iter().map(|rollout| rollout.labels.last().is_some_and(|label| *label > 0.0)).collect();
        let candidates = rollouts.into_iter().map(|rollout| rollout.parts).collect();
        let (id, image, question) = (tree.id.clone(), tree.image_path.clone(), tree.question.clone());
        Self { id, image, question, candidates, labels }.if_mixed()
    }

    fn if_mixed(self) -> Option<Self> {
        (self.labels.contains(&true) && self.labels.contains(&false)).then_some(self)
    }

    /// Returns its line of a training file, without the newline.
    pub fn line(&self) -> String {
        let labels: Vec<u8> = self.labels.iter().map(|label| u8::from(*label)).collect();
        let mut record = Map::from_iter([("id".to_owned(), self.id.clone())]);
        if !self.image.is_null() {
            record.insert("image".to_owned(), self.image.clone());
        }
        record.insert("question".to_owned(), self.question.clone().into());
        record.insert("candidates".to_owned(), json!(self.candidates));
        record.insert("labels".to_owned(), json!(labels));
        Value::Object(record).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    #[test]
    fn only_labelled_candidates_with_a_choice_between_right_and_wrong_are_ranked() {
        let of = |fields: &str| {
            let text = format!(r#"[{{"question": "q", {fields}}}]"#);
            RankingSample::of_candidates(&parse("c.json".as_ref(), text.as_bytes()).unwrap()[0])
        };
        let both = of(r#""solutions_splits": [["a"], [], ["b"]], "labels": [1, 0, 0]"#).unwrap();
        assert_eq!((both.candidates.len(), both.labels), (2, vec![true, false]));
        assert_eq!(of(r#""solutions_splits": [["a"], []], "labels": [1, 0]"#), None);
        assert_eq!(of(r#""solutions_splits": [["a"], ["b"]], "labels": [0, 0]"#), None);
        assert_eq!(of(r#""solutions_splits": [["a"], ["b"]]"#), None);
    }
}
