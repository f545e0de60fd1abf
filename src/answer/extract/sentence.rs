//! Finds the ends of sentences and clauses, and distinguishes prose from a bare answer.

use super::letters;
use super::scan::{MAX_ANSWER_BYTES, closing_brace, head, is_unspaced};

/// Words that occur in sentences and never in a bare answer.
const SENTENCE_WORDS: [&str; 44] = [
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "it",
    "its",
    "it's",
    "we",
    "so",
    "think",
    "therefore",
    "because",
    "that",
    "which",
    "this",
    "hence",
    "thus",
    "since",
    "let",
    "let's",
    "then",
    "answer",
    "can",
    "can't",
    "has",
    "have",
    "get",
    "find",
    "need",
    "est",
    "sont",
    "donc",
    "il",
    "ist",
    "also",
    "dann",
    "entonces",
    "es",
    "these",
    "there",
    "would",
    "should",
];

/// The same in Chinese.
const SENTENCE_SIGNS: [&str; 12] =
    ["因此", "所以", "答案", "首先", "我们", "那么", "因为", "不是", "是", "可以", "由于", "如果"];

/// Words that start a reason or a remark after an answer.
const ASIDES: [&str; 28] = [
    " because ",
    ", because ",
    " since ",
    ", since ",
    ", which ",
    " which is ",
    " which means ",
    ", as ",
    ", so ",
    ", it ",
    ", not ",
    ", but ",
    ", i.e.",
    ", since",
    " I hope",
    " car ",
    " parce que ",
    " puisque ",
    " weil ",
    ", weil ",
    ", denn ",
    " porque ",
    " ya que ",
    " perché ",
    ", так как ",
    ", потому что ",
    "，因为",
    "，所以",
];

/// Phrases by which a response refuses to answer.
const REFUSALS: [&str; 22] = [
    "not possible to",
    "impossible to",
    "cannot be determined",
    "cannot be answered",
    "cannot be provided",
    "can't be determined",
    "not enough information",
    "not have enough",
    "not provide",
    "doesn't provide",
    "can't answer",
    "cannot answer",
    "cannot determine",
    "unable to",
    "need more",
    "more context",
    "more information",
    "more details",
    "insufficient information",
    "can't process",
    "please provide",
    "unfortunately",
];

/// Maximum number of words in a bare answer.
const MAX_WORDS: usize = 12;

/// Returns the offset at which the first sentence of `text` ends: at a full stop, a blank line, or
/// (outside brackets and mathematics) a line break. Decimal points, brackets and mathematics do not
/// end it.
pub(super) fn end(text: &str) -> usize {
    let text = head(text, MAX_ANSWER_BYTES);
    let mathematics = dollars_pair(text);
    let (mut depth, mut dollars, mut display) = (0_usize, false, false);
    let mut characters = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|&(_, next)| next);
        let open = depth > 0 || dollars || display;
        match character {
            '\\' => match next {
                Some('[') => display = true,
                Some(']') => display = false,
                Some('(') => depth += 1,
                Some(')') => depth = depth.saturating_sub(1),
                _ => {}
            },
            '(' | '[' | '{' if before != '\\' => depth += 1,
            ')' | ']' | '}' if before != '\\' => depth = depth.saturating_sub(1),
            '$' if mathematics && before != '\\' && before != '$' => dollars = !dollars,
            '\n' if next == Some('\n') && !display => return at,
            '.' if !open && next.is_none_or(char::is_whitespace) => return at,
            '?' | '!' if !open && next.is_none_or(char::is_whitespace) && !before.is_ascii_digit() => return at,
            '\n' | '。' | '！' | '？' if !open => return at,
            '<' if next == Some('|') || next == Some('/') => return at,
            _ => {}
        }
        before = character;
    }
    text.len()
}

/// Returns whether the dollars of the first paragraph are paired, so that they delimit mathematics.
fn dollars_pair(text: &str) -> bool {
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    paragraph.matches('$').count().is_multiple_of(2)
}

/// Returns a sentence without the reason or remark at its end.
pub(super) fn first_clause(sentence: &str) -> &str {
    let end = ASIDES.iter().filter_map(|aside| sentence.find(aside)).filter(|&at| at > 0).min();
    &sentence[..end.unwrap_or(sentence.len())]
}

/// Returns whether a text is a bare answer: short, and not a sentence.
pub(super) fn is_bare(text: &str) -> bool {
    let text = text.trim();
    if text.len() > MAX_ANSWER_BYTES || text.contains("\n\n") || text.lines().count() > 12 {
        return false;
    }
    let after_letter = letters::at_start(text).map_or(text, |letters| letters.rest);
    let mut words = 0;
    let mut sentence = false;
    each_word(text, |word| {
        words += 1;
        sentence |= SENTENCE_WORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
    });
    let unspaced = text.chars().filter(|&c| is_unspaced(c)).count();
    let signs = unspaced > 0 && (SENTENCE_SIGNS.iter().any(|sign| text.contains(sign)) || unspaced > 40);
    words <= MAX_WORDS && !sentence && !signs && !breaks(after_letter)
}

/// Counts the words outside mathematics.
pub(super) fn words(text: &str) -> usize {
    let mut words = 0;
    each_word(text, |_| words += 1);
    words
}

/// Returns the sentences of a text, last first.
pub(super) fn last_first(text: &str) -> impl Iterator<Item = &str> {
    text.rsplit(['\n', '。']).flat_map(|line| line.rsplit(". ")).filter(|sentence| !sentence.trim().is_empty())
}

/// Returns whether a response ends with a refusal.
pub(super) fn refuses(text: &str) -> bool {
    last_first(text).take(2).any(|sentence| {
        let sentence = head(sentence, 1024).to_lowercase();
        REFUSALS.iter().any(|refusal| sentence.contains(refusal))
    })
}

/// Returns whether one sentence ends and another starts inside the text.
fn breaks(text: &str) -> bool {
    let text = text.trim_end();
    if text.find(['。', '？']).is_some_and(|at| at + '。'.len_utf8() < text.len()) {
        return true;
    }
    text.match_indices(['.', '?', '!']).any(|(at, stop)| {
        let before = text[..at].chars().next_back();
        let ends = before.is_some_and(|c| c.is_lowercase() || matches!(c, '$' | ')' | '}') && stop != "!");
        let following = &text[at + 1..];
        ends && following.starts_with(char::is_whitespace) && following.trim_start().starts_with(char::is_alphabetic)
    })
}

/// Calls `visit` with each word of two letters or more outside mathematics and commands.
pub(super) fn each_word<'a>(text: &'a str, mut visit: impl FnMut(&'a str)) {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '\\' || c == '$' || c.is_alphabetic()) {
        rest = &rest[at..];
        if let Some(following) = rest.strip_prefix('$') {
            // A currency sign has no second dollar.
            let following = following.trim_start_matches('$');
            rest = following.split_once('$').map_or(following, |(_, following)| following.trim_start_matches('$'));
        } else if let Some(following) = rest.strip_prefix('\\') {
            rest = skip_command(following);
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')) || is_unspaced(c));
            let (word, following) = rest.split_at(end.unwrap_or(rest.len()));
            if word.chars().nth(1).is_some() {
                visit(word);
            }
            rest = match following.chars().next() {
                Some(character) if is_unspaced(character) => &following[character.len_utf8()..],
                _ => following,
            };
        }
    }
}

/// Returns the text after a command whose backslash has been read; an argument in words is skipped
/// too.
fn skip_command(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, following) = text.split_at(end);
    if name.is_empty() {
        let mut characters = text.chars();
        characters.next();
        return characters.as_str();
    }
    let worded = name.starts_with("text")
        || name.starts_with("math")
        || matches!(name, "mbox" | "operatorname" | "begin" | "end");
    match following.strip_prefix('{').filter(|_| worded) {
        Some(inside) => closing_brace(inside, false).map_or(inside, |closing| &inside[closing + 1..]),
        None => following,
    }
}
