//! `mmprm score`: step scores of candidates.

use std::path::PathBuf;

use anyhow::Context;
use mmprm::data::candidates;
use mmprm::eval::batch::{self, Batch};
use mmprm::eval::score;
use mmprm::judge::RuleVerifier;
use mmprm::prm::{LocalPrm, PrmOptions, form};
use serde_json::json;

use crate::args::{self, EngineArgs, ExistingArgs, fingerprint};
use crate::exit::{Exit, Usage};
use crate::models::{self, WithImages};
use crate::monitor::{self, Monitor};
use crate::scorer::{self, ReferenceArgs};
use crate::ui::{Ui, output_file};

/// Score every step of candidate solutions with a process reward model.
///
/// Reads a Best-of-N file (`question`, `image_path`, `solutions_splits`) and adds `prm_scores`: one
/// list per candidate, one number per step, the probability that the step is correct. Where a
/// record has a correct answer (`correct_answer` or `answer`) but no `labels`, the candidates are
/// labelled by rules. Scores do not depend on the other records of the file. The same command
/// resumes an interrupted run and leaves a finished one as it is.
#[derive(clap::Args)]
pub struct Args {
    /// Process reward model.
    #[arg(long, value_name = "GGUF")]
    pub prm: PathBuf,

    /// Its vision projector; records with images need one.
    #[arg(long, value_name = "GGUF")]
    pub mmproj: Option<PathBuf>,

    /// File of candidates.
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,

    /// Output file; `-` is standard output.
    #[arg(short, long, alias = "out", value_name = "FILE", value_parser = output_file())]
    pub output: PathBuf,

    /// Folder that image paths are relative to and confined to [default: that of the problems, where
    /// the input is from `mmprm generate`, else the folder of the input].
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,

    /// How the model reads solutions: the name of a built-in PRM form, or a TOML file (docs/prm-forms.md) [default: from the
    /// model's metadata, else internvl2_5-scoring].
    #[arg(long, alias = "template", value_name = "FILE|NAME")]
    pub prm_form: Option<String>,

    /// Keep what a generative reward model writes about each step, as `prm_critiques` (docs/formats.md).
    #[arg(long)]
    pub critiques: bool,

    #[command(flatten)]
    pub reference: ReferenceArgs,

    #[command(flatten)]
    pub existing: ExistingArgs,

    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    [Some(&args.prm), args.mmproj.as_ref()].into_iter().flatten().try_for_each(|file| models::check(file))?;
    args.engine.adapters().iter().try_for_each(|adapter| models::check(&adapter.path))?;
    args.reference.check()?;
    let sets = candidates::load(&args.input)?;
    let known = if args.data_root.is_none() { batch::data_root(&args.input) } else { None };
    let data_root = known.unwrap_or_else(|| args::data_root(args.data_root.as_deref(), &args.input));
    let images = args::images_of(&data_root, sets.iter().map(|set| &set.images[..]));
    let asked = args.prm_form.as_deref().map(scorer::prm_form).transpose()?;
    let form = LocalPrm::form_of(&args.prm, args.engine.adapters(), asked.as_ref())?;
    args.reference.check_form(&args.prm, &form)?;
    if args.critiques && !form.writes_critiques() {
        return Err(Usage(format!("--critiques: a model of the PRM form {form} writes none")).into());
    }
    let mut settings = json!({
        "command": "score", "prm": args.prm, "mmproj": args.mmproj,
        "files": args::identities([Some(&args.prm), args.mmproj.as_deref()])?, "input": fingerprint(&args.input)?,
        "data_root": args.data_root, "prm_form": form::recorded(&form),
        "vision_encoder": args.engine.vision_encoder(), "images": images,
    });
    if args.critiques {
        settings["critiques"] = true.into();
    }
    args.reference.add_settings(&mut settings)?;
    args.engine.add_settings(&mut settings)?;
    let batch = Batch {
        data_root: Some(&data_root),
        existing: args.existing.choice(),
        // Decodes the next problem's image while one is scored.
        workers: 2,
        ..Batch::new(&args.output, &settings, ui.interrupted())
    };
    if let Some(summary) = batch.check().map_err(args::refusal)? {
        return monitor::finished_before(&summary, &args.output, ui);
    }
    let with_images = WithImages::count(
        &sets,
        |set| !set.images.is_empty() && !set.failed,
        |index, set| candidates::place(&set.record, index),
    );
    args.reference.check_projector(&args.input, with_images.clone())?;
    models::check_projector(&args.prm, args.mmproj.as_deref(), &args.input, with_images)?;
    LocalPrm::check_vocabulary(&args.prm, &form).with_context(|| format!("--prm {}", args.prm.display()))?;
    let started = args.engine.start(&args.prm, args.mmproj.as_deref(), None, scorer::parallel(&form), true, ui)?;
    let options = PrmOptions { data_root: data_root.clone(), form: asked };
    let prm = args.reference.open(started, options, &args.engine, ui);
    let prm = prm.with_context(|| format!("--prm {}", args.prm.display()))?;
    let monitor = Monitor::new(ui, "score", sets.len(), || prm.stats());
    let run = if args.critiques { score::score_with_critiques } else { score::score };
    let batch = Batch { progress: &|event| monitor.event(event), ..batch };
    let summary = run(&sets, &prm, &RuleVerifier, &batch).map_err(args::refusal)?;
    monitor.bar().finish_and_clear();
    scorer::warn_truncated(&prm, 0, ui);
    monitor::finish(&summary, &args.output, &monitor, None, ui)
}
