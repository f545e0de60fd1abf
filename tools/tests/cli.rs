//! The command line as a whole: the pipeline end to end, JSON and quiet modes, help, version, usage
//! errors, pipes.
#![cfg(unix)]

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::{POLICY, PRM, Sandbox};

const COMMANDS: [&str; 42] = [
    "solve",
    "convert",
    "quantize",
    "inspect",
    "generate",
    "score",
    "search",
    "choose",
    "show",
    "eval bench",
    "eval bon",
    "eval steps",
    "eval judge",
    "ablate",
    "report",
    "data import",
    "data stats",
    "data split",
    "data curate",
    "data convert",
    "annotate",
    "judge",
    "samples",
    "train prm",
    "train implicit-prm",
    "train policy",
    "merge",
    "train expand",
    "verify",
    "bench infer",
    "bench score",
    "bench annotate",
    "bench vision",
    "bench synth",
    "bench train",
    "config set",
    "config get",
    "config unset",
    "config list",
    "completions",
    "doctor",
    "version",
];

/// The whole pipeline as commands; each needs the output of those before it.
fn pipeline() -> Vec<String> {
    let checkpoint = support::demo().join("checkpoints/mini-mm-policy");
    let problems = "--problems data/test.json --limit 3";
    vec![
        format!("convert {} -o g --type f32", checkpoint.display()),
        "quantize g/mini-mm-policy-f32.gguf --type q8_0 -o q8.gguf".into(),
        "quantize g/mini-mm-policy-f32.gguf --type q4_k_m -o q4.gguf".into(),
        "inspect q4.gguf".into(),
        format!("generate --policy q8.gguf --mmproj mmproj.gguf --max-tokens 150 {problems} -n 3 -o c.json"),
        format!("score {PRM} -i c.json --data-root data -o s.json"),
        "eval bon s.json".into(),
        format!("annotate {POLICY} {problems} --rollouts 4 --rollout-budget 12 -o trees"),
        "samples trees -o prm.jsonl".into(),
    ]
}

#[test]
fn the_pipeline_runs_from_checkpoint_to_training_samples() {
    let sandbox = Sandbox::new();
    for command in pipeline() {
        let run = sandbox.run(&command).done();
        assert!(!run.out.is_empty(), "`{command}` says what it did");
    }
    let arrays = |record: &Value, field: &str| record[field].as_array().unwrap().clone();
    let candidates = sandbox.json("c.json");
    let scored = sandbox.json("s.json");
    assert_eq!(scored.as_array().unwrap().len(), 3);
    for (record, before) in scored.as_array().unwrap().iter().zip(candidates.as_array().unwrap()) {
        let (solutions, scores) = (arrays(record, "solutions_splits"), arrays(record, "prm_scores"));
        assert_eq!((solutions.len(), scores.len(), arrays(record, "labels").len()), (3, 3, 3));
        for (steps, scores) in solutions.iter().zip(scores) {
            let scores = scores.as_array().unwrap();
            assert_eq!(scores.len(), steps.as_array().unwrap().len(), "one score per step");
            assert!(scores.iter().all(|score| (0.0..=1.0).contains(&score.as_f64().unwrap())));
        }
        let mut unscored = record.as_object().unwrap().clone();
        unscored.shift_remove("prm_scores");
        assert_eq!(&Value::Object(unscored), before, "scoring changes nothing else");
    }
    assert_eq!(sandbox.names("trees").len(), 3 + 3, "a tree per problem, the log, the lock and the settings");
    for line in String::from_utf8(sandbox.read("prm.jsonl")).unwrap().lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let steps = sample["conversations"][0]["value"].as_str().unwrap().matches("<prm>").count();
        assert_eq!(arrays(&sample["conversations"][1], "value").len(), steps, "one label per step");
    }
}

#[test]
fn the_vision_cache_is_reused_and_changes_no_result() {
    let sandbox = Sandbox::new();
    let generate =
        |more: &str| format!("generate {POLICY} --deterministic --problems data/test.json --limit 3 -n 2 {more}");
    sandbox.run(&generate("-o plain.json")).done();
    sandbox.run(&generate("--vision-cache kept -o first.json")).done();
    let kept = sandbox.names("kept");
    assert_eq!(kept.len(), 3, "one entry per image");
    sandbox.write(&format!("kept/{}", kept[0]), "damaged");
    let run = sandbox.run(&generate("--vision-cache kept -o second.json"));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.contains(&kept[0]) && run.err.contains("computing the embeddings again"), "{run:?}");
    sandbox.run(&generate("--vision-cache kept -o third.json")).done();
    for name in ["first.json", "second.json", "third.json"] {
        assert_eq!(sandbox.read(name), sandbox.read("plain.json"), "{name}");
    }
    sandbox.run(&generate("--vision-encoder llama.cpp --vision-cache kept -o theirs.json")).done();
    assert_eq!(sandbox.names("kept").len(), 6, "each encoder has its own entries");
    sandbox.write("file", "");
    sandbox.refuses(&generate("--vision-cache file -o other.json"), 1, &["cannot keep embeddings in file"]);
    let run = sandbox.run(&generate("--vision-encoder other -o other.json"));
    assert!(run.code == Some(2) && run.err.contains("expected auto, native or llama.cpp"), "{run:?}");
}

#[test]
fn with_json_each_command_prints_one_object_and_nothing_else() {
    let sandbox = Sandbox::new();
    for command in pipeline() {
        sandbox.run(&format!("{command} --json")).done().object();
    }
}

#[test]
fn with_quiet_a_successful_command_prints_nothing() {
    let sandbox = Sandbox::new();
    for command in pipeline() {
        assert_eq!(sandbox.run(&format!("{command} --quiet")).done().out, "", "{command}");
    }
}

#[test]
fn a_candidate_without_steps_has_an_empty_list_of_scores() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "c.json",
        r#"[{"question": "1+1?", "solutions_splits": [[], ["One.", "It is 2."], []], "labels": [0, 1, 0]}]"#,
    );
    sandbox.run(&format!("score {PRM} -i c.json -o s.json")).done();
    let lengths: Vec<usize> = sandbox.json("s.json")[0]["prm_scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scores| scores.as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [0, 2, 0]);
    sandbox.run("eval bon s.json").done();
}

#[test]
fn the_trees_of_all_shards_equal_those_of_one_run() {
    let sandbox = Sandbox::new();
    let annotate = |more: &str| {
        let limits = "--rollouts 4 --rollout-budget 8 --deterministic";
        sandbox.run(&format!("annotate {POLICY} --problems data/test.json --limit 3 {limits} {more}")).done();
    };
    annotate("-o whole");
    annotate("-o one --shard 1/2");
    annotate("-o two --shard 2/2");
    let trees = |folder: &str| sandbox.trees(folder);
    assert_eq!((trees("one").len(), trees("two").len()), (2, 1));
    for folder in ["one", "two"] {
        for name in trees(folder) {
            assert_eq!(sandbox.read(&format!("{folder}/{name}")), sandbox.read(&format!("whole/{name}")), "{name}");
        }
    }
}

#[test]
fn a_dry_run_lists_the_tensors_and_writes_nothing() {
    let sandbox = Sandbox::new();
    let before = sandbox.names("");
    let checkpoint = support::demo().join("checkpoints/mini-prm");
    let run = sandbox.run(&format!("convert {} -o o --dry-run", checkpoint.display())).done();
    assert!(run.out.contains("o/mini-prm-f16.gguf") && run.out.contains("| output_norm.weight"), "{}", run.out);
    assert_eq!(sandbox.names(""), before);
}

#[test]
fn quantisation_falls_back_where_rows_are_not_whole_blocks_and_prints_it() {
    let sandbox = Sandbox::new();
    let run = sandbox.run("quantize mmproj.gguf --type q4_k_m --vision -o v.gguf").done();
    assert!(run.out.contains("fallback: rows are not whole blocks"), "{}", run.out);
    let models = "--policy policy.gguf --mmproj v.gguf --max-tokens 20";
    sandbox.run(&format!("generate {models} --problems data/test.json --limit 1 -n 1 -o c.json")).done();
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let sandbox = Sandbox::new();
    for arguments in ["inspect policy.gguf --tensors", "inspect policy.gguf --json"] {
        let mut child = sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments}");
    }
}

/// Runs a command whose standard output and standard error are pipes that nobody reads.
fn unread(sandbox: &Sandbox, arguments: &str) -> Option<i32> {
    let mut child = sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code()
}

#[test]
fn a_run_whose_output_nobody_reads_does_its_work_and_keeps_its_exit_code() {
    let sandbox = Sandbox::new();
    let problems = "--problems data/test.json --limit 2";
    assert_eq!(unread(&sandbox, &format!("generate {POLICY} {problems} -n 2 -o c.json")), Some(0));
    assert_eq!(unread(&sandbox, &format!("score {PRM} -i c.json --data-root data -o s.json --json")), Some(0));
    assert!(sandbox.path("c.json").exists() && sandbox.path("s.json").exists());
    assert_eq!(unread(&sandbox, "eval bon missing.json"), Some(3));
    assert_eq!(unread(&sandbox, "eval bon c.json --nonsense"), Some(2));
}

#[cfg(unix)]
#[test]
fn control_characters_of_data_do_not_reach_the_terminal() {
    let sandbox = Sandbox::new();
    let run = sandbox.run("eval bon \u{1b}]0;title\u{7}\u{202e}.json");
    run.refused(3, &["\\u{1b}]0;title\\u{7}\\u{202e}.json"]);
}

#[test]
fn help_describes_every_flag_of_every_command() {
    let sandbox = Sandbox::new();
    let overview = sandbox.run("--help").done().out;
    assert!(overview.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input data, 4 interrupted"));
    for command in COMMANDS {
        let first = command.split(' ').next().unwrap();
        assert!(overview.lines().any(|line| line.trim_start().starts_with(&format!("{first} "))), "{command}");
        let help = sandbox.run(&format!("{command} --help")).done().out;
        let lines: Vec<&str> = help.lines().take_while(|line| *line != "Examples:").collect();
        // Behind the flag where all descriptions are short, else on the next line.
        let described = |at: usize| {
            let below = lines.get(at + 1).is_some_and(|text| text.starts_with("          "));
            below || lines[at].trim_start().contains("  ")
        };
        let is_entry = |line: &str| line.trim_start().starts_with(['-', '<']) && line.starts_with("  ");
        let entries: Vec<usize> =
            (0..lines.len()).filter(|&at| is_entry(lines[at]) && !lines[at].starts_with("        ")).collect();
        assert!(entries.len() >= 4, "{command}: {help}");
        for at in entries {
            assert!(described(at), "{command}: {} has no description", lines[at]);
        }
    }
}

#[test]
fn version_names_commit_backends_and_llama_cpp() {
    let sandbox = Sandbox::new();
    let short = sandbox.run("-V").done().out;
    assert_eq!(short, concat!("mmprm ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = sandbox.run("--version").done().out;
    assert_eq!(long, sandbox.run("version").done().out);
    assert!(long.starts_with(short.trim()), "{long}");
    for line in ["commit: ", "backends: cpu", "cpu kernels: ", "llama.cpp: llama-cpp-sys-2 "] {
        assert!(long.lines().any(|found| found.starts_with(line)), "no line `{line}`: {long}");
    }
    let object = sandbox.run("version --json").done().object();
    assert_eq!((&object["version"], &object["backends"][0]), (&env!("CARGO_PKG_VERSION").into(), &"cpu".into()));
    if support::demo().join("../.git").exists() {
        assert!(object["commit"].as_str().is_some_and(|commit| commit.len() == 12), "{object}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let sandbox = Sandbox::new();
    let generate = format!("generate {POLICY} --problems data/test.json -o c.json");
    for wrong in [
        "",
        "paint",
        "generate",
        "inspect",
        "quantize policy.gguf --type q3_z -o q.gguf",
        "convert x -o o --type f64",
        &format!("{generate} --unknown"),
        &format!("{generate} -n many"),
        &format!("{generate} -n 0"),
        &format!("{generate} --limit 0"),
        &format!("{generate} --max-tiles 0"),
        &format!("{generate} --context 1"),
        &format!("{generate} -n 18446744073709551615"),
        &format!("{generate} --max-tokens 18446744073709551615"),
        &format!("{generate} --max-tiles 1000"),
        &format!("annotate {POLICY} --problems data/test.json -o trees --problems-at-once 1000000"),
        "train prm --samples s --model m -o o --epochs 18446744073709551615",
        &format!("{generate} --parallel 0"),
        &format!("{generate} --threads 0"),
        &format!("{generate} --threads 100000"),
    ] {
        let run = sandbox.run(wrong);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "`{wrong}`: {run:?}");
    }
    for (flag, sentence) in [
        ("--temperature -1", "--temperature: expected 0 or more"),
        ("--temperature nan", "--temperature: expected 0 or more"),
        ("--top-p 0", "--top-p: expected more than 0, at most 1"),
        ("--repetition-penalty -0.5", "--repetition-penalty: expected more than 0"),
        ("--log =", "--log ="),
    ] {
        sandbox.refuses(&format!("{generate} {flag}"), 2, &[sentence]);
    }
    let annotate = format!("annotate {POLICY} --problems data/test.json -o trees");
    sandbox.refuses(&format!("{annotate} --alpha -1"), 2, &["alpha", "at least 0"]);
    sandbox.refuses(&format!("{annotate} --rollouts 0"), 2, &["rollouts", "at least 1"]);
}
