//! `mmprm bench synth`: models of real shapes with random weights, to measure.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mmprm::util::printable::printable;
use mmprm_quant::atomic::check_directory;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::hf::shapes::Shape;
use mmprm_quant::progress::Progress;
use mmprm_quant::quantize::QuantType;
use mmprm_quant::synth::{SynthError, SynthFile, SynthOptions, plan};
use serde_json::{Value, json};

use super::subject::demo;
use crate::commands::quantize::quant_type;
use crate::exit::{Exit, Usage};
use crate::ui::{Ui, bytes, output_directory};

/// Write a GGUF pair of a real shape with random weights, to measure.
///
/// It measures speed and memory without a download: llama.cpp does the same work as with the real model: names, sizes, types and metadata are the
/// same. Only a panel of rows of each matrix is drawn and quantised, then repeated in shuffled
/// order, so that writing a model of 8 billion parameters takes as long as writing its file. The
/// model's output is meaningless.
#[derive(clap::Args)]
pub struct Args {
    /// internvl2_5-1b, internvl2_5-2b, internvl2_5-8b, or the config.json of a checkpoint of any family
    /// that `mmprm convert` reads.
    #[arg(long, value_name = "NAME|FILE")]
    shape: String,

    /// Type of the language model, as for `mmprm quantize`; the vision tower stays at f16 with
    /// quantised types.
    #[arg(long, value_name = "TYPE", default_value = "q4_k_m", value_parser = quant_type(), ignore_case = true)]
    r#type: QuantType,

    /// Directory for the files.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// GGUF file whose vocabulary is used, padded with unused tokens [default: that of the mini PRM
    /// in demo/].
    #[arg(long, value_name = "GGUF")]
    vocabulary: Option<PathBuf>,

    /// Random seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    let (name, config) = shape(&args.shape)?;
    let donor = match &args.vocabulary {
        Some(path) => path.clone(),
        None => demo("--vocabulary")?.join("models/prm-q8_0.gguf"),
    };
    let vocabulary = GgufFile::open(&donor)?;
    let options = SynthOptions {
        name: &format!("synth-{name}"),
        config: &config,
        quant_type: args.r#type,
        vocabulary: &vocabulary,
        seed: args.seed,
    };
    let plan = plan(&options, &args.output)?;
    let bar = ui.bar("synth", plan.files.iter().map(SynthFile::data_size).sum(), "B");
    let result = plan.write(&mut |progress: Progress<'_>| {
        bar.set_position(progress.done);
        bar.set_message(printable(progress.item));
        if ui.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    match result {
        Err(SynthError::Cancelled) => {
            ui.warn("interrupted; the unfinished file was removed");
            return Ok(Exit::Interrupted);
        }
        result => result?,
    }
    for file in &plan.files {
        ui.say(format_args!("written: {} ({})", file.path.display(), bytes(file.data_size())))?;
    }
    let files: Vec<Value> =
        plan.files.iter().map(|file| json!({"path": file.path, "data_bytes": file.data_size()})).collect();
    ui.result(&json!({"shape": name, "type": args.r#type.name(), "files": files}))?;
    Ok(Exit::Done)
}

/// The name and configuration of a published model, or of the config.json at a path.
fn shape(text: &str) -> anyhow::Result<(String, ModelConfig)> {
    if let Some(shape) = Shape::from_name(text) {
        return Ok((shape.name().to_owned(), shape.config()));
    }
    let path = Path::new(text);
    if path.extension().is_none_or(|extension| extension != "json") {
        let names: Vec<&str> = Shape::ALL.iter().map(|shape| shape.name()).collect();
        return Err(
            Usage(format!("--shape {text}: expected {}, or the path of a config.json", names.join(", "))).into()
        );
    }
    // A config.json is named after its checkpoint, the directory that contains it.
    let folder =
        path.canonicalize().ok().and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into_owned()));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = if stem == "config" { folder.unwrap_or(stem) } else { stem };
    Ok((name, ModelConfig::read_file(path)?))
}
