//! Removing an API key from texts that come from its server.
//!
//! A server may repeat the key that it was sent: whole, cut short, or encoded. Messages, logs and
//! files show none of that.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::ApiKey;

/// What stands in the place of the key.
const MASK: &str = "(the key)";

/// Shortest part of the key that is removed from messages, in bytes.
const KEY_PART: usize = 4;
/// Shortest part of an encoded key that is removed from messages, in bytes.
const ENCODED_PART: usize = 8;

/// Shortest key that is removed from texts which are kept, in bytes.
const DISTINCT: usize = 8;

/// The forms of a key.
#[derive(Clone, Default)]
pub(super) struct Secret {
    /// The key itself and its encodings, lower case, each in a set of its own.
    whole: Vec<HashSet<Vec<u8>>>,
    /// Length of the key, if no ordinary text holds it by chance.
    distinct: Option<usize>,
    /// Parts of the key, lower case; all of one length.
    parts: HashSet<Vec<u8>>,
    /// Parts of its encodings, lower case; all of one length.
    encoded_parts: HashSet<Vec<u8>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(hidden)")
    }
}

impl Secret {
    /// The forms of `key`; without a key, nothing is ever removed.
    pub(super) fn new(key: Option<&ApiKey>) -> Self {
        let Some(ApiKey(key)) = key else { return Self::default() };
        let mut encoded: Vec<Vec<u8>> = vec![key.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()];
        // In the base64 of a longer text, such as `Bearer KEY`, the key begins at one of three
        // places in a group of four characters; the first and last character may hold other bits.
        for before in 0..3 {
            let bytes = [&[0; 2][..before], key.as_bytes()].concat();
            let start = (before * 8).div_ceil(6);
            let end = bytes.len() * 8 / 6;
            for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
                encoded.push(text.as_bytes()[start..end.max(start)].to_vec());
            }
        }
        for text in &mut encoded {
            text.make_ascii_lowercase();
        }
        let key = key.to_ascii_lowercase().into_bytes();
        let windows = |text: &[u8], length: usize| -> Vec<Vec<u8>> {
            text.windows(length.min(text.len()).max(1)).map(<[u8]>::to_vec).collect()
        };
        let parts = windows(&key, KEY_PART).into_iter().collect();
        let long = |text: &&Vec<u8>| text.len() >= ENCODED_PART;
        let encoded_parts = encoded.iter().filter(long).flat_map(|text| windows(text, ENCODED_PART)).collect();
        // Servers that need no key are often given a word such as `EMPTY`.
        let is_distinct = key.len() >= DISTINCT && !key.iter().all(u8::is_ascii_alphabetic);
        let distinct = is_distinct.then_some(key.len());
        let encoded = encoded.into_iter().filter(|text| text.len() >= ENCODED_PART);
        let whole = std::iter::once(key).chain(encoded).map(|form| HashSet::from([form])).collect();
        Self { whole, distinct, parts, encoded_parts }
    }

    /// Returns a message without the key, its encodings, and parts of them.
    pub(super) fn masked(&self, text: &str) -> String {
        self.replaced(text, [&self.parts, &self.encoded_parts])
    }

    /// Removes the key and its encodings from all texts of a reply, which may be kept; parts of the
    /// key, and keys that are short or a word, are left, since a solution may hold them by chance.
    pub(super) fn mask_whole(&self, value: &mut Value) {
        let Some(length) = self.distinct else { return };
        match value {
            // No form is shorter than the key.
            Value::String(text) if text.len() >= length => *text = self.replaced(text, &self.whole),
            Value::Array(values) => values.iter_mut().for_each(|value| self.mask_whole(value)),
            Value::Object(object) => {
                object.values_mut().for_each(|value| self.mask_whole(value));
            }
            _ => {}
        }
    }

    /// Whether a text holds the key itself, and not by chance.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let is_replaced = |key: &HashSet<Vec<u8>>| self.replaced(text, [key]) != text;
        self.distinct.is_some() && self.whole.first().is_some_and(is_replaced)
    }

    /// Replaces each run of bytes that parts of one of the sets cover. Percent-encoded bytes count
    /// as what they encode.
    fn replaced<'a>(&self, text: &str, sets: impl IntoIterator<Item = &'a HashSet<Vec<u8>>>) -> String {
        if self.whole.is_empty() {
            return text.to_owned();
        }
        let (bytes, starts) = decoded(text);
        let mut hidden = vec![false; bytes.len()];
        for set in sets {
            let Some(length) = set.iter().next().map(Vec::len) else { continue };
            for at in 0..(bytes.len() + 1).saturating_sub(length) {
                if set.contains(&bytes[at..at + length]) {
                    hidden[at..at + length].fill(true);
                }
            }
        }
        if !hidden.contains(&true) {
            return text.to_owned();
        }
        let mut masked = String::with_capacity(text.len());
        for (index, run) in hidden.iter().enumerate() {
            let (start, end) = (starts[index], starts.get(index + 1).copied().unwrap_or(text.len()));
            if !run {
                masked.push_str(&text[start..end]);
            } else if index == 0 || !hidden[index - 1] {
                masked.push_str(MASK);
            }
        }
        masked
    }
}

/// The bytes of a text in lower case, percent-encoded ones decoded (twice at most), and where each
/// begins. The bytes of a character that is not ASCII count as one.
fn decoded(text: &str) -> (Vec<u8>, Vec<usize>) {
    let raw = text.as_bytes();
    let digit = |at: usize| raw.get(at).and_then(|&byte| (byte as char).to_digit(16));
    let (mut bytes, mut starts) = (Vec::with_capacity(raw.len()), Vec::with_capacity(raw.len()));
    let mut at = 0;
    while at < raw.len() {
        // `%41`, or `%2541`, whose `%25` encodes the `%`.
        let skipped = if raw[at..].starts_with(b"%25") && digit(at + 3).is_some() { 3 } else { 1 };
        let (byte, length) = match (raw[at], digit(at + skipped), digit(at + skipped + 1)) {
            (b'%', Some(high), Some(low)) if high < 8 => ((high * 16 + low) as u8, skipped + 2),
            (byte, ..) if byte.is_ascii() => (byte, 1),
            _ => (0, text[at..].chars().next().map_or(1, char::len_utf8)),
        };
        starts.push(at);
        bytes.push(byte.to_ascii_lowercase());
        at += length;
    }
    (bytes, starts)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    const KEY: &str = "sk-Q7/xw+91Zr_pLm";

    fn secret() -> Secret {
        Secret::new(Some(&ApiKey::new(KEY).unwrap()))
    }

    #[test]
    fn the_key_its_parts_and_its_encodings_are_removed() {
        let percent = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let reserved = KEY.replace('/', "%2F").replace('+', "%2b");
        let twice = reserved.replace('%', "%25");
        for (form, expected) in [
            (KEY.to_owned(), "(the key)"),
            (KEY[..9].to_owned(), "(the key)"),
            (KEY[4..12].to_owned(), "(the key)"),
            (KEY[KEY.len() - 4..].to_owned(), "(the key)"),
            (KEY.to_uppercase(), "(the key)"),
            (format!("{}***{}", &KEY[..5], &KEY[12..]), "(the key)***(the key)"),
            (percent, "(the key)"),
            (reserved, "(the key)"),
            (twice, "(the key)"),
        ] {
            let told = secret().masked(&format!("é {form}|20% of é"));
            assert_eq!(told, format!("é {expected}|20% of é"), "{form}");
        }
        for text in [KEY.to_owned(), format!("Bearer {KEY}"), format!("a:{KEY}"), format!("ab:{KEY}:c")] {
            for form in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let told = secret().masked(&form);
                let left = told.replace("(the key)", "");
                assert!(told.contains("(the key)") && left.len() + KEY.len() <= form.len(), "{form}: {told}");
            }
        }
        let hex = KEY.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        assert_eq!(secret().masked(&hex), "(the key)");
        assert_eq!(Secret::new(None).masked(KEY), KEY);
    }

    #[test]
    fn texts_that_are_kept_lose_the_whole_key_only() {
        let mut value = json!({"a": [format!("x {KEY}"), "sk-Q7 and 91Zr"], "n": 1});
        secret().mask_whole(&mut value);
        assert_eq!(value, json!({"a": ["x (the key)", "sk-Q7 and 91Zr"], "n": 1}));
        assert!(secret().is_in(&format!("http://h/{KEY}/v1")) && !secret().is_in("http://h/v1"));
    }

    #[test]
    fn a_short_key_is_removed_whole() {
        let secret = Secret::new(Some(&ApiKey::new("ab").unwrap()));
        assert_eq!(secret.masked("xaby"), "x(the key)y");
        for word in ["x", "EMPTY", "password"] {
            let secret = Secret::new(Some(&ApiKey::new(word).unwrap()));
            let mut kept = json!(format!("the {word} set"));
            secret.mask_whole(&mut kept);
            assert_eq!(kept, json!(format!("the {word} set")));
            assert!(!secret.is_in(&format!("http://{word}/v1")));
        }
    }
}
