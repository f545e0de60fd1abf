//! What the arms of an ablation are: a TOML file of flags.

use std::path::{Path, PathBuf};

use mmprm::util::io::read_to_string;
use serde::Deserialize;
use toml::{Table, Value};

use crate::exit::BadInput;

/// Maximum size of the file in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// An ablation.
#[derive(Debug)]
pub struct Recipe {
    /// Labelled candidates.
    pub candidates: PathBuf,
    /// Random seeds of training; not empty.
    pub seeds: Vec<u64>,
    /// The checkpoint of a run that is evaluated.
    pub checkpoint: Checkpoint,
    /// The arms; not empty.
    pub arms: Vec<Arm>,
}

/// A checkpoint of a training run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checkpoint {
    /// The last one.
    #[default]
    Last,
    /// The one with the best validation.
    Best,
}

impl Checkpoint {
    /// Its directory below that of the run.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
        }
    }
}

/// An arm: the flags of its commands, those of all arms included.
#[derive(Debug)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Where its samples are made from; `None` if `train` names them.
    pub from: Option<String>,
    /// The task of `mmprm train`.
    pub task: String,
    /// Flags of `mmprm samples`.
    pub samples: Vec<String>,
    /// Flags of `mmprm train`.
    pub train: Vec<String>,
    /// Flags of `mmprm convert`.
    pub convert: Vec<String>,
    /// Flags of `mmprm score`.
    pub score: Vec<String>,
}

/// The flags of each command as the file has them.
#[derive(Debug, Clone, Default, Deserialize)]
struct Commands {
    #[serde(default)]
    samples: Table,
    #[serde(default)]
    train: Table,
    #[serde(default)]
    convert: Table,
    #[serde(default)]
    score: Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    candidates: PathBuf,
    seeds: Option<Vec<u64>>,
    #[serde(default)]
    checkpoint: Checkpoint,
    #[serde(default)]
    samples: Table,
    #[serde(default)]
    train: Table,
    #[serde(default)]
    convert: Table,
    #[serde(default)]
    score: Table,
    arms: Vec<ArmForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmForm {
    name: String,
    #[serde(default)]
    samples: Table,
    #[serde(default)]
    train: Table,
    #[serde(default)]
    convert: Table,
    #[serde(default)]
    score: Table,
}

impl Recipe {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_to_string(path, MAX_BYTES)?;
        Ok(Self::parse(&text).map_err(|problem| BadInput(format!("{}: {problem}", path.display())))?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let form: FileForm = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(String::new(), |span| {
                format!("line {}: ", 1 + text[..span.start.min(text.len())].matches('\n').count())
            });
            format!("{line}{}", error.message())
        })?;
        let seeds = form.seeds.unwrap_or_else(|| vec![0]);
        if seeds.is_empty() || form.arms.is_empty() {
            return Err(format!("`{}` is empty", if seeds.is_empty() { "seeds" } else { "arms" }));
        }
        if let Some(seed) = repeated(&seeds) {
            return Err(format!("`seeds` has {seed} twice"));
        }
        let names: Vec<&String> = form.arms.iter().map(|arm| &arm.name).collect();
        if let Some(name) = repeated(&names) {
            return Err(format!("two arms are named {name:?}"));
        }
        let all = Commands { samples: form.samples, train: form.train, convert: form.convert, score: form.score };
        let arms = form.arms.into_iter().map(|arm| {
            let name = arm.name.clone();
            Arm::new(arm, all.clone()).map_err(|problem| format!("arm {name:?}: {problem}"))
        });
        Ok(Self {
            candidates: form.candidates,
            seeds,
            checkpoint: form.checkpoint,
            arms: arms.collect::<Result<_, _>>()?,
        })
    }
}

impl Arm {
    /// Adds what an arm does differently to what all do.
    fn new(form: ArmForm, all: Commands) -> Result<Self, String> {
        let merge = |mut all: Table, own: Table| {
            all.extend(own);
            all
        };
        let mut samples = merge(all.samples, form.samples);
        let mut train = merge(all.train, form.train);
        let convert = merge(all.convert, form.convert);
        let score = merge(all.score, form.score);
        let from = text(&mut samples, "samples", "from")?;
        let task = text(&mut train, "train", "task")?.unwrap_or_else(|| "prm".to_owned());
        let given = train.contains_key("samples");
        match (&from, given) {
            (None, false) => return Err("samples.from is missing: what the training samples are made from".to_owned()),
            (Some(_), true) => return Err("samples.from and train.samples are given; use one of them".to_owned()),
            _ => {}
        }
        if given && !samples.is_empty() {
            return Err("flags of samples have no effect where train.samples names a file".to_owned());
        }
        // What the ablation itself gives.
        let own = [
            ("samples", &samples, &["output"][..]),
            ("train", &train, &["output", "seed"]),
            ("convert", &convert, &["output", "base", "dry-run"]),
            ("score", &score, &["output", "input", "lora"]),
        ];
        for (command, table, keys) in own {
            if let Some(key) = keys.iter().find(|key| table.keys().any(|own| own.replace('_', "-") == **key)) {
                return Err(format!("{command}.{key} is what `mmprm ablate` chooses"));
            }
        }
        Ok(Self {
            name: form.name,
            from,
            task,
            samples: flags("samples", &samples)?,
            train: flags("train", &train)?,
            convert: flags("convert", &convert)?,
            score: flags("score", &score)?,
        })
    }
}

/// Takes a text out of a table.
fn text(table: &mut Table, command: &str, key: &str) -> Result<Option<String>, String> {
    match table.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{command}.{key} is {other}, expected a text")),
    }
}

/// The flags of a table: `true` is a flag without a value, `false` none, an array one that is repeated.
fn flags(command: &str, table: &Table) -> Result<Vec<String>, String> {
    let mut flags = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            one => vec![one],
        };
        for value in values {
            match value {
                Value::Boolean(true) => flags.push(format!("--{name}")),
                Value::Boolean(false) => {}
                Value::String(text) => flags.push(format!("--{name}={text}")),
                Value::Integer(_) | Value::Float(_) => flags.push(format!("--{name}={value}")),
                other => return Err(format!("{command}.{key} is {other}, expected the value of a flag")),
            }
        }
    }
    Ok(flags)
}

/// The first value that occurs twice.
fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(index, value)| values[..*index].contains(value)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
candidates = "c.json"
[samples]
from = "trees"
positives = 2
[train]
config = "prm.toml"
lr = 1e-4
[[arms]]
name = "a"
[[arms]]
name = "b"
samples.hard = true
samples.positives = 1
train.set = ["x=1", "y=2"]
train.truncate = false
score.threads = 2
"#;

    #[test]
    fn an_arm_has_the_flags_of_all_and_its_own() {
        let recipe = Recipe::parse(FILE).unwrap();
        let [a, b] = &recipe.arms[..] else { panic!("{recipe:?}") };
        assert_eq!((recipe.seeds.clone(), recipe.checkpoint, a.task.as_str()), (vec![0], Checkpoint::Last, "prm"));
        assert_eq!((a.from.as_deref(), &a.samples[..]), (Some("trees"), &["--positives=2".to_owned()][..]));
        assert_eq!(b.samples, ["--hard", "--positives=1"]);
        assert_eq!(b.train, ["--config=prm.toml", "--lr=0.0001", "--set=x=1", "--set=y=2"]);
        assert_eq!((a.score.len(), b.score[0].as_str()), (0, "--threads=2"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (change, problem) in [
            (("candidates", "candidate"), "unknown field `candidate`"),
            (("[samples]\nfrom = \"trees\"", "[samples]"), "arm \"a\": samples.from is missing"),
            (("lr = 1e-4", "samples = \"s.jsonl\""), "samples.from and train.samples are given"),
            (("lr = 1e-4", "output = \"run\""), "train.output is what `mmprm ablate` chooses"),
            (("lr = 1e-4", "lr = 1979-05-27"), "train.lr is 1979-05-27, expected the value of a flag"),
            (("name = \"b\"", "name = \"a\""), "two arms are named \"a\""),
            (("[samples]", "seeds = []\n[samples]"), "`seeds` is empty"),
            (("[samples]", "seeds = [1, 1]\n[samples]"), "`seeds` has 1 twice"),
            (("[samples]", "checkpoint = \"first\"\n[samples]"), "unknown variant `first`"),
            (("score.threads", "scores.threads"), "unknown field `scores`"),
            (("config = \"prm.toml\"", "task = 1"), "train.task is 1, expected a text"),
        ] {
            let error = Recipe::parse(&FILE.replace(change.0, change.1)).unwrap_err();
            assert!(error.contains(problem), "{change:?}: {error}");
        }
        assert!(Recipe::parse("candidates = \"c\"\narms = []").unwrap_err().contains("`arms` is empty"));
        let given = FILE.replace("from = \"trees\"\n", "").replace("lr = 1e-4", "samples = \"s\"");
        assert!(Recipe::parse(&given).unwrap_err().contains("flags of samples have no effect"));
    }
}
