//! The executor step by step, without threads: free cells and the order of requests.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::engine::testing::{context, prompt};
use crate::engine::{Completion, Sampling, Stream};

const LOOSE: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.05 };

/// An executor and its context.
struct Bench {
    executor: BatchedExecutor,
    context: Context,
    stats: Stats,
}

type Answer = Receiver<Result<Vec<Completion>, EngineError>>;

impl Bench {
    fn new(cells: u32, rollouts: usize) -> Self {
        Self::with(cells, rollouts, false)
    }

    fn with(cells: u32, rollouts: usize, whole_requests: bool) -> Self {
        let idle = Budget { cells: cells as usize / 2, sequences: 24 };
        let limits = Limits { rollouts, jobs: rollouts.min(8), whole_requests, idle };
        let context = context(cells, limits.sequences());
        Self { executor: BatchedExecutor::new(limits), context, stats: Stats::new(cells, 1) }
    }

    fn submit(&mut self, tokens: Vec<Token>, rollouts: u64, max_tokens: usize) -> Answer {
        let first = tokens[0] as u64;
        let streams = (0..rollouts).map(|index| Stream::named(3, "bench", first, index)).collect();
        let mut request = GenerateRequest::new(prompt(tokens), LOOSE, streams, max_tokens);
        request.keep_rollouts = first.is_multiple_of(2);
        let (reply, answer) = channel();
        self.executor.submit(request, reply, &self.context, &self.stats);
        answer
    }

    fn step(&mut self) {
        self.executor.step(&mut self.context, &self.stats).unwrap();
    }

    fn used(&self) -> usize {
        self.executor.cache.cells() + self.executor.own_cells()
    }
}

/// `length` tokens; prompts of one `first` share their prefix.
fn tokens(first: Token, length: Token) -> Vec<Token> {
    (0..length).map(|index| if index == 0 { 10 + first } else { 100 + index * 7 % 400 }).collect()
}

#[test]
fn the_free_cells_are_those_that_llama_cpp_has() {
    let mut bench = Bench::new(512, 8);
    let mut turn = 0;
    let mut answers = Vec::new();
    while turn < 60 || !bench.executor.is_idle() {
        if turn < 60 {
            // Prompts with a common prefix, the same prompt twice at once, and more than fit
            // together.
            answers.push(bench.submit(tokens(turn / 6, 20 + 37 * (turn % 5)), 1 + turn as u64 % 6, 30));
        }
        bench.step();
        assert!(bench.used() <= 512);
        turn += 1;
    }
    assert!(answers.iter().all(|answer| answer.try_recv().unwrap().is_ok()));
    let used = bench.used();
    assert!((1..=256).contains(&used), "{used} cells, within the budget of idle cells");
    assert_eq!(bench.executor.cache.running_cells(), 0);
    // Exactly as many rows fit as the executor counts free cells.
    let sequence = bench.executor.cache.sequence();
    let mut fill = |rows: std::ops::Range<usize>| {
        let mut batch = Batch::tokens();
        rows.for_each(|position| {
            batch.push(100, position, sequence, false);
        });
        bench.context.decode(&mut batch)
    };
    let free = 512 - used;
    fill(0..free).unwrap();
    assert!(matches!(fill(free..free + 1), Err(DecodeError::Full)));
}

#[test]
fn later_requests_do_not_delay_an_earlier_one() {
    let steps = |crowded: bool| {
        let mut bench = Bench::new(4096, 8);
        let answer = bench.submit(tokens(1, 40), 20, 60);
        let mut others = Vec::new();
        (1..100_000).find(|&turn| {
            if crowded {
                others.push(bench.submit(tokens(2 + turn % 50, 30), 2, 10));
            }
            bench.step();
            answer.try_recv().is_ok()
        })
    };
    assert_eq!(steps(true), steps(false));
}

#[test]
fn no_request_starves_under_a_stream_of_others() {
    for cells in [4096, 256] {
        let mut bench = Bench::new(cells, 8);
        let (mut others, mut patient) = (Vec::new(), None);
        let mut overtaken = 0;
        let turns = (0..2000).find(|&turn| {
            // Twice the work that can be done, and one request of another size among it.
            others.push((turn, bench.submit(tokens(turn % 60, 30), 2, 10)));
            if turn == 20 {
                patient = Some(bench.submit(tokens(77, 120), 12, 40));
            }
            bench.step();
            others.retain(|(submitted, answer)| {
                let finished = answer.try_recv().is_ok();
                overtaken += usize::from(finished && *submitted > 20);
                !finished
            });
            patient.as_ref().is_some_and(|answer| answer.try_recv().is_ok())
        });
        assert!(turns.is_some(), "it never finishes");
        // At most those that ran beside its last rollouts: eight at a time for forty tokens, each
        // of ten.
        assert!(overtaken <= 8 * 40 / 10, "{overtaken} later requests finished earlier");
    }
}

#[test]
fn whole_requests_run_beside_others_only_where_all_their_rollouts_fit() {
    let mut bench = Bench::with(4096, 8, true);
    let answers: Vec<Answer> =
        [(1, 3), (2, 5), (3, 1), (4, 16)].map(|(first, rollouts)| bench.submit(tokens(first, 30), rollouts, 20)).into();
    bench.step();
    assert_eq!(bench.executor.jobs.len(), 2, "3 and 5 rollouts fill 8 places");
    while !bench.executor.is_idle() {
        bench.step();
        let unfinished: usize = bench.executor.jobs.iter().map(|job| job.unfinished).sum();
        assert!(unfinished <= 8 || bench.executor.jobs.len() == 1);
    }
    for (answer, rollouts) in answers.iter().zip([3, 5, 1, 16]) {
        assert_eq!(answer.try_recv().unwrap().unwrap().len(), rollouts);
    }
}
