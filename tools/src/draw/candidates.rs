//! The candidates of a problem: the selected one with its steps, what others answer, or all of them.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use mmprm::data::candidates::CandidateSet;
use mmprm::eval::selection::{Contenders, Selected, Selection};

use super::pen::{Grade, Pen};
use super::steps::{self, Scale, number};

/// How to draw candidates.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The rule that selects and orders.
    pub rule: Selection,
    /// What the bars of the scores stand for.
    pub scale: Scale,
    pub pen: Pen,
}

/// Answers drawn after the selected one.
const RUNNERS_UP: usize = 5;

/// The question and its images, and the expected answer where the record has one.
pub fn problem(set: &CandidateSet, pen: Pen) -> String {
    let mut text = String::new();
    let here = std::env::current_dir().unwrap_or_default();
    for image in &set.images {
        let short = Path::new(image).strip_prefix(&here).ok().and_then(Path::to_str).unwrap_or(image);
        text += &format!("{}\n", pen.dim(&pen.cut(short, 0)));
    }
    if let Some(question) = &set.question {
        for line in question.lines() {
            text += &format!("{}\n", pen.wrapped(line, 0));
        }
    }
    if let Some(gold) = expected(set) {
        text += &format!("{} {}\n", pen.dim("expected"), pen.cut(&gold, 9));
    }
    text
}

/// The expected answer of a record.
pub fn expected(set: &CandidateSet) -> Option<String> {
    let field = ["correct_answer", "answer"].iter().find_map(|name| set.record.get(*name))?;
    match field {
        serde_json::Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// The selected answer and its steps, then the other answers by their best candidate.
pub fn chosen(set: &CandidateSet, contenders: &Contenders<'_>, selected: Selected, style: Style) -> String {
    let Style { rule, pen, .. } = style;
    let answer = answer_of(contenders, selected.index).unwrap_or("no answer");
    let total = set.solutions.len();
    let verdict = verdict(set, selected.index, pen);
    let how = format!("by {rule}, {} of {total} agree", selected.agreement);
    let mut text = format!("{}{verdict}  {}\n\n", pen.bold(&pen.cut(answer, how.len() + 4)), pen.dim(&how));
    text += &candidate_steps(set, selected.index, style);
    let others = others(contenders, answer, style);
    if !others.is_empty() {
        text += &format!("\n{}\n{others}", pen.dim("other answers"));
    }
    text
}

/// Every candidate, the best by the rule first.
pub fn all(set: &CandidateSet, contenders: &Contenders<'_>, selected: Option<Selected>, style: Style) -> String {
    let Style { rule, pen, .. } = style;
    let values = contenders.values(rule);
    let mut order: Vec<usize> = (0..set.solutions.len()).collect();
    let value = |index: usize| values.get(index).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| value(*b).total_cmp(&value(*a)).then(a.cmp(b)));
    // A vote gives every candidate of an answer the same value; the one that it selects comes first.
    if let Some(at) = selected.and_then(|one| order.iter().position(|index| *index == one.index)) {
        order[..=at].rotate_right(1);
    }
    let mut text = String::new();
    for (rank, &index) in order.iter().enumerate() {
        let answer = answer_of(contenders, index).unwrap_or("no answer");
        let is_selected = selected.is_some_and(|one| one.index == index);
        let name = if is_selected { pen.bold("▶ selected") } else { format!("  {:>2}", rank + 1) };
        let value = match value(index) {
            value if value.is_finite() => format!("{rule} {}", number(value)),
            _ => String::new(),
        };
        let verdict = verdict(set, index, pen);
        let line = format!("{name}  candidate {index}{verdict}  {}", pen.bold(&pen.cut(answer, 50)));
        writeln!(text, "{line}  {}", pen.dim(&value)).expect("a string can be written to");
        text += &candidate_steps(set, index, style);
        text.push('\n');
    }
    text
}

/// The steps of a candidate.
fn candidate_steps(set: &CandidateSet, index: usize, style: Style) -> String {
    let scores = set.scores.as_ref().and_then(|scores| scores.get(index)).map(Vec::as_slice);
    let truth = set.record.get("step_labels").and_then(|labels| labels.get(index)?.as_array());
    let first_wrong = truth.and_then(|labels| {
        labels.iter().position(|label| label.as_f64() == Some(0.0) || label.as_bool() == Some(false))
    });
    steps::draw(&set.solutions[index], scores, first_wrong, style.scale, style.pen)
}

/// Whether a labelled candidate is right.
fn verdict(set: &CandidateSet, index: usize, pen: Pen) -> String {
    match set.labels.as_ref().and_then(|labels| labels.get(index)) {
        Some(true) => pen.graded(Grade::Good, " ✓ right"),
        Some(false) => pen.graded(Grade::Poor, " ✗ wrong"),
        None => String::new(),
    }
}

fn answer_of<'a>(contenders: &'a Contenders<'_>, index: usize) -> Option<&'a str> {
    contenders.answers().get(index)?.as_deref()
}

/// The answers other than `chosen`, best first: how many candidates have each, and its best value.
fn others(contenders: &Contenders<'_>, chosen: &str, style: Style) -> String {
    let Style { rule, pen, .. } = style;
    let values = contenders.values(rule);
    let mut answers: HashMap<&str, (usize, f64)> = HashMap::new();
    let mut without = 0;
    for (answer, value) in contenders.answers().iter().zip(values) {
        match answer.as_deref() {
            None => without += 1,
            Some(answer) if answer == chosen => {}
            Some(answer) => {
                let entry = answers.entry(answer).or_insert((0, f64::NEG_INFINITY));
                *entry = (entry.0 + 1, entry.1.max(value));
            }
        }
    }
    let mut answers: Vec<(&str, (usize, f64))> = answers.into_iter().collect();
    answers.sort_by(|(a, x), (b, y)| y.1.total_cmp(&x.1).then(y.0.cmp(&x.0)).then(a.cmp(b)));
    let mut text = String::new();
    for (answer, (count, value)) in answers.iter().take(RUNNERS_UP) {
        let value = if rule == Selection::Majority { String::new() } else { format!("  best {}", number(*value)) };
        text += &format!("  {count:>3} ×  {}{}\n", pen.cut(answer, 30), pen.dim(&value));
    }
    let rest = answers.len().saturating_sub(RUNNERS_UP);
    if rest > 0 {
        text += &format!("         and {rest} more\n");
    }
    if without > 0 {
        text += &format!("  {without:>3} ×  {}\n", pen.dim("without steps, so without an answer"));
    }
    text
}

#[cfg(test)]
mod tests {
    use mmprm::data::candidates::parse;

    use super::*;

    fn drawn(record: &str, rule: &str) -> (String, String) {
        let set = parse("c.json".as_ref(), format!("[{record}]").as_bytes()).unwrap().remove(0);
        let contenders = Contenders::new(&set);
        let style = Style { rule: rule.parse().unwrap(), scale: Scale::Linear, pen: Pen::plain(None) };
        let selected = contenders.select(style.rule).unwrap();
        (chosen(&set, &contenders, selected, style), all(&set, &contenders, Some(selected), style))
    }

    #[test]
    fn the_selected_answer_comes_first_and_the_others_are_counted() {
        let record = r#"{"question": "q", "solutions_splits": [["Answer: 3"], ["s", "Answer: 2\u001b[2J"], ["Answer: 3"], []],
            "prm_scores": [[0.1], [0.9, 0.5], [0.2], []], "labels": [0, 1, 0, 0], "step_labels": [[0], [1, 1], [0], []]}"#;
        let (chosen, all) = drawn(record, "product");
        let expected = "2\\u{1b}[2J ✓ right  by product, 1 of 4 agree\n\n  ███████▎ 0.900  s\n  ████     0.500  Answer: 2\\u{1b}[2J\n\
                        \nother answers\n    2 ×  3  best 0.200\n    1 ×  without steps, so without an answer\n";
        assert_eq!(chosen, expected);
        let heads: Vec<&str> = all.lines().filter(|line| line.contains("candidate ")).collect();
        assert_eq!(heads[0], "▶ selected  candidate 1 ✓ right  2\\u{1b}[2J  product 0.450");
        assert_eq!(heads[1], "   2  candidate 2 ✗ wrong  3  product 0.200");
        assert!(heads[3].starts_with("   4  candidate 3 ✗ wrong  no answer"), "{all}");
        assert!(all.contains("✗ █▋       0.200  Answer: 3"), "{all}");
        let (by_vote, _) = drawn(record, "majority");
        assert!(
            by_vote.starts_with("3 ✗ wrong  by majority, 2 of 4 agree\n") && by_vote.contains("    1 ×  2"),
            "{by_vote}"
        );
    }
}
