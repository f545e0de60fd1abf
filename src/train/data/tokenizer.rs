//! The tokenizer trait that the trainer uses, and the tokens that have a role.

use super::error::{DataError, TokenizerError};
use crate::prompt::{PrmForm, ReadOut, Run};

/// Splits text into token ids.
pub trait Tokenizer: Sync {
    /// Ids of a text. Special tokens are written out in it and recognised, but for its plain parts. `first` adds the
    /// vocabulary's beginning-of-text token, if it has one.
    ///
    /// # Errors
    /// Why the text cannot be split.
    fn encode(&self, text: &Run, first: bool) -> Result<Vec<u32>, TokenizerError>;

    /// The id of the token with exactly this text.
    fn token(&self, text: &str) -> Option<u32>;

    /// The id of the beginning-of-sequence token that the vocabulary names.
    fn bos(&self) -> Option<u32> {
        None
    }
}

/// Ids of the special tokens used in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<IMG_CONTEXT>`, replaced by an image's embeddings; `None` for a text model.
    pub context: Option<u32>,
    /// Those of a PRM's form; `None` for other tasks.
    pub steps: Option<StepTokens>,
}

/// Ids of the tokens of a PRM's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTokens {
    /// The mark at which scores are read (`<prm>`), if the form has one.
    pub mark: Option<u32>,
    /// The token of a correct step (`Yes`).
    pub yes: u32,
    /// The token of an incorrect step (`No`).
    pub no: u32,
}

impl SpecialTokens {
    /// Looks the tokens up in a vocabulary: those of a PRM's form, if one is trained, and of a model with images.
    ///
    /// # Errors
    /// [`DataError::NoToken`], [`DataError::Form`].
    pub fn find(tokenizer: &dyn Tokenizer, form: Option<&PrmForm>, has_images: bool) -> Result<Self, DataError> {
        let find = |text: &str| tokenizer.token(text).ok_or_else(|| DataError::NoToken { token: text.to_owned() });
        let context = if has_images { Some(find("<IMG_CONTEXT>")?) } else { None };
        let steps = form.map(|form| {
            form.marks().iter().try_for_each(|mark| find(mark).map(|_| ()))?;
            let (yes, no) = labels(form).map_err(|problem| DataError::Form { form: form.to_string(), problem })?;
            let mark = form.mark_read().map(&find).transpose()?;
            Ok::<_, DataError>(StepTokens { mark, yes: find(yes)?, no: find(no)? })
        });
        Ok(Self { context, steps: steps.transpose()? })
    }
}

/// The tokens of a correct and of an incorrect step.
fn labels(form: &PrmForm) -> Result<(&str, &str), &'static str> {
    match form.read_out() {
        ReadOut::Tokens { .. } if form.tells_answers() => Err(
            "it writes the answer in another way than steps, expected one way: training samples do not tell them apart",
        ),
        ReadOut::Tokens { tokens, positive } => match (&tokens[..], &positive[..]) {
            ([yes, no], [0]) | ([no, yes], [1]) => Ok((yes, no)),
            _ => Err("scores of more than two tokens cannot be trained, expected two"),
        },
        ReadOut::Head { .. } => Err("scores of a head cannot be trained, expected the logits of two tokens"),
        ReadOut::Logprob | ReadOut::LogRatio { .. } => Err(
            "scores are log-probabilities, expected the logits of two tokens; `task = \"implicit-prm\"` trains such a model",
        ),
        ReadOut::Critique { .. } => Err(
            "the model writes a critique before each score, which samples do not have; expected scores that are read from the solution alone",
        ),
    }
}
