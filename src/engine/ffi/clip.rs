//! llama.cpp's multimodal library (mtmd): a vision tower with its projector, from pixels to embeddings.
//!
//! An image has exactly the size that it is to be encoded at, so that llama.cpp's own resizing and tiling, which differ from those
//! of the models' own code, never apply. Images are encoded one at a time, so that embeddings do not depend on others.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use llama_cpp_sys_2 as sys;
use mmprm_quant::gguf::GgufFile;

use super::model::{c_string, gpu_devices};
use super::shim::{self, caught};
use super::{Model, creation_lock, log, path_to_c};
use crate::engine::EngineError;
use crate::engine::memory::planning;

/// A vision tower and projector.
#[derive(Debug)]
pub(super) struct Clip {
    context: Mutex<Pointer>,
    model: Arc<Model>,
    file: GgufFile,
    gpu: bool,
    threads: u32,
    /// Rows of the operations whose GELU is the approximate one; read while the context computes.
    approximate_rows: Box<AtomicI64>,
}

/// How to load a [`Clip`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ClipOptions {
    /// As in [`EngineOptions`](crate::engine::EngineOptions).
    pub threads: Option<u32>,
    pub gpu: bool,
    /// Maximum tokens of an image of any size; `None` for tiles.
    pub max_tokens: Option<usize>,
}

/// What to encode, and what is expected of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels<'a> {
    pub width: usize,
    pub height: usize,
    /// `height` × `width` × 3 bytes, row by row.
    pub rgb: &'a [u8],
    /// Tokens of the image.
    pub tokens: usize,
    /// Rows of the operations whose GELU is the approximate one that the model was trained with; 0 if all are exact.
    pub approximate_rows: usize,
}

#[derive(Debug)]
struct Pointer(NonNull<sys::mtmd_context>);

// SAFETY: the context may be used from any one thread at a time; the mutex ensures that.
unsafe impl Send for Pointer {}

impl Clip {
    /// Loads a file that passed the checks for `model`.
    pub fn load(file: GgufFile, model: &Arc<Model>, options: ClipOptions) -> Result<Self, EngineError> {
        let path = file.path().to_owned();
        let refuse = |cause: String| EngineError::Load { path: path.clone(), cause };
        let threads = planning::threads(options.threads, file.file_size())?;
        let c_path = path_to_c(&path)?;
        let approximate_rows = Box::new(AtomicI64::new(0));
        let lock = creation_lock();
        let errors = log::collect();
        // SAFETY: plain parameter values; the path is a valid C string for the call; the model and the
        // number of rows, which is on the heap, outlive the context.
        let pointer = caught(|cause| unsafe {
            let mut parameters = sys::mtmd_context_params_default();
            parameters.use_gpu = options.gpu;
            parameters.n_threads = threads as i32;
            parameters.print_timings = false;
            parameters.warmup = false;
            parameters.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            parameters.cb_eval = Some(choose_gelu);
            parameters.cb_eval_user_data = std::ptr::from_ref(&*approximate_rows).cast_mut().cast();
            if let Some(tokens) = options.max_tokens {
                parameters.image_min_tokens = 1;
                parameters.image_max_tokens = tokens as i32;
            }
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
        let gpu = options.gpu && !gpu_devices().is_empty();
        let context = Mutex::new(Pointer(pointer));
        Ok(Self { context, model: Arc::clone(model), file, gpu, threads, approximate_rows })
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    pub fn on_gpu(&self) -> bool {
        self.gpu
    }

    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Returns the number of values per embedding.
    pub fn width(&self) -> usize {
        self.model.embedding_width()
    }

    /// Returns the embeddings `[tokens, width]` of an image.
    pub fn encode(&self, pixels: Pixels<'_>) -> Result<Vec<f32>, EngineError> {
        let Pixels { width, height, rgb, tokens, approximate_rows } = pixels;
        let fail = |cause: String| EngineError::Vision { path: self.path().to_owned(), cause };
        if rgb.len() != width * height * 3 {
            return Err(fail(format!("an image of {} bytes, expected {width}×{height}×3", rgb.len())));
        }
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        self.approximate_rows.store(approximate_rows as i64, Ordering::Relaxed);
        let errors = log::collect();
        // SAFETY: the bitmap copies `width × height × 3` bytes, the length checked above.
        let bitmap =
            caught(|cause| unsafe { shim::mmprm_mtmd_bitmap_init(width as u32, height as u32, rgb.as_ptr(), cause) });
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
            return Err(fail(errors.error_or("llama.cpp refused the image")));
        }
        let chunk = only_image(chunks.0, tokens).map_err(fail)?;
        // SAFETY: the chunk belongs to `chunks`, which lives; the context is locked.
        let status = caught(|cause| unsafe { shim::mmprm_mtmd_encode_chunk(context.0.as_ptr(), chunk, cause) });
        if status.map_err(fail)? != 0 {
            return Err(fail(errors.error_or("llama.cpp gave no cause")));
        }
        // SAFETY: the last encode wrote tokens × width values (the token count was checked in
        // `only_image`, the width at loading); they are copied before anything else uses the
        // context.
        unsafe {
            let values = sys::mtmd_get_output_embd(context.0.as_ptr());
            if values.is_null() {
                return Err(fail("llama.cpp returned no embeddings".into()));
            }
            Ok(std::slice::from_raw_parts(values, tokens * self.width()).to_vec())
        }
    }
}

/// Returns the only image chunk of `chunks`, with the expected number of tokens.
fn only_image(chunks: *mut sys::mtmd_input_chunks, expected: usize) -> Result<*const sys::mtmd_input_chunk, String> {
    let mut found = None;
    // SAFETY: indices stay below the list's own size.
    unsafe {
        for index in 0..sys::mtmd_input_chunks_size(chunks) {
            let chunk = sys::mtmd_input_chunks_get(chunks, index);
            if sys::mtmd_input_chunk_get_type(chunk) == sys::MTMD_INPUT_CHUNK_TYPE_IMAGE
                && found.replace(chunk).is_some()
            {
                return Err("llama.cpp split the image into several".into());
            }
        }
        let chunk = found.ok_or("llama.cpp made no image of the pixels")?;
        match sys::mtmd_input_chunk_get_n_tokens(chunk) {
            tokens if tokens == expected => Ok(chunk),
            tokens => Err(format!("{tokens} embeddings of the image, expected {expected}")),
        }
    }
}

impl Drop for Clip {
    fn drop(&mut self) {
        let context = self.context.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the pointer is owned and freed once; what its callback reads is a field and goes after it.
        unsafe { sys::mtmd_free(context.0.as_ptr()) }
    }
}

/// Replaces llama.cpp's approximate GELU (tanh form, through a 16-bit table) by the exact one, except in operations of as many rows
/// as `rows` says, for models that were trained with both. Called for every operation of the vision graph before it is computed
/// (`ask`).
unsafe extern "C" fn choose_gelu(operation: *mut sys::ggml_tensor, ask: bool, rows: *mut c_void) -> bool {
    if ask && !operation.is_null() && !rows.is_null() {
        // SAFETY: ggml passes a node of a graph that it has not started to compute, from the thread
        // that runs it, and the number of rows that the context was made with, which outlives it. The
        // two operations have the same operands and result; the first parameter selects between them.
        unsafe {
            let (operation, approximate) = (&mut *operation, (*rows.cast::<AtomicI64>()).load(Ordering::Relaxed));
            if operation.op == sys::GGML_OP_UNARY
                && operation.op_params[0] == sys::GGML_UNARY_OP_GELU as i32
                && operation.ne[1] != approximate
            {
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
