//! Judging one tree: the scores of each state's steps are added beside its Monte Carlo value.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::JudgeError;
use super::reply::StepScore;
use super::steps::{StepJudge, StepQuestion};
use crate::data::images::{ImageFieldError, image_paths};
use crate::data::tree::json::TreeError;
use crate::image::{self, ImageError};
use crate::remote::images::data_url;
use crate::util::pool;

/// The number of judged states of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JudgedStates {
    /// Its states without the root.
    pub states: usize,
    /// Of those, states at which neither Yes nor No was among the judge's most likely tokens.
    pub unjudged: usize,
}

/// A state of a tree: the steps before it and its own.
struct State {
    previous: Vec<String>,
    following: Vec<String>,
}

/// Judges the states of `tree`, which was [validated](crate::data::tree::json::read_value), and
/// adds to each `logprob_yes`, `logprob_no` (probabilities, despite MM-PRM's names) and
/// `llm_as_a_judge`, P(Yes) / (P(Yes) + P(No)) or null.
pub(super) fn judge_tree(tree: &mut Value, judge: &StepJudge, data_root: &Path) -> Result<JudgedStates, TreeFailure> {
    let problem = text(&tree["question"]);
    let answer = text(&tree["answer"]);
    let images = images(tree, data_root)?;
    let mut states = Vec::new();
    collect(tree, &mut Vec::new(), &mut states);
    let broken = AtomicBool::new(false);
    let scores = pool::map(&states, judge.parallel(), |state| {
        // One failure fails the tree, so the remaining states are not judged.
        if broken.load(Ordering::Relaxed) {
            return None;
        }
        let State { previous, following } = state;
        let question = StepQuestion { problem: &problem, answer: &answer, images: &images, previous, following };
        let score = judge.score(&question);
        broken.fetch_or(score.is_err(), Ordering::Relaxed);
        Some(score)
    });
    // States skipped after a failure are not the error to report.
    let scores: Vec<StepScore> = scores.into_iter().flatten().collect::<Result<_, _>>()?;
    let unjudged = scores.iter().filter(|score| score.share().is_none()).count();
    let mut rest = scores.iter();
    label(tree, &mut rest);
    Ok(JudgedStates { states: scores.len(), unjudged })
}

/// Why a tree was not judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeFailure {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    ImageField(#[from] ImageFieldError),
    #[error(transparent)]
    Judge(#[from] JudgeError),
}

/// A value as Python's `str` prints it; for a number that is its JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn images(tree: &Value, data_root: &Path) -> Result<Vec<String>, TreeFailure> {
    let paths = tree.as_object().map_or_else(|| Ok(Vec::new()), image_paths)?;
    paths.iter().map(|path| Ok(data_url(&image::resolve(data_root, path)?)?)).collect()
}

fn children(node: &Value) -> &[Value] {
    node["children"].as_array().map_or(&[], Vec::as_slice)
}

/// Collects the states below `node`, depth first, in MM-PRM's order.
fn collect(node: &Value, previous: &mut Vec<String>, states: &mut Vec<State>) {
    for child in children(node) {
        let following: Vec<String> = child["partial_solution"].as_array().into_iter().flatten().map(text).collect();
        states.push(State { previous: previous.clone(), following: following.clone() });
        let before = previous.len();
        previous.extend(following);
        collect(child, previous, states);
        previous.truncate(before);
    }
}

/// Writes `scores` to the states below `node`, in the order of [`collect`].
fn label(node: &mut Value, scores: &mut std::slice::Iter<'_, StepScore>) {
    let children = node.get_mut("children").and_then(Value::as_array_mut);
    for child in children.into_iter().flatten() {
        if let (Some(object), Some(score)) = (child.as_object_mut(), scores.next()) {
            object.insert("logprob_yes".into(), json!(score.yes));
            object.insert("logprob_no".into(), json!(score.no));
            object.insert("llm_as_a_judge".into(), json!(score.share()));
        }
        label(child, scores);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_collected_depth_first_with_all_steps_before_them() {
        let tree = json!({"children": [
            {"partial_solution": ["a", "b"], "children": [{"partial_solution": ["c"], "children": []}]},
            {"partial_solution": [], "children": [{"partial_solution": ["d"], "children": []}]},
        ]});
        let mut states = Vec::new();
        collect(&tree, &mut Vec::new(), &mut states);
        let walked: Vec<(String, String)> =
            states.iter().map(|state| (state.previous.concat(), state.following.concat())).collect();
        let expected = [("", "ab"), ("ab", "c"), ("", ""), ("", "d")];
        assert_eq!(walked, expected.map(|(previous, following)| (previous.to_owned(), following.to_owned())));
    }

    #[test]
    fn scores_go_to_their_states_as_the_last_keys() {
        let mut tree = json!({"mc_value": 0.5, "children": [
            {"mc_value": 1.0, "children": [{"mc_value": 0.0, "children": []}]}, {"mc_value": 0.25, "children": []},
        ]});
        let scores: Vec<StepScore> = [1.0, 2.0, 3.0].map(|yes| StepScore { yes, no: 1.0 }).into();
        label(&mut tree, &mut scores.iter());
        let yes = |pointer: &str| tree.pointer(pointer).and_then(|node| node["logprob_yes"].as_f64());
        assert_eq!(
            [yes("/children/0"), yes("/children/0/children/0"), yes("/children/1")],
            [Some(1.0), Some(2.0), Some(3.0)]
        );
        assert_eq!(yes(""), None);
        let keys: Vec<&String> = tree["children"][1].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["mc_value", "children", "logprob_yes", "logprob_no", "llm_as_a_judge"]);
    }
}
