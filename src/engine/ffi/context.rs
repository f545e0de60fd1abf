//! llama.cpp contexts (the KV cache and its scratch memory) and the batches they decode.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llama_cpp_sys_2 as sys;

use super::adapter::Adapter;
use super::shim::{self, caught};
use super::{Model, creation_lock, log};
use crate::engine::exec::{ThreadGovernor, processor_time};
use crate::engine::prompt::{Rows, SECTIONS};
use crate::engine::{EngineError, Token};

/// llama.cpp's limit on sequence ids.
const MAX_SEQUENCES: u32 = 256;

/// How to allocate a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextOptions {
    /// Cells of the unified KV cache: tokens of all sequences together, with shared prefixes
    /// counted once.
    pub cells: u32,
    /// Maximum rows per batch.
    pub batch: u32,
    /// Number of sequence ids.
    pub sequences: u32,
    /// Maximum rows of logits per batch, at least one per sequence. llama.cpp allocates them twice.
    pub max_outputs: u32,
    /// Compute threads.
    pub threads: u32,
    /// Use fewer threads while other programs use the cores.
    pub adapts_threads: bool,
    /// Use fused attention. Results then depend on the shape of the batch and the number of
    /// threads.
    pub flash_attention: bool,
    /// Store keys and values in f32 instead of f16.
    pub f32_cache: bool,
}

/// Why a batch could not be decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// The cache has no room for the batch; it is unchanged.
    Full,
    /// Any other failure.
    Failed(EngineError),
}

/// The input of a batch.
#[derive(Debug)]
enum Input {
    Tokens(Vec<Token>),
    /// Row-major `[n, embedding_width]`.
    Embeddings(Vec<f32>),
}

/// Rows to decode, each with its position, its sequences, and whether it outputs logits.
#[derive(Debug)]
pub(crate) struct Batch {
    rows: Input,
    /// Rotary positions: one for each row, or of an image with a grid one section after the other.
    positions: Vec<i32>,
    /// The sequences of all rows, one row after the other, and the number of each row's.
    sequences: Vec<i32>,
    counts: Vec<i32>,
    outputs: Vec<i8>,
    /// Whether the output rows have hidden states too.
    hidden: bool,
}

impl Batch {
    pub fn tokens() -> Self {
        Self::of(Input::Tokens(Vec::new()))
    }

    /// Returns a batch of rows of an image, shared by `sequences`.
    pub fn embeddings(rows: Rows<'_>, sequences: &[i32]) -> Self {
        let mut batch = Self::of(Input::Embeddings(rows.values.to_vec()));
        for _ in 0..rows.count() {
            batch.row(sequences, false);
        }
        batch.positions = rows.positions();
        batch
    }

    fn of(rows: Input) -> Self {
        let (positions, sequences, counts, outputs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { rows, positions, sequences, counts, outputs, hidden: false }
    }

    /// Makes every row an output row that has a hidden state too: llama.cpp returns those of all rows or of none.
    pub fn output_hidden(&mut self) {
        self.hidden = true;
        self.outputs.fill(1);
    }

    /// Appends a token row at a rotary position and returns its index.
    pub fn push(&mut self, token: Token, position: usize, sequence: i32, outputs: bool) -> usize {
        self.push_shared(token, position, &[sequence], outputs)
    }

    /// Appends a token row that `sequences` share and returns its index.
    pub fn push_shared(&mut self, token: Token, position: usize, sequences: &[i32], outputs: bool) -> usize {
        if let Input::Tokens(tokens) = &mut self.rows {
            tokens.push(token);
            self.positions.push(position as i32);
            self.row(sequences, outputs);
        }
        self.len() - 1
    }

    fn row(&mut self, sequences: &[i32], outputs: bool) {
        self.sequences.extend(sequences);
        self.counts.push(sequences.len() as i32);
        self.outputs.push(i8::from(outputs));
    }

    pub fn len(&self) -> usize {
        self.counts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A context: decodes batches into its cache and returns logits. One thread at a time may use it.
#[derive(Debug)]
pub(crate) struct Context {
    pointer: NonNull<sys::llama_context>,
    model: Arc<Model>,
    options: ContextOptions,
    vocabulary: usize,
    /// Which rows of the last batch have logits.
    decoded: Vec<i8>,
    /// Whether they have hidden states too.
    hidden: bool,
    governor: Option<ThreadGovernor>,
    /// Held for its destructor.
    _threads: Option<Threads>,
}

// SAFETY: a context may be used from any one thread at a time; `&mut self` on every call that
// changes it ensures that.
unsafe impl Send for Context {}

impl Context {
    pub fn new(model: Arc<Model>, options: ContextOptions) -> Result<Self, EngineError> {
        in_range("sequence count", options.sequences.into(), 1, MAX_SEQUENCES.into())?;
        let lock = creation_lock();
        let errors = log::collect();
        // SAFETY: plain values; the model outlives the context, which holds an `Arc` of it.
        let pointer = caught(|cause| unsafe {
            let mut parameters = sys::llama_context_default_params();
            parameters.n_ctx = options.cells;
            parameters.n_batch = options.batch;
            parameters.n_ubatch = options.batch;
            parameters.n_seq_max = options.sequences;
            parameters.n_outputs_max = options.max_outputs;
            parameters.n_threads = options.threads as i32;
            parameters.n_threads_batch = options.threads as i32;
            parameters.kv_unified = true;
            parameters.pooling_type = sys::LLAMA_POOLING_TYPE_NONE;
            parameters.no_perf = true;
            parameters.flash_attn_type = if options.flash_attention {
                sys::LLAMA_FLASH_ATTN_TYPE_AUTO
            } else {
                sys::LLAMA_FLASH_ATTN_TYPE_DISABLED
            };
            let cache_type = if options.f32_cache { sys::GGML_TYPE_F32 } else { sys::GGML_TYPE_F16 };
            parameters.type_k = cache_type;
            parameters.type_v = cache_type;
            shim::mmprm_llama_init_from_model(model.as_ptr(), parameters, cause)
        });
        drop(lock);
        let refuse = |cause| EngineError::Context { path: model.path().to_owned(), cells: options.cells, cause };
        let pointer = NonNull::new(pointer.map_err(refuse)?);
        let pointer = pointer.ok_or_else(|| refuse(errors.error_or("not enough memory")))?;
        if let Err(cause) = Adapter::apply(model.adapters(), pointer) {
            // SAFETY: the context was made above and nobody else has it.
            unsafe { sys::llama_free(pointer.as_ptr()) };
            return Err(EngineError::Load { path: model.path().to_owned(), cause });
        }
        let vocabulary = model.vocabulary_size();
        let threads = (options.threads > 1).then(|| Threads::attached_to(pointer, options.threads)).flatten();
        // While a GPU computes, threads wait, so their processor time says nothing about free
        // cores.
        let governor = (options.adapts_threads && options.threads > 1 && !model.is_offloaded())
            .then(|| ThreadGovernor::new(options.threads));
        let (decoded, hidden) = (Vec::new(), false);
        Ok(Self { pointer, model, options, vocabulary, decoded, hidden, governor, _threads: threads })
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    pub fn options(&self) -> &ContextOptions {
        &self.options
    }

    /// Decodes `batch`; [`Context::logits`] then returns the logits of its output rows.
    pub fn decode(&mut self, batch: &mut Batch) -> Result<(), DecodeError> {
        self.check(batch).map_err(DecodeError::Failed)?;
        let mut all = batch.sequences.as_mut_slice();
        let mut sequences: Vec<*mut i32> = Vec::with_capacity(batch.counts.len());
        for &count in &batch.counts {
            let (own, rest) = all.split_at_mut(count as usize);
            sequences.push(own.as_mut_ptr());
            all = rest;
        }
        let (token, embd) = match &mut batch.rows {
            Input::Tokens(tokens) => (tokens.as_mut_ptr(), std::ptr::null_mut()),
            Input::Embeddings(values) => (std::ptr::null_mut(), values.as_mut_ptr()),
        };
        let raw = sys::llama_batch {
            n_tokens: batch.counts.len() as i32,
            token,
            embd,
            pos: batch.positions.as_mut_ptr(),
            n_seq_id: batch.counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: batch.outputs.as_mut_ptr(),
        };
        if self.hidden != batch.hidden {
            self.hidden = batch.hidden;
            // SAFETY: the context is valid, and between decodes.
            unsafe { sys::llama_set_embeddings(self.pointer.as_ptr(), batch.hidden) };
        }
        let errors = log::collect();
        let before = self.governor.is_some().then(|| (Instant::now(), processor_time()));
        // SAFETY: all arrays have `n_tokens` entries, `pos` as many for each section that llama.cpp
        // reads, each of `seq_id` as many as `n_seq_id` says, and outlive the call; ids, tokens and
        // sizes were checked above.
        let status = caught(|cause| unsafe {
            let status = shim::mmprm_llama_decode(self.pointer.as_ptr(), raw, cause);
            // A GPU may still compute; the call includes that, so that measured times are complete.
            shim::mmprm_llama_synchronize(self.pointer.as_ptr(), cause);
            status
        });
        if let Some((started, Some(processor))) = before {
            self.adapt_threads(started.elapsed(), processor);
        }
        let cause = match status {
            Ok(0) => {
                self.decoded.clone_from(&batch.outputs);
                return Ok(());
            }
            Ok(1) => return Err(DecodeError::Full),
            Ok(status) => errors.error_or(&format!("status {status}")),
            Err(cause) => cause,
        };
        Err(DecodeError::Failed(EngineError::Decode { path: self.model.path().to_owned(), cause }))
    }

    /// Adapts the number of threads after a decode that took `elapsed` and began at processor time
    /// `processor`.
    fn adapt_threads(&mut self, elapsed: Duration, processor: Duration) {
        let (Some(governor), Some(now)) = (&mut self.governor, processor_time()) else { return };
        if let Some(threads) = governor.after(elapsed, now.saturating_sub(processor)) {
            tracing::debug!(threads, "number of compute threads changed");
            // SAFETY: the context is valid, and between decodes; there are no more than it was made
            // with.
            unsafe { sys::llama_set_n_threads(self.pointer.as_ptr(), threads as i32, threads as i32) };
        }
    }

    /// Refuses what would make llama.cpp abort the process.
    fn check(&self, batch: &Batch) -> Result<(), EngineError> {
        let limit = self.options.batch as usize;
        in_range("number of rows in a batch", batch.len() as i64, 1, limit as i64)?;
        let outputs = batch.outputs.iter().filter(|&&output| output != 0).count();
        in_range("number of output rows in a batch", outputs as i64, 0, self.options.max_outputs.into())?;
        let sequences = i64::from(self.options.sequences);
        batch
            .counts
            .iter()
            .try_for_each(|&count| in_range("number of sequences of a row", count.into(), 1, sequences))?;
        batch.sequences.iter().try_for_each(|&id| in_range("sequence id", id.into(), 0, sequences - 1))?;
        match &batch.rows {
            Input::Tokens(tokens) => {
                let last = self.vocabulary as i64 - 1;
                tokens.iter().try_for_each(|&token| in_range("token", token.into(), 0, last))
            }
            Input::Embeddings(values) => {
                let expected = (batch.len() * self.model.embedding_width()) as i64;
                in_range("number of embedding values", values.len() as i64, expected, expected)?;
                let sections = if self.model.has_sections() { SECTIONS } else { 1 };
                let expected = (batch.len() * sections) as i64;
                in_range("number of positions", batch.positions.len() as i64, expected, expected)
            }
        }
    }

    /// Returns the logits `[vocabulary]` of row `row` of the last decoded batch.
    ///
    /// # Panics
    /// If the row is not an output row, which is a bug in the executor.
    pub fn logits(&self, row: usize) -> &[f32] {
        assert!(self.decoded.get(row) == Some(&1), "row {row} is not an output row");
        // SAFETY: the row was decoded with its output flag set, so llama.cpp has a vocabulary-sized
        // row for it, which stays valid until the next decode, and that takes `&mut self`.
        unsafe {
            let pointer = sys::llama_get_logits_ith(self.pointer.as_ptr(), row as i32);
            assert!(!pointer.is_null(), "llama.cpp has no logits for row {row}");
            std::slice::from_raw_parts(pointer, self.vocabulary)
        }
    }

    /// Returns the hidden state after the final norm, `[width]`, of row `row` of the last decoded batch.
    ///
    /// # Panics
    /// If the row is not an output row of a batch with hidden states, which is a bug in the executor.
    pub fn hidden(&self, row: usize) -> &[f32] {
        assert!(self.hidden && self.decoded.get(row) == Some(&1), "row {row} has no hidden state");
        // SAFETY: the row was decoded with its output flag set and hidden states asked for, without pooling, so llama.cpp has a
        // row of the model's output width for it, which stays valid until the next decode, and that takes `&mut self`.
        unsafe {
            let pointer = sys::llama_get_embeddings_ith(self.pointer.as_ptr(), row as i32);
            assert!(!pointer.is_null(), "llama.cpp has no hidden state for row {row}");
            std::slice::from_raw_parts(pointer, self.model.hidden_width())
        }
    }

    /// Removes all positions of all sequences.
    pub fn clear(&mut self) {
        // SAFETY: the context is valid.
        unsafe { sys::llama_memory_clear(self.memory(), false) }
    }

    /// Removes rotary positions `from..` of `sequence`; cells shared with other sequences stay.
    pub fn truncate(&mut self, sequence: i32, from: usize) {
        self.assert_sequence(sequence);
        // SAFETY: the sequence id is in range.
        unsafe { sys::llama_memory_seq_rm(self.memory(), sequence, from as i32, -1) };
    }

    /// Removes rotary `positions` of `sequence`; later positions stay.
    pub fn forget(&mut self, sequence: i32, positions: Range<usize>) {
        self.assert_sequence(sequence);
        // SAFETY: the sequence id is in range.
        unsafe { sys::llama_memory_seq_rm(self.memory(), sequence, positions.start as i32, positions.end as i32) };
    }

    /// Makes `to` share rotary `positions` of `from`, without copying.
    pub fn share(&mut self, from: i32, to: i32, positions: Range<usize>) {
        self.assert_sequence(from);
        self.assert_sequence(to);
        // SAFETY: both ids are in range.
        unsafe {
            sys::llama_memory_seq_cp(self.memory(), from, to, positions.start as i32, positions.end as i32);
        }
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: the context is valid.
        unsafe { sys::llama_get_memory(self.pointer.as_ptr()) }
    }

    fn assert_sequence(&self, id: i32) {
        assert!(id >= 0 && (id as u32) < self.options.sequences, "sequence {id} of {}", self.options.sequences);
    }
}

/// Checks that `min <= value <= max`.
fn in_range(what: &'static str, value: i64, min: i64, max: i64) -> Result<(), EngineError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(EngineError::out_of_range(what, value, min, max)) }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer is owned and freed once; its threads, a field, go after it.
        unsafe { sys::llama_free(self.pointer.as_ptr()) }
    }
}

/// Compute threads that live as long as their context. Without them, llama.cpp starts and ends
/// threads in every decode, which takes longer than a whole step of a small model.
#[derive(Debug)]
struct Threads(NonNull<sys::ggml_threadpool>);

impl Threads {
    fn attached_to(context: NonNull<sys::llama_context>, count: u32) -> Option<Self> {
        // SAFETY: plain parameter values; a pool that could not be made is null and not attached.
        unsafe {
            let mut parameters = sys::ggml_threadpool_params_default(count as i32);
            let pool = NonNull::new(sys::ggml_threadpool_new(&raw mut parameters))?;
            sys::llama_attach_threadpool(context.as_ptr(), pool.as_ptr(), pool.as_ptr());
            Some(Self(pool))
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: the context that used the pool is gone: it is dropped before its fields.
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) }
    }
}
