//! `mmprm bench` and `mmprm doctor` on small models: what they print, not their speed.
#![cfg(unix)]

mod support;

use mmprm::engine::memory::{MemoryNeeds, Workload};
use mmprm_quant::gguf::GgufFile;
use serde_json::{Value, json};
use support::{Run, Sandbox};

/// A small InternVL2.5: heads 64 wide, as in the real ones.
fn config() -> Value {
    json!({
        "model_type": "internvl_chat", "downsample_ratio": 0.5, "ps_version": "v2", "select_layer": -1,
        "llm_config": {"model_type": "internlm2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 4000, "max_position_embeddings": 4096},
        "vision_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 56, "patch_size": 14, "norm_type": "layer_norm", "qk_normalization": false, "qkv_bias": true},
    })
}

/// The sandbox with a synthetic pair in `m/`.
fn sandbox() -> (Sandbox, String) {
    let sandbox = Sandbox::with_demo();
    sandbox.write("tiny/config.json", config().to_string());
    sandbox.run("bench synth --shape tiny/config.json --type q4_k_m -o m").done();
    assert_eq!(sandbox.names("m"), ["mmproj-synth-tiny-f16.gguf", "synth-tiny-q4_k_m.gguf"]);
    (sandbox, "--model m/synth-tiny-q4_k_m.gguf --mmproj m/mmproj-synth-tiny-f16.gguf --repetitions 1".to_owned())
}

#[track_caller]
fn rows(run: &Run, bench: &str) -> Vec<(String, f64)> {
    let object = run.object();
    assert_eq!(object["bench"], bench);
    let row = |row: &Value| {
        assert_eq!((&row["backend"], &row["values"].as_array().unwrap().len()), (&json!("CPU"), &1));
        (row["work"].as_str().unwrap().to_owned(), row["median"].as_f64().unwrap())
    };
    object["rows"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn every_benchmark_runs_a_synthetic_pair() {
    let (sandbox, models) = sandbox();
    let run = sandbox.run(&format!("bench infer {models} --prompt 40 -n 8 --batch 1,3 --json")).done();
    let found = rows(&run, "infer");
    let works: Vec<&str> = found.iter().map(|(work, _)| work.as_str()).collect();
    assert_eq!(works, ["pp40 × 1", "tg8 × 1", "pp40 × 3", "tg8 × 3"]);
    assert!(found.iter().all(|(_, rate)| *rate > 0.0), "{found:?}");

    let run = sandbox.run(&format!("bench vision {models} --tiles 1 --json")).done();
    assert_eq!(rows(&run, "vision")[0].0, "llama.cpp, 56×56");

    let work = "--candidates 3 --steps 2 --step-tokens 5 --prefix 70";
    let run = sandbox.run(&format!("bench score {models} {work} --compare naive --json")).done();
    assert_eq!(rows(&run, "score").len(), 2);
    let object = run.object();
    assert!(object["agreement"]["largest_difference"].as_f64().unwrap() < 1e-9, "{object}");
    assert!(object["processed_per_unique"].as_f64().unwrap() >= 1.0, "{object}");
    assert!(object["first_score_s"].as_f64().unwrap() > 0.0 && object["speedup"]["median"].is_f64(), "{object}");
    if cfg!(target_os = "linux") {
        assert!(object["peak_memory_mib"].as_f64().unwrap() > 1.0, "{object}");
    }
    let people = sandbox.run(&format!("bench score {models} {work}")).done().out;
    assert!(people.starts_with("| model") && people.contains("| steps/s |"), "{people}");
}

#[test]
fn rollouts_decoded_one_by_one_equal_those_of_one_batch() {
    let (sandbox, models) = sandbox();
    let run = sandbox.run(&format!("bench infer {models} --prompt 70 -n 6 --batch 4 --compare naive --json")).done();
    assert_eq!(rows(&run, "infer").len(), 2);
    let agreement = &run.object()["agreement"];
    assert_eq!(agreement["rollouts"], 4);
    // Rounding depends on batch size; a different prompt would differ by far more.
    let difference = agreement["largest_difference"].as_f64().unwrap();
    assert!(difference < 0.5, "log-probabilities differ by {difference}");
}

#[test]
fn annotation_is_measured_on_the_mini_policy_of_the_source_tree() {
    let sandbox = Sandbox::with_demo();
    let work = "--limit 2 --rollouts 4 --rollout-budget 8 --max-tokens 120 --repetitions 1";
    let run = sandbox.run(&format!("bench annotate {work} --compare naive --json")).done();
    let found = rows(&run, "annotate");
    assert_eq!(found.len(), 4, "labels and rollouts per second, with and without prefix sharing");
    assert!(found.iter().all(|(_, rate)| *rate > 0.0), "{found:?}");
    let object = run.object();
    assert!(object["rows"][0]["file"].as_str().unwrap().ends_with("demo/models/policy-q8_0.gguf"));
    assert_eq!(object["agreement"]["trees"], 2);
    assert!(object["overhead"].as_f64().unwrap() > 0.0, "{object}");
    assert!(object["processed_per_unique"].as_f64().unwrap() >= 1.0, "{object}");
    sandbox.refuses(&format!("bench annotate {work} --compare naive --deterministic"), 2, &["--deterministic"]);
}

#[test]
fn planned_memory_is_what_llama_cpp_allocates() {
    let (sandbox, models) = sandbox();
    let needs = MemoryNeeds::of_files(
        &GgufFile::open(&sandbox.path("m/synth-tiny-q4_k_m.gguf")).unwrap(),
        Some(&GgufFile::open(&sandbox.path("m/mmproj-synth-tiny-f16.gguf")).unwrap()),
    )
    .unwrap();
    let config = mmprm_quant::hf::config::ModelConfig::read_file(&sandbox.path("tiny/config.json")).unwrap();
    assert_eq!(MemoryNeeds::of_shape(&config, mmprm_quant::quantize::QuantType::Q4_K_M).unwrap(), needs);
    for (command, setting) in [
        ("infer --prompt 8 -n 2 --batch 16", Workload::ROLLOUTS),
        ("score --candidates 1 --steps 1 --prefix 8", Workload::SCORES),
    ] {
        for cells in [1024, 8192] {
            let log = "--log llama.cpp=trace";
            let models = if command.starts_with("infer") {
                models.replace("--mmproj m/mmproj-synth-tiny-f16.gguf", "")
            } else {
                models.clone()
            };
            let run = sandbox.run(&format!("bench {command} {models} --context {cells} {log}"));
            assert_eq!(run.code, Some(0), "{run:?}");
            let buffers = |name: &str| -> f64 {
                let sizes = run.err.lines().filter_map(|line| line.split_once(name)?.1.trim().strip_suffix(" MiB"));
                sizes.map(|size| size.trim().parse::<f64>().unwrap()).sum()
            };
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            assert!((buffers("CPU KV buffer size =") - mib(needs.cache(cells))).abs() < 0.01, "{}", run.err);
            let found =
                buffers("sched_reserve:        CPU compute buffer size =") + buffers("CPU  output buffer size =");
            let planned = mib(needs.scratch(cells, &setting));
            assert!(
                (1.0..1.5).contains(&(planned / found)),
                "{command}, {cells} cells: {planned} MiB planned, {found} MiB allocated"
            );
        }
    }
}

#[test]
fn doctor_lists_what_fits_and_the_flags_for_a_model() {
    let sandbox = Sandbox::with_demo();
    let object =
        sandbox.run("doctor --gpu-memory 8GiB --model policy.gguf --mmproj mmproj.gguf --json").done().object();
    assert_eq!(object["fits"].as_array().unwrap().len(), 9);
    assert_eq!((&object["pair"]["together"], &object["pair"]["one_at_a_time"]), (&json!(false), &json!(true)));
    assert!(object["threads"].as_u64().unwrap() > 0 && object["backends"][0] == "cpu", "{object}");
    assert!(object["model"]["flags"].as_str().unwrap().contains("--context "), "{object}");
    let people = sandbox.run("doctor").done().out;
    assert!(people.contains("| internvl2_5-8b | q4_k_m |"), "{people}");
    sandbox.refuses("doctor --model absent.gguf", 3, &["absent.gguf"]);
    for wrong in ["doctor --gpu-memory 8", "doctor --mmproj mmproj.gguf"] {
        assert_eq!(sandbox.run(wrong).code, Some(2), "{wrong}");
    }
}

#[test]
fn doctor_says_what_of_the_models_here_fits_and_how_fast_they_decode() {
    let sandbox = Sandbox::with_demo();
    let object = sandbox.run("doctor --json").done().object();
    assert!(object["speed"]["alone"].as_f64().unwrap() > 0.0 && object["speed"]["together"].as_f64().unwrap() > 0.0);
    let models = object["models"].as_array().unwrap();
    let of = |end: &str| models.iter().find(|model| model["file"].as_str().unwrap().ends_with(end)).expect(end).clone();
    let policy = of("policy.gguf");
    assert_eq!((&policy["fits"], &policy["parallel"], &policy["cells"]), (&json!(true), &json!(16), &json!(8192)));
    assert!(policy["weights"].as_u64().unwrap() > 0 && policy["cache"].as_u64().unwrap() > 0, "{policy}");
    assert!(of("mini-mm-policy")["lora_training"].as_u64().unwrap() > 0);
    assert!(!models.iter().any(|model| model["file"].as_str().unwrap().contains("mmproj")), "{object}");

    let checkpoint = support::demo().join("checkpoints/mini-prm");
    let object = sandbox.run(&format!("doctor prm.gguf {} --no-speed --json", checkpoint.display())).done().object();
    assert!(object["models"].as_array().unwrap().len() == 2 && object["speed"].is_null(), "{object}");
    let people = sandbox.run("doctor --no-speed --gpu-memory 24GiB --model policy.gguf").done().out;
    let is_cpu_build = sandbox.run("version --json").done().object()["backends"] == json!(["cpu"]);
    assert_eq!(people.contains("--gpu-layers"), !is_cpu_build, "{people}");
    for term in ["weights:", "KV cache:", "parallel rollouts:", "LoRA training:", "fits:"] {
        assert!(people.lines().any(|line| line.trim_start().starts_with(term)), "{term}: {people}");
    }
    sandbox.refuses("doctor absent.gguf", 3, &["absent.gguf"]);
    sandbox.refuses("doctor mmproj.gguf", 3, &["mmproj.gguf"]);
}

#[test]
fn benchmarks_find_the_demo_or_say_where_they_looked() {
    let infer = "bench infer --repetitions 1 --batch 1 --prompt 8 -n 4";
    let sandbox = Sandbox::with_demo();
    let sizes = "--shape --layers 1 --width 64 --heads 4 --keys 2 --inner 64 --vocabulary 64 --batch 2 --tokens 16";
    let trained = sandbox.run(&format!("bench train --repetitions 1 {sizes}")).done().out;
    assert!(trained.contains("± n/a"), "{trained}");
    std::fs::create_dir_all(sandbox.path("some/where")).unwrap();
    let copied = sandbox.path("some/mmprm");
    std::fs::copy(env!("CARGO_BIN_EXE_mmprm"), &copied).unwrap();
    let run = |folder: &std::path::Path| {
        let mut command = std::process::Command::new(&copied);
        command.args(infer.split(' ')).current_dir(folder).env_remove("MMPRM_LOG").output().unwrap()
    };
    // Above the program, and above the working directory.
    let output = run("/".as_ref());
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("± n/a"), "{output:?}");
    let found = sandbox.command(infer).current_dir(sandbox.path("some/where")).output().unwrap();
    assert!(found.status.success(), "{found:?}");
    std::fs::remove_file(sandbox.path("demo")).unwrap();
    let output = run("/".as_ref());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let place = copied.parent().unwrap().canonicalize().unwrap();
    let expected = format!("found no demo/models/ above {} or /; name a file with --model", place.display());
    assert!(output.status.code() == Some(2) && said.contains(&expected) && said.lines().count() == 1, "{said}");
}

#[test]
fn wrong_usage_exits_with_2_and_bad_files_with_3() {
    let sandbox = Sandbox::with_demo();
    for wrong in [
        "bench",
        "bench infer --repetitions 0",
        "bench infer --batch 0",
        "bench infer --batch 200",
        "bench score --compare clever",
        "bench score --steps 0",
        "bench vision --mmproj mmproj.gguf",
        "bench synth --shape internvl2_5-8b",
    ] {
        assert_eq!(sandbox.run(wrong).code, Some(2), "{wrong}");
    }
    sandbox.refuses("bench vision --model policy.gguf", 2, &["--mmproj"]);
    sandbox.refuses("bench synth --shape internvl3-8b -o m", 2, &["internvl3-8b", "internvl2_5-1b"]);
    sandbox.refuses("bench synth --shape absent/config.json -o m", 3, &["absent/config.json"]);
    sandbox.write("small/config.json", config().to_string().replace("4000", "40"));
    sandbox.refuses("bench synth --shape small/config.json -o m", 3, &["vocabulary of 40"]);
    sandbox.refuses("bench score --model absent.gguf", 3, &["absent.gguf"]);
    sandbox.refuses("bench annotate --problems absent.json", 3, &["absent.json"]);
}
