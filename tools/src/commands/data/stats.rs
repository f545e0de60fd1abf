//! `mmprm data stats`: what is in a file of problems, candidates or training samples.

use std::path::PathBuf;

use anyhow::Context;
use mmprm::data::records::{RecordKind, Records};
use mmprm::dataset::stats::{Spread, Stats, stats};
use mmprm::engine::{Model, ModelOptions};
use mmprm::prompt::Run;
use serde_json::json;

use crate::exit::Exit;
use crate::table::Table;
use crate::ui::Ui;

/// Count what is in a file: records, images, answers by kind, options, lengths.
///
/// FILE has problems, candidates (also step-labelled solutions) or training samples. Every image is opened: those that cannot be read
/// are counted and the first named. Kinds of answers are those that `mmprm verify` distinguishes; `text` and `open` are answers that
/// only a judge model can compare. `data curate` drops them.
#[derive(clap::Args)]
pub struct Args {
    /// The file (JSON or JSON Lines).
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Directory that image paths are relative to and may not leave [default: that of FILE].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Model (GGUF) whose tokens the questions are counted in; only its vocabulary is loaded.
    #[arg(long, value_name = "GGUF")]
    model: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let records = Records::load(&args.input, args.data_root.as_deref())?;
    let tokens = args.model.as_ref().map(|model| tokens(&records, model)).transpose()?.flatten();
    let spinner = ui.spinner("reading images");
    let stats = stats(&records);
    spinner.finish_and_clear();
    ui.result(&json!({"file": args.input, "kind": records.kind, "stats": stats, "question_tokens": tokens}))?;
    ui.say_lines(table(records.kind, &stats, tokens))?;
    if let Some((path, cause)) = stats.images.unreadable.first_key_value() {
        let others = stats.images.unreadable.len() - 1;
        let others = if others > 0 { format!(" ({others} others: --json)") } else { String::new() };
        ui.say(format_args!("unreadable: {path}: {cause}{others}"))?;
    }
    Ok(Exit::Done)
}

/// How many tokens the questions have.
fn tokens(records: &Records, model: &std::path::Path) -> anyhow::Result<Option<Spread>> {
    let options = ModelOptions { vocab_only: true, ..ModelOptions::default() };
    let model = Model::load(model, options)?;
    let mut counts = Vec::new();
    for item in records.items.iter().filter(|item| !item.question.is_empty()) {
        let mut run = Run::new(false);
        run.plain(&item.question);
        let tokens = model.tokenize_run(&run, false).with_context(|| format!("the question of {}", item.id))?;
        counts.push(tokens.len());
    }
    Ok(Spread::of(counts))
}

fn table(kind: RecordKind, stats: &Stats, tokens: Option<Spread>) -> Table {
    let mut table = Table::new(["what", "value"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    let spread = |spread: Option<Spread>| {
        spread.map_or("none".to_owned(), |Spread { min, median, max }| format!("{min} / {median} / {max}"))
    };
    let counts = |counts: Vec<(String, usize)>| {
        let mut counts = counts;
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let texts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
    };
    let named = match kind {
        RecordKind::Problems => "problems",
        RecordKind::Candidates => "records of candidates",
        RecordKind::Samples => "training samples",
    };
    let Stats { records, without_images, several_images, without_answer, repeated, images, .. } = stats;
    row(named, records.to_string());
    row("with an image", format!("{} ({several_images} with several)", records - without_images));
    if kind != RecordKind::Samples {
        row("with an answer", (records - without_answer).to_string());
        row("answers by kind", counts(stats.answers.iter().map(|(kind, count)| (kind.clone(), *count)).collect()));
        let options = |(number, count): (&usize, &usize)| (format!("{number} options:"), *count);
        row("with options", counts(stats.choices.iter().map(options).collect()));
    }
    row("same question and images as an earlier one", repeated.to_string());
    row("characters of a question (min / median / max)", spread(stats.question_characters));
    if tokens.is_some() {
        row("tokens of a question", spread(tokens));
    }
    row("image files", format!("{} ({} with the bytes of another)", images.files, images.equal));
    row("image formats", counts(images.formats.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()));
    row("unreadable images", images.unreadable.len().to_string());
    row("width in pixels", spread(images.width));
    row("height in pixels", spread(images.height));
    if let Some(candidates) = &stats.candidates {
        row(
            "candidates",
            format!("{}, {} with a verdict, {} right", candidates.count, candidates.labelled, candidates.right),
        );
        row("steps of a candidate", spread(candidates.steps));
        row("labelled steps", format!("{}, {} wrong", candidates.labelled_steps, candidates.wrong_steps));
    }
    if let Some(labels) = &stats.labels {
        row(
            "labels",
            format!("{}: {} are 0, {} are 1, mean {:.3}", labels.count, labels.zero, labels.one, labels.mean),
        );
        row("labels of a sample", spread(labels.per_sample));
    }
    table
}
