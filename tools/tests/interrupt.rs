//! Interrupted and killed runs: finished work is kept, and the same command ends with the same
//! bytes as an uninterrupted run.
#![cfg(unix)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{POLICY, Sandbox};

/// Starts `arguments`, waits until `underway`, sends `signal`, and returns the exit code (none if
/// the signal ended it).
fn stop(sandbox: &Sandbox, arguments: &str, signal: &str, underway: impl Fn() -> bool) -> Option<i32> {
    let mut child = sandbox.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !underway() {
        assert!(start.elapsed() < Duration::from_mins(1), "`{arguments}` made no progress for a minute");
        assert!(child.try_wait().unwrap().is_none(), "`{arguments}` ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code()
}

fn lines(sandbox: &Sandbox, name: &str) -> usize {
    std::fs::read(sandbox.path(name))
        .map_or(0, |bytes| bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")).count())
}

#[test]
fn an_interrupted_or_killed_generate_continues_to_the_same_bytes() {
    let sandbox = Sandbox::new();
    let generate = format!("generate {POLICY} --deterministic --problems data/test.json --limit 24 -n 8 --parallel 8");
    sandbox.run(&format!("{generate} -o whole.json")).done();
    let command = format!("{generate} -o c.json");
    // The settings line and some records.
    let code = stop(&sandbox, &command, "-INT", || lines(&sandbox, "c.json.journal") >= 4);
    assert_eq!(code, Some(4));
    let kept = lines(&sandbox, "c.json.journal");
    assert!(kept >= 4 && !sandbox.path("c.json").exists());
    let code = stop(&sandbox, &command, "-KILL", || lines(&sandbox, "c.json.journal") > kept + 2);
    assert_eq!(code, None);
    assert!(!sandbox.path("c.json").exists());
    sandbox.run(&command).done();
    assert_eq!(sandbox.read("c.json"), sandbox.read("whole.json"));
    assert!(!sandbox.path("c.json.journal").exists());
}

#[test]
fn an_interrupted_or_killed_annotation_continues_to_the_same_bytes() {
    let sandbox = Sandbox::new();
    let annotate = format!(
        "annotate {POLICY} --deterministic --problems data/test.json --limit 16 --rollouts 8 --rollout-budget 40"
    );
    sandbox.run(&format!("{annotate} -o whole")).done();
    let command = format!("{annotate} -o trees");
    let code = stop(&sandbox, &command, "-INT", || lines(&sandbox, "trees/annotate.log.jsonl") >= 2);
    assert_eq!(code, Some(4));
    let kept = lines(&sandbox, "trees/annotate.log.jsonl");
    let code = stop(&sandbox, &command, "-KILL", || lines(&sandbox, "trees/annotate.log.jsonl") >= kept + 2);
    assert_eq!(code, None);
    sandbox.run(&command).done();
    assert_eq!(sandbox.trees("whole").len(), 16);
    assert_eq!(sandbox.trees("whole"), sandbox.trees("trees"));
    for tree in sandbox.trees("whole") {
        assert!(sandbox.read(&format!("whole/{tree}")) == sandbox.read(&format!("trees/{tree}")), "{tree} differs");
    }
}

#[test]
fn training_interrupted_or_killed_during_a_save_continues_to_the_same_bytes() {
    let sandbox = Sandbox::new();
    let line = |number: usize| {
        let human = format!("Question: What is {number} + 1?\nProcess: It is {}.<prm>", number + 1);
        let turns = json!([{"from": "human", "value": human}, {"from": "gpt", "value": [0.25]}]);
        format!("{}\n", json!({"id": number, "conversations": turns}))
    };
    sandbox.write("s.jsonl", (0..12).map(line).collect::<String>());
    let model = support::demo().join("checkpoints/mini-prm");
    let train = format!(
        "train prm --quiet --model {} --samples s.jsonl --precision bf16 --epochs 1 --batch-samples 2 --save-every 1",
        model.display()
    );
    sandbox.run(&format!("{train} -o whole")).done();
    let command = format!("{train} -o run");
    // A file has a temporary name, which starts with a dot, until it is complete.
    let unfinished = |folder: &str| {
        let names = if sandbox.path(folder).exists() { sandbox.names(folder) } else { Vec::new() };
        names.into_iter().filter(|name| name.starts_with('.')).collect::<Vec<_>>()
    };
    for (signal, folder, code) in
        [("-KILL", "run/last", None), ("-INT", "run/state", Some(4)), ("-KILL", "run/state", None)]
    {
        // Files that a killed run left do not show that this one is saving.
        let left = unfinished(folder);
        let saves = || unfinished(folder).iter().any(|name| !left.contains(name));
        assert_eq!(stop(&sandbox, &command, signal, saves), code, "{signal} in {folder}");
    }
    sandbox.run(&command).done();
    for file in ["last/model.safetensors", "state/model.safetensors"] {
        assert!(sandbox.read(&format!("run/{file}")) == sandbox.read(&format!("whole/{file}")), "{file} differs");
    }
    for folder in ["run/last", "run/state"] {
        assert_eq!(unfinished(folder), Vec::<String>::new(), "temporary files of the killed runs remain");
    }
}

#[test]
fn a_killed_conversion_leaves_no_model_of_one_checkpoint_beside_the_projector_of_another() {
    let sandbox = Sandbox::new();
    for (folder, checkpoint) in [("a/m", "mini-mm-policy"), ("b/m", "mini-prm")] {
        for entry in std::fs::read_dir(support::demo().join("checkpoints").join(checkpoint)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            sandbox.write(&format!("{folder}/{name}"), std::fs::read(path).unwrap());
        }
    }
    let convert = |from: &str, out: &str| format!("convert {from} -o {out} --quiet");
    sandbox.run(&convert("a/m", "old")).done();
    sandbox.run(&convert("b/m", "new")).done();
    let (model, projector) = ("m-f16.gguf", "mmproj-m-f16.gguf");
    let bytes = |folder: &str, name: &str| std::fs::read(sandbox.path(&format!("{folder}/{name}"))).ok();
    assert_ne!(bytes("old", projector), bytes("new", projector), "the projectors differ");
    // Killed at instants of the writing, and as soon as a name of the old pair is gone.
    for instant in 0..6_u64 {
        for name in [model, projector] {
            sandbox.write(&format!("out/{name}"), sandbox.read(&format!("old/{name}")));
        }
        let mut child = sandbox.command(&convert("b/m", "out")).spawn().unwrap();
        let is_writing = || sandbox.names("out").len() > 2;
        let is_gone = || !sandbox.path(&format!("out/{model}")).exists();
        while child.try_wait().unwrap().is_none() && !is_gone() {
            if instant < 3 && is_writing() {
                std::thread::sleep(Duration::from_millis(4 * instant));
                break;
            }
        }
        let _ = child.kill();
        child.wait().unwrap();
        let found = [model, projector].map(|name| bytes("out", name));
        let pair = |folder: &str| [model, projector].map(|name| bytes(folder, name));
        assert!(found[0].is_none() || found == pair("old") || found == pair("new"), "killed at instant {instant}");
        sandbox.run(&convert("b/m", "out")).done();
        assert!([model, projector].map(|name| bytes("out", name)) == pair("new"));
        assert_eq!(sandbox.names("out"), [model, projector], "temporary files remain");
    }
}
