//! Errors of engines that run at the same time keep their own causes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use mmprm::engine::{EngineError, Model, ModelOptions};
use mmprm_quant::gguf::{GgufFile, GgufValue, GgufWriter, TensorSpec};

use super::{LOOSE, TEXTS, engine, generate, model};

/// A copy of the mini policy with an architecture that is not let in.
fn foreign(folder: &std::path::Path, architecture: &str) -> PathBuf {
    let file = GgufFile::open(model().path()).unwrap();
    let mut metadata = file.metadata().clone();
    let key = metadata.iter_mut().find(|(key, _)| key == "general.architecture").unwrap();
    key.1 = GgufValue::String(architecture.to_owned());
    let path = folder.join(format!("{architecture}.gguf"));
    GgufWriter::create(&path, &metadata, &Vec::<TensorSpec>::new()).unwrap().finish().unwrap();
    path
}

#[test]
fn models_that_fail_to_load_at_once_beside_a_running_engine_get_their_own_causes() {
    let folder = tempfile::tempdir().unwrap();
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        // Every decode starts with an empty list of errors, of its own thread only.
        let decoding = scope.spawn(|| {
            let engine = engine(1024, false);
            while running.load(Ordering::Relaxed) {
                generate(&engine, TEXTS[0], LOOSE, 2, 30);
            }
        });
        let loading = ["alpha", "beta"].map(|architecture| {
            let path = foreign(folder.path(), architecture);
            scope.spawn(move || {
                for _ in 0..50 {
                    let options = ModelOptions { vocab_only: true, ..ModelOptions::default() };
                    let error = Model::load(&path, options).unwrap_err();
                    assert!(matches!(error, EngineError::Gguf { .. }), "{error}");
                    assert!(error.to_string().contains(&format!("'{architecture}', expected one of")), "{error}");
                }
            })
        });
        let results = loading.map(std::thread::ScopedJoinHandle::join);
        running.store(false, Ordering::Relaxed);
        decoding.join().unwrap();
        for result in results {
            result.unwrap();
        }
    });
}
