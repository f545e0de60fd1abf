//! Which answers of a problem's candidates are equal.
//!
//! ```
//! use mmprm::data::candidates::parse;
//! use mmprm::eval::classes::answer_classes;
//! let text = r#"[{"question": "1/4 + 1/4?", "solutions_splits": [["So 3."], ["It is 1/2."], ["Hence 0.5."]]}]"#;
//! let sets = parse("candidates.json".as_ref(), text.as_bytes()).unwrap();
//! let classes = answer_classes(&sets[0]);
//! assert_eq!(classes[1], classes[2]);
//! ```

use crate::answer::extract::extract;
use crate::answer::{AnswerSpec, Outcome, compare};
use crate::data::candidates::CandidateSet;

/// The class of each candidate's final answer: answers that [`compare`] finds equal to an earlier
/// one share its text. Choices, unit and precision of the record apply. `None` for a candidate
/// without steps.
///
/// An answer joins the first class whose first member it equals, so that classes are well defined
/// where the rules are not transitive.
pub fn answer_classes(set: &CandidateSet) -> Vec<Option<String>> {
    let spec = AnswerSpec::from_record(&set.record);
    let mut classes: Vec<String> = Vec::new();
    let mut class = |steps: &Vec<String>| {
        let answer = extract(steps.last()?).parts.join("; ");
        let is_equal = |known: &&String| **known == answer || compare(known, &answer, &spec).outcome == Outcome::Equal;
        let known = classes.iter().find(is_equal).cloned();
        Some(known.unwrap_or_else(|| {
            classes.push(answer.clone());
            answer
        }))
    };
    set.solutions.iter().map(&mut class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    fn classes(record: &str) -> Vec<Option<String>> {
        answer_classes(&parse("c.json".as_ref(), format!("[{record}]").as_bytes()).unwrap()[0])
    }

    #[test]
    fn equal_answers_share_the_text_of_the_first() {
        let found = classes(
            r#"{"question": "?", "solutions_splits":
                [["Answer: 1/2"], ["x", "The final answer is 0.5"], ["Answer: 3"], [], ["Answer: \\frac{2}{4}"]]}"#,
        );
        let expected = [Some("1/2"), Some("1/2"), Some("3"), None, Some("1/2")];
        assert_eq!(found, expected.map(|class| class.map(str::to_owned)));
    }

    #[test]
    fn the_choices_of_the_record_apply() {
        let letter_and_text = r#""solutions_splits": [["Answer: B"], ["Answer: a cube"]]"#;
        let alone = classes(&format!(r#"{{"question": "?", {letter_and_text}}}"#));
        let chosen = classes(&format!(r#"{{"question": "?", "choices": ["a ball", "a cube"], {letter_and_text}}}"#));
        assert_ne!(alone[0], alone[1]);
        assert_eq!(chosen[0], chosen[1]);
    }
}
