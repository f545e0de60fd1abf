//! In deterministic mode a request always gets the same tokens; without it, the same streams do
//! when the request runs alone.

use mmprm::engine::{EngineOptions, Sampling};

use super::{LOOSE, STEADY, TEXTS, engine, generate, half_model, model, prompt, request, start};

fn deterministic() -> EngineOptions {
    EngineOptions { context: Some(4096), deterministic: true, ..EngineOptions::default() }
}

#[test]
fn deterministic_results_do_not_depend_on_threads_or_width() {
    for model in [model(), half_model()] {
        // Few tokens, since on a busy machine two threads mostly wait for each other.
        let run = |threads, parallel| {
            let engine =
                start(&model, EngineOptions { threads: Some(threads), parallel: Some(parallel), ..deterministic() });
            [TEXTS[1], TEXTS[5]].map(|text| generate(&engine, text, LOOSE, 18, 4))
        };
        let expected = run(1, 16);
        for (threads, parallel) in [(2, 16), (1, 1), (1, 8)] {
            assert!(run(threads, parallel) == expected, "{threads} threads, {parallel} in parallel");
        }
    }
}

#[test]
fn deterministic_results_do_not_depend_on_earlier_requests() {
    for model in [model(), half_model()] {
        let texts = &TEXTS[..4];
        let alone: Vec<_> =
            texts.iter().map(|text| generate(&start(&model, deterministic()), text, LOOSE, 18, 20)).collect();
        let engine = start(&model, deterministic());
        for round in 0..2 {
            for (text, alone) in texts.iter().zip(&alone).rev() {
                // Longer and shorter prompts with the same prefix, and rollouts of other lengths,
                // change what is cached.
                generate(&engine, &format!("{text} and {}", "on and ".repeat(30)), STEADY, 3, 10 + round);
                assert!(generate(&engine, text, LOOSE, 18, 20) == *alone, "{text} after its continuation");
                generate(&engine, &text[..text.len() / 2], LOOSE, 33, 5);
                assert!(generate(&engine, text, LOOSE, 18, 20) == *alone, "{text} after its prefix");
            }
        }
    }
}

#[test]
fn deterministic_results_do_not_depend_on_concurrent_requests() {
    let alone = TEXTS.map(|text| generate(&engine(4096, true), text, LOOSE, 8, 40));
    let shared = engine(4096, true);
    std::thread::scope(|scope| {
        for offset in 0..4 {
            let (shared, alone) = (&shared, &alone);
            scope.spawn(move || {
                for index in (0..TEXTS.len()).map(|index| (index + offset * 2) % TEXTS.len()) {
                    assert!(generate(shared, TEXTS[index], LOOSE, 8, 40) == alone[index], "{}", TEXTS[index]);
                }
            });
        }
    });
}

#[test]
fn deterministic_results_survive_a_cancelled_request_and_a_probe() {
    let engine = engine(4096, true);
    let expected = generate(&engine, TEXTS[1], LOOSE, 18, 40);
    let cancelled = request(prompt(TEXTS[5]), LOOSE, 18, 40);
    cancelled.cancel.cancel();
    assert!(engine.generate(cancelled).is_err());
    assert!(generate(&engine, TEXTS[1], LOOSE, 18, 40) == expected);
    engine.probe(vec![prompt(TEXTS[1]), prompt(TEXTS[2])], 5, &[6]).unwrap();
    assert!(generate(&engine, TEXTS[1], LOOSE, 18, 40) == expected);
}

#[test]
fn rollouts_of_a_request_differ_and_the_same_streams_give_the_same_rollouts() {
    let [one, other] = [(); 2].map(|()| generate(&engine(4096, false), TEXTS[0], LOOSE, 16, 60));
    assert!(one == other);
    let mut distinct = one.clone();
    distinct.sort_by(|a, b| a.tokens.cmp(&b.tokens));
    distinct.dedup();
    assert!(distinct.len() > 12, "{} of 16 rollouts differ", distinct.len());
    let greedy = generate(&engine(4096, false), TEXTS[0], Sampling::GREEDY, 16, 60);
    assert!(greedy.iter().all(|completion| *completion == greedy[0]));
}
