//! `mmprm quantize`: quantises a GGUF file.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use mmprm::util::printable::printable;
use mmprm_quant::atomic::check_file;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::inspect::summary;
use mmprm_quant::progress::Progress;
use mmprm_quant::quantize::{PlannedTensor, QuantType, QuantizeError, QuantizeOptions, plan};
use serde_json::json;

use crate::exit::Exit;
use crate::models;
use crate::table::Table;
use crate::ui::{Ui, binary_output, bytes};

/// Quantise a GGUF file.
///
/// Uses ggml's own quantisers. Some types give more bits to sensitive tensors (attention values and
/// the last feed-forward matrix); with -v, the new type of each tensor and the reason are printed. A vision
/// projector (mmproj) stays at f16 unless --vision is given. Bits per weight are those of the
/// language model of InternVL2.5-8B.
#[derive(clap::Args)]
pub struct Args {
    /// GGUF file in f32, f16 or bf16.
    #[arg(value_name = "IN.gguf")]
    input: PathBuf,

    /// Output file.
    #[arg(short, long, alias = "out", value_name = "OUT.gguf", value_parser = binary_output())]
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
    let started = Instant::now();
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
    let seconds = started.elapsed().as_secs_f64();
    let (before, elements) = (summary(&input), plan.tensors.iter().map(elements).sum::<u64>().max(1));
    let bits = 8.0 * size as f64 / elements as f64;
    ui.say(format_args!(
        "{}: {} ({:.2} bits per weight) to {} as {} ({bits:.2} bits per weight) in {seconds:.1} s",
        args.input.display(),
        bytes(before.bytes),
        before.bits_per_parameter(),
        bytes(size),
        plan.quant_type.name(),
    ))?;
    for line in kinds(&plan.tensors) {
        ui.say(line)?;
    }
    if ui.is_verbose() {
        ui.say_lines(table(&plan.tensors))?;
    }
    ui.say(format_args!("written: {}", args.output.display()))?;
    let recipe: serde_json::Map<String, serde_json::Value> = plan
        .tensors
        .iter()
        .map(|tensor| (tensor.spec.name.clone(), json!(tensor.spec.ggml_type.to_string())))
        .collect();
    ui.result(&json!({"output": args.output, "type": plan.quant_type.name(), "data_bytes": size, "recipe": recipe,
                      "bits_per_weight": bits, "seconds": seconds}))?;
    Ok(Exit::Done)
}

fn elements(tensor: &PlannedTensor) -> u64 {
    tensor.spec.dims.iter().product()
}

/// One line for each type and reason, as `9 tensors as f32: not a matrix`, most data first.
fn kinds(tensors: &[PlannedTensor]) -> Vec<String> {
    let mut kinds: BTreeMap<(String, &str), (usize, u64)> = BTreeMap::new();
    for tensor in tensors {
        let (count, bytes) = kinds.entry((tensor.spec.ggml_type.to_string(), tensor.reason)).or_default();
        (*count, *bytes) = (*count + 1, *bytes + tensor.size());
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    let line = |((ggml_type, reason), (count, size)): ((String, &str), (usize, u64))| {
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        let tensors = if count == 1 { "tensor" } else { "tensors" };
        format!("  {count} {tensors} as {ggml_type}{reason}: {}", bytes(size))
    };
    kinds.into_iter().map(line).collect()
}

/// Every tensor, with its old and new type.
fn table(tensors: &[PlannedTensor]) -> Table {
    let mut table = Table::new(["tensor", "shape", "from", "to", "bytes", "reason"]);
    for tensor in tensors {
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
    table
}
