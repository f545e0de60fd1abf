//! Converting step-labelled solutions: each published form, there and back between all forms, and what is refused.

use std::path::Path;

use mmprm::data::convert::{ConvertError, ConvertSummary, StepForm, convert};
use proptest::prelude::*;
use serde_json::{Value, json};

fn run(records: &[Value], to: StepForm, threshold: Option<f64>) -> Result<(ConvertSummary, Vec<Value>), String> {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("source"), folder.path().join("out"));
    let text = records.iter().fold(String::new(), |text, record| text + &record.to_string() + "\n");
    std::fs::write(&source, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    let summary = convert(&source, to, threshold, &output).map_err(|error| {
        assert!(!output.exists(), "nothing is written");
        error.to_string().replace(&prefix, "")
    })?;
    let text = std::fs::read_to_string(&output).unwrap();
    Ok((summary, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()))
}

fn form(name: &str) -> StepForm {
    name.parse().unwrap()
}

/// One solution with hard labels in each published form, as its makers write it.
fn published() -> Vec<(&'static str, Value)> {
    vec![
        (
            "mmprm",
            json!({"id": 7, "conversations": [{"from": "human", "value": "Question: How many?\nProcess: One and one.<prm>\n\nSo 3.<prm>"},
                {"from": "gpt", "value": [1.0, 0.0]}], "answer": "2"}),
        ),
        (
            "solutions",
            json!({"question": "How many?", "correct_answer": "2", "solutions_splits": [["One and one.", "So 3."]],
                "step_labels": [[1, 0]], "id": 7}),
        ),
        (
            "prm800k",
            json!({"question": {"problem": "How many?", "ground_truth_answer": "2"}, "label": {"steps": [
                {"completions": [{"text": "One and one.", "rating": 1, "flagged": null}], "human_completion": null, "chosen_completion": 0},
                {"completions": [{"text": "So 3.", "rating": -1, "flagged": null}], "human_completion": null, "chosen_completion": 0}],
                "finish_reason": "found_error"}, "id": 7}),
        ),
        (
            "math-shepherd",
            json!({"input": "How many? Step 1: One and one. ки\nStep 2: So 3. ки",
                "label": "How many? Step 1: One and one. +\nStep 2: So 3. -", "task": "other", "answer": "2", "id": 7}),
        ),
        (
            "trl",
            json!({"prompt": "How many?", "completions": ["One and one.", "So 3."], "labels": [true, false], "answer": "2", "id": 7}),
        ),
        (
            "processbench",
            json!({"problem": "How many?", "steps": ["One and one.", "So 3."], "label": 1, "answer": "2", "id": 7}),
        ),
        (
            "visualprm",
            json!({"question": "How many?", "answer": "2", "steps_with_score": [
                {"step": "One and one.", "score": 1.0, "num_mc_correct": null, "num_mc_total": null},
                {"step": "So 3.", "score": 0.0, "num_mc_correct": null, "num_mc_total": null}], "id": 7}),
        ),
        (
            "omegaprm",
            json!({"question": "How many?", "final_answer": "2", "reasoning_steps": [
                {"solution_prefix": "How many?\n\nOne and one.", "mc_value": 1.0},
                {"solution_prefix": "How many?\n\nOne and one.\n\nSo 3.", "mc_value": 0.0}], "id": 7}),
        ),
    ]
}

#[test]
fn every_form_becomes_every_other_one() {
    for (from, record) in published() {
        for (to, expected) in published() {
            let (summary, written) = run(std::slice::from_ref(&record), form(to), None).unwrap();
            assert_eq!((summary.from.as_str(), summary.to.as_str(), summary.solutions), (from, to, 1));
            assert_eq!(written, [expected], "{from} to {to}");
        }
    }
    assert_eq!(published().len(), StepForm::ALL.len());
}

#[test]
fn fields_that_no_form_knows_are_carried_along() {
    let record =
        json!({"prompt": "q", "completions": ["s"], "labels": [true], "source": {"x": [1.5, null]}, "level": 3});
    for (to, _) in published() {
        let (_, written) = run(std::slice::from_ref(&record), form(to), None).unwrap();
        let (_, back) = run(&written, StepForm::Trl, None).unwrap();
        assert_eq!((&back[0]["source"], &back[0]["level"]), (&record["source"], &record["level"]), "{to}");
    }
    let clash = json!({"prompt": "q", "completions": ["s"], "labels": [true], "steps": 3});
    let error = run(&[clash], StepForm::ProcessBench, None).unwrap_err();
    assert_eq!(error, "source:1: its field `steps` has another meaning in processbench; rename it");
}

#[test]
fn what_a_form_has_no_place_for_is_refused_with_the_reason() {
    let soft = json!({"question": "q", "steps_with_score": [{"step": "s", "score": 0.5, "num_mc_correct": 8, "num_mc_total": 16}]});
    let image = json!({"question": "q", "image": "a.png", "solutions_splits": [["s"]], "step_labels": [[1]]});
    let neutral = json!({"question": "q", "solutions_splits": [["s", "t"]], "step_labels": [[null, 1]]});
    let after = json!({"prompt": "q", "completions": ["s", "t"], "labels": [false, true]});
    for (record, to, expected) in [
        (&soft, "trl", "label 1 is neither 0 nor 1, and trl has hard labels; give a threshold"),
        (&soft, "processbench", "label 1 is neither 0 nor 1, and processbench has hard labels; give a threshold"),
        (&soft, "prm800k", "label 1 is neither 0 nor 1"),
        (&soft, "math-shepherd", "label 1 is neither 0 nor 1"),
        (&soft, "solutions", "label 1 is neither 0 nor 1"),
        (&image, "trl", "it has an image, and trl has no place for images"),
        (&image, "prm800k", "it has an image, and prm800k has no place for images"),
        (&image, "omegaprm", "it has an image, and omegaprm has no place for images"),
        (&neutral, "trl", "step 1 has no label, and trl needs one for each step"),
        (&neutral, "math-shepherd", "step 1 has no label"),
        (&neutral, "visualprm", "step 1 has no label"),
        (&neutral, "omegaprm", "step 1 has no label"),
        (&neutral, "processbench", "processbench has no place for its labels"),
        (&after, "processbench", "processbench has no place for its labels"),
        (
            &json!({"prompt": "q", "completions": ["s ки t"], "labels": [true]}),
            "math-shepherd",
            "it cannot be written as math-shepherd",
        ),
        (
            &json!({"prompt": "q", "completions": ["s "], "labels": [true]}),
            "math-shepherd",
            "math-shepherd has no place for its steps",
        ),
        (
            &json!({"prompt": "q Step 1: x", "completions": ["s"], "labels": [true]}),
            "math-shepherd",
            "math-shepherd has no place for its question",
        ),
        (
            &json!({"prompt": "q", "completions": ["", "s"], "labels": [true, true]}),
            "omegaprm",
            "omegaprm has no place for its steps",
        ),
    ] {
        let error = run(std::slice::from_ref(record), form(to), None).unwrap_err();
        assert!(error.starts_with(&format!("source:1: {expected}")), "{record} to {to}: {error}");
    }
    for (threshold, label) in [(0.5, true), (0.51, false)] {
        let (_, written) = run(std::slice::from_ref(&soft), StepForm::Trl, Some(threshold)).unwrap();
        assert_eq!(written[0]["labels"], json!([label]));
        assert_eq!(written[0]["num_mc"], json!([[8, 16]]));
    }
    let (_, written) = run(std::slice::from_ref(&soft), StepForm::Samples, None).unwrap();
    assert_eq!(written[0]["conversations"][1]["value"], json!([0.5]));
    let (_, written) = run(&written, StepForm::VisualPrm, None).unwrap();
    assert_eq!(written[0]["steps_with_score"], soft["steps_with_score"], "there and back");
    // Steps without a label weigh nothing in training.
    let (_, written) = run(std::slice::from_ref(&neutral), StepForm::Samples, None).unwrap();
    assert_eq!(
        (&written[0]["weights"], &written[0]["conversations"][1]["value"]),
        (&json!([0.0, 1.0]), &json!([0.0, 1.0]))
    );
    let (_, written) = run(&written, StepForm::Solutions, None).unwrap();
    assert_eq!(written[0]["step_labels"], neutral["step_labels"]);
}

#[test]
fn records_with_several_solutions_become_several_and_what_is_left_is_counted() {
    let two = json!({"id": "x", "question": "q", "solutions_splits": [["a"], ["b", "c"]], "step_labels": [[1], [1, 0]], "labels": [1, 0],
        "prm_scores": [[0.5], [0.5, 0.1]]});
    let (summary, written) = run(&[two], StepForm::Trl, None).unwrap();
    assert_eq!((summary.records, summary.solutions, written[1]["completions"].clone()), (1, 2, json!(["b", "c"])));
    assert_eq!(json!(summary.not_carried), json!({"verdicts of candidates (`labels`)": 1, "`prm_scores`": 1}));
    let tree = json!({"question": "q", "final_answer": "1", "reasoning_steps": [
        {"solution_prefix": "q", "mc_value": 0.5}, {"solution_prefix": "q\n\na", "mc_value": 0.25},
        {"solution_prefix": "q\n\na\n\nb", "mc_value": 0.0}, {"solution_prefix": "q\n\na\n\nc", "mc_value": 1.0},
        {"solution_prefix": "q\n\na", "mc_value": 0.75}]});
    let (summary, written) = run(&[tree], StepForm::VisualPrm, None).unwrap();
    let scores = |index: usize| {
        written[index]["steps_with_score"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["score"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (summary.solutions, scores(0), scores(1)),
        (2, vec![json!(0.5), json!(0.0)], vec![json!(0.5), json!(1.0)])
    );
    assert_eq!(json!(summary.not_carried), json!({"MC values of questions": 1}));
    let human = json!({"labeler": "l", "question": {"problem": "q", "ground_truth_answer": "1", "ground_truth_solution": "s"}, "label": {"steps": [
        {"completions": [{"text": "x", "rating": -1}, {"text": "y", "rating": 0}], "chosen_completion": null, "human_completion": {"text": "h"}},
        {"completions": [{"text": "z", "rating": 0}], "chosen_completion": 0, "human_completion": null}], "total_time": 5, "finish_reason": "solution"}});
    let (summary, written) = run(&[human], StepForm::Solutions, None).unwrap();
    assert_eq!(
        (&written[0]["solutions_splits"], &written[0]["step_labels"]),
        (&json!([["h", "z"]]), &json!([[1, null]]))
    );
    assert_eq!(
        (&written[0]["labeler"], &written[0]["ground_truth_solution"], &written[0]["total_time"]),
        (&json!("l"), &json!("s"), &json!(5))
    );
    assert_eq!(json!(summary.not_carried), json!({"alternative completions": 1}));
}

#[test]
fn sources_that_are_not_understood_are_named() {
    for (records, expected) in [
        (vec![json!({"a": 1, "b": 2})], "source:1: expected step-labelled solutions, found the fields a, b"),
        (vec![], "source: found no rows"),
        (
            vec![published()[4].1.clone(), published()[5].1.clone()],
            "source:2: as trl: expected a text in `prompt`, found null",
        ),
        (
            vec![json!({"prompt": "q", "completions": ["s"], "labels": [true, false]})],
            "source:1: as trl: expected a label for each of 1",
        ),
        (
            vec![json!({"prompt": "q", "completions": ["s"], "labels": [0.5]})],
            "source:1: as trl: expected labels true, false, 0 or 1, found 0.5",
        ),
        (
            vec![json!({"problem": "q", "steps": ["s"], "label": 1})],
            "source:1: as processbench: expected the index of a step, or -1",
        ),
        (
            vec![json!({"question": "q", "steps_with_score": [{"step": "s", "score": 2}]})],
            "source:1: as visualprm: expected labels from 0 to 1",
        ),
        (
            vec![json!({"input": "q Step 1: s ки", "label": "q Step 1: s x"})],
            "source:1: as math-shepherd: expected + or - for step 1",
        ),
        (
            vec![json!({"input": "q Step 1: s", "label": "q Step 1: s"})],
            "source:1: as math-shepherd: expected ки at the end",
        ),
        (
            vec![
                json!({"question": {"problem": "q"}, "label": {"steps": [{"completions": [{"text": "s", "rating": 5}], "chosen_completion": 0}]}}),
            ],
            "source:1: as prm800k: expected ratings 1, 0 or -1, found 5",
        ),
        (
            vec![json!({"conversations": [{"value": "Question: q\nProcess: s<prm>"}, {"value": [0.5, 0.5]}]})],
            "source:1: as mmprm: expected a label for each of 1 steps",
        ),
        (
            vec![json!({"conversations": [{"value": "s<prm>"}, {"value": [0.5]}]})],
            "source:1: as mmprm: expected `Question: …`",
        ),
    ] {
        let error = run(&records, StepForm::Solutions, None).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.jsonl");
    std::fs::write(&path, published()[4].1.to_string()).unwrap();
    assert!(matches!(convert(&path, StepForm::Trl, None, &path), Err(ConvertError::IsSource { .. })));
    assert!(matches!(
        convert(Path::new("none"), StepForm::Trl, None, &folder.path().join("o")),
        Err(ConvertError::Source(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Texts with anything in them: what is written is the same when it comes back, or is refused.
    #[test]
    fn there_and_back_is_the_same(
        question in "[a-z<>\\n ]{1,12}(Step 1:|ки|<prm>|\nProcess: )?",
        steps in proptest::collection::vec(("[A-Za-zки<>:0-9\\n ]{0,10}(<prm>)?", 0_usize..4), 1..5),
        image in proptest::option::of("[a-z]{1,5}\\.png"),
    ) {
        let labels: Vec<f64> = steps.iter().map(|(_, label)| [0.0, 1.0, 0.25, 0.75][*label]).collect();
        let scored: Vec<Value> = steps.iter().zip(&labels)
            .map(|((step, _), label)| json!({"step": step, "score": label, "num_mc_correct": null, "num_mc_total": null})).collect();
        let mut record = json!({"question": question, "steps_with_score": scored, "id": 1});
        if let Some(image) = image {
            record["image"] = json!(image);
        }
        for to in StepForm::ALL {
            let Ok((_, written)) = run(std::slice::from_ref(&record), to, None) else { continue };
            let (_, back) = run(&written, StepForm::VisualPrm, None).unwrap();
            prop_assert_eq!(&back, &vec![record.clone()], "{}", to);
        }
        let soft = run(std::slice::from_ref(&record), StepForm::Samples, None);
        prop_assert!(soft.is_ok(), "training samples have a place for everything: {:?}", soft);
    }
}
