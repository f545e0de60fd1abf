//! `ablate`: arms that share what they can, resume, and the comparison of their choices.
#![cfg(unix)]

mod support;

use serde_json::{Value, json};
use support::{POLICY, Sandbox, demo};

/// Candidates and trees of a few problems.
fn inputs(sandbox: &Sandbox) {
    sandbox.run(&format!("generate {POLICY} --problems data/test.json --limit 4 -n 4 -o c.json")).done();
    let search = "--problems data/test.json --limit 12 --rollouts 4 --rollout-budget 8";
    sandbox.run(&format!("annotate {POLICY} {search} -o trees")).done();
}

fn recipe(arms: &str) -> String {
    let model = demo().join("checkpoints/mini-prm").display().to_string();
    // The rate of the first step is 0.
    format!(
        "candidates = \"c.json\"\n[samples]\nfrom = \"trees\"\n[train]\nmodel = \"{model}\"\ndata-root = \"data\"\nsteps = 2\n\
         schedule = \"constant\"\noptimizer = \"adamw\"\nbatch-samples = 4\n[score]\ndata-root = \"data\"\n{arms}"
    )
}

const ARMS: &str = "[[arms]]\nname = \"soft\"\n[[arms]]\nname = \"hard\"\nsamples.hard = true\n[[arms]]\nname = \"fast\"\ntrain.lr = 0.01\n";

#[test]
fn arms_are_trained_and_compared_and_only_what_changes_is_made_again() {
    let sandbox = Sandbox::new();
    inputs(&sandbox);
    sandbox.write("a.toml", recipe(ARMS));
    let plan = sandbox.run("ablate a.toml -o a --dry-run").done().out;
    assert!(!sandbox.path("a").exists());
    // Arms share their samples where these are equal.
    let count = |text: &str, part: &str| text.matches(part).count();
    assert_eq!(
        [count(&plan, "mmprm samples trees"), count(&plan, "mmprm train prm"), count(&plan, "mmprm score ")],
        [2, 3, 3]
    );

    let run = sandbox.run("ablate a.toml -o a").done();
    for part in ["soft", "hard", "fast", "majority", "weighted_vote_min", "step AUC", "n = 4"] {
        assert!(run.out.contains(part), "{part}: {}", run.out);
    }
    let result = sandbox.json("a/ablation.json");
    let arms = result["result"]["arms"].as_array().unwrap();
    assert_eq!(arms.len(), 3);
    // The figures of an arm are those of `eval bon` on the file that is kept.
    for (arm, run) in arms.iter().zip(result["runs"].as_array().unwrap()) {
        let bon = sandbox.run(&format!("--json eval bon {}", run["scored"].as_str().unwrap())).done().object();
        for method in arm["methods"].as_array().unwrap() {
            let own = &bon["aggregators"][method["name"].as_str().unwrap()];
            assert_eq!([&method["accuracy"], &method["ci"]], [&own["accuracy"], &own["ci"]]);
        }
    }
    assert_eq!(
        (&arms[0]["methods"][0]["difference"], arms[1]["methods"][0]["difference"]["mean"].is_number()),
        (&Value::Null, true)
    );
    // The arms differ in what they are said to: the rate of the third one moves its scores.
    let scored = |index: usize| sandbox.read(result["runs"][index]["scored"].as_str().unwrap());
    assert_ne!(scored(0), scored(2));

    // The same command finds everything done, and a changed arm alone is made.
    let before = sandbox.names("a/train");
    let again = sandbox.run("ablate a.toml -o a --json").done().object();
    assert_eq!(again, result);
    sandbox.write("a.toml", recipe(&ARMS.replace("0.01", "0.02")));
    sandbox.run("ablate a.toml -o a").done();
    let made: Vec<String> = sandbox.names("a/train").into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(made.len(), 2, "a run and its mark: {made:?}");
    // Other candidates are scored again by the same models.
    let models = sandbox.names("a/models");
    let mut other = sandbox.json("c.json");
    other.as_array_mut().unwrap().truncate(3);
    sandbox.write("c.json", other.to_string());
    sandbox.run("ablate a.toml -o a").done();
    assert_eq!(
        (sandbox.names("a/models"), sandbox.json("a/ablation.json")["result"]["problems"].clone()),
        (models, json!(3))
    );
    sandbox.run("report a/ablation.json -o report.html").done();
    let page = String::from_utf8(sandbox.read("report.html")).unwrap();
    assert!(page.contains("Ablation") && page.contains("hard"));
}

#[test]
fn what_reads_a_changed_file_is_made_again() {
    let sandbox = Sandbox::new();
    inputs(&sandbox);
    sandbox.run("samples trees --every-rollout -o s.jsonl").done();
    let named = recipe("[[arms]]\nname = \"x\"\ntrain.config = \"prm.toml\"\ntrain.samples = \"s.jsonl\"\n")
        .replace("[samples]\nfrom = \"trees\"\n", "");
    sandbox.write("a.toml", named);
    sandbox.write("prm.toml", "lr = 0.001\n");
    let made = |times: usize| {
        sandbox.run("ablate a.toml -o a").done();
        let made = ["train", "models", "scored"].map(|what| sandbox.names(&format!("a/{what}")));
        // Each output has a mark beside it.
        assert_eq!(made.iter().flatten().filter(|name| name.contains(".done")).count(), 3 * times, "{made:?}");
    };
    made(1);
    made(1);
    let samples = String::from_utf8(sandbox.read("s.jsonl")).unwrap();
    sandbox.write("s.jsonl", samples.split_inclusive('\n').skip(1).collect::<String>());
    made(2);
    sandbox.write("prm.toml", "lr = 0.01\n");
    made(3);
}

#[test]
fn what_an_arm_cannot_be_is_refused_before_the_first_one_is_trained() {
    let sandbox = Sandbox::new();
    sandbox.write("c.json", json!([{"question": "q", "solutions_splits": [["Answer: 1"]], "labels": [1]}]).to_string());
    std::fs::create_dir(sandbox.path("trees")).unwrap();
    for (arms, parts) in [
        ("[[arms]]\nname = \"x\"\nsamples.hardd = true\n", &["a.toml", "arm \"x\"", "samples", "--hardd"][..]),
        ("[[arms]]\nname = \"x\"\ntrain.lr = \"fast\"\n", &["arm \"x\"", "train", "--lr"]),
        ("[[arms]]\nname = \"x\"\ntrain.set = \"rate=1\"\n", &["arm \"x\"", "train", "`rate`"]),
        ("[[arms]]\nname = \"x\"\ntrain.lora-rank = 4\n", &["arm \"x\"", "score.prm is missing"]),
        ("[[arms]]\nname = \"x\"\ntrain.model = \"none\"\n", &["none"]),
        ("[[arms]]\nname = \"x\"\nconvert.type = \"q9\"\n", &["arm \"x\"", "convert", "q9"]),
        ("[[arms]]\nname = \"x\"\nscore.nonsense = 1\n", &["arm \"x\"", "score", "--nonsense"]),
        ("[[arms]]\nnames = \"x\"\n", &["a.toml", "names"]),
    ] {
        sandbox.write("a.toml", recipe(arms));
        sandbox.refuses("ablate a.toml -o a", 3, parts);
        assert!(!sandbox.path("a").exists(), "{arms}");
    }
    sandbox.write("a.toml", recipe(ARMS));
    sandbox.write("c.json", json!([{"question": "q", "solutions_splits": [["Answer: 1"]]}]).to_string());
    sandbox.refuses("ablate a.toml -o a", 3, &["c.json", "no candidate has a label"]);
    sandbox.refuses("ablate none.toml -o a", 3, &["none.toml"]);
}
