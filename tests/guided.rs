//! Guided search on the demo's problems, with the truth as the reward model: what steering can gain.

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use mmprm::data::problem::Problems;
use mmprm::data::solution::Continue;
use mmprm::engine::{Engine, EngineOptions, Model, ModelOptions, Sampling};
use mmprm::judge::{RuleVerifier, Verdict, Verifier};
use mmprm::policy::{GenerationOptions, LocalPolicy};
use mmprm::prm::{PrmError, ScoreRequest, StepScorer};
use mmprm::search::guided::{GuidedParams, Method, guided};
use mmprm::util::cancel::CancelToken;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use serde_json::Value;
use support::repository;

/// Problems with bar charts that are searched, whose steps the test can check. `MMPRM_GUIDED_PROBLEMS` asks for more: a measurement.
fn problem_count() -> usize {
    std::env::var("MMPRM_GUIDED_PROBLEMS").map_or(10, |count| count.parse().expect("a number of problems"))
}

fn test_folder() -> PathBuf {
    repository().join("demo/mini-k12/test")
}

/// Knows what a bar chart shows and what is asked: which steps of a solution are right.
struct Truth {
    /// The values that count, which are those of two bars where these are compared.
    values: BTreeSet<i64>,
    /// Names of bars that may not be in a step.
    others: Vec<String>,
    answer: i64,
}

fn numbers(text: &str) -> impl Iterator<Item = i64> + '_ {
    text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}

impl Truth {
    fn new(record: &Value) -> Self {
        let params = &record["params"];
        let names = params["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        let values = params["values"].as_array().unwrap().iter().map(|value| value.as_i64().unwrap());
        let compared: Vec<&str> = ["x", "y"].iter().filter_map(|bar| params[*bar].as_str()).collect();
        let (asked, others): (Vec<_>, Vec<_>) =
            names.zip(values).partition(|(name, _)| compared.is_empty() || compared.contains(&name.as_str()));
        Self {
            values: asked.into_iter().map(|(_, value)| value).collect(),
            others: others.into_iter().map(|(name, _)| name).collect(),
            answer: record["correct_answer"].as_str().unwrap().parse().unwrap(),
        }
    }

    /// For each step whether it is right; nothing after a wrong one is.
    fn of(&self, steps: &[String]) -> Vec<bool> {
        let (mut known, mut is_right) = (self.values.clone(), true);
        let judge = |step: &String| {
            let results = sums(step).map(|(is_true, result)| is_true.then_some(result)).collect::<Option<Vec<i64>>>();
            known.extend(results.iter().flatten());
            let is_asked = !words(step).any(|word| self.others.iter().any(|other| other == word));
            let extremes = [self.values.last(), self.values.first()].map(|value| *value.unwrap());
            let is_extreme = !step.contains("tallest") || numbers(step).eq(extremes);
            let is_answer = !step.starts_with("Answer") || numbers(step).eq([self.answer]);
            is_right &= results.is_some() && is_asked && is_extreme && is_answer;
            is_right &= numbers(step).all(|number| known.contains(&number));
            is_right
        };
        steps.iter().map(judge).collect()
    }
}

fn words(step: &str) -> impl Iterator<Item = &str> {
    step.split_whitespace().map(|word| word.trim_matches(['.', ',']))
}

/// The sums of a step, `a + b = c` and the like: whether each is true, and its result.
fn sums(step: &str) -> impl Iterator<Item = (bool, i64)> {
    let words: Vec<&str> = words(step).collect();
    let sum = |window: &[&str]| {
        let [a, b, c] = [window[0].parse().ok()?, window[2].parse().ok()?, window[4].parse::<i64>().ok()?];
        let value = match window[1] {
            "+" => a + b,
            "-" => a - b,
            _ => return None,
        };
        (window[3] == "=").then_some((value == c, c))
    };
    words.windows(5).filter_map(sum).collect::<Vec<_>>().into_iter()
}

impl StepScorer for Truth {
    fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        let score = |is_right: bool| if is_right { 1.0 } else { 0.01 };
        Ok(request.solutions.iter().map(|steps| self.of(steps).into_iter().map(score).collect()).collect())
    }
}

fn policy() -> LocalPolicy {
    let models = repository().join("demo/models");
    let model = Arc::new(Model::load(&models.join("policy-q8_0.gguf"), ModelOptions::default()).unwrap());
    let projector = models.join("mmproj-policy-f16.gguf");
    let encoder = PromptEncoder::load(Arc::clone(&model), Some(&projector), PromptEncoderOptions::default()).unwrap();
    let engine = Engine::start(&model, EngineOptions { deterministic: true, ..EngineOptions::default() }).unwrap();
    let options = GenerationOptions {
        sampling: Sampling { repetition_penalty: 1.0, ..Sampling::default() },
        max_tokens: 200,
        seed: 1,
        data_root: test_folder(),
        continues: Continue::Assistant,
        ..GenerationOptions::default()
    };
    LocalPolicy::new(engine, encoder, options).unwrap().keep_prompts(true)
}

/// The problems whose best candidate is right, of how many, and the tokens drawn.
fn measure(method: Method, candidates: usize) -> (usize, usize, u64) {
    let problems = Problems::load(&test_folder().join("test.json"), None).unwrap().items;
    let truth: Vec<Value> =
        serde_json::from_slice(&std::fs::read(test_folder().join("test.truth.json")).unwrap()).unwrap();
    let (policy, params) = (policy(), GuidedParams { method, candidates, width: 4, ..GuidedParams::default() });
    let bars = problems.iter().zip(&truth).filter(|(_, truth)| truth["family"] == "bar").take(problem_count());
    let (mut right, mut all) = (0, 0);
    for (problem, truth) in bars {
        assert_eq!(truth["id"].as_str(), Some(problem.id.as_str()));
        let found = guided(problem, &params, &policy, &Truth::new(truth), &CancelToken::new()).unwrap();
        let answer = found.solutions[0].last().map_or("", String::as_str);
        let is_right = RuleVerifier.verify(problem, answer).unwrap() == Verdict::Correct;
        let has_right_steps = found.scores[0].iter().all(|score| *score > 0.5);
        assert!(is_right || !has_right_steps, "{}: {:?}", problem.id, found.solutions[0]);
        right += usize::from(is_right);
        all += 1;
    }
    (right, all, policy.stats().generated)
}

#[test]
fn with_the_truth_as_reward_model_most_problems_are_solved_at_the_tokens_of_best_of_n() {
    // Solutions that are led to their end are longer than those that end early in error: one more candidate makes up for it.
    let (whole, all, whole_tokens) = measure(Method::BestOfN, 17);
    let (beam, _, beam_tokens) = measure(Method::Beam, 16);
    println!(
        "{all} problems; Best-of-17: {whole} right, {whole_tokens} tokens; beam 4x4: {beam} right, {beam_tokens} tokens"
    );
    assert!(beam_tokens <= whole_tokens, "{beam_tokens} tokens of beam search, {whole_tokens} of Best-of-17");
    // One candidate alone solves half of them.
    assert!(5 * beam >= 4 * all && 5 * whole >= 4 * all, "beam {beam}, Best-of-17 {whole} of {all}");
}
