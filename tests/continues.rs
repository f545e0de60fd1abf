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
    LocalPolicy::new(engine, encoder, options).keep_prompts(true)
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
