//! Problems, candidates, trees, samples, answers and templates.

use super::{Form, Target, attack};
use crate::kills::{annotate, candidates, samples, sandbox};
use crate::support::{POLICY, PRM};

#[test]
fn problems() {
    let sandbox = sandbox();
    let problems = sandbox.json("data/test.json");
    let few = &problems.as_array().unwrap()[..3];
    let rich = serde_json::json!({"id": "r", "question": "What is <image1>?", "answer": "7", "choices": ["6", "7"], "options":
        null, "images": [few[0]["image_path"]], "precision": 1, "unit": "cm", "answer_type": "float", "question_type": "x"});
    let few = [few, &[rich]].concat();
    sandbox.write("whole/p.json", serde_json::json!(few).to_string());
    sandbox.write(
        "whole/p.jsonl",
        few.iter().flat_map(|problem| [problem.to_string(), "\n".to_owned()]).collect::<String>(),
    );
    sandbox.write("whole/template.txt", "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n");
    let policy = POLICY.replace("--max-tokens 150", "--max-tokens 8 --max-tiles 1 --data-root data --quiet");
    let generate = |problems: &str| format!("generate {policy} --problems {problems} -n 2 -o case/c.json");
    let search = format!("annotate {policy} --problems case/p.json --rollouts 2 --rollout-budget 2 -o case/trees");
    let with_template = format!("{} --prompt-template case/template.txt", generate("case/p.json"));
    attack(
        "input problems",
        &sandbox,
        &[
            Target::new(
                "p.json",
                Form::Json,
                60,
                &[
                    &[&generate("case/p.json")],
                    &[&search, "samples case/trees -o case/s.jsonl"],
                    &["data stats case/p.json --data-root data"],
                    &["data split case/p.json -o case/parts --parts a=0.5,b=0.5 --data-root data --force"],
                    &["data curate case/p.json -o case/curated --text-only --data-root data --force"],
                ],
            ),
            Target::new("p.jsonl", Form::JsonLines, 40, &[&[&generate("case/p.jsonl"), "eval bon case/c.json"]]),
            Target::new("template.txt", Form::Bytes, 15, &[&[&with_template]]),
        ],
    );
}

#[test]
fn solutions() {
    let sandbox = sandbox();
    sandbox.write("whole/c.json", candidates(2));
    sandbox.run(&format!("score {PRM} -i whole/c.json --data-root data --quiet -o whole/s.json")).done();
    std::fs::remove_file(sandbox.path("whole/s.json.settings.json")).unwrap();
    sandbox.write("whole/a.jsonl", concat!(
        r#"{"gold": "1/2", "pred": "The answer is 0.5", "opts": {"choices": ["1", "0.5"], "precision": 2, "unit": "m"}}"#, "\n",
        r#"{"gold": "\\frac{\\sqrt{2}}{2}", "pred": "\\[ x = 2^{-0.5} \\]", "verdict": true, "source": "s"}"#, "\n",
        r#"{"gold": "{1, 2}", "pred": "{1, 2}", "opts": {"answer_type": "list"}, "question": "(A) 1 (B) 2"}"#, "\n",
    ));
    let score = format!("score {PRM} -i case/c.json --data-root data --quiet -o case/out.json");
    sandbox.write("whole/form.toml", include_str!("../../../src/prompt/form/builtin/internvl2_5-training.toml"));
    let with_form =
        format!("score {PRM} -i whole/c.json --data-root data --quiet -o case/out.json --prm-form case/form.toml");
    let verify = |rule: &str| format!("verify case/a.jsonl --rule {rule} --quiet -o case/v.jsonl");
    attack(
        "input solutions",
        &sandbox,
        &[
            Target::new("c.json", Form::Json, 70, &[&[&score, "eval bon case/out.json"]]),
            Target::new("form.toml", Form::Bytes, 25, &[&[&with_form]]),
            Target::new(
                "s.json",
                Form::Json,
                50,
                &[
                    &["eval bon case/s.json -o case/e.json"],
                    &["choose case/s.json -o case/o.jsonl"],
                    &["show case/s.json"],
                    &["show case/s.json 0"],
                ],
            ),
            Target::new(
                "a.jsonl",
                Form::JsonLines,
                60,
                &[
                    &[&verify("general")],
                    &[&verify("mathvista")],
                    &[&verify("mathvision")],
                    &["eval judge case/a.jsonl --rule general --rule mathvista"],
                ],
            ),
        ],
    );
}

#[test]
fn trees_and_samples() {
    let sandbox = sandbox();
    sandbox.run(&format!("{} --quiet -o trees", annotate(2))).done();
    let tree = sandbox.trees("trees").remove(0);
    sandbox.write("whole/trees/tree.json", sandbox.read(&format!("trees/{tree}")));
    sandbox.write("whole/s.jsonl", samples());
    sandbox
        .write("whole/log.jsonl", "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25,\"tokens_per_second\":9.5}\n");
    sandbox.write(
        "whole/bench.json",
        r#"{"bench": "infer", "rows": [{"model": "m", "threads": 2, "mean": 2.5, "unit": "tokens/s"}]}"#,
    );
    let train = "train prm --quiet --model mini-prm --samples case/s.jsonl --steps 1 -o case/run";
    let plan = "train prm --quiet --model mini-prm --samples case/s.jsonl --plan -o case/run";
    attack(
        "input trees and samples",
        &sandbox,
        &[
            Target::new(
                "trees/tree.json",
                Form::Json,
                70,
                &[
                    &["samples case/trees -o case/o.jsonl"],
                    &["samples case/trees --every-rollout --relative -o case/o.jsonl"],
                    &["samples case/trees --pool --hard --per-tree 2 --positives 2 -o case/o.jsonl"],
                    &["show case/trees", "show case/trees 0"],
                ],
            ),
            Target::new(
                "s.jsonl",
                Form::JsonLines,
                60,
                &[
                    &[plan, train],
                    &["show case/s.jsonl", "show case/s.jsonl 0"],
                    &["data convert case/s.jsonl --to trl --threshold 0.5 -o case/t.jsonl"],
                ],
            ),
            Target::new("log.jsonl", Form::JsonLines, 20, &[&["show case/log.jsonl"]]),
            Target::new("bench.json", Form::Json, 20, &[&["show case/bench.json"]]),
        ],
    );
}
