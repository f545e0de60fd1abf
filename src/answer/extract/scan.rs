//! Small scanners that all rules of extraction share: brackets, dollars, words. Each looks at every byte at most once.

/// How much of a text's end is searched, in bytes.
pub(super) const MAX_TAIL_BYTES: usize = 64 << 10;

/// How much of a text's beginning is searched where its end holds no answer, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 4 << 10;

/// Maximum length of one answer, in bytes; longer stretches are cut.
pub(super) const MAX_ANSWER_BYTES: usize = 4096;

/// Where the brace closes that was opened just before `text`: the index of its `}`. Escaped braces, `\{` and `\}`, do not
/// count; with `doubled`, neither do those with doubled backslashes.
pub(super) fn closing_brace(text: &str, doubled: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (1_usize, 0);
    while at < bytes.len().min(MAX_ANSWER_BYTES) {
        match bytes[at] {
            b'\\' => at += if doubled && bytes.get(at + 1) == Some(&b'\\') { 2 } else { 1 },
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// `text` cut to at most `length` bytes, at a character's boundary.
pub(super) fn head(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// The last `length` bytes of `text`, from a character's boundary on.
pub(super) fn tail(text: &str, length: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(length))..]
}

/// Whether the character belongs to an ideographic or syllabic script that writes no spaces between words.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff65}')
}

/// Whether a word, as far as scripts with spaces go, could go on with this character.
pub(super) fn is_wordlike(character: char) -> bool {
    character.is_alphanumeric() && !is_unspaced(character)
}

/// Takes the prefix off, whatever the case of its ASCII letters.
pub(super) fn strip_prefix_caseless<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// The same, where a word ends with the prefix.
pub(super) fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    strip_prefix_caseless(text, word).filter(|rest| !rest.starts_with(is_wordlike))
}

/// Takes white space and what only dresses a text off its front: markdown's stars, quotation marks, colons.
pub(super) fn undress_front(text: &str) -> &str {
    const DRESS: [char; 11] = ['*', ':', '：', '"', '“', '”', '「', '`', '>', ',', '_'];
    let mut text = text;
    loop {
        let shorter = text.trim_start_matches(|c: char| c.is_whitespace() || DRESS.contains(&c));
        // An opening `\"` of doubly escaped text.
        let shorter = shorter.strip_prefix("\\\"").unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// Takes white space, markdown, quotation marks and a sentence's last period off the end.
pub(super) fn undress_end(text: &str) -> &str {
    const DRESS: [char; 11] = ['*', '"', '“', '”', '」', '`', ',', '，', ';', '；', '。'];
    let mut text = text;
    loop {
        let shorter = text.trim_end_matches(|c: char| c.is_whitespace() || c == '.' || DRESS.contains(&c));
        // A closing `\"` of doubly escaped text.
        let shorter = shorter.strip_suffix('\\').unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// The index behind the character at `at`.
pub(super) fn after(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}
