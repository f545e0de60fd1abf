//! The vocabulary of a checkpoint in llama.cpp's form: one token per row of the embedding matrix.
//!
//! Reads the base vocabulary (sentencepiece or byte-level BPE), inserts the added tokens, fills
//! rows without a token, and finds the tokens with a role. Two tokens with the same text are
//! refused, because llama.cpp aborts on them.
//!
//! ```
//! use mmprm_quant::hf::vocabulary::TokenType;
//! assert_eq!(TokenType::Control.id(), 3);
//! ```

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::added::{ChatTemplate, TokenText, TokenizerFiles};
use super::bpe::Bpe;
pub use super::bpe::Splitter;
use super::config::{LanguageArch, LanguageConfig};
use super::error::HfError;
use super::files::{present, read_text_inside};
use super::sentencepiece::SentencePiece;
pub use super::token::{Token, TokenType};

/// Ends of a turn in the chat formats of the supported models: `ChatML`, Llama 3.
const TURN_ENDS: [&str; 2] = ["<|im_end|>", "<|eot_id|>"];

/// Scores of tokens that no merge produces: added tokens and fillers.
const ADDED_SCORE: f32 = -1000.0;
pub(crate) const FILLER_SCORE: f32 = -10_000.0;

/// The tokenization algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokenizer {
    /// sentencepiece.
    SentencePiece {
        /// Whether a space is prepended to the text.
        add_space_prefix: bool,
        /// Whether runs of spaces are collapsed, which llama.cpp does not do.
        remove_extra_whitespaces: bool,
    },
    /// Byte-level BPE.
    Bpe {
        /// The pre-tokenizer.
        splitter: Splitter,
        /// Merges in order of priority.
        merges: Vec<String>,
    },
}

/// Ids of the tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Beginning of text.
    pub bos: Option<u32>,
    /// End of generation.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// Unknown text.
    pub unk: Option<u32>,
    /// Separator.
    pub sep: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Mask.
    pub mask: Option<u32>,
}

/// A complete vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// One token per row of the embedding matrix.
    pub tokens: Vec<Token>,
    /// The algorithm.
    pub tokenizer: Tokenizer,
    /// Tokens with a role.
    pub special: SpecialIds,
    /// Whether a beginning-of-text token is prepended.
    pub add_bos: bool,
    /// Whether an end token is appended.
    pub add_eos: bool,
    /// The chat template (Jinja), if there is one.
    pub chat_template: Option<String>,
}

impl Vocabulary {
    /// Reads the tokenizer files of a checkpoint whose language model has the given configuration.
    ///
    /// # Errors
    /// [`HfError`] with the file and the token or line: files that are missing, invalid or
    /// contradictory, tokens beyond the embedding matrix, two tokens with the same text.
    pub fn read(directory: &Path, model: &LanguageConfig) -> Result<Self, HfError> {
        let files = TokenizerFiles::read(directory)?;
        let mut rows = Rows::new(directory, model.vocab);
        let sentencepiece = directory.join("tokenizer.model");
        let tokenizer = if present(&sentencepiece) {
            rows.put_pieces(&sentencepiece)?
        } else {
            // Only Qwen's tokenizers are published without tokenizer.json.
            let is_qwen = matches!(model.arch, LanguageArch::Qwen2 | LanguageArch::Qwen3);
            let bpe = Bpe::read(directory, is_qwen.then_some(Splitter::Qwen2))?;
            for (id, text) in bpe.tokens {
                rows.put(id, Token { text, score: 0.0, token_type: TokenType::Normal }, directory)?;
            }
            Tokenizer::Bpe { splitter: bpe.splitter, merges: bpe.merges }
        };
        let is_bpe = matches!(tokenizer, Tokenizer::Bpe { .. });
        for (id, added) in &files.added {
            // As in llama.cpp's converter: byte-level vocabularies often do not mark their `<|…|>`
            // as special.
            let special = added.special || (is_bpe && added.text.starts_with("<|") && added.text.ends_with("|>"));
            let token_type = if special { TokenType::Control } else { TokenType::UserDefined };
            let score = if is_bpe { 0.0 } else { ADDED_SCORE };
            rows.put(*id, Token { text: added.text.clone(), score, token_type }, &added.file)?;
        }
        let (tokens, ids) = rows.finish()?;
        if !is_bpe {
            every_byte(&sentencepiece, &tokens, &ids)?;
        }
        let special = special_ids(&files, &ids, model);
        // Without a setting or template, sentencepiece prepends a token, Qwen2 does not.
        let (add_bos, add_eos) = files.ends([special.bos, special.eos], !is_bpe)?;
        Ok(Self {
            tokens,
            special,
            add_bos,
            add_eos,
            chat_template: chat_template(directory, files.config.chat_template)?,
            tokenizer,
        })
    }
}

/// Checks that every byte has a token, and that tokens of bytes have its text: llama.cpp throws at
/// a byte without a token in the middle of a text.
fn every_byte(path: &Path, tokens: &[Token], ids: &HashMap<String, u32>) -> Result<(), HfError> {
    let invalid = |problem: String| Err(HfError::invalid(path, "sentencepiece model", problem));
    let texts: HashSet<String> = (0..=u8::MAX).map(byte_text).collect();
    if let Some(missing) = (0..=u8::MAX).map(byte_text).find(|text| !ids.contains_key(text)) {
        return invalid(format!("no piece '{missing}', expected one for each of the 256 bytes (byte_fallback)"));
    }
    match tokens.iter().find(|token| token.token_type == TokenType::Byte && !texts.contains(&token.text)) {
        Some(token) => invalid(format!("the byte piece '{}', expected '<0x00>' to '<0xFF>'", token.text)),
        None => Ok(()),
    }
}

/// Tokens by row of the embedding matrix, inserted one by one.
struct Rows<'a> {
    directory: &'a Path,
    tokens: Vec<Option<Token>>,
}

impl<'a> Rows<'a> {
    fn new(directory: &'a Path, vocab: u64) -> Self {
        // The configuration bounds the number of rows.
        Self { directory, tokens: vec![None; vocab as usize] }
    }

    fn put(&mut self, id: u32, token: Token, file: &Path) -> Result<(), HfError> {
        let rows = self.tokens.len();
        let Some(slot) = self.tokens.get_mut(id as usize) else {
            let problem = format!("'{}' has no row: the model has {rows} (vocab_size)", token.text);
            return Err(HfError::invalid(file, format!("token {id}"), problem));
        };
        *slot = Some(token);
        Ok(())
    }

    fn put_pieces(&mut self, path: &Path) -> Result<Tokenizer, HfError> {
        let model = SentencePiece::read(path)?;
        for (id, piece) in (0..).zip(model.pieces) {
            // NUL would end the text in C++, and its byte token covers it. InternLM2 reserves rows
            // as `[UNUSED…]`.
            let token_type = if piece.text.starts_with("[UNUSED") { TokenType::Unused } else { piece.token_type };
            if !piece.text.contains('\0') {
                self.put(id, Token { text: piece.text, score: piece.score, token_type }, path)?;
            }
        }
        let (add_space_prefix, remove_extra_whitespaces) = (model.add_dummy_prefix, model.remove_extra_whitespaces);
        Ok(Tokenizer::SentencePiece { add_space_prefix, remove_extra_whitespaces })
    }

    /// Fills rows without a token and checks that texts are unique.
    fn finish(self) -> Result<(Vec<Token>, HashMap<String, u32>), HfError> {
        let mut ids = HashMap::with_capacity(self.tokens.len());
        let mut tokens = Vec::with_capacity(self.tokens.len());
        for (id, token) in (0..).zip(self.tokens) {
            let token = token.unwrap_or_else(|| filler(id));
            if let Some(other) = ids.insert(token.text.clone(), id) {
                let problem = format!("'{}' is also token {other}, expected distinct texts", token.text);
                return Err(HfError::invalid(self.directory, format!("token {id}"), problem));
            }
            tokens.push(token);
        }
        Ok((tokens, ids))
    }
}

/// Returns the text of a byte's token in a sentencepiece vocabulary.
pub(crate) fn byte_text(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// Returns the text of the token that fills an empty row.
pub(crate) fn filler_text(id: u64) -> String {
    format!("[PAD{id}]")
}

fn filler(id: u32) -> Token {
    Token { text: filler_text(id.into()), score: FILLER_SCORE, token_type: TokenType::Unused }
}

fn special_ids(files: &TokenizerFiles, ids: &HashMap<String, u32>, model: &LanguageConfig) -> SpecialIds {
    let [bos, eos, pad] = model.token_ids.map(|id| id.filter(|id| u64::from(*id) < model.vocab));
    let (config, map) = (&files.config.special, &files.map);
    let find = |first: &Option<TokenText>, second: &Option<TokenText>| {
        [first, second].into_iter().flatten().find_map(|token| ids.get(token.text()).copied())
    };
    let eot = TURN_ENDS.into_iter().find_map(|text| ids.get(text).copied());
    let eos = find(&config.eos_token, &map.eos_token).or(eos);
    SpecialIds {
        bos: find(&config.bos_token, &map.bos_token).or(bos),
        // InternLM2 chat models end with the end of turn even if their files name another token, as
        // in llama.cpp's converter.
        eos: if model.arch == LanguageArch::InternLm2 { eot.or(eos) } else { eos },
        eot,
        unk: find(&config.unk_token, &map.unk_token),
        sep: find(&config.sep_token, &map.sep_token),
        pad: find(&config.pad_token, &map.pad_token).or(pad),
        mask: find(&config.mask_token, &map.mask_token),
    }
}

fn chat_template(directory: &Path, configured: Option<ChatTemplate>) -> Result<Option<String>, HfError> {
    match configured {
        Some(ChatTemplate::One(template)) => return Ok(Some(template)),
        Some(ChatTemplate::Named(templates)) => {
            let default = templates.into_iter().find(|template| template.name == "default");
            return Ok(default.map(|template| template.template));
        }
        None => {}
    }
    let path = directory.join("chat_template.jinja");
    if !present(&path) {
        return Ok(None);
    }
    read_text_inside(directory, &path).map(Some)
}
