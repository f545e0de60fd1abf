//! The ends of rollouts, and what an engine refuses.

use std::sync::Arc;

use mmprm::engine::{Chunk, Embeddings, Engine, EngineError, EngineOptions, Finish, Prompt, Sampling};

use super::{LOOSE, STEADY, TEXTS, engine, generate, model, of_tokens, prompt, request};

#[test]
fn a_rollout_has_at_most_max_tokens() {
    for deterministic in [false, true] {
        let engine = engine(1024, deterministic);
        for max_tokens in [0, 1, 2, 30] {
            for completion in generate(&engine, TEXTS[0], LOOSE, 5, max_tokens) {
                assert!(completion.tokens.len() <= max_tokens);
                assert_eq!(completion.finish == Finish::Length, completion.tokens.len() == max_tokens);
            }
        }
        assert_eq!(engine.generate(request(prompt(TEXTS[0]), LOOSE, 0, 10)).unwrap(), []);
    }
}

#[test]
fn a_stop_token_ends_a_rollout_and_is_not_returned() {
    for deterministic in [false, true] {
        let engine = engine(1024, deterministic);
        let whole = generate(&engine, TEXTS[0], STEADY, 1, 40).remove(0);
        let stop = whole.tokens[10];
        let first = whole.tokens.iter().position(|&token| token == stop).unwrap();
        let mut stopped = request(prompt(TEXTS[0]), STEADY, 3, 40);
        stopped.stop = vec![stop];
        for completion in engine.generate(stopped).unwrap() {
            assert_eq!(completion.tokens, whole.tokens[..first]);
            assert_eq!(completion.finish, Finish::Stop);
        }
        // The first token may be a stop token.
        let mut stopped = request(prompt(TEXTS[0]), STEADY, 3, 40);
        stopped.stop = vec![whole.tokens[0]];
        assert!(engine.generate(stopped).unwrap().iter().all(|completion| completion.tokens.is_empty()));
    }
}

#[test]
fn a_strong_penalty_prevents_repetitions() {
    let engine = engine(1024, false);
    let strong = Sampling { repetition_penalty: 1e6, ..Sampling::GREEDY };
    let tokens = &generate(&engine, TEXTS[0], strong, 1, 60)[0].tokens;
    let mut seen: Vec<i32> = prompt(TEXTS[0]).text_tokens().collect();
    for token in tokens {
        assert!(!seen.contains(token), "{token} was repeated");
        seen.push(*token);
    }
    let plain = &generate(&engine, TEXTS[0], Sampling::GREEDY, 1, 60)[0].tokens;
    assert!((1..plain.len()).any(|index| plain[..index].contains(&plain[index])));
}

#[test]
fn a_prompt_of_another_model_fails_alone() {
    for deterministic in [false, true] {
        let engine = engine(1024, deterministic);
        let wide = Arc::new(Embeddings { values: vec![0.0; 30], width: 3, digest: 1, grid: None });
        let foreign = [
            of_tokens(vec![1, 768]),
            of_tokens(vec![-1]),
            Prompt::new([Chunk::Image(wide), Chunk::Tokens(vec![1])]).unwrap(),
        ];
        let expected = generate(&engine, TEXTS[1], STEADY, 4, 100);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| generate(&engine, TEXTS[1], STEADY, 4, 100));
            for prompt in foreign {
                let error = engine.generate(request(prompt.clone(), LOOSE, 2, 10)).unwrap_err();
                assert!(matches!(error, EngineError::Prompt(_)), "{error}");
                let error = engine.probe(vec![prompt], 5, &[1]).unwrap_err();
                assert!(matches!(error, EngineError::Prompt(_)), "{error}");
            }
            assert!(running.join().unwrap() == expected);
        });
        assert!(engine.probe(vec![prompt(TEXTS[0])], 5, &[768]).is_err());
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let options = EngineOptions { context: Some(512), threads: Some(1), ..EngineOptions::default() };
    for invalid in [
        EngineOptions { parallel: Some(0), ..options },
        EngineOptions { parallel: Some(129), ..options },
        EngineOptions { threads: Some(0), ..options },
        EngineOptions { threads: Some(u32::MAX), ..options },
        EngineOptions { context: Some(1), ..options },
        EngineOptions { context: Some(u32::MAX), ..options },
    ] {
        let error = Engine::start(&model(), invalid).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Limit(_)), "{error}");
    }
    let widest = Engine::start(&model(), EngineOptions { parallel: Some(128), ..options }).unwrap();
    assert_eq!(generate(&widest, TEXTS[0], LOOSE, 200, 5).len(), 200);
    let rounded = Engine::start(&model(), EngineOptions { context: Some(300), ..options }).unwrap();
    assert_eq!(rounded.stats().cells, 512);
}
