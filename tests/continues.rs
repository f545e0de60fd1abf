//! With the steps in the assistant's turn, a rollout from a node continues its parent's tokens.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use mmprm::data::problem::Problems;
use mmprm::data::solution::Continue;
use mmprm::engine::{Engine, EngineOptions, Sampling};
use mmprm::policy::{Detail, GenerationOptions, LocalPolicy, RolloutModel, RolloutRequest};
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::WeightType;
use support::{convert, load, repository};

fn data() -> PathBuf {
    std::env::var_os("MMPRM_MINI_K12").map_or_else(|| repository().join("demo/mini-k12"), PathBuf::from)
}

/// The mini policy, decoding greedily.
fn policy(pair: &support::Pair, data_root: PathBuf, continues: Continue) -> LocalPolicy {
    let model = load(pair);
    let encoder = PromptEncoder::load(Arc::clone(&model), Some(&pair.mmproj), PromptEncoderOptions::default()).unwrap();
    let engine = Engine::start(&model, EngineOptions { deterministic: true, ..EngineOptions::default() }).unwrap();
    let options = GenerationOptions {
        // The penalty depends on all earlier tokens, so it would reveal steps in another place.
        sampling: Sampling { repetition_penalty: 1.05, ..Sampling::GREEDY },
        max_tokens: 400,
        seed: 1,
        data_root,
        continues,
        ..GenerationOptions::default()
    };
    LocalPolicy::new(engine, encoder, options).unwrap().keep_prompts(true)
}

#[test]
fn a_rollout_from_a_node_continues_as_the_rollout_that_led_there() {
    let test = data().join("test");
    let problems = Problems::load(&test.join("test.json"), None).unwrap();
    let pair = convert(&repository().join("demo/checkpoints/mini-mm-policy"), WeightType::F32);
    let assistant = policy(&pair, test.clone(), Continue::Assistant);
    let mut continued = 0;
    for problem in problems.items.iter().step_by(40) {
        let request = RolloutRequest { detail: Detail::Tokens, ..RolloutRequest::new(problem, &[], 1, 0) };
        let root = assistant.rollouts(&request).unwrap().remove(0);
        let tokens = root.step_tokens.unwrap();
        assert_eq!(tokens.len(), root.rollout.len(), "{}", problem.id);
        let prefilled = assistant.stats().requested;
        for steps in 1..root.rollout.len() {
            let (prefix, rest) = root.rollout.split_at(steps);
            for step_tokens in [&tokens[..steps], &[]] {
                let request = RolloutRequest { step_tokens, ..RolloutRequest::new(problem, prefix, 1, 1) };
                assert_eq!(
                    assistant.rollouts(&request).unwrap()[0].rollout,
                    rest,
                    "{} after {steps} steps",
                    problem.id
                );
            }
            continued += 1;
        }
        assert!(assistant.stats().requested > prefilled);
    }
    assert!(continued > 5, "{continued} nodes");

    // With the steps in the user's turn, no tokens are kept.
    let user = policy(&pair, test, Continue::User);
    let request = RolloutRequest { detail: Detail::Tokens, ..RolloutRequest::new(&problems.items[0], &[], 1, 0) };
    let sampled = user.rollouts(&request).unwrap().remove(0);
    assert!(sampled.step_tokens.is_none() && !sampled.rollout.is_empty());
}

#[test]
fn rollouts_of_one_step_make_the_whole_rollout_and_draw_no_more_tokens() {
    let test = data().join("test");
    let problems = Problems::load(&test.join("test.json"), None).unwrap();
    let pair = convert(&repository().join("demo/checkpoints/mini-mm-policy"), WeightType::F32);
    let assistant = policy(&pair, test, Continue::Assistant);
    for problem in problems.items.iter().step_by(100) {
        let before = assistant.stats().generated;
        let whole = assistant.rollouts(&RolloutRequest::new(problem, &[], 1, 0)).unwrap().remove(0);
        assert!(!whole.unfinished, "a whole rollout is finished");
        let of_whole = assistant.stats().generated - before;
        let (mut steps, mut tokens, mut is_unfinished) = (Vec::new(), Vec::new(), true);
        while is_unfinished {
            let request = RolloutRequest {
                step_tokens: &tokens,
                detail: Detail::Tokens,
                one_step: true,
                ..RolloutRequest::new(problem, &steps, 1, steps.len() as u64)
            };
            let mut one = assistant.rollouts(&request).unwrap().remove(0);
            assert_eq!(one.rollout.len(), 1, "{}: one step", problem.id);
            steps.append(&mut one.rollout);
            tokens.append(&mut one.step_tokens.unwrap());
            is_unfinished = one.unfinished;
        }
        assert_eq!(steps, whole.rollout, "{}", problem.id);
        // The whole rollout also has the token that ends the turn.
        assert!(assistant.stats().generated - before - of_whole <= of_whole, "{}", problem.id);
    }
}
