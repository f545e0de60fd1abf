//! The search itself.

use super::{GuidedError, GuidedParams, Method};
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::policy::{Detail, PolicyError, RolloutModel, RolloutRequest, SampledRollout, StepTokens};
use crate::prm::{PrmError, ScoreRequest, StepScorer, finite};
use crate::util::cancel::CancelToken;
use crate::util::pool;

/// The solutions that a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// At most N solutions, those of higher value first; one that was given up without an answer is empty, and last.
    pub solutions: Vec<Rollout>,
    /// The scores of their steps.
    pub scores: Vec<Vec<f64>>,
    /// Requests for continuations.
    pub expansions: usize,
}

/// A solution that grows.
#[derive(Debug, Clone, Default)]
struct Beam {
    steps: Rollout,
    /// The policy's own tokens of each step, as far as it returned them.
    tokens: Option<Vec<StepTokens>>,
    scores: Vec<f64>,
    is_finished: bool,
    /// The value of the continuation that was looked at instead.
    ahead: Option<f64>,
}

impl Beam {
    /// What decides which solutions go on: the product of the scores of the steps, as of the candidates at the end.
    fn value(&self) -> f64 {
        self.ahead.unwrap_or_else(|| self.scores.iter().product())
    }
}

/// Searches solutions of `problem`. A search of width 1 and one candidate is step-wise sampling; Best-of-N asks for whole solutions.
///
/// The same parameters and seed of the policy give the same solutions, as far as the policy's and the reward model's results do not
/// depend on what else runs.
///
/// # Errors
/// [`GuidedError`].
pub fn guided(
    problem: &Problem,
    params: &GuidedParams,
    policy: &dyn RolloutModel,
    prm: &dyn StepScorer,
    cancel: &CancelToken,
) -> Result<Found, GuidedError> {
    let search = Search { problem, policy, prm, cancel };
    let candidates = params.candidates.max(1);
    if params.method == Method::BestOfN {
        let beams = search.expand(&[Beam::default()], candidates, 0, false)?.concat();
        let given_up = candidates - beams.len().min(candidates);
        return search.finish(beams, given_up, candidates, 1);
    }
    let width = params.width.clamp(1, candidates);
    // The number of solutions that go on, and of independent groups of which they are.
    let kept = (candidates / width).max(1);
    let (mut live, mut done, mut expansions, mut given_up) = (Vec::new(), Vec::new(), 0, 0);
    for depth in 0..params.max_steps.max(1) {
        let (parents, each) = if depth == 0 { (1, candidates) } else { (live.len(), width) };
        let mut children: Vec<Vec<Beam>> = if depth == 0 {
            // All begin at the question, so that the first step has as many continuations as the later ones.
            let first = search.expand(&[Beam::default()], candidates, 0, true)?.concat();
            first.chunks(candidates.div_ceil(kept)).map(<[Beam]>::to_vec).collect()
        } else {
            search.expand(&live, width, depth as u64, true)?
        };
        expansions += children.len();
        // What has no step and no answer cannot go on.
        given_up += parents * each - children.iter().map(Vec::len).sum::<usize>();
        live = Vec::new();
        if params.method == Method::Lookahead {
            expansions += search.look_ahead(&mut children, params.lookahead, depth as u64)?;
        }
        let mut groups = search.scored(children)?;
        if params.method != Method::Dvts {
            groups = vec![groups.concat()];
        }
        for mut group in groups {
            group.sort_by(|a, b| b.value().total_cmp(&a.value()));
            let going_on = if params.method == Method::Dvts { 1 } else { kept };
            let (finished, mut unfinished): (Vec<Beam>, Vec<Beam>) =
                group.into_iter().partition(|beam| beam.is_finished);
            done.extend(finished);
            unfinished.truncate(going_on);
            live.extend(unfinished);
        }
        if live.is_empty() || params.method != Method::Dvts && done.len() >= candidates {
            break;
        }
    }
    search.finish(done, given_up + live.len(), candidates, expansions)
}

/// What a search works with.
struct Search<'a> {
    problem: &'a Problem,
    policy: &'a dyn RolloutModel,
    prm: &'a dyn StepScorer,
    cancel: &'a CancelToken,
}

impl Search<'_> {
    /// Samples `count` continuations of each beam: of one step, or to the end. One without any element is left out.
    fn expand(&self, beams: &[Beam], count: usize, stream: u64, one_step: bool) -> Result<Vec<Vec<Beam>>, GuidedError> {
        let numbered: Vec<(usize, &Beam)> = beams.iter().enumerate().collect();
        let children = pool::map(&numbered, beams.len(), |&(index, beam)| {
            if self.cancel.is_cancelled() {
                return Err(PolicyError::Cancelled);
            }
            let request = RolloutRequest {
                step_tokens: beam.tokens.as_deref().unwrap_or_default(),
                detail: Detail::Tokens,
                one_step,
                // Each beam of each depth has random streams of its own.
                ..RolloutRequest::new(self.problem, &beam.steps, count, stream << 32 | index as u64)
            };
            let sampled = self.policy.rollouts(&request)?;
            Ok(sampled.into_iter().filter(|one| !one.rollout.is_empty()).map(|one| grown(beam, one)).collect())
        });
        children.into_iter().collect::<Result<_, _>>().map_err(GuidedError::Policy)
    }

    /// Gives each unfinished beam the value of a continuation by `steps` more steps. Returns the number of requests.
    fn look_ahead(&self, groups: &mut [Vec<Beam>], steps: usize, depth: u64) -> Result<usize, GuidedError> {
        let mut beams: Vec<&mut Beam> = groups.iter_mut().flatten().filter(|beam| !beam.is_finished).collect();
        let mut ahead: Vec<Beam> = beams.iter().map(|beam| (**beam).clone()).collect();
        let mut requests = 0;
        for step in 0..steps as u64 {
            let open: Vec<usize> = (0..ahead.len()).filter(|index| !ahead[*index].is_finished).collect();
            let from: Vec<Beam> = open.iter().map(|index| ahead[*index].clone()).collect();
            requests += from.len();
            // Streams that no step of the search has, which are numbered by its depth alone.
            let stream = 1 << 31 | depth << 12 | step;
            for (index, mut children) in open.into_iter().zip(self.expand(&from, 1, stream, true)?) {
                // What cannot go on is seen as far as it got.
                if let Some(child) = children.pop() {
                    ahead[index] = child;
                }
            }
        }
        let seen = self.scored(vec![ahead])?.concat();
        for (beam, seen) in beams.iter_mut().zip(seen) {
            beam.ahead = Some(seen.value());
        }
        Ok(requests)
    }

    /// Scores all beams, those of a kind together.
    fn scored(&self, groups: Vec<Vec<Beam>>) -> Result<Vec<Vec<Beam>>, GuidedError> {
        let mut groups = groups;
        for is_finished in [false, true] {
            // What has the value of what comes after it needs no score of its own yet.
            let of_kind = |beam: &&mut Beam| beam.is_finished == is_finished && beam.ahead.is_none();
            let beams: Vec<&mut Beam> = groups.iter_mut().flatten().filter(of_kind).collect();
            if beams.is_empty() {
                continue;
            }
            let solutions: Vec<Rollout> = beams.iter().map(|beam| beam.steps.clone()).collect();
            let scores = self.scores(&solutions, is_finished)?;
            for (beam, scores) in beams.into_iter().zip(scores) {
                beam.scores = scores;
            }
        }
        Ok(groups)
    }

    fn scores(&self, solutions: &[Rollout], is_finished: bool) -> Result<Vec<Vec<f64>>, GuidedError> {
        let request = ScoreRequest { question: &self.problem.question, images: &self.problem.images, solutions };
        let scores = if is_finished { self.prm.score(&request) } else { self.prm.score_unfinished(&request) };
        if self.cancel.is_cancelled() {
            return Err(GuidedError::Prm(PrmError::Cancelled));
        }
        scores.and_then(finite).map_err(GuidedError::Prm)
    }

    /// The best `count` finished solutions, with their scores, and as far as there is room an empty one for each that was given up.
    fn finish(&self, beams: Vec<Beam>, given_up: usize, count: usize, expansions: usize) -> Result<Found, GuidedError> {
        let mut beams =
            if beams.iter().any(|beam| beam.scores.is_empty()) { self.scored(vec![beams])?.concat() } else { beams };
        beams.sort_by(|a, b| b.value().total_cmp(&a.value()));
        beams.truncate(count);
        let missing = given_up.min(count - beams.len());
        beams.extend(std::iter::repeat_n(Beam::default(), missing));
        let (solutions, scores) = beams.into_iter().map(|beam| (beam.steps, beam.scores)).unzip();
        Ok(Found { solutions, scores, expansions })
    }
}

/// A beam with what was sampled after it.
fn grown(beam: &Beam, sampled: SampledRollout) -> Beam {
    let tokens = match (&beam.tokens, sampled.step_tokens) {
        (Some(known), Some(own)) => Some([known.clone(), own].concat()),
        (None, Some(own)) if beam.steps.is_empty() => Some(own),
        _ => None,
    };
    let steps = [beam.steps.clone(), sampled.rollout].concat();
    Beam { steps, tokens, scores: Vec::new(), is_finished: !sampled.unfinished, ahead: None }
}
