//! `mmprm quantize`: a GGUF file with fewer bits.

use std::ops::ControlFlow;
use std::path::PathBuf;

use mmprm_quant::gguf::GgufFile;
use mmprm_quant::progress::Progress;
use mmprm_quant::quantize::{PlannedTensor, QuantType, QuantizeError, QuantizeOptions, plan};
use serde_json::json;

use crate::exit::Exit;
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Quantise a GGUF file.
///
/// Uses ggml's own quantisers. The mixes (q4_k_m and the like) give more bits to the tensors that need them; what each
/// tensor became, and why, is printed. A vision projector (mmproj) stays at f16 unless --vision is given.
#[derive(clap::Args)]
pub struct Args {
    /// The file to quantise, in f32, f16 or bf16.
    #[arg(value_name = "IN.gguf")]
    input: PathBuf,

    /// Where the result goes.
    #[arg(short, long = "output", alias = "out", value_name = "OUT.gguf")]
    out: PathBuf,

    /// The type or mix to quantise to.
    #[arg(long, value_name = "TYPE", value_parser = mix)]
    r#type: QuantType,

    /// Quantise a vision projector too.
    #[arg(long)]
    vision: bool,

    /// Accept a file that is quantised already, and lose precision twice.
    #[arg(long)]
    requantize: bool,
}

/// The mix of a name.
pub fn mix(text: &str) -> Result<QuantType, String> {
    QuantType::from_name(&text.to_lowercase()).ok_or_else(|| {
        let names: Vec<&str> = QuantType::all().map(QuantType::name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let input = GgufFile::open(&args.input)?;
    let options = QuantizeOptions { mix: args.r#type, requantize: args.requantize, vision: args.vision };
    let plan = plan(&input, &options).map_err(|error| match error {
        QuantizeError::Requantize { .. } => anyhow::Error::new(error).context("--requantize is not given"),
        error => error.into(),
    })?;
    let size: u64 = plan.tensors.iter().map(PlannedTensor::size).sum();
    let bar = ui.bar("quantize", size, "B");
    let result = plan.write(&args.out, &mut |progress: Progress<'_>| {
        bar.set_position(progress.done);
        bar.set_message(progress.item.to_owned());
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
    let mut table = Table::new(["tensor", "shape", "from", "to", "bytes", "why"]);
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
    ui.say(&table)?;
    ui.say(format_args!(
        "written: {} as {} ({}; was {})",
        args.out.display(),
        plan.mix.name(),
        bytes(size),
        bytes(input.file_size())
    ))?;
    let recipe: serde_json::Map<String, serde_json::Value> = plan
        .tensors
        .iter()
        .map(|tensor| (tensor.spec.name.clone(), json!(tensor.spec.ggml_type.to_string())))
        .collect();
    ui.result(&json!({"output": args.out, "type": plan.mix.name(), "data_bytes": size, "recipe": recipe}))?;
    Ok(Exit::Done)
}
