//! Importing data sets: for each set a file of its published form, with the fate of every field, and sources that are damaged.

#[path = "support/skips.rs"]
mod skips;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use mmprm::data::candidates;
use mmprm::data::import::sets::{SETS, Set};
use mmprm::data::import::{ImportError, ImportOptions, ImportSummary, import};
use mmprm::data::problem::Problems;
use serde_json::{Value, json};
use tempfile::TempDir;

fn png(shade: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::GrayImage::from_pixel(3, 2, image::Luma([shade])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A folder with a source and two images.
fn folder(source: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, shade) in [("a.png", 1), ("b.png", 2)] {
        std::fs::write(folder.path().join(name), png(shade)).unwrap();
    }
    let path = folder.path().join("source");
    std::fs::write(&path, source).unwrap();
    (folder, path)
}

fn run(path: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let options = ImportOptions { replaces: true, ..options.clone() };
    import(&[path.to_owned()], &path.with_file_name("out"), &options, &mut |_| true)
}

/// Imports lines of records; returns the summary and the records.
fn records(rows: &[Value]) -> (ImportSummary, Vec<Value>, TempDir) {
    let text = rows.iter().fold(String::new(), |text, row| text + &row.to_string() + "\n");
    let (folder, path) = folder(&text);
    let summary = run(&path, &ImportOptions::default()).unwrap();
    let records = serde_json::from_slice(&std::fs::read(&summary.output).unwrap()).unwrap();
    (summary, records, folder)
}

/// The only record of a row.
fn record(set: &str, row: &Value) -> Value {
    let (summary, mut records, _folder) = records(std::slice::from_ref(row));
    assert_eq!((summary.set, summary.records, summary.dropped.len()), (set, 1, 0), "{row}");
    let mut record = records.remove(0);
    for field in ["image_path", "image_paths"] {
        if let Some(value) = record.get_mut(field) {
            // Names are hashes of the content.
            let short = |path: &Value| json!(path.as_str().unwrap().starts_with("images/"));
            *value = value.as_array().map_or_else(|| short(value), |paths| paths.iter().map(short).collect());
        }
    }
    record
}

#[test]
fn each_set_is_recognised_and_the_fate_of_every_field_is_known() {
    let vista = json!({"pid": "7", "question": "How long?", "image": "a.png", "decoded_image": null, "choices": ["1", "2"],
        "unit": "cm", "precision": 1.0, "answer": "2", "question_type": "multi_choice", "answer_type": "text",
        "metadata": {"skills": ["x"]}, "query": "Hint: …\nQuestion: How long?\nChoices:\n(A) 1\n(B) 2"});
    assert_eq!(
        record("mathvista", &vista),
        json!({"id": "7", "question": vista["query"], "question_original": "How long?", "correct_answer": "2", "image_path": true,
            "choices": ["1", "2"], "unit": "cm", "precision": 1.0, "question_type": "multi_choice", "answer_type": "text",
            "metadata": {"skills": ["x"]}})
    );
    let verse = json!({"sample_index": "1", "problem_index": "1", "problem_version": "Text Dominant", "question": "q",
        "image": "a.png", "answer": "A", "question_type": "multi-choice", "query_wo": "wo", "query_cot": "cot",
        "metadata": {"split": "testmini", "source": "GeoQA", "subject": "Plane Geometry", "subfield": "Angle"}});
    assert_eq!(
        record("mathverse", &verse),
        json!({"id": "1", "question": "cot", "question_original": "q", "correct_answer": "A", "image_path": true,
            "subject": "Plane Geometry", "subfield": "Angle", "source": "GeoQA", "metadata": verse["metadata"],
            "problem_index": "1", "problem_version": "Text Dominant", "question_type": "multi-choice", "query_wo": "wo",
            "query_cot": "cot"})
    );
    let vision = json!({"id": "4", "question": "How many?\n<image1>", "options": ["A", "B"], "answer": "B", "solution": null,
        "level": 1, "subject": "counting", "image": "a.png", "decoded_image": null});
    assert_eq!(
        record("mathvision", &vision),
        json!({"id": "4", "question": "How many?\n<image1>", "correct_answer": "B", "image_path": true, "options": ["A", "B"],
            "solution": null, "level": 1, "subject": "counting"})
    );
    let olympiad = json!({"id": 12, "subfield": "Geometry", "context": "Given a circle.", "question": "Find r.", "solution": ["s"],
        "final_answer": ["2", "3"], "is_multiple_answer": true, "unit": null, "answer_type": "Numerical", "error": "1e-1,1e-2",
        "image_1": "a.png", "image_2": "b.png", "image_3": null});
    assert_eq!(
        record("olympiadbench", &olympiad),
        json!({"id": "12", "question": "Given a circle.\nFind r.", "correct_answer": "2, 3", "precision": "1e-1",
            "tolerance": "1e-1,1e-2", "image_paths": [true, true], "subfield": "Geometry", "context": "Given a circle.",
            "solution": ["s"], "is_multiple_answer": true, "unit": null, "answer_type": "Numerical"})
    );
    let mmk12 = json!({"id": "x", "question": "q", "answer": "$2$", "image": "a.png"});
    let expected = json!({"id": "x", "question": "q", "correct_answer": "$2$", "image_path": true});
    assert_eq!(record("mmk12", &mmk12), expected);
    let seed = json!({"id": "x", "question": "q", "correct_answer": "$2$", "image_path": "a.png"});
    assert_eq!(record("mmk12", &seed), expected);
    let math = json!({"problem": "q", "solution": "s", "answer": "1", "subject": "Algebra", "level": 2, "unique_id": "test/1"});
    assert_eq!(
        record("math500", &math),
        json!({"id": "test/1", "question": "q", "correct_answer": "1", "solution": "s", "subject": "Algebra", "level": 2})
    );
    let gsm = json!({"question": "q", "answer": "600 + 600\n#### 1,200"});
    assert_eq!(record("gsm8k", &gsm), json!({"question": "q", "correct_answer": "1200", "solution": "600 + 600"}));
}

#[test]
fn step_labels_become_those_of_a_candidate() {
    let process = json!({"id": "gsm8k-0", "generator": "m", "problem": "q", "steps": ["a", "b", "c"], "final_answer_correct": false,
        "label": 1});
    assert_eq!(
        record("processbench", &process),
        json!({"id": "gsm8k-0", "question": "q", "solutions_splits": [["a", "b", "c"]], "step_labels": [[1, 0]], "labels": [0],
            "generator": "m"})
    );
    let prmbench = json!({"original_question": "o", "modified_question": "q", "original_process": ["x"],
        "modified_process": ["a", "b", "c"], "modified_steps": [2], "error_steps": [2], "reason": "r", "idx": "i", "question": "o",
        "classification": "circular"});
    assert_eq!(
        record("prmbench", &prmbench),
        json!({"id": "circular_i", "question": "q", "solutions_splits": [["a", "b", "c"]], "step_labels": [[1, 0, 1]],
            "original_question": "o", "original_process": ["x"], "modified_steps": [2], "reason": "r", "classification": "circular"})
    );
    let visual = json!({"question": "q <image1>", "image": ["a.png"], "data_source": "MathVision", "answer": "2",
        "response": {"steps": ["a", "b", "c"], "process_correctness": [1, 0, -1], "model": "m"}});
    assert_eq!(
        record("visualprocessbench", &visual),
        json!({"question": "q <image1>", "solutions_splits": [["a", "b", "c"]], "step_labels": [[1, null, 0]], "response_model": "m",
            "data_source": "MathVision", "answer": "2", "image_path": true})
    );
    let prm800k = json!({"labeler": "l", "timestamp": "t", "question": {"problem": "q", "ground_truth_answer": "3"},
        "label": {"finish_reason": "found_error", "steps": [
            {"completions": [{"text": "x", "rating": 1}, {"text": "a", "rating": 1}], "chosen_completion": 1, "human_completion": null},
            {"completions": [{"text": "y", "rating": -1}], "chosen_completion": null, "human_completion": {"text": "b"}},
            {"completions": [{"text": "c", "rating": 0}], "chosen_completion": 0, "human_completion": null},
            {"completions": [{"text": "d", "rating": -1}], "chosen_completion": null, "human_completion": null}]}});
    assert_eq!(
        record("prm800k", &prm800k),
        json!({"question": "q", "correct_answer": "3", "solutions_splits": [["a", "b", "c", "d"]], "step_labels": [[1, 1, null, 0]],
            "labeler": "l", "timestamp": "t"})
    );
    let shepherd = json!({"input": "How many? Step 1: 1 + 1 = 2 ки\nStep 2: The answer is: 3 ки", "task": "GSM8K",
        "label": "How many? Step 1: 1 + 1 = 2 +\nStep 2: The answer is: 3 -"});
    assert_eq!(
        record("math-shepherd", &shepherd),
        json!({"question": "How many?", "solutions_splits": [["Step 1: 1 + 1 = 2", "Step 2: The answer is: 3"]],
            "step_labels": [[1, 0]], "task": "GSM8K"})
    );
    let omega = json!({"question": "q?", "final_answer": "64", "question_id": "x", "reasoning_steps": [
        {"solution_prefix": "q?", "mc_value": 0.75},
        {"solution_prefix": "q?\n\na", "mc_value": 0.5},
        {"solution_prefix": "q?\n\na\n\nb", "mc_value": 0.0},
        {"solution_prefix": "q?\n\na\n\nc", "mc_value": 0.25},
        {"solution_prefix": "q?\n\na\n\nc", "mc_value": 0.75},
        {"solution_prefix": "q?\n\nd", "mc_value": 1.0}]});
    assert_eq!(
        record("omegaprm", &omega),
        json!({"question_id": "x", "question": "q?", "correct_answer": "64", "solutions_splits": [["a", "b"], ["a", "c"], ["d"]],
            "step_labels": [[1, 0], [1, 1], [1]], "step_mc_values": [[0.5, 0.0], [0.5, 0.5], [1.0]]})
    );
    for (field, value, reason) in [
        ("mc_value", json!(1.5), "unknown step label"),
        ("mc_value", json!(null), "unknown step label"),
        ("solution_prefix", json!("other"), "a prefix without the question"),
        ("solution_prefix", json!(3), "a prefix without the question"),
    ] {
        let mut row = omega.clone();
        row["reasoning_steps"][2][field] = value;
        row["question_id"] = json!("y");
        let (summary, _, _folder) = records(&[omega.clone(), row]);
        assert_eq!(summary.dropped[reason], 1, "{field}");
    }
    let (summary, _, _folder) = records(&[process.clone(), {
        let mut row = prmbench.clone();
        row["error_steps"] = json!(["two"]);
        row
    }]);
    assert_eq!(summary.dropped.len(), 1, "of another set, so not its rows: {:?}", summary.dropped);
    let (summary, labelled, _folder) = records(&[
        {
            let mut row = prmbench.clone();
            row["error_steps"] = json!([2.0]);
            row
        },
        {
            let mut row = prmbench.clone();
            (row["idx"], row["error_steps"]) = (json!("j"), json!([null]));
            row
        },
    ]);
    assert_eq!((&labelled[0]["step_labels"], summary.dropped["unknown step label"]), (&json!([[1, 0, 1]]), 1));
    let (summary, _, _folder) = records(&[process]);
    assert!(summary.output.ends_with("solutions.json") && candidates::load(&summary.output).unwrap().len() == 1);
}

#[test]
fn rows_that_cannot_be_used_are_counted_by_reason() {
    let good = json!({"id": "1", "question": "q", "answer": "a", "image_path": "a.png"});
    let with = |field: &str, value: Value| {
        let mut row = good.clone();
        row["id"] = json!(field.to_owned() + &value.to_string());
        row[field] = value;
        row
    };
    let (summary, records, folder) = records(&[
        good.clone(),
        with("question", json!("  ")),
        with("image_path", json!("none.png")),
        with("image_path", json!("../a.png")),
        with("image_path", json!("source")),
        with("image_path", json!(7)),
        good.clone(),
        with("answer", Value::Null),
        with("image_path", json!("a.png")),
    ]);
    let dropped = json!({"no question": 1, "missing image": 1, "image outside the data root": 1, "unreadable image": 1,
        "image of an unknown form": 1, "duplicate id": 1});
    assert_eq!(json!(summary.dropped), dropped);
    assert_eq!(
        (summary.rows, summary.records, summary.without_answer, summary.images),
        (9, 3, 1, 1),
        "equal images are one file"
    );
    assert!(summary.examples["missing image"][0].contains("none.png"), "{:?}", summary.examples);
    assert_eq!(records.len(), 3);
    let problems = Problems::load(&summary.output, None).unwrap();
    assert!(problems.root.join(&problems.items[0].images[0]).is_file());
    drop(folder);
}

#[test]
fn columns_can_be_mapped_and_every_form_of_source_is_read() {
    let mapping = [("question", "prompt"), ("answer", "gold"), ("image", "pic"), ("unit", "u")];
    let options = ImportOptions {
        set: Set::named("csv"),
        mapping: mapping.iter().map(|(field, column)| ((*field).to_owned(), (*column).to_owned())).collect(),
        ..ImportOptions::default()
    };
    let expected =
        json!([{"question": "q, \"x\"", "correct_answer": "2", "unit": "cm", "image_path": "p", "kept": "k"}]);
    let row = json!({"prompt": "q, \"x\"", "gold": "2", "pic": "a.png", "u": "cm", "kept": "k"});
    for source in [
        "\u{feff}prompt,gold,pic,u,kept\n\"q, \"\"x\"\"\",2,a.png,cm,k\n".to_owned(),
        format!("[{row}]"),
        format!("\n{row}\n\n"),
    ] {
        let (_folder, path) = folder(&source);
        let summary = run(&path, &options).unwrap();
        let mut records: Value = serde_json::from_slice(&std::fs::read(&summary.output).unwrap()).unwrap();
        records[0]["image_path"] = json!("p");
        assert_eq!(records, expected, "{source}");
    }
}

#[test]
fn sources_that_are_no_data_are_refused_with_their_place() {
    let error = |source: &str| {
        let (_folder, path) = folder(source);
        let error = run(&path, &ImportOptions::default()).unwrap_err().to_string();
        assert!(!path.with_file_name("out").join("problems.json").exists(), "nothing is written");
        error
    };
    assert!(error("").ends_with("found no rows"));
    assert!(error("[]").ends_with("found no rows"));
    assert!(error("{\"x\": 1}").contains("its columns (x) are of no known set"));
    assert!(error("{\"question\": \"q\"}\n{\"question\": ").contains("source:2: expected one object a line"));
    assert!(error("[{\"question\": \"q\"}, 3]").contains("source:1: expected an array of objects"));
    assert!(error("a,b\n1\n").contains("expected CSV with a header"), "{}", error("a,b\n1\n"));
    assert!(error("PAR1 but no more").contains("Parquet"));
    assert!(matches!(run(Path::new("no/such/file"), &ImportOptions::default()), Err(ImportError::File(_))));
}

#[test]
fn nothing_is_overwritten_and_nothing_useless_is_written() {
    let row = json!({"question": "q", "answer": "1", "gold": "2"});
    let (folder, path) = folder(&row.to_string());
    let output = folder.path().join("out");
    let again = |options: &ImportOptions| import(std::slice::from_ref(&path), &output, options, &mut |_| true);
    again(&ImportOptions::default()).unwrap();
    assert!(matches!(again(&ImportOptions::default()), Err(ImportError::Exists { is_source: false, .. })));
    let written = output.join("problems.json");
    let onto_itself =
        import(&[written], &output, &ImportOptions { replaces: true, ..Default::default() }, &mut |_| true);
    assert!(matches!(onto_itself, Err(ImportError::Exists { is_source: true, .. })));
    let set = Set::named("json");
    let mapped = |column: &str| {
        let mapping = vec![("answer".to_owned(), column.to_owned())];
        again(&ImportOptions { set, mapping, replaces: true, ..Default::default() })
    };
    assert!(mapped("none").unwrap_err().to_string().ends_with("no row has the column `none`"));
    let problems: Value = serde_json::from_slice(&std::fs::read(mapped("gold").unwrap().output).unwrap()).unwrap();
    assert_eq!(problems[0], json!({"question": "q", "correct_answer": "2", "answer": "1"}), "no column is lost");
    std::fs::write(&path, json!({"question": " ", "answer": "1", "id": "7"}).to_string()).unwrap();
    let error = again(&ImportOptions { set, replaces: true, ..Default::default() }).unwrap_err();
    assert_eq!(error.to_string(), "none of the 1 rows can be used: no question (1)");
    assert!(matches!(
        import(&["/dev/zero".into()], &output, &ImportOptions::default(), &mut |_| true),
        Err(ImportError::Syntax { .. })
    ));
}

/// A zip archive with these members.
fn archive(path: &Path, members: &[(&str, &[u8])]) {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn images_are_read_from_archives_beside_the_source() {
    let rows: String = ["images/c.png", "d.png", "deep/e.png", "a.png", "f.png", "two.png", "text.png"]
        .iter()
        .map(|image| json!({"id": image, "question": "q", "answer": "1", "image_path": image}).to_string() + "\n")
        .collect();
    let (folder, path) = folder(&rows);
    let zip = folder.path().join("images.zip");
    let c = png(3);
    let members: [(&str, &[u8]); 8] = [
        ("images/c.png", &c),
        ("set/images/d.png", &png(4)),
        ("e.png", &png(5)),
        ("a.png", b"not the one beside the source"),
        ("x/two.png", &png(6)),
        ("y/two.png", &png(7)),
        ("text.png", b"no image"),
        ("../../outside.png", &png(8)),
    ];
    archive(&zip, &members);
    let import = |sources: &[PathBuf]| {
        import(
            sources,
            &folder.path().join("out"),
            &ImportOptions { replaces: true, ..Default::default() },
            &mut |_| true,
        )
    };
    for sources in [[path.clone(), zip.clone()], [zip.clone(), path.clone()]] {
        let summary = import(&sources).unwrap();
        assert_eq!(
            json!(summary.dropped),
            json!({"missing image": 1, "unreadable image": 2}),
            "{:?}",
            summary.examples
        );
        assert_eq!((summary.records, summary.images), (4, 4));
        let problems = Problems::load(&summary.output, None).unwrap();
        assert_eq!(std::fs::read(problems.root.join(&problems.items[0].images[0])).unwrap(), c);
        let named = summary.examples["unreadable image"].join(" ");
        assert!(named.contains("2 members of the archive end in two.png"), "{named}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5, "nothing else is unpacked");
    assert!(matches!(import(std::slice::from_ref(&zip)), Err(ImportError::Empty { .. })));
    // A flipped byte anywhere is refused, or read as other data: never a crash.
    let whole = std::fs::read(&zip).unwrap();
    for at in (0..whole.len()).step_by(17) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&zip, &damaged).unwrap();
        let _ = import(&[path.clone(), zip.clone()]);
    }
    std::fs::write(&zip, &whole[..whole.len() / 2]).unwrap();
    let error = import(&[path.clone(), zip.clone()]).unwrap_err().to_string();
    assert!(error.contains("images.zip: expected a zip archive of images"), "{error}");
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_member_larger_than_an_image_may_be_is_refused() {
    use std::io::Write;
    let (folder, path) = folder(&json!({"question": "q", "answer": "1", "image_path": "bomb.png"}).to_string());
    let bomb = folder.path().join("bomb.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&bomb).unwrap());
    zip.start_file("bomb.png", zip::write::SimpleFileOptions::default()).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..257).for_each(|_| zip.write_all(&zeros).unwrap());
    zip.finish().unwrap();
    assert!(std::fs::metadata(&bomb).unwrap().len() < 1 << 20);
    let error =
        import(&[path, bomb], &folder.path().join("out"), &ImportOptions::default(), &mut |_| true).unwrap_err();
    assert_eq!(error.to_string(), "none of the 1 rows can be used: unreadable image (1)");
}

#[test]
fn names_of_sets_are_distinct_and_known() {
    for set in &SETS {
        assert!(std::ptr::eq(Set::named(set.name).unwrap(), set));
        assert!(!set.about.is_empty());
    }
    assert_eq!(Set::named("mm-k12").unwrap().name, "mmk12");
    assert!(Set::named("imagenet").is_none());
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// A file of Hugging Face's form: `{id, question, answer, image: {bytes, path}, level}`, a row group of two rows and one of one.
    fn write(path: &Path) {
        let schema = "message m { required int64 id; required binary question (UTF8); optional binary answer (UTF8);
            optional group image { optional binary bytes; optional binary path (UTF8); } }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap();
        for rows in [[1_i64, 2].as_slice(), &[3]] {
            let mut group = writer.next_row_group().unwrap();
            let texts =
                |text: &str| rows.iter().map(|id| ByteArray::from(format!("{text}{id}").as_str())).collect::<Vec<_>>();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(rows, None, None).unwrap();
            column.close().unwrap();
            let images: Vec<ByteArray> = rows.iter().map(|_| ByteArray::from(png(9))).collect();
            for (values, levels) in
                [(texts("q"), None), (texts("a"), Some(1)), (images, Some(2)), (texts("p"), Some(2))]
            {
                let mut column = group.next_column().unwrap().unwrap();
                let levels = levels.map(|level| vec![level; rows.len()]);
                column.typed::<ByteArrayType>().write_batch(&values, levels.as_deref(), None).unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn images_inside_a_parquet_file_are_written_once() {
        let (_folder, path) = folder("");
        write(&path);
        let summary = run(&path, &ImportOptions::default()).unwrap();
        assert_eq!((summary.set, summary.records, summary.images), ("mmk12", 3, 1));
        let problems = Problems::load(&summary.output, None).unwrap();
        assert_eq!((problems.items[2].id.as_str(), problems.items[2].answer.as_str()), ("3", "a3"));
        assert_eq!(std::fs::read(problems.root.join(&problems.items[0].images[0])).unwrap(), png(9));
        let limited = ImportOptions { limit: Some(2), ..ImportOptions::default() };
        assert_eq!(run(&path, &limited).unwrap().records, 2);
    }

    #[test]
    fn damaged_parquet_is_an_error_that_names_the_file() {
        let (_folder, path) = folder("");
        write(&path);
        let whole = std::fs::read(&path).unwrap();
        for cut in [4, 5, 20, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = run(&path, &ImportOptions::default()).unwrap_err().to_string();
            assert!(error.contains("source: expected a Parquet file"), "{cut}: {error}");
        }
        // A flipped byte anywhere is refused, or read as other data: never a crash.
        for at in (0..whole.len()).step_by(2) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&path, &damaged).unwrap();
            let _ = run(&path, &ImportOptions::default());
        }
    }
}

/// Data that is not in the repository.
fn data() -> Option<PathBuf> {
    let root = std::env::var_os("MMPRM_DATA").map(PathBuf::from);
    if root.is_none() {
        skips::skip("MMPRM_DATA is not set");
    }
    root
}

#[test]
fn published_files_are_imported_whole() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (source, set, count) in [("math-vision/testmini.jsonl", "mathvision", 304), ("mm-k12/k12.json", "mmk12", 500)] {
        let output = folder.path().join(set);
        let summary = import(&[data.join(source)], &output, &ImportOptions::default(), &mut |_| true).unwrap();
        assert_eq!((summary.set, summary.records, summary.without_answer), (set, count, 0), "{:?}", summary.dropped);
        let problems = Problems::load(&summary.output, None).unwrap();
        let with_image = |problem: &mmprm::data::Problem| problems.root.join(&problem.images[0]).is_file();
        assert!(problems.items.len() == count && problems.items.iter().all(with_image));
    }
}

#[test]
fn openrs_annotations_are_imported_whole() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = data.join("prm-formats/openr_math_aps.jsonl");
    let summary = import(&[source], folder.path(), &ImportOptions::default(), &mut |_| true).unwrap();
    assert_eq!((summary.set, summary.records, summary.dropped.len()), ("omegaprm", 3, 0));
    let sets = candidates::load(&summary.output).unwrap();
    assert!(
        sets.iter().all(|set| set.solutions.len() > 5 && set.solutions.iter().flatten().all(|step| !step.is_empty()))
    );
}

#[test]
fn pools_of_verdicts_have_their_published_accuracies() {
    let Some(data) = data() else { return };
    for (pool, random, any) in [("mathvista", 0.263, 0.788), ("mathvision", 0.131, 0.694)] {
        let sets = candidates::load(&data.join(format!("bon/{pool}_pool.jsonl"))).unwrap();
        let report = mmprm::eval::bon::report(&sets, mmprm::eval::bon::BonOptions::default());
        let accuracy = |name: &str| report.methods.iter().find(|method| method.name == name).unwrap().accuracy;
        approx::assert_abs_diff_eq!(accuracy("random"), random, epsilon = 0.0005);
        approx::assert_abs_diff_eq!(accuracy("oracle"), any, epsilon = 0.0005);
    }
}
