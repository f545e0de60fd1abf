//! Best-of-N accuracies against the reference's, where they do not hang on its random generator.

mod support;

use mmprm::eval::candidates;
use mmprm::eval::metrics::{Aggregator, best};
use support::{golden, json};

#[test]
fn golden_accuracies_of_every_aggregator_agree() {
    let folder = golden().join("eval");
    let results = folder.join("results_seed0.json");
    if !results.exists() {
        eprintln!("skipped: no {}", results.display());
        return;
    }
    let mut compared = 0;
    for (name, expected) in json(&results).as_object().unwrap() {
        let path = folder.join(format!("{name}.json"));
        // `with_zeros` raises in the reference: the logit of 0.
        if !path.exists() || expected.get("error").is_some() {
            continue;
        }
        let sets = candidates::load(&path).unwrap();
        for aggregator in Aggregator::ALL {
            let Some(expected) = expected.get(aggregator.name()) else { continue };
            let right = sets.iter().filter(|set| {
                let scores = set.scores.as_ref().unwrap();
                let values: Vec<f64> = scores.iter().map(|steps| aggregator.apply(steps)).collect();
                best(&values).is_some_and(|chosen| set.labels.as_ref().unwrap()[chosen])
            });
            assert_eq!(right.count() as u64, expected["correct"].as_u64().unwrap(), "{name}, {}", aggregator.name());
            compared += 1;
        }
    }
    assert!(compared > 0, "no golden case was found");
}
