//! Reward models that are none, or that do not fit their form: refused in one sentence before any weights are loaded. The files
//! here have no weights at all, so that whatever reads them is another error.
#![cfg(unix)]

mod support;

use std::path::Path;

use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue, GgufWriter, Metadata};
use serde_json::json;
use support::{Sandbox, demo};

const FORM: &str = "mmprm.prm.form";

/// A sandbox with one problem, and the demo's models and a text model without weights.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let record = json!([{"question": "1 + 1?", "solutions_splits": [["It is 2."]], "labels": [1]}]);
    sandbox.write("c.json", record.to_string());
    sandbox.write("p.json", json!([{"question": "1 + 1?", "correct_answer": "2"}]).to_string());
    for name in ["policy", "prm", "mmproj"] {
        weightless(&sandbox, &sandbox.path(&format!("{name}.gguf")), &format!("no-{name}.gguf"), |_| {});
    }
    sandbox
}

/// Writes the metadata of a file, changed, as a file without tensors.
fn weightless(sandbox: &Sandbox, from: &Path, name: &str, change: impl FnOnce(&mut Metadata)) {
    let mut metadata = GgufFile::open(from).unwrap().metadata().clone();
    change(&mut metadata);
    GgufWriter::create(&sandbox.path(name), &metadata, &[]).unwrap().finish().unwrap();
}

/// Converts a tiny checkpoint of a family and keeps its metadata.
fn family(sandbox: &Sandbox, name: &str) {
    let source = demo().join("../tests/golden/families").join(name).canonicalize().unwrap();
    sandbox.run(&format!("convert {} -o families --type f16 --quiet", source.display())).done();
    weightless(sandbox, &sandbox.path(&format!("families/{name}-f16.gguf")), &format!("no-{name}.gguf"), |_| {});
}

fn set(metadata: &mut Metadata, key: &str, value: impl Into<GgufValue>) {
    metadata.retain(|(known, _)| known != key);
    metadata.push((key.to_owned(), value.into()));
}

/// Checks that every command that takes a reward model refuses these arguments for the same reason, before the policy is loaded.
#[track_caller]
fn all_refuse(sandbox: &Sandbox, prm: &str, parts: &[&str]) {
    let problems = "--policy no-policy.gguf --problems p.json";
    for command in [
        format!("score --prm {prm} -i c.json -o x.json"),
        format!("search {problems} --prm {prm} --method beam -n 2 -o x.json"),
        format!("eval bench other {problems} --prm {prm} -n 2 -o x"),
        format!("solve --policy no-policy.gguf --prm {prm} -n 2 --interactive"),
    ] {
        sandbox.refuses(&command, 3, parts);
    }
}

#[test]
fn a_reward_model_without_weights_is_refused_for_them() {
    let sandbox = sandbox();
    sandbox.refuses("score --prm no-prm.gguf -i c.json -o x.json", 3, &["no-prm.gguf", "tensor", "missing"]);
}

#[test]
fn policies_and_models_of_text_are_no_reward_models() {
    let sandbox = sandbox();
    all_refuse(&sandbox, "no-policy.gguf", &["no-policy.gguf", "trained as a policy (mmprm.task)"]);
    for form in ["visualprm", "internvl2_5-training"] {
        all_refuse(&sandbox, &format!("no-policy.gguf --prm-form {form}"), &["no-policy.gguf", "trained as a policy"]);
    }
    for name in ["smollm2", "qwen2_5", "llama3", "mistral", "qwen2_5-vl", "internvl3"] {
        family(&sandbox, name);
        let file = format!("no-{name}.gguf");
        assert_eq!(sandbox.run(&format!("--json inspect {file}")).done().object()["prm_form"], json!(null), "{name}");
        all_refuse(&sandbox, &file, &[&file, "\"<prm>\"", "is this a process reward model"]);
    }
}

#[test]
fn shipped_policies_carry_no_form() {
    let sandbox = sandbox();
    let mut seen = 0;
    for entry in std::fs::read_dir(demo().join("models")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let file = GgufFile::open(&path).unwrap();
        let keys = ["mmprm.prm.form", "mmprm.prm.template", "mmprm.head.layers"].map(|key| file.get(key).is_some());
        if name.starts_with("policy") {
            assert_eq!(keys, [false; 3], "{name}");
            assert_eq!(file.get_str("mmprm.task").unwrap(), "policy");
            weightless(&sandbox, &path, "shipped.gguf", |_| {});
            all_refuse(&sandbox, "shipped.gguf", &["shipped.gguf", "trained as a policy"]);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn files_that_are_no_language_models_are_no_reward_models() {
    let sandbox = sandbox();
    for form in ["", "--prm-form trl", "--prm-form visualprm", "--prm-form implicit"] {
        all_refuse(&sandbox, &format!("no-mmproj.gguf {form}"), &["no-mmproj.gguf", "vision projector"]);
    }
    let prm = sandbox.path("prm.gguf");
    weightless(&sandbox, &prm, "adapter.gguf", |metadata| set(metadata, "general.type", "adapter"));
    all_refuse(&sandbox, "adapter.gguf", &["adapter.gguf", "adapter"]);
    sandbox.write("model.safetensors", [8, 0, 0, 0, 0, 0, 0, 0, b'{', b'}', 32, 32, 32, 32, 32, 32]);
    all_refuse(&sandbox, "model.safetensors", &["model.safetensors", "GGUF"]);
    all_refuse(&sandbox, "nowhere.gguf", &["nowhere.gguf", "No such file"]);
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let sandbox = sandbox();
    family(&sandbox, "qwen2-tokens");
    let model = sandbox.path("families/qwen2-tokens-f16.gguf");
    let form = sandbox.run("--json inspect no-qwen2-tokens.gguf").done().object()["prm_form"].clone();
    assert_eq!(form, "trl");
    let floats = |count: usize| GgufValue::Array(GgufArray::F32(vec![0.5; count]));
    let shape = |shape: [u32; 2]| GgufValue::Array(GgufArray::U32(shape.to_vec()));
    let refused = |change: &dyn Fn(&mut Metadata), parts: &[&str]| {
        weightless(&sandbox, &model, "head.gguf", change);
        all_refuse(&sandbox, "head.gguf", &[&["head.gguf"], parts].concat());
    };
    let head = |outputs: u32, inputs: u32| {
        move |metadata: &mut Metadata| {
            set(metadata, "mmprm.head.0.shape", shape([outputs, inputs]));
            set(metadata, "mmprm.head.0.weight", floats((outputs * inputs) as usize));
            set(metadata, "mmprm.head.0.bias", floats(outputs as usize));
        }
    };
    refused(&head(2, 32), &["32 inputs", "expected 64"]);
    refused(&head(1, 64), &["1 outputs", "output 1"]);
    refused(&|metadata| set(metadata, "mmprm.head.0.weight", floats(5)), &["mmprm.head.0.weight", "5"]);
    refused(&|metadata| metadata.retain(|(key, _)| key != "mmprm.head.0.shape"), &["mmprm.head.0.shape"]);
    refused(&|metadata| set(metadata, "mmprm.head.layers", 9_u32), &["mmprm.head.layers", "9"]);
    refused(&|metadata| metadata.retain(|(key, _)| !key.starts_with("mmprm.head")), &["no head", "trl"]);
    refused(&|metadata| metadata.retain(|(key, _)| key != FORM), &["mmprm.head.layers", "names no PRM form"]);
}

#[test]
fn forms_in_a_file_that_do_not_fit_it_are_refused() {
    let sandbox = sandbox();
    let prm = sandbox.path("prm.gguf");
    let own = "name = \"mine\"\n[text]\nbegin = \"{question}\\n\"\nstep = \"{step}<prm>{read}\"\nmarks = [\"<prm>\"]\n\
               [score]\nby = \"tokens\"\ntokens = [\"Yes\", \"No\"]\npositive = [\"Yes\"]\n";
    let refused = |(from, to): (&str, &str), parts: &[&str]| {
        assert!(own.contains(from), "{from}");
        weightless(&sandbox, &prm, "form.gguf", |metadata| {
            metadata.retain(|(key, _)| !key.starts_with("mmprm.prm."));
            set(metadata, FORM, own.replace(from, to));
        });
        all_refuse(&sandbox, "form.gguf", &[&["form.gguf"], parts].concat());
    };
    refused(("{step}", ""), &[FORM, "`text.step`", "{step} occurs 0 times"]);
    refused(("{read}", ""), &[FORM, "`text.step`", "{read} occurs 0 times"]);
    refused(("\"No\"]", "\"Perhaps not\"]"), &["\"Perhaps not\"", "mine"]);
    refused(("<prm>", "<no such mark>"), &["\"<no such mark>\"", "mine"]);
    let ratio = "by = \"logprob-ratio\"\nbeta = 0.1\ncumulative = true\n";
    let record = format!("{}{ratio}", &own[..own.find("by = ").unwrap()])
        .replace("<prm>{read}", "")
        .replace("marks = [\"<prm>\"]\n", "");
    weightless(&sandbox, &prm, "form.gguf", |metadata| {
        metadata.retain(|(key, _)| !key.starts_with("mmprm.prm."));
        set(metadata, FORM, record);
    });
    all_refuse(&sandbox, "form.gguf", &["--prm-reference is missing", "form.gguf"]);
    // A vocabulary without a beginning token.
    family(&sandbox, "qwen2_5");
    let record = own
        .replace("begin = \"", "begin = \"{bos}")
        .replace("<prm>", "<|im_end|>")
        .replace("\"Yes\"", "\"+\"")
        .replace("\"No\"", "\"-\"");
    weightless(&sandbox, &sandbox.path("no-qwen2_5.gguf"), "form.gguf", |metadata| set(metadata, FORM, record));
    all_refuse(&sandbox, "form.gguf", &["form.gguf", "beginning-of-sequence", "mine"]);
    for (other, value) in [("mmprm.prm.template", "internvl2_5-scoring"), ("mmprm.task", "implicit-prm")] {
        weightless(&sandbox, &prm, "form.gguf", |metadata| {
            metadata.retain(|(key, _)| !key.starts_with("mmprm.prm."));
            set(metadata, FORM, own);
            set(metadata, other, value);
        });
        all_refuse(&sandbox, "form.gguf", &["form.gguf", "two PRM forms", "mine", other]);
    }
}
