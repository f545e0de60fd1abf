//! `tokenizer.model`: a sentencepiece model.
//!
//! Reads the tokens ("pieces") with scores and types, and the normaliser flags that GGUF carries
//! (fields of `sentencepiece_model.proto`). Accepts only the BPE and unigram models that
//! llama.cpp's `llama` tokenizer supports, with the identity normaliser. Tokens that a checkpoint
//! adds or renames are handled by [`super::vocabulary`].

use std::path::Path;

use super::error::HfError;
use super::files::read_file;
use super::protobuf::{self, Value};
use super::token::{Token, TokenType};

/// Maximum number of pieces; real models have up to 260 thousand.
const MAX_PIECES: usize = 1 << 22;

/// A sentencepiece model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentencePiece {
    /// The pieces; the index is the token id.
    pub(super) pieces: Vec<Token>,
    /// Whether a space is prepended to the text.
    pub(super) add_dummy_prefix: bool,
    /// Whether runs of spaces are collapsed to one, and removed at the ends.
    pub(super) remove_extra_whitespaces: bool,
}

impl SentencePiece {
    /// Reads a model file.
    pub(super) fn read(path: &Path) -> Result<Self, HfError> {
        let bytes = read_file(path)?;
        Self::parse(&bytes).map_err(|problem| HfError::invalid(path, "sentencepiece model", problem))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // The defaults of the format: fields with these values may be absent.
        let mut model = Self { pieces: Vec::new(), add_dummy_prefix: true, remove_extra_whitespaces: true };
        protobuf::fields(bytes, |number, value| match number {
            1 => {
                if model.pieces.len() == MAX_PIECES {
                    return Err(format!("more than {MAX_PIECES} pieces, the maximum"));
                }
                let index = model.pieces.len();
                let piece = message(value).and_then(piece).map_err(|problem| format!("piece {index}: {problem}"))?;
                model.pieces.push(piece);
                Ok(())
            }
            2 => trainer(message(value)?),
            3 => model.normalizer(message(value)?),
            _ => Ok(()),
        })?;
        if model.pieces.is_empty() {
            return Err("no pieces".into());
        }
        Ok(model)
    }

    fn normalizer(&mut self, bytes: &[u8]) -> Result<(), String> {
        protobuf::fields(bytes, |number, value| {
            match number {
                2 if value.as_bytes().is_some_and(|map| !map.is_empty()) => {
                    return Err("a normaliser with a character map, expected the identity".into());
                }
                3 => self.add_dummy_prefix = flag(value)?,
                4 => self.remove_extra_whitespaces = flag(value)?,
                _ => {}
            }
            Ok(())
        })
    }
}

fn message(value: Value<'_>) -> Result<&[u8], String> {
    value.as_bytes().ok_or_else(|| "expected a message".into())
}

fn flag(value: Value<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "expected a boolean".into())
}

fn trainer(bytes: &[u8]) -> Result<(), String> {
    protobuf::fields(bytes, |number, value| match (number, value) {
        (3, Value::Varint(kind @ (3 | 4))) => {
            Err(format!("model type {kind} (word or character), expected unigram or BPE"))
        }
        (24, Value::Varint(suffix)) if suffix != 0 => Err("whitespace as suffix, expected as prefix".into()),
        _ => Ok(()),
    })
}

fn piece(bytes: &[u8]) -> Result<Token, String> {
    let mut piece = Token { text: String::new(), score: 0.0, token_type: TokenType::Normal };
    protobuf::fields(bytes, |number, value| {
        match number {
            1 => {
                let text = message(value)?.to_vec();
                piece.text = String::from_utf8(text).map_err(|error| format!("text is not UTF-8: {error}"))?;
            }
            2 => piece.score = value.as_f32().filter(|score| !score.is_nan()).ok_or("expected a number as score")?,
            3 => {
                piece.token_type = match value {
                    Value::Varint(1) => TokenType::Normal,
                    Value::Varint(2) => TokenType::Unknown,
                    Value::Varint(3) => TokenType::Control,
                    Value::Varint(4) => TokenType::UserDefined,
                    Value::Varint(5) => TokenType::Unused,
                    Value::Varint(6) => TokenType::Byte,
                    Value::Varint(other) => return Err(format!("type {other}, expected 1 to 6")),
                    _ => return Err("type: not a number, expected 1 to 6".into()),
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if piece.text.is_empty() {
        return Err("an empty text".into());
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn pieces_and_flags_are_read_and_defaults_kept() {
        let piece = [field(1, "▁the".as_bytes()), vec![0x15, 0, 0, 0x80, 0xbf], vec![0x18, 4]].concat();
        let bytes = [field(1, &field(1, b"<unk>")), field(1, &piece), field(3, &[0x18, 0])].concat();
        let model = SentencePiece::parse(&bytes).unwrap();
        assert_eq!(model.pieces[0], Token { text: "<unk>".into(), score: 0.0, token_type: TokenType::Normal });
        assert_eq!(model.pieces[1], Token { text: "▁the".into(), score: -1.0, token_type: TokenType::UserDefined });
        assert!(!model.add_dummy_prefix && model.remove_extra_whitespaces);
    }

    #[test]
    fn models_that_llama_cpp_does_not_support_are_refused() {
        let one = field(1, &field(1, b"x"));
        for (extra, expected) in [
            (field(3, &field(2, b"map")), "character map"),
            (field(2, &[0x18, 3]), "model type 3"),
            (field(2, &[0xc0, 1, 1]), "suffix"),
            (field(1, &[0x18, 9]), "piece 1: type"),
            (field(1, &[]), "piece 1: an empty text"),
        ] {
            let error = SentencePiece::parse(&[one.clone(), extra].concat()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(SentencePiece::parse(&[]).unwrap_err(), "no pieces");
    }
}
