//! `mmprm quantize`: quantises a GGUF file.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use mmprm::util::printable::printable;
use mmprm_quant::atomic::check_file;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::progress::Progress;
use mmprm_quant::quantize::{QuantType, QuantizeError, QuantizeOptions, plan};
use serde_json::json;

use crate::exit::Exit;
use crate::models;
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Quantise a GGUF file.
///
/// Uses ggml's own quantisers. Some types give more bits to sensitive tensors (attention values and
/// the last feed-forward matrix); the new type of each tensor and the reason are printed. A vision
/// projector (mmproj) stays at f16 unless --vision is given. Bits per weight are those of the
/// language model of InternVL2.5-8B.
#[derive(clap::Args)]
pub struct Args {
    /// GGUF file in f32, f16 or bf16.
    #[arg(value_name = "IN.gguf")]
    input: PathBuf,

    /// Output file.
    #[arg(short, long, alias = "out", value_name = "OUT.gguf")]
    output: PathBuf,

    /// Quantisation type.
    #[arg(long, value_name = "TYPE", value_parser = quant_type(), ignore_case = true)]
    r#type: QuantType,

    /// Quantise a vision projector too.
    #[arg(long)]
    vision: bool,

    /// Accept a file that is already quantised, losing precision twice.
    #[arg(long)]
    requantize: bool,
}

/// Parses the name of a quantisation type; its help lists all types with their sizes.
pub fn quant_type() -> impl TypedValueParser<Value = QuantType> {
    let values = QuantType::all().map(|quant_type| {
        let help = format!("{:5.2} bits per weight: {}", quant_type.bits_per_weight(), quant_type.description());
        PossibleValue::new(quant_type.name()).help(help)
    });
    PossibleValuesParser::new(values)
        .map(|name| QuantType::from_name(&name).expect("the parser accepts only known names"))
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_file(&args.output)?;
    models::check(&args.input)?;
    let input = GgufFile::open(&args.input)?;
    let options = QuantizeOptions { quant_type: args.r#type, requantize: args.requantize, vision: args.vision };
    let plan = plan(&input, &options).map_err(|error| match error {
        QuantizeError::Requantize { .. } => {
            anyhow::Error::new(error).context("already quantised; allow it with --requantize")
        }
        error => error.into(),
    })?;
    let size = plan.data_size();
    let bar = ui.bar("quantize", size, "B");
    let result = plan.write(&args.output, &mut |progress: Progress<'_>| {
        bar.set_position(progress.done);
        bar.set_message(printable(progress.item));
        if ui.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    match result {
        Err(QuantizeError::Cancelled) => {
            ui.warn("interrupted; the unfinished file was removed");
            return Ok(Exit::Interrupted);
        }
        result => result?,
    }
    let mut table = Table::new(["tensor", "shape", "from", "to", "bytes", "reason"]);
    for tensor in &plan.tensors {
        let shape: Vec<String> = tensor.spec.dims.iter().map(u64::to_string).collect();
        table.row([
            tensor.spec.name.clone(),
            shape.join("x"),
            tensor.from.to_string(),
            tensor.spec.ggml_type.to_string(),
            tensor.size().to_string(),
            tensor.reason.to_owned(),
        ]);
    }
    ui.say_lines(&table)?;
    ui.say(format_args!(
        "written: {} as {} ({}; was {})",
        args.output.display(),
        plan.quant_type.name(),
        bytes(size),
        bytes(input.file_size())
    ))?;
    let recipe: serde_json::Map<String, serde_json::Value> = plan
        .tensors
        .iter()
        .map(|tensor| (tensor.spec.name.clone(), json!(tensor.spec.ggml_type.to_string())))
        .collect();
    ui.result(&json!({"output": args.output, "type": plan.quant_type.name(), "data_bytes": size, "recipe": recipe}))?;
    Ok(Exit::Done)
}
