//! Byte-level BPE vocabularies: `vocab.json` + `merges.txt`, or `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::error::HfError;
use super::files::{present, read_json, read_text};

/// Qwen2's pre-tokenizer pattern.
const QWEN2_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Llama 3's pre-tokenizer pattern.
const LLAMA3_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How texts are split before merging. llama.cpp knows these by name; others are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitter {
    /// Qwen2's, also of Qwen2.5 and Qwen3: every digit alone.
    Qwen2,
    /// Llama 3's: up to three digits together; a word that is a token is not merged from parts.
    Llama3,
    /// `SmolLM`'s: GPT-2's, after every digit is taken apart.
    SmolLm,
}

impl Splitter {
    /// Returns the name in llama.cpp.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Llama3 => "llama-bpe",
            Self::SmolLm => "smollm",
        }
    }
}

/// A base vocabulary and its merges in order of priority, each two symbols separated by a space.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bpe {
    pub tokens: BTreeMap<u32, String>,
    pub merges: Vec<String>,
    pub splitter: Splitter,
}

impl Bpe {
    /// Reads the form that the directory has. The splitter is in `tokenizer.json`; without that file
    /// it is `default`, if the family has one.
    pub(super) fn read(directory: &Path, default: Option<Splitter>) -> Result<Self, HfError> {
        let (vocab, json) = (directory.join("vocab.json"), directory.join("tokenizer.json"));
        let has_json = present(&json);
        if present(&vocab) {
            let tokens = by_id(read_json(&vocab)?, &vocab)?;
            let merges = merges(&directory.join("merges.txt"))?;
            let splitter = if has_json { Some(read_json::<TokenizerJson>(&json)?.splitter(&json)?) } else { default };
            let missing = || HfError::invalid(&json, "pre_tokenizer", "missing, expected how texts are split");
            Ok(Self { tokens, merges, splitter: splitter.ok_or_else(missing)? })
        } else if has_json {
            Self::from_json(&json)
        } else {
            let expected = "expected tokenizer.model, vocab.json and merges.txt, or tokenizer.json";
            Err(HfError::invalid(directory, "tokenizer", expected))
        }
    }

    fn from_json(path: &Path) -> Result<Self, HfError> {
        let json: TokenizerJson = read_json(path)?;
        let splitter = json.splitter(path)?;
        let mut merges = Vec::with_capacity(json.model.merges.len());
        for (index, merge) in json.model.merges.into_iter().enumerate() {
            let merge = match merge {
                Merge::Text(text) => text,
                Merge::Pair(left, right) => format!("{left} {right}"),
            };
            merges.push(checked(&merge).ok_or_else(|| not_a_merge(path, &format!("merge {index}"), &merge))?);
        }
        Ok(Self { tokens: by_id(json.model.vocab, path)?, merges, splitter })
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
    /// Returns the splitter, if texts are tokenized as llama.cpp does it by that name.
    fn splitter(&self, path: &Path) -> Result<Splitter, HfError> {
        if self.model.kind != "BPE" || self.model.byte_fallback {
            let problem = if self.model.byte_fallback {
                "a sentencepiece vocabulary (byte_fallback), expected its tokenizer.model beside this file".to_owned()
            } else {
                format!("a {} model, expected byte-level BPE", self.model.kind)
            };
            return Err(HfError::invalid(path, "key 'model'", problem));
        }
        let steps: Vec<&PreTokenizer> = self.pre_tokenizer.iter().flat_map(PreTokenizer::steps).collect();
        let splitter = splitter(&steps)
            .map_err(|(key, problem)| HfError::invalid(path, format!("key 'pre_tokenizer{key}'"), problem))?;
        if let Some((key, found)) = self.unsupported(splitter) {
            let problem = format!("{found}, expected what tokenizers with the splitter '{}' have", splitter.name());
            return Err(HfError::invalid(path, format!("key '{key}'"), problem));
        }
        Ok(splitter)
    }

    /// Returns a setting with which texts would be tokenized differently by llama.cpp.
    fn unsupported(&self, splitter: Splitter) -> Option<(&'static str, &Value)> {
        let composes = self.normalizer["type"] == "NFC" && splitter == Splitter::Qwen2;
        let normalises = !self.normalizer.is_null() && !composes;
        let off = |value: &Value| value.is_null() || *value == false || *value == "";
        let settings = [
            ("model.continuing_subword_prefix", &self.model.continuing_subword_prefix),
            ("model.end_of_word_suffix", &self.model.end_of_word_suffix),
        ];
        let ignores = self.model.ignore_merges == true;
        let words =
            (ignores != (splitter == Splitter::Llama3)).then_some(("model.ignore_merges", &self.model.ignore_merges));
        let found = normalises.then_some(("normalizer", &self.normalizer)).or(words);
        found.or_else(|| settings.into_iter().find(|(_, value)| !off(value)))
    }
}

/// Returns the splitter that some steps are, or a setting of a step and what is wrong with it.
fn splitter(steps: &[&PreTokenizer]) -> Result<Splitter, (&'static str, String)> {
    let [first, bytes] = steps else { return Err(("", unknown(steps))) };
    let by_regex = match (first.kind.as_str(), bytes.kind.as_str()) {
        ("Split", "ByteLevel") => false,
        ("Digits", "ByteLevel") => true,
        _ => return Err(("", unknown(steps))),
    };
    if !matches!(bytes.add_prefix_space, None | Some(false)) {
        return Err((".add_prefix_space", "true, expected false".to_owned()));
    }
    // Absent, it is true.
    if bytes.use_regex.unwrap_or(true) != by_regex {
        return Err((".use_regex", format!("{}, expected {by_regex} after {}", !by_regex, first.kind)));
    }
    if by_regex {
        let is_individual = first.individual_digits == Some(true);
        let problem = || (".individual_digits", "false, expected true".to_owned());
        return if is_individual { Ok(Splitter::SmolLm) } else { Err(problem()) };
    }
    if first.behavior.as_deref() != Some("Isolated") || first.invert == Some(true) {
        let behavior = first.behavior.as_deref().unwrap_or("missing");
        let inverted = if first.invert == Some(true) { ", inverted" } else { "" };
        return Err((".behavior", format!("{behavior}{inverted}, expected Isolated")));
    }
    let (Some(Pattern::Regex(pattern) | Pattern::String(pattern)), known) =
        (&first.pattern, [(QWEN2_SPLIT, Splitter::Qwen2), (LLAMA3_SPLIT, Splitter::Llama3)])
    else {
        return Err((".pattern", "missing, expected that of Qwen2 or Llama 3".to_owned()));
    };
    let found = known.into_iter().find(|(known, _)| known == pattern).map(|(_, splitter)| splitter);
    found.ok_or_else(|| ("", format!("splits by '{pattern}', expected the pattern of Qwen2 or Llama 3")))
}

fn unknown(steps: &[&PreTokenizer]) -> String {
    let kinds: Vec<&str> = steps.iter().map(|step| step.kind.as_str()).collect();
    let found = if kinds.is_empty() { "missing".to_owned() } else { format!("the steps {}", kinds.join(", ")) };
    format!("{found}, expected Split or Digits, then ByteLevel, as Qwen2, Llama 3 and SmolLM have it")
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

/// A step, or a sequence of steps, each with its settings.
#[derive(Deserialize)]
struct PreTokenizer {
    #[serde(rename = "type")]
    kind: String,
    pattern: Option<Pattern>,
    behavior: Option<String>,
    invert: Option<bool>,
    individual_digits: Option<bool>,
    add_prefix_space: Option<bool>,
    use_regex: Option<bool>,
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
    /// Returns this step, or those of a sequence.
    fn steps(&self) -> Vec<&Self> {
        match self.kind.as_str() {
            "Sequence" => self.pretokenizers.iter().flat_map(Self::steps).collect(),
            _ => vec![self],
        }
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
            {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated"},
            {"type": "ByteLevel", "use_regex": false}]});
        let json = serde_json::json!({"pre_tokenizer": pre, "model": {"type": "BPE", "vocab": {"#": 0, "a": 1, "##": 2},
            "merges": ["# #", ["a", "b"]]}});
        std::fs::write(new.path().join("tokenizer.json"), json.to_string()).unwrap();
        let expected = Bpe {
            tokens: [(0, "#"), (1, "a"), (2, "##")].map(|(id, text)| (id, text.to_owned())).into(),
            merges: vec!["# #".into(), "a b".into()],
            splitter: Splitter::Qwen2,
        };
        assert_eq!(Bpe::read(old.path(), Some(Splitter::Qwen2)).unwrap(), expected);
        assert_eq!(Bpe::read(new.path(), None).unwrap(), expected);
        let error = Bpe::read(old.path(), None).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: pre_tokenizer: missing"), "{error}");
    }

    #[test]
    fn the_splitter_is_found_by_its_pattern_and_needs_its_settings() {
        let dir = tempfile::tempdir().unwrap();
        let write = |steps: Value, ignore: bool, normalizer: Value| {
            let json = serde_json::json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
                "normalizer": normalizer,
                "model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "ignore_merges": ignore}});
            std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
            Bpe::read(dir.path(), None).map(|bpe| bpe.splitter).map_err(|error| error.to_string())
        };
        let bytes =
            |regex: bool| serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": regex});
        let split = |pattern: &str, behavior: &str| serde_json::json!([{"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior}, bytes(false)]);
        let read =
            |pattern: &str, ignore: bool, normalizer: Value| write(split(pattern, "Isolated"), ignore, normalizer);
        let digits = |individual: bool| serde_json::json!({"type": "Digits", "individual_digits": individual});
        let nfc = serde_json::json!({"type": "NFC"});
        assert_eq!(read(QWEN2_SPLIT, false, nfc.clone()), Ok(Splitter::Qwen2));
        assert_eq!(read(LLAMA3_SPLIT, true, Value::Null), Ok(Splitter::Llama3));
        let smollm = serde_json::json!([digits(true), bytes(true)]);
        assert_eq!(write(smollm.clone(), false, Value::Null), Ok(Splitter::SmolLm));
        let qwen2 = split(QWEN2_SPLIT, "Isolated");
        let three = serde_json::json!([qwen2[0], digits(true), bytes(false)]);
        let default = serde_json::json!([qwen2[0], {"type": "ByteLevel"}]);
        for (found, expected) in [
            (read(LLAMA3_SPLIT, false, Value::Null), "key 'model.ignore_merges': false"),
            (read(QWEN2_SPLIT, true, Value::Null), "key 'model.ignore_merges': true"),
            (read(LLAMA3_SPLIT, true, nfc.clone()), "key 'normalizer'"),
            (write(smollm, false, nfc), "key 'normalizer'"),
            (read(r"\s+", false, Value::Null), r"splits by '\s+', expected the pattern of Qwen2 or Llama 3"),
            (write(split(QWEN2_SPLIT, "Removed"), false, Value::Null), "key 'pre_tokenizer.behavior': Removed"),
            (write(three, false, Value::Null), "the steps Split, Digits, ByteLevel, expected"),
            (write(serde_json::json!([bytes(true)]), false, Value::Null), "the steps ByteLevel, expected"),
            (write(serde_json::json!([]), false, Value::Null), "key 'pre_tokenizer': missing, expected"),
            (write(default, false, Value::Null), "key 'pre_tokenizer.use_regex': true, expected false after Split"),
            (
                write(serde_json::json!([digits(false), bytes(true)]), false, Value::Null),
                "key 'pre_tokenizer.individual_digits': false, expected true",
            ),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
        read(r"\s+", false, Value::Null).unwrap_err();
        // The vocabulary of another file has the splitter of this one.
        std::fs::write(dir.path().join("vocab.json"), r#"{"a": 0}"#).unwrap();
        std::fs::write(dir.path().join("merges.txt"), "").unwrap();
        assert!(Bpe::read(dir.path(), Some(Splitter::Qwen2)).unwrap_err().to_string().contains("splits by"));
    }

    #[test]
    fn invalid_vocabularies_are_refused_with_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let error = || Bpe::read(dir.path(), None).unwrap_err().to_string();
        assert!(error().contains("expected tokenizer.model"));
        write("tokenizer.json", r#"{"model": {"type": "Unigram", "vocab": {}, "merges": []}}"#);
        assert!(error().contains("a Unigram model"));
        write("tokenizer.json", r#"{"model": {"type": "BPE", "byte_fallback": true, "vocab": {}, "merges": []}}"#);
        assert!(error().contains("expected its tokenizer.model beside this file"));
        write("tokenizer.json", r#"{"model": {"type": "BPE", "vocab": {}, "merges": []}}"#);
        assert!(error().contains("key 'pre_tokenizer': missing, expected Split or Digits"), "{}", error());
        write("vocab.json", r#"{"a": 1, "b": 1}"#);
        assert!(error().contains("token 1: used twice"));
        write("vocab.json", r#"{"a": 1}"#);
        assert!(error().contains("merges.txt: cannot read"));
        write("merges.txt", "a b\na b c\n");
        assert!(error().contains("merges.txt: line 2: 'a b c'"));
    }
}
