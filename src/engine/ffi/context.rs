//! A llama.cpp context (the KV cache and its scratch memory) and the batches it decodes.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llama_cpp_sys_2 as sys;

use super::{Model, log, making};
use crate::engine::governor::{ThreadGovernor, processor_time};
use crate::engine::{EngineError, Token};

/// llama.cpp's own limit on sequence ids.
const MOST_SEQUENCES: u32 = 256;

/// How to make a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextOptions {
    /// Cells of the unified KV cache: tokens of all sequences together, shared prefixes counted once.
    pub cells: u32,
    /// Most tokens in one batch.
    pub batch: u32,
    /// Sequence ids in use, from 0.
    pub sequences: u32,
    /// Compute threads.
    pub threads: u32,
    /// Fewer threads compute while other programs use the cores.
    pub gives_way: bool,
    /// Fused attention: faster, but results then depend on the shape of the batch and the number of threads.
    pub flash_attention: bool,
    /// Keys and values at 32 bits instead of 16.
    pub wide_cache: bool,
}

impl ContextOptions {
    /// Most rows of logits in one batch. llama.cpp sets memory aside for as many, twice, and insists on one a sequence.
    pub fn outputs(&self) -> u32 {
        self.sequences
    }
}

/// Why a batch was not decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// The cache has no room for the batch; nothing was changed.
    Full,
    /// Anything else.
    Failed(EngineError),
}

/// What a batch row is: tokens to look up, or embeddings to take as they are.
#[derive(Debug)]
enum Rows {
    Tokens(Vec<Token>),
    /// Row-major `[n, embedding_width]`.
    Embeddings(Vec<f32>),
}

/// Rows to decode, each with its position, its sequence, and whether its logits are wanted.
#[derive(Debug)]
pub(crate) struct Batch {
    rows: Rows,
    positions: Vec<i32>,
    /// The sequences of all rows, and how many each row has.
    sequences: Vec<i32>,
    counts: Vec<i32>,
    wanted: Vec<i8>,
}

impl Batch {
    pub fn tokens() -> Self {
        Self::of(Rows::Tokens(Vec::new()))
    }

    /// A batch of embeddings that `sequences` share, from position `start`.
    pub fn embeddings(values: Vec<f32>, width: usize, start: usize, sequences: &[i32]) -> Self {
        let count = values.len() / width;
        let mut batch = Self::of(Rows::Embeddings(values));
        for position in start..start + count {
            batch.row(position, sequences, false);
        }
        batch
    }

    fn of(rows: Rows) -> Self {
        Self { rows, positions: Vec::new(), sequences: Vec::new(), counts: Vec::new(), wanted: Vec::new() }
    }

    /// Adds a token row and returns its index in the batch.
    pub fn push(&mut self, token: Token, position: usize, sequence: i32, wanted: bool) -> usize {
        self.push_shared(token, position, &[sequence], wanted)
    }

    /// Adds a token row that `sequences` share and returns its index in the batch.
    pub fn push_shared(&mut self, token: Token, position: usize, sequences: &[i32], wanted: bool) -> usize {
        if let Rows::Tokens(tokens) = &mut self.rows {
            tokens.push(token);
            self.row(position, sequences, wanted);
        }
        self.positions.len() - 1
    }

    fn row(&mut self, position: usize, sequences: &[i32], wanted: bool) {
        self.positions.push(position as i32);
        self.sequences.extend(sequences);
        self.counts.push(sequences.len() as i32);
        self.wanted.push(i8::from(wanted));
    }

    pub fn len(&self) -> usize {
        self.positions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A context: decodes batches into its cache and answers with logits. Belongs to one thread at a time.
#[derive(Debug)]
pub(crate) struct Context {
    pointer: NonNull<sys::llama_context>,
    model: Arc<Model>,
    options: ContextOptions,
    vocabulary: usize,
    decoded: Vec<i8>,
    governor: Option<ThreadGovernor>,
    /// Held for its life only.
    _threads: Option<Threads>,
}

// SAFETY: a context may be used from any one thread at a time; `&mut self` on every call that changes it ensures that.
unsafe impl Send for Context {}

impl Context {
    pub fn new(model: Arc<Model>, options: ContextOptions) -> Result<Self, EngineError> {
        if options.sequences == 0 || options.sequences > MOST_SEQUENCES {
            return Err(EngineError::Limit(format!(
                "{} sequences; 1 to {MOST_SEQUENCES} are possible",
                options.sequences
            )));
        }
        let turn = making();
        log::clear();
        // SAFETY: plain values; the model outlives the context, which holds an `Arc` of it.
        let pointer = unsafe {
            let mut parameters = sys::llama_context_default_params();
            parameters.n_ctx = options.cells;
            parameters.n_batch = options.batch;
            parameters.n_ubatch = options.batch;
            parameters.n_seq_max = options.sequences;
            parameters.n_outputs_max = options.outputs();
            parameters.n_threads = options.threads as i32;
            parameters.n_threads_batch = options.threads as i32;
            parameters.kv_unified = true;
            parameters.no_perf = true;
            parameters.flash_attn_type = if options.flash_attention {
                sys::LLAMA_FLASH_ATTN_TYPE_AUTO
            } else {
                sys::LLAMA_FLASH_ATTN_TYPE_DISABLED
            };
            let cache_type = if options.wide_cache { sys::GGML_TYPE_F32 } else { sys::GGML_TYPE_F16 };
            parameters.type_k = cache_type;
            parameters.type_v = cache_type;
            sys::llama_init_from_model(model.as_ptr(), parameters)
        };
        drop(turn);
        let pointer = NonNull::new(pointer).ok_or_else(|| EngineError::Load {
            path: model.path().to_owned(),
            cause: log::complaint("there is not enough memory for a context of this size; try a smaller --context"),
        })?;
        if model.adapter.is_some_and(|adapter| !adapter.apply(pointer)) {
            let cause = log::complaint("llama.cpp did not take its adapter");
            // SAFETY: the context was made above and nobody else has it.
            unsafe { sys::llama_free(pointer.as_ptr()) };
            return Err(EngineError::Load { path: model.path().to_owned(), cause });
        }
        let vocabulary = model.vocabulary_size();
        let threads = (options.threads > 1).then(|| Threads::attached_to(pointer, options.threads)).flatten();
        // A device computes while threads wait: processor time tells nothing there.
        let governor = (options.gives_way && options.threads > 1 && !model.is_offloaded())
            .then(|| ThreadGovernor::new(options.threads));
        Ok(Self { pointer, model, options, vocabulary, decoded: Vec::new(), governor, _threads: threads })
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    pub fn options(&self) -> &ContextOptions {
        &self.options
    }

    /// Decodes `batch`; the logits of its wanted rows are then at [`Context::logits`].
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
            Rows::Tokens(tokens) => (tokens.as_mut_ptr(), std::ptr::null_mut()),
            Rows::Embeddings(values) => (std::ptr::null_mut(), values.as_mut_ptr()),
        };
        let raw = sys::llama_batch {
            n_tokens: batch.positions.len() as i32,
            token,
            embd,
            pos: batch.positions.as_mut_ptr(),
            n_seq_id: batch.counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: batch.wanted.as_mut_ptr(),
        };
        log::clear();
        let before = self.governor.is_some().then(|| (Instant::now(), processor_time()));
        // SAFETY: all arrays have `n_tokens` entries, each of `seq_id` as many as `n_seq_id` says, and outlive the call; ids,
        // tokens and sizes were checked above.
        let status = unsafe {
            let status = sys::llama_decode(self.pointer.as_ptr(), raw);
            // A device may still be at work: whoever measures this call measures all of it.
            sys::llama_synchronize(self.pointer.as_ptr());
            status
        };
        if let Some((started, Some(processor))) = before {
            self.give_way(started.elapsed(), processor);
        }
        match status {
            0 => {
                self.decoded.clone_from(&batch.wanted);
                Ok(())
            }
            1 => Err(DecodeError::Full),
            status => Err(DecodeError::Failed(EngineError::Decode(log::complaint(&format!("status {status}"))))),
        }
    }

    /// After a decode that took `elapsed`, before which the process had had so much `processor` time.
    fn give_way(&mut self, elapsed: Duration, processor: Duration) {
        let (Some(governor), Some(now)) = (&mut self.governor, processor_time()) else { return };
        if let Some(threads) = governor.after(elapsed, now.saturating_sub(processor)) {
            tracing::debug!(threads, "other programs use the cores, or no longer do");
            // SAFETY: the context is valid, and between decodes; there are no more than it was made with.
            unsafe { sys::llama_set_n_threads(self.pointer.as_ptr(), threads as i32, threads as i32) };
        }
    }

    /// What llama.cpp would answer with an abort of the whole process.
    fn check(&self, batch: &Batch) -> Result<(), EngineError> {
        let limit = self.options.batch as usize;
        if batch.is_empty() || batch.len() > limit {
            return Err(EngineError::Limit(format!("a batch of {} rows; 1 to {limit} are possible", batch.len())));
        }
        let wanted = batch.wanted.iter().filter(|&&wanted| wanted != 0).count();
        if wanted > self.options.outputs() as usize {
            return Err(EngineError::Limit(format!("{wanted} rows of logits of {}", self.options.outputs())));
        }
        if batch.counts.contains(&0) {
            return Err(EngineError::Limit("a row without a sequence".into()));
        }
        if let Some(id) = batch.sequences.iter().find(|&&id| id < 0 || id as u32 >= self.options.sequences) {
            return Err(EngineError::Limit(format!("sequence {id} of {}", self.options.sequences)));
        }
        match &batch.rows {
            Rows::Tokens(tokens) => match tokens.iter().find(|&&id| id < 0 || id as usize >= self.vocabulary) {
                Some(id) => Err(EngineError::Limit(format!("token {id} of a vocabulary of {}", self.vocabulary))),
                None => Ok(()),
            },
            Rows::Embeddings(values) => {
                let expected = batch.len() * self.model.embedding_width();
                if values.len() == expected {
                    Ok(())
                } else {
                    Err(EngineError::Limit(format!("{} embedding values, expected {expected}", values.len())))
                }
            }
        }
    }

    /// Logits `[vocabulary]` of row `row` of the last decoded batch.
    ///
    /// # Panics
    /// If the row was not wanted: a mistake in the scheduler.
    pub fn logits(&self, row: usize) -> &[f32] {
        assert!(self.decoded.get(row) == Some(&1), "logits of row {row} were not asked for");
        // SAFETY: the row was decoded with its output flag set, so llama.cpp has a vocabulary-sized row for it, which stays
        // valid until the next decode, and that takes `&mut self`.
        unsafe {
            let pointer = sys::llama_get_logits_ith(self.pointer.as_ptr(), row as i32);
            assert!(!pointer.is_null(), "llama.cpp has no logits for row {row}");
            std::slice::from_raw_parts(pointer, self.vocabulary)
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // SAFETY: the context is valid.
        unsafe { sys::llama_memory_clear(self.memory(), false) }
    }

    /// Forgets positions `from..` of `sequence`; cells that other sequences use stay.
    pub fn truncate(&mut self, sequence: i32, from: usize) {
        self.assert_sequence(sequence);
        // SAFETY: the sequence id is in range.
        unsafe { sys::llama_memory_seq_rm(self.memory(), sequence, from as i32, -1) };
    }

    /// Forgets `positions` of `sequence` alone: what comes after them stays.
    pub fn forget(&mut self, sequence: i32, positions: Range<usize>) {
        self.assert_sequence(sequence);
        // SAFETY: the sequence id is in range.
        unsafe { sys::llama_memory_seq_rm(self.memory(), sequence, positions.start as i32, positions.end as i32) };
    }

    /// Lets `to` share `positions` of `from`; costs no memory.
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

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer is owned and freed once; its threads, a field, go after it.
        unsafe { sys::llama_free(self.pointer.as_ptr()) }
    }
}

/// Compute threads that live as long as their context. Without them llama.cpp starts and ends its threads in every decode,
/// which costs more than a small model's whole step.
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
