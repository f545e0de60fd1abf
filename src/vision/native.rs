//! `InternViT` and its projector on this crate's own kernels, for machines without a GPU.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue};

use super::encoder::fingerprint;
use super::{VisionEncoder, VisionError};
use crate::image::{self, Tile};
use crate::internvl::{self, ComputeOptions, MmprojError, Parameters, Store, UnsupportedTower, read_mmproj};
use crate::nn::gemm::{Kernel, Precision};
use crate::util::machine;

/// Tokens per forward pass: small tiles run together up to this number, so that weights are packed
/// once for all of them. More than one large tile would cost memory and gain nothing.
const MAX_TOKENS: usize = 1536;

/// How to run a [`NativeEncoder`].
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeOptions {
    /// Compute threads; `None` uses one per core.
    pub threads: Option<u32>,
    /// Precision of the operands of matrix products. `None` uses the fastest one whose error is
    /// small compared with the rounding of the weights: exact for f32 weights, split for 16-bit
    /// weights, bf16 if there are quantised ones.
    pub precision: Option<Precision>,
}

/// `InternViT` and its projector with the exact GELU, on the CPU.
///
/// Quantised weights stay packed in the memory-mapped file and are unpacked when they are read. One
/// call runs at a time, on the encoder's own threads.
#[derive(Debug)]
pub struct NativeEncoder {
    file: Arc<GgufFile>,
    model: internvl::Model,
    parameters: Parameters,
    settings: ComputeOptions,
    mean: [f32; 3],
    deviation: [f32; 3],
    threads: rayon::ThreadPool,
    turn: Mutex<()>,
}

impl NativeEncoder {
    /// Loads an `mmproj` file.
    ///
    /// # Errors
    /// [`VisionError`] for an invalid file, a tower of another kind, or if threads cannot be
    /// started.
    pub fn load(path: &Path, options: NativeOptions) -> Result<Self, VisionError> {
        let file = Arc::new(GgufFile::open(path).map_err(MmprojError::from)?);
        let parameters = read_mmproj(&file)?;
        let precision = options.precision.unwrap_or_else(|| usual_precision(&parameters));
        let settings = ComputeOptions { precision, checkpointing: false };
        let threads = own_threads(options.threads)?;
        tracing::info!(
            "loaded {}: vision projector, native encoder, {} MiB of weights, {} threads",
            path.display(),
            file.file_size() >> 20,
            threads.current_num_threads(),
        );
        Ok(Self {
            model: internvl::Model::new(parameters.layout()),
            mean: channels(&file, "clip.vision.image_mean", |_| true)?,
            deviation: channels(&file, "clip.vision.image_std", |value| value > 0.0)?,
            file,
            parameters,
            settings,
            threads,
            turn: Mutex::new(()),
        })
    }

    fn config(&self) -> &internvl::Config {
        self.model.layout().config()
    }

    fn tower(&self) -> &internvl::VisionConfig {
        self.config().vision.as_ref().expect("an mmproj file has a tower")
    }
}

/// See [`NativeOptions::precision`].
fn usual_precision(parameters: &Parameters) -> Precision {
    let stores = || (0..parameters.layout().tensors().len()).map(|number| parameters.store(number));
    if stores().any(|store| matches!(store, Store::Rows(_))) {
        Precision::Bf16
    } else if stores().all(|store| matches!(store, Store::F32(_))) {
        Precision::Exact
    } else {
        Precision::SplitBf16
    }
}

/// Starts the encoder's own threads. On shared ones, a thread that waits for a product could take
/// up its caller's work.
fn own_threads(requested: Option<u32>) -> Result<rayon::ThreadPool, VisionError> {
    let count = requested.map_or_else(machine::cores, |count| count as usize);
    let name = |thread| format!("vision-{thread}");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build();
    pool.map_err(|error| VisionError::Threads(Arc::new(error)))
}

/// Reads one value per colour channel; `fits` checks each.
fn channels(file: &GgufFile, key: &str, fits: impl Fn(f32) -> bool) -> Result<[f32; 3], MmprojError> {
    let values = match file.get(key) {
        Some(GgufValue::Array(GgufArray::F32(values))) => values.first_chunk().copied(),
        _ => None,
    };
    values.filter(|values| values.iter().all(|value| value.is_finite() && fits(*value))).ok_or_else(|| {
        MmprojError::Unsupported {
            path: file.path().to_owned(),
            source: UnsupportedTower::Key {
                key: key.to_owned(),
                expected: "three numbers to normalise pixel values with",
            },
        }
    })
}

impl VisionEncoder for NativeEncoder {
    fn tile_size(&self) -> usize {
        self.tower().image
    }

    fn tokens_per_tile(&self) -> usize {
        self.config().tokens_per_tile()
    }

    fn width(&self) -> usize {
        self.config().language.hidden
    }

    fn encode(&self, tiles: &[Tile]) -> Result<Vec<f32>, VisionError> {
        let expected = self.tile_size();
        let wrong = |tile: &&Tile| tile.size != expected || tile.rgb.len() != 3 * expected * expected;
        if let Some(tile) = tiles.iter().find(wrong) {
            return Err(VisionError::Tile { found: tile.size, expected });
        }
        let tiles_per_pass = (MAX_TOKENS / self.tower().tokens()).max(1);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.threads.install(|| {
            let mut values = Vec::with_capacity(tiles.len() * self.tokens_per_tile() * self.width());
            for tiles in tiles.chunks(tiles_per_pass) {
                let pixels = tiles.iter().flat_map(|tile| image::normalise(tile, self.mean, self.deviation));
                let pixels: Vec<f32> = pixels.collect();
                let embeddings = self.model.vision_embeddings(&self.parameters, &pixels, self.settings);
                values.extend(embeddings.expect("whole tiles, as checked above"));
            }
            values
        }))
    }

    fn fingerprint(&self) -> [u8; 32] {
        let kernel = Kernel::ALL.into_iter().find(|kernel| kernel.is_available()).map_or("none", Kernel::name);
        fingerprint(&self.file, &format!("native {kernel} {}", self.settings.precision.name()))
    }
}
