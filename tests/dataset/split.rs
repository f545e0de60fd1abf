//! Dividing a file into parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mmprm::data::records::Records;
use mmprm::dataset::split::{SplitError, SplitOptions, SplitSummary, split};
use mmprm::image::resolve;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{Folder, lines};

fn options(parts: &str, seed: u64) -> SplitOptions {
    let parts = parts.split(',').map(|part| part.parse().unwrap()).collect();
    SplitOptions { parts, seed, replaces: true, ..SplitOptions::default() }
}

fn run(folder: &Folder, records: &[Value], options: &SplitOptions) -> Result<SplitSummary, SplitError> {
    let path = lines(&folder.path("p.jsonl"), records);
    split(&Records::load(&path, None).unwrap(), &path, &folder.path("out"), options)
}

/// The records of each part.
fn parts(summary: &SplitSummary) -> Vec<Vec<Value>> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let records = |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    summary.parts.iter().map(|part| records(read(&part.path))).collect()
}

fn plain(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"id": n, "question": format!("{n} + 1?"), "answer": n + 1, "level": n % 3, "kept": {"x": [1.5, null]}})).collect()
}

#[test]
fn every_record_is_in_one_part_unchanged_and_in_order() {
    let folder = Folder::new();
    let records = plain(103);
    let summary = run(&folder, &records, &options("train=0.8,val=0.1,test=0.1", 0)).unwrap();
    let sizes: Vec<usize> = summary.parts.iter().map(|part| part.records).collect();
    assert_eq!((sizes, summary.records, summary.tied_records), (vec![83, 10, 10], 103, 0));
    let parts = parts(&summary);
    for part in &parts {
        assert!(part.windows(2).all(|pair| pair[0]["id"].as_u64() < pair[1]["id"].as_u64()));
    }
    let mut all: Vec<Value> = parts.concat();
    all.sort_by_key(|record| record["id"].as_u64());
    assert_eq!(all, records);
}

#[test]
fn the_same_seed_gives_the_same_parts_and_another_one_others() {
    let folder = Folder::new();
    let with = |seed| parts(&run(&folder, &plain(60), &options("a=0.5,b=0.5", seed)).unwrap());
    assert_eq!(with(3), with(3));
    assert_ne!(with(3), with(4));
    assert_ne!(with(3)[0], plain(30), "not the first half");
}

#[test]
fn sizes_are_fractions_numbers_or_the_rest() {
    let folder = Folder::new();
    let sizes = |text: &str| {
        let summary = run(&folder, &plain(50), &options(text, 0)).map_err(|error| error.to_string())?;
        Ok::<_, String>(summary.parts.iter().map(|part| part.records).collect::<Vec<_>>())
    };
    assert_eq!(sizes("a=7,b=43").unwrap(), [7, 43]);
    assert_eq!(sizes("a=rest,b=5,c=1").unwrap(), [44, 5, 1]);
    assert_eq!(sizes("a=0.7,b=rest").unwrap(), [35, 15]);
    for (text, expected) in [
        ("a=10,b=10", "the parts have 20 records together, but the file has 50; give one part the rest"),
        ("a=60,b=rest", "the parts have 60 records together, but the file has 50"),
        ("a=0.5,b=0.4", "the fractions add up to 0.9, expected 1"),
        ("a=0.5,b=10", "expected fractions or numbers of records, found both"),
        ("a=rest,b=rest", "expected at most one part with the rest"),
        ("a=0.5,a=0.5", "two parts are named `a`"),
        ("a=0.999,b=0.001", "of 50 records none would be in the part `b`"),
        ("a=rest", "expected at least two parts"),
    ] {
        assert_eq!(sizes(text).unwrap_err(), expected, "{text}");
    }
    for text in ["a", "=0.5", "a=", "a=1.5", "a=0", "a=0.0", "a=-1", "../a=0.5", "a=x", "a=0.5x"] {
        assert!(text.parse::<mmprm::dataset::split::Part>().is_err(), "{text}");
    }
}

#[test]
fn equal_problems_and_problems_of_one_image_are_never_in_two_parts() {
    let folder = Folder::new();
    for number in 0..12 {
        folder.drawing(&format!("images/{number}.png"), 60, 40, number);
        folder.drawing(&format!("images/{number}.jpg"), 90, 60, number);
    }
    let mut records = plain(40);
    for number in 0..12 {
        let image = format!("images/{number}.png");
        // Two questions about one image; the first again with other typography and another encoding of the image.
        records.push(json!({"id": 100 + number * 3, "question": "How long is AB?", "image": image}));
        records.push(json!({"id": 101 + number * 3, "question": "How large is the angle?", "image": image}));
        records.push(
            json!({"id": 102 + number * 3, "question": "how long is $AB$ ?", "image": format!("images/{number}.jpg")}),
        );
        records.push(json!({"id": 200 + number, "question": format!("{number}+1 ?")}));
    }
    for seed in 0..5 {
        let summary = run(&folder, &records, &options("a=0.5,b=0.3,c=0.2", seed)).unwrap();
        assert_eq!((summary.tied_groups, summary.tied_records, summary.largest_group), (24, 60, 3));
        let mut part_of = BTreeMap::new();
        for (number, part) in parts(&summary).iter().enumerate() {
            part_of.extend(part.iter().map(|record| (record["id"].as_u64().unwrap(), number)));
        }
        for number in 0..12 {
            let parts: BTreeSet<_> = (0..3).map(|n| part_of[&(100 + number * 3 + n)]).collect();
            assert_eq!(parts.len(), 1, "one image, or one question with images that look alike");
            assert_eq!(part_of[&(200 + number)], part_of[&number], "one question");
        }
        assert!(summary.parts.iter().all(|part| part.records == part.wanted), "{summary:?}");
    }
}

#[test]
fn parts_have_the_values_of_a_field_in_the_same_proportions() {
    let folder = Folder::new();
    let mut records = plain(90);
    records.extend((0..10).map(|n| json!({"id": 100 + n, "question": format!("none {n}?")})));
    let by = SplitOptions { by: Some("level".into()), ..options("a=0.5,b=0.3,c=0.2", 1) };
    let summary = run(&folder, &records, &by).unwrap();
    for part in &summary.parts {
        assert_eq!(part.records, part.wanted);
        for (value, count) in &part.by {
            let whole = if value == "(none)" { 10.0 } else { 30.0 };
            let share = part.wanted as f64 / 100.0 * whole;
            assert!((*count as f64 - share).abs() < 2.0, "{value}: {count} instead of {share}");
        }
        assert_eq!(part.by.values().sum::<usize>(), part.records);
    }
    let without = SplitOptions { by: Some("grade".into()), ..by };
    assert_eq!(run(&folder, &records, &without).unwrap_err().to_string(), "no record has the field `grade`");
}

#[test]
fn images_resolve_from_the_parts_and_paths_stay() {
    let folder = Folder::new();
    let absolute = folder.drawing("images/1.png", 30, 20, 1);
    folder.drawing("2.png", 30, 20, 2);
    let records = [
        json!({"question": "a", "image_path": "images/1.png"}),
        json!({"question": "b", "images": ["2.png"]}),
        json!({"question": "c", "image": absolute}),
        json!({"question": "d", "image": "images/../2.png"}),
    ];
    let summary = run(&folder, &records, &options("x=0.5,y=0.5", 0)).unwrap();
    let mut paths = BTreeSet::new();
    for part in &summary.parts {
        let records = Records::load(&part.path, None).unwrap();
        for path in records.items.iter().flat_map(|item| &item.images) {
            assert!(resolve(&records.root, path).is_ok(), "{path}");
            paths.insert(path.clone());
        }
    }
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["2.png", "images/1.png"]);
    // Splitting into the source's own folder needs no copies, and again changes nothing.
    let path = folder.path("p.jsonl");
    let loaded = Records::load(&path, None).unwrap();
    split(&loaded, &path, folder.0.path(), &options("x=0.5,y=0.5", 0)).unwrap();
    std::fs::write(folder.path("out/2.png"), "other").unwrap();
    let error = run(&folder, &records, &options("x=0.5,y=0.5", 0)).unwrap_err().to_string();
    assert!(error.contains("out/2.png exists and is not the image of record"), "{error}");
    std::fs::remove_file(folder.path("2.png")).unwrap();
    assert!(run(&folder, &records, &options("x=0.5,y=0.5", 0)).unwrap_err().to_string().contains("2.png"));
}

#[test]
fn nothing_is_overwritten_unasked_and_never_the_source() {
    let folder = Folder::new();
    let refuse = SplitOptions { replaces: false, ..options("p=0.5,q=0.5", 0) };
    run(&folder, &plain(4), &refuse).unwrap();
    assert!(run(&folder, &plain(4), &refuse).unwrap_err().to_string().ends_with("out/p.jsonl exists"));
    let path = folder.path("p.jsonl");
    let records = Records::load(&path, None).unwrap();
    let error = split(&records, &path, folder.0.path(), &options("p=0.5,q=0.5", 0)).unwrap_err().to_string();
    assert!(error.ends_with("p.jsonl exists and is read from"), "{error}");
    assert!(!folder.path("q.jsonl").exists());
}

#[test]
fn samples_and_candidates_of_one_problem_stay_together_and_arrays_stay_arrays() {
    let folder = Folder::new();
    let turns = |question: usize, step: usize| json!([{"from": "human", "value": format!("Question: {question}?\nProcess: s{step}<prm>")}, {"from": "gpt", "value": [1.0]}]);
    let samples: Vec<Value> = (0..40).map(|n| json!({"id": n, "conversations": turns(n / 4, n)})).collect();
    let summary = run(&folder, &samples, &options("a=0.5,b=0.5", 0)).unwrap();
    assert_eq!((summary.tied_groups, summary.largest_group), (10, 4));
    let questions =
        |part: &[Value]| part.iter().map(|sample| sample["id"].as_u64().unwrap() / 4).collect::<BTreeSet<_>>();
    let parts = parts(&summary);
    assert!(questions(&parts[0]).is_disjoint(&questions(&parts[1])));
    let candidates: Vec<Value> = (0..8).map(|n| json!({"id": n / 2, "labels": [1, 0]})).collect();
    let path = folder.write("c.json", json!(candidates).to_string());
    let summary =
        split(&Records::load(&path, None).unwrap(), &path, &folder.path("c"), &options("a=0.5,b=0.5", 0)).unwrap();
    assert_eq!((summary.tied_groups, summary.parts[0].path.ends_with("a.json")), (4, true));
    assert_eq!(Records::load(&summary.parts[0].path, None).unwrap().items.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sizes_are_exact_for_any_fractions_and_ties(
        count in 20_usize..80, ties in proptest::collection::vec(0_usize..20, 0..10), seed in any::<u64>(), share in 0.2_f64..0.8,
    ) {
        let folder = Folder::new();
        let mut records = plain(count);
        // Each tie repeats a question, so groups are small compared with the parts.
        for (number, tie) in ties.iter().enumerate() {
            records.push(json!({"id": 1000 + number, "question": format!("{tie} + 1 ?"), "level": 0}));
        }
        let by = SplitOptions { by: Some("level".into()), ..options(&format!("a={share:.3},b=rest"), seed) };
        let summary = run(&folder, &records, &by).unwrap();
        prop_assert!(summary.parts.iter().all(|part| part.records == part.wanted), "{:?}", summary);
        let mut ids: Vec<u64> = parts(&summary).concat().iter().map(|record| record["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        let mut all: Vec<u64> = records.iter().map(|record| record["id"].as_u64().unwrap()).collect();
        all.sort_unstable();
        prop_assert_eq!(ids, all);
    }
}
