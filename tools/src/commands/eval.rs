//! `mmprm eval`: how good choosing is.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use mmprm::answer::extract::extract;
use mmprm::answer::{AnswerSpec, Outcome, compare};
use mmprm::data::candidates::{self, CandidateSet};
use mmprm::eval::bon::{self, Choice, Options};
use mmprm_quant::atomic::AtomicFile;
use serde_json::{Map, Value, json};

use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::Ui;

/// Measure how good ways of choosing among candidates are.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Bon(BonArgs),
}

/// Best-of-N: each way of choosing a candidate, and how often a right one is chosen.
///
/// A candidate at random, pass@k, any right one (oracle), the majority of the answers; where the file has `prm_scores`,
/// every way of making one number of a candidate's step scores, and votes weighted by it; where it has the policy's own
/// logprobs (`generate` writes them), the best by its worst step and by its mean token. With 95 % intervals from
/// resampled problems.
#[derive(clap::Args)]
struct BonArgs {
    /// A Best-of-N file with `labels`, as `mmprm generate` or `mmprm score` writes it.
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Where the results go, as JSON.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Count a candidate without steps as 0, as the reference does: it is then preferred to others by sums of logarithms.
    #[arg(long)]
    reference: bool,

    /// Seed of the intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    match &args.what {
        What::Bon(args) => best_of_n(args, ui),
    }
}

fn best_of_n(args: &BonArgs, ui: &Ui) -> anyhow::Result<Exit> {
    let sets = candidates::load(&args.input)?;
    let labelled = sets.iter().filter(|set| set.labels.is_some()).count();
    if labelled == 0 {
        return Err(
            BadInput(format!("{}: no record has labels, so nothing can be compared", args.input.display())).into()
        );
    }
    let votes: Vec<Vec<Option<String>>> = sets.iter().map(answers).collect();
    let choices = bon::report(&sets, &votes, Options { reference: args.reference, seed: args.seed });
    let aggregators: Map<String, Value> = choices.iter().map(|choice| (choice.name.clone(), json!(choice))).collect();
    let result = json!({"input": args.input, "problems": labelled, "aggregators": aggregators});
    if let Some(output) = &args.output {
        let write = || {
            let mut file = AtomicFile::create(output)?;
            writeln!(file, "{result:#}")?;
            file.commit()
        };
        write().with_context(|| format!("cannot write {}", output.display()))?;
    }
    ui.result(&result)?;
    let most = sets.iter().map(|set| set.solutions.len()).max().unwrap_or(0);
    ui.say(format_args!("{labelled} problems, up to {most} candidates each\n\n{}", table(&choices)))?;
    if let Some(output) = &args.output {
        ui.say(format_args!("written: {}", output.display()))?;
    }
    Ok(Exit::Done)
}

fn table(choices: &[Choice]) -> Table {
    let mut table = Table::new(["choice", "accuracy", "from", "to"]);
    for choice in choices {
        let number = |value: f64| format!("{value:.3}");
        table.row([choice.name.clone(), number(choice.accuracy), number(choice.ci[0]), number(choice.ci[1])]);
    }
    table
}

/// The final answer of each candidate; answers that mean the same are given in the words of the first of them.
fn answers(set: &CandidateSet) -> Vec<Option<String>> {
    let setting = AnswerSpec::of(&set.record);
    let mut known: Vec<String> = Vec::new();
    let mut named = |steps: &Vec<String>| {
        let said = extract(steps.last()?).parts.join("; ");
        let same =
            known.iter().find(|known| **known == said || compare(known, &said, &setting).outcome == Outcome::Equal);
        Some(same.cloned().unwrap_or_else(|| {
            known.push(said.clone());
            said
        }))
    };
    set.solutions.iter().map(&mut named).collect()
}
