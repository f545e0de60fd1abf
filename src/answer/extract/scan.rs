//! Small scanners that the extraction rules share, each linear in the text.

/// Number of bytes searched at the end of a text.
pub(super) const MAX_TAIL_BYTES: usize = 64 << 10;

/// Number of bytes searched at the beginning of a text whose end contains no answer.
pub(super) const MAX_HEAD_BYTES: usize = 4 << 10;

/// Maximum length of an answer, in bytes; longer ones are truncated.
pub(super) const MAX_ANSWER_BYTES: usize = 4096;

/// Returns the index of the brace that closes the one just before `text`. The escaped braces `\{`
/// and `\}` do not count; with `doubled`, neither do those with doubled backslashes.
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

/// Truncates `text` to at most `length` bytes, at a character boundary.
pub(super) fn head(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// Returns the last `length` bytes of `text`, from a character boundary.
pub(super) fn tail(text: &str, length: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(length))..]
}

/// Returns whether a character belongs to a script without spaces between words.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff65}')
}

/// Returns whether a character continues a word, in scripts with spaces between words.
pub(super) fn is_wordlike(character: char) -> bool {
    character.is_alphanumeric() && !is_unspaced(character)
}

/// Strips a prefix, ignoring ASCII case.
pub(super) fn strip_prefix_caseless<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Strips a prefix that ends at a word boundary, ignoring ASCII case.
pub(super) fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    strip_prefix_caseless(text, word).filter(|rest| !rest.starts_with(is_wordlike))
}

/// Strips white space, Markdown, quotation marks and colons from the front.
pub(super) fn strip_front(text: &str) -> &str {
    const WRAPPERS: [char; 11] = ['*', ':', '：', '"', '“', '”', '「', '`', '>', ',', '_'];
    let mut text = text;
    loop {
        let shorter = text.trim_start_matches(|c: char| c.is_whitespace() || WRAPPERS.contains(&c));
        // The opening `\"` of a doubly escaped text.
        let shorter = shorter.strip_prefix("\\\"").unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// Strips white space, Markdown, quotation marks and a final period from the end.
pub(super) fn strip_end(text: &str) -> &str {
    const WRAPPERS: [char; 11] = ['*', '"', '“', '”', '」', '`', ',', '，', ';', '；', '。'];
    let mut text = text;
    loop {
        let shorter = text.trim_end_matches(|c: char| c.is_whitespace() || c == '.' || WRAPPERS.contains(&c));
        // The closing `\"` of a doubly escaped text.
        let shorter = shorter.strip_suffix('\\').unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// Returns the offset after the character at `at`.
pub(super) fn after(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}
