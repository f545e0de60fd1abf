//! The vision tower and projector of a GGUF pair, through llama.cpp's multimodal library.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use llama_cpp_sys_2 as sys;
use mmprm_quant::gguf::GgufFile;

use super::model::{c_string, gpu_devices};
use super::shim::{self, caught};
use super::{Model, creation_lock, log, path_to_c, start_backend};
use crate::engine::EngineError;
use crate::engine::memory::planning;

/// Encodes image tiles with llama.cpp's multimodal library.
///
/// Tiles have exactly the tower's input size, so that llama.cpp's own resizing and tiling, which
/// differ from `InternVL`'s, never apply. Tiles are encoded one at a time, so that embeddings do
/// not depend on other tiles.
#[derive(Debug)]
pub struct LlamaEncoder {
    context: Mutex<Pointer>,
    model: Arc<Model>,
    file: GgufFile,
    gpu: bool,
    size: usize,
    tokens: usize,
    threads: u32,
}

#[derive(Debug)]
struct Pointer(NonNull<sys::mtmd_context>);

// SAFETY: the context may be used from any one thread at a time; the mutex ensures that.
unsafe impl Send for Pointer {}

impl LlamaEncoder {
    /// Loads the mmproj file of `model`; `threads` as in
    /// [`EngineOptions`](crate::engine::EngineOptions).
    ///
    /// # Errors
    /// [`EngineError::Gguf`] for an invalid file, [`EngineError::Load`] or
    /// [`EngineError::NotAPair`] for one that llama.cpp or the model cannot use.
    pub fn load(path: &Path, model: &Arc<Model>, threads: Option<u32>, gpu: bool) -> Result<Self, EngineError> {
        start_backend()?;
        let refuse = |cause: String| EngineError::Load { path: path.to_owned(), cause };
        let file = GgufFile::open(path)?;
        mmprm_quant::check::vision(&file)?;
        if file.get_str("clip.projector_type")? != "internvl" {
            return Err(refuse("expected an InternVL vision projector (clip.projector_type = internvl)".into()));
        }
        if file.get("mmprm.vision.class_position").is_none() {
            tracing::warn!(
                "{}: written by another converter, whose position embeddings are one patch off in llama.cpp; image \
                 embeddings will differ from MM-PRM's (files of `mmprm convert` are correct)",
                path.display()
            );
        }
        let size = file.get_u32("clip.vision.image_size")? as usize;
        let patch = file.get_u32("clip.vision.patch_size")? as usize;
        let scale = file.get_u32("clip.vision.projector.scale_factor").unwrap_or(2) as usize;
        let width = file.get_u32("clip.vision.projection_dim")? as usize;
        if patch == 0 || scale == 0 || size == 0 || size > 4096 || !size.is_multiple_of(patch * scale) {
            return Err(refuse(format!("image size {size} is not a multiple of patch size {patch} × {scale}")));
        }
        model.check_projector(path, width)?;
        let threads = planning::threads(threads, file.file_size())?;
        let c_path = path_to_c(path)?;
        let lock = creation_lock();
        let errors = log::collect();
        // SAFETY: plain parameter values; the path is a valid C string for the call; the model
        // outlives the context.
        let pointer = caught(|cause| unsafe {
            let mut parameters = sys::mtmd_context_params_default();
            parameters.use_gpu = gpu;
            parameters.n_threads = threads as i32;
            parameters.print_timings = false;
            parameters.warmup = false;
            parameters.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            parameters.cb_eval = Some(make_gelu_exact);
            shim::mmprm_mtmd_init_from_file(c_path.as_ptr(), model.as_ptr(), parameters, cause)
        });
        drop(lock);
        let pointer =
            NonNull::new(pointer.map_err(refuse)?).ok_or_else(|| refuse(errors.error_or("llama.cpp gave no cause")))?;
        tracing::info!(
            "loaded {}: vision projector, llama.cpp's encoder, {} MiB of weights, {threads} threads",
            path.display(),
            file.file_size() >> 20,
        );
        Ok(Self {
            context: Mutex::new(Pointer(pointer)),
            model: Arc::clone(model),
            file,
            gpu: gpu && !gpu_devices().is_empty(),
            size,
            tokens: (size / patch / scale).pow(2),
            threads,
        })
    }

    /// Returns the side of a tile in pixels.
    pub fn tile_size(&self) -> usize {
        self.size
    }

    /// Returns the number of embeddings per tile.
    pub fn tokens_per_tile(&self) -> usize {
        self.tokens
    }

    /// Returns the width of an embedding, that of the language model.
    pub fn width(&self) -> usize {
        self.model.embedding_width()
    }

    /// Returns the projector's file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// Returns whether a GPU encodes.
    pub fn on_gpu(&self) -> bool {
        self.gpu
    }

    /// Returns the number of compute threads.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Returns the embeddings `[tokens_per_tile, embedding_width]` of one tile of `size × size` RGB
    /// pixels.
    ///
    /// # Errors
    /// [`EngineError::Vision`] if the tile has another size, or llama.cpp fails.
    pub fn encode(&self, tile: &[u8]) -> Result<Vec<f32>, EngineError> {
        let fail = |cause: String| EngineError::Vision { path: self.file.path().to_owned(), cause };
        if tile.len() != self.size * self.size * 3 {
            return Err(fail(format!("a tile of {} bytes, expected {}×{}×3", tile.len(), self.size, self.size)));
        }
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = log::collect();
        // SAFETY: the bitmap copies `size × size × 3` bytes from `tile`, whose length was checked.
        let bitmap = caught(|cause| unsafe {
            shim::mmprm_mtmd_bitmap_init(self.size as u32, self.size as u32, tile.as_ptr(), cause)
        });
        let bitmap = Owned::new(bitmap.map_err(fail)?, sys::mtmd_bitmap_free);
        let bitmap = bitmap.ok_or_else(|| fail("out of memory".into()))?;
        // SAFETY: allocates an empty list.
        let chunks = caught(|cause| unsafe { shim::mmprm_mtmd_input_chunks_init(cause) });
        let chunks = Owned::new(chunks.map_err(fail)?, sys::mtmd_input_chunks_free);
        let chunks = chunks.ok_or_else(|| fail("out of memory".into()))?;
        // SAFETY: returns a static string, the placeholder of a bitmap in a text.
        let marker = unsafe { std::ffi::CStr::from_ptr(sys::mtmd_default_marker()) }.to_string_lossy().into_owned();
        let text = c_string(&marker);
        let input = sys::mtmd_input_text {
            text: text.as_ptr(),
            text_len: text.as_bytes().len(),
            add_special: false,
            parse_special: false,
        };
        let bitmaps = [bitmap.0.cast_const()];
        // SAFETY: all pointers are valid for the call, and there is one bitmap for one marker.
        let status = caught(|cause| unsafe {
            shim::mmprm_mtmd_tokenize(context.0.as_ptr(), chunks.0, &raw const input, bitmaps.as_ptr(), 1, cause)
        });
        if status.map_err(fail)? != 0 {
            return Err(fail(errors.error_or("llama.cpp refused the tile")));
        }
        let chunk = self.only_image(chunks.0).map_err(fail)?;
        // SAFETY: the chunk belongs to `chunks`, which lives; the context is locked.
        let status = caught(|cause| unsafe { shim::mmprm_mtmd_encode_chunk(context.0.as_ptr(), chunk, cause) });
        if status.map_err(fail)? != 0 {
            return Err(fail(errors.error_or("llama.cpp gave no cause")));
        }
        let length = self.tokens * self.width();
        // SAFETY: the last encode wrote tokens × width values (the token count was checked in
        // `only_image`, the width at loading); they are copied before anything else uses the
        // context.
        unsafe {
            let values = sys::mtmd_get_output_embd(context.0.as_ptr());
            if values.is_null() {
                return Err(fail("llama.cpp returned no embeddings".into()));
            }
            Ok(std::slice::from_raw_parts(values, length).to_vec())
        }
    }

    /// Returns the only image chunk of `chunks`, with the expected number of tokens.
    fn only_image(&self, chunks: *mut sys::mtmd_input_chunks) -> Result<*const sys::mtmd_input_chunk, String> {
        let mut found = None;
        // SAFETY: indices stay below the list's own size.
        unsafe {
            for index in 0..sys::mtmd_input_chunks_size(chunks) {
                let chunk = sys::mtmd_input_chunks_get(chunks, index);
                if sys::mtmd_input_chunk_get_type(chunk) == sys::MTMD_INPUT_CHUNK_TYPE_IMAGE
                    && found.replace(chunk).is_some()
                {
                    return Err("llama.cpp split the tile into several images".into());
                }
            }
            let chunk = found.ok_or("llama.cpp made no image of the tile")?;
            match sys::mtmd_input_chunk_get_n_tokens(chunk) {
                tokens if tokens == self.tokens => Ok(chunk),
                tokens => Err(format!("{tokens} embeddings per tile, expected {}", self.tokens)),
            }
        }
    }
}

impl Drop for LlamaEncoder {
    fn drop(&mut self) {
        let context = self.context.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the pointer is owned and freed once.
        unsafe { sys::mtmd_free(context.0.as_ptr()) }
    }
}

/// Replaces llama.cpp's approximate GELU (tanh form, through a 16-bit table) by the exact one that
/// the models were trained with. Called for every operation of the vision graph before it is
/// computed (`ask`).
unsafe extern "C" fn make_gelu_exact(operation: *mut sys::ggml_tensor, ask: bool, _user: *mut c_void) -> bool {
    if ask && !operation.is_null() {
        // SAFETY: ggml passes a node of a graph that it has not started to compute, from the thread
        // that runs it. The two operations have the same operands and result; the first parameter
        // selects between them.
        unsafe {
            let operation = &mut *operation;
            if operation.op == sys::GGML_OP_UNARY && operation.op_params[0] == sys::GGML_UNARY_OP_GELU as i32 {
                operation.op_params[0] = sys::GGML_UNARY_OP_GELU_ERF as i32;
            }
        }
    }
    // Before an operation: its result is not needed. After one: continue.
    !ask
}

/// A C object freed on drop.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer, free))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that belongs to this free function, and is
        // freed once.
        unsafe { (self.1)(self.0) }
    }
}
