//! Questions for judge models, in the exact wording of MM-PRM's data pipeline, so that labels are
//! comparable with its labels.
//!
//! ```
//! use mmprm::prompt::judge;
//! let prompt = judge::answer("1 + 1?", "2", "The final answer is two");
//! assert!(prompt.ends_with("Model's Answer:\nThe final answer is two\n--------------------------------"));
//! let prompt = judge::steps("1 + 1?", "2", &[], &["It is 3.".to_owned()]);
//! assert!(prompt.ends_with("[Partial Solution]\n\nNo partial solution\n\n[Following Steps]\n\nIt is 3.\n"));
//! ```

/// Version of the wording of [`answer`]: part of the key of cached verdicts, so that verdicts
/// obtained with another wording are not reused.
pub const ANSWER_WORDING: &str = "check_correctness-1";

/// The text in place of a partial solution without steps.
const NO_STEPS: &str = "No partial solution";

/// Asks whether a proposed answer matches the correct one, to be answered Yes or No:
/// `check_correctness` of MM-PRM's `omegaprm.py`.
pub fn answer(question: &str, correct: &str, proposed: &str) -> String {
    format!(
        "You are given a question, the correct answer and a model's answer. Please determine if the model's answer matches \
         the correct answer.\nFocus only on the mathematical or semantic correctness of the content. Ignore any differences \
         in formatting, such as LaTeX syntax, symbols, styles, or additional wrappers (e.g., \\boxed, $...$, or similar). \
         Compare only the core mathematical or textual meaning of the model's answer and the correct answer.\nOnly the \
         correctness of the model's answer matters.\nReturn only \"Yes\" if the model's answer is correct or \"No\" if it \
         is incorrect.\nOnly return \"Yes\" or \"No\" with no additional text or formatting.\n\n\
         Question:\n{question}\n{RULE}\nCorrect Answer:\n{correct}\n{RULE}\nModel's Answer:\n{proposed}\n{RULE}"
    )
}

/// The line that separates question and answers.
const RULE: &str = "--------------------------------";

/// Asks whether the steps that continue a partial solution are valid, to be answered Yes or No:
/// MM-PRM's `mllm_as_a_judge.py`.
pub fn steps(problem: &str, correct: &str, previous: &[String], following: &[String]) -> String {
    let previous = if previous.is_empty() { NO_STEPS.to_owned() } else { previous.join("\n\n") };
    let following = following.join("\n\n");
    format!(
        "I will provide a problem, its corresponding answer, a partial solution to the problem and some steps that continue \
         from the partial solution. They will be formatted as follows:\n\n[Problem]\n\n...(problem)...\n\n\
         [Correct Answer]\n\n...(problem's correct answer)...\n\n[Partial Solution]\n\n...(partial solution)...\n\n\
         [Following Steps]\n\n...(some steps that continue from the partial solution)...\n\n\
         Your task is to evaluate the Following Steps to determine whether they are logically and mathematically valid. If \
         they are valid, respond with \"Yes\"; otherwise, respond with \"No\".\n\n* Respond with \"Yes\" or \"No\" only.\n\n\
         ------------------------------------------------\n\nThe following is the information for you task:\n\n\
         [Problem]\n\n{problem}\n\n[Correct Answer]\n\n{correct}\n\n[Partial Solution]\n\n{previous}\n\n\
         [Following Steps]\n\n{following}\n"
    )
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// Digests of the prompts that MM-PRM's code makes from these inputs.
    #[test]
    fn the_wording_equals_mm_prms_byte_for_byte() {
        let digest = |text: String| format!("{:x}", Sha256::digest(text));
        assert_eq!(
            digest(answer("Q {x}?", r"\frac{1}{2}", "a\nb")),
            "5dd868a35767838d89e29f4672abc14df053aded6eed072fc5d66f47fd109752"
        );
        let list = |steps: &[&str]| steps.iter().map(|&step| step.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            digest(steps("Q {x}?", "2", &[], &list(&["a"]))),
            "3c0e6b4625e4ce24f402ccc7eae3715257bc3e7814f9eae709e61f34e9188a42"
        );
        assert_eq!(
            digest(steps("Q {x}?", "2", &list(&["a", "b"]), &list(&["c", "d"]))),
            "3f52e6e6216d29ca5b830dd21b402ce6ca23aba8f0e27e750dc3019c6a7d2258"
        );
    }
}
