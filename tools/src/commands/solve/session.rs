//! The loaded models, and one question after another for them.

#![expect(clippy::format_push_string, reason = "texts are drawn once, and read better this way")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::anyhow;
use mmprm::data::candidates::CandidateSet;
use mmprm::data::solution::{Continue, answer_text};
use mmprm::eval::selection::{Contenders, Selected, Selection};
use mmprm::eval::solve::{SolveError, Solver, candidate_set, solve};
use mmprm::policy::PolicyError;
use mmprm::prm::{LocalPrm, PrmError, StepScorer, form};
use mmprm::search::guided::{GuidedError, GuidedParams, Method, guided};
use serde_json::{Value, json};

use super::question::Question;
use crate::args::{EngineArgs, SamplingArgs};
use crate::draw::candidates::{self as drawn, Style};
use crate::draw::inline;
use crate::draw::pen::Pen;
use crate::draw::steps::Scale;
use crate::policy::{OpenPolicy, PolicyArgs};
use crate::scorer::{self, ScorerPair};
use crate::ui::Ui;

/// Whether a rule compares step scores.
pub fn needs_scores(rule: Selection) -> bool {
    matches!(rule, Selection::Score(_) | Selection::WeightedVote(_))
}

/// Whether a rule compares the policy's log-probabilities.
pub fn needs_logprobs(rule: Selection) -> bool {
    matches!(rule, Selection::LogprobMean | Selection::LogprobWorstStep)
}

/// Loaded models and how they are used.
pub struct Session {
    policy: OpenPolicy,
    prm: Option<LocalPrm>,
    scale: Scale,
    width: usize,
    seed: u64,
    /// Candidates per question.
    pub count: usize,
    /// The rule that selects; `None` for [`Selection::usual`].
    pub rule: Option<Selection>,
    /// How the reward model steers solutions.
    pub search: Method,
    /// Whether every candidate is shown.
    pub shows_all: bool,
    last: Option<CandidateSet>,
}

/// Times and tokens of an answer.
struct Cost {
    tokens: u64,
    sampling: f64,
    scoring: f64,
}

impl Session {
    /// Loads the models.
    pub fn open(
        policy: &PolicyArgs,
        prm: Option<ScorerPair>,
        sampling: &SamplingArgs,
        engine: &EngineArgs,
        ui: &Ui,
    ) -> anyhow::Result<Self> {
        // Images are absolute paths, which the user named.
        let root = PathBuf::from("/");
        let open = policy.open(engine, sampling, root.clone(), true, Continue::User, ui)?;
        let width = policy.width(&open, 1);
        let mut scale = Scale::default();
        let prm = match prm {
            None => None,
            Some(pair) => {
                scale = Scale::of_form(form::recorded(&pair.form()?));
                Some(pair.open(engine, &root, ui)?)
            }
        };
        let (count, seed) = (1, sampling.seed);
        Ok(Self {
            policy: open,
            prm,
            scale,
            width,
            seed,
            count,
            search: Method::BestOfN,
            rule: None,
            shows_all: false,
            last: None,
        })
    }

    /// Whether there is a reward model.
    pub fn has_prm(&self) -> bool {
        self.prm.is_some()
    }

    /// Solves a question and prints the answer.
    pub fn answer(&mut self, question: &Question, ui: &Ui) -> anyhow::Result<()> {
        let before = self.prm.as_ref().map_or(0, LocalPrm::truncated_critiques);
        let answered = self.solve(question, ui);
        if let Some(prm) = &self.prm {
            scorer::warn_truncated(prm, before, ui);
        }
        answered
    }

    fn solve(&mut self, question: &Question, ui: &Ui) -> anyhow::Result<()> {
        let problem = question.problem();
        let guide = self.prm.as_ref().filter(|_| self.search != Method::BestOfN);
        if let Some(prm) = guide {
            let (before, started) = (self.policy.counters().generated(), Instant::now());
            let spinner = ui.spinner("searching");
            let params = GuidedParams { method: self.search, candidates: self.count, ..GuidedParams::default() };
            let found = guided(&problem, &params, &self.policy, prm, ui.interrupted());
            spinner.finish_and_clear();
            self.policy.close()?;
            let found = found.map_err(|error| match error {
                GuidedError::Policy(PolicyError::Cancelled) | GuidedError::Prm(PrmError::Cancelled) => {
                    anyhow!(error).context("interrupted before the search was complete")
                }
                error => anyhow!(error),
            })?;
            let set = candidate_set(&problem, found.solutions, None, Some(found.scores));
            let tokens = self.policy.counters().generated() - before;
            let cost = Cost { tokens, sampling: started.elapsed().as_secs_f64(), scoring: 0.0 };
            let printed = self.print(&set, &cost, self.shows_all, ui);
            self.last = Some(set);
            return printed;
        }
        let bar = ui.bar("sampling", self.count as u64, "");
        let (before, started) = (self.policy.counters().generated(), Instant::now());
        let mut sampled = started;
        let mut answers: Vec<String> = Vec::new();
        let solver = Solver {
            policy: &self.policy,
            prm: self.prm.as_ref().map(|prm| prm as &dyn StepScorer),
            workers: self.width.min(self.count),
        };
        let solved = solve(&problem, self.count, &solver, ui.interrupted(), |_, one| {
            sampled = Instant::now();
            answers.extend(answer_text(&one.rollout).map(str::to_owned));
            bar.inc(1);
            let tokens = self.policy.counters().generated() - before;
            let rate = tokens as f64 / started.elapsed().as_secs_f64().max(1e-9);
            bar.set_message(format!(
                "{rate:.0} tokens/s  {}",
                mmprm::util::printable::printable(answers.last().map_or("", String::as_str))
            ));
        });
        bar.finish_and_clear();
        self.policy.close()?;
        let set = solved.map_err(|error| match error {
            SolveError::Policy(PolicyError::Cancelled) => {
                anyhow!(error).context("interrupted before every candidate was sampled")
            }
            SolveError::Prm(PrmError::Cancelled) => anyhow!(error).context("interrupted before every step was scored"),
            error => anyhow!(error),
        })?;
        let cost = Cost {
            tokens: self.policy.counters().generated() - before,
            sampling: (sampled - started).as_secs_f64(),
            scoring: sampled.elapsed().as_secs_f64(),
        };
        let printed = self.print(&set, &cost, self.shows_all, ui);
        self.last = Some(set);
        printed
    }

    /// Prints every candidate of the last question, if there was one.
    pub fn explain(&self, ui: &Ui) -> anyhow::Result<bool> {
        let Some(set) = &self.last else { return Ok(false) };
        let contenders = Contenders::new(set);
        let style = self.style(set);
        ui.draw(&drawn::all(set, &contenders, contenders.select(style.rule), style))?;
        Ok(true)
    }

    fn style(&self, set: &CandidateSet) -> Style {
        Style { rule: self.rule.unwrap_or_else(|| Selection::usual(set)), scale: self.scale, pen: Pen::new() }
    }

    fn print(&self, set: &CandidateSet, cost: &Cost, shows_all: bool, ui: &Ui) -> anyhow::Result<()> {
        let (contenders, style) = (Contenders::new(set), self.style(set));
        let is_empty = set.solutions.iter().all(Vec::is_empty);
        let selected = contenders.select(style.rule).filter(|_| !is_empty);
        let Some(selected) = selected else {
            let missing = style
                .rule
                .missing(set)
                .map(|field| format!("--by {} needs {field}, which this policy does not return", style.rule));
            return Err(anyhow!(missing.unwrap_or_else(|| {
                format!("none of the {} candidates has an answer in <step> and <answer> tags; is this a policy of MM-PRM's form?", set.solutions.len())
            })));
        };
        ui.result(&self.json(set, &contenders, selected, style.rule, cost))?;
        if !ui.is_for_people() {
            return Ok(());
        }
        let images = set.images.iter().map(|path| inline::image(Path::new(path)));
        let mut text = images.collect::<String>() + &drawn::problem(set, style.pen);
        text.push('\n');
        text += &drawn::chosen(set, &contenders, selected, style);
        if shows_all {
            text.push('\n');
            text += &drawn::all(set, &contenders, Some(selected), style);
        }
        text.push('\n');
        for line in self.summary(set, cost).lines() {
            text += &format!("{}\n", style.pen.dim(line));
        }
        ui.draw(&text)
    }

    /// Numbers and times, and what scores mean where it is not the usual.
    fn summary(&self, set: &CandidateSet, cost: &Cost) -> String {
        let Cost { tokens, sampling, scoring } = *cost;
        let count = set.solutions.len();
        let mut line = format!("{count} candidates in {sampling:.1} s");
        if tokens > 0 {
            line += &format!(" ({tokens} tokens, {:.0} tokens/s)", tokens as f64 / sampling.max(1e-9));
        }
        if self.prm.is_some() {
            if self.search == Method::BestOfN {
                line += &format!(", scored in {scoring:.1} s");
            } else {
                line += &format!(", searched by {}", self.search);
            }
            if self.scale == Scale::Logarithmic {
                line += "\na step's score is the probability that the reward model would write it";
            }
        }
        line
    }

    fn json(
        &self,
        set: &CandidateSet,
        contenders: &Contenders<'_>,
        selected: Selected,
        rule: Selection,
        cost: &Cost,
    ) -> Value {
        let candidate = |index: usize| {
            let mut candidate = json!({"answer": contenders.answers()[index], "steps": set.solutions[index]});
            if let Some(scores) = &set.scores {
                candidate["scores"] = json!(scores[index]);
            }
            if let Some(logprobs) = &set.logprobs {
                candidate["logprob"] = json!(logprobs[index].iter().map(|(sum, _)| sum).sum::<f64>());
                candidate["tokens"] = json!(logprobs[index].iter().map(|(_, tokens)| tokens).sum::<usize>());
            }
            candidate
        };
        let mut result = json!({
            "question": set.question, "images": set.images, "answer": contenders.answers()[selected.index],
            "index": selected.index, "rule": rule.name(), "value": selected.value, "margin": selected.margin,
            "agreement": selected.agreement, "seed": self.seed, "tokens": cost.tokens, "sampling_seconds": cost.sampling,
            "candidates": (0..set.solutions.len()).map(candidate).collect::<Value>(),
        });
        if self.search != Method::BestOfN {
            result["search"] = json!(self.search.name());
        } else if self.prm.is_some() {
            result["scoring_seconds"] = json!(cost.scoring);
        }
        result
    }
}
