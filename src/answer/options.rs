//! Finds the options of a multiple-choice problem in the text of its question.

/// Maximum length of a question that is searched, in bytes.
const MAX_BYTES: usize = 20_000;

/// Maximum length of an option, in bytes.
const MAX_OPTION_BYTES: usize = 500;

/// How the letters of options are marked, the least ambiguous first: the text before and after the
/// letter.
const MARKS: [(&str, &str); 12] = [
    ("(", ")"),
    ("（", "）"),
    ("[", "]"),
    ("", ")"),
    ("", "）"),
    ("", "."),
    ("", "．"),
    ("", "、"),
    ("", ":"),
    ("", "："),
    ("**", "**"),
    ("<", ">"),
];

/// Returns the options, A first; empty if the text has none. At least three letters have to follow
/// each other, or two that each start a line.
pub fn in_question(question: &str) -> Vec<String> {
    if question.len() > MAX_BYTES {
        return Vec::new();
    }
    MARKS.iter().find_map(|mark| marked(question, *mark)).unwrap_or_default()
}

/// Reads options whose letters are marked in one way.
fn marked(question: &str, mark: (&str, &str)) -> Option<Vec<String>> {
    let label = |letter: u8| format!("{}{}{}", mark.0, char::from(letter), mark.1);
    // The last A from which a B and so on follow.
    let starts: Vec<usize> = places(question, &label(b'A')).collect();
    starts.into_iter().rev().take(4).find_map(|start| {
        let mut labels = vec![(start, start + label(b'A').len())];
        for letter in b'B'..=b'J' {
            let from = labels[labels.len() - 1].1;
            let label = label(letter);
            let Some(at) = places(&question[from..], &label).next() else { break };
            labels.push((from + at, from + at + label.len()));
        }
        let ends = labels.iter().skip(1).map(|(at, _)| *at).chain([question.len()]);
        let options: Vec<String> =
            labels.iter().zip(ends).map(|((_, from), end)| cleaned(&question[*from..end])).collect();
        let opens_lines =
            labels.iter().all(|(at, _)| question[..*at].trim_end_matches([' ', '*', '-']).ends_with('\n'));
        let enough = options.len() > 2 || options.len() == 2 && opens_lines;
        let whole = options.iter().all(|option| !option.is_empty() && option.len() <= MAX_OPTION_BYTES);
        (enough && whole).then_some(options)
    })
}

/// Returns the offsets at which a label stands on its own.
fn places<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bracketed = !label.starts_with(|c: char| c.is_ascii_alphabetic());
    text.match_indices(label).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (&text[..*at], &text[*at + label.len()..]);
        let separate = before.is_empty()
            || before.ends_with(|c: char| {
                c.is_whitespace() || "*{$~,;。？；，".contains(c) || bracketed && !c.is_ascii_alphabetic()
            });
        // `A.5` is a number of a section, `A.b` an abbreviation.
        separate && !(label.ends_with('.') && after.starts_with(|c: char| c.is_ascii_lowercase()))
    })
}

/// Drops the rest of the label, the start of the next one, and separators.
fn cleaned(option: &str) -> String {
    const FRONT: [&str; 8] = ["}", "\\ ", "\\,", "~", "**", ":", "：", "\\quad"];
    const END: [&str; 17] = [
        "\\textbf{",
        "\\mathrm{",
        "\\text{",
        "\\mathbf{",
        "\\textrm{",
        "\\qquad",
        "\\quad",
        "\\hspace{",
        "\\\\",
        "\\ ",
        "~",
        "**",
        ",",
        ";",
        "；",
        "，",
        "{",
    ];
    let mut text = option.split("\n\n").next().unwrap_or(option).trim();
    loop {
        let front = FRONT.iter().find_map(|mark| text.strip_prefix(mark));
        let shorter = front.or_else(|| END.iter().find_map(|mark| text.strip_suffix(mark))).unwrap_or(text).trim();
        let dollars = shorter.matches('$').count();
        let shorter = if dollars % 2 == 1 {
            shorter.strip_suffix('$').or_else(|| shorter.strip_prefix('$')).unwrap_or(shorter).trim()
        } else {
            shorter
        };
        if shorter.len() == text.len() {
            return text.to_owned();
        }
        text = shorter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_in_any_notation() {
        assert_eq!(in_question("Is it?\nA. Yes\nB. No"), ["Yes", "No"]);
        assert_eq!(in_question("Which?  (A) $x^2$ (B) $2x$ (C) none of these"), ["$x^2$", "$2x$", "none of these"]);
        assert_eq!(
            in_question(r"$\textbf{(A)}\ \frac{1}{2}\qquad\textbf{(B)}\ 1\qquad\textbf{(C)}\ 2$"),
            [r"\frac{1}{2}", "1", "2"]
        );
        assert_eq!(in_question("Choices: A: 3, B: 4, C: 5"), ["3", "4", "5"]);
        for text in ["", "(A) only", "triangle ABC", "A. Smith met B. Jones.", "(B) 1 (C) 2 (D) 3"] {
            assert!(in_question(text).is_empty(), "{text}");
        }
    }
}
