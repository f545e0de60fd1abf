//! A tokenizer without llama.cpp, for tests whose token ids need not be MM-PRM's: the longest token at each place.

use std::collections::HashMap;
use std::path::Path;

use mmprm::prompt::Run;
use mmprm::train::{Tokenizer, TokenizerError};
use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::hf::vocabulary::{TokenType, Tokenizer as Algorithm, Vocabulary};

/// The vocabulary of a checkpoint, split greedily.
pub struct GreedyTokenizer {
    ids: HashMap<Vec<u8>, u32>,
    texts: HashMap<String, u32>,
    longest: usize,
    first: Option<u32>,
}

impl GreedyTokenizer {
    pub fn open(checkpoint: &Path) -> Self {
        let config = ModelConfig::read(checkpoint).unwrap();
        let vocabulary = Vocabulary::read(checkpoint, &config.language).unwrap();
        let is_bpe = matches!(vocabulary.tokenizer, Algorithm::Bpe { .. });
        let (mut ids, mut texts) = (HashMap::new(), HashMap::new());
        for (id, token) in (0..).zip(&vocabulary.tokens) {
            let bytes = match token.token_type {
                TokenType::Byte => vec![u8::from_str_radix(&token.text[3..5], 16).unwrap()],
                TokenType::Normal if is_bpe => token.text.chars().map(byte).collect(),
                TokenType::Normal => token.text.replace('\u{2581}', " ").into_bytes(),
                TokenType::Control | TokenType::UserDefined => token.text.clone().into_bytes(),
                _ => continue,
            };
            ids.entry(bytes).or_insert(id);
            texts.insert(token.text.clone(), id);
        }
        let longest = ids.keys().map(Vec::len).max().unwrap();
        let first = vocabulary.special.bos.filter(|_| vocabulary.add_bos);
        Self { ids, texts, longest, first }
    }
}

/// The byte that a character of a byte-level vocabulary encodes (GPT-2's table).
fn byte(character: char) -> u8 {
    let code = u32::from(character);
    let moved = (0..=255_u32).filter(|byte| !matches!(byte, 33..=126 | 161..=172 | 174..=255));
    let byte = if code < 256 { Some(code) } else { moved.clone().nth(code as usize - 256) };
    byte.unwrap() as u8
}

impl Tokenizer for GreedyTokenizer {
    fn encode(&self, run: &Run, first: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens: Vec<u32> = self.first.filter(|_| first).into_iter().collect();
        let mut rest = run.text().as_bytes();
        while !rest.is_empty() {
            let lengths = (1..=self.longest.min(rest.len())).rev();
            let found = lengths.into_iter().find_map(|length| Some((self.ids.get(&rest[..length])?, length)));
            let (id, length) = found.ok_or("no token for a byte")?;
            tokens.push(*id);
            rest = &rest[length..];
        }
        Ok(tokens)
    }

    fn token(&self, text: &str) -> Option<u32> {
        self.texts.get(text).copied()
    }
}
