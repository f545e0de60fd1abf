//! An example for every command, shown at the end of its help: one table, so that all look the same and a test parses each.

use clap::Command;

/// Examples by the words of their command. Files are those of the pipeline in docs/guide.md; `models` is what `mmprm convert`
/// writes to.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "solve",
        &[
            "mmprm solve figure.png 'How long is AB?'",
            "mmprm solve a.png b.png 'Which is larger?' -n 32 --by weighted-vote",
            "mmprm solve 'What is 17 * 3?' --policy models/policy-q4_k_m.gguf --json",
            "mmprm solve --interactive",
        ],
    ),
    (
        "convert",
        &[
            "mmprm convert InternVL2_5-8B -o models",
            "mmprm convert VisualPRM-8B --prm-form visualprm -o models",
            "mmprm convert run/adapter --base InternVL2_5-8B -o models",
        ],
    ),
    ("quantize", &["mmprm quantize models/policy-f16.gguf --type q4_k_m -o models/policy-q4_k_m.gguf"]),
    ("inspect", &["mmprm inspect demo/models/policy-q8_0.gguf", "mmprm inspect demo/models/policy-q8_0.gguf --json"]),
    (
        "generate",
        &[
            "mmprm generate --policy demo/models/policy-q8_0.gguf --mmproj demo/models/mmproj-policy-f16.gguf \
             --problems demo/mini-k12/test/test.json --limit 10 --max-tokens 300 -o candidates.json",
            "mmprm generate --policy-url http://localhost:8000/v1 --policy-model NAME --problems problems.json \
             -o candidates.json",
        ],
    ),
    (
        "score",
        &["mmprm score --prm demo/models/implicit-prm-q8_0.gguf --mmproj demo/models/mmproj-implicit-prm-f16.gguf \
           -i candidates.json -o scored.json"],
    ),
    (
        "search",
        &[
            "mmprm search --method dvts --policy demo/models/policy-q8_0.gguf --mmproj demo/models/mmproj-policy-f16.gguf \
           --prm demo/models/implicit-prm-q8_0.gguf --prm-mmproj demo/models/mmproj-implicit-prm-f16.gguf \
           --problems demo/mini-k12/test/test.json --limit 10 --max-tokens 300 -o searched.json",
        ],
    ),
    ("ablate", &["mmprm ablate ablation.toml -o ablation", "mmprm ablate ablation.toml -o ablation --dry-run"]),
    ("choose", &["mmprm choose scored.json -o chosen.jsonl", "mmprm choose scored.json --by weighted-vote"]),
    ("show", &["mmprm show scored.json", "mmprm show scored.json 3", "mmprm show trees"]),
    (
        "report",
        &["mmprm report scored.json -o report.html", "mmprm report scored.json trees run/log.jsonl -o report.html"],
    ),
    (
        "data import",
        &[
            "mmprm data import mathvista testmini-00000-of-00001.parquet -o data/mathvista",
            "mmprm data import csv mine.csv -o data/mine --map question=prompt --map answer=gold --map image=file",
            "mmprm data import processbench gsm8k.json -o data/processbench",
            "mmprm data import olympiadbench OE_MM_maths.json images.zip -o data/olympiadbench",
        ],
    ),
    (
        "data stats",
        &[
            "mmprm data stats data/mathvista/problems.json",
            "mmprm data stats prm.jsonl --model models/prm-q4_k_m.gguf --json",
        ],
    ),
    (
        "data split",
        &[
            "mmprm data split data/mine/problems.json -o data/parts --by level",
            "mmprm data split problems.jsonl -o parts --parts train=rest,test=500 --seed 1",
        ],
    ),
    (
        "data curate",
        &[
            "mmprm data curate raw/problems.json -o curated --against mathvista/problems.json mathverse/problems.json",
            "mmprm data curate raw/problems.json -o curated --candidates candidates.json --min-pass 0.1 --max-pass 0.9",
        ],
    ),
    (
        "data convert",
        &[
            "mmprm data convert prm.jsonl --to trl --threshold 0.5 -o trl.jsonl",
            "mmprm data convert prm800k.jsonl --to mmprm -o prm.jsonl",
        ],
    ),
    (
        "eval bench",
        &["mmprm eval bench mathvision --problems data/mathvision/problems.json --policy policy-q4_k_m.gguf \
           --mmproj mmproj-policy-f16.gguf --prm prm-q4_k_m.gguf --prm-mmproj mmproj-prm-f16.gguf -n 16 -o runs/mathvision"],
    ),
    ("eval bon", &["mmprm eval bon scored.json", "mmprm eval bon scored.json --curve"]),
    (
        "eval steps",
        &[
            "mmprm eval steps scored.json --by family",
            "mmprm eval steps scored.json --tune f1",
            "mmprm eval steps olympiadbench.json --tune f1 --tune-on gsm8k.json",
        ],
    ),
    (
        "eval judge",
        &["mmprm eval judge verdicts.jsonl", "mmprm eval judge verdicts.jsonl --rule general --rule mathvista"],
    ),
    (
        "annotate",
        &["mmprm annotate --policy demo/models/policy-q8_0.gguf --mmproj demo/models/mmproj-policy-f16.gguf \
           --problems demo/mini-k12/test/test.json --limit 10 --max-tokens 300 -o trees"],
    ),
    (
        "judge",
        &["mmprm judge trees --judge-url http://localhost:8000/v1 --judge-model NAME --data-root images -o judged"],
    ),
    ("samples", &["mmprm samples trees -o prm.jsonl", "mmprm samples candidates.json --ranking -o ranking.jsonl"]),
    (
        "train prm",
        &[
            "mmprm train prm --print-recipe > recipe.toml",
            "mmprm train prm --model InternVL2_5-8B --samples prm.jsonl --data-root images -o run --plan",
            "mmprm train prm --config recipe.toml --model InternVL2_5-8B --samples prm.jsonl --lora-rank 16",
            "mmprm train prm --model policy --samples prm.jsonl -o run --loss pqm",
        ],
    ),
    (
        "train implicit-prm",
        &[
            "mmprm train implicit-prm --model demo/checkpoints/mini-mm-policy --samples ranking.jsonl -o run --epochs 1",
            "mmprm train implicit-prm --model policy --samples prm.jsonl -o run --loss steps --beta 0.05",
        ],
    ),
    (
        "train policy",
        &["mmprm train policy --model InternVL2_5-8B --samples solutions.jsonl -o run --lora-rank 16 --epochs 1"],
    ),
    ("train expand", &["mmprm train expand demo/checkpoints/mini-mm-policy --layers 1 -o expanded"]),
    ("merge", &["mmprm merge run/best --base InternVL2_5-8B -o merged"]),
    ("verify", &["mmprm verify '1/2' '\\boxed{0.5}'", "mmprm verify answers.jsonl -o outcomes.jsonl"]),
    ("bench infer", &["mmprm bench infer", "mmprm bench infer --model models/policy-q4_k_m.gguf --batch 1,8"]),
    ("bench score", &["mmprm bench score --compare naive"]),
    ("bench annotate", &["mmprm bench annotate --limit 5 --repetitions 1"]),
    ("bench vision", &["mmprm bench vision --tiles 8"]),
    ("bench synth", &["mmprm bench synth --shape internvl2_5-8b --type q4_k_m -o synthetic"]),
    ("bench train", &["mmprm bench train --shape", "mmprm bench train --config recipe.toml --first 100"]),
    (
        "doctor",
        &[
            "mmprm doctor",
            "mmprm doctor models/policy-q4_k_m.gguf InternVL2_5-8B",
            "mmprm doctor --model models/policy-q4_k_m.gguf --gpu-memory 24GiB",
        ],
    ),
    ("config set", &["mmprm config set policy demo/models/policy-q8_0.gguf", "mmprm config set n 32"]),
    ("config get", &["mmprm config get policy"]),
    ("config unset", &["mmprm config unset prm"]),
    ("config list", &["mmprm config list"]),
    ("version", &["mmprm version --json"]),
    (
        "completions",
        &[
            "mmprm completions bash > ~/.local/share/bash-completion/completions/mmprm",
            "mmprm completions fish > ~/.config/fish/completions/mmprm.fish",
        ],
    ),
    ("man", &["mmprm man -o man1"]),
    ("grow", &["mmprm grow demo/checkpoints/mini-mm-policy --layers 1 -o expanded"]),
    ("cli-reference", &["mmprm cli-reference > docs/cli.md"]),
];

/// Maximum length of a line of an example, so that it fits a terminal of 80 columns.
const WIDTH: usize = 75;

/// Adds to each command of `program` its examples.
pub fn add_to(program: Command) -> Command {
    let words: Vec<String> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    words.into_iter().fold(program, |program, word| program.mut_subcommand(&word, |command| add(command, &word)))
}

fn add(command: Command, path: &str) -> Command {
    let words: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let command = words
        .into_iter()
        .fold(command, |command, word| command.mut_subcommand(&word, |inner| add(inner, &format!("{path} {word}"))));
    match of(path) {
        [] => command,
        examples => {
            let lines: Vec<String> = examples.iter().map(|example| wrapped(example)).collect();
            command.after_long_help(format!("Examples:\n  {}", lines.join("\n  ")))
        }
    }
}

/// A command on lines that fit a terminal, continued as a shell reads them.
fn wrapped(example: &str) -> String {
    let mut lines = vec![String::new()];
    let mut words = example.split(' ').peekable();
    while let Some(word) = words.next() {
        // A flag stays with its value.
        let value = words.next_if(|next| word.starts_with('-') && !next.starts_with('-'));
        let word = value.map_or(word.to_owned(), |value| format!("{word} {value}"));
        let last = lines.last_mut().expect("there is a first line");
        if last.is_empty() || last.len() + 1 + word.len() <= WIDTH {
            let space = if last.is_empty() { "" } else { " " };
            last.push_str(space);
            last.push_str(&word);
        } else {
            lines.push(format!("    {word}"));
        }
    }
    lines.join(" \\\n  ")
}

/// The examples of a command by its words without `mmprm`.
pub fn of(path: &str) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(known, _)| *known == path).map_or(&[], |(_, examples)| examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands without subcommands below `command`, with their words.
    fn leaves(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        let below: Vec<&Command> = command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
        if below.is_empty() {
            found.push((path.to_owned(), command.clone()));
        }
        for inner in below {
            leaves(inner, format!("{path} {}", inner.get_name()).trim(), found);
        }
    }

    /// The words of an example as a shell passes them: quotes are removed, a redirection is the shell's.
    fn words(example: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for character in example.split(" > ").next().unwrap().chars() {
            match character {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                other => word.push(other),
            }
        }
        assert!(!quoted, "{example}");
        words.push(word);
        words
    }

    #[test]
    fn every_command_has_an_example_that_parses() {
        let mut program = crate::program();
        program.build();
        let mut found = Vec::new();
        leaves(&program, "", &mut found);
        assert!(found.len() >= 24, "{}", found.len());
        for (path, mut command) in found.clone() {
            let examples = of(&path);
            assert!(!examples.is_empty(), "`mmprm {path}` has no example in tools/src/examples.rs");
            let help = command.render_long_help().to_string();
            for example in examples {
                let pasted = help.replace(" \\\n      ", " ");
                assert!(pasted.contains(&format!("\n  {example}\n")), "{path}: {help}");
                assert!(example.starts_with(&format!("mmprm {path}")), "{example}");
                let parsed = crate::program().try_get_matches_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
        for (path, _) in EXAMPLES {
            assert!(found.iter().any(|(known, _)| known == path), "no command `mmprm {path}`");
        }
    }

    #[test]
    fn every_help_begins_with_one_line_and_shows_the_usage() {
        let mut program = crate::program();
        program.build();
        let mut found = Vec::new();
        leaves(&program, "", &mut found);
        for (path, mut command) in found {
            let help = command.render_long_help().to_string();
            let first: Vec<&str> = help.lines().take(2).collect();
            assert!(first[0].chars().count() <= 110 && first[1].is_empty(), "{path}: {help}");
            assert!(help.contains("\nUsage: mmprm "), "{path}: {help}");
        }
    }
}
