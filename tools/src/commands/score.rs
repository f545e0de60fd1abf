//! `mmprm score`: step scores for candidates.

use std::path::PathBuf;

use anyhow::Context;
use mmprm::data::candidates;
use mmprm::eval::batch::Batch;
use mmprm::eval::score;
use mmprm::judge::RuleVerifier;
use mmprm::prm::{LocalPrm, PrmOptions};
use mmprm::prompt::PrmTemplate;
use serde_json::json;

use crate::args::{EngineArgs, fingerprint};
use crate::commands::report::{self, Watch};
use crate::exit::Exit;
use crate::ui::Ui;

/// Score every step of candidate solutions with a process reward model.
///
/// Reads a Best-of-N file (`question`, `image_path`, `solutions_splits`) and adds `prm_scores`: one list a candidate, one
/// number a step, the probability that the step is right. Where a record has the expected answer (`correct_answer` or
/// `answer`) but no `labels`, the candidates are labelled by rules. Results do not depend on what else is in the file. An interrupted
/// run continues when the same command is given again.
#[derive(clap::Args)]
pub struct Args {
    /// The reward model, a GGUF file.
    #[arg(long, value_name = "GGUF")]
    prm: PathBuf,

    /// Its vision projector; without one, only problems without images can be scored.
    #[arg(long, value_name = "GGUF")]
    mmproj: Option<PathBuf>,

    /// The candidates.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// Where the scored candidates go.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Folder that image paths are relative to, and confined to [default: the folder of the input].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Text form the steps are put in: internvl2_5-scoring (the reference's evaluation), internvl2_5-training
    /// [default: the one in the model's metadata, or internvl2_5-scoring].
    #[arg(long, value_name = "NAME")]
    template: Option<PrmTemplate>,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let sets = candidates::load(&args.input)?;
    let data_root = crate::args::data_root(args.data_root.as_deref(), &args.input);
    let (engine, encoder) = args.engine.start(&args.prm, args.mmproj.as_deref(), None, Some(1), true, ui)?;
    let reward = LocalPrm::new(engine, encoder, PrmOptions { data_root, template: args.template })
        .with_context(|| format!("--prm {}", args.prm.display()))?;
    let mut settings = json!({
        "command": "score", "prm": args.prm, "mmproj": args.mmproj, "input": fingerprint(&args.input)?,
        "data_root": args.data_root, "template": reward.template().to_string(),
        "vision_encoder": args.engine.vision_encoder(),
    });
    args.engine.add_adapters(&mut settings)?;
    let watch = Watch::new(ui, "score", sets.len(), || reward.stats());
    let summary = score::score(
        &sets,
        &reward,
        &RuleVerifier,
        &Batch {
            output: &args.output,
            settings: &settings,
            // While one problem is scored, the next one's image is decoded.
            workers: 2,
            cancel: ui.interrupted(),
            progress: &|event| watch.event(event),
        },
    )?;
    report::finish(&summary, &args.output, &watch, None, ui)
}
