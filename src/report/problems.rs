//! The problems of a page, as its script reads them.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::images::Images;
use super::texts::Texts;
use super::trees;
use crate::data::candidates::{CandidateSet, place};
use crate::data::images::image_paths;
use crate::data::tree::Tree;
use crate::eval::selection::{Contenders, Selection};

/// Fields that problems are grouped by, unless one is named.
const GROUPS: [&str; 4] = ["family", "subject", "category", "source"];

/// What problems share with each other: texts, images, and where images are.
#[derive(Debug, Default)]
pub struct Shared {
    /// Texts and formulas.
    pub texts: Texts,
    /// Images.
    pub images: Images,
}

/// The candidates of one file.
#[derive(Debug)]
pub struct Run<'a> {
    /// Its name on the page.
    pub name: String,
    /// The candidates.
    pub sets: &'a [CandidateSet],
    /// Folders that may have the images.
    pub roots: Vec<PathBuf>,
    /// The rules that all problems that count have the fields for.
    pub rules: Vec<Selection>,
    /// The rule that the page begins with.
    pub rule: Selection,
    /// The field that groups problems.
    pub by: Option<String>,
}

impl<'a> Run<'a> {
    /// The candidates `sets` of the file `name`; `rule` and `by` are what the user asked for.
    pub fn new(
        name: String,
        sets: &'a [CandidateSet],
        roots: Vec<PathBuf>,
        rule: Option<Selection>,
        by: Option<&str>,
    ) -> Self {
        let is_scored = sets.iter().any(|set| set.scores.is_some());
        // Files without labels have rules too, though no figures.
        let counts = |set: &&CandidateSet| !set.failed && (!is_scored || set.scores.is_some());
        let is_possible = |rule: &Selection| sets.iter().filter(counts).all(|set| rule.missing(set).is_none());
        let rules: Vec<Selection> = Selection::all().into_iter().filter(is_possible).collect();
        let rule = rule.filter(|rule| rules.contains(rule)).unwrap_or_else(|| Selection::usual_of(sets));
        let has = |field: &&str| sets.iter().any(|set| set.record.get(*field).is_some_and(|value| !value.is_null()));
        let by = by.filter(|field| has(field)).or_else(|| GROUPS.into_iter().find(has)).map(str::to_owned);
        Self { name, sets, roots, rules, rule, by }
    }

    /// The run for the page's script.
    pub fn value(&self) -> Value {
        let scores = || self.sets.iter().filter_map(|set| set.scores.as_ref()).flatten().flatten().copied();
        let (low, high) = scores()
            .filter(|score| score.is_finite())
            .fold((0.0_f64, 1.0_f64), |(low, high), score| (low.min(score), high.max(score)));
        let names: Vec<String> = self.rules.iter().map(ToString::to_string).collect();
        let rule = self.rules.iter().position(|rule| *rule == self.rule);
        let is_scored = scores().next().is_some();
        json!({"name": self.name, "rules": names, "rule": rule, "scale": [low, high], "scored": is_scored, "by": self.by})
    }

    /// The group of a problem.
    pub fn group(&self, set: &CandidateSet) -> Option<String> {
        match set.record.get(self.by.as_deref()?) {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Null) | None => None,
            Some(other) => Some(other.to_string()),
        }
    }

    /// Its problems for the page's script, as those of the run with this number.
    pub fn problems(&self, number: usize, shared: &mut Shared) -> Vec<Value> {
        let is_labelled = |set: &CandidateSet| set.labels.as_ref().is_some_and(|labels| !labels.is_empty());
        let is_scored = self.sets.iter().any(|set| !set.failed && is_labelled(set) && set.scores.is_some());
        let status = |set: &CandidateSet| {
            if set.failed {
                "failed"
            } else if !is_labelled(set) {
                "unlabelled"
            } else if is_scored && set.scores.is_none() {
                "unscored"
            } else {
                "counted"
            }
        };
        let problem = |(index, set): (usize, &CandidateSet)| {
            let contenders = Contenders::new(set);
            let chosen = |rule: &Selection| contenders.select(*rule).map_or(-1, |selected| selected.index as i64);
            let chosen: Vec<i64> = self.rules.iter().map(chosen).collect();
            let question = set.question.as_deref().unwrap_or_default();
            let id = set.record.get("id").filter(|id| !id.is_null());
            let error = ["error", "prm_error"].iter().find_map(|field| set.record.get(*field)?.as_str());
            json!({
                "run": number, "id": id.map_or_else(|| place(&set.record, index), text), "q": shared.texts.index(question),
                "gold": gold(set).map(|gold| shared.texts.index(&gold)), "group": self.group(set), "status": status(set),
                "error": error, "images": images(&set.images, &self.roots, shared), "chosen": chosen,
                "c": candidates(set, &contenders, shared),
            })
        };
        self.sets.iter().enumerate().map(problem).collect()
    }
}

/// A value as text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn gold(set: &CandidateSet) -> Option<String> {
    ["correct_answer", "answer"]
        .iter()
        .find_map(|field| set.record.get(*field))
        .filter(|gold| !gold.is_null())
        .map(text)
}

/// Each image: its index, or −1 if it cannot be found, and its path.
fn images(names: &[String], roots: &[PathBuf], shared: &mut Shared) -> Value {
    let image = |name: &String| json!([shared.images.index(roots, name).map_or(-1, |index| index as i64), name]);
    names.iter().map(image).collect()
}

/// Each candidate: steps, scores (0 for none), label (−1 for none), answer, and of its truth and log-probabilities what is known.
fn candidates(set: &CandidateSet, contenders: &Contenders<'_>, shared: &mut Shared) -> Vec<Value> {
    let values = |rule| if Selection::missing(rule, set).is_none() { contenders.values(rule) } else { Vec::new() };
    let (worst, mean) = (values(Selection::LogprobWorstStep), values(Selection::LogprobMean));
    let candidate = |(index, steps): (usize, &Vec<String>)| {
        let steps: Vec<usize> = steps.iter().map(|step| shared.texts.index(step)).collect();
        let scores = set.scores.as_ref().map(|scores| scores[index].iter().map(|score| rounded(*score)).collect());
        let label = set.labels.as_ref().and_then(|labels| labels.get(index)).map_or(-1, |label| i64::from(*label));
        let answer = contenders.answers()[index].as_ref().map(|answer| shared.texts.index(answer));
        let logprobs =
            worst.get(index).zip(mean.get(index)).map(|(worst, mean)| json!([rounded(*worst), rounded(*mean)]));
        let scores: Value = scores.unwrap_or_else(|| json!(0));
        json!([steps, scores, label, answer, first_wrong(set, index), error_kind(set, index), logprobs])
    };
    set.solutions.iter().enumerate().map(candidate).collect()
}

/// A number with four significant digits; null if it is not finite.
fn rounded(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { json!(0) } else { Value::Null };
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { json!(rounded) } else { json!(value) }
}

/// The index of a candidate's first wrong step, where `step_labels` say; −1 if all its steps are right.
fn first_wrong(set: &CandidateSet, candidate: usize) -> Option<i64> {
    let labels = set.record.get("step_labels")?.get(candidate)?.as_array()?;
    let is_wrong = |label: &Value| label.as_f64() == Some(0.0) || *label == Value::Bool(false);
    Some(labels.iter().position(is_wrong).map_or(-1, |index| index as i64))
}

fn error_kind(set: &CandidateSet, candidate: usize) -> Option<&str> {
    set.record.get("step_errors")?.get(candidate)?.as_str()
}

/// The problems of search trees. A tree of a problem that is there with candidates is added to that one.
pub fn add_trees(trees: &[Tree], run: usize, roots: &[PathBuf], problems: &mut Vec<Value>, shared: &mut Shared) {
    let key = |problem: &Value| Some((problem["id"].as_str()?.to_owned(), problem["q"].as_u64()?));
    let known: HashMap<(String, u64), usize> =
        problems.iter().enumerate().filter_map(|(index, problem)| Some((key(problem)?, index))).collect();
    for (index, tree) in trees.iter().enumerate() {
        let drawn = trees::value(tree, &mut shared.texts);
        let question = shared.texts.index(&tree.question);
        let id = if tree.id.is_null() { format!("tree {index}") } else { text(&tree.id) };
        if let Some(&at) = known.get(&(id.clone(), question as u64)).filter(|&&at| problems[at]["tree"].is_null()) {
            problems[at]["tree"] = drawn;
            continue;
        }
        let record = serde_json::Map::from_iter([("image_path".to_owned(), tree.image_path.clone())]);
        let names = image_paths(&record).unwrap_or_default();
        let gold = (!tree.answer.is_null()).then(|| shared.texts.index(&text(&tree.answer)));
        problems.push(json!({
            "run": run, "id": id, "q": question, "gold": gold, "status": "tree",
            "images": images(&names, roots, shared), "chosen": [], "c": [], "tree": drawn,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;
    use crate::data::tree::json::parse as parse_tree;

    #[test]
    fn problems_that_do_not_count_are_marked_as_such() {
        let records = [
            r#"{"id": 1, "question": "q", "solutions_splits": [["Answer: 3"], []], "labels": [0, 1], "prm_scores": [[0.123456], []], "family": "bar", "correct_answer": 4, "step_labels": [[0], []], "step_errors": ["misread", null]}"#,
            r#"{"id": 2, "question": "q", "solutions_splits": [], "labels": [], "error": "no image", "prm_scores": []}"#,
            r#"{"id": 3, "question": "q", "solutions_splits": [["a"]], "labels": [1], "prm_scores": null}"#,
            r#"{"id": 4, "question": "q", "solutions_splits": [["a"]], "prm_scores": [[0.5]]}"#,
        ];
        let sets = parse("c".as_ref(), records.join("\n").as_bytes()).unwrap();
        let run = Run::new("c".into(), &sets, Vec::new(), None, None);
        let mut shared = Shared::default();
        let problems = run.problems(0, &mut shared);
        let statuses: Vec<&Value> = problems.iter().map(|problem| &problem["status"]).collect();
        assert_eq!(statuses, ["counted", "failed", "unscored", "unlabelled"]);
        assert_eq!((run.rule.name().as_str(), run.by.as_deref()), ("product", Some("family")));
        let first = &problems[0];
        assert_eq!((&first["id"], &first["group"], &first["gold"]), (&json!("1"), &json!("bar"), &json!(1)));
        assert_eq!(first["c"][0][1], json!([0.1235]));
        assert_eq!(
            (&first["c"][0][4], &first["c"][0][5], &first["c"][1][4]),
            (&json!(0), &json!("misread"), &json!(-1))
        );
        assert_eq!(problems[1]["error"], "no image");
        let named = Run::new("c".into(), &sets, Vec::new(), Some(Selection::Majority), Some("correct_answer"));
        assert_eq!((named.rule, named.group(&sets[0]).as_deref()), (Selection::Majority, Some("4")));
    }

    #[test]
    fn a_tree_joins_the_problem_with_its_id_and_question() {
        let tree = |id: u8| {
            let text = format!(
                r#"{{"question": "q", "answer": "1", "mc_value": 0.5, "visit_count": 0, "correct_rollouts": [], "incorrect_rollouts": [], "children": [], "id": {id}, "image_path": "x.png"}}"#
            );
            parse_tree(text.as_bytes(), "t").unwrap()
        };
        let sets = parse("c".as_ref(), br#"[{"id": "1", "question": "q", "solutions_splits": []}]"#).unwrap();
        let mut shared = Shared::default();
        let mut problems = Run::new("c".into(), &sets, Vec::new(), None, None).problems(0, &mut shared);
        add_trees(&[tree(1), tree(2)], 1, &[], &mut problems, &mut shared);
        assert_eq!(problems.len(), 2);
        assert!(problems[0]["tree"].is_object() && problems[1]["status"] == "tree");
        assert_eq!(problems[1]["images"], json!([[-1, "x.png"]]));
    }

    #[test]
    fn numbers_keep_four_digits() {
        let values = [0.123456, 0.000123456, -1234.56, 0.0, 1.0, f64::NAN, 5e-320].map(rounded);
        assert_eq!(values[..6], [json!(0.1235), json!(0.0001235), json!(-1235.0), json!(0), json!(1.0), Value::Null]);
        assert!(values[6].as_f64().unwrap() > 0.0);
    }
}
