//! Image embeddings in prompts: decoded in slices of any size, shared by digest.

use std::sync::Arc;

use mmprm::engine::{Chunk, Embeddings, Prompt};

use super::{STEADY, engine, model, request};

/// Embeddings of `rows` positions that depend on `seed`.
fn image(seed: u64, rows: usize) -> Arc<Embeddings> {
    let width = model().embedding_width();
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    Arc::new(Embeddings { values: (0..rows * width).map(|_| next()).collect(), width, digest: seed, grid: None })
}

fn with_image(image: &Arc<Embeddings>, question: &str) -> Prompt {
    let text = |text: &str, first| Chunk::Tokens(model().tokenize(text, first).unwrap());
    Prompt::new([text("The figure: ", true), Chunk::Image(Arc::clone(image)), text(question, false)]).unwrap()
}

#[test]
fn an_image_gives_the_same_rollouts_however_it_is_sliced() {
    // Decoded at once when alone; in other slices beside a running rollout and after a partial
    // eviction.
    let prompt = with_image(&image(1, 600), "What is the area?");
    for deterministic in [false, true] {
        let alone = engine(4096, deterministic).generate(request(prompt.clone(), STEADY, 4, 60)).unwrap();
        let engine = engine(4096, deterministic);
        std::thread::scope(|scope| {
            scope.spawn(|| engine.generate(request(super::prompt("a b c"), super::LOOSE, 40, 200)).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(engine.generate(request(prompt.clone(), STEADY, 4, 60)).unwrap() == alone);
        });
        assert!(engine.generate(request(prompt.clone(), STEADY, 4, 60)).unwrap() == alone);
    }
}

#[test]
fn an_image_changes_what_is_drawn() {
    let engine = engine(4096, false);
    let [one, other] = [1, 2]
        .map(|seed| engine.generate(request(with_image(&image(seed, 40), "What is it?"), STEADY, 1, 40)).unwrap());
    assert!(one != other);
}

#[test]
fn images_of_one_digest_share_their_positions_and_others_do_not() {
    let engine = engine(4096, false);
    let processed = |prompt: &Prompt| {
        let before = engine.stats().processed;
        engine.generate(request(prompt.clone(), STEADY, 2, 3)).unwrap();
        (engine.stats().processed - before) as usize
    };
    let first = with_image(&image(1, 300), "What is the area?");
    assert_eq!(processed(&first), first.len());
    assert_eq!(processed(&with_image(&image(1, 300), "What is the area?")), 1);
    let start = model().tokenize("The figure: ", true).unwrap().len();
    let other = with_image(&image(2, 300), "What is the area?");
    assert_eq!(processed(&other), other.len() - start);
}

#[test]
fn a_probe_behind_an_image_is_bit_identical_in_any_batch_composition() {
    let prompts: Vec<Prompt> =
        (0..3).flat_map(|seed| ["one", "one two"].map(|text| with_image(&image(seed, 100), text))).collect();
    let at = *model().tokenize("one", false).unwrap().last().unwrap();
    let engine = engine(4096, true);
    let together = engine.probe(prompts.clone(), at, &[3, 4]).unwrap();
    assert!(together.iter().all(|readings| !readings.is_empty()));
    for (prompt, expected) in prompts.into_iter().zip(&together) {
        assert_eq!(super::engine(1024, true).probe(vec![prompt], at, &[3, 4]).unwrap()[0], *expected);
    }
}
