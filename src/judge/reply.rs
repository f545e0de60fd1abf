//! Interpreting a judge's reply: a verdict in words, or the probabilities of two words.

use serde_json::Value;

use crate::remote::reply::{ReplyError, choice, content, short};

/// The temperature after a reply that was not a verdict; MM-PRM's.
const RETRY_TEMPERATURE: f64 = 0.5;

/// Reads a reply that begins with yes or no. Quotes, emphasis, punctuation, a reasoning block
/// before it and words after it are ignored.
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

/// Why a reply is not a verdict.
pub(super) fn no_verdict(words: &str) -> String {
    format!("it said {:?} instead of Yes or No", short(words))
}

/// [`yes_or_no`] of a chat completion.
pub(super) fn verdict(reply: &Value) -> Result<bool, ReplyError> {
    let text = content(choice(reply)?)?;
    let error = || ReplyError::Content { cause: no_verdict(text), temperature: RETRY_TEMPERATURE };
    yes_or_no(text).ok_or_else(error)
}

/// Probabilities that a model's first token is Yes and No.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StepScore {
    /// Probability of the more likely of `YES` and `Yes`, 0 to 1; e^−100 where neither is among the
    /// listed tokens.
    pub(super) yes: f64,
    /// The same for `NO` and `No`.
    pub(super) no: f64,
}

/// Log-probability of a word that is not among the listed tokens; MM-PRM's number.
const FLOOR: f64 = -100.0;

impl StepScore {
    /// P(Yes) / (P(Yes) + P(No)); `None` where neither is listed. (MM-PRM gives 0.5 then.)
    pub(super) fn share(self) -> Option<f64> {
        (self.yes.max(self.no) > FLOOR.exp()).then(|| self.yes / (self.yes + self.no))
    }
}

/// The probabilities of Yes and No as the first token of a chat completion.
pub(super) fn step_score(reply: &Value) -> Result<StepScore, ReplyError> {
    let content = &choice(reply)?["logprobs"]["content"];
    let content = content.as_array().ok_or(ReplyError::Missing("log-probabilities"))?;
    // A model that stops at once has no first token.
    let Some(first) = content.first() else { return Ok(StepScore { yes: FLOOR.exp(), no: FLOOR.exp() }) };
    let top = first["top_logprobs"].as_array().ok_or(ReplyError::Missing("the most likely tokens (top_logprobs)"))?;
    let of = |words: [&str; 2]| -> Result<f64, ReplyError> {
        let mut max = FLOOR;
        for entry in top.iter().filter(|entry| words.iter().any(|word| entry["token"] == *word)) {
            let value = entry["logprob"].as_f64().filter(|value| *value <= ROUNDING);
            max = max.max(value.ok_or_else(|| ReplyError::Form("a log-probability is not a number up to 0".into()))?);
        }
        Ok(max.exp())
    };
    Ok(StepScore { yes: of(["YES", "Yes"])?, no: of(["NO", "No"])? })
}

/// How far above 0 rounding may put a log-probability.
const ROUNDING: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn punctuation_and_reasoning_around_a_verdict_are_ignored() {
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
    fn anything_else_is_not_a_verdict() {
        for garbage in
            ["", " ", "maybe", "Not sure", "Yesterday", "none", "Yes/No", "yes or no?", "1", "The answer is no"]
        {
            assert_eq!(yes_or_no(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn the_more_likely_spelling_counts_and_a_missing_word_has_the_floor() {
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
    fn replies_of_another_form_are_distinguished() {
        assert!(matches!(verdict(&json!({"choices": []})), Err(ReplyError::Form(_))));
        let silent = json!({"choices": [{"message": {"content": "Yes"}, "logprobs": null}]});
        assert_eq!(step_score(&silent), Err(ReplyError::Missing("log-probabilities")));
        let odd = json!({"choices": [{"logprobs": {"content": [
            {"top_logprobs": [{"token": "Yes", "logprob": 1e300}]}]}}]});
        assert!(matches!(step_score(&odd), Err(ReplyError::Form(_))));
    }
}
