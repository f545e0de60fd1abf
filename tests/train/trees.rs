//! Packed samples against the same samples one by one: equal losses and gradients.

use mmprm::train::learner::Learner;
use mmprm::train::pack::{Packing, PackingLimits, Sequence};
use mmprm::train::prepare::TrainingData;
use mmprm::train::recipe::{SolutionForm, Task};

use crate::support::tensors::relative;
use crate::support::{golden, golden_path};
use crate::{ARCHITECTURES, Bench, sample, with_image};

/// Four paths of one problem with shared steps, one of another, one twice.
pub fn paths() -> String {
    let shared = ("The sides are 3 and 4.", 0.6);
    [
        sample("Find the area.", &[shared, ("Multiply: 3 * 4 = 12.", 0.9), ("Answer: 12", 1.0)]),
        sample("Find the area.", &[shared, ("Multiply: 3 * 4 = 12.", 0.9), ("Answer: 13", 0.0)]),
        sample("Find the sum.", &[("1 + 1 = 2.", 0.37)]),
        sample("Find the area.", &[shared, ("Add: 3 + 4 = 7.", 0.1)]),
        sample("Find the area.", &[("The sides are 5 and 4.", 0.0)]),
        sample("Find the sum.", &[("1 + 1 = 2.", 0.37)]),
    ]
    .concat()
}

/// Trees of four problems, three with images: the same question about two images, and one image with two questions. Labels of
/// shared steps differ between paths, as those from several searches do.
fn imaged_paths() -> String {
    let problems = [
        (Some("img1.png"), "Find the angle."),
        (Some("img2.png"), "Find the angle."),
        (Some("img2.png"), "Read <image> and find the side."),
        (None, "Find the angle."),
    ];
    let of = |(number, (image, question)): (usize, (Option<&str>, &str))| {
        let label = |place: usize| ((number + 3 * place) % 9) as f32 / 8.0;
        let first = "The triangle has two equal sides.";
        [
            with_image(image, question, &[(first, label(0)), ("So it is 45.", label(1)), ("Answer: 45", label(2))]),
            with_image(image, question, &[(first, label(3)), ("So it is 45.", label(4)), ("Answer: 54", label(5))]),
            with_image(image, question, &[(first, label(6)), ("So it is 60.", label(7))]),
            with_image(image, question, &[(first, label(8))]),
        ]
        .concat()
    };
    problems.into_iter().enumerate().map(of).collect()
}

/// Results over all samples: mean loss, tokens, sequences and gradients.
pub struct Sums {
    loss: f64,
    pub tokens: usize,
    sequences: usize,
    gradients: Vec<Vec<f32>>,
}

pub fn sums(bench: &Bench, data: &TrainingData, limits: PackingLimits) -> Sums {
    let mut full = bench.open(data);
    let packing = Packing::new(&data.train.samples, data.train.special.context, &limits, 0);
    let sequences: Vec<_> =
        packing.epoch(0).iter().flat_map(|batch| packing.sequences(&data.train.samples, batch)).collect();
    let weight: f64 = sequences.iter().map(Sequence::weight).sum();
    Sums {
        loss: sequences.iter().map(|sequence| full.accumulate(sequence, 1.0 / weight).unwrap().loss).sum(),
        tokens: sequences.iter().map(|sequence| sequence.tokens.len()).sum(),
        sequences: sequences.len(),
        gradients: full.gradients().into_iter().map(<[f32]>::to_vec).collect(),
    }
}

pub fn one_by_one(bench: &Bench, data: &TrainingData) -> Sums {
    sums(bench, data, PackingLimits { trees: false, sequence_samples: 1, ..bench.recipe.packing_limits() })
}

pub fn assert_alike(name: &str, found: &Sums, wanted: &Sums) {
    println!("{name}: {} tokens for {}; losses {} and {}", found.tokens, wanted.tokens, found.loss, wanted.loss);
    assert!((found.loss - wanted.loss).abs() < 1e-5 * wanted.loss, "{name}: {} for {}", found.loss, wanted.loss);
    assert_eq!(found.gradients.len(), wanted.gradients.len());
    for (index, (found, wanted)) in found.gradients.iter().zip(&wanted.gradients).enumerate() {
        // The projector has no gradient without images.
        let is_nothing = [found, wanted].iter().all(|values| values.iter().all(|value| *value == 0.0));
        let off = if is_nothing { 0.0 } else { relative(found, wanted) };
        assert!(off <= 1e-5, "{name}: the gradient of tensor {index} is off by {off:e}");
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn trees_of_steps_have_the_loss_and_gradients_of_their_paths() {
    for architecture in ARCHITECTURES {
        let Some(bench) = Bench::of(architecture, &paths()) else { continue };
        let data = bench.data();
        let (trees, apart) = (sums(&bench, &data, PackingLimits::default()), one_by_one(&bench, &data));
        assert!(trees.tokens * 2 < apart.tokens);
        assert_alike(architecture, &trees, &apart);
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn trees_with_images_have_the_loss_and_gradients_of_their_paths() {
    if ["img1.png", "img2.png"].iter().any(|image| golden_path(&format!("images/{image}")).is_none()) {
        return;
    }
    for architecture in ARCHITECTURES {
        let Some(mut bench) = Bench::of(architecture, &imaged_paths()) else { continue };
        bench.recipe.data_root = Some(golden().join("images"));
        // The projector and the tokens around images are trained as well; once also the vision tower.
        for freeze in [vec!["vision_model.".to_owned()], Vec::new()] {
            bench.recipe.freeze = freeze;
            let data = bench.data();
            let apart = one_by_one(&bench, &data);
            let together = sums(&bench, &data, PackingLimits::default());
            assert_eq!((together.sequences, apart.sequences), (1, 16));
            assert!(together.tokens * 2 < apart.tokens);
            assert_alike(architecture, &together, &apart);
            // Trees split by the length of a sequence share less and have the same gradients.
            let cut = sums(&bench, &data, PackingLimits { sequence_tokens: 120, ..PackingLimits::default() });
            assert!(cut.sequences > 2 && cut.tokens > together.tokens);
            assert_alike(architecture, &cut, &apart);
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn trees_of_replies_have_the_loss_and_gradients_of_their_paths() {
    let reply = |answer: &str| {
        let solution = ["Read the numbers 3 and 4.", "So we get 3 * 4 = 12.", answer];
        format!("{}\n", serde_json::json!({"id": 1, "question": "What is 3 times 4?", "solution": solution}))
    };
    let samples = [reply("Answer: 12"), reply("Answer: 13"), reply("Answer: 12"), reply("Answer: no")].concat();
    for architecture in ARCHITECTURES {
        let Some(mut bench) = Bench::of(architecture, &samples) else { continue };
        bench.recipe.task = Task::Policy;
        // The tiny vocabulary has no step tags, only their pieces.
        bench.recipe.forms = vec![SolutionForm::Rollout, SolutionForm::Prm];
        let data = bench.data();
        let (trees, apart) = (sums(&bench, &data, PackingLimits::default()), one_by_one(&bench, &data));
        assert!(trees.tokens * 2 < apart.tokens);
        assert_alike(architecture, &trees, &apart);
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn samples_side_by_side_in_one_sequence_have_the_loss_and_gradients_of_separate_ones() {
    for architecture in ARCHITECTURES {
        let Some(bench) = Bench::of(architecture, &paths()) else { continue };
        let data = bench.data();
        let apart = one_by_one(&bench, &data);
        let together = sums(&bench, &data, PackingLimits { trees: false, ..PackingLimits::default() });
        assert_eq!((together.sequences, apart.sequences), (1, data.train.samples.len()));
        assert_eq!(together.tokens, data.train.samples.iter().map(|sample| sample.tokens.len()).sum::<usize>());
        assert_alike(architecture, &together, &apart);
    }
}
