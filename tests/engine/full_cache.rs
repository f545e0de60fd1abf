//! A cache with far too few cells costs time but does not change results.

use std::sync::Barrier;

use mmprm::engine::{Completion, EngineError, Finish, Sampling};

use super::{LOOSE, STEADY, TEXTS, engine, filler, generate, guarded, prompt, request};

#[test]
fn rollouts_that_do_not_fit_together_equal_those_of_a_larger_context() {
    for deterministic in [false, true] {
        for sampling in [STEADY, LOOSE] {
            let large = generate(&engine(8192, deterministic), TEXTS[0], sampling, 16, 160);
            assert!(large.iter().map(|completion| completion.tokens.len()).sum::<usize>() > 4 * 256);
            let tight = guarded(move || generate(&engine(256, deterministic), TEXTS[0], sampling, 16, 160));
            assert!(tight == large, "deterministic: {deterministic}, {sampling:?}");
        }
    }
}

#[test]
fn requests_that_do_not_fit_together_all_finish_with_their_own_rollouts() {
    let prompts: Vec<_> = (0..6).map(|first| filler(first, 60 + 20 * first as usize)).collect();
    for deterministic in [false, true] {
        let large: Vec<Vec<Completion>> = prompts
            .iter()
            .map(|prompt| engine(4096, deterministic).generate(request(prompt.clone(), STEADY, 5, 90)).unwrap())
            .collect();
        let prompts = prompts.clone();
        let tight = guarded(move || {
            let (engine, barrier) = (engine(256, deterministic), Barrier::new(prompts.len()));
            std::thread::scope(|scope| {
                let callers: Vec<_> = prompts
                    .iter()
                    .map(|prompt| {
                        scope.spawn(|| {
                            barrier.wait();
                            engine.generate(request(prompt.clone(), STEADY, 5, 90)).unwrap()
                        })
                    })
                    .collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
            })
        });
        for (index, (tight, large)) in tight.iter().zip(&large).enumerate() {
            assert!(tight == large, "request {index}, deterministic: {deterministic}");
        }
    }
}

#[test]
fn a_rollout_is_not_cut_short_by_the_prompts_of_others() {
    // Two prompts take most of the context, so the last running rollout of one needs the cells of
    // the other.
    let large = [1, 2].map(|first| engine(4096, false).generate(request(filler(first, 100), LOOSE, 6, 140)).unwrap());
    assert!(large.iter().flatten().any(|completion| completion.tokens.len() > 100));
    let tight = guarded(|| {
        let (engine, barrier) = (engine(256, false), Barrier::new(2));
        std::thread::scope(|scope| {
            let (engine, barrier) = (&engine, &barrier);
            let callers = [1, 2].map(|first| {
                scope.spawn(move || {
                    barrier.wait();
                    engine.generate(request(filler(first, 100), LOOSE, 6, 140)).unwrap()
                })
            });
            callers.map(|caller| caller.join().unwrap())
        })
    });
    assert!(tight == large);
}

#[test]
fn a_rollout_that_fills_the_context_ends_by_length() {
    // The last token needs no cell.
    let max_tokens = 256 - prompt(TEXTS[0]).len() + 1;
    for deterministic in [false, true] {
        let mut expected = generate(&engine(4096, deterministic), TEXTS[0], Sampling::default(), 16, 400);
        assert!(expected.iter().any(|completion| completion.tokens.len() > max_tokens));
        for completion in &mut expected {
            if completion.tokens.len() >= max_tokens {
                completion.tokens.truncate(max_tokens);
                completion.finish = Finish::Length;
            }
        }
        let tight = guarded(move || generate(&engine(256, deterministic), TEXTS[0], Sampling::default(), 16, 400));
        assert!(tight == expected, "deterministic: {deterministic}");
    }
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_and_others_continue() {
    for deterministic in [false, true] {
        let engine = engine(256, deterministic);
        let expected = generate(&engine, TEXTS[0], STEADY, 2, 20);
        for length in [256, 257, 3000] {
            let error = engine.generate(request(filler(1, length), STEADY, 2, 20)).unwrap_err();
            assert!(matches!(error, EngineError::Limit(_)), "{error}");
        }
        let completions = engine.generate(request(filler(1, 254), STEADY, 2, 20)).unwrap();
        assert_eq!(completions.len(), 2);
        assert!(generate(&engine, TEXTS[0], STEADY, 2, 20) == expected);
    }
}
