//! Outputs: what cannot be written is refused before the work, what belongs together appears together, and what is finished is
//! found before a model is loaded.
#![cfg(unix)]

mod support;

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{POLICY, PRM, Sandbox, demo};

fn problems(sandbox: &Sandbox) {
    sandbox.write("p.json", json!([{"id": "a", "question": "What is 1 + 1?", "answer": "2"}]).to_string());
    sandbox.write("c.json", json!([{"question": "1 + 1?", "solutions_splits": [["Answer: 2"]]}]).to_string());
}

/// Every command with an output, without it: those that write a file, and those that write to a directory. Their inputs are
/// missing or no models, so that a message about the output shows that it was looked at first.
fn commands() -> [(Vec<String>, bool); 2] {
    let files = [
        format!("generate {POLICY} --problems p.json -n 1"),
        format!("search {POLICY} --prm prm.gguf --prm-mmproj prm-mmproj.gguf --problems p.json -n 1"),
        "score --prm junk.gguf -i c.json".into(),
        "quantize junk.gguf --type q8_0".into(),
        "samples no-trees".into(),
        "data convert no.json --to trl".into(),
        "verify no.jsonl".into(),
        "choose no.json".into(),
        "eval bon no.json".into(),
        "eval steps no.json".into(),
        "eval judge no.jsonl".into(),
        "report no.json".into(),
    ];
    let directories = [
        "convert no-checkpoint".into(),
        "data import auto no.json".into(),
        format!("eval bench other {POLICY} --problems p.json -n 1"),
        "ablate no.toml".into(),
        "data split no.json".into(),
        "data curate no.json".into(),
        "annotate --policy junk.gguf --problems p.json".into(),
        "judge no-trees --judge-url http://localhost:1/v1 --judge-model x".into(),
        "merge no-adapter --base no-base".into(),
        "train expand no-model --layers 1".into(),
        "train prm --model no-model --samples no.jsonl".into(),
        "train policy --model no-model --samples no.jsonl".into(),
        "train implicit-prm --model no-model --samples no.jsonl".into(),
        "bench synth --shape no-shape".into(),
    ];
    [(files.into(), true), (directories.into(), false)]
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_work() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    // Its metadata can be read, for the settings of a run, but it is no model.
    sandbox.write("junk.gguf", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    sandbox.write("file", "mine");
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    symlink("nowhere/x", sandbox.path("dangling")).unwrap();
    for (commands, writes_file) in commands() {
        for command in commands {
            let mut outputs = vec!["file/x", "file/x/y", "/proc/self/x"];
            outputs.extend(if writes_file { ["folder"].as_slice() } else { &["file", "dangling"] });
            for output in outputs {
                sandbox.refuses(&format!("{command} -o {output}"), 1, &["cannot write ", output]);
            }
        }
    }
    assert_eq!((sandbox.read("file"), sandbox.names("folder").len()), (b"mine".to_vec(), 0));
}

#[test]
fn the_commands_of_the_test_are_those_of_the_reference() {
    let reference = std::fs::read_to_string(demo().join("../docs/cli.md")).unwrap();
    let mut known: Vec<String> = commands().into_iter().flat_map(|(commands, _)| commands).collect();
    known.sort();
    for section in reference.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap().trim_matches('`').trim_start_matches("mmprm ");
        if section.contains("* `-o, --output <") {
            assert!(known.iter().any(|command| command.starts_with(name)), "{name} is not tested");
        }
    }
}

#[test]
fn a_finished_or_refused_output_is_found_before_the_model_is_loaded() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    // llama.cpp logs while it loads a model.
    let quiet = |command: &str| {
        let run = sandbox.run(&format!("{command} --log llama.cpp=debug"));
        assert_eq!(run.err, "", "{command}");
        run
    };
    let loads = |command: &str| !sandbox.run(&format!("{command} --log llama.cpp=debug")).err.is_empty();
    for (command, other) in [
        (format!("generate {POLICY} --problems p.json -n 1"), "--seed 1"),
        (format!("score {PRM} -i c.json"), "--template internvl2_5-scoring"),
    ] {
        assert!(loads(&format!("{command} -o out.json")), "{command} logs when it loads a model");
        let again = quiet(&format!("{command} -o out.json"));
        assert!(again.code == Some(0) && again.out.contains("finished by an earlier run"), "{again:?}");
        let object = quiet(&format!("--json {command} -o out.json")).object();
        assert_eq!(object["summary"]["resumed"], 1);
        sandbox.run(&format!("{command} {other} -o out.json --log llama.cpp=debug")).refused(2, &["other settings"]);
        sandbox.write("new.json.journal", "mine");
        sandbox
            .run(&format!("{command} -o new.json --log llama.cpp=debug"))
            .refused(1, &["new.json.journal is not a journal"]);
        assert_eq!(sandbox.read("new.json.journal"), b"mine");
        for name in ["out.json", "out.json.settings.json", "new.json.journal"] {
            std::fs::remove_file(sandbox.path(name)).unwrap();
        }
    }
}

#[test]
fn a_refused_annotation_writes_nothing() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    let annotate = format!("annotate {POLICY} --problems p.json --rollouts 2 --rollout-budget 4");
    for (name, file) in [("log", "annotate.log.jsonl"), ("settings", "annotate.settings.jsonl")] {
        sandbox.write(&format!("{name}/{file}"), "my notes\n");
        let run = sandbox.run(&format!("{annotate} -o {name} --log llama.cpp=debug"));
        assert!(run.code != Some(0) && run.err.lines().count() == 1 && run.err.contains(file), "{run:?}");
        assert_eq!(sandbox.names(name), [file]);
        assert_eq!(sandbox.read(&format!("{name}/{file}")), b"my notes\n");
    }
    sandbox.run(&format!("{annotate} -o trees")).done();
    let before = sandbox.read("trees/annotate.settings.jsonl");
    sandbox.run(&format!("{annotate} --seed 1 -o trees --log llama.cpp=debug")).refused(2, &["other settings: seed"]);
    assert_eq!(sandbox.read("trees/annotate.settings.jsonl"), before);
}

/// Returns whether the handlers of SIGINT and SIGTERM of a process are in place; `None` if it has ended.
#[cfg(target_os = "linux")]
fn handles_interrupts(process: u32) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    Some([2, 15].into_iter().all(|signal| caught & 1 << (signal - 1) != 0))
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_at_the_very_start_ends_with_its_exit_code() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    let record = json!({"question": "1 + 1?", "solutions_splits": vec![["It is 2.", "Answer: 2"]; 16]});
    sandbox.write("many.json", json!(vec![record; 500]).to_string());
    let commands = [
        format!("generate {POLICY} --problems p.json -n 64 -o g.json"),
        format!("score {PRM} -i many.json -o s.json"),
        format!("annotate {POLICY} --problems p.json --rollouts 64 -o trees"),
    ];
    for command in commands {
        for signal in ["-INT", "-TERM"] {
            let mut child = sandbox.command(&command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let start = Instant::now();
            while handles_interrupts(child.id()) != Some(true) {
                assert!(start.elapsed() < Duration::from_mins(1), "`{command}` never handles interrupts");
                std::hint::spin_loop();
            }
            assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
            assert_eq!(child.wait().unwrap().code(), Some(4), "`{command}` {signal}");
        }
    }
    for output in ["g.json", "s.json"] {
        assert!(!sandbox.path(output).exists(), "{output}");
    }
}

/// Every command that writes one file of text, without its output, and inputs that it can read.
fn text_outputs(sandbox: &Sandbox) -> Vec<String> {
    problems(sandbox);
    sandbox.write("a.jsonl", r#"{"gold": "1", "pred": "1"}"#);
    sandbox.write("v.jsonl", r#"{"gold": "1", "pred": "1", "verdict": true}"#);
    let mut record = json!([{"id": "a", "question": "1 + 1?", "answer": "2", "labels": [1, 0],
        "solutions_splits": [["Answer: 2"], ["Answer: 3"]], "prm_scores": [[0.9], [0.1]]}]);
    sandbox.write("scored.json", record.to_string());
    record[0]["step_labels"] = json!([[1], [0]]);
    sandbox.write("steps.json", record.to_string());
    vec![
        format!("generate {POLICY} --problems p.json -n 1"),
        "score --prm prm.gguf -i c.json".into(),
        "samples --ranking scored.json".into(),
        "data convert steps.json --to trl".into(),
        "verify a.jsonl".into(),
        "eval bon scored.json".into(),
        "eval steps steps.json".into(),
        "eval judge v.jsonl".into(),
    ]
}

#[test]
fn a_dash_is_standard_output_and_gets_the_output_alone() {
    let sandbox = Sandbox::new();
    for command in text_outputs(&sandbox) {
        sandbox.run(&format!("{command} -o file")).done();
        let expected = sandbox.read("file");
        let names = sandbox.names("");
        for more in ["", "--json", "--quiet"] {
            let run = sandbox.run(&format!("{command} -o - {more}"));
            assert_eq!((run.code, run.out.as_bytes()), (Some(0), &expected[..]), "{command} {more}: {}", run.err);
            assert_eq!(run.err.is_empty(), more == "--quiet", "{command} {more}: {}", run.err);
        }
        assert_eq!(sandbox.names(""), names, "{command} leaves nothing else");
        for name in ["file", "file.settings.json"] {
            let _ = std::fs::remove_file(sandbox.path(name));
        }
    }
}

#[test]
fn files_that_are_open_pipes_and_links_are_never_replaced() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new();
    symlink("/dev/stdout", sandbox.path("out")).unwrap();
    for command in text_outputs(&sandbox) {
        sandbox.run(&format!("{command} -o file")).done();
        let expected = sandbox.read("file");
        for output in ["/dev/stdout", "-", "out", "/proc/self/fd/1", "/dev/fd/1"] {
            // As a shell redirects: what was in the file stays, and the file stays the same one.
            sandbox.write("redirected", "before\n");
            let inode = |name: &str| sandbox.path(name).metadata().unwrap().ino();
            let before = inode("redirected");
            let file = std::fs::OpenOptions::new().append(true).open(sandbox.path("redirected")).unwrap();
            let status = sandbox.command(&format!("{command} -o {output}")).stdout(file).stderr(Stdio::null()).status();
            assert!(status.unwrap().success(), "{command} -o {output}");
            assert_eq!(inode("redirected"), before, "{command} -o {output}");
            assert_eq!(sandbox.read("redirected"), [b"before\n", &expected[..]].concat(), "{command} -o {output}");
            assert!(sandbox.path("out").symlink_metadata().unwrap().is_symlink());
        }
        let pipe = sandbox.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        assert_eq!(sandbox.run(&format!("{command} -o pipe")).code, Some(0), "{command}");
        assert_eq!(reader.join().unwrap(), expected, "{command}");
        for name in ["pipe", "file", "file.settings.json"] {
            let _ = std::fs::remove_file(sandbox.path(name));
        }
    }
}

#[test]
fn binary_files_and_directories_are_not_written_to_standard_output() {
    let sandbox = Sandbox::new();
    for command in
        ["quantize policy.gguf --type q8_0", "convert x", "annotate --policy x --problems y", "merge x --base y"]
    {
        let run = sandbox.run(&format!("{command} -o -"));
        assert!(run.code == Some(2) && run.err.contains("; give a "), "{run:?}");
    }
}
