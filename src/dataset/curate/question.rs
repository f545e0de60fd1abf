//! What a question asks for, by its words: a proof, a drawing, something with many right answers, or several things.
//!
//! Only requests count. "Draw EF parallel to CD, find its length" asks for a length, and "data show that" for no proof, so a verb has to
//! begin a clause, and a drawing has to be what the last sentence asks for.

use super::Reason;

/// Returns the reason for which answers to a question cannot be verified, with the words that say so.
pub(super) fn unverifiable(question: &str) -> Option<(Reason, String)> {
    let text = question.to_lowercase().replace(['’', '‘'], "'");
    let found = |reason| move |words: &str| (reason, words.to_owned());
    let proof = request(&text, &PROOF_VERBS).or_else(|| phrase(&text, &PROOF_PHRASES));
    let open = || request(&text, &OPEN_VERBS).or_else(|| phrase(&text, &OPEN_PHRASES));
    proof
        .map(found(Reason::Proof))
        .or_else(|| drawing(&text).map(found(Reason::Drawing)))
        .or_else(|| open().map(found(Reason::Open)))
        .or_else(|| several(&text).map(|count| (Reason::SeveralQuestions, format!("{count} numbered questions"))))
}

/// Verbs that ask for a proof where they begin a clause.
const PROOF_VERBS: [&str; 6] = ["prove", "show that", "verify that", "demonstrate that", "try to prove", "prove that"];
/// Phrases that ask for a proof anywhere.
const PROOF_PHRASES: [&str; 6] = ["provide proof", "provide a proof", "give a proof", "write a proof", "求证", "证明"];

/// Verbs that ask for what has many right answers where they begin a clause.
const OPEN_VERBS: [&str; 8] =
    ["explain", "describe", "justify", "discuss", "state the reason", "state your reason", "give reasons", "why"];
/// Phrases that ask for what has many right answers anywhere.
const OPEN_PHRASES: [&str; 29] = [
    "your reason",
    "the reason is",
    "the reasons are",
    "give a reason",
    "give the reason",
    "in your own words",
    "not unique",
    "give an example",
    "write an example",
    "write another",
    "write down another",
    "represent another",
    "just write one",
    "write one",
    "write any",
    "one possible",
    "a possible",
    "appropriate condition",
    "suitable condition",
    "additional condition",
    "one condition you think",
    "add a condition",
    "add one condition",
    "complete a condition",
    "supplement a condition",
    "condition could be",
    "condition can be",
    "说明理由",
    "为什么",
];

/// Verbs that ask for a drawing.
const DRAWING_VERBS: [&str; 9] =
    ["draw", "sketch", "plot", "construct", "shade", "mark", "colour in", "color in", "use a ruler"];
/// What is completed where a drawing is asked for.
const DRAWINGS: [&str; 9] =
    ["diagram", "figure", "graph", "drawing", "picture", "chart", "bar chart", "statistical chart", "histogram"];

/// Words before a verb that leave it at the beginning of its clause.
const LEADS: [&str; 7] = ["please ", "and ", "then ", "also ", "briefly ", "now ", "next, "];

/// The clauses of a text: after punctuation, and after the word `and`.
fn clauses(text: &str) -> impl Iterator<Item = &str> {
    let ends = |letter: char| ".?!;:,()\n。？！；：，（）".contains(letter);
    text.split(ends).flat_map(|clause| clause.split_inclusive(" and ")).map(without_leads)
}

/// A clause without numbers, and without the words that only introduce a request.
fn without_leads(clause: &str) -> &str {
    let is_number = |letter: char| letter.is_ascii_digit() || letter.is_whitespace() || "①②③④⑤⑥".contains(letter);
    let mut clause = clause.trim_start_matches(is_number);
    while let Some(rest) = LEADS.iter().find_map(|lead| clause.strip_prefix(lead)) {
        clause = rest.trim_start();
    }
    clause
}

/// The first of these verbs that begins a clause.
fn request<'a>(text: &str, verbs: &[&'a str]) -> Option<&'a str> {
    clauses(text).find_map(|clause| verbs.iter().find(|verb| begins(clause, verb)).copied())
}

/// Whether a text begins with these words.
fn begins(text: &str, words: &str) -> bool {
    text.strip_prefix(words).is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
}

fn phrase<'a>(text: &str, phrases: &[&'a str]) -> Option<&'a str> {
    phrases.iter().find(|phrase| text.contains(**phrase)).copied()
}

/// The verb of a last sentence that asks for a drawing and for nothing else.
fn drawing(text: &str) -> Option<&'static str> {
    let last = text
        .rsplit(['.', '?', '!', ';', '\n', '。', '；'])
        .find(|sentence| sentence.chars().any(char::is_alphabetic))?;
    let asks_more = has_blank(text) || asks(text) && !text.trim_end().ends_with(last.trim()) || asks(last);
    if phrase(last, &["画出", "作图"]).is_some() {
        return Some("画出");
    }
    if asks_more {
        return None;
    }
    last.split(',').map(without_leads).find_map(|clause| {
        let completes = || begins(clause, "complete") && DRAWINGS.iter().any(|drawing| clause.contains(drawing));
        let verb = DRAWING_VERBS.iter().find(|verb| begins(clause, verb)).copied();
        verb.or_else(|| completes().then_some("complete the drawing"))
    })
}

/// Whether a text leaves a blank to fill in.
fn has_blank(text: &str) -> bool {
    let dense: String = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '$').collect();
    dense.contains("__") || dense.contains("()") || dense.contains("（）") || dense.contains('□')
}

/// Whether a text asks for something: a question mark, a verb that begins a clause, or a sentence that ends where its answer would be.
fn asks(text: &str) -> bool {
    const VERBS: [&str; 19] = [
        "find",
        "calculate",
        "compute",
        "determine",
        "what",
        "how",
        "which",
        "estimate",
        "solve",
        "evaluate",
        "write",
        "express",
        "predict",
        "simplify",
        "prove",
        "fill in",
        "list",
        "compare",
        "judge",
    ];
    let ends_open = |sentence: &str| {
        let sentence = sentence.trim_end_matches([' ', '$', ':', ',']);
        sentence.ends_with(" is") || sentence.ends_with(" are") || sentence.ends_with('=')
    };
    text.contains(['?', '？']) || request(text, &VERBS).is_some() || text.split(['.', ';', '\n']).any(ends_open)
}

/// Counts the numbered questions of a text; `None` if there are not at least two. Numbered statements, of which the right ones are to be
/// named, ask for nothing themselves.
fn several(text: &str) -> Option<usize> {
    let forms: [&dyn Fn(usize) -> String; 4] = [
        &|number| format!("({number})"),
        &|number| format!("（{number}）"),
        &|number| char::from_u32('①' as u32 + number as u32 - 1).map(String::from).unwrap_or_default(),
        &|number| format!("{number}."),
    ];
    let count = forms.iter().map(|form| numbered(text, form)).max()?;
    (count > 1).then_some(count)
}

/// Counts the parts after marks of one form that ask for something.
fn numbered(text: &str, mark: &dyn Fn(usize) -> String) -> usize {
    let mut starts = Vec::new();
    let mut from = 0;
    for number in 1.. {
        let mark = mark(number);
        let Some(at) = places(&text[from..], &mark).next() else { break };
        starts.push((from + at, from + at + mark.len()));
        from += at + mark.len();
    }
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .filter(|((_, start), end)| has_blank(&text[*start..*end]) || asks(&text[*start..*end]))
        .count()
}

/// Where a mark begins a part: not in `f(1)`, and `1.` only before a text and after an end.
fn places<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(mark).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (&text[..*at], &text[at + mark.len()..]);
        if mark.ends_with('.') {
            let begins = before.trim_end_matches(' ').ends_with(['.', ':', ';', '\n', '。', '：', '；'])
                || before.trim().is_empty();
            return begins && !after.starts_with(|next: char| next.is_ascii_digit());
        }
        !before.ends_with(|last: char| last.is_alphanumeric() || last == ')' || last == '\\')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(question: &str) -> Option<Reason> {
        unverifiable(question).map(|(reason, _)| reason)
    }

    #[test]
    fn requests_for_a_proof_are_found_and_mentions_of_one_are_not() {
        for question in [
            "In triangle ABC, AB = AC. Prove that BD = CE.",
            "As shown in the figure, AB = CD, prove: AD = BC.",
            "(1) Show that f is odd.",
            "Choose a condition and provide proof. The condition is ___.",
            "如图，求证：AB=CD",
        ] {
            assert_eq!(reason(question), Some(Reason::Proof), "{question}");
        }
        for question in [
            "Which condition cannot be used to prove that the triangles are congruent?",
            "The data show that sales rise. How many were sold in May?",
            "As was proved by Euclid, the sum is ___.",
        ] {
            assert_eq!(reason(question), None, "{question}");
        }
    }

    #[test]
    fn a_drawing_counts_if_nothing_else_is_asked_for() {
        for question in [
            "The points A and B are on the grid. Draw the image of AB after a rotation by 90 degrees about O.",
            "Sketch the graph of y = x^2.",
            "Please complete the diagram according to his method.",
            "Given the angle AOB, use a ruler and compasses to bisect it",
        ] {
            assert_eq!(reason(question), Some(Reason::Drawing), "{question}");
        }
        for question in [
            "Draw EF through E parallel to CD, intersecting BD at F. Given AB : CD = 2 : 3, find EF.",
            "Draw a line through P. Its slope is ___.",
            "How many squares can you draw?",
            "Draw a ray OC such that the angle AOC is 45 degrees, then the angle BOC is",
            "In the drawing, which region is largest?",
        ] {
            assert_eq!(reason(question), None, "{question}");
        }
    }

    #[test]
    fn questions_with_many_right_answers_are_found() {
        for question in [
            "Is his statement reasonable? ___, and your reason is ___.",
            "From which step is he mistaken? Explain the reasoning.",
            "Please indicate the step and explain why.",
            "Please add an appropriate condition: ___, so that the triangles are congruent.",
            "Only one additional condition is needed. This condition could be ___.",
            "Write down another path from A to B: ___.",
            "Give an example of such a function.",
        ] {
            assert_eq!(reason(question), Some(Reason::Open), "{question}");
        }
        for question in [
            "Jia and Yi describe the position of A as follows; then the coordinates of B are ___.",
            "The condition that should be filled in the box is ___.",
            "Choose any one of the 4 conditions; the number of ways that make the triangles similar is ___.",
            "Fill in an appropriate sign: 3 ___ 4.",
        ] {
            assert_eq!(reason(question), None, "{question}");
        }
    }

    #[test]
    fn numbered_questions_count_and_numbered_statements_do_not() {
        for question in [
            "As shown: (1) The base is a ___. (2) It has ___ faces.",
            "(1) Find k. (2) Find the range of x.",
            "①AB = ___ ②BC = ___",
            "1. AB is () of AE. \n2. AC is () of AE.",
            "(1)$$30+$$___$$=$$___.(2)$$36-$$___$$=$$___.",
        ] {
            assert_eq!(reason(question), Some(Reason::SeveralQuestions), "{question}");
        }
        for question in [
            "Four conclusions: 1. AB = CD; 2. AB is parallel to CD; 3. AO = OC. The correct ones are ___.",
            "Which are correct? (1) f is odd; (2) f is even; (3) f(1) = 2.",
            "The first (1), (2), (3), (4)... have 1, 5, 11, 19 squares. How many are in the 10th?",
            "Given f(1) = 2 and f(2) = 3, find f(3).",
            "Then $$x_{1}$$ is ___ and $$x_{2}$$ is ___.",
            "The lengths are 1.2 m and 2.5 m; find the height.",
        ] {
            assert_eq!(reason(question), None, "{question}");
        }
    }
}
