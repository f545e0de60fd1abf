//! Time to sample one token for each of 64 sequences, over the vocabularies of InternVL2.5-8B
//! (92,553) and -1B (151,936): the cost of each step of 64 rollouts besides decoding.
//!
//! `cargo bench --bench sampling`
#![allow(missing_docs, reason = "criterion's macro makes a public function without docs")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mmprm::engine::{Sampler, Sampling, Scratch, Stream, draw_all};

const SEQUENCES: usize = 64;
const VOCABULARIES: [usize; 2] = [92_553, 151_936];

/// Logits like a language model's: normal noise, and a few tokens far above it that hold nearly all
/// of the probability.
fn logits(vocabulary: usize) -> Vec<Vec<f32>> {
    let row = |sequence: usize| {
        let stream = Stream::named(1, "logits", vocabulary as u64, sequence as u64);
        let bell = |token: usize| (0..6).map(|part| stream.uniform((token * 6 + part) as u64) - 0.5).sum::<f64>();
        let peak = |token: usize| match (token * 31 + sequence) % 5003 {
            0 => 12.0 + (token % 7) as f64,
            _ => 0.0,
        };
        (0..vocabulary).map(|token| (3.0 * bell(token) + peak(token)) as f32).collect()
    };
    (0..SEQUENCES).map(row).collect()
}

fn draws(criterion: &mut Criterion) {
    let annotation = Sampling::default();
    let open = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 };
    let settings =
        [("annotation", annotation, false), ("annotation with logprob", annotation, true), ("open", open, false)];
    let mut group = criterion.benchmark_group("64 draws");
    group.sample_size(20);
    for vocabulary in VOCABULARIES {
        let logits = logits(vocabulary);
        for (name, sampling, logprob) in settings {
            let mut samplers: Vec<Sampler> = (0..SEQUENCES)
                .map(|sequence| {
                    // The tokens of a prompt.
                    let prompt = (0..400).map(|index| ((index * 7919 + sequence) % vocabulary) as i32);
                    let stream = Stream::named(0, "bench", 0, sequence as u64);
                    let mut sampler = Sampler::new(sampling, stream, prompt);
                    if logprob {
                        sampler.keep_logprob();
                    }
                    sampler
                })
                .collect();
            let mut scratch = Scratch::default();
            group.bench_function(BenchmarkId::new(name, vocabulary), |bencher| {
                bencher.iter(|| {
                    let work = samplers.iter_mut().zip(&logits).map(|(sampler, logits)| (sampler, logits.as_slice()));
                    black_box(draw_all(work.collect(), &mut scratch))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, draws);
criterion_main!(benches);
