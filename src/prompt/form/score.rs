//! How a score is read: the table `[score]` of a record, and its check.

use serde::Deserialize;

use super::FormError;
use super::template::{Slot, Template};

/// Maximum number of tokens that a score is read from.
const MAX_TOKENS: usize = 64;
/// Maximum β of a log-probability ratio.
const MAX_BETA: f64 = 100.0;
/// Maximum number of tokens of a critique.
const MAX_CRITIQUE: usize = 1 << 16;
/// Maximum number of texts that end a critique.
const MAX_STOPS: usize = 16;

/// How a score is read.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadOut {
    /// The share of `positive` in the softmax of the logits of `tokens`.
    Tokens {
        /// The texts of the tokens.
        tokens: Vec<String>,
        /// Indices into `tokens`.
        positive: Vec<usize>,
    },
    /// An output of the model's head, which is applied to the hidden state after the final norm.
    Head {
        /// What makes a probability of the outputs.
        activation: Activation,
        /// The index of the output.
        output: usize,
    },
    /// The probability of the step as the text that the model would write.
    Logprob,
    /// σ(β · Σ (log-probability − that of a reference model)) over the step's tokens.
    LogRatio {
        /// β.
        beta: f64,
        /// The sum begins at the first step instead of at the step itself.
        cumulative: bool,
    },
    /// As `Tokens`, after a critique of the step that the model writes by greedy decoding.
    Critique {
        /// The texts of the tokens.
        tokens: Vec<String>,
        /// Indices into `tokens`.
        positive: Vec<usize>,
        /// Maximum number of tokens of a critique.
        max_tokens: usize,
    },
}

/// What makes a probability of a head's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The softmax of all outputs.
    Softmax,
    /// The logistic function of one output.
    Sigmoid,
}

impl ReadOut {
    /// Returns whether the step's own tokens are read, not a place in the text.
    pub fn is_of_tokens(&self) -> bool {
        matches!(self, Self::Logprob | Self::LogRatio { .. })
    }

    /// Returns whether the model writes a critique before a score is read.
    pub fn is_after_critique(&self) -> bool {
        matches!(self, Self::Critique { .. })
    }

    /// Returns in a few words how scores are read.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Tokens { tokens, positive } => share(tokens, positive),
            Self::Head { activation: Activation::Softmax, output } => format!("class {output} of its head (softmax)"),
            Self::Head { activation: Activation::Sigmoid, output } => format!("output {output} of its head (sigmoid)"),
            Self::Logprob => "the probability that it would write the step".into(),
            Self::LogRatio { beta, cumulative } => {
                let tokens = if *cumulative { "all tokens up to the step's end" } else { "the step's tokens" };
                format!("σ({beta} · Σ (log-probability − that of the reference model)) over {tokens}")
            }
            Self::Critique { tokens, positive, max_tokens } => {
                format!("{}, after a critique of at most {max_tokens} tokens", share(tokens, positive))
            }
        }
    }
}

fn share(tokens: &[String], positive: &[usize]) -> String {
    let quoted = |index: &usize| format!("{:?}", tokens[*index]);
    let positive = positive.iter().map(quoted).collect::<Vec<_>>().join(" or ");
    let all = (0..tokens.len()).map(|index| quoted(&index)).collect::<Vec<_>>().join(", ");
    format!("the probability of {positive} among {all}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoreRecord {
    by: By,
    tokens: Option<Vec<String>>,
    positive: Option<Vec<String>>,
    activation: Option<Activation>,
    output: Option<usize>,
    beta: Option<f64>,
    cumulative: Option<bool>,
    max_tokens: Option<usize>,
    stop: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    Tokens,
    Head,
    Logprob,
    LogprobRatio,
    Critique,
}

impl By {
    /// Its name in a record.
    fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Head => "head",
            Self::Logprob => "logprob",
            Self::LogprobRatio => "logprob-ratio",
            Self::Critique => "critique",
        }
    }
}

fn refuse<T>(key: &'static str, problem: String) -> Result<T, FormError> {
    Err(FormError::Value { key, problem })
}

impl ScoreRecord {
    /// Returns how a score is read, and the texts that end a critique.
    pub fn read_out(self) -> Result<(ReadOut, Vec<Template>), FormError> {
        self.check_keys()?;
        let stops = stops(&self.stop.unwrap_or_default())?;
        let read_out = match self.by {
            By::Logprob => ReadOut::Logprob,
            By::LogprobRatio => {
                let (beta, cumulative) = self.beta.zip(self.cumulative).unwrap_or_default();
                if !(beta > 0.0 && beta <= MAX_BETA) {
                    return refuse("score.beta", format!("found {beta}, expected more than 0 and at most {MAX_BETA}"));
                }
                ReadOut::LogRatio { beta, cumulative }
            }
            By::Head => {
                let (activation, output) = self.activation.zip(self.output).unwrap_or((Activation::Softmax, 0));
                ReadOut::Head { activation, output }
            }
            By::Tokens => {
                let (tokens, names) = self.tokens.zip(self.positive).unwrap_or_default();
                let positive = positive(&tokens, &names)?;
                ReadOut::Tokens { tokens, positive }
            }
            By::Critique => {
                let (tokens, names) = self.tokens.zip(self.positive).unwrap_or_default();
                let positive = positive(&tokens, &names)?;
                let max_tokens = self.max_tokens.unwrap_or_default();
                if !(1..=MAX_CRITIQUE).contains(&max_tokens) {
                    return refuse("score.max_tokens", format!("found {max_tokens}, expected 1 to {MAX_CRITIQUE}"));
                }
                ReadOut::Critique { tokens, positive, max_tokens }
            }
        };
        Ok((read_out, stops))
    }

    /// Checks that the keys are those of `by`.
    fn check_keys(&self) -> Result<(), FormError> {
        let given = [
            ("score.tokens", self.tokens.is_some(), &[By::Tokens, By::Critique][..], true),
            ("score.positive", self.positive.is_some(), &[By::Tokens, By::Critique], true),
            ("score.activation", self.activation.is_some(), &[By::Head], true),
            ("score.output", self.output.is_some(), &[By::Head], true),
            ("score.beta", self.beta.is_some(), &[By::LogprobRatio], true),
            ("score.cumulative", self.cumulative.is_some(), &[By::LogprobRatio], true),
            ("score.max_tokens", self.max_tokens.is_some(), &[By::Critique], true),
            ("score.stop", self.stop.is_some(), &[By::Critique], false),
        ];
        for (key, given, owners, is_needed) in given {
            let is_own = owners.contains(&self.by);
            if given && !is_own {
                let owners: Vec<String> = owners.iter().map(|by| format!("`by = \"{}\"`", by.name())).collect();
                return refuse(key, format!("it belongs to {}, and the record has another `by`", owners.join(" or ")));
            }
            if is_own && is_needed && !given {
                return refuse(key, format!("missing, expected because of `by = \"{}\"`", self.by.name()));
            }
        }
        Ok(())
    }
}

/// Checks the tokens that a score is read from; returns the indices of those called `names`.
fn positive(tokens: &[String], names: &[String]) -> Result<Vec<usize>, FormError> {
    if !(2..=MAX_TOKENS).contains(&tokens.len()) {
        return refuse("score.tokens", format!("found {}, expected 2 to {MAX_TOKENS}", tokens.len()));
    }
    if let Some(twice) = twice(tokens) {
        return refuse("score.tokens", format!("{twice:?} occurs twice"));
    }
    if tokens.iter().any(String::is_empty) {
        return refuse("score.tokens", "found an empty text, expected texts of tokens".into());
    }
    let mut positive = Vec::new();
    for name in names {
        let Some(index) = tokens.iter().position(|token| token == name) else {
            return refuse("score.positive", format!("{name:?} is not among score.tokens"));
        };
        if positive.contains(&index) {
            return refuse("score.positive", format!("{name:?} occurs twice"));
        }
        positive.push(index);
    }
    if positive.is_empty() || positive.len() == tokens.len() {
        let problem = format!("found {} of {} tokens, expected some and not all", names.len(), tokens.len());
        return refuse("score.positive", problem);
    }
    Ok(positive)
}

/// Checks the texts that end a critique.
fn stops(texts: &[String]) -> Result<Vec<Template>, FormError> {
    if texts.len() > MAX_STOPS {
        return refuse("score.stop", format!("found {} texts, expected at most {MAX_STOPS}", texts.len()));
    }
    if texts.iter().any(String::is_empty) {
        return refuse("score.stop", "found an empty text, which would end every critique before it begins".into());
    }
    if let Some(twice) = twice(texts) {
        return refuse("score.stop", format!("{twice:?} occurs twice"));
    }
    texts.iter().map(|text| Template::parse("score.stop", text, &[Slot::Number, Slot::Next])).collect()
}

fn twice(texts: &[String]) -> Option<&String> {
    texts.iter().enumerate().find(|(index, text)| texts[..*index].contains(text)).map(|(_, text)| text)
}
