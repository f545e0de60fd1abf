//! Cancelled requests end soon and do not affect others.

use std::sync::Arc;
use std::time::Duration;

use mmprm::engine::{EngineError, EngineOptions};
use mmprm::util::cancel::CancelToken;

use super::{LOOSE, STEADY, TEXTS, engine, filler, generate, guarded, model, prompt, request, start};

/// More rollouts than finish in any test.
const ENDLESS: u64 = 100_000;

#[test]
fn a_cancelled_request_ends_soon_and_others_get_their_rollouts() {
    for deterministic in [false, true] {
        let expected = generate(&engine(2048, deterministic), TEXTS[1], STEADY, 6, 200);
        guarded(move || {
            let engine = engine(2048, deterministic);
            let cancel = CancelToken::new();
            let mut cancelled = request(prompt(TEXTS[0]), LOOSE, ENDLESS, 600);
            cancelled.cancel = cancel.clone();
            std::thread::scope(|scope| {
                let cancelled = scope.spawn(|| (engine.generate(cancelled), engine.stats().generated));
                std::thread::sleep(Duration::from_millis(50));
                let other = scope.spawn(|| generate(&engine, TEXTS[1], STEADY, 6, 200));
                std::thread::sleep(Duration::from_millis(100));
                let requested = engine.stats().generated;
                cancel.cancel();
                let (result, ended) = cancelled.join().unwrap();
                assert!(matches!(result, Err(EngineError::Cancelled)));
                // What was drawn meanwhile are the other request's tokens and a few steps of both.
                assert!(ended - requested < 6 * 200 + 1000, "{} tokens were drawn", ended - requested);
                assert!(other.join().unwrap() == expected);
            });
            // It holds no cells: the next request has the whole context.
            let whole = engine.generate(request(filler(9, 2046), STEADY, 1, 2)).unwrap();
            assert_eq!(whole.len(), 1);
        });
    }
}

#[test]
fn cancelled_requests_in_the_queue_never_run() {
    guarded(|| {
        let engine =
            start(&model(), EngineOptions { context: Some(1024), parallel: Some(1), ..EngineOptions::default() });
        let cancel = CancelToken::new();
        let requests: Vec<_> = (0..10)
            .map(|first| {
                let mut request = request(filler(first, 50), LOOSE, ENDLESS, 600);
                request.cancel = cancel.clone();
                request
            })
            .collect();
        std::thread::scope(|scope| {
            let callers: Vec<_> =
                requests.into_iter().map(|request| scope.spawn(|| engine.generate(request))).collect();
            std::thread::sleep(Duration::from_millis(100));
            cancel.cancel();
            for caller in callers {
                assert!(matches!(caller.join().unwrap(), Err(EngineError::Cancelled)));
            }
        });
        assert!(engine.stats().processed <= 50, "only the first was admitted");
        assert_eq!(generate(&engine, TEXTS[0], STEADY, 3, 10).len(), 3);
    });
}

#[test]
fn cancelling_while_the_cache_is_full_leaves_it_usable() {
    guarded(|| {
        let engine = engine(256, false);
        let expected = generate(&engine, TEXTS[0], STEADY, 4, 60);
        for round in 0..5 {
            let cancel = CancelToken::new();
            std::thread::scope(|scope| {
                for first in 0..4 {
                    let mut cancelled = request(filler(first, 80), LOOSE, ENDLESS, 600);
                    cancelled.cancel = cancel.clone();
                    scope.spawn(|| assert!(engine.generate(cancelled).is_err()));
                }
                std::thread::sleep(Duration::from_millis(20 + 10 * round));
                cancel.cancel();
            });
            assert!(generate(&engine, TEXTS[0], STEADY, 4, 60) == expected);
        }
    });
}

#[test]
fn an_engine_dropped_by_its_last_caller_stops_cleanly() {
    guarded(|| {
        let engine = Arc::new(engine(1024, false));
        let callers: Vec<_> = (0..4)
            .map(|first| {
                let engine = Arc::clone(&engine);
                std::thread::spawn(move || {
                    engine.generate(request(filler(first, 40), STEADY, 4, 50)).map(|all| all.len())
                })
            })
            .collect();
        drop(engine);
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap(), 4);
        }
    });
}
