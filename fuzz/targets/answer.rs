//! Every rule compares any two texts without a panic, and no text differs from itself.
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
    // A text without an answer may differ from itself.
    let empty = itself.reason == "the prediction contains no answer";
    assert!(empty || itself.outcome != Outcome::Different, "{gold:?} differs from itself");
});
