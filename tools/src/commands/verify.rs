//! `mmprm verify`: compare predicted answers with the expected ones by rules.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use mmprm::answer::{AnswerSpec, Comparison, Outcome, Rule};
use mmprm::eval::triples::{self, Agreement, Triple};
use mmprm_quant::atomic::{AtomicFile, check_file};
use rayon::prelude::*;
use serde_json::json;

use crate::exit::{BadInput, Exit, Usage};
use crate::table::Table;
use crate::ui::{Ui, output_file};

/// Compare predicted answers with the expected ones, by rules and without a model.
///
/// With two answers, the expected and the predicted one, prints whether they are equal, different or undecided, and why. An
/// answer that begins with a minus sign and is no number follows `--`.
///
/// With -o, reads JSON Lines with `gold` (the expected answer) and `pred` (the predicted answer, or a text
/// that contains it). Optional: `opts` with `choices` (options, A first), `precision` (number of
/// decimals, or a tolerance such as 1e-3), `unit` and `answer_type`; `question` (searched for
/// options without `choices`); `verdict` (true or false) and `source` (a name). Writes one outcome
/// (equal, different or undecided) with its reason for each line. With verdicts, prints the
/// agreement for each source.
#[derive(clap::Args)]
pub struct Args {
    /// The expected and the predicted answer; with -o, JSON Lines files of answers.
    #[arg(value_name = "GOLD PRED|JSONL", required = true, allow_negative_numbers = true)]
    answers: Vec<OsString>,

    /// JSON Lines file for the outcomes, one for each input line; `-` is standard output.
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: Option<PathBuf>,

    /// Comparison rule: general, or that of a benchmark (never undecided).
    #[arg(long, value_name = "RULE", default_value = "general")]
    rule: RuleName,
}

/// Comparison rules by name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum RuleName {
    /// Mathematical equality, with units, options and words.
    General,
    /// MathVista: nearest option, or rounded number.
    #[value(name = "mathvista")]
    MathVista,
    /// MATH-Vision: letter or value of the option, to two decimals.
    #[value(name = "mathvision")]
    MathVision,
}

impl RuleName {
    /// The rule.
    pub fn rule(self) -> Rule {
        match self {
            Self::General => Rule::General,
            Self::MathVista => Rule::MathVista,
            Self::MathVision => Rule::MathVision,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let rule = args.rule.rule();
    match (&args.output, &args.answers[..]) {
        (Some(output), files) => compare_files(files, output, rule, ui),
        (None, [gold, prediction]) => compare_pair(gold, prediction, rule, ui),
        (None, _) => Err(Usage(PAIR_OR_FILES.into()).into()),
    }
}

const PAIR_OR_FILES: &str =
    "expected two answers, the expected and the predicted one, or files of answers and --output";

/// Compares one answer with the expected one.
fn compare_pair(gold: &OsStr, prediction: &OsStr, rule: Rule, ui: &Ui) -> anyhow::Result<Exit> {
    if [gold, prediction].iter().any(|text| Path::new(text).is_file()) {
        return Err(Usage(format!("{PAIR_OR_FILES}; {} is a file", gold.display())).into());
    }
    let (Some(gold), Some(prediction)) = (gold.to_str(), prediction.to_str()) else {
        return Err(Usage("expected answers in UTF-8".into()).into());
    };
    let comparison = rule.compare(gold, prediction, &AnswerSpec::default());
    let outcome = name(comparison.outcome);
    ui.result(&json!({"gold": gold, "pred": prediction, "outcome": outcome, "reason": comparison.reason}))?;
    ui.say(format_args!("{outcome}: {}", comparison.reason))?;
    Ok(Exit::Done)
}

/// Compares the answers of files and writes the outcomes.
fn compare_files(files: &[OsString], output: &Path, rule: Rule, ui: &Ui) -> anyhow::Result<Exit> {
    check_file(output)?;
    let mut all: Vec<Triple> = Vec::new();
    for path in files {
        all.extend(triples::load(Path::new(path))?);
    }
    if all.is_empty() {
        return Err(BadInput(format!("{}: expected at least one line, found none", files[0].display())).into());
    }
    let bar = ui.bar("comparing", all.len() as u64, "");
    let started = Instant::now();
    let compare = |triple: &Triple| {
        let comparison = triple.compare(rule);
        bar.inc(1);
        comparison
    };
    let comparisons: Vec<Comparison> = all.par_iter().map(compare).collect();
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();

    write(output, &comparisons).with_context(|| format!("cannot write {}", output.display()))?;

    let rows = triples::tally(&all, &comparisons);
    ui.result_beside(output, &json!({"output": output, "sources": rows, "seconds": seconds}))?;
    ui.say_lines_beside(output, table(&rows))?;
    ui.say_beside(output, format_args!("{} answers compared in {:.1} ms", all.len(), 1e3 * seconds))?;
    ui.say_beside(output, format_args!("written: {}", output.display()))?;
    Ok(Exit::Done)
}

fn write(path: &Path, comparisons: &[Comparison]) -> std::io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    for comparison in comparisons {
        writeln!(file, "{}", json!({"outcome": name(comparison.outcome), "reason": comparison.reason}))?;
    }
    file.commit()
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Equal => "equal",
        Outcome::Different => "different",
        Outcome::Undecided => "undecided",
    }
}

/// The agreement of a rule with verdicts, a row for each source.
pub fn table(rows: &[Agreement]) -> Table {
    let mut table = Table::new(["source", "answers", "agreement %", "false equal", "false different", "undecided"]);
    for row in rows {
        let source = if row.source.is_empty() { "(none)" } else { &row.source };
        table.row([
            source.to_owned(),
            row.triples.to_string(),
            row.rate().map_or("-".to_owned(), |rate| format!("{:.2}", 100.0 * rate)),
            row.false_equal.to_string(),
            row.false_different.to_string(),
            row.undecided.to_string(),
        ]);
    }
    table
}
