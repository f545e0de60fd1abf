//! The whole job of a recipe in one call.

use mmprm::train::recipe::{LoraOptions, Recipe};
use mmprm::train::{Event, TrainError, plan_with, train_with};
use mmprm::util::cancel::CancelToken;

use crate::loops::problems;
use crate::{Bench, tokenizer};

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_recipe_is_trained_and_resumed_by_one_call() {
    let Some(mut bench) = Bench::new(&problems()) else { return };
    bench.recipe.validation = 0.2;
    for lora in [None, Some(LoraOptions { rank: 2, ..LoraOptions::default() })] {
        bench.recipe.output = bench.folder.path().join(format!("run-{}", lora.is_some()));
        bench.recipe.lora = lora;
        let path = bench.folder.path().join("recipe.toml");
        std::fs::write(&path, bench.recipe.to_toml()).unwrap();
        let recipe = Recipe::read(&path).unwrap();
        let (mut ready, cancel) = (None, CancelToken::new());
        let mut on_event = |event: &Event| {
            if let Event::Ready(sizes) = event {
                ready = Some(*sizes);
            }
        };
        let summary = train_with(&recipe, &tokenizer(&recipe.model), &mut on_event, &cancel).unwrap();
        assert_eq!((summary.steps, summary.interrupted), (summary.total, false));
        let ready = ready.unwrap();
        assert_eq!((ready.samples, ready.held_out), (16, 4));
        assert!(ready.trained > 0);
        let mut resumed = false;
        let mut on_event = |event: &Event| resumed |= matches!(event, Event::Resumed { .. });
        let again = train_with(&recipe, &tokenizer(&recipe.model), &mut on_event, &cancel).unwrap();
        assert!(resumed && again.steps == summary.steps);
    }
}

#[test]
fn a_plan_knows_the_samples_and_errors_are_typed() {
    let Some(mut bench) = Bench::new(&problems()) else { return };
    let tokenizer = tokenizer(&bench.recipe.model);
    let report = plan_with(&bench.recipe, &tokenizer).unwrap();
    assert_eq!(report.total, report.parts.iter().map(|part| part.bytes).sum::<u64>());
    assert!(report.tokens > 0 && report.tokens <= bench.recipe.sequence_tokens);
    bench.recipe.freeze = vec!["nothing.".into()];
    let error = train_with(&bench.recipe, &tokenizer, &mut |_| (), &CancelToken::new()).unwrap_err();
    assert!(matches!(error, TrainError::Open(_)) && error.is_bad_input(), "{error}");
    bench.recipe.epochs = 0;
    let error = train_with(&bench.recipe, &tokenizer, &mut |_| (), &CancelToken::new()).unwrap_err();
    assert!(matches!(error, TrainError::Recipe(_)), "{error}");
}
