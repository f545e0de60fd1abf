//! `mmprm evaluate`: pass@k, majority vote and Best-of-N of a candidate file.

use std::path::PathBuf;

use mmprm::answer::extract::extract;
use mmprm::answer::{Outcome, Setting, compare};
use mmprm::eval::candidates::{self, CandidateSet};
use mmprm::eval::metrics::{Aggregator, best, majority, pass_at_k};
use serde_json::{Map, Value, json};

use crate::exit::{BadInput, Exit};
use crate::table::Table;
use crate::ui::Ui;

/// Compare ways to choose among candidates.
///
/// Prints pass@1 (a candidate at random), pass@N (any candidate), the majority vote over final answers, and, where the file
/// has `prm_scores`, Best-of-N by each way of making one number of a candidate's step scores.
#[derive(clap::Args)]
pub struct Args {
    /// A Best-of-N file with `labels`, as `mmprm generate` or `mmprm score` writes it.
    #[arg(value_name = "FILE")]
    input: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let sets = candidates::load(&args.input)?;
    let labelled: Vec<(&CandidateSet, &[bool])> =
        sets.iter().filter_map(|set| set.labels.as_deref().map(|labels| (set, labels))).collect();
    if labelled.is_empty() {
        return Err(
            BadInput(format!("{}: no record has labels, so nothing can be compared", args.input.display())).into()
        );
    }
    let mut rows: Vec<(String, f64)> = Vec::new();
    let most = labelled.iter().map(|(_, labels)| labels.len()).max().unwrap_or(0);
    for k in std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|&k| k <= most.max(1)) {
        let pass = |labels: &[bool]| pass_at_k(labels.len(), labels.iter().filter(|&&label| label).count(), k);
        rows.push((format!("pass@{k}"), mean(labelled.iter().map(|(_, labels)| pass(labels)))));
    }
    let chosen = |choice: Option<usize>, labels: &[bool]| f64::from(choice.is_some_and(|index| labels[index]));
    rows.push((
        "majority vote".into(),
        mean(labelled.iter().map(|(set, labels)| chosen(majority(&answers(set)), labels))),
    ));
    if labelled.iter().all(|(set, _)| set.scores.is_some()) {
        for aggregator in Aggregator::ALL {
            let pick = |set: &CandidateSet| {
                let scores = set.scores.as_deref().unwrap_or_default();
                best(&scores.iter().map(|steps| aggregator.apply(steps)).collect::<Vec<_>>())
            };
            let accuracy = mean(labelled.iter().map(|(set, labels)| chosen(pick(set), labels)));
            rows.push((format!("best-of-{most}, {}", aggregator.name()), accuracy));
        }
    }
    let mut table = Table::new(["choice", "accuracy"]);
    for (name, accuracy) in &rows {
        table.row([name.clone(), format!("{accuracy:.3}")]);
    }
    ui.say(format_args!("{} problems, up to {most} candidates each\n\n{table}", labelled.len()))?;
    let accuracies: Map<String, Value> = rows.into_iter().map(|(name, accuracy)| (name, json!(accuracy))).collect();
    ui.result(&json!({"problems": labelled.len(), "accuracy": accuracies}))?;
    Ok(Exit::Done)
}

/// The final answer of each candidate; answers that mean the same are given in the words of the first of them.
fn answers(set: &CandidateSet) -> Vec<Option<String>> {
    let setting = Setting::of(&set.record);
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

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len();
    values.sum::<f64>() / count.max(1) as f64
}
