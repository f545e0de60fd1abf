//! `mmprm ablate`: reward models that differ in one thing, each trained and evaluated alike, and their comparison.
//!
//! [`recipe`] reads what the arms are, [`stage`] makes command lines of them and runs those that have not been run.

mod recipe;
mod stage;

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mmprm::data::candidates::{self, CandidateSet};
use mmprm::eval::ablation::{self, Ablation, Arm, ArmMethod};
use mmprm_quant::atomic::{AtomicFile, check_directory};
use serde_json::{Value, json};

use self::recipe::Recipe;
use self::stage::{ArmRun, Stage};
use crate::args::fingerprint;
use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::{Ui, output_directory};

/// Train and evaluate reward models that differ in one thing, and compare how they choose.
///
/// A TOML file says what is the same for all arms and what each one does differently, in the flags of `mmprm samples`, `mmprm train`,
/// `mmprm convert` and `mmprm score`:
///
///   candidates = "candidates.json"     labelled candidates (mmprm generate), which all arms choose among
///   seeds = [0, 1]                     every arm is trained with each of these [default: 0]
///   checkpoint = "last"                or "best"
///
///   [samples]
///   from = "trees"                     directory of trees, or for an implicit PRM the file of candidates
///   [train]
///   task = "prm"                       or "implicit-prm"
///   config = "prm.toml"
///
///   [[arms]]
///   name = "soft labels"
///   [[arms]]
///   name = "hard labels"
///   samples.hard = true
///   [[arms]]
///   name = "lr 1e-5"
///   train.lr = 1e-5
///
/// Paths are relative to the working directory. The figures are those of `mmprm eval bon` with each aggregator of step scores, the mean
/// over the seeds, with differences from the first arm on the same problems; and the accuracy with 1, 2, 4 and so on of the candidates.
/// The directory keeps what each command made and ablation.json, which `mmprm report` draws. The same command resumes an interrupted run;
/// after a change of the file, only what it changes is made again.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What the arms are, a TOML file.
    #[arg(value_name = "FILE")]
    recipe: PathBuf,

    /// Directory of the results; created if missing.
    #[arg(short, long, value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// Print the commands of each arm without running them.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if !args.dry_run {
        check_directory(&args.output)?;
    }
    let recipe = Recipe::read(&args.recipe)?;
    let sets = candidates::load(&recipe.candidates)?;
    if !sets.iter().any(|set| !set.failed && set.labels.as_ref().is_some_and(|labels| !labels.is_empty())) {
        let problem = "no candidate has a label, so that no choice can be measured (mmprm generate labels them)";
        return Err(BadInput(format!("{}: {problem}", recipe.candidates.display())).into());
    }
    // Every command line is checked before the first one runs.
    let runs = stage::plan(&recipe, &args.recipe, &args.output)?;
    if args.dry_run {
        return show_plan(&runs, ui);
    }
    std::fs::create_dir_all(&args.output).with_context(|| format!("cannot create {}", args.output.display()))?;
    let mut exit = Exit::Done;
    for (number, run) in runs.iter().enumerate() {
        ui.say(format_args!("{} of {}: {}, seed {}", number + 1, runs.len(), run.arm, run.seed))?;
        for stage in &run.stages {
            match stage.run(ui)? {
                Exit::Done => {}
                Exit::Interrupted => return Ok(Exit::Interrupted),
                failed => exit = failed,
            }
        }
    }
    let arms = recipe.arms.iter().map(|arm| {
        let own = runs.iter().filter(|run| run.arm == arm.name);
        let scored = own.map(|run| candidates::load(&run.scored)).collect::<Result<Vec<Vec<CandidateSet>>, _>>()?;
        Ok(Arm { name: arm.name.clone(), runs: scored })
    });
    let arms = arms.collect::<anyhow::Result<Vec<Arm>>>()?;
    let ablation = ablation::compare(&arms, 0)?;
    let result = result(&ablation, &recipe, &args.recipe, &runs)?;
    write(&args.output.join("ablation.json"), &result)?;
    ui.result(&result)?;
    print(&ablation, ui)?;
    ui.say(format_args!("written: {}", args.output.display()))?;
    Ok(exit)
}

/// Prints the commands; those that an earlier arm has run already are left out.
fn show_plan(runs: &[ArmRun], ui: &Ui) -> anyhow::Result<Exit> {
    let mut seen: HashSet<&Path> = HashSet::new();
    let mut listed = Vec::new();
    for run in runs {
        ui.say(format_args!("# {}, seed {}", run.arm, run.seed))?;
        for stage in run.stages.iter().filter(|stage| seen.insert(&stage.output)) {
            ui.say(stage.command_line())?;
        }
        let commands: Vec<String> = run.stages.iter().map(Stage::command_line).collect();
        listed.push(json!({"arm": run.arm, "seed": run.seed, "commands": commands}));
    }
    ui.result(&json!({"runs": listed}))?;
    Ok(Exit::Done)
}

fn result(ablation: &Ablation, recipe: &Recipe, path: &Path, runs: &[ArmRun]) -> anyhow::Result<Value> {
    let run = |run: &ArmRun| {
        let commands: Vec<String> = run.stages.iter().map(Stage::command_line).collect();
        json!({"arm": run.arm, "seed": run.seed, "scored": run.scored, "commands": commands})
    };
    Ok(json!({
        "ablation": path, "candidates": recipe.candidates, "candidates_sha256": fingerprint(&recipe.candidates)?,
        "seeds": recipe.seeds, "runs": runs.iter().map(run).collect::<Vec<_>>(), "result": ablation,
        "program": env!("CARGO_PKG_VERSION"),
    }))
}

fn write(path: &Path, result: &Value) -> anyhow::Result<()> {
    let write = || {
        let mut file = AtomicFile::create(path)?;
        writeln!(file, "{result:#}")?;
        file.commit()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn print(ablation: &Ablation, ui: &Ui) -> anyhow::Result<()> {
    ui.say(format_args!("{} problems, {} left out", ablation.problems, ablation.left_out))?;
    let baseline = |one: &ablation::Baseline| {
        format!("{} {:.3} ({:.3} to {:.3})", one.name, one.point.accuracy, one.point.ci[0], one.point.ci[1])
    };
    let baselines: Vec<String> = ablation.baselines.iter().map(baseline).collect();
    ui.say(format_args!("without a reward model: {}", baselines.join(", ")))?;
    let Some(first) = ablation.arms.first() else { return Ok(()) };
    let names = ablation.arms.iter().map(|arm| arm.name.clone());
    let mut table = Table::new(["rule".to_owned()].into_iter().chain(names));
    for (index, method) in first.methods.iter().enumerate() {
        let cells = ablation.arms.iter().map(|arm| arm.methods.get(index).map_or_else(String::new, cell));
        table.row([method.name.clone()].into_iter().chain(cells));
    }
    ui.say_lines(format_args!("\n{table}"))?;
    ui.say(format_args!(
        "accuracy with all candidates; in brackets its 95 % interval in the first arm, and in the others the difference from that on the \
         same problems"
    ))?;
    let counts = &first.curves.counts;
    let heads = ["arm".to_owned(), "step AUC".into(), "within a problem".into()];
    let mut table = Table::new(heads.into_iter().chain(counts.iter().map(|count| format!("n = {count}"))));
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    for arm in &ablation.arms {
        let product = arm.curves.lines.iter().find(|line| line.name == "product");
        let points = counts
            .iter()
            .enumerate()
            .map(|(at, _)| number(product.and_then(|line| line.points.get(at)).map(|point| point.accuracy)));
        table.row([arm.name.clone(), number(arm.step_auc), number(arm.step_auc_within)].into_iter().chain(points));
    }
    ui.say_lines(format_args!("\n{table}"))?;
    ui.say("separation of right steps from wrong ones; accuracy of the product with n candidates")
}

fn cell(method: &ArmMethod) -> String {
    method.difference.map_or_else(
        || format!("{:.3} ({:.3} to {:.3})", method.accuracy, method.ci[0], method.ci[1]),
        |it| format!("{:.3} ({:+.3}, {:+.3} to {:+.3})", method.accuracy, it.mean, it.ci[0], it.ci[1]),
    )
}
