//! A search tree: each state with its Monte Carlo value, visits and steps.

use mmprm::data::tree::{Node, Tree};

use super::pen::{Grade, Pen};
use super::steps::Scale;

/// Draws a tree. A state without a right rollout whose parent has one ends in the first wrong step, which is marked.
pub fn draw(tree: &Tree, pen: Pen) -> String {
    let mut text = String::new();
    for line in tree.question.lines() {
        text += &format!("{}\n", pen.wrapped(line, 0));
    }
    let answer = tree.answer.as_str().map_or_else(|| tree.answer.to_string(), str::to_owned);
    text += &format!("{} {}\n\n", pen.dim("expected"), pen.cut(&answer, 9));
    text +=
        &format!("{}  {}\n", value(&tree.root, false, pen), pen.dim(&format!("the problem, {}", counts(&tree.root))));
    children(&tree.root, "", pen, &mut text);
    text
}

fn children(node: &Node, indent: &str, pen: Pen, text: &mut String) {
    for (index, child) in node.children.iter().enumerate() {
        let is_last = index + 1 == node.children.len();
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let is_first_wrong = child.mc_value == 0.0 && node.mc_value > 0.0;
        let below = format!("{indent}{below}");
        let head = format!("{indent}{branch}");
        let rest = format!("{below}{}", if child.children.is_empty() { "   " } else { "│  " });
        let line = format!("{head}{}  {}", value(child, is_first_wrong, pen), pen.dim(&counts(child)));
        *text += &format!("{}\n", line.trim_end());
        let last = child.partial_solution.len().saturating_sub(1);
        for (at, step) in child.partial_solution.iter().enumerate() {
            let mark = if is_first_wrong && at == last { pen.graded(Grade::Poor, "✗ ") } else { String::new() };
            *text += &format!("{rest}{mark}{}\n", pen.cut(step, rest.chars().count() + 2));
        }
        children(child, &below, pen, text);
    }
}

/// The MC value of a state with its grade's colour.
fn value(node: &Node, is_first_wrong: bool, pen: Pen) -> String {
    let grade = if is_first_wrong { Grade::Poor } else { Scale::Linear.grade(node.mc_value) };
    pen.graded(grade, &format!("MC {:.2}", node.mc_value))
}

/// What is known of a state besides its value; nothing of a finished solution, which has no rollouts of its own.
fn counts(node: &Node) -> String {
    let (right, wrong) = (node.correct_rollouts.len(), node.incorrect_rollouts.len());
    if right + wrong == 0 && node.visit_count == 0 {
        return String::new();
    }
    let visits = match node.visit_count {
        0 => String::new(),
        1 => ", searched once".to_owned(),
        count => format!(", searched {count} times"),
    };
    format!("{right} right and {wrong} wrong rollouts{visits}")
}

#[cfg(test)]
mod tests {
    use mmprm::data::tree::json;

    use super::*;

    #[test]
    fn states_are_indented_and_the_first_wrong_step_is_marked() {
        let text = r#"{"question": "1 + 1?", "answer": "2", "image_path": null, "mc_value": 0.5, "visit_count": 2,
            "correct_rollouts": [["so it is 2"]], "incorrect_rollouts": [["so it is 3"]], "children": [
                {"partial_solution": ["add", "it is 3\u001b"], "mc_value": 0.0, "visit_count": 0, "correct_rollouts": [],
                 "incorrect_rollouts": [], "children": []},
                {"partial_solution": ["count"], "mc_value": 1.0, "visit_count": 1, "correct_rollouts": [],
                 "incorrect_rollouts": [], "children": []}], "id": 7}"#;
        let tree = json::parse(text.as_bytes(), "seven.json").unwrap();
        let expected = "1 + 1?\nexpected 2\n\nMC 0.50  the problem, 1 right and 1 wrong rollouts, searched 2 times\n\
            ├─ MC 0.00\n│     add\n│     ✗ it is 3\\u{1b}\n\
            └─ MC 1.00  0 right and 0 wrong rollouts, searched once\n      count\n";
        assert_eq!(draw(&tree, Pen::plain(None)), expected);
    }
}
