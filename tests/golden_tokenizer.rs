//! Token ids of the GGUF vocabulary against those of MM-PRM's tokenizers.

mod support;

use mmprm::engine::{Model, ModelOptions};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::no_progress;
use support::{cases, golden, golden_path, ids, json, name};

#[test]
fn golden_token_ids_agree_for_every_string() {
    let Some(path) = golden_path("tokenizer/cases.json") else { return };
    let cases_file = json(&path);
    let mut compared = 0;
    for folder in cases("tokenizer") {
        let tokenizer = name(&folder);
        let Some(expected) = cases_file["ids"].get(&tokenizer) else { continue };
        // The tiny checkpoint of the same architecture, with this tokenizer instead of its own.
        let kind = tokenizer.split('_').next().unwrap();
        let checkpoint = tempfile::TempDir::new().unwrap();
        for source in [golden().join("ckpt").join(kind), folder] {
            for entry in std::fs::read_dir(source).unwrap() {
                let entry = entry.unwrap().path();
                std::fs::copy(&entry, checkpoint.path().join(name(&entry))).unwrap();
            }
        }
        let output = tempfile::TempDir::new().unwrap();
        let plan = plan(checkpoint.path(), output.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
        plan.write(&mut no_progress).unwrap();
        let model =
            Model::load(&plan.files[0].path, ModelOptions { vocab_only: true, ..ModelOptions::default() }).unwrap();
        for (string, expected) in cases_file["strings"].as_array().unwrap().iter().zip(expected.as_array().unwrap()) {
            let string = string.as_str().unwrap();
            assert_eq!(model.tokenize(string, true).unwrap(), ids(expected), "{tokenizer}: {string:?}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no golden case was found");
    println!("{compared} strings compared");
}
