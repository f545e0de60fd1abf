//! Commands killed at random moments. The same command resumes, ends with the bytes of an uninterrupted run, and leaves no
//! temporary files.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::mutate::{Random, cases, is_wanted};
use crate::support::{POLICY, PRM, Sandbox, demo};
use crate::tally::{Process, Tally};

/// Kills of each command.
const KILLS: usize = 6;

/// A sandbox with candidates, trees, samples and an adapter, each made by the program.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["mini-prm", "mini-mm-policy"] {
        std::os::unix::fs::symlink(demo().join("checkpoints").join(name), sandbox.path(name)).unwrap();
    }
    sandbox
}

/// Six short samples, as a file of training samples.
pub fn samples() -> String {
    let line = |number: usize| {
        let human = format!("Question: What is {number} + 1?\nProcess: It is {}.<prm>", number + 1);
        let turns = json!([{"from": "human", "value": human}, {"from": "gpt", "value": [0.25]}]);
        format!("{}\n", json!({"id": number, "conversations": turns}))
    };
    (0..6).map(line).collect()
}

/// Candidates for the demo's problems: arbitrary solutions of 4 steps.
pub fn candidates(problems: usize) -> String {
    let problem = |number: usize| {
        let solution = |other: usize| json!(["Look at it.", format!("Count {other}."), "Sum up.", format!("{number}")]);
        let image = format!("images/test-2-{number:05}.png");
        let splits: Vec<Value> = (0..4).map(solution).collect();
        json!({"id": number, "question": "How many?", "image_path": image, "solutions_splits": splits, "labels": [1, 0, 0, 1]})
    };
    json!((0..problems).map(problem).collect::<Vec<_>>()).to_string()
}

/// The arguments for trees of `problems` problems.
pub fn annotate(problems: usize) -> String {
    format!(
        "annotate {POLICY} --deterministic --problems data/test.json --limit {problems} --rollouts 4 --rollout-budget 16"
    )
}

/// What is written beside the result and may differ: times, and ids of processes.
fn varies(name: &str) -> bool {
    name.starts_with("events.out.tfevents") || name.ends_with(".damaged")
}

/// A log without what depends on time: sorted lines.
fn timeless(log: &[u8]) -> Vec<String> {
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| key != "hash" && !key.contains("second") && !key.contains("time"));
        }
        value.to_string()
    };
    let mut lines: Vec<String> = String::from_utf8_lossy(log).lines().map(line).collect();
    lines.sort();
    lines
}

/// Every file below a directory of the sandbox, as its name and contents.
pub fn files(sandbox: &Sandbox, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for name in sandbox.names(folder) {
        let path = format!("{folder}/{name}");
        if sandbox.path(&path).is_dir() {
            files
                .extend(self::files(sandbox, &path).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else if !varies(&name) {
            let bytes = sandbox.read(&path);
            let bytes = if name.ends_with("log.jsonl") { timeless(&bytes).join("\n").into_bytes() } else { bytes };
            files.push((name, bytes));
        }
    }
    files
}

/// The first difference between what two runs wrote.
pub fn difference(expected: &[(String, Vec<u8>)], found: &[(String, Vec<u8>)]) -> Option<String> {
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(expected) != names(found) {
        return Some(format!("expected the files {:?}, found {:?}", names(expected), names(found)));
    }
    let changed = expected.iter().zip(found).find(|(expected, found)| expected.1 != found.1);
    changed.map(|((name, expected), (_, found))| {
        let at = expected.iter().zip(found).take_while(|(one, other)| one == other).count();
        format!("{name} differs at byte {at}; {} bytes expected, {} found", expected.len(), found.len())
    })
}

/// Kills `arguments`, which write below `out`, again and again; between kills, resumed runs are finished and compared.
fn kill(kind: &'static str, prepared: impl FnOnce(&Sandbox), arguments: &str) {
    let sandbox = sandbox();
    prepared(&sandbox);
    let start = Instant::now();
    sandbox.run(arguments).done();
    let whole = start.elapsed();
    let expected = files(&sandbox, "out");
    let mut tally = Tally::new(kind);
    let wanted = cases(KILLS);
    for number in 0.. {
        let case = format!("{kind} #{number}");
        if tally.kills() >= wanted || !is_wanted(&case) {
            break;
        }
        let mut random = Random::new(kind, number);
        fs::remove_dir_all(sandbox.path("out")).unwrap();
        let mut history = Vec::new();
        for _ in 0..=random.below(3) {
            history.push(stop(&mut tally, &sandbox, &case, arguments, whole, &mut random));
        }
        let before = tally.faults();
        let ended = tally.run(&case, &mut sandbox.command(arguments));
        if ended.code != Some(0) || !ended.err.is_empty() {
            tally.lost(&case, &format!("after {history:?}: not resumed: {}", ended.err));
        } else if let Some(difference) = difference(&expected, &files(&sandbox, "out")) {
            tally.lost(&case, &format!("after {history:?}: {difference}"));
        }
        if tally.faults() > before {
            tally.keep(&sandbox.path("out"));
        }
    }
    tally.finish();
}

/// Starts a run and ends it at a random moment; returns what was done.
fn stop(
    tally: &mut Tally,
    sandbox: &Sandbox,
    case: &str,
    arguments: &str,
    whole: Duration,
    random: &mut Random,
) -> String {
    let moment = whole.mul_f64(random.fraction());
    let signal = *random.of(&[libc::SIGKILL, libc::SIGKILL, libc::SIGKILL, libc::SIGINT, libc::SIGTERM]);
    let process = Process::start(&mut sandbox.command(arguments));
    if !process.runs_until(moment) {
        process.end(u64::MAX);
        return "finished".to_owned();
    }
    let has_started = process.handles_interrupts();
    process.signal(signal);
    let ended = tally.killed(process);
    // Until the program has started, a signal ends it as it ends every process.
    let is_early = ended.signal == Some(signal) && !has_started;
    let is_right = signal == libc::SIGKILL || is_early || matches!(ended.code, Some(0 | 4));
    if !is_right {
        let (code, signalled) = (ended.code, ended.signal);
        tally.fault(
            case,
            &format!("signal {signal} after {moment:?}: code {code:?}, signal {signalled:?}: {}", ended.err),
        );
    }
    format!("signal {signal} after {moment:?}")
}

#[test]
fn annotate_resumes() {
    kill("kills annotate", |_| {}, &format!("{} --quiet -o out", annotate(4)));
}

#[test]
fn generate_resumes() {
    let generate = format!("generate {POLICY} --deterministic --problems data/test.json --limit 8 -n 4 --parallel 8");
    kill("kills generate", |_| {}, &format!("{generate} --quiet -o out/c.json"));
}

#[test]
fn score_resumes() {
    let write = |sandbox: &Sandbox| sandbox.write("c.json", candidates(8));
    kill(
        "kills score",
        write,
        &format!("score {PRM} --deterministic -i c.json --data-root data --quiet -o out/s.json"),
    );
}

#[test]
fn train_resumes() {
    let write = |sandbox: &Sandbox| sandbox.write("s.jsonl", samples());
    let train =
        "train prm --quiet --model mini-prm --samples s.jsonl --epochs 1 --batch-samples 2 --save-every 1 -o out";
    kill("kills train", write, train);
}

#[test]
fn train_with_adapters_resumes() {
    let write = |sandbox: &Sandbox| sandbox.write("s.jsonl", samples());
    let train =
        "train prm --quiet --model mini-prm --samples s.jsonl --epochs 1 --batch-samples 1 --save-every 1 -o out";
    kill("kills train lora", write, &format!("{train} --lora-rank 2"));
}

#[test]
fn convert_is_repeated() {
    kill("kills convert", |_| {}, "convert mini-prm --quiet -o out");
}

#[test]
fn quantize_is_repeated() {
    let folder = |sandbox: &Sandbox| fs::create_dir_all(sandbox.path("out")).unwrap();
    kill("kills quantize", folder, "quantize prm.gguf --type q4_0 --quiet -o out/q.gguf");
}

#[test]
fn samples_are_made_again() {
    let trees = |sandbox: &Sandbox| {
        sandbox.run(&format!("{} --quiet -o trees", annotate(4))).done();
    };
    kill("kills samples", trees, "samples trees --quiet -o out/s.jsonl");
}

#[test]
fn merge_and_expand_are_repeated() {
    let adapter = |sandbox: &Sandbox| {
        sandbox.write("s.jsonl", samples());
        let train = "train prm --quiet --model mini-prm --samples s.jsonl --steps 1 -o lora --lora-rank 2";
        sandbox.run(train).done();
    };
    kill("kills merge", adapter, "merge lora/last --base mini-prm --quiet -o out");
    kill("kills expand", |_| {}, "train expand mini-prm --layers 1 --quiet -o out");
}
