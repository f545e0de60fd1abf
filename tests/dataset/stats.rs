//! What is in a file.

use mmprm::dataset::stats::{Spread, stats};
use serde_json::json;

use super::support::Folder;

#[test]
fn problems_are_counted_by_images_answers_and_choices() {
    let folder = Folder::new();
    folder.drawing("a.png", 30, 20, 1);
    folder.drawing("b.jpg", 10, 50, 2);
    std::fs::copy(folder.path("a.png"), folder.path("copy.png")).unwrap();
    folder.write("damaged.png", "none");
    let records = folder.records(
        "p.jsonl",
        &[
            json!({"question": "How long?", "answer": "3 cm", "image": "a.png"}),
            json!({"question": "Which?", "choices": ["1", "2"], "correct_answer": "B", "images": ["a.png", "b.jpg"]}),
            json!({"question": "Why not?", "image": "damaged.png"}),
            json!({"question": "How long?", "answer": 3, "image": "copy.png"}),
            json!({"question": "Why not?", "image": "missing.png"}),
            json!({"question": "2 + 2", "answer": "4"}),
            json!({"question": "2 + 2", "answer": "4"}),
        ],
    );
    let stats = stats(&records);
    assert_eq!((stats.records, stats.without_images, stats.several_images, stats.without_answer), (7, 2, 1, 2));
    assert_eq!(json!(stats.answers), json!({"choice": 1, "number": 4}));
    assert_eq!((json!(stats.choices), stats.repeated), (json!({"2": 1}), 1));
    // "Which?" is shown with its options.
    assert_eq!(stats.question_characters, Some(Spread { min: 5, median: 8, max: 27 }));
    let images = stats.images;
    assert_eq!((images.files, images.equal, json!(images.formats)), (5, 1, json!({"JPEG": 1, "PNG": 2})));
    assert_eq!(images.width, Some(Spread { min: 10, median: 30, max: 30 }));
    assert_eq!(images.height, Some(Spread { min: 20, median: 20, max: 50 }));
    assert_eq!(images.unreadable.keys().collect::<Vec<_>>(), ["damaged.png", "missing.png"]);
    assert!(images.unreadable["damaged.png"].contains("damaged.png"));
}

#[test]
fn candidates_are_counted_with_their_verdicts_and_step_labels() {
    let folder = Folder::new();
    let records = folder.records(
        "c.jsonl",
        &[
            json!({"question": "q", "answer": "1", "solutions_splits": [["a", "b", "c"], ["d"]], "labels": [1, false],
                "step_labels": [[1, null, 0], [1]]}),
            json!({"question": "r", "answer": "1", "solutions_splits": [[]]}),
            json!({"labels": [true, 0, 0]}),
        ],
    );
    let candidates = stats(&records).candidates.unwrap();
    assert_eq!((candidates.count, candidates.labelled, candidates.right), (6, 5, 2));
    assert_eq!(candidates.steps, Some(Spread { min: 0, median: 1, max: 3 }));
    assert_eq!((candidates.labelled_steps, candidates.wrong_steps), (3, 1));
}

#[test]
fn samples_are_counted_with_their_labels() {
    let folder = Folder::new();
    let sample = |text: &str, reply: serde_json::Value| json!({"id": 0, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": reply}]});
    let records = folder.records(
        "s.jsonl",
        &[
            sample("Question: q\nProcess: a<prm>\n\nb<prm>", json!([1.0, 0.5])),
            sample("Question: q\nProcess: c<prm>", json!([0.0])),
        ],
    );
    let found = stats(&records);
    assert_eq!((found.without_answer, found.repeated), (0, 1));
    let labels = found.labels.unwrap();
    assert_eq!((labels.count, labels.zero, labels.one, labels.mean), (3, 1, 1, 0.5));
    assert_eq!(labels.per_sample, Some(Spread { min: 1, median: 1, max: 2 }));
    let policy = folder.records("t.jsonl", &[sample("q", json!("It is 2."))]);
    assert_eq!(stats(&policy).labels, None);
}
