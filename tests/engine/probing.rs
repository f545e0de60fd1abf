//! Probes on a CPU are bit-identical in any order and batch composition.

use std::sync::Arc;

use mmprm::engine::{EngineOptions, GenerateRequest, Model, ModelOptions, Prompt, Stream};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::progress::no_progress;
use mmprm_quant::quantize::{QuantType, QuantizeOptions, plan};

use super::{STEADY, TEXTS, engine, generate, model, of_tokens, start};

/// Prompts with common prefixes, each with the token 5 at one to four positions.
fn prompts() -> Vec<Prompt> {
    let mut prompts = Vec::new();
    for text in TEXTS {
        let mut tokens = model().tokenize(text, true).unwrap();
        for step in 0..4 {
            tokens.extend((0..25).map(|index| 50 + (index * 31 + step) % 600));
            tokens.push(5);
            prompts.push(of_tokens(tokens.clone()));
        }
    }
    prompts
}

fn bits(readings: &[Vec<f32>]) -> Vec<u32> {
    readings.iter().flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn every_position_of_the_token_is_read() {
    let engine = engine(4096, true);
    let readings = engine.probe(prompts(), 5, &[10, 20, 30]).unwrap();
    for (prompt, readings) in prompts().iter().zip(&readings) {
        assert_eq!(readings.len(), prompt.text_tokens().filter(|&token| token == 5).count());
        assert!(readings.iter().all(|row| row.len() == 3 && row.iter().all(|value| value.is_finite())));
    }
    assert_eq!(engine.probe(prompts(), 767, &[10]).unwrap(), vec![Vec::<Vec<f32>>::new(); prompts().len()]);
    assert_eq!(engine.probe(Vec::new(), 5, &[10]).unwrap().len(), 0);
}

#[test]
fn probes_are_bit_identical_in_any_order_and_batch_composition() {
    let prompts = prompts();
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| bits(&engine(1024, true).probe(vec![prompt.clone()], 5, &[10, 20]).unwrap()[0]))
        .collect();
    let engine = engine(4096, true);
    for step in [1, 7] {
        let order: Vec<usize> = (0..prompts.len()).map(|index| index * step % prompts.len()).collect();
        for together in order.chunks(step) {
            let probed = together.iter().map(|&index| prompts[index].clone()).collect();
            for (&index, readings) in together.iter().zip(engine.probe(probed, 5, &[10, 20]).unwrap()) {
                assert_eq!(bits(&readings), alone[index]);
            }
        }
    }
}

#[test]
fn candidates_of_one_problem_share_their_prefix() {
    let start: Vec<i32> = (0..640).map(|index| 50 + index * 37 % 600).collect();
    let candidates: Vec<Prompt> =
        (0..8).map(|last| of_tokens(start.iter().copied().chain([100 + last; 40]).chain([5]).collect())).collect();
    let engine = engine(4096, true);
    engine.probe(candidates.clone(), 5, &[10]).unwrap();
    assert_eq!(engine.stats().processed, 640 + 8 * 41);
    engine.probe(candidates[7..].to_vec(), 5, &[10]).unwrap();
    assert_eq!(engine.stats().processed, 640 + 8 * 41, "the last candidate is still cached");
}

/// Lengths that are multiples of four positions need no position decoded twice.
#[test]
fn candidates_that_diverge_at_whole_grains_are_decoded_once_and_bit_identically() {
    let stem = || (0..332).map(|index| 50 + index * 37 % 600);
    let step = |index: i32| (0..23).map(move |token| 50 + (token * 31 + index * 7) % 600).chain([5]);
    let candidates: Vec<Prompt> = [[0, 1, 2], [0, 1, 3], [4, 1, 2], [0, 5, 2]]
        .map(|steps| of_tokens(stem().chain(steps.into_iter().flat_map(step)).chain([3, 4]).collect()))
        .into();
    let engine = engine(4096, true);
    let together = engine.probe(candidates.clone(), 5, &[10]).unwrap();
    assert_eq!(engine.stats().processed, engine.stats().unique);
    assert_eq!(engine.stats().processed, 332 + 24 * (3 + 1 + 3 + 2), "nothing behind the last step is decoded");
    for (candidate, together) in candidates.into_iter().zip(&together) {
        let alone = super::engine(1024, true).probe(vec![candidate], 5, &[10]).unwrap();
        assert_eq!(bits(&alone[0]), bits(together));
    }
}

/// Candidates after `stem` tokens. Their steps end in 5 and diverge anywhere: steps of different
/// kinds agree up to a cut.
fn candidates(stem: i32) -> Vec<Prompt> {
    let stem = || (0..stem).map(|index| 50 + index * 37 % 600);
    let step = |kind: i32, cut: i32| {
        let token = move |token| 50 + (token * 31 + if token < cut { 7 } else { kind * 11 }) % 600;
        (0..21 + kind).map(token).chain([5])
    };
    let steps: [&[i32]; 10] = [
        &[0, 1, 2],
        &[0, 1, 3],
        &[4, 1, 2, 5, 6, 7, 2, 4, 1, 0],
        &[0, 5, 2],
        &[3],
        &[3, 3],
        &[3, 3, 4],
        &[1, 2, 5],
        &[6, 0, 4],
        &[-20, -20, -15, -21, -18],
    ];
    let cut = |candidate: usize| candidate as i32 * 5 % 23;
    let candidate = |(index, kinds): (usize, &[i32])| {
        of_tokens(stem().chain(kinds.iter().flat_map(|&kind| step(kind, cut(index)))).chain([3, 4]).collect())
    };
    steps.into_iter().enumerate().map(candidate).collect()
}

fn quantised(mix: QuantType) -> Arc<Model> {
    let (source, folder) = (model(), tempfile::tempdir().unwrap());
    let (source, path) = (GgufFile::open(source.path()).unwrap(), folder.path().join("quantised.gguf"));
    plan(&source, &QuantizeOptions::new(mix)).unwrap().write(&path, &mut no_progress).unwrap();
    Model::load(&path, ModelOptions::default()).unwrap()
}

/// For every type of weights, since each has its own kernels.
#[test]
fn candidates_share_their_prefixes_bit_identically() {
    for mix in QuantType::all() {
        let model = quantised(mix);
        let engine = |cells| start(&model, EngineOptions { context: Some(cells), ..EngineOptions::default() });
        for stem in [0, 5, 9, 333] {
            let candidates = candidates(stem);
            let shared = engine(4096);
            let together = shared.probe(candidates.clone(), 5, &[10, 20]).unwrap();
            let stats = shared.stats();
            assert!(stats.processed <= stats.unique + 11 * candidates.len() as u64, "{mix:?}: {stats:?}");
            for (candidate, together) in candidates.into_iter().zip(&together) {
                let alone = engine(1024).probe(vec![candidate], 5, &[10, 20]).unwrap();
                assert_eq!(bits(&alone[0]), bits(together), "{mix:?} after {stem} tokens");
            }
        }
    }
}

/// Log-probabilities of a continuation are read at every position, so that what a candidate has in common with the one before it
/// may end anywhere, also just before its last token.
#[test]
fn logprobs_are_bit_identical_in_any_company_and_those_of_generation() {
    for mix in [QuantType::Q8_0, QuantType::Q4_K_M] {
        let model = quantised(mix);
        let engine = |cells| start(&model, EngineOptions { context: Some(cells), ..EngineOptions::default() });
        for (stem, from) in [(9, 3), (9, 9), (333, 331), (333, 333)] {
            let mut candidates = candidates(stem);
            let tokens: Vec<i32> = candidates[0].text_tokens().collect();
            let (last, rest) = tokens.split_last().unwrap();
            candidates.extend([*last + 1, *last + 2].map(|other| of_tokens([rest, &[other]].concat())));
            candidates.push(of_tokens(rest.to_vec()));
            let together = engine(4096).logprobs(candidates.clone(), from).unwrap();
            for (candidate, together) in candidates.into_iter().zip(&together) {
                assert_eq!(together.len(), candidate.len() - from);
                assert!(together.iter().all(|logprob| *logprob <= 0.0 && logprob.is_finite()));
                let alone = engine(1024).logprobs(vec![candidate], from).unwrap();
                assert_eq!(bits(&alone), bits(std::slice::from_ref(together)), "{mix:?} after {stem} tokens");
            }
        }
    }
    let engine = engine(4096, true);
    let prompt = of_tokens(model().tokenize(TEXTS[4], true).unwrap());
    let request = |logprob| {
        let mut request = GenerateRequest::new(prompt.clone(), STEADY, vec![Stream::named(0, "logprobs", 0, 0)], 24);
        request.logprob = logprob;
        request
    };
    let completion = engine.generate(request(true)).unwrap().remove(0);
    let tokens: Vec<i32> = prompt.text_tokens().chain(completion.tokens.iter().copied()).collect();
    let read = engine.logprobs(vec![of_tokens(tokens)], prompt.len()).unwrap().remove(0);
    for (read, drawn) in read.iter().zip(&completion.logprob) {
        assert!((read - drawn).abs() < 1e-3, "{read} for {drawn}");
    }
    assert_eq!(read.len(), completion.tokens.len());
}

#[test]
fn probes_and_generation_alternate_on_one_engine() {
    for deterministic in [false, true] {
        let engine = engine(4096, deterministic);
        let prompts = prompts();
        let expected = generate(&engine, TEXTS[4], STEADY, 3, 30);
        let read = bits(&engine.probe(prompts[..1].to_vec(), 5, &[10]).unwrap()[0]);
        for _ in 0..3 {
            assert!(generate(&engine, TEXTS[4], STEADY, 3, 30) == expected);
            assert_eq!(bits(&engine.probe(prompts[..1].to_vec(), 5, &[10]).unwrap()[0]), read);
        }
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let (engine, expected, prompts, read) = (&engine, &expected, &prompts, &read);
                scope.spawn(move || {
                    for _ in 0..4 {
                        if caller % 2 == 0 {
                            assert!(generate(engine, TEXTS[4], STEADY, 3, 30) == *expected);
                        } else {
                            assert_eq!(bits(&engine.probe(prompts[..1].to_vec(), 5, &[10]).unwrap()[0]), *read);
                        }
                    }
                });
            }
        });
    }
}

/// Candidates that share positions, of which each has others to read.
fn marked(stem: i32) -> Vec<Prompt> {
    let of = |(index, prompt): (usize, Prompt)| {
        let tokens: Vec<i32> = prompt.text_tokens().collect();
        let ends = (0..tokens.len()).filter(|at| tokens[*at] == 5);
        prompt.marked(ends.chain([stem as usize + index, tokens.len() - 1 - index % 2]).collect()).unwrap()
    };
    candidates(stem).into_iter().enumerate().map(of).collect()
}

/// Hidden states and logits at places that candidates have of their own, for types of weights with different kernels.
#[test]
fn marked_places_are_read_bit_identically_in_any_company() {
    for mix in [None, Some(QuantType::Q8_0), Some(QuantType::Q4_K_M), Some(QuantType::Q4_0)] {
        let model = mix.map_or_else(model, quantised);
        let engine = |cells| start(&model, EngineOptions { context: Some(cells), ..EngineOptions::default() });
        for stem in [1, 9, 333] {
            let prompts = marked(stem);
            let shared = engine(4096);
            let (hidden, logits) =
                (shared.hidden(prompts.clone()).unwrap(), shared.logits(prompts.clone(), &[10, 20]).unwrap());
            let backwards = shared.hidden(prompts.iter().rev().cloned().collect()).unwrap();
            for (index, prompt) in prompts.iter().enumerate() {
                assert_eq!(hidden[index].len(), prompt.marks().len());
                assert!(hidden[index].iter().all(|row| row.len() == model.hidden_width()));
                let alone = engine(1024).hidden(vec![prompt.clone()]).unwrap();
                assert_eq!(bits(&alone[0]), bits(&hidden[index]), "{mix:?} after {stem} tokens, candidate {index}");
                assert_eq!(bits(&alone[0]), bits(&backwards[prompts.len() - 1 - index]));
                let alone = engine(1024).logits(vec![prompt.clone()], &[10, 20]).unwrap();
                assert_eq!(bits(&alone[0]), bits(&logits[index]), "{mix:?} after {stem} tokens, candidate {index}");
            }
        }
    }
}

/// The logits are the product of the hidden state and the rows of the output matrix.
#[test]
fn a_hidden_state_is_the_one_that_logits_are_made_of() {
    let (model, engine) = (model(), engine(4096, true));
    let prompts = marked(333);
    let (hidden, logits) = (engine.hidden(prompts.clone()).unwrap(), engine.logits(prompts, &[10, 20]).unwrap());
    let file = model.file();
    let output = file.tensor("output.weight").or_else(|| file.tensor("token_embd.weight")).unwrap();
    let (data, width) = (file.tensor_data(output), model.hidden_width());
    let row = |token: usize| -> Vec<f32> {
        let bytes = &data[token * width * 4..(token + 1) * width * 4];
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let rows = [row(10), row(20)];
    for (state, logits) in hidden.iter().flatten().zip(logits.iter().flatten()) {
        for (row, logit) in rows.iter().zip(logits) {
            let product: f64 = state.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((product - f64::from(*logit)).abs() < 1e-3, "{product} for {logit}");
        }
    }
}
