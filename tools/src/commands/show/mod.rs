//! `mmprm show`: files of this program, drawn for people.

#![expect(clippy::format_push_string, reason = "texts are drawn once, and read better this way")]

mod kind;
mod overview;
mod pager;
mod training;

use std::path::{Path, PathBuf};

use mmprm::data::candidates;
use mmprm::data::tree::json as tree_file;
use mmprm::eval::batch;
use mmprm::eval::selection::{Contenders, Selection};
use mmprm::util::printable::printable;
use serde_json::{Value, json};

use crate::args::data_root;
use crate::draw::candidates::{Style, all, problem};
use crate::draw::inline;
use crate::draw::pen::Pen;
use crate::draw::steps::Scale;
use crate::draw::tree;
use crate::exit::{BadInput, Exit, Usage};
use crate::monitor;
use crate::ui::Ui;
use kind::Kind;

/// Show candidates, trees, samples, training runs or benchmark results in the terminal.
///
/// Without ID, a file or directory of many records is listed. With the id of a record (or its index, from 0) that record is shown
/// whole: a problem with its candidates, the best first, each step with its score as a bar; a search tree with the Monte Carlo
/// value of each state, where the first wrong step is marked; a training sample with its labels. Of a training run the loss and
/// the validation are shown as curves.
///
/// What is understood: Best-of-N files (`generate`, `score`), trees or their directory (`annotate`), training samples (`samples`),
/// the directory or the log.jsonl of a training run (`train`), results of `bench --json`.
#[derive(clap::Args)]
pub struct Args {
    /// File or directory.
    #[arg(value_name = "FILE|DIR")]
    input: PathBuf,

    /// Record to show: its id, or its index from 0.
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Rule that selects and orders candidates, as in `mmprm choose` [default: product where the file has step scores, else
    /// majority].
    #[arg(long, value_name = "RULE")]
    by: Option<Selection>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let pen = Pen::new();
    let kind = Kind::of(&args.input)?;
    let has_records = matches!(kind, Kind::Candidates | Kind::Trees | Kind::Samples);
    if let Some(id) = args.id.as_ref().filter(|_| !has_records) {
        return Err(Usage(format!("{}: holds no records to show by an id, such as {id}", args.input.display())).into());
    }
    if args.by.is_some() && kind != Kind::Candidates {
        return Err(Usage(format!("{}: holds no candidates, which --by orders", args.input.display())).into());
    }
    let mut images = String::new();
    let (text, result) = match kind {
        Kind::Candidates => of_candidates(args, pen, &mut images)?,
        Kind::Tree => {
            let tree = tree_file::read(&args.input)?;
            (tree::draw(&tree, pen), json!({"kind": "tree", "id": tree.id, "states": tree.root.count()}))
        }
        Kind::Trees => of_trees(args, pen, ui)?,
        Kind::Samples => overview::samples(&args.input, args.id.as_deref(), pen)?,
        Kind::Training(log) => training::draw(&log, pen)?,
        Kind::Bench => overview::bench(&args.input)?,
    };
    ui.result(&result)?;
    if ui.is_for_people() {
        pager::show(&images, &text, ui)?;
    }
    Ok(Exit::Done)
}

/// What is drawn, and the JSON object in its place.
type Shown = (String, Value);

/// What is drawn of candidates; adds the images of a single problem to `images`, as this terminal shows them.
fn of_candidates(args: &Args, pen: Pen, images: &mut String) -> anyhow::Result<Shown> {
    let sets = candidates::load(&args.input)?;
    let at = match (&args.id, &sets[..]) {
        (Some(id), _) => Some(find(id, sets.iter().map(|set| set.record.get("id")), &args.input)?),
        (None, [_]) => Some(0),
        (None, _) => None,
    };
    let rule = args.by.unwrap_or_else(|| Selection::usual_of(&sets));
    if let (Some(by), Some(field)) = (args.by, args.by.and_then(|by| by.missing_in(&sets))) {
        return Err(
            BadInput(format!("{}: no record has `{field}`, which --by {by} needs", args.input.display())).into()
        );
    }
    let Some(at) = at else { return Ok(overview::candidates(&sets, rule, pen)) };
    let set = &sets[at];
    let contenders = Contenders::new(set);
    let style = Style { rule, scale: scale(&args.input), pen };
    let selected = contenders.select(style.rule);
    let root = batch::data_root(&args.input).unwrap_or_else(|| data_root(None, &args.input));
    let paths = set.images.iter().filter_map(|path| mmprm::image::resolve(&root, path).ok());
    images.extend(paths.map(|path| inline::image(&path)));
    let mut text = problem(set, pen);
    for field in ["error", "prm_error"] {
        if let Some(cause) = set.record.get(field).and_then(Value::as_str) {
            text += &format!("{}\n", pen.wrapped(&format!("{field}: {cause}"), 0));
        }
    }
    text.push('\n');
    text += &all(set, &contenders, selected, style);
    let result = json!({"kind": "candidates", "record": set.record, "rule": style.rule.name(),
        "index": selected.map(|one| one.index)});
    Ok((text, result))
}

/// The scale of a scored file's scores, from the settings that `mmprm score` writes beside it.
fn scale(file: &Path) -> Scale {
    let settings = batch::settings(file);
    let form = |settings: Value| settings["prm_form"].as_str().map(Scale::of_form);
    settings.and_then(form).unwrap_or_default()
}

fn of_trees(args: &Args, pen: Pen, ui: &Ui) -> anyhow::Result<Shown> {
    let files = monitor::trees(&args.input, ui)?;
    let trees = files.iter().map(|file| tree_file::read(file)).collect::<Result<Vec<_>, _>>()?;
    let Some(id) = &args.id else { return Ok(overview::trees(&trees, pen)) };
    let tree = &trees[find(id, trees.iter().map(|tree| Some(&tree.id)), &args.input)?];
    Ok((tree::draw(tree, pen), json!({"kind": "tree", "id": tree.id, "states": tree.root.count()})))
}

/// The index of the record with this id, or else with this index.
fn find<'a>(id: &str, ids: impl ExactSizeIterator<Item = Option<&'a Value>>, place: &Path) -> anyhow::Result<usize> {
    let count = ids.len();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let named = ids.into_iter().position(|own| own.is_some_and(|own| !own.is_null() && text(own) == id));
    let indexed = || id.parse().ok().filter(|index: &usize| *index < count);
    let missing = || {
        Usage(format!(
            "{}: has no record with the id {}, expected one of its ids or an index below {count}",
            place.display(),
            printable(id)
        ))
    };
    Ok(named.or_else(indexed).ok_or_else(missing)?)
}
