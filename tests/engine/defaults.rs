//! The defaults for a small model on a CPU: few rollouts at once, of whole requests.

use mmprm::engine::{Completion, EngineOptions, gpu_devices};

use super::{LOOSE, STEADY, TEXTS, generate, model, start};

#[test]
fn concurrent_requests_get_the_rollouts_of_a_wider_engine() {
    let default = EngineOptions { context: Some(4096), ..EngineOptions::default() };
    let (engine, wide) = (start(&model(), default), super::engine(4096, false));
    if gpu_devices().is_empty() {
        assert_eq!((engine.parallel(), wide.parallel()), (8, 16));
    }
    // Requests that fit beside others, and one that is wider than the batch.
    let counts = [1, 3, 20, 8, 2, 5, 1, 16];
    std::thread::scope(|scope| {
        for (text, count) in TEXTS.into_iter().zip(counts) {
            let (engine, wide) = (&engine, &wide);
            scope.spawn(move || {
                let steady: [Vec<Completion>; 2] =
                    [engine, wide].map(|engine| generate(engine, text, STEADY, count, 60));
                assert!(steady[0] == steady[1], "{text}");
                assert_eq!(generate(engine, text, LOOSE, count, 30).len() as u64, count);
            });
        }
    });
}
