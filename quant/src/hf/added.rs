//! Tokens added to the base vocabulary, collected from the four files that may list them.
//!
//! `added_tokens.json` lists ids, `tokenizer_config.json` and `tokenizer.json` ids and whether a
//! token is special, `special_tokens_map.json` the texts of special tokens. Files that disagree on
//! the text of an id are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::error::HfError;
use super::files::read_optional_json;
use super::template::Template;

/// Classes of tokenizers that are what `tokenizer.json` says, in transformers 4 and 5.
const GENERAL: [&str; 2] = ["PreTrainedTokenizerFast", "TokenizersBackend"];

/// An added token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub text: String,
    /// Whether it is a control token: never part of visible text.
    pub special: bool,
    /// The file that lists it.
    pub file: PathBuf,
}

/// Added tokens by id.
pub(super) type AddedTokens = BTreeMap<u32, Added>;

/// A token as its text, or as an object with text and flags.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TokenText {
    Plain(String),
    Object { content: String },
}

impl TokenText {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Object { content: text } => text,
        }
    }
}

/// The used part of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TokenizerConfig {
    #[serde(default)]
    added_tokens_decoder: BTreeMap<u32, Decoder>,
    pub add_bos_token: Option<bool>,
    pub add_eos_token: Option<bool>,
    tokenizer_class: Option<String>,
    pub chat_template: Option<ChatTemplate>,
    #[serde(flatten)]
    pub special: SpecialTexts,
}

#[derive(Debug, Deserialize)]
struct Decoder {
    content: String,
    #[serde(default)]
    special: bool,
}

/// One template, or several named ones.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ChatTemplate {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
pub(super) struct NamedTemplate {
    pub name: String,
    pub template: String,
}

/// Texts of the tokens with a role, in `tokenizer_config.json` and `special_tokens_map.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SpecialTexts {
    pub bos_token: Option<TokenText>,
    pub eos_token: Option<TokenText>,
    pub unk_token: Option<TokenText>,
    pub sep_token: Option<TokenText>,
    pub pad_token: Option<TokenText>,
    pub mask_token: Option<TokenText>,
    #[serde(default)]
    additional_special_tokens: Vec<TokenText>,
}

impl SpecialTexts {
    fn contains(&self, text: &str) -> bool {
        let roles =
            [&self.bos_token, &self.eos_token, &self.unk_token, &self.sep_token, &self.pad_token, &self.mask_token];
        roles.into_iter().flatten().chain(&self.additional_special_tokens).any(|token| token.text() == text)
    }
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<JsonToken>,
    #[serde(default)]
    post_processor: Value,
}

#[derive(Deserialize)]
struct JsonToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

/// The added tokens, and the two files that assign roles to tokens.
pub(super) struct TokenizerFiles {
    pub config: TokenizerConfig,
    pub map: SpecialTexts,
    pub added: AddedTokens,
    /// What `tokenizer.json` puts around a text, if it says so.
    template: Option<Template>,
}

impl TokenizerFiles {
    pub(super) fn read(directory: &Path) -> Result<Self, HfError> {
        let config_path = directory.join("tokenizer_config.json");
        let config: TokenizerConfig = read_optional_json(&config_path)?.unwrap_or_default();
        let map: SpecialTexts = read_optional_json(&directory.join("special_tokens_map.json"))?.unwrap_or_default();
        let mut added = AddedTokens::new();
        for (id, token) in &config.added_tokens_decoder {
            add(&mut added, *id, &token.content, token.special, &config_path)?;
        }
        let path = directory.join("tokenizer.json");
        let json: Option<TokenizerJson> = read_optional_json(&path)?;
        for token in json.iter().flat_map(|json| &json.added_tokens) {
            add(&mut added, token.id, &token.content, token.special, &path)?;
        }
        let template = json.map_or(Ok(None), |json| Template::read(&json.post_processor, &path))?;
        let path = directory.join("added_tokens.json");
        let listed: BTreeMap<String, u32> = read_optional_json(&path)?.unwrap_or_default();
        for (text, id) in listed {
            // This file lists only ids; the other files, or the maps of special tokens, say which
            // are special.
            let known = added.get(&id).map(|token| token.special);
            let special = known.unwrap_or_else(|| config.special.contains(&text) || map.contains(&text));
            add(&mut added, id, &text, special, &path)?;
        }
        Ok(Self { config, map, added, template })
    }

    /// Returns whether a text begins with the token `bos` and ends with `eos`; the first by default
    /// as given.
    pub(super) fn ends(&self, [bos, eos]: [Option<u32>; 2], default: bool) -> Result<(bool, bool), HfError> {
        let settings = [self.config.add_bos_token, self.config.add_eos_token];
        let Some(template) = &self.template else {
            return Ok((settings[0].unwrap_or(default), settings[1].unwrap_or(false)));
        };
        // The classes of a family build the template anew by these settings; the general one keeps
        // what the file has.
        let is_general = self.config.tokenizer_class.as_deref().is_none_or(|class| GENERAL.contains(&class));
        let own = [template.before(bos)?, template.after(eos)?];
        let [first, last] = [0, 1].map(|end| if is_general { own[end] } else { settings[end].unwrap_or(own[end]) });
        Ok((first, last))
    }
}

fn add(added: &mut AddedTokens, id: u32, text: &str, special: bool, file: &Path) -> Result<(), HfError> {
    if text.is_empty() {
        return Err(HfError::invalid(file, format!("token {id}"), "an empty text"));
    }
    if let Some(known) = added.get(&id).filter(|known| known.text != text) {
        let problem = format!("is '{text}', but '{}' in {}", known.text, known.file.display());
        return Err(HfError::invalid(file, format!("token {id}"), problem));
    }
    added.entry(id).or_insert_with(|| Added { text: text.to_owned(), special, file: file.to_owned() });
    Ok(())
}
