//! Converts a checkpoint directory to GGUF: `convert HF_DIR OUTPUT_DIR f32|f16|bf16|q8_0`.

use std::ops::ControlFlow;
use std::path::Path;

use mmprm_quant::{ConvertOptions, Progress, WeightType, convert};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, output, weight_type] = arguments.as_slice() else {
        return Err("usage: convert HF_DIR OUTPUT_DIR f32|f16|bf16|q8_0".into());
    };
    let weight_type = WeightType::from_name(weight_type).ok_or("expected f32, f16, bf16 or q8_0")?;
    let plan = convert::plan(Path::new(checkpoint), Path::new(output), &ConvertOptions::new(weight_type))?;
    plan.notes.iter().for_each(|note| eprintln!("note: {note}"));
    plan.write(&mut |progress: Progress<'_>| {
        eprint!("\r{:3} %", progress.done * 100 / progress.total);
        ControlFlow::Continue(())
    })?;
    eprintln!();
    for file in &plan.files {
        println!("{}: {} tensors, {} bytes", file.path.display(), file.tensors.len(), file.data_size());
    }
    Ok(())
}
