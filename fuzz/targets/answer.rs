//! Any two texts can be compared, by every rule, without a panic, and none differs from itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mmprm::answer::{AnswerSpec, Outcome, Rule, compare};

fuzz_target!(|texts: (String, String)| {
    let (gold, prediction) = texts;
    let free = AnswerSpec::default();
    let choices = AnswerSpec { choices: vec![gold.clone(), "12 cm".into(), "no".into()], ..AnswerSpec::default() };
    for rule in [Rule::General, Rule::MathVista, Rule::MathVision] {
        rule.compare(&gold, &prediction, &free);
        rule.compare(&gold, &prediction, &choices);
    }
    let itself = compare(&gold, &gold, &free);
    // A text may hold no answer at all; one that holds an answer is not different from itself.
    let empty = itself.reason == "the prediction contains no answer";
    assert!(empty || itself.outcome != Outcome::Different, "{gold:?} differs from itself");
});
