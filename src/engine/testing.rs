//! The model of the executors' unit tests: the mini policy in f32, where rounding has almost no
//! effect.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::no_progress;
use tempfile::TempDir;

use super::ffi::{Context, ContextOptions};
use super::{Chunk, Model, ModelOptions, Prompt, Token};

pub(super) fn model() -> Arc<Model> {
    static MODEL: OnceLock<(TempDir, Arc<Model>)> = OnceLock::new();
    let (_, model) = MODEL.get_or_init(|| {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/checkpoints/mini-mm-policy");
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(&checkpoint, folder.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
        let path = plan.files[0].path.clone();
        plan.write(&mut no_progress).unwrap();
        let model = Model::load(&path, ModelOptions { gpu_layers: Some(0), ..ModelOptions::default() }).unwrap();
        (folder, model)
    });
    Arc::clone(model)
}

pub(super) fn context(cells: u32, sequences: u32) -> Context {
    let options = ContextOptions {
        cells,
        batch: cells.min(512),
        sequences,
        max_outputs: sequences,
        threads: 1,
        adapts_threads: false,
        flash_attention: false,
        f32_cache: true,
    };
    Context::new(model(), options).unwrap()
}

pub(super) fn prompt(tokens: impl IntoIterator<Item = Token>) -> Prompt {
    Prompt::new([Chunk::Tokens(tokens.into_iter().collect())]).unwrap()
}
