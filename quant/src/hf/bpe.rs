//! Byte-level BPE vocabularies: `vocab.json` + `merges.txt`, or `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::error::HfError;
use super::files::{present, read_json, read_text};

/// Qwen2's pre-tokenizer pattern. llama.cpp knows it by name; no other is supported.
const QWEN2_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// A base vocabulary and its merges in order of priority, each two symbols separated by a space.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bpe {
    pub tokens: BTreeMap<u32, String>,
    pub merges: Vec<String>,
}

impl Bpe {
    /// Reads the form that the directory has.
    pub(super) fn read(directory: &Path) -> Result<Self, HfError> {
        let (vocab, json) = (directory.join("vocab.json"), directory.join("tokenizer.json"));
        if present(&vocab) {
            let tokens = by_id(read_json(&vocab)?, &vocab)?;
            let merges = merges(&directory.join("merges.txt"))?;
            Ok(Self { tokens, merges })
        } else if present(&json) {
            Self::from_json(&json)
        } else {
            let expected = "expected tokenizer.model, vocab.json and merges.txt, or tokenizer.json";
            Err(HfError::invalid(directory, "tokenizer", expected))
        }
    }

    fn from_json(path: &Path) -> Result<Self, HfError> {
        let json: TokenizerJson = read_json(path)?;
        if json.model.kind != "BPE" || json.model.byte_fallback {
            let kind = &json.model.kind;
            return Err(HfError::invalid(path, "key 'model'", format!("a {kind} model, expected byte-level BPE")));
        }
        for split in json.pre_tokenizer.iter().flat_map(PreTokenizer::patterns) {
            if split != QWEN2_SPLIT {
                return Err(HfError::invalid(
                    path,
                    "key 'pre_tokenizer'",
                    format!("splits by '{split}', expected Qwen2's pattern"),
                ));
            }
        }
        if let Some((key, found)) = json.unsupported() {
            let problem = format!("{found}, expected what Qwen2's tokenizer has");
            return Err(HfError::invalid(path, format!("key '{key}'"), problem));
        }
        let mut merges = Vec::with_capacity(json.model.merges.len());
        for (index, merge) in json.model.merges.into_iter().enumerate() {
            let merge = match merge {
                Merge::Text(text) => text,
                Merge::Pair(left, right) => format!("{left} {right}"),
            };
            merges.push(checked(&merge).ok_or_else(|| not_a_merge(path, &format!("merge {index}"), &merge))?);
        }
        Ok(Self { tokens: by_id(json.model.vocab, path)?, merges })
    }
}

#[derive(Deserialize)]
struct TokenizerJson {
    model: JsonModel,
    pre_tokenizer: Option<PreTokenizer>,
    #[serde(default)]
    normalizer: Value,
}

impl TokenizerJson {
    /// Returns a setting with which texts would be split differently from llama.cpp's Qwen2.
    fn unsupported(&self) -> Option<(&'static str, &Value)> {
        let normalises = !self.normalizer.is_null() && self.normalizer["type"] != "NFC";
        let off = |value: &Value| value.is_null() || *value == false || *value == "";
        let settings = [
            ("model.continuing_subword_prefix", &self.model.continuing_subword_prefix),
            ("model.end_of_word_suffix", &self.model.end_of_word_suffix),
            ("model.ignore_merges", &self.model.ignore_merges),
        ];
        let steps = self.pre_tokenizer.iter().flat_map(PreTokenizer::steps);
        let steps = steps.flat_map(|step| {
            [("pre_tokenizer.add_prefix_space", &step.add_prefix_space), ("pre_tokenizer.use_regex", &step.use_regex)]
        });
        let found = normalises.then_some(("normalizer", &self.normalizer));
        found.or_else(|| settings.into_iter().chain(steps).find(|(_, value)| !off(value)))
    }
}

#[derive(Deserialize)]
struct JsonModel {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    continuing_subword_prefix: Value,
    #[serde(default)]
    end_of_word_suffix: Value,
    #[serde(default)]
    ignore_merges: Value,
    vocab: BTreeMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

#[derive(Deserialize)]
struct PreTokenizer {
    pattern: Option<Pattern>,
    #[serde(default)]
    add_prefix_space: Value,
    #[serde(default)]
    use_regex: Value,
    #[serde(default)]
    pretokenizers: Vec<PreTokenizer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
enum Pattern {
    Regex(String),
    String(String),
}

impl PreTokenizer {
    /// Returns this step and those inside it.
    fn steps(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.pretokenizers.iter().flat_map(Self::steps)).collect()
    }

    fn patterns(&self) -> Vec<&str> {
        let patterns = self.pattern.iter().map(|pattern| match pattern {
            Pattern::Regex(text) | Pattern::String(text) => text.as_str(),
        });
        patterns.chain(self.pretokenizers.iter().flat_map(Self::patterns)).collect()
    }
}

fn by_id(vocab: BTreeMap<String, u32>, path: &Path) -> Result<BTreeMap<u32, String>, HfError> {
    let mut tokens = BTreeMap::new();
    for (text, id) in vocab {
        if text.is_empty() {
            return Err(HfError::invalid(path, format!("token {id}"), "an empty text"));
        }
        if let Some(other) = tokens.insert(id, text) {
            return Err(HfError::invalid(path, format!("token {id}"), format!("used twice, also for '{other}'")));
        }
    }
    Ok(tokens)
}

fn merges(path: &Path) -> Result<Vec<String>, HfError> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(index, line)| {
        let version = *index == 0 && line.starts_with("#version");
        !version && !line.trim().is_empty()
    });
    lines
        .map(|(index, line)| checked(line).ok_or_else(|| not_a_merge(path, &format!("line {}", index + 1), line)))
        .collect()
}

/// Returns the merge if it is two symbols separated by a space.
fn checked(merge: &str) -> Option<String> {
    let (left, right) = merge.trim().split_once(' ')?;
    (!left.is_empty() && !right.is_empty() && !right.contains(' ')).then(|| format!("{left} {right}"))
}

fn not_a_merge(path: &Path, place: &str, found: &str) -> HfError {
    HfError::invalid(path, place, format!("'{found}', expected two symbols separated by a space"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_vocabulary_are_read_alike() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(old.path().join("vocab.json"), "{\"#\": 0, \"a\": 1, \"##\": 2}").unwrap();
        std::fs::write(old.path().join("merges.txt"), "#version: 0.2\n# #\n\na b\n").unwrap();
        let pre = serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated"}, {"type": "ByteLevel"}]});
        let json = serde_json::json!({"pre_tokenizer": pre, "model": {"type": "BPE", "vocab": {"#": 0, "a": 1, "##": 2},
            "merges": ["# #", ["a", "b"]]}});
        std::fs::write(new.path().join("tokenizer.json"), json.to_string()).unwrap();
        let expected = Bpe {
            tokens: [(0, "#"), (1, "a"), (2, "##")].map(|(id, text)| (id, text.to_owned())).into(),
            merges: vec!["# #".into(), "a b".into()],
        };
        assert_eq!(Bpe::read(old.path()).unwrap(), expected);
        assert_eq!(Bpe::read(new.path()).unwrap(), expected);
    }

    #[test]
    fn invalid_vocabularies_are_refused_with_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let error = || Bpe::read(dir.path()).unwrap_err().to_string();
        assert!(error().contains("expected tokenizer.model"));
        write("tokenizer.json", r#"{"model": {"type": "Unigram", "vocab": {}, "merges": []}}"#);
        assert!(error().contains("a Unigram model"));
        for (setting, expected) in [
            (r#""normalizer": {"type": "Lowercase"}, "#, "key 'normalizer'"),
            (r#""pre_tokenizer": {"type": "ByteLevel", "use_regex": true}, "#, "key 'pre_tokenizer.use_regex': true"),
        ] {
            write(
                "tokenizer.json",
                &format!(r#"{{{setting}"model": {{"type": "BPE", "vocab": {{}}, "merges": []}}}}"#),
            );
            assert!(error().contains(expected), "{}", error());
        }
        write("vocab.json", r#"{"a": 1, "b": 1}"#);
        assert!(error().contains("token 1: used twice"));
        write("vocab.json", r#"{"a": 1}"#);
        assert!(error().contains("merges.txt: cannot read"));
        write("merges.txt", "a b\na b c\n");
        assert!(error().contains("merges.txt: line 2: 'a b c'"));
    }
}
