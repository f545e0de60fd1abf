//! Speed of the search itself: searches per second with a scripted policy and verifier, and the
//! script's share of the time.
//!
//! `cargo bench --bench search`
#![allow(missing_docs, reason = "criterion's macro makes a public function without docs")]

use std::hint::black_box;
use std::sync::Mutex;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mmprm::data::problem::Problem;
use mmprm::data::solution::Rollout;
use mmprm::judge::{Verdict, Verifier, VerifyError};
use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use mmprm::search::{Outcome, SearchParams, search};

/// Writes solutions of 12 steps in many variants; one step in ten goes wrong, and one in ten
/// corrects an error.
struct Script;

impl RolloutModel for Script {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let solution = |index: usize| {
            let mut state = (request.node << 16 | index as u64) ^ 0x9e37_79b9_7f4a_7c15;
            let mut draw = |bound: u64| {
                state = (state ^ state >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd);
                (state >> 33) % bound
            };
            let mut wrong = request.prefix.last().is_some_and(|step| step.starts_with("Wrongly"));
            let mut steps = Vec::new();
            for level in request.prefix.len()..12 {
                wrong = if wrong { draw(10) > 0 } else { draw(10) == 0 };
                let word = if wrong { "Wrongly" } else { "Rightly" };
                steps.push(format!(
                    "{word} we take step {level} of this solution in the manner of number {}.",
                    draw(50)
                ));
            }
            steps.push(format!("Answer: The final answer is {}", if wrong { 7 } else { 4 }));
            SampledRollout::from(steps)
        };
        Ok((0..request.count).map(solution).collect())
    }
}

/// Records the requests.
#[derive(Default)]
struct Record(Mutex<Vec<(Rollout, u64)>>);

impl RolloutModel for Record {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        self.0.lock().expect("no thread panics").push((request.prefix.to_vec(), request.node));
        Script.rollouts(request)
    }
}

struct Ends;

impl Verifier for Ends {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        Ok(if answer.ends_with(&problem.answer) { Verdict::Correct } else { Verdict::Incorrect })
    }
}

fn run(problem: &Problem, policy: &dyn RolloutModel) -> Outcome {
    let params = SearchParams { rollout_budget: usize::MAX, ..SearchParams::default() };
    search(problem, policy, &Ends, &params).expect("the script never fails")
}

fn searches(criterion: &mut Criterion) {
    let record = serde_json::Map::new();
    let problem = Problem { record, id: "p".into(), question: "2 + 2?".into(), answer: "4".into(), images: Vec::new() };
    let asked = Record::default();
    let outcome = run(&problem, &asked);
    let asked = asked.0.into_inner().expect("no thread panics");
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10).throughput(Throughput::Elements(outcome.stats.searches as u64));
    group.bench_function("200 searches × 16 rollouts", |bencher| bencher.iter(|| run(black_box(&problem), &Script)));
    group.bench_function("the script alone", |bencher| {
        bencher.iter(|| {
            for (prefix, node) in &asked {
                let request = RolloutRequest::new(&problem, prefix, SearchParams::default().rollouts, *node);
                drop(black_box(Script.rollouts(&request)));
            }
        });
    });
    group.finish();
    eprintln!("{} states; {:?}", outcome.tree.root.count(), outcome.stats);
}

criterion_group!(benches, searches);
criterion_main!(benches);
