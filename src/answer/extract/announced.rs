//! Finds the words that announce an answer or refer back to one: "The final answer is …", "Answer:
//! …", "答案是…".

use super::letters;
use super::scan::{head, is_wordlike, strip_end, strip_front, strip_prefix_caseless, strip_word, tail};
use super::sentence;
use crate::answer::byte_pairs::BytePairs;

/// Maximum number of occurrences of each word that are examined, from the last one backwards.
const MAX_PER_WORD: usize = 8;

/// The word "answer" in the languages that models write in. Words whose capital is not ASCII are
/// listed in both forms.
const ANSWER: [&str; 51] = [
    "answer",
    "ans",
    "réponse",
    "respuesta",
    "resposta",
    "risposta",
    "antwort",
    "antwoord",
    "odpowiedź",
    "cevap",
    "đáp án",
    "ответ",
    "Ответ",
    "ОТВЕТ",
    "відповідь",
    "Відповідь",
    "отговор",
    "Отговор",
    "RÉPONSE",
    "svar",
    "vastaus",
    "válasz",
    "Válasz",
    "răspuns",
    "απάντηση",
    "Απάντηση",
    "jawaban",
    "jawabannya",
    "svaret",
    "răspunsul",
    "תשובה",
    "התשובה",
    "正解",
    "đáp số",
    "Đáp án",
    "Đáp số",
    "endergebnis",
    "resultado final",
    "risultato finale",
    "résultat final",
    "คำตอบ",
    "答案",
    "答え",
    "答",
    "回答",
    "정답",
    "답",
    "الجواب",
    "الإجابة",
    "उत्तर",
    "final result",
];

/// Verbs at the end of a sentence in Korean and Japanese.
const ENDINGS: [&str; 8] = ["입니다", "이다", "이에요", "예요", "です", "である", "となる", "になります"];

/// Maximum number of bytes searched for the start of a formula around the announcing words.
const MAX_LEAD_BYTES: usize = 200;

/// Words for "option" in place of "answer". These need a verb.
const OPTION: [&str; 4] = ["option", "choice", "选项", "letter"];

/// Words that link "answer" to the answer; a word comes after any longer one that starts with it.
const VERBS: [&str; 57] = [
    "should be",
    "would be",
    "will be",
    "must be",
    "has to be",
    "can be",
    "could be",
    "may be",
    "might be",
    "is",
    "are",
    "was",
    "were",
    "equals",
    "becomes",
    "=",
    "est",
    "sont",
    "era",
    "sería",
    "vaut",
    "beträgt",
    "wäre",
    "är",
    "равен",
    "adalah",
    "είναι",
    "היא",
    "er",
    "este",
    "คือ",
    "هي",
    "هو",
    "은",
    "는",
    "이",
    "가",
    "ist",
    "lautet",
    "es",
    "son",
    "è",
    "é",
    "jest",
    "là",
    "это",
    "应该是",
    "应该为",
    "应为",
    "应是",
    "就是",
    "是",
    "为",
    "選",
    "选",
    "は",
    "है",
];

/// Words between the verb and the answer that add nothing.
const FILLERS: [&str; 28] = [
    "therefore",
    "thus",
    "hence",
    "then",
    "so",
    "also",
    "indeed",
    "simply",
    "just",
    "clearly",
    "definitely",
    "probably",
    "likely",
    "most likely",
    "for sure",
    "certainly",
    "approximately",
    "about",
    "roughly",
    "equal to",
    "given by",
    "option",
    "choice",
    "letter",
    "answer",
    "donc",
    "la",
    "opción",
];

/// First words of a statement about an answer that does not give one.
const EMPTY: [&str; 31] = [
    "not",
    "n't",
    "incorrect",
    "wrong",
    "correct",
    "right",
    "helpful",
    "provided",
    "given",
    "based",
    "unclear",
    "to",
    "in",
    "as",
    "at",
    "by",
    "from",
    "obtained",
    "found",
    "calculated",
    "determined",
    "shown",
    "here",
    "below",
    "above",
    "because",
    "that we",
    "what",
    "one of",
    "easy",
    "不",
];

/// An announced answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announcement<'a> {
    /// Byte offset of the announcing word.
    pub start: usize,
    /// The announced answer, up to the end of its sentence.
    pub text: &'a str,
}

/// Returns all announcements with a plausible answer, last first.
pub(super) fn all(text: &str) -> Vec<Announcement<'_>> {
    // Lower-casing ASCII keeps all byte offsets.
    let folded = text.to_ascii_lowercase();
    let mut found = Vec::new();
    let pairs = BytePairs::of(&folded);
    for word in ANSWER.iter().chain(&OPTION).filter(|word| pairs.may_hold(word)) {
        let places =
            folded.rmatch_indices(word).map(|(at, _)| at).filter(|&at| stands_alone(text, at, word)).take(MAX_PER_WORD);
        for at in places {
            let needs_verb = OPTION.contains(word);
            let after = at + word.len();
            let announced = text_after_link(text, at, after, needs_verb)
                .map(|rest| leading_answer(rest, in_formula(text, at)))
                .or_else(|| (!needs_verb).then(|| text_before_verb(&text[..at])).flatten())
                .filter(|statement| is_plausible(statement));
            found.extend(announced.map(|text| Announcement { start: at, text }));
        }
    }
    found.extend(chosen(text));
    found.sort_by_key(|announcement| std::cmp::Reverse(announcement.start));
    found
}

fn stands_alone(text: &str, at: usize, word: &str) -> bool {
    // The single character also ends other words.
    if word == "答"
        && !(text[..at].is_empty() || text[..at].ends_with(|c: char| c.is_whitespace() || "。，；".contains(c)))
    {
        return false;
    }
    let following = text[at + word.len()..].trim_start_matches(['s', 'S']);
    let first = word.starts_with(char::is_alphabetic);
    let goes_on = first && text[..at].ends_with(is_wordlike) || following.starts_with(is_wordlike);
    !goes_on
}

/// Returns the text after the link (a colon, a verb, or the end of a headline) that follows the
/// announcing word.
fn text_after_link(text: &str, start: usize, after: usize, needs_verb: bool) -> Option<&str> {
    let opens_line = opens_line(&text[..start]);
    let mut rest = text[after..].trim_start_matches(['s', 'S']);
    for _ in 0..8 {
        let linked = rest;
        rest = rest.trim_start_matches([' ', '\t', '*', '_', '"', '”', '\u{3000}']);
        if let Some(following) = rest.strip_prefix([':', '：', '﹕']).filter(|_| !needs_verb) {
            return Some(following);
        }
        if let Some(following) = verb(rest).filter(|_| !(rest.starts_with('=') && is_program(text))) {
            return Some(following);
        }
        let foreign = !text[start..after].is_ascii();
        if !needs_verb && (opens_line || foreign) && linked.len() == text.len() - after {
            let next = rest.trim_start_matches(['.', '\r']);
            if next.starts_with('\n') || next.starts_with('$') || next.starts_with("\\(") || next.starts_with("\\[") {
                return Some(next);
            }
            if opens_line && foreign && next.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
                return Some(next);
            }
            if opens_line && letters::at_start(next).is_some_and(|letters| letters.marked) {
                return Some(next);
            }
        }
        rest = skip_word(rest)?;
    }
    None
}

/// Returns whether the line so far contains only Markdown and the usual words of a headline.
fn opens_line(before: &str) -> bool {
    let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    line.len() < 40
        && line.split(|c: char| c.is_whitespace() || matches!(c, '#' | '*' | '_' | '>' | '"')).all(|word| {
            ["", "the", "my", "our", "final", "correct", "and"].iter().any(|usual| word.eq_ignore_ascii_case(usual))
        })
}

/// Returns whether the text is a program, in which `answer = …` only assigns a variable.
fn is_program(text: &str) -> bool {
    text.contains("print(") || text.contains("return ")
}

fn verb(text: &str) -> Option<&str> {
    VERBS.iter().find_map(|verb| {
        if verb.starts_with(|c: char| c.is_ascii_alphabetic()) {
            strip_word(text, verb)
        } else {
            text.strip_prefix(verb)
        }
    })
}

/// Skips a word or a short bracket; `None` at the end of a clause.
fn skip_word(text: &str) -> Option<&str> {
    if let Some(inside) = text.strip_prefix('(') {
        return head(inside, 60).find(')').map(|at| &inside[at + 1..]);
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’' | '-' | '$'))).unwrap_or(text.len());
    (0 < end && end < 40).then(|| &text[end..])
}

/// Returns the answer at the start of the text after an announcement.
///
/// The announcing words may be a text command inside a formula: `$\text{Answer: } 5$`, of which
/// `rest` has the end.
fn leading_answer(rest: &str, in_formula: bool) -> &str {
    let mut rest = strip_front(rest);
    if let Some(inside) = rest.strip_prefix('}') {
        rest = strip_front(inside.strip_prefix("\\ ").unwrap_or(inside));
    }
    while let Some(shorter) = FILLERS.iter().find_map(|filler| strip_word(rest, filler)) {
        rest = strip_front(shorter);
    }
    if in_formula && let Some((inside, _)) = rest.split_once('$') {
        rest = inside;
    }
    let answer = strip_end(sentence::first_clause(&rest[..sentence::end(rest)]));
    let ending = ENDINGS.iter().find_map(|ending| answer.strip_suffix(ending));
    let answer = ending.map_or(answer, strip_end);
    // The end of a formula that starts before the announcing words.
    [("\\(", "\\)"), ("\\[", "\\]")].iter().fold(answer, |answer, (open, close)| match answer.strip_suffix(close) {
        Some(inside) if !inside.contains(open) => inside.trim_end(),
        _ => answer,
    })
}

/// Returns whether the text at this offset is inside a formula between dollar signs.
fn in_formula(text: &str, at: usize) -> bool {
    let before = tail(&text[..at], MAX_LEAD_BYTES);
    let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    line.ends_with(|c: char| c == '{' || c == ' ' || c.is_alphabetic())
        && line.matches('$').count() % 2 == 1
        && line.rfind('$').is_some_and(|at| line[at + 1..].contains('\\'))
}

/// Returns the answer in front of "is the answer"; `before` ends in front of the word "answer".
fn text_before_verb(before: &str) -> Option<&str> {
    let mut rest = before.trim_end();
    for word in ["final", "correct", "right", "best", "the", "our", "my"] {
        let shorter = rest
            .len()
            .checked_sub(word.len())
            .and_then(|at| rest.get(at..))
            .filter(|end| end.eq_ignore_ascii_case(word));
        if shorter.is_some() {
            rest = rest[..rest.len() - word.len()].trim_end();
        }
    }
    let rest = rest.strip_suffix(" is").filter(|_| rest.len() < before.trim_end().len())?;
    let rest = [", which", ", and this", ", this"].iter().find_map(|link| rest.strip_suffix(link)).unwrap_or(rest);
    let start = rest.rfind(['\n', '。', '，']).map(|at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
    let clause = &rest[start.unwrap_or(0).max(rest.rfind(". ").map_or(0, |at| at + 2))..];
    // A comma inside brackets does not separate clauses.
    let last = clause.rsplit(", ").next().unwrap_or(clause);
    let clause = if last.contains([')', ']', '}', '$']) { clause } else { last };
    let mut clause = strip_front(clause);
    while let Some(shorter) = FILLERS.iter().find_map(|filler| strip_word(clause, filler)) {
        clause = strip_front(shorter);
    }
    (clause.len() <= 80).then(|| strip_end(clause))
}

/// Finds the Chinese verb for choosing, followed by a letter: `故选：C`, `所以选择 B`.
fn chosen(text: &str) -> Vec<Announcement<'_>> {
    let choices = text.rmatch_indices(['选', '選']).take(MAX_PER_WORD);
    choices
        .filter_map(|(start, word)| {
            let rest =
                text[start + word.len()..].trim_start_matches(['择', '擇', '项', '項', '：', ':', ' ', '为', '是']);
            let statement = strip_end(&rest[..sentence::end(rest)]);
            letters::at_start(statement).map(|letters| Announcement { start, text: letters.text })
        })
        .collect()
}

/// Returns whether a statement can be an answer.
fn is_plausible(statement: &str) -> bool {
    !["this", "that", "it", "which", "here"].iter().any(|word| statement.eq_ignore_ascii_case(word))
        && !statement.is_empty()
        && statement.contains(|c: char| c.is_alphanumeric() || c == '\\' || c == '∅' || c == '∞')
        && !EMPTY.iter().any(|word| {
            strip_word(statement, word).is_some()
                || (!word.is_ascii() && strip_prefix_caseless(statement, word).is_some())
        })
}
