//! Rules first, a judge where they cannot tell, and an account of who decided.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{JudgeError, JudgeModel};
use crate::data::problem::Problem;
use crate::judge::{Verdict, Verifier, VerifyError};
use crate::util::cancel::CancelToken;
use crate::util::pool;

/// When the judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// Where the rules cannot tell.
    #[default]
    Undecided,
    /// For every answer, and the rules for none: the reference's way.
    Always,
}

/// A [`Verifier`] of rules and a judge. An answer that neither can decide is [`Verdict::Unjudged`].
///
/// A judge that cannot be used at all stops the run: the verifier sets the run's `stop` flag and tells the cause in
/// [`stopped_by`](Self::stopped_by).
pub struct JudgedVerifier<'a> {
    rules: &'a dyn Verifier,
    judge: Option<&'a dyn JudgeModel>,
    when: When,
    stop: &'a CancelToken,
    by_rules: AtomicU64,
    by_judge: AtomicU64,
    unjudged: AtomicU64,
    last_cause: Mutex<Option<String>>,
    stopped_by: OnceLock<JudgeError>,
}

/// Who decided how many answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Report {
    /// Answers that the rules decided.
    pub by_rules: u64,
    /// Answers that the judge decided.
    pub by_judge: u64,
    /// Questions that were answered from the judge's cache instead of being asked.
    pub from_cache: u64,
    /// Answers that nobody could judge.
    pub unjudged: u64,
    /// Why not, the last time.
    pub last_cause: Option<String>,
}

impl<'a> JudgedVerifier<'a> {
    /// Puts `rules` before `judge`, or `judge` in their place. `stop` is the flag that stops the run.
    pub fn new(rules: &'a dyn Verifier, judge: Option<&'a dyn JudgeModel>, when: When, stop: &'a CancelToken) -> Self {
        Self {
            rules,
            judge,
            when,
            stop,
            by_rules: AtomicU64::new(0),
            by_judge: AtomicU64::new(0),
            unjudged: AtomicU64::new(0),
            last_cause: Mutex::default(),
            stopped_by: OnceLock::new(),
        }
    }

    /// Who decided so far.
    pub fn report(&self) -> Report {
        Report {
            by_rules: self.by_rules.load(Ordering::Relaxed),
            by_judge: self.by_judge.load(Ordering::Relaxed),
            from_cache: self.judge.map_or(0, JudgeModel::cache_hits),
            unjudged: self.unjudged.load(Ordering::Relaxed),
            last_cause: self.last_cause.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Why the judge stopped the run, if it did.
    pub fn stopped_by(&self) -> Option<&JudgeError> {
        self.stopped_by.get()
    }

    /// What the rules say; `None` where the judge is to be asked.
    fn by_rules(&self, problem: &Problem, answer: &str) -> Result<Option<Verdict>, VerifyError> {
        if self.judge.is_some() && self.when == When::Always {
            if problem.answer.trim().is_empty() {
                return Err(VerifyError(format!(
                    "problem {}: expected a correct answer, found an empty one",
                    problem.id
                )));
            }
            return Ok(None);
        }
        let verdict = self.rules.verify(problem, answer)?;
        if verdict == Verdict::Unjudged {
            return Ok(None);
        }
        self.by_rules.fetch_add(1, Ordering::Relaxed);
        Ok(Some(verdict))
    }

    /// What the judge says, if there is one.
    fn ask(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let judge =
            self.judge.ok_or_else(|| JudgeError::NoVerdict("the rules cannot tell and no judge is set".into()))?;
        if self.stop.is_cancelled() {
            return Err(JudgeError::Cancelled);
        }
        let verdict = judge.judge(problem, answer);
        if let Err(error) = &verdict
            && error.ends_the_run()
        {
            let _ = self.stopped_by.set(error.clone());
            self.stop.cancel();
        }
        verdict
    }

    /// Counts what the judge said.
    fn settle(&self, said: Result<bool, JudgeError>) -> Result<Verdict, VerifyError> {
        match said {
            Ok(right) => {
                self.by_judge.fetch_add(1, Ordering::Relaxed);
                Ok(if right { Verdict::Correct } else { Verdict::Incorrect })
            }
            Err(error) if error.ends_the_run() || error == JudgeError::Cancelled => Err(VerifyError(error.to_string())),
            Err(error) => {
                self.unjudged.fetch_add(1, Ordering::Relaxed);
                *self.last_cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                Ok(Verdict::Unjudged)
            }
        }
    }
}

impl Verifier for JudgedVerifier<'_> {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        match self.by_rules(problem, answer)? {
            Some(verdict) => Ok(verdict),
            None => self.settle(self.ask(problem, answer)),
        }
    }

    /// The judge is asked about all open answers at once, and about equal ones once.
    fn verify_all(&self, problem: &Problem, answers: &[&str]) -> Vec<Result<Verdict, VerifyError>> {
        let ruled: Vec<_> = answers.iter().map(|answer| self.by_rules(problem, answer)).collect();
        let mut open: Vec<&str> = Vec::new();
        for (answer, ruling) in answers.iter().zip(&ruled) {
            if matches!(ruling, Ok(None)) && !open.contains(answer) {
                open.push(answer);
            }
        }
        let at_once = self.judge.map_or(1, JudgeModel::parallel);
        let said = pool::map(&open, at_once, |answer| self.ask(problem, answer));
        let judged = |answer: &&str| {
            let place = open.iter().position(|asked| asked == answer).expect("every open answer was asked about");
            self.settle(said[place].clone())
        };
        ruled
            .into_iter()
            .zip(answers)
            .map(|(ruling, answer)| match ruling {
                Ok(Some(verdict)) => Ok(verdict),
                Ok(None) => judged(answer),
                Err(error) => Err(error),
            })
            .collect()
    }
}
