//! Reading what a model replied: a verdict in words, or the probabilities of two words.

use serde_json::Value;

use crate::remote::reply::{Unread, choice, short, words};

/// The reference's temperature, for tries after a reply that was no verdict.
const WARMER: f64 = 0.5;

/// Whether a reply says yes or no. Its dress (quotes, emphasis, a period) does not count, nor do words after a Yes or No it
/// begins with.
pub(super) fn yes_or_no(words: &str) -> Option<bool> {
    let words = words.rsplit_once("</think>").map_or(words, |(_, verdict)| verdict);
    let bare = words.trim_start_matches(|c: char| !c.is_alphanumeric());
    let end = bare.find(|c: char| !c.is_alphanumeric()).unwrap_or(bare.len());
    let (first, rest) = bare.split_at(end);
    let rest = rest.trim_start().to_lowercase();
    // "Yes/No" and "yes or no" repeat the question.
    if rest.starts_with('/') || rest.starts_with("or ") {
        return None;
    }
    match first.to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Why such words are no verdict.
pub(super) fn no_verdict(words: &str) -> String {
    format!("it said {:?} instead of Yes or No", short(words))
}

/// [`yes_or_no`] of a chat completion.
pub(super) fn verdict(reply: &Value) -> Result<bool, Unread> {
    let words = words(choice(reply)?)?;
    let unread = || Unread::Words { cause: no_verdict(words), temperature: WARMER };
    yes_or_no(words).ok_or_else(unread)
}

/// How likely a model was to say Yes and No.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepScore {
    /// Probability of the likelier of `YES` and `Yes`, 0 to 1; e^−100 where neither is among the most likely tokens.
    pub yes: f64,
    /// The same of `NO` and `No`.
    pub no: f64,
}

/// The log-probability of a word that is not among the most likely ones, in the reference.
const FLOOR: f64 = -100.0;

impl StepScore {
    /// The share of Yes among both; `None` where neither was likely enough to be listed, which says nothing. (The reference
    /// calls that 0.5.)
    pub fn share(self) -> Option<f64> {
        (self.yes.max(self.no) > FLOOR.exp()).then(|| self.yes / (self.yes + self.no))
    }
}

/// The probabilities of Yes and No as the first token of a chat completion.
pub(super) fn step_score(reply: &Value) -> Result<StepScore, Unread> {
    let content = &choice(reply)?["logprobs"]["content"];
    let content = content.as_array().ok_or(Unread::Missing("log-probabilities"))?;
    // A model that ends at once has no first token, and gave neither word.
    let Some(first) = content.first() else { return Ok(StepScore { yes: FLOOR.exp(), no: FLOOR.exp() }) };
    let top = first["top_logprobs"].as_array().ok_or(Unread::Missing("the most likely tokens (top_logprobs)"))?;
    let of = |words: [&str; 2]| -> Result<f64, Unread> {
        let mut most = FLOOR;
        for entry in top.iter().filter(|entry| words.iter().any(|word| entry["token"] == *word)) {
            let value = entry["logprob"].as_f64().filter(|value| *value <= ROUNDING);
            most = most.max(value.ok_or_else(|| Unread::Form("a log-probability is no number up to 0".into()))?);
        }
        Ok(most.exp())
    };
    Ok(StepScore { yes: of(["YES", "Yes"])?, no: of(["NO", "No"])? })
}

/// How far above 0 a logarithm of a probability may come to lie by rounding.
const ROUNDING: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verdict_is_read_through_its_dress() {
        for yes in
            ["yes", "Yes", " YES.\n", "**Yes**", "\"Yes\"", "`yes`", "Yes, they match", "<think>\n\n</think>\n\nYes"]
        {
            assert_eq!(yes_or_no(yes), Some(true), "{yes}");
        }
        for no in ["no", " No.", "no\n", "*No*", "No - 3 is not 4", "'NO'"] {
            assert_eq!(yes_or_no(no), Some(false), "{no}");
        }
    }

    #[test]
    fn anything_else_is_no_verdict() {
        for garbage in
            ["", " ", "maybe", "Not sure", "Yesterday", "none", "Yes/No", "yes or no?", "1", "The answer is no"]
        {
            assert_eq!(yes_or_no(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn the_likelier_spelling_counts_and_a_missing_word_has_the_floor() {
        let reply = |top: Value| json!({"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]});
        let both = reply(json!([
            {"token": "Yes", "logprob": -0.5}, {"token": "YES", "logprob": -3.0}, {"token": "yes", "logprob": -0.1},
            {"token": "No", "logprob": -2.0},
        ]));
        let score = step_score(&both).unwrap();
        assert_eq!((score.yes.to_bits(), score.no.to_bits()), ((-0.5_f64).exp().to_bits(), (-2.0_f64).exp().to_bits()));
        let only_no = step_score(&reply(json!([{"token": "NO", "logprob": 0.0}]))).unwrap();
        assert_eq!((only_no.yes.to_bits(), only_no.no.to_bits()), ((-100.0_f64).exp().to_bits(), 1.0_f64.to_bits()));
        assert!(only_no.share().unwrap() < 1e-40);
        let neither = step_score(&reply(json!([{"token": "The", "logprob": -0.1}]))).unwrap();
        assert_eq!(neither.share(), None);
        let nothing_said = json!({"choices": [{"logprobs": {"content": []}}]});
        assert_eq!(step_score(&nothing_said).unwrap().share(), None);
    }

    #[test]
    fn replies_of_another_form_are_told_apart() {
        assert!(matches!(verdict(&json!({"choices": []})), Err(Unread::Form(_))));
        let silent = json!({"choices": [{"message": {"content": "Yes"}, "logprobs": null}]});
        assert_eq!(step_score(&silent), Err(Unread::Missing("log-probabilities")));
        let odd = json!({"choices": [{"logprobs": {"content": [
            {"top_logprobs": [{"token": "Yes", "logprob": 1e300}]}]}}]});
        assert!(matches!(step_score(&odd), Err(Unread::Form(_))));
    }
}
