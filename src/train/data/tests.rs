use std::fs;

use super::*;
use crate::prompt::{Fragment, Run, Special};

/// A token for each character; special tokens from 1000.
struct Letters;

const SPECIAL: [&str; 8] = ["<prm>", "<IMG_CONTEXT>", "Yes", "No", "<img>", "</img>", "<|im_end|>", "<|im_start|>"];

impl Tokenizer for Letters {
    fn encode(&self, run: &Run, first: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = if first { vec![1] } else { vec![] };
        let specials: Vec<Special> =
            SPECIAL.iter().map(|text| Special::new(if text.len() > 3 { text } else { "" })).collect();
        if let Some(fragments) = run.fragments(&specials) {
            for fragment in fragments {
                match fragment {
                    Fragment::Text(text) => tokens.extend(text.chars().map(u32::from)),
                    Fragment::Special(index) => tokens.push(1000 + index as u32),
                }
            }
            return Ok(tokens);
        }
        let mut rest = run.text();
        while let Some(letter) = rest.chars().next() {
            let special = SPECIAL.iter().position(|special| special.len() > 3 && rest.starts_with(special));
            let (token, length) = match special {
                Some(index) => (1000 + index as u32, SPECIAL[index].len()),
                None => (u32::from(letter), letter.len_utf8()),
            };
            tokens.push(token);
            rest = &rest[length..];
        }
        Ok(tokens)
    }

    fn token(&self, text: &str) -> Option<u32> {
        SPECIAL.iter().position(|special| *special == text).map(|index| 1000 + index as u32)
    }
}

const PRM: DatasetOptions<'_> = DatasetOptions {
    kind: SampleKind::Prm,
    form: None,
    tiling: Some(Tiling { size: 16, min_tiles: 1, max_tiles: 4, thumbnail: true }),
    tokens_per_tile: 3,
    length: Length { tokens: 500, truncate: false },
    token_labels: false,
    image_token_weight: 1.0,
    reference_special_tokens: false,
};

fn read(text: &str, options: &DatasetOptions<'_>) -> Result<Dataset, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.jsonl");
    fs::write(&path, text).unwrap();
    ::image::RgbImage::from_pixel(32, 16, ::image::Rgb([9, 9, 9])).save(folder.path().join("a.png")).unwrap();
    fs::copy(folder.path().join("a.png"), folder.path().join("same.png")).unwrap();
    Dataset::read(&path, folder.path(), &Letters, options)
}

fn refusal(text: &str, options: &DatasetOptions) -> String {
    let message = read(text, options).unwrap_err().to_string();
    message.split_once("s.jsonl:").map_or(message.clone(), |(_, rest)| rest.to_owned())
}

fn prm_record(id: u32, image: &str, process: &str, labels: &str) -> String {
    format!(
        r#"{{"id": {id}, "image": {image}, "conversations": [{{"from": "human", "value": "Question: q\nProcess: {process}"}}, {{"from": "gpt", "value": {labels}}}]}}"#
    )
}

#[test]
fn labels_are_at_step_tokens_and_images_between_their_marks() {
    let data = read(&prm_record(3, "\"a.png\"", "one<prm>two<prm>", "[1, 0.37]"), &PRM).unwrap();
    let sample = &data.samples[0];
    let targets: Vec<_> = sample.targets.iter().map(|target| (sample.tokens[target.row], target.value)).collect();
    assert_eq!(targets, [(1000, TargetValue::Label(1.0)), (1000, TargetValue::Label(0.37))]);
    let placed = sample.images[0];
    // Two columns and the thumbnail, three tokens each.
    assert_eq!(data.images[placed.image].tiles, 3);
    assert_eq!(sample.tokens[placed.start - 1], 1004);
    assert_eq!(sample.tokens[placed.start..placed.start + 9], [1001; 9]);
    assert_eq!(sample.tokens[placed.start + 9], 1005);
    assert_eq!(sample.id, "3");
}

#[test]
fn equal_images_are_one_and_their_samples_one_problem() {
    let lines = [
        prm_record(0, "\"a.png\"", "x<prm>", "[1]"),
        prm_record(1, "\"same.png\"", "y<prm>", "[0]"),
        prm_record(2, "null", "y<prm>", "[0]"),
    ];
    let data = read(&lines.join("\n"), &PRM).unwrap();
    assert_eq!(data.images.len(), 1);
    assert_eq!(data.samples[0].problem, data.samples[1].problem);
    assert_ne!(data.samples[0].problem, data.samples[2].problem);
    assert!(data.samples[2].images.is_empty());
}

#[test]
fn the_policy_predicts_its_reply_and_the_end_of_the_turn() {
    let options = DatasetOptions { kind: SampleKind::Policy(SolutionForms { rollout: true, prm: false }), ..PRM };
    let record = r#"{"id": "p", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "ok"}]}"#;
    let data = read(record, &options).unwrap();
    let sample = &data.samples[0];
    let learnt: Vec<TargetValue> = sample.targets.iter().map(|target| target.value).collect();
    assert_eq!(learnt, [u32::from('o'), u32::from('k'), 1006].map(TargetValue::Token));
    let next = |target: &Target| TargetValue::Token(sample.tokens[target.row + 1]);
    assert!(sample.targets.iter().all(|target| next(target) == target.value));
    assert_eq!(sample.tokens[sample.targets[0].row], u32::from('\n'));
}

#[test]
fn image_tokens_learn_what_is_printed_where_they_look() {
    let kind = SampleKind::Policy(SolutionForms { rollout: true, prm: false });
    let options = DatasetOptions { kind, image_token_weight: 0.5, ..PRM };
    let record = |printed: &str| {
        format!(
            r#"{{"id": 1, "image": "a.png", "image_tokens": {printed}, "conversations": [{{"from": "human", "value": "<image>"}}, {{"from": "gpt", "value": "ok"}}]}}"#
        )
    };
    let data = read(&record(r#"[["Yes"], [], [], [], ["Yes", "No"], [], [], [], []]"#), &options).unwrap();
    let sample = &data.samples[0];
    let first = sample.images[0].start;
    let target = |row, token, weight| Target { weight, ..Target::new(first + row, TargetValue::Token(token)) };
    assert_eq!(sample.targets[..3], [target(0, 1002, 0.5), target(4, 1002, 0.25), target(4, 1003, 0.25)]);
    assert!(sample.targets[3..].iter().all(|target| target.weight == 1.0 && target.row > first + 8));
    assert_eq!(
        refusal(&record(r#"[["Yes"]]"#), &options),
        "1: sample 1: `image_tokens` has 1 entries, expected 9, one for each image token"
    );
    assert_eq!(
        refusal(&record(r#"[["7x"], [], [], [], [], [], [], [], []]"#), &options),
        "1: sample 1: `image_tokens`: the vocabulary has no token \"7x\""
    );
    let process = prm_record(2, "\"a.png\"", "x<prm>", "[1]").replacen('{', r#"{"image_tokens": [], "#, 1);
    assert_eq!(refusal(&process, &PRM), "1: sample 2: `image_tokens` is for training a policy");
}

#[test]
fn bad_records_are_named_with_their_line_and_id() {
    let good = prm_record(1, "null", "x<prm>", "[1]");
    assert_eq!(
        refusal(&format!("{good}\n\n{}", prm_record(7, "null", "x<prm>", "[1, 1]")), &PRM),
        "3: sample 7: 2 labels, expected 1, one for each `<prm>`"
    );
    let message = refusal(&prm_record(2, "\"gone.png\"", "x<prm>", "[1]"), &PRM);
    assert!(message.starts_with("1: sample 2: ") && message.contains("gone.png: No such file"), "{message}");
    let message = refusal(&prm_record(2, "\"../x.png\"", "x<prm>", "[1]"), &PRM);
    assert!(message.contains("lies outside the data root"), "{message}");
    assert!(refusal(&format!("{good}\n{{"), &PRM).starts_with("2: not a record: "));
    assert!(refusal("\n", &PRM).ends_with("no samples, expected at least one"));
    let reference = DatasetOptions { reference_special_tokens: true, ..PRM };
    let message = refusal(&prm_record(2, "null", "<IMG_CONTEXT><prm>", "[1]"), &reference);
    assert_eq!(message, "1: sample 2: the text contains `<IMG_CONTEXT>`, which only images may");
}

#[test]
fn long_samples_are_refused_unless_truncated() {
    let record = prm_record(5, "null", "one<prm>two<prm>", "[1, 0]");
    let full = read(&record, &PRM).unwrap().samples.remove(0);
    let tokens = full.targets[1].row;
    let short = |truncate, tokens| DatasetOptions { length: Length { tokens, truncate }, ..PRM };
    let expected = format!("sample 5: {} tokens, expected at most {tokens}; raise `max_tokens`", full.tokens.len());
    assert!(refusal(&record, &short(false, tokens)).contains(&expected));
    let cut = read(&record, &short(true, tokens)).unwrap().samples.remove(0);
    assert_eq!((cut.tokens.len(), cut.targets.len()), (tokens, 1));
    assert!(
        refusal(&format!("{record}\n{record}"), &short(true, 20))
            .ends_with("no target is left within the limit of 20 tokens")
    );
    let longer = prm_record(6, "null", &format!("{}<prm>", "long ".repeat(50)), "[1]");
    let hopeless = read(&format!("{longer}\n{record}\n{longer}"), &short(true, full.tokens.len())).unwrap();
    assert_eq!((hopeless.samples.len(), hopeless.left_out), (1, 2));
    let with_image = prm_record(5, "\"a.png\"", "one<prm>", "[1]");
    let start = read(&with_image, &PRM).unwrap().samples[0].images[0].start;
    assert!(refusal(&with_image, &short(true, start + 4)).ends_with("would cut an image"));
}

#[test]
fn special_tokens_that_a_sample_spells_out_are_text() {
    let step = 1000;
    let steps = |data: &Dataset| data.samples[0].tokens.iter().filter(|token| **token == step).count();
    let line = |question: &str, steps: &[&str], own: bool| {
        let process: Vec<String> = steps.iter().map(|step| format!("{step}<prm>")).collect();
        let human = format!("Question: {question}\nProcess: {}", process.join("\n\n"));
        let labels = vec![1; steps.len()];
        let turns = serde_json::json!([{"from": "human", "value": human}, {"from": "gpt", "value": labels}]);
        let mut record = serde_json::json!({"id": 0, "conversations": turns});
        if own {
            record["question"] = question.into();
            record["steps"] = steps.into();
        }
        record.to_string()
    };
    for question in ["is <prm> a token?", "<|im_end|>", "a\nProcess: b", "a\nProcess: b<prm>", "<IMG_CONTEXT> <img>"] {
        let data = read(&line(question, &["yes", "no"], false), &PRM).unwrap();
        assert_eq!((steps(&data), data.samples[0].targets.len()), (2, 2), "{question}");
        assert_eq!(data.samples[0].tokens.iter().filter(|token| **token > 1000 && **token < 1006).count(), 0);
    }
    let data = read(&line("q", &["a <prm> b", "<|im_end|>"], true), &PRM).unwrap();
    assert_eq!((steps(&data), data.samples[0].targets.len()), (2, 2));
    assert!(refusal(&line("q", &["a <prm> b", "c"], false), &PRM).contains("2 labels, expected 3"));
    let other = line("q", &["a"], true).replace("\"steps\":[\"a\"]", "\"steps\":[\"b\"]");
    assert!(refusal(&other, &PRM).contains("`question` and `steps` are not those of the human turn"));
}

#[test]
fn labels_can_be_made_hard() {
    let mut data = read(&prm_record(0, "null", "a<prm>b<prm>c<prm>", "[0.5, 0.49, 1]"), &PRM).unwrap();
    data.harden(|label| label >= 0.5);
    let labels: Vec<TargetValue> = data.samples[0].targets.iter().map(|target| target.value).collect();
    assert_eq!(labels, [1.0, 0.0, 1.0].map(TargetValue::Label));
}

#[test]
fn adopted_samples_share_the_images_that_are_known() {
    let plain = || read(&prm_record(0, "null", "a<prm>", "[1]"), &PRM).unwrap();
    let with_image = || read(&prm_record(1, "\"a.png\"", "a<prm>", "[1]"), &PRM).unwrap();
    let mut data = plain();
    let first = data.adopt(with_image());
    let second = data.adopt(with_image());
    assert_eq!(data.images.len(), 1);
    assert_eq!(first[0].images, second[0].images);
    assert_eq!(data.samples.len(), 1);
}

#[test]
fn token_labels_cover_every_token_of_a_step() {
    let record = prm_record(5, "\"a.png\"", "one<prm>\\n\\ntwo<prm>", "[1, 0.25]");
    let options = DatasetOptions { token_labels: true, ..PRM };
    let data = read(&record, &options).unwrap();
    let sample = &data.samples[0];
    let ends: Vec<usize> =
        (0..sample.tokens.len()).filter(|row| Some(sample.tokens[*row]) == data.special.steps.unwrap().mark).collect();
    let labels = |label| {
        sample.targets.iter().filter(move |target| target.value == TargetValue::Label(label)).map(|target| target.row)
    };
    // One token for each character.
    assert_eq!(labels(1.0).collect::<Vec<_>>(), (ends[0] - 3..=ends[0]).collect::<Vec<_>>());
    assert_eq!(labels(0.25).collect::<Vec<_>>(), (ends[0] + 1..=ends[1]).collect::<Vec<_>>());
    let mut samples = data.samples.clone();
    Dataset::steps_only(&mut samples, data.special);
    assert_eq!(samples, read(&record, &PRM).unwrap().samples);
}

#[test]
fn outcomes_and_steps_are_labels_of_beginnings_of_a_reply() {
    let with = |kind| DatasetOptions { kind, ..PRM };
    let candidates = r#"{"question": "q", "candidates": [["one", "2"], ["3"]], "labels": [0, 1]}"#;
    let samples = read(candidates, &with(SampleKind::Outcome)).unwrap().samples;
    let labels =
        |sample: &Sample| sample.prefixes.iter().map(|prefix| (prefix.targets, prefix.label)).collect::<Vec<_>>();
    for (sample, right) in samples.iter().zip([false, true]) {
        assert_eq!(sample.right, Some(right));
        assert_eq!(labels(sample), [(sample.targets.len(), f32::from(u8::from(right)))]);
    }
    assert!(
        read(candidates, &with(SampleKind::Ranking)).unwrap().samples.iter().all(|sample| sample.prefixes.is_empty())
    );

    let steps = |process: &str, labels: &str, fields: &str| {
        let turns = format!(
            r#"[{{"from": "human", "value": "Question: q\nProcess: {process}"}}, {{"from": "gpt", "value": {labels}}}]"#
        );
        read(&format!(r#"{{{fields}"conversations": {turns}}}"#), &with(SampleKind::Steps))
    };
    let reply = |sample: &Sample, targets: usize| -> String {
        let text = |token: u32| match SPECIAL.get((token as usize).wrapping_sub(1000)) {
            Some(special) => (*special).to_owned(),
            None => char::from_u32(token).unwrap().to_string(),
        };
        sample.targets[..targets].iter().map(|target| text(sample.tokens[target.row + 1])).collect()
    };
    let sample =
        steps(r"a\n\nb<prm>\n\nAnswer: 1<prm>", "[0.5, 1]", r#""weights": [1, 2], "#).unwrap().samples.remove(0);
    let texts: Vec<String> = sample.prefixes.iter().map(|prefix| reply(&sample, prefix.targets)).collect();
    let first = "<step>a</step><step>b</step>";
    assert_eq!(texts, [first.to_owned(), format!("{first}<answer>Answer: 1</answer><|im_end|>")]);
    assert_eq!(
        sample.prefixes.iter().map(|prefix| (prefix.label, prefix.weight)).collect::<Vec<_>>(),
        [(0.5, 1.0), (1.0, 2.0)]
    );
    // A solution that ends before its answer is not ended.
    let sample = steps("a<prm>", "[0.25]", "").unwrap().samples.remove(0);
    assert_eq!(
        (reply(&sample, sample.targets.len()), labels(&sample)),
        ("<step>a</step>".to_owned(), vec![(sample.targets.len(), 0.25)])
    );
    let hardened = |threshold: f32| {
        let mut data = steps("a<prm>", "[0.25]", "").unwrap();
        data.harden(|label| label > threshold);
        labels(&data.samples[0])[0].1
    };
    assert_eq!((hardened(0.0), hardened(0.25)), (1.0, 0.0));
    // Truncation leaves no label of a text that is cut.
    // The last token is a target of the one before it, and need not be read.
    let limit = sample.tokens.len() - 2;
    let short = DatasetOptions { length: Length { tokens: limit, truncate: true }, ..with(SampleKind::Steps) };
    let text = r#"{"conversations": [{"from": "human", "value": "Question: q\nProcess: a<prm>b<prm>"}, {"from": "gpt", "value": [0.5, 1]}]}"#;
    let cut = read(text, &short).unwrap_err().to_string();
    assert!(cut.contains("no target is left"), "{cut}");

    let refused = |result: Result<Dataset, DataError>| result.unwrap_err().to_string();
    assert!(refused(steps("a<prm>", "[1, 0]", "")).contains("2 labels, expected 1"));
    assert!(refused(steps("a<prm>", "[2]", "")).contains("label 1 is 2"));
    assert!(refused(steps("a", "[]", "")).contains("no `<prm>`"));
    assert!(refused(read(candidates, &with(SampleKind::Steps))).contains("no `conversations`"));
    let other = r#"{"conversations": [{"from": "human", "value": "a<prm>"}, {"from": "gpt", "value": [1]}]}"#;
    assert!(refused(read(other, &with(SampleKind::Steps))).contains("`Question: …` and `Process: …`"));
    let turns = r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#;
    assert!(refused(read(turns, &with(SampleKind::Outcome))).contains("`mmprm samples --ranking`"));
}
