//! The commands of an ablation's arms, and running those that have not been run.
//!
//! What a command makes is kept under a name that is a hash of its command line and of every file that it reads but images. Arms that
//! begin alike share what they have in common, and a change of the recipe makes again only what depends on it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::FromArgMatches;
use mmprm::util::identity::identity;
use mmprm_quant::atomic::AtomicFile;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Write;

use super::recipe::{Arm, Recipe};
use crate::commands::train;
use crate::exit::{BadInput, Exit};
use crate::ui::Ui;
use crate::{Cli, Command};

/// An arm with one seed.
#[derive(Debug)]
pub struct ArmRun {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Its commands, in order.
    pub stages: Vec<Stage>,
    /// The scored candidates, which the last one writes.
    pub scored: PathBuf,
}

/// A command.
#[derive(Debug)]
pub struct Stage {
    words: Vec<String>,
    /// What it makes.
    pub output: PathBuf,
}

/// Makes the commands of all arms and seeds, and checks that each one is well formed.
pub fn plan(recipe: &Recipe, path: &Path, output: &Path) -> anyhow::Result<Vec<ArmRun>> {
    let mut runs = Vec::new();
    for arm in &recipe.arms {
        for &seed in &recipe.seeds {
            let wrong = |problem: String| BadInput(format!("{}: arm {:?}: {problem}", path.display(), arm.name));
            runs.push(Plan { recipe, arm, output }.run(seed, &wrong)?);
        }
    }
    Ok(runs)
}

/// What the commands of an arm are made of.
struct Plan<'a> {
    recipe: &'a Recipe,
    arm: &'a Arm,
    output: &'a Path,
}

impl Plan<'_> {
    fn run(&self, seed: u64, wrong: &dyn Fn(String) -> BadInput) -> anyhow::Result<ArmRun> {
        let arm = self.arm;
        let check = |words: &[String]| {
            parse(words).map_err(|problem| anyhow::Error::from(wrong(format!("{}: {problem}", words[0]))))
        };
        let mut stages = Vec::new();
        let mut train = [&["train".to_owned(), arm.task.clone()][..], &arm.train].concat();
        if let Some(from) = &arm.from {
            let mut words = [&["samples".to_owned(), from.clone()][..], &arm.samples].concat();
            let made = self.place("samples", ".jsonl", &words, &[Path::new(from)])?;
            words.push(flag("output", &made));
            check(&words)?;
            train.push(flag("samples", &made));
            stages.push(Stage { words, output: made });
        }
        train.push(format!("--seed={seed}"));
        // The recipe names the model; the directory of the run does not matter for that.
        let asked = [&train[..], &[flag("output", self.output)]].concat();
        let Command::Train(args) = check(&asked)? else { return Err(wrong("train: not a command".into()).into()) };
        let trained = train::recipe(&args).map_err(|problem| wrong(format!("train: {problem}")))?;
        // The recipe of training may name files, too.
        let named = [Some(&trained.model), Some(&trained.samples), trained.validation_samples.as_ref()];
        let named = named.into_iter().chain([trained.reference.as_ref()]).flatten();
        let directory = self.place("train", "", &train, &named.map(PathBuf::as_path).collect::<Vec<_>>())?;
        train.push(flag("output", &directory));
        check(&train)?;
        stages.push(Stage { words: train, output: directory.clone() });

        let name = self.recipe.checkpoint.name();
        let mut convert = vec!["convert".to_owned(), directory.join(name).display().to_string()];
        let weights = arm.convert.iter().find_map(|flag| flag.strip_prefix("--type=")).unwrap_or("f16");
        let is_adapter = trained.lora.is_some();
        if is_adapter {
            convert.push(flag("base", &trained.model));
        }
        convert.extend(arm.convert.iter().cloned());
        let models = self.place("models", "", &convert, &[])?;
        convert.push(flag("output", &models));
        check(&convert)?;
        stages.push(Stage { words: convert, output: models.clone() });

        let mut score = vec!["score".to_owned()];
        if is_adapter {
            if !arm.score.iter().any(|flag| flag.starts_with("--prm=")) {
                let problem = "score.prm is missing: the GGUF file of the model that the adapters are trained for";
                return Err(wrong(problem.to_owned()).into());
            }
            score.push(flag("lora", &models.join(format!("{name}-lora-{weights}.gguf"))));
        } else {
            score.push(flag("prm", &models.join(format!("{name}-{weights}.gguf"))));
            if has_vision(&trained.model) {
                // The projector of a quantised model stays at f16.
                let vision = if weights == "q8_0" { "f16" } else { weights };
                score.push(flag("mmproj", &models.join(format!("mmproj-{name}-{vision}.gguf"))));
            }
        }
        score.extend(arm.score.iter().cloned());
        score.push(flag("input", &self.recipe.candidates));
        let scored = self.place("scored", ".json", &score, &[])?;
        score.push(flag("output", &scored));
        check(&score)?;
        stages.push(Stage { words: score, output: scored.clone() });
        Ok(ArmRun { arm: arm.name.clone(), seed, stages, scored })
    }

    /// Where the output of a command lies that reads `inputs`, which must be there, and the files that its flags name. What the
    /// ablation makes has the hash of its origin as its name.
    fn place(&self, what: &str, ending: &str, words: &[String], inputs: &[&Path]) -> anyhow::Result<PathBuf> {
        let flags = words.iter().filter_map(|word| word.strip_prefix("--")?.split_once('='));
        // Images are too many to read again, and do not change as recipes and samples do.
        let files = flags.filter(|(name, _)| *name != "data-root").map(|(_, value)| Path::new(value));
        let files = files.filter(|path| path.exists()).chain(inputs.iter().copied());
        let files: BTreeSet<&Path> = files.filter(|path| !path.starts_with(self.output)).collect();
        let mut hash = Sha256::new();
        hash.update(words.join("\0"));
        for file in files {
            hash.update(format!("\0\0{}", identity_of(file)?));
        }
        Ok(self.output.join(what).join(format!("{}{ending}", &format!("{:x}", hash.finalize())[..12])))
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// The command of a command line.
fn parse(words: &[String]) -> Result<Command, String> {
    let all = std::iter::once("mmprm").chain(words.iter().map(String::as_str));
    let cli = crate::program().try_get_matches_from(all).and_then(|matches| Cli::from_arg_matches(&matches));
    cli.map(|cli| cli.command).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })
}

/// Hash of a file, or of a directory's files by name.
fn identity_of(path: &Path) -> anyhow::Result<String> {
    if !path.is_dir() {
        return Ok(identity(path)?);
    }
    let list = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut files = list().with_context(|| format!("cannot read {}", path.display()))?;
    files.retain(|file| file.is_file());
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(format!("{}\0{}\0", file.file_name().unwrap_or_default().display(), identity(&file)?));
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// Whether a checkpoint has a vision tower.
fn has_vision(model: &Path) -> bool {
    let config = std::fs::read(model.join("config.json")).ok();
    let config = config.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    config.is_some_and(|config| config.get("vision_config").is_some())
}

impl Stage {
    /// Runs the command, unless it has been run.
    pub fn run(&self, ui: &Ui) -> anyhow::Result<Exit> {
        let done = self.output.with_added_extension("done");
        if done.is_file() {
            return Ok(Exit::Done);
        }
        if let Some(directory) = self.output.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let command = parse(&self.words).map_err(BadInput)?;
        ui.say(self.command_line())?;
        let exit = crate::run(command, &ui.for_a_step())?;
        if exit == Exit::Done {
            let write = || {
                let mut file = AtomicFile::create(&done)?;
                writeln!(file, "{}", self.command_line())?;
                file.commit()
            };
            write().with_context(|| format!("cannot write {}", done.display()))?;
        }
        Ok(exit)
    }

    /// The command as it is typed in a shell.
    pub fn command_line(&self) -> String {
        let quoted = |word: &String| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./,:+@%".contains(&byte);
            if word.bytes().all(is_plain) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) }
        };
        let words: Vec<String> = self.words.iter().map(quoted).collect();
        format!("mmprm {}", words.join(" "))
    }
}
