//! Rules first, then a judge where they cannot decide, with counts of who decided.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{JudgeError, JudgeModel, Verdict, Verifier, VerifyError};
use crate::data::problem::Problem;
use crate::util::cancel::CancelToken;
use crate::util::pool;

/// When the judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JudgeMode {
    /// Where the rules are undecided.
    #[default]
    Undecided,
    /// For every answer, without asking the rules, as MM-PRM does.
    Always,
}

/// A [`Verifier`] that applies rules and asks a judge where they are undecided. An answer that
/// neither can decide is [`Verdict::Unjudged`].
///
/// A judge that cannot be used at all ends the run: the verifier cancels the run's `stop` token and
/// keeps the cause in [`stopped_by`](Self::stopped_by).
pub struct RulesThenJudge<'a> {
    rules: &'a dyn Verifier,
    judge: Option<&'a dyn JudgeModel>,
    mode: JudgeMode,
    stop: &'a CancelToken,
    by_rules: AtomicU64,
    by_judge: AtomicU64,
    unjudged: AtomicU64,
    last_cause: Mutex<Option<String>>,
    stopped_by: OnceLock<JudgeError>,
}

/// How many answers the rules and the judge decided.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct VerdictCounts {
    /// Answers decided by the rules.
    pub by_rules: u64,
    /// Answers decided by the judge.
    pub by_judge: u64,
    /// Questions answered from the judge's cache.
    pub from_cache: u64,
    /// Answers that neither could decide.
    pub unjudged: u64,
    /// Why the last of these was not decided.
    pub last_cause: Option<String>,
}

impl<'a> RulesThenJudge<'a> {
    /// Combines `rules` and `judge`. `stop` is the run's cancel token.
    pub fn new(
        rules: &'a dyn Verifier,
        judge: Option<&'a dyn JudgeModel>,
        mode: JudgeMode,
        stop: &'a CancelToken,
    ) -> Self {
        Self {
            rules,
            judge,
            mode,
            stop,
            by_rules: AtomicU64::new(0),
            by_judge: AtomicU64::new(0),
            unjudged: AtomicU64::new(0),
            last_cause: Mutex::default(),
            stopped_by: OnceLock::new(),
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> VerdictCounts {
        VerdictCounts {
            by_rules: self.by_rules.load(Ordering::Relaxed),
            by_judge: self.by_judge.load(Ordering::Relaxed),
            from_cache: self.judge.map_or(0, JudgeModel::cache_hits),
            unjudged: self.unjudged.load(Ordering::Relaxed),
            last_cause: self.last_cause.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Why the judge ended the run, if it did.
    pub fn stopped_by(&self) -> Option<&JudgeError> {
        self.stopped_by.get()
    }

    /// The rules' verdict; `None` where the judge is to be asked.
    fn by_rules(&self, problem: &Problem, answer: &str) -> Result<Option<Verdict>, VerifyError> {
        if self.judge.is_some() && self.mode == JudgeMode::Always {
            if problem.answer.trim().is_empty() {
                return Err(VerifyError::NoAnswer { problem: problem.id.clone() });
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

    /// The judge's verdict; `None` without a judge.
    fn ask(&self, problem: &Problem, answer: &str) -> Option<Result<bool, JudgeError>> {
        let judge = self.judge?;
        if self.stop.is_cancelled() {
            return Some(Err(JudgeError::Cancelled));
        }
        let verdict = judge.judge(problem, answer);
        if let Err(error) = &verdict
            && error.ends_the_run()
        {
            let _ = self.stopped_by.set(error.clone());
            self.stop.cancel();
        }
        Some(verdict)
    }

    /// Counts the judge's verdict.
    fn settle(&self, judged: Option<Result<bool, JudgeError>>) -> Result<Verdict, VerifyError> {
        let cause = match judged {
            None => "the rules are undecided and there is no judge".to_owned(),
            Some(Ok(right)) => {
                self.by_judge.fetch_add(1, Ordering::Relaxed);
                return Ok(if right { Verdict::Correct } else { Verdict::Incorrect });
            }
            Some(Err(error)) if error.ends_the_run() || matches!(error, JudgeError::Cancelled) => {
                return Err(error.into());
            }
            Some(Err(error)) => error.to_string(),
        };
        self.unjudged.fetch_add(1, Ordering::Relaxed);
        *self.last_cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        Ok(Verdict::Unjudged)
    }
}

impl Verifier for RulesThenJudge<'_> {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        match self.by_rules(problem, answer)? {
            Some(verdict) => Ok(verdict),
            None => self.settle(self.ask(problem, answer)),
        }
    }

    /// Asks the judge about all undecided answers in parallel, and about equal ones once.
    fn verify_all(&self, problem: &Problem, answers: &[&str]) -> Vec<Result<Verdict, VerifyError>> {
        let ruled: Vec<_> = answers.iter().map(|answer| self.by_rules(problem, answer)).collect();
        let mut open: Vec<&str> = Vec::new();
        for (answer, ruling) in answers.iter().zip(&ruled) {
            if matches!(ruling, Ok(None)) && !open.contains(answer) {
                open.push(answer);
            }
        }
        let at_once = self.judge.map_or(1, JudgeModel::parallel);
        let replies = pool::map(&open, at_once, |answer| self.ask(problem, answer));
        let judged = |answer: &&str| {
            let place = open.iter().position(|asked| asked == answer).expect("every undecided answer was asked about");
            self.settle(replies[place].clone())
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
