use std::path::Path;

use super::*;

const TEXT: &str = "</script><script>alert(1)</script><!-- ]]> <img src=x onerror=alert(2)> \" ' $x<y$";

fn inputs(files: &[(&str, String)]) -> Vec<Input> {
    let folder = tempfile::tempdir().unwrap();
    let read = |(name, text): &(&str, String)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        input::read(&path).unwrap()
    };
    files.iter().flat_map(read).collect()
}

fn candidates(text: &str) -> String {
    json!([{"id": text, "question": text, "family": text, "correct_answer": text, "solutions_splits": [[text], ["Answer: 2"]],
        "labels": [0, 1], "prm_scores": [[0.1], [0.9]], "step_labels": [[0], [1]], "step_errors": [text, null],
        "image_path": "<img>.png"}])
    .to_string()
}

#[test]
fn no_text_of_an_input_is_markup() {
    let tree = json!({"question": TEXT, "answer": TEXT, "mc_value": 0.5, "visit_count": 0, "correct_rollouts": [], "id": TEXT,
        "incorrect_rollouts": [[TEXT]], "children": [{"partial_solution": [TEXT], "mc_value": 0.0, "visit_count": 0,
        "correct_rollouts": [], "incorrect_rollouts": [], "children": []}]});
    let bench = json!({"bench": TEXT, "rows": [{"work": TEXT, "unit": TEXT, "model": TEXT}], TEXT: TEXT});
    let inputs = inputs(&[("c.json", candidates(TEXT)), ("t.json", tree.to_string()), ("b.json", bench.to_string())]);
    let page = report(&inputs, &ReportOptions { title: Some(TEXT.to_owned()), ..ReportOptions::default() });
    let html = &page.html;
    assert_eq!((html.matches("<script").count(), html.matches("</script>").count()), (2, 2));
    for banned in ["<img", "<!-- ", "]]> ", "alert(1)<"] {
        assert!(!html.contains(banned), "{banned}");
    }
    assert_eq!((page.summary.problems, page.summary.trees, page.summary.images_missing), (1, 1, 1));
    // The data reads back as it was.
    let data = html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["problems"][0]["id"], TEXT);
    assert!(data["problems"][0]["tree"].is_object());
    assert!(data["math"][0].as_str().unwrap().contains("<mo>&lt;</mo>"));
}

#[test]
fn the_same_inputs_make_the_same_page_and_options_apply() {
    let files = [("c.json", candidates("x")), ("log.jsonl", "{\"step\": 1, \"loss\": 0.5}\n".to_owned())];
    let inputs = inputs(&files);
    let page = |options: &ReportOptions| report(&inputs, options).html;
    let usual = page(&ReportOptions::default());
    assert_eq!(usual, page(&ReportOptions::default()));
    assert!(usual.contains("Report: c.json, log.jsonl") && usual.contains("Training: log.jsonl"));
    let named = page(&ReportOptions {
        title: Some("Mine".into()),
        by: Some("correct_answer".into()),
        rule: Some(Selection::Majority),
        ..ReportOptions::default()
    });
    assert!(named.contains("<title>Mine</title>") && named.contains("\"by\":\"correct_answer\""));
    assert!(named.contains("\"rule\":0"));
}

#[test]
fn many_texts_are_compressed_and_read_back() {
    let steps: Vec<String> = (0..12_000).map(|at| format!("Step {at} {TEXT} and what follows from it.")).collect();
    let record = json!([{"question": "q", "solutions_splits": [steps]}]);
    let page = report(&inputs(&[("c.json", record.to_string())]), &ReportOptions::default());
    assert!(page.html.len() < 400_000, "{}", page.html.len());
    let data = page.html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let packed = STANDARD.decode(data["packed"].as_str().unwrap()).unwrap();
    let texts: Value = serde_json::from_reader(flate2::read::ZlibDecoder::new(&packed[..])).unwrap();
    // The question, the steps and the answer.
    assert_eq!(texts["texts"].as_array().unwrap().len(), steps.len() + 2);
    assert!(data.get("texts").is_none() && texts["math"].is_array());
}

#[test]
fn images_are_found_below_the_data_root_only() {
    let folder = tempfile::tempdir().unwrap();
    let save = |path: &Path| image::RgbImage::from_pixel(8, 8, image::Rgb([200, 10, 10])).save(path).unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    save(&folder.path().join("data/a.png"));
    save(&folder.path().join("b.png"));
    let record = |image: &str| json!({"question": "q", "solutions_splits": [], "image_path": image});
    let file = folder.path().join("c.json");
    std::fs::write(
        &file,
        json!([record("a.png"), record("../b.png"), record("none.png"), record("a.png")]).to_string(),
    )
    .unwrap();
    let inputs = input::read(&file).unwrap();
    let options = ReportOptions { data_root: Some(folder.path().join("data")), ..ReportOptions::default() };
    let page = report(&inputs, &options);
    assert_eq!((page.summary.images, page.summary.images_missing), (1, 2));
    assert_eq!(page.html.matches("data:image/").count(), 1);
}
