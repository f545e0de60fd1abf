//! Decides whether a final answer is right, by rules and an optional judge model.

#[cfg(feature = "engine")]
use std::path::Path;

use super::Error;
#[cfg(feature = "engine")]
use super::models::{Lazy, ModelFiles};
use crate::data::problem::Problem;
#[cfg(feature = "engine")]
use crate::judge::{JudgeModel, LocalJudge};
use crate::judge::{RuleVerifier, Verdict, Verifier, VerifyError};
#[cfg(feature = "engine")]
use crate::util::cancel::CancelToken;

/// Decides whether an answer is equivalent to the problem's own.
///
/// Rules compare numbers, expressions, units, sets, equations, options and words. What they leave undecided goes to the
/// judge model, if there is one, and is [`Verdict::Unjudged`] otherwise.
///
/// ```
/// use mmprm::{Judge, Problem, Verdict};
/// let problem = Problem::new("Solve x² = 4 for x > 0.").answer("x = 2");
/// assert_eq!(Judge::rules().verdict(&problem, "2")?, Verdict::Correct);
/// # Ok::<(), mmprm::Error>(())
/// ```
#[derive(Debug)]
pub struct Judge {
    #[cfg(feature = "engine")]
    model: Option<(ModelFiles, Lazy<LocalJudge>)>,
}

impl Judge {
    /// Returns a judge of rules alone.
    pub fn rules() -> Self {
        Self {
            #[cfg(feature = "engine")]
            model: None,
        }
    }

    /// Opens a text model, a GGUF file, that decides where the rules cannot.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) for a file that is missing or not a sound GGUF file.
    #[cfg(feature = "engine")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self { model: Some((ModelFiles::open(path.as_ref())?, Lazy::new())) })
    }

    /// Judges `answer`, a final answer or the text of a solution's last step.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) for a problem without an answer or a model that cannot be used,
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) where the model fails.
    pub fn verdict(&self, problem: &Problem, answer: &str) -> Result<Verdict, Error> {
        let verdict = RuleVerifier.verify(problem, answer)?;
        #[cfg(feature = "engine")]
        if let (Verdict::Unjudged, Some((files, model))) = (verdict, &self.model) {
            let model = model.get(|| {
                let (engine, encoder) = files.start(false)?;
                Ok(LocalJudge::new(engine, encoder, None, 1, CancelToken::new())?)
            })?;
            return Ok(if model.judge(problem, answer)? { Verdict::Correct } else { Verdict::Incorrect });
        }
        Ok(verdict)
    }
}

impl Verifier for Judge {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        self.verdict(problem, answer).map_err(|error| VerifyError::Other(Box::new(error)))
    }
}
