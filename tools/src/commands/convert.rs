//! `mmprm convert`: converts a Hugging Face checkpoint or adapter to GGUF.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mmprm::prm::form;
use mmprm::util::printable::printable;
use mmprm_quant::adapter::is_adapter;
use mmprm_quant::atomic::check_directory;
use mmprm_quant::convert::{ConvertError, ConvertOptions, PlannedFile, WeightType, adapter, plan};
use mmprm_quant::gguf::GgufValue;
use mmprm_quant::hf::origin::{FORM_KEY, Origin};
use mmprm_quant::progress::Progress;
use serde_json::{Value, json};

use crate::exit::{BadInput, Exit, Usage};
use crate::scorer;
use crate::table::Table;
use crate::ui::{Ui, bytes, output_directory};

/// Convert a Hugging Face checkpoint directory to GGUF.
///
/// Reads config.json, safetensors or PyTorch files (one or shards) and the tokenizer of an InternVL2.5, 3 or 3.5
/// checkpoint, in InternVL's own layout or that of transformers, of a dense Qwen2-VL, Qwen2.5-VL or
/// Qwen3-VL, or of a text model (InternLM2, Qwen2, Qwen2.5, Qwen3, Llama, Mistral), and writes NAME-TYPE.gguf and mmproj-NAME-TYPE.gguf, which
/// llama.cpp loads. A head that scores steps (token classification, Qwen2.5-Math-PRM, a value head)
/// becomes metadata. Needs no Python; memory use does not grow with the checkpoint. A LoRA adapter directory (adapter_config.json) is converted to NAME-lora-TYPE.gguf,
/// which llama.cpp loads with the converted base (--lora).
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint directory, or adapter directory.
    #[arg(value_name = "HF_DIR")]
    checkpoint: PathBuf,

    /// Base of an adapter: its checkpoint, or the GGUF file of a text model over which it was trained.
    #[arg(long, value_name = "HF_DIR|FILE")]
    base: Option<PathBuf>,

    /// Output directory.
    #[arg(short, long, alias = "out", value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    /// Weight type. With q8_0 the vision tower stays at f16.
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Type::F16)]
    r#type: Type,

    /// How a reward model reads solutions, recorded in the file: the name of a built-in PRM form, or a TOML file
    /// (docs/prm-forms.md) [default: that of its training, else by its architecture and name].
    #[arg(long, alias = "prm-template", value_name = "FILE|NAME")]
    prm_form: Option<String>,

    /// List what would be written without writing it.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if !args.dry_run {
        check_directory(&args.output)?;
    }
    let weight_type = match args.r#type {
        Type::F32 => WeightType::F32,
        Type::F16 => WeightType::F16,
        Type::Bf16 => WeightType::Bf16,
        Type::Q8_0 => WeightType::Q8_0,
    };
    match (&args.base, is_adapter(&args.checkpoint)) {
        (Some(base), true) => return convert_adapter(args, base, weight_type, ui),
        (None, true) => {
            return Err(Usage("this is an adapter; give its base with --base".into()).into());
        }
        (Some(_), false) => {
            let problem = "no adapter_config.json, expected an adapter directory because --base is given";
            return Err(BadInput(format!("{}: {problem}", args.checkpoint.display())).into());
        }
        (None, false) => {}
    }
    let mut options = ConvertOptions::new(weight_type);
    let asked = args.prm_form.as_deref().map(scorer::prm_form).transpose()?;
    let chosen = match &asked {
        None if Origin::read(&args.checkpoint)?.is_none() => form::of_checkpoint(&args.checkpoint),
        _ => None,
    };
    if let Some(form) = asked.as_ref().or(chosen.as_ref()) {
        options.metadata.push((FORM_KEY.into(), GgufValue::from(form.record())));
    }
    let plan = plan(&args.checkpoint, &args.output, &options)?;
    for note in &plan.notes {
        ui.note(note);
    }
    if let Some(form) = &chosen {
        ui.say(format_args!("PRM form: {form}, by the checkpoint's architecture and name; --prm-form names another"))?;
    }
    if args.dry_run {
        for file in &plan.files {
            ui.say_lines(format_args!("{}\n\n{}", printable(headline(file)), tensors(file)))?;
        }
    } else {
        let bar = ui.bar("convert", plan.files.iter().map(PlannedFile::data_size).sum(), "B");
        let result = plan.write(&mut |progress: Progress<'_>| {
            bar.set_position(progress.done);
            bar.set_message(printable(progress.item));
            if ui.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        match result {
            Err(ConvertError::Cancelled) => {
                ui.warn("interrupted; unfinished files were removed");
                return Ok(Exit::Interrupted);
            }
            result => result?,
        }
        for file in &plan.files {
            ui.say(format_args!("written: {}", headline(file)))?;
        }
    }
    let files: Vec<Value> = plan
        .files
        .iter()
        .map(|file| {
            json!({"path": file.path, "tensors": file.tensors.len(), "data_bytes": file.data_size(),
                   "metadata_keys": file.metadata.len()})
        })
        .collect();
    let form = asked.or(chosen).map(|form| form.to_string());
    ui.result(&json!({"files": files, "notes": plan.notes, "prm_form": form, "dry_run": args.dry_run}))?;
    Ok(Exit::Done)
}

fn convert_adapter(args: &Args, base: &Path, weight_type: WeightType, ui: &Ui) -> anyhow::Result<Exit> {
    if args.prm_form.is_some() {
        return Err(Usage("--prm-form applies to models; an adapter has that of its training".into()).into());
    }
    let plan = adapter::plan(&args.checkpoint, base, &args.output, weight_type)?;
    for note in &plan.notes {
        ui.note(note);
    }
    if !args.dry_run {
        plan.write()?;
    }
    let verb = if args.dry_run { "would write" } else { "written" };
    ui.say(format_args!(
        "{verb}: {} ({} tensors, {})",
        plan.path.display(),
        plan.tensors.len(),
        bytes(plan.data_size())
    ))?;
    let file = json!({"path": plan.path, "tensors": plan.tensors.len(), "data_bytes": plan.data_size(),
                      "metadata_keys": plan.metadata.len()});
    ui.result(&json!({"files": [file], "notes": plan.notes, "dry_run": args.dry_run}))?;
    Ok(Exit::Done)
}

fn headline(file: &PlannedFile) -> String {
    format!("{} ({} tensors, {})", file.path.display(), file.tensors.len(), bytes(file.data_size()))
}

fn tensors(file: &PlannedFile) -> Table {
    let mut table = Table::new(["tensor", "shape", "type", "bytes", "from"]);
    for tensor in &file.tensors {
        let shape: Vec<String> = tensor.spec.dims.iter().map(u64::to_string).collect();
        table.row([
            tensor.spec.name.clone(),
            shape.join("x"),
            tensor.spec.ggml_type.to_string(),
            tensor.size().to_string(),
            tensor.source.clone(),
        ]);
    }
    table
}
