//! `mmprm doctor`: which models fit this machine, how fast it decodes, and the flags to run a model with.

mod found;
mod speed;

use std::path::{Path, PathBuf};

use mmprm::engine::memory::{MemoryNeeds, Workload};
use mmprm::engine::{Device, gpu_devices};
use mmprm::util::machine::{Memory, cores, memory};
use mmprm_quant::adapter::is_adapter;
use mmprm_quant::check;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::hf::shapes::Shape;
use mmprm_quant::quantize::QuantType;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::table::Table;
use crate::ui::{Ui, bytes};
use crate::{build_info, machine, models};

/// Show which models fit this machine, and the flags to run them with.
///
/// Prints the processor, the memory (within the limits of control groups), and the GPUs that this
/// build can use; what of the models here fits; the decode speed of the demo's policy, measured for
/// a few seconds; the memory that InternVL2.5 models of each size need, and whether they fit here;
/// whether policy and reward model fit a GPU together; and with --model, the flags to run that
/// model with.
#[derive(clap::Args)]
pub struct Args {
    /// Models to look at: GGUF files, or checkpoint directories for the memory of training [default:
    /// those here, in models/ and in the source tree's demo/].
    #[arg(value_name = "GGUF|HF_DIR")]
    models: Vec<PathBuf>,

    /// Measure no decode speed, which takes about five seconds.
    #[arg(long)]
    no_speed: bool,

    /// The model to advise on, a GGUF file.
    #[arg(short, long, value_name = "GGUF")]
    model: Option<PathBuf>,

    /// Its vision projector.
    #[arg(long, value_name = "GGUF", requires = "model")]
    mmproj: Option<PathBuf>,

    /// GPU memory to plan with, such as 8GiB [default: the free memory of the largest GPU here].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    gpu_memory: Option<u64>,
}

/// The quantisation types that are shown.
const TYPES: [QuantType; 3] = [QuantType::Q4_K_M, QuantType::Q8_0, QuantType::F16];
/// Cache positions for 16 rollouts with an image of a few tiles.
const CELLS: u32 = 8192;

/// Parses a size such as `8GiB` to bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit: f64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "g" | "gib" => (1_u64 << 30) as f64,
        "m" | "mib" => (1_u64 << 20) as f64,
        "gb" => 1e9,
        "mb" => 1e6,
        _ => return Err("expected a size such as 8GiB or 8192MiB".into()),
    };
    match text[..digits].parse::<f64>() {
        Ok(number) if number > 0.0 && number * unit < 1e15 => Ok((number * unit) as u64),
        _ => Err("expected a size such as 8GiB or 8192MiB".into()),
    }
}

/// Nine tenths of `memory`; the rest is left to the driver, the display, and as a reserve.
fn usable(memory: u64) -> u64 {
    memory / 10 * 9
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    // Files that cannot be read are refused before anything is printed.
    [&args.model, &args.mmproj].into_iter().flatten().try_for_each(|file| models::check(file))?;
    for path in &args.models {
        check_named(path)?;
    }
    let model = args.model.as_deref().map(GgufFile::open).transpose()?;
    let mmproj = args.mmproj.as_deref().map(GgufFile::open).transpose()?;
    model.iter().try_for_each(check::language)?;
    mmproj.iter().try_for_each(check::vision)?;
    let devices = gpu_devices();
    let memory = memory();
    let gpu = args.gpu_memory.or_else(|| devices.iter().map(|device| device.free).max());
    let mut result = Map::new();
    machine_lines(memory, &devices, &mut result, ui)?;
    let named = if args.models.is_empty() { found::everywhere() } else { args.models.clone() };
    found::table(&named, memory, &mut result, ui)?;
    if !args.no_speed {
        speed::measure(&mut result, ui)?;
    }
    shapes(memory, gpu, &mut result, ui)?;
    if let Some(gpu) = gpu {
        pair(gpu, &mut result, ui)?;
    }
    if let (Some(path), Some(model)) = (&args.model, &model) {
        let advice = Advice::on(&MemoryNeeds::of_files(model, mmproj.as_ref())?, memory, gpu, can_offload());
        ui.say("")?;
        ui.say(format_args!("{}: {}", path.display(), advice.text))?;
        if !advice.flags.is_empty() {
            ui.say(format_args!("  flags: {}", advice.flags))?;
        }
        result.insert(
            "model".into(),
            json!({"file": path, "fits": advice.fits, "flags": advice.flags, "advice": advice.text}),
        );
    }
    ui.say_lines(TERMS)?;
    ui.result(&Value::Object(result))?;
    Ok(Exit::Done)
}

/// The words of the tables.
const TERMS: &str = "
Terms:
  weights: the numbers of a model and its vision projector, as their files store them; they stay in memory.
  KV cache: what the model keeps of each token that it has read or written (a position), so that it need not read it again;
    cache / 1000 is that of 1000 positions.
  scratch: memory for the results between layers while a batch is computed.
  parallel rollouts: solutions that are written at the same time (--parallel); each needs positions of the KV cache.
  LoRA training: peak memory of `mmprm train` with --lora-rank 16 and the default recipe; for a checkpoint directory.
  fits: needs at most nine tenths of the memory that is available now; the rest is a reserve.";

/// Whether this build can use a GPU at all.
fn can_offload() -> bool {
    build_info::backends().len() > 1
}

/// Refuses a named path that is neither a GGUF file of a language model nor a checkpoint directory.
fn check_named(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() && path.join("config.json").is_file() && !is_adapter(path) {
        return Ok(());
    }
    models::check(path)?;
    let file = GgufFile::open(path)?;
    check::language(&file)?;
    Ok(())
}

fn machine_lines(
    memory: Option<Memory>,
    devices: &[Device],
    result: &mut Map<String, Value>,
    ui: &Ui,
) -> anyhow::Result<()> {
    let threads = cores();
    let features = machine::features();
    let have = |wanted: bool| {
        let names: Vec<&str> = features.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    let processor = machine::processor();
    ui.say(format_args!("processor: {}, {threads} threads", processor.as_deref().unwrap_or("unknown")))?;
    ui.say(format_args!("  has: {}", have(true)))?;
    ui.say(format_args!("  lacks: {}", have(false)))?;
    match memory {
        Some(memory) => {
            let limit = if memory.limited { " (limit of the control group)" } else { "" };
            ui.say(format_args!("memory: {}{limit}, {} available", bytes(memory.total), bytes(memory.available)))?;
        }
        None => ui.say("memory: unknown on this system")?,
    }
    let backends = build_info::backends();
    ui.say(format_args!("backends of this build: {}", backends.join(", ")))?;
    for device in devices {
        ui.say(format_args!("  {}: {}, {} free", device.name, bytes(device.total), bytes(device.free)))?;
    }
    if devices.is_empty() {
        ui.say("  no GPU found (to use one, build with `make build FEATURES=cuda`, vulkan or metal)")?;
    }
    let devices: Vec<Value> =
        devices.iter().map(|device| json!({"name": device.name, "total": device.total, "free": device.free})).collect();
    let features: Map<String, Value> = features.iter().map(|(name, has)| ((*name).to_owned(), json!(has))).collect();
    result.extend([
        ("processor".to_owned(), json!(processor)),
        ("threads".to_owned(), json!(threads)),
        ("features".to_owned(), Value::Object(features)),
        (
            "memory".to_owned(),
            memory.map_or(Value::Null, |m| json!({"total": m.total, "available": m.available, "limited": m.limited})),
        ),
        ("backends".to_owned(), json!(backends)),
        ("devices".to_owned(), Value::Array(devices)),
    ]);
    Ok(())
}

/// Prints the memory that the published models need, and whether they fit.
fn shapes(memory: Option<Memory>, gpu: Option<u64>, result: &mut Map<String, Value>, ui: &Ui) -> anyhow::Result<()> {
    ui.say_lines(format_args!("\nMemory for rollouts with a KV cache of {CELLS} positions:\n"))?;
    let heads = ["model", "type", "weights", "vision", "cache / 1000", "scratch", "total", "fits here"];
    let mut table = Table::new(heads.into_iter().chain(gpu.map(|_| "fits GPU")));
    let mut rows = Vec::new();
    for shape in Shape::ALL {
        for quant_type in TYPES {
            let needs = MemoryNeeds::of_shape(&shape.config(), quant_type)?;
            let total = needs.total(CELLS, &Workload::ROLLOUTS);
            let (scratch, vision) = (needs.scratch(CELLS, &Workload::ROLLOUTS) + needs.vision_scratch, needs.vision);
            let fits = |memory: Option<u64>| memory.map(|memory| total <= usable(memory));
            let (here, on_gpu) = (fits(memory.map(|memory| memory.available)), fits(gpu));
            let say = |fits: Option<bool>| fits.map_or("?", |fits| if fits { "yes" } else { "no" }).to_owned();
            let cells = [
                shape.name().to_owned(),
                quant_type.name().to_owned(),
                bytes(needs.weights),
                bytes(vision),
                bytes(needs.cache_per_position * 1000),
                bytes(scratch),
                bytes(total),
                say(here),
            ];
            table.row(cells.into_iter().chain(gpu.map(|_| say(on_gpu))));
            rows.push(
                json!({"shape": shape.name(), "type": quant_type.name(), "weights": needs.weights, "vision": vision,
                "cache_per_1000": needs.cache_per_position * 1000, "scratch": scratch, "cells": CELLS, "total": total,
                "fits_memory": here, "fits_gpu": on_gpu}),
            );
        }
    }
    ui.say_lines(&table)?;
    result.insert("fits".into(), Value::Array(rows));
    Ok(())
}

/// Prints whether a policy and a reward model, both 8B at `Q4_K_M`, fit a GPU of `gpu` bytes.
fn pair(gpu: u64, result: &mut Map<String, Value>, ui: &Ui) -> anyhow::Result<()> {
    let needs = MemoryNeeds::of_shape(&Shape::InternVl25B8.config(), QuantType::Q4_K_M)?;
    let memory = usable(gpu);
    let policy = needs.max_cells(memory, &Workload::ROLLOUTS);
    let prm = needs.max_cells(memory, &Workload::SCORES);
    let both = needs.total(CELLS, &Workload::ROLLOUTS) + needs.total(CELLS, &Workload::SCORES);
    let in_turn = policy.is_some_and(|cells| cells >= CELLS) && prm.is_some_and(|cells| cells >= CELLS);
    let text = if both <= memory {
        format!("fit together ({})", bytes(both))
    } else if in_turn {
        format!(
            "fit one at a time, which is how `generate` and `score` run them, but not together ({}); maximum caches: \
             policy {} positions, reward model {}",
            bytes(both),
            policy.unwrap_or(0),
            prm.unwrap_or(0)
        )
    } else {
        let layers = needs.layers_on_device(memory, CELLS, &Workload::ROLLOUTS);
        let flags = if can_offload() { format!(" (--gpu-layers {layers})") } else { String::new() };
        format!("do not fit; {layers} of the {} layers of one do{flags}", needs.layers + 1)
    };
    ui.say_lines(format_args!(
        "\nAn 8B policy and an 8B reward model at q4_k_m on a GPU with {} ({} usable): {text}",
        bytes(gpu),
        bytes(memory)
    ))?;
    result.insert(
        "pair".into(),
        json!({"gpu_memory": gpu, "usable": memory, "together": both <= memory, "one_at_a_time": in_turn,
            "together_bytes": both, "policy_cells": policy, "prm_cells": prm}),
    );
    Ok(())
}

/// How to run a model on this machine.
struct Advice {
    fits: bool,
    text: String,
    flags: String,
}

impl Advice {
    /// For a machine with `memory` and, where there is one, a GPU of `gpu` bytes, which the build may not be able to use.
    fn on(needs: &MemoryNeeds, memory: Option<Memory>, gpu: Option<u64>, can_offload: bool) -> Self {
        if let (Some(gpu), false) = (gpu, can_offload) {
            let mut advice = Self::on(needs, memory, None, true);
            let fits = needs.max_cells(usable(gpu), &Workload::ROLLOUTS).is_some();
            let does = if fits { "would fit" } else { "would not fit" };
            advice.text = format!(
                "{}; it {does} a GPU with {}, which this build cannot use (make build FEATURES=cuda, vulkan or metal)",
                advice.text,
                bytes(gpu)
            );
            return advice;
        }
        let setting = Workload::ROLLOUTS;
        let all_layers = needs.layers + 1;
        let max_cells = gpu.and_then(|gpu| needs.max_cells(usable(gpu), &setting));
        if let Some(max_cells) = max_cells.filter(|cells| *cells >= CELLS / 2) {
            let cells = max_cells.min(65_536);
            return Self {
                fits: true,
                text: format!("fits the GPU, with a cache of up to {max_cells} positions"),
                flags: format!("--gpu-layers {all_layers} --context {cells} --parallel {}", parallel(cells, 64)),
            };
        }
        let available = memory.map(|memory| usable(memory.available));
        let cells = available.map_or(Some(CELLS), |available| needs.max_cells(available, &setting));
        let Some(cells) = cells.map(|cells| cells.min(16_384)) else {
            return Self {
                fits: false,
                text: format!(
                    "does not fit: it needs {} and {} are available; try a smaller type (mmprm quantize)",
                    bytes(needs.total(256, &setting)),
                    bytes(memory.map_or(0, |memory| memory.available)),
                ),
                flags: String::new(),
            };
        };
        let layers = gpu.map_or(0, |gpu| needs.layers_on_device(usable(gpu), cells, &setting));
        let (text, offload) = if layers > 0 {
            (format!("{layers} of {all_layers} layers fit the GPU"), format!("--gpu-layers {layers} "))
        } else {
            ("fits the memory of this machine".to_owned(), String::new())
        };
        Self { fits: true, text, flags: format!("{offload}--context {cells} --parallel {}", parallel(cells, 16)) }
    }
}

/// Rollouts decoded at once: one per 512 cache positions, at most `max`.
fn parallel(cells: u32, max: u32) -> u32 {
    (cells / 512).clamp(1, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_with_their_unit() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("1.5 g"), Ok(3 << 29));
        assert_eq!(size("8000MB"), Ok(8_000_000_000));
        for wrong in ["8", "GiB", "-1GiB", "0GiB", "8TiB", "1e30GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn advice_follows_the_memory() {
        let needs = MemoryNeeds::of_shape(&Shape::InternVl25B8.config(), QuantType::Q4_K_M).unwrap();
        let memory = |gib: u64| Some(Memory { total: gib << 30, available: gib << 30, limited: false });
        let whole = Advice::on(&needs, memory(16), Some(24 << 30), true);
        assert!(whole.flags.contains("--gpu-layers 33 "), "{}", whole.flags);
        let part = Advice::on(&needs, memory(16), Some(4 << 30), true);
        assert!(part.text.contains(" of 33 layers"), "{}", part.text);
        assert!(Advice::on(&needs, memory(16), None, true).flags.starts_with("--context 16384 "));
        assert!(!Advice::on(&needs, memory(4), None, true).fits);
        let on_cpu = Advice::on(&needs, memory(16), Some(24 << 30), false);
        assert!(
            on_cpu.flags.starts_with("--context 16384 ") && on_cpu.text.contains("would fit a GPU"),
            "{}",
            on_cpu.text
        );
    }
}
