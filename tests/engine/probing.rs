//! Probing reads the same bits in any order and company.

use mmprm::engine::Prompt;

use super::{STEADY, TEXTS, engine, generate, model, of_tokens};

/// Prompts that share starts, with the token 5 at one to four places each.
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
fn a_reading_is_the_same_bits_in_any_order_and_company() {
    let prompts = prompts();
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| bits(&engine(1024, true).probe(vec![prompt.clone()], 5, &[10, 20]).unwrap()[0]))
        .collect();
    let engine = engine(4096, true);
    for step in [1, 7] {
        let order: Vec<usize> = (0..prompts.len()).map(|index| index * step % prompts.len()).collect();
        for company in order.chunks(step) {
            let asked = company.iter().map(|&index| prompts[index].clone()).collect();
            for (&index, readings) in company.iter().zip(engine.probe(asked, 5, &[10, 20]).unwrap()) {
                assert_eq!(bits(&readings), alone[index]);
            }
        }
    }
}

#[test]
fn candidates_of_one_problem_share_what_they_have_in_common() {
    let start: Vec<i32> = (0..640).map(|index| 50 + index * 37 % 600).collect();
    let candidates: Vec<Prompt> =
        (0..8).map(|last| of_tokens(start.iter().copied().chain([100 + last; 40]).chain([5]).collect())).collect();
    let engine = engine(4096, true);
    engine.probe(candidates.clone(), 5, &[10]).unwrap();
    assert_eq!(engine.stats().processed, 640 + 8 * 41);
    engine.probe(candidates[7..].to_vec(), 5, &[10]).unwrap();
    assert_eq!(engine.stats().processed, 640 + 8 * 41, "the last candidate is still there");
}

#[test]
fn candidates_that_part_at_the_stem_or_behind_a_step_are_computed_once_and_to_the_same_bits() {
    let stem = || (0..333).map(|index| 50 + index * 37 % 600);
    let step = |index: i32| (0..21).map(move |token| 50 + (token * 31 + index * 7) % 600).chain([5]);
    let candidates: Vec<Prompt> = [[0, 1, 2], [0, 1, 3], [4, 1, 2], [0, 5, 2]]
        .map(|steps| of_tokens(stem().chain(steps.into_iter().flat_map(step)).chain([3, 4]).collect()))
        .map(|prompt| prompt.parting_from(&of_tokens(stem().chain([2]).collect())))
        .into();
    let engine = engine(4096, true);
    let together = engine.probe(candidates.clone(), 5, &[10]).unwrap();
    assert_eq!(engine.stats().processed, engine.stats().unique);
    assert_eq!(engine.stats().processed, 333 + 22 * (3 + 1 + 3 + 2), "nothing behind the last step is computed");
    for (candidate, together) in candidates.into_iter().zip(&together) {
        let alone = super::engine(1024, true).probe(vec![candidate], 5, &[10]).unwrap();
        assert_eq!(bits(&alone[0]), bits(together));
    }
}

#[test]
fn probing_and_generating_take_turns_on_one_engine() {
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
