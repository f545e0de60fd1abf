//! Language models and their vocabularies.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;
use mmprm_quant::check;
use mmprm_quant::convert::PAIR_KEY;
use mmprm_quant::gguf::GgufFile;
use unicode_normalization::UnicodeNormalization;

use super::adapter::{Adapter, LoraAdapter};
use super::shim::{self, caught};
use super::{creation_lock, log, path_to_c, start_backend};
use crate::engine::{EngineError, Token, TokenizeError};
use crate::prompt::{Fragment, Run, STEP_TOKEN, Special};

/// Tokens of the prompts, which some vocabularies have as user-defined ones.
const OWN_TOKENS: [&str; 9] = [
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    STEP_TOKEN,
];

/// A compute device that llama.cpp found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The name, such as `CUDA0`.
    pub name: String,
    /// Free memory in bytes.
    pub free: u64,
    /// Total memory in bytes.
    pub total: u64,
}

/// Returns the GPUs that this build can use on this machine.
pub fn gpu_devices() -> Vec<Device> {
    use llama_cpp_2::LlamaBackendDeviceType as Kind;
    llama_cpp_2::list_llama_ggml_backend_devices()
        .into_iter()
        .filter(|device| matches!(device.device_type, Kind::Gpu | Kind::IntegratedGpu))
        .map(|device| Device { name: device.name, free: device.memory_free as u64, total: device.memory_total as u64 })
        .collect()
}

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// Layers to offload to the GPU; `None` offloads all that fit.
    pub gpu_layers: Option<u32>,
    /// Load only the vocabulary, to count or compare tokens.
    pub vocab_only: bool,
    /// `LoRA` adapters that every engine over the model applies, added to each other.
    pub adapters: Vec<LoraAdapter>,
}

/// A language model in GGUF form, memory-mapped, with its vocabulary. Threads may share it.
#[derive(Debug)]
pub struct Model {
    pointer: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
    file: GgufFile,
    path: PathBuf,
    normalises: bool,
    gpu_layers: u32,
    adapters: Vec<Adapter>,
    /// The texts under `mmprm.` keys in the metadata of the adapters.
    adapter_texts: BTreeMap<String, String>,
    /// Special tokens that plain text must not forge, with their ids.
    specials: Specials,
}

/// Special tokens that plain text must not forge, with their ids.
pub(crate) type Specials = (Vec<Special>, Vec<Token>);

// SAFETY: after loading, llama.cpp only reads a model; contexts of different threads may share it.
unsafe impl Send for Model {}
// SAFETY: as above; every method below takes `&self` and calls read-only functions.
unsafe impl Sync for Model {}

/// Refuses a vision projector or an adapter, of which an outline is enough, where a language model is expected.
pub(crate) fn refuse_other_kinds(file: &GgufFile) -> Result<(), EngineError> {
    let other = match (file.get_str("general.architecture"), file.get_str("general.type")) {
        (Ok("clip"), _) => "a vision projector (mmproj)",
        (_, Ok("adapter")) => "an adapter (LoRA)",
        _ => return Ok(()),
    };
    Err(EngineError::Load { path: file.path().to_owned(), cause: format!("this is {other}, not a language model") })
}

impl Model {
    /// Validates the file and its adapters (sizes, offsets, types: invalid files never reach C++),
    /// then loads them.
    ///
    /// # Errors
    /// [`EngineError::Gguf`] for an invalid file or an adapter of another model,
    /// [`EngineError::Load`] with llama.cpp's cause for others.
    #[expect(clippy::needless_pass_by_value, reason = "options are built where they are passed")]
    pub fn load(path: &Path, options: ModelOptions) -> Result<Arc<Self>, EngineError> {
        let mut model = Self::open(path, &options)?;
        let adapters = options.adapters.iter().filter(|_| !options.vocab_only);
        let loaded = adapters.map(|adapter| Adapter::load(&model, adapter)).collect::<Result<Vec<_>, _>>()?;
        for ((adapter, texts), options) in loaded.into_iter().zip(&options.adapters) {
            model.adapters.push(adapter);
            if options.scale != 0.0 {
                model.adapter_texts.extend(texts);
            }
        }
        Ok(Arc::new(model))
    }

    fn open(path: &Path, options: &ModelOptions) -> Result<Self, EngineError> {
        start_backend()?;
        let file = GgufFile::open(path)?;
        refuse_other_kinds(&file)?;
        if options.vocab_only {
            check::vocabulary(&file)?;
        } else {
            check::language(&file)?;
        }
        Self::of_checked(file, options)
    }

    /// Loads a file that passed the checks.
    fn of_checked(file: GgufFile, options: &ModelOptions) -> Result<Self, EngineError> {
        let path = file.path().to_owned();
        let refuse = |cause: String| EngineError::Load { path: path.clone(), cause };
        let c_path = path_to_c(&path)?;
        let gpu_layers = gpu_layers(options.gpu_layers, &file);
        let lock = creation_lock();
        let errors = log::collect();
        // SAFETY: the default parameters are a plain value; the path is a valid C string for the
        // duration of the call.
        let pointer = caught(|cause| unsafe {
            let mut parameters = sys::llama_model_default_params();
            parameters.vocab_only = options.vocab_only;
            parameters.n_gpu_layers = gpu_layers as i32;
            shim::mmprm_llama_model_load_from_file(c_path.as_ptr(), parameters, cause)
        });
        drop(lock);
        let pointer = NonNull::new(pointer.map_err(refuse)?);
        let pointer = pointer.ok_or_else(|| refuse(errors.error_or("llama.cpp gave no cause")))?;
        // SAFETY: the model is valid; its vocabulary lives as long as it does.
        let vocab = unsafe { sys::llama_model_get_vocab(pointer.as_ptr()) };
        let vocab = NonNull::new(vocab.cast_mut()).ok_or_else(|| refuse("it has no vocabulary".into()))?;
        let normalises = file.get_str("tokenizer.ggml.pre").is_ok_and(|pre| pre.starts_with("qwen"));
        let mut model = Self {
            pointer,
            vocab,
            file,
            path,
            normalises,
            gpu_layers,
            adapters: Vec::new(),
            adapter_texts: BTreeMap::new(),
            specials: Default::default(),
        };
        model.specials = model.find_specials();
        if !options.vocab_only {
            model.log_loaded();
        }
        Ok(model)
    }

    /// Says what was loaded, from where, and how much memory its weights take.
    fn log_loaded(&self) {
        let (layers, all) = (self.gpu_layers.min(self.layers() as u32 + 1), self.layers() + 1);
        tracing::info!(
            "loaded {}: language model of {} parameters, {} MiB of weights, {layers} of {all} layers on a GPU",
            self.path.display(),
            self.parameters(),
            self.file.file_size() >> 20,
        );
    }

    /// Returns the path of the model's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a text of this project's metadata (`mmprm.…`): an adapter's, which was trained last, or
    /// else the model's.
    pub fn own_text(&self, key: &str) -> Option<&str> {
        self.adapter_texts.get(key).map(String::as_str).or_else(|| self.file.get_str(key).ok())
    }

    /// Returns a text under an `mmprm.` key of the model's adapters.
    pub fn adapter_text(&self, key: &str) -> Option<&str> {
        self.adapter_texts.get(key).map(String::as_str)
    }

    /// Returns the validated GGUF file: metadata and tensors.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    pub(super) fn as_ptr(&self) -> *mut sys::llama_model {
        self.pointer.as_ptr()
    }

    pub(super) fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// Returns the width of a token embedding, which is also that of image embeddings.
    pub fn embedding_width(&self) -> usize {
        // SAFETY: the model is valid.
        unsafe { sys::llama_model_n_embd_inp(self.as_ptr()) as usize }
    }

    /// Returns whether rotary positions have sections of time, height and width (M-RoPE).
    pub(crate) fn has_sections(&self) -> bool {
        // SAFETY: the model is valid.
        let kind = unsafe { sys::llama_model_rope_type(self.as_ptr()) };
        matches!(kind, sys::LLAMA_ROPE_TYPE_MROPE | sys::LLAMA_ROPE_TYPE_IMROPE)
    }

    /// Returns the width of a hidden state after the final norm.
    pub fn hidden_width(&self) -> usize {
        // SAFETY: the model is valid.
        unsafe { sys::llama_model_n_embd_out(self.as_ptr()) as usize }
    }

    /// Checks that the projector at `path`, whose embeddings have `found` values, fits this model.
    ///
    /// # Errors
    /// [`EngineError::NotAPair`].
    pub(crate) fn check_projector(&self, path: &Path, found: usize) -> Result<(), EngineError> {
        let expected = self.embedding_width();
        if found == expected {
            return Ok(());
        }
        Err(EngineError::NotAPair { projector: path.to_owned(), model: self.path.clone(), found, expected })
    }

    /// Checks that the projector at `path` was converted from a checkpoint with the vision weights that this model was converted
    /// with, where both files record them.
    ///
    /// # Errors
    /// [`EngineError::OtherPair`]; [`EngineError::Gguf`] for a projector that cannot be read.
    pub(crate) fn check_pair(&self, path: &Path) -> Result<(), EngineError> {
        let Ok(expected) = self.file.get_str(PAIR_KEY) else { return Ok(()) };
        match GgufFile::open_outline(path)?.get_str(PAIR_KEY) {
            Ok(found) if found != expected => {
                Err(EngineError::OtherPair { projector: path.to_owned(), model: self.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of tokens in the vocabulary, which is the length of a row of logits.
    pub fn vocabulary_size(&self) -> usize {
        // SAFETY: the vocabulary is valid.
        unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) as usize }
    }

    /// Returns whether `token` ends a generation, like `<|im_end|>` or the end-of-sequence token.
    pub fn is_end(&self, token: Token) -> bool {
        // SAFETY: the vocabulary is valid, and `is_known` excludes other ids.
        self.is_known(token) && unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), token) }
    }

    fn is_known(&self, token: Token) -> bool {
        token >= 0 && (token as usize) < self.vocabulary_size()
    }

    /// Splits text into tokens and recognises special tokens in it; `first` prepends the model's
    /// first token (`<s>`), if it has one. Normalises to Unicode NFC where the model's tokenizer
    /// does (Qwen2).
    ///
    /// # Errors
    /// [`TokenizeError`] if the text has 2³¹ bytes or more, or llama.cpp refuses it.
    pub fn tokenize(&self, text: &str, first: bool) -> Result<Vec<Token>, TokenizeError> {
        self.split(text, first, true)
    }

    /// Splits a run into tokens as [`tokenize`](Self::tokenize), but recognises no special tokens in
    /// its plain parts.
    ///
    /// # Errors
    /// [`TokenizeError`], as `tokenize`.
    pub fn tokenize_run(&self, run: &Run, first: bool) -> Result<Vec<Token>, TokenizeError> {
        self.tokenize_guarded(run, first, &self.specials)
    }

    /// Splits a run into tokens as [`tokenize_run`](Self::tokenize_run), with these special tokens.
    pub(crate) fn tokenize_guarded(
        &self,
        run: &Run,
        first: bool,
        (specials, ids): &Specials,
    ) -> Result<Vec<Token>, TokenizeError> {
        let Some(fragments) = run.fragments(specials) else { return self.split(run.text(), first, true) };
        let mut tokens = if first { self.split("", true, false)? } else { Vec::new() };
        for fragment in fragments {
            match fragment {
                Fragment::Text(text) => tokens.extend(self.split(text, false, false)?),
                Fragment::Special(index) => tokens.push(ids[index]),
            }
        }
        Ok(tokens)
    }

    fn split(&self, text: &str, first: bool, special: bool) -> Result<Vec<Token>, TokenizeError> {
        let normalised: String;
        let text = if self.normalises {
            normalised = text.nfc().collect();
            &normalised
        } else {
            text
        };
        let length = i32::try_from(text.len()).map_err(|_| TokenizeError::TooLong { bytes: text.len() })?;
        let mut tokens: Vec<Token> = vec![0; text.len() + 8];
        let capacity = tokens.len() as i32;
        // SAFETY: pointer and length describe `text`; the output has `capacity` places, which
        // bounds what is written.
        let count = caught(|cause| unsafe {
            shim::mmprm_llama_tokenize(
                self.vocab.as_ptr(),
                text.as_ptr().cast(),
                length,
                tokens.as_mut_ptr(),
                capacity,
                first,
                special,
                cause,
            )
        });
        let count = count.map_err(|cause| TokenizeError::Refused { path: self.path.clone(), cause })?;
        let count = usize::try_from(count)
            .map_err(|_| TokenizeError::TooManyTokens { bytes: text.len(), tokens: count.unsigned_abs() as usize })?;
        tokens.truncate(count);
        Ok(tokens)
    }

    /// Returns the text of `tokens`, including special tokens; invalid UTF-8 becomes replacement
    /// characters.
    pub fn detokenize(&self, tokens: &[Token]) -> String {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for &token in tokens {
            self.append_piece(token, &mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the text of a token as bytes, which may be a part of a character.
    pub(crate) fn bytes(&self, token: Token) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append_piece(token, &mut bytes);
        bytes
    }

    fn append_piece(&self, token: Token, bytes: &mut Vec<u8>) {
        if !self.is_known(token) {
            return;
        }
        let mut buffer = [0_u8; 256];
        // SAFETY: the buffer's length is passed; a longer piece is answered with minus its length
        // and written below.
        let length = unsafe { self.piece(token, &mut buffer) };
        if length >= 0 {
            bytes.extend_from_slice(&buffer[..length as usize]);
        } else {
            let mut large = vec![0_u8; length.unsigned_abs() as usize];
            // SAFETY: as above, with the size llama.cpp asked for.
            let length = unsafe { self.piece(token, &mut large) };
            bytes.extend_from_slice(&large[..length.max(0) as usize]);
        }
    }

    /// # Safety
    /// `token` must be in the vocabulary.
    unsafe fn piece(&self, token: Token, buffer: &mut [u8]) -> i32 {
        // SAFETY: the vocabulary is valid, the token known (the caller's duty), the buffer's true
        // length given. It copies from a table made at loading, and so does not throw.
        unsafe {
            sys::llama_token_to_piece(
                self.vocab.as_ptr(),
                token,
                buffer.as_mut_ptr().cast(),
                buffer.len() as i32,
                0,
                true,
            )
        }
    }

    /// Returns the single token whose text is exactly `text`, such as `<prm>`: what `text` is split into, or else the token of this
    /// text in the vocabulary, since tokenizers may write a space before a text.
    pub fn token(&self, text: &str) -> Option<Token> {
        let tokens = self.tokenize(text, false).ok()?;
        if let [token] = tokens[..]
            && self.detokenize(&[token]) == text
        {
            return Some(token);
        }
        let is_byte = |token: Token| self.attributes(token) & sys::LLAMA_TOKEN_ATTR_BYTE != 0;
        (0..self.vocabulary_size() as Token).find(|token| !is_byte(*token) && self.detokenize(&[*token]) == text)
    }

    /// Returns in what another model's vocabulary differs first, if it does.
    pub(crate) fn other_vocabulary(&self, other: &Self) -> Option<String> {
        let (own, others) = (self.vocabulary_size(), other.vocabulary_size());
        if own != others {
            return Some(format!("{own} and {others} tokens"));
        }
        let is_other = |token: &Token| self.text(*token) != other.text(*token);
        let token = (0..own as Token).find(is_other)?;
        Some(format!("token {token} is {:?} and {:?}", self.text(token), other.text(token)))
    }

    /// Returns the beginning-of-sequence token that the file names.
    pub fn bos(&self) -> Option<Token> {
        let token = self.file.get_u32("tokenizer.ggml.bos_token_id").ok()?;
        Some(token as Token).filter(|token| self.is_known(*token))
    }

    /// Returns the model's special tokens that plain text must not forge, and among them those of `marks`.
    pub(crate) fn specials_with(&self, marks: &[String]) -> Specials {
        let (mut specials, mut ids) = self.specials.clone();
        let is_user_defined = |token: Token| self.attributes(token) & sys::LLAMA_TOKEN_ATTR_USER_DEFINED != 0;
        for (text, token) in marks.iter().filter_map(|mark| Some((mark, self.token(mark)?))) {
            if is_user_defined(token) && !ids.contains(&token) {
                specials.push(Special { text: text.clone(), always_found: true });
                ids.push(token);
            }
        }
        (specials, ids)
    }

    fn attributes(&self, token: Token) -> sys::llama_token_attr {
        // SAFETY: callers pass tokens of the vocabulary.
        unsafe { sys::llama_vocab_get_attr(self.vocab.as_ptr(), token) }
    }

    /// The special tokens that no question, step or answer may forge: control tokens, and of the
    /// user-defined ones, which llama.cpp always finds, those that have a meaning here.
    fn find_specials(&self) -> Specials {
        let step = self.file.get_str("mmprm.prm.step_token").unwrap_or(STEP_TOKEN).to_owned();
        let with_meaning = |text: &str| text == step || OWN_TOKENS.contains(&text);
        let control = sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN;
        let found = (0..self.vocabulary_size() as Token).filter_map(|token| {
            let attributes = self.attributes(token);
            let is_control = attributes & control != 0;
            if !is_control && attributes & sys::LLAMA_TOKEN_ATTR_USER_DEFINED == 0 {
                return None;
            }
            let text = self.text(token);
            let is_listed = !text.is_empty() && (is_control || with_meaning(&text));
            is_listed.then_some((Special { text, always_found: !is_control }, token))
        });
        found.unzip()
    }

    /// Returns the texts of all control tokens (`<|im_end|>`, `<img>`, …), which are removed from
    /// generated text before parsing.
    pub fn special_texts(&self) -> Vec<String> {
        let (specials, _) = &self.specials;
        specials.iter().filter(|special| !special.always_found).map(|special| special.text.clone()).collect()
    }

    fn text(&self, token: Token) -> String {
        // SAFETY: the token is in the vocabulary (callers iterate over it); the string lives as
        // long as the model.
        unsafe {
            let text = sys::llama_vocab_get_text(self.vocab.as_ptr(), token);
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    }

    /// Returns the width of an attention head.
    pub(crate) fn head_width(&self) -> usize {
        // SAFETY: the model is valid.
        let (width, heads) =
            unsafe { (sys::llama_model_n_embd(self.as_ptr()), sys::llama_model_n_head(self.as_ptr())) };
        (width / heads.max(1)).max(0) as usize
    }

    /// Returns whether any layers are on a GPU.
    pub fn is_offloaded(&self) -> bool {
        self.gpu_layers > 0
    }

    /// Returns whether all layers and the output are on a GPU.
    pub(crate) fn is_wholly_offloaded(&self) -> bool {
        self.gpu_layers > self.layers() as u32
    }

    fn layers(&self) -> u64 {
        // SAFETY: the model is valid.
        unsafe { sys::llama_model_n_layer(self.as_ptr()).max(0) as u64 }
    }

    /// Returns the number of parameters.
    pub(crate) fn parameters(&self) -> u64 {
        // SAFETY: the model is valid.
        unsafe { sys::llama_model_n_params(self.as_ptr()) }
    }

    /// Returns the multiplications of attention to one cached position, in all layers.
    pub(crate) fn attention_cost(&self) -> u64 {
        // SAFETY: the model is valid.
        let width = unsafe { sys::llama_model_n_embd(self.as_ptr()) };
        2 * self.layers() * width.max(0) as u64
    }

    /// Returns the bytes of keys and values per cached token.
    pub(crate) fn cache_bytes_per_token(&self) -> u64 {
        // SAFETY: the model is valid.
        let heads = unsafe { sys::llama_model_n_head_kv(self.as_ptr()) };
        let bytes = if is_cache_f32(&self.file) { 4 } else { 2 };
        self.layers() * 2 * bytes * self.head_width() as u64 * heads.max(0) as u64
    }
}

/// Whether keys and values of a model are cached in f32 instead of f16: where its weights are f32 or f16, so that the cache
/// rounds no more than they do. f16 keys and values alone move step scores by up to 2e-3, as `tests/train/scores.rs` found.
pub(crate) fn is_cache_f32(file: &GgufFile) -> bool {
    const F32: u32 = 0;
    const F16: u32 = 1;
    file.get_u32("general.file_type").is_ok_and(|file_type| matches!(file_type, F32 | F16))
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: contexts hold an `Arc` of their model, so none is left; the pointer is freed
        // once.
        unsafe { sys::llama_model_free(self.pointer.as_ptr()) }
    }
}

/// Returns the requested number of layers; or all, if the weights fit in nine tenths of the GPU's
/// free memory, else the fraction that does. 0 without a GPU.
fn gpu_layers(requested: Option<u32>, file: &GgufFile) -> u32 {
    let Some(device) = gpu_devices().into_iter().max_by_key(|device| device.free) else { return 0 };
    if let Some(layers) = requested {
        return layers;
    }
    let architecture = file.get_str("general.architecture").unwrap_or_default();
    let layers = file.get_u32(&format!("{architecture}.block_count")).unwrap_or(0) + 1;
    let size = file.file_size().max(1);
    let budget = device.free / 10 * 9;
    if size <= budget { layers } else { (layers as u64 * budget / size) as u32 }
}

/// Returns `text` as a C string, without its NUL bytes.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("NUL bytes were removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first byte of `é`, whose token is missing from a vocabulary that lacks `é` itself.
    const BYTE: &str = "<0xC3>";

    #[test]
    fn an_exception_of_the_tokenizer_is_an_error() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/policy-q8_0.gguf");
        let mut bytes = std::fs::read(demo).unwrap();
        let at = bytes.windows(BYTE.len()).position(|window| window == BYTE.as_bytes()).expect("a token per byte");
        bytes[at + 3..at + 5].copy_from_slice(b"zz");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lacks-a-byte.gguf");
        std::fs::write(&path, bytes).unwrap();
        let options = ModelOptions { vocab_only: true, ..ModelOptions::default() };
        let refused = Model::load(&path, options.clone()).unwrap_err();
        assert!(matches!(refused, EngineError::Gguf(_)), "{refused}");

        start_backend().unwrap();
        let unchecked = Model::of_checked(GgufFile::open(&path).unwrap(), &options).unwrap();
        assert!(!unchecked.tokenize("e", false).unwrap().is_empty());
        let error = EngineError::from(unchecked.tokenize("\u{e9}", false).unwrap_err()).to_string();
        let expected = format!("cannot tokenise: the vocabulary of {} cannot split the text: ", path.display());
        assert!(error.strip_prefix(&expected).is_some_and(|cause| !cause.is_empty()), "{error}");
    }
}
