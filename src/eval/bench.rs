//! Benchmarks: how each published data set compares answers and divides its problems.
//!
//! Candidates are labelled by this library's own rule when they are generated. A benchmark's own rule gives the numbers that papers
//! print, so both are shown side by side: [`relabelled`] makes the second set of labels.
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::eval::bench::{Bench, relabelled};
//! let text = r#"[{"question": "How high?", "correct_answer": "2.5", "choices": ["2.5", "3"], "labels": [1, 0],
//!                 "solutions_splits": [["The final answer is (A)"], ["The final answer is (B)"]]}]"#;
//! let sets = parse("candidates.json".as_ref(), text.as_bytes()).unwrap();
//! let own = relabelled(&sets, Bench::named("mathvista").unwrap().rule.unwrap());
//! assert_eq!(own[0].labels, Some(vec![true, false]));
//! ```

use crate::answer::{AnswerSpec, Outcome, Rule};
use crate::data::candidates::CandidateSet;

/// A data set of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bench {
    /// Its name, as of `mmprm data import`.
    pub name: &'static str,
    /// Its own rule for comparing answers, where that needs no model.
    pub rule: Option<Rule>,
    /// Fields that its papers divide problems by.
    pub groups: &'static [&'static str],
    /// How its own evaluation compares answers, and where that is described.
    pub about: &'static str,
}

/// The data sets that are known.
pub static BENCHES: [Bench; 8] = [
    Bench {
        name: "mmk12",
        rule: None,
        groups: &[],
        about: "MM-K12 (ModalMinds/MM-EUREKA, eval/k12): mathematical equality, as the general rule",
    },
    Bench {
        name: "olympiadbench",
        rule: None,
        groups: &["subfield", "answer_type"],
        about: "OlympiadBench (OpenBMB/OlympiadBench, eval/auto_scoring_judge.py): equality within `precision`, as the general rule",
    },
    Bench {
        name: "mathvista",
        rule: Some(Rule::MathVista),
        groups: &["metadata.task", "question_type"],
        about: "MathVista (lupantech/MathVista, evaluation/calculate_score.py): the most similar choice, or the rounded number",
    },
    Bench {
        name: "mathverse",
        rule: None,
        groups: &["problem_version", "metadata.subject"],
        about: "MathVerse (ZrrSkywalker/MathVerse, evaluation/score_answer_s2.py): a judge model, so that only the general rule is shown",
    },
    Bench {
        name: "mathvision",
        rule: Some(Rule::MathVision),
        groups: &["subject", "level"],
        about: "MATH-Vision (mathllm/MATH-V, evaluation/evaluate.py): the option's letter or value, to two decimals",
    },
    Bench {
        name: "math500",
        rule: None,
        groups: &["subject", "level"],
        about: "MATH-500 (openai/prm800k, prm800k/grading/grader.py): mathematical equality, as the general rule",
    },
    Bench {
        name: "gsm8k",
        rule: None,
        groups: &[],
        about: "GSM8K (openai/grade-school-math): the number after ####, as the general rule",
    },
    Bench { name: "other", rule: None, groups: &[], about: "any other problem file: the general rule" },
];

impl Bench {
    /// The data set of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        BENCHES.iter().find(|bench| bench.name == name)
    }
}

/// The same candidates with labels by `rule` in place of their own. Records without labels, whose answer is not known or not needed,
/// keep none.
pub fn relabelled(sets: &[CandidateSet], rule: Rule) -> Vec<CandidateSet> {
    sets.iter().map(|set| CandidateSet { labels: labels(set, rule), ..set.clone() }).collect()
}

fn labels(set: &CandidateSet, rule: Rule) -> Option<Vec<bool>> {
    set.labels.as_ref()?;
    let gold = set.answer()?;
    let spec = AnswerSpec::from_record(&set.record);
    let is_right = |steps: &Vec<String>| {
        let answer = steps.last().map_or("", String::as_str);
        rule.compare(gold, answer, &spec).outcome == Outcome::Equal
    };
    Some(set.solutions.iter().map(is_right).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;
    use crate::data::import::sets::SETS;

    #[test]
    fn benchmarks_are_sets_of_problems_that_can_be_imported() {
        for bench in BENCHES.iter().filter(|bench| bench.name != "other") {
            let set = SETS.iter().find(|set| set.name == bench.name);
            assert!(set.is_some_and(|set| !set.has_steps), "{}", bench.name);
        }
    }

    #[test]
    fn labels_follow_the_rule_and_failed_records_keep_none() {
        let text = r#"[
            {"question": "q", "answer": "2.504", "solutions_splits": [["Answer: 2.50"], ["Answer: 2.6"], []], "labels": [0, 0, 0]},
            {"question": "q", "solutions_splits": [["Answer: 2"]], "labels": [1]},
            {"question": "q", "answer": "2", "solutions_splits": [["Answer: 2"]]}]"#;
        let sets = parse("c.json".as_ref(), text.as_bytes()).unwrap();
        let labels: Vec<_> = relabelled(&sets, Rule::MathVision).into_iter().map(|set| set.labels).collect();
        assert_eq!(labels, [Some(vec![true, false, false]), None, None]);
    }
}
