//! A policy whose solutions are a Markov chain of right and wrong steps, so that success rates are
//! known exactly.

use std::sync::atomic::{AtomicUsize, Ordering};

use mmprm::data::problem::Problem;
use mmprm::data::tree::Tree;
use mmprm::judge::{Verdict, Verifier, VerifyError};
use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout, Speculation};

/// Steps of a solution without its answer.
const LEVELS: usize = 10;

/// Writes solutions of [`LEVELS`] steps. A step after a right one is wrong with probability `slip`,
/// a step after a wrong one is right with probability `mend`; the answer is right if the last step
/// is.
#[derive(Debug, Default)]
pub struct Oracle {
    pub slip: f64,
    pub mend: f64,
    /// Speculative requests that ended because they were cancelled.
    pub cancelled: AtomicUsize,
    /// Whether speculative requests wait until they are committed or cancelled.
    pub patient: bool,
}

impl Oracle {
    pub fn new(slip: f64, mend: f64) -> Self {
        Self { slip, mend, ..Self::default() }
    }

    /// The exact success rate after these steps.
    pub fn rate(&self, steps: &[String]) -> f64 {
        let mut right = if is_wrong(steps) { 0.0 } else { 1.0 };
        for _ in steps.len()..LEVELS {
            right = right * (1.0 - self.slip) + (1.0 - right) * self.mend;
        }
        right
    }

    /// The uniform random numbers of one rollout, which depend only on its problem, node and index.
    fn chances(request: &RolloutRequest<'_>, index: usize) -> impl FnMut() -> f64 {
        let name =
            request.problem.id.bytes().fold(request.node << 20 | (request.first + index) as u64, |state, byte| {
                (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let mut state = name;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
        }
    }
}

fn is_wrong(steps: &[String]) -> bool {
    steps.last().is_some_and(|step| step.starts_with("Wrongly"))
}

impl RolloutModel for Oracle {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        if let Some(speculation) = request.speculation.filter(|_| self.patient) {
            while !speculation.is_committed() && !speculation.is_cancelled() {
                std::thread::yield_now();
            }
        }
        if request.speculation.is_some_and(Speculation::is_cancelled) {
            self.cancelled.fetch_add(1, Ordering::Relaxed);
            return Err(PolicyError::Cancelled);
        }
        let solution = |index: usize| {
            let mut chance = Self::chances(request, index);
            let mut wrong = is_wrong(request.prefix);
            let mut steps = Vec::new();
            for level in request.prefix.len()..LEVELS {
                wrong = if wrong { chance() >= self.mend } else { chance() < self.slip };
                let word = if wrong { "Wrongly" } else { "Rightly" };
                steps.push(format!("{word}, step {level} in the manner {}.", (chance() * 1000.0) as u32));
            }
            steps.push(format!("Answer: The final answer is {}", if wrong { 7 } else { 4 }));
            SampledRollout::from(steps)
        };
        Ok((0..request.count).map(solution).collect())
    }
}

pub struct Ends;

impl Verifier for Ends {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        Ok(if answer.ends_with(&problem.answer) { Verdict::Correct } else { Verdict::Incorrect })
    }
}

pub fn problem(index: usize) -> Problem {
    let record = serde_json::Map::new();
    Problem { record, id: format!("p{index}"), question: "2 + 2?".into(), answer: "4".into(), images: Vec::new() }
}

/// The label and the true success rate of every state below the root that was estimated by
/// rollouts.
pub fn labels(tree: &Tree, oracle: &Oracle) -> Vec<(f64, f64)> {
    let mut labels = Vec::new();
    let mut open: Vec<(Vec<String>, &mmprm::data::tree::Node)> =
        tree.root.children.iter().map(|child| (Vec::new(), child)).collect();
    while let Some((mut steps, node)) = open.pop() {
        steps.extend_from_slice(&node.partial_solution);
        if !(node.correct_rollouts.is_empty() && node.incorrect_rollouts.is_empty()) {
            labels.push((node.mc_value, oracle.rate(&steps)));
        }
        open.extend(node.children.iter().map(|child| (steps.clone(), child)));
    }
    labels
}
