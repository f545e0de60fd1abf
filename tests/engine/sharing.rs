//! Batched execution: concurrent callers get their own rollouts, and common prefixes are decoded
//! once.

use std::sync::Barrier;

use mmprm::engine::{Completion, Finish, Sampling};

use super::{LOOSE, STEADY, TEXTS, engine, filler, generate, guarded, prompt, request};

#[test]
fn concurrent_callers_each_get_their_own_rollouts() {
    let parameters = |caller: usize, turn: usize| {
        let text = TEXTS[(caller * 3 + turn) % TEXTS.len()];
        (text, 1 + (caller + turn * 5) as u64 % 7, [1, 17, 90][(caller + turn) % 3])
    };
    let alone: Vec<Vec<Vec<Completion>>> = (0..8)
        .map(|caller| {
            let engine = engine(4096, false);
            (0..4)
                .map(|turn| parameters(caller, turn))
                .map(|(text, n, max_tokens)| generate(&engine, text, STEADY, n, max_tokens))
                .collect()
        })
        .collect();
    let shared = engine(4096, false);
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (shared, alone) = (&shared, &alone);
            scope.spawn(move || {
                for (turn, alone) in alone[caller].iter().enumerate() {
                    let (text, count, max_tokens) = parameters(caller, turn);
                    let completions = generate(shared, text, STEADY, count, max_tokens);
                    assert_eq!(completions.len() as u64, count);
                    assert!(completions == *alone, "{text}: {count} rollouts of {max_tokens}");
                }
            });
        }
    });
}

#[test]
fn every_rollout_is_counted_once() {
    for deterministic in [false, true] {
        let engine = engine(4096, deterministic);
        let completions: Vec<Completion> =
            TEXTS.iter().flat_map(|text| generate(&engine, text, LOOSE, 20, 30)).collect();
        let stats = engine.stats();
        let drawn = completions
            .iter()
            .map(|completion| completion.tokens.len() + usize::from(completion.finish == Finish::Stop));
        assert_eq!(stats.generated, drawn.sum::<usize>() as u64);
        assert_eq!(stats.finished, 20 * TEXTS.len() as u64);
        assert_eq!(stats.requested, TEXTS.iter().map(|text| 20 * prompt(text).len() as u64).sum::<u64>());
        assert!(stats.processed >= stats.unique);
    }
}

#[test]
fn a_repeated_prompt_decodes_one_position() {
    let engine = engine(4096, false);
    let processed = |count| {
        let before = engine.stats().processed;
        engine.generate(request(filler(1, 300), STEADY, count, 4)).unwrap();
        engine.stats().processed - before
    };
    assert_eq!((processed(1), processed(1), processed(20)), (300, 1, 1));
    assert_eq!(engine.stats().unique, 300);
}

#[test]
fn prompts_with_a_cached_prefix_decode_only_the_rest() {
    let engine = engine(4096, false);
    let long = filler(1, 300);
    let mut tokens: Vec<i32> = long.text_tokens().take(200).collect();
    tokens.extend([5; 30]);
    let branch = super::of_tokens(tokens);
    let expected = super::engine(4096, false).generate(request(branch.clone(), STEADY, 2, 40)).unwrap();
    engine.generate(request(long, STEADY, 1, 4)).unwrap();
    assert_eq!(engine.generate(request(branch, STEADY, 2, 40)).unwrap(), expected);
    assert_eq!(engine.stats().processed, 330);
    // A prefix of a kept prompt is cached too.
    engine.generate(request(filler(1, 150), STEADY, 2, 4)).unwrap();
    assert_eq!(engine.stats().processed, 331);
}

#[test]
fn concurrent_prompts_decode_their_common_prefix_once() {
    let engine = engine(4096, false);
    let barrier = Barrier::new(9);
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (engine, barrier) = (&engine, &barrier);
            let start = filler(1, 600).text_tokens().chain([5 + caller % 4; 10]).collect();
            let request = request(super::of_tokens(start), STEADY, 4, 10);
            scope.spawn(move || {
                barrier.wait();
                engine.generate(request).unwrap();
            });
        }
        // Keeps the engine busy while they arrive.
        let busy = scope.spawn(|| engine.generate(request(filler(2, 30), LOOSE, 8, 100)).unwrap());
        barrier.wait();
        busy.join().unwrap();
    });
    // Each of the four prompts comes twice, and the second time its last position is decoded again.
    let stats = engine.stats();
    assert_eq!((stats.processed, stats.unique), (30 + 600 + 4 * 11, 30 + 600 + 4 * 10));
}

#[test]
fn a_prompt_that_continues_a_kept_rollout_decodes_one_position() {
    let engine = engine(4096, false);
    let mut first = request(filler(1, 100), LOOSE, 4, 60);
    first.keep_rollouts = true;
    let rollouts = engine.generate(first).unwrap();
    let processed = engine.stats().processed;
    let mut continued = 0;
    for rollout in rollouts.iter().filter(|rollout| rollout.tokens.len() > 12) {
        for length in [10, 5, rollout.tokens.len() - 1] {
            let tokens = filler(1, 100).text_tokens().chain(rollout.tokens[..length].iter().copied()).collect();
            engine.generate(request(super::of_tokens(tokens), STEADY, 2, 5)).unwrap();
            continued += 1;
        }
    }
    assert!(continued >= 6);
    assert_eq!(engine.stats().processed - processed, continued);
}

#[test]
fn a_prompt_without_keep_is_not_cached() {
    let engine = engine(4096, false);
    let mut uncached = request(filler(1, 100), STEADY, 3, 4);
    uncached.keep = false;
    engine.generate(uncached.clone()).unwrap();
    engine.generate(uncached).unwrap();
    assert_eq!(engine.stats().processed, 200);
}

#[test]
fn the_least_recently_used_prefixes_are_evicted() {
    guarded(|| {
        let engine = engine(1024, false);
        // Fifty prompts of 100 positions fill the context five times; the newest is cached, the
        // oldest is not.
        for first in 0..50 {
            engine.generate(request(filler(first, 100), Sampling::GREEDY, 2, 3)).unwrap();
        }
        assert_eq!(engine.stats().processed, 5000);
        engine.generate(request(filler(49, 100), Sampling::GREEDY, 2, 3)).unwrap();
        assert_eq!(engine.stats().processed, 5001);
        engine.generate(request(filler(0, 100), Sampling::GREEDY, 2, 3)).unwrap();
        assert_eq!(engine.stats().processed, 5101);
        // More short prompts than sequence ids.
        for first in 0..40 {
            engine.generate(request(filler(100 + first, 3), Sampling::GREEDY, 2, 3)).unwrap();
        }
        assert_eq!(engine.stats().processed, 5221);
    });
}
