//! Converts a checkpoint directory: `convert HF_DIR OUT_DIR f32|f16|bf16|q8_0`.

use std::ops::ControlFlow;
use std::path::Path;

use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::Progress;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, output, kind] = arguments.as_slice() else {
        return Err("usage: convert HF_DIR OUT_DIR f32|f16|bf16|q8_0".into());
    };
    let types = [WeightType::F32, WeightType::F16, WeightType::Bf16, WeightType::Q8_0];
    let weight_type = types.into_iter().find(|ty| ty.name() == kind).ok_or("expected f32, f16, bf16 or q8_0")?;
    let plan = plan(Path::new(checkpoint), Path::new(output), &ConvertOptions::new(weight_type))?;
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let mut watch = |progress: Progress<'_>| {
        eprint!("\r{:3} %", progress.done * 100 / progress.total);
        ControlFlow::Continue(())
    };
    plan.write(&mut watch)?;
    eprintln!();
    for file in &plan.files {
        println!("{}: {} tensors, {} bytes of data", file.path.display(), file.tensors.len(), file.data_size());
    }
    Ok(())
}
