//! Files in which the program itself keeps what is finished: journals, logs, settings, states, caches. Whatever happens to
//! them, a run that succeeds ends with the right bytes, and a run that refuses a file leaves it as it is.

use std::fs;
use std::time::Duration;

use super::{Form, Target, attack};
use crate::kills::{annotate, candidates, files, sandbox};
use crate::support::{POLICY, PRM, Sandbox};
use crate::tally::{Ended, Process, copy};

/// Compares a file of a run that succeeded with that of an uninterrupted run.
fn same(sandbox: &Sandbox, ended: &Ended, name: &str) -> Option<String> {
    let differs =
        ended.code == Some(0) && sandbox.read(&format!("case/{name}")) != sandbox.read(&format!("expected/{name}"));
    differs.then(|| format!("{name} differs from that of an uninterrupted run"))
}

#[test]
fn journals() {
    let sandbox = sandbox();
    sandbox.write("c.json", candidates(6));
    let generate = format!("generate {POLICY} --deterministic --problems data/test.json --limit 4 -n 2 --quiet");
    let score = format!("score {PRM} --deterministic -i c.json --data-root data --quiet");
    for (command, blocks, name) in [(&generate, 6, "g.json"), (&score, 4, "s.json")] {
        fs::create_dir_all(sandbox.path("whole")).unwrap();
        sandbox.run(&format!("{command} -o expected/{name}")).done();
        sandbox.run_on_full_disk(blocks, &format!("{command} -o whole/{name}")).refused(1, &["File too large"]);
        assert!(sandbox.path("whole").join(format!("{name}.journal")).exists());
    }
    attack(
        "state journals",
        &sandbox,
        &[
            Target::new("g.json.journal", Form::JsonLines, 40, &[&[&format!("{generate} -o case/g.json")]])
                .checked(|sandbox, ended| same(sandbox, ended, "g.json")),
            Target::new("s.json.journal", Form::JsonLines, 60, &[&[&format!("{score} -o case/s.json")]])
                .checked(|sandbox, ended| same(sandbox, ended, "s.json")),
        ],
    );
}

#[test]
fn settings_and_logs() {
    let sandbox = sandbox();
    let generate = format!("generate {POLICY} --problems data/test.json --limit 2 -n 1 --quiet");
    sandbox.run(&format!("{generate} -o whole/g.json")).done();
    sandbox.run(&format!("{} --quiet -o whole/trees", annotate(2))).done();
    let search = format!("{} --quiet -o case/trees", annotate(2));
    copy(&sandbox.path("whole"), &sandbox.path("expected"));
    let trees = |sandbox: &Sandbox, ended: &Ended| {
        let read = |folder: &str| {
            let tree = |name: String| (sandbox.read(&format!("{folder}/{name}")), name);
            sandbox.trees(folder).into_iter().map(tree).collect::<Vec<_>>()
        };
        let differ = ended.code == Some(0) && read("case/trees") != read("expected/trees");
        differ.then(|| "the trees differ".to_owned())
    };
    attack(
        "state settings and logs",
        &sandbox,
        &[
            Target::new("g.json.settings.json", Form::Json, 30, &[&[&format!("{generate} -o case/g.json")]])
                .checked(|sandbox, ended| same(sandbox, ended, "g.json")),
            Target::new("trees/annotate.settings.jsonl", Form::JsonLines, 25, &[&[&search]]).checked(trees),
            Target::new("trees/annotate.log.jsonl", Form::JsonLines, 40, &[&[&search]]).checked(trees),
        ],
    );
}

#[test]
fn training_states() {
    let sandbox = sandbox();
    sandbox.write("s.jsonl", crate::kills::samples());
    let train = "train prm --quiet --model mini-prm --samples s.jsonl --epochs 1 --batch-samples 1 --save-every 1 --lora-rank 2";
    sandbox.run(&format!("{train} -o expected/run")).done();
    // A run that was killed after some of its six steps.
    let process = Process::start(&mut sandbox.command(&format!("{train} -o whole/run")));
    let log = || fs::read(sandbox.path("whole/run/log.jsonl")).unwrap_or_default();
    let mut waited = Duration::ZERO;
    while log().split(|byte| *byte == b'\n').count() <= 3 {
        waited += Duration::from_millis(1);
        assert!(process.runs_until(waited), "the run ended before it was killed");
    }
    process.signal(libc::SIGKILL);
    process.end(u64::MAX);
    let weights = |sandbox: &Sandbox, ended: &Ended| {
        let differ = ended.code == Some(0) && files(sandbox, "case/run/last") != files(sandbox, "expected/run/last");
        differ.then(|| "the trained adapter differs from that of an uninterrupted run".to_owned())
    };
    let resume = format!("{train} -o case/run");
    attack(
        "state training",
        &sandbox,
        &[
            Target::new("run/state/model.safetensors", Form::Safetensors, 50, &[&[&resume]]).checked(weights),
            Target::new("run/log.jsonl", Form::JsonLines, 20, &[&[&resume]]).checked(weights),
            Target::new("run/recipe.toml", Form::Toml, 20, &[&[&resume]]).checked(weights),
        ],
    );
}

#[test]
fn caches() {
    let sandbox = sandbox();
    let policy = POLICY.replace("--max-tokens 150", "--max-tokens 20");
    let generate = format!("generate {policy} --deterministic --problems data/test.json --limit 1 -n 1 --quiet");
    sandbox.run(&format!("{generate} -o expected/g.json")).done();
    sandbox.run(&format!("{generate} --vision-cache whole/cache -o first.json")).done();
    let entry = sandbox.names("whole/cache").remove(0);
    let file: &'static str = Box::leak(format!("cache/{entry}").into_boxed_str());
    attack(
        "state caches",
        &sandbox,
        &[Target::new(file, Form::Bytes, 40, &[&[&format!("{generate} --vision-cache case/cache -o case/g.json")]])
            .checked(|sandbox, ended| same(sandbox, ended, "g.json"))],
    );
}
