//! The vocabulary of a checkpoint as llama.cpp needs it: one token per row of the embedding matrix.
//!
//! Takes the base vocabulary ([`super::sentencepiece`], or byte-level BPE), puts the added tokens in, fills the rows no
//! token has, and finds the tokens with a role. llama.cpp aborts on two tokens with one text, so those are refused here.
//!
//! ```
//! use mmprm_quant::hf::vocabulary::TokenType;
//! assert_eq!(TokenType::Control.id(), 3);
//! ```

use std::collections::HashMap;
use std::path::Path;

use super::added::{ChatTemplate, TokenText, TokenizerFiles};
use super::bpe::Bpe;
use super::config::{LanguageArch, LanguageConfig};
use super::sentencepiece::SentencePiece;
use super::{HfError, read_file};

/// Ends every turn of the chat format all supported models use.
const TURN_END: &str = "<|im_end|>";

/// Score of tokens that no merge makes: added ones, and fillers.
const ADDED_SCORE: f32 = -1000.0;
pub(crate) const FILLER_SCORE: f32 = -10_000.0;

/// A token's type (`llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// Ordinary text.
    Normal = 1,
    /// Stands for what the vocabulary lacks.
    Unknown = 2,
    /// Never part of visible text.
    Control = 3,
    /// Matched whole in text, and visible.
    UserDefined = 4,
    /// Has a row but no meaning.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

impl TokenType {
    /// The type's number in GGUF.
    pub fn id(self) -> i32 {
        self as i32
    }
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// Its score (0 in byte-level BPE, where merges decide).
    pub score: f32,
    /// Its type.
    pub token_type: TokenType,
}

/// The algorithm that makes tokens of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokenizer {
    /// Sentencepiece.
    SentencePiece {
        /// Whether a space is put before the text.
        add_space_prefix: bool,
        /// Whether runs of spaces are shortened, which llama.cpp does not do.
        remove_extra_whitespaces: bool,
    },
    /// Byte-level BPE with Qwen2's splitter.
    Bpe {
        /// Pairs in order of priority.
        merges: Vec<String>,
    },
}

/// Ids of the tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends what a model generates.
    pub eos: Option<u32>,
    /// Ends a turn (`<|im_end|>`).
    pub eot: Option<u32>,
    /// Stands for unknown text.
    pub unk: Option<u32>,
    /// Separates texts.
    pub sep: Option<u32>,
    /// Pads batches.
    pub pad: Option<u32>,
    /// Masks a token.
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
    /// Whether a text gets a beginning token.
    pub add_bos: bool,
    /// Whether a text gets an end token.
    pub add_eos: bool,
    /// The chat template (Jinja), if there is one.
    pub chat_template: Option<String>,
}

impl Vocabulary {
    /// Reads the tokenizer files of a checkpoint whose language model has the given configuration.
    ///
    /// # Errors
    /// [`HfError`] with the file and the token or line: files that are missing, broken or in conflict, tokens without a
    /// row, two tokens with one text.
    pub fn read(directory: &Path, model: &LanguageConfig) -> Result<Self, HfError> {
        let files = TokenizerFiles::read(directory)?;
        let mut rows = Rows::new(directory, model.vocab);
        let sentencepiece = directory.join("tokenizer.model");
        let tokenizer = if sentencepiece.exists() {
            rows.put_pieces(&sentencepiece)?
        } else {
            let bpe = Bpe::read(directory)?;
            for (id, text) in bpe.tokens {
                rows.put(id, Token { text, score: 0.0, token_type: TokenType::Normal }, directory)?;
            }
            Tokenizer::Bpe { merges: bpe.merges }
        };
        let is_bpe = matches!(tokenizer, Tokenizer::Bpe { .. });
        for (id, added) in &files.added {
            // As llama.cpp's converter has it: byte-level vocabularies often forget to mark their `<|…|>` as special.
            let special = added.special || (is_bpe && added.text.starts_with("<|") && added.text.ends_with("|>"));
            let token_type = if special { TokenType::Control } else { TokenType::UserDefined };
            let score = if is_bpe { 0.0 } else { ADDED_SCORE };
            rows.put(*id, Token { text: added.text.clone(), score, token_type }, &added.file)?;
        }
        let (tokens, ids) = rows.finish()?;
        let special = special_ids(&files, &ids, model);
        Ok(Self {
            tokens,
            special,
            // The classes' defaults: sentencepiece tokenizers begin a text with a token, Qwen2's does not.
            add_bos: files.config.add_bos_token.unwrap_or(!is_bpe),
            add_eos: files.config.add_eos_token.unwrap_or(false),
            chat_template: chat_template(directory, files.config.chat_template)?,
            tokenizer,
        })
    }
}

/// Rows of the embedding matrix that get their tokens one by one.
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
            // NUL would end the text in C++; its byte token covers it. InternLM2 reserves rows as `[UNUSED…]`.
            let token_type = if piece.text.starts_with("[UNUSED") { TokenType::Unused } else { piece.token_type };
            if !piece.text.contains('\0') {
                self.put(id, Token { text: piece.text, score: piece.score, token_type }, path)?;
            }
        }
        let (add_space_prefix, remove_extra_whitespaces) = (model.add_dummy_prefix, model.remove_extra_whitespaces);
        Ok(Tokenizer::SentencePiece { add_space_prefix, remove_extra_whitespaces })
    }

    /// Fills the rows without a token and checks that no text occurs twice.
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

/// The text of the token of a row that no token has.
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
    let eot = ids.get(TURN_END).copied();
    let eos = find(&config.eos_token, &map.eos_token).or(eos);
    SpecialIds {
        bos: find(&config.bos_token, &map.bos_token).or(bos),
        // InternLM2 chat models end with the turn's end, whatever their files say; llama.cpp's converter knows it too.
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
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(read_file(&path)?);
    text.map(Some).map_err(|error| HfError::invalid(&path, "text", format!("is not UTF-8: {error}")))
}
