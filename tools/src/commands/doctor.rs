//! `mmprm doctor`: what this machine can do.

use std::path::PathBuf;

use mmprm::engine::memory::{MemoryNeeds, Workload};
use mmprm::engine::{Device, gpu_devices};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::hf::shapes::Shape;
use mmprm_quant::quantize::QuantType;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::machine::{self, Memory};
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Show what this machine can run, and with which flags.
///
/// Processor, memory, the devices that this build can use; the memory that InternVL2.5 models of each size take, and whether they
/// fit here; whether policy and reward model fit a graphics card together; with --model, the flags to run it with. Nothing is
/// loaded.
#[derive(clap::Args)]
pub struct Args {
    /// A model to advise on, a GGUF file.
    #[arg(short, long, value_name = "GGUF")]
    model: Option<PathBuf>,

    /// Its vision projector.
    #[arg(long, value_name = "GGUF", requires = "model")]
    mmproj: Option<PathBuf>,

    /// Memory of a graphics card to advise on, such as 8GiB [default: what the largest device here has free].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    gpu_memory: Option<u64>,
}

/// The mixes that are shown.
const MIXES: [QuantType; 3] = [QuantType::Q4_K_M, QuantType::Q8_0, QuantType::F16];
/// A cache for 16 rollouts with an image of a few tiles.
const CELLS: u32 = 8192;

/// Bytes of a size such as `8GiB`.
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

/// Nine tenths of some memory: the rest is the driver's, the display's, and a reserve.
fn usable(memory: u64) -> u64 {
    memory / 10 * 9
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    // What cannot be read is refused before anything is said.
    let model = args.model.as_deref().map(GgufFile::open).transpose()?;
    let mmproj = args.mmproj.as_deref().map(GgufFile::open).transpose()?;
    let devices = gpu_devices();
    let memory = machine::memory();
    let card = args.gpu_memory.or_else(|| devices.iter().map(|device| device.free).max());
    let mut result = Map::new();
    machine_lines(memory, &devices, &mut result, ui)?;
    shapes(memory, card, &mut result, ui)?;
    if let Some(card) = card {
        pair(card, &mut result, ui)?;
    }
    if let (Some(path), Some(model)) = (&args.model, &model) {
        let advice = Advice::on(&MemoryNeeds::of_files(model, mmproj.as_ref())?, memory, card);
        ui.say(format_args!("\n{}: {}", path.display(), advice.text))?;
        ui.say(format_args!("  flags: {}", advice.flags))?;
        result.insert(
            "model".into(),
            json!({"file": path, "fits": advice.fits, "flags": advice.flags, "advice": advice.text}),
        );
    }
    ui.result(&Value::Object(result))?;
    Ok(Exit::Done)
}

fn machine_lines(
    memory: Option<Memory>,
    devices: &[Device],
    result: &mut Map<String, Value>,
    ui: &Ui,
) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let features = machine::features();
    let have = |wanted: bool| {
        let names: Vec<&str> = features.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    let processor = machine::processor();
    ui.say(format_args!("processor: {}, {threads} threads", processor.as_deref().unwrap_or("of unknown name")))?;
    ui.say(format_args!("  has: {}", have(true)))?;
    ui.say(format_args!("  lacks: {}", have(false)))?;
    match memory {
        Some(memory) => {
            ui.say(format_args!("memory: {}, {} available", bytes(memory.total), bytes(memory.available)))?;
        }
        None => ui.say("memory: this system does not tell")?,
    }
    let backends: Vec<&str> = [
        ("cpu", true),
        ("cuda", cfg!(feature = "cuda")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
    ]
    .into_iter()
    .filter_map(|(name, built)| built.then_some(name))
    .collect();
    ui.say(format_args!("backends of this build: {}", backends.join(", ")))?;
    for device in devices {
        ui.say(format_args!("  {}: {}, {} free", device.name, bytes(device.total), bytes(device.free)))?;
    }
    if devices.is_empty() {
        ui.say("  no GPU found (make build FEATURES=cuda, vulkan or metal builds for one)")?;
    }
    let devices: Vec<Value> =
        devices.iter().map(|device| json!({"name": device.name, "total": device.total, "free": device.free})).collect();
    let features: Map<String, Value> = features.iter().map(|(name, has)| ((*name).to_owned(), json!(has))).collect();
    result.extend([
        ("processor".to_owned(), json!(processor)),
        ("threads".to_owned(), json!(threads)),
        ("features".to_owned(), Value::Object(features)),
        ("memory".to_owned(), memory.map_or(Value::Null, |m| json!({"total": m.total, "available": m.available}))),
        ("backends".to_owned(), json!(backends)),
        ("devices".to_owned(), Value::Array(devices)),
    ]);
    Ok(())
}

/// What the published models take, and whether they fit.
fn shapes(memory: Option<Memory>, card: Option<u64>, result: &mut Map<String, Value>, ui: &Ui) -> anyhow::Result<()> {
    ui.say(format_args!("\nMemory of rollouts with a cache of {CELLS} positions:\n"))?;
    let mut table =
        Table::new(["model", "type", "weights", "vision", "cache / 1000", "scratch", "all", "fits here", "fits card"]);
    let mut rows = Vec::new();
    for shape in Shape::ALL {
        for mix in MIXES {
            let needs = MemoryNeeds::of_shape(&shape.config(), mix)?;
            let all = needs.total(CELLS, &Workload::ROLLOUTS);
            let (scratch, vision) = (needs.scratch(CELLS, &Workload::ROLLOUTS) + needs.vision_scratch, needs.vision);
            let fits = |memory: Option<u64>| memory.map(|memory| all <= usable(memory));
            let (here, on_card) = (fits(memory.map(|memory| memory.available)), fits(card));
            let say = |fits: Option<bool>| fits.map_or("?", |fits| if fits { "yes" } else { "no" }).to_owned();
            table.row([
                shape.name().to_owned(),
                mix.name().to_owned(),
                bytes(needs.weights),
                bytes(vision),
                bytes(needs.cache_per_position * 1000),
                bytes(scratch),
                bytes(all),
                say(here),
                say(on_card),
            ]);
            rows.push(json!({"shape": shape.name(), "type": mix.name(), "weights": needs.weights, "vision": vision,
                "cache_per_1000": needs.cache_per_position * 1000, "scratch": scratch, "cells": CELLS, "total": all,
                "fits_memory": here, "fits_gpu": on_card}));
        }
    }
    ui.say(&table)?;
    result.insert("fits".into(), Value::Array(rows));
    Ok(())
}

/// Whether a policy and a reward model of 8B at `Q4_K_M` fit a card.
fn pair(card: u64, result: &mut Map<String, Value>, ui: &Ui) -> anyhow::Result<()> {
    let needs = MemoryNeeds::of_shape(&Shape::InternVl25B8.config(), QuantType::Q4_K_M)?;
    let memory = usable(card);
    let policy = needs.max_cells(memory, &Workload::ROLLOUTS);
    let prm = needs.max_cells(memory, &Workload::SCORES);
    let both = needs.total(CELLS, &Workload::ROLLOUTS) + needs.total(CELLS, &Workload::SCORES);
    let in_turn = policy.is_some_and(|cells| cells >= CELLS) && prm.is_some_and(|cells| cells >= CELLS);
    let text = if both <= memory {
        format!("fit together ({})", bytes(both))
    } else if in_turn {
        format!(
            "fit one at a time, which is how `generate` and `score` run them, but not together ({}); largest caches: policy \
             {} positions, reward model {}",
            bytes(both),
            policy.unwrap_or(0),
            prm.unwrap_or(0)
        )
    } else {
        let layers = needs.layers_on_device(memory, CELLS, &Workload::ROLLOUTS);
        format!("do not fit whole; {layers} of {} layers of one do (--gpu-layers {layers})", needs.layers + 1)
    };
    ui.say(format_args!(
        "\nAn 8B policy and an 8B reward model at q4_k_m, on a card with {} ({} usable): {text}",
        bytes(card),
        bytes(memory)
    ))?;
    result.insert(
        "pair".into(),
        json!({"gpu_memory": card, "usable": memory, "together": both <= memory, "one_at_a_time": in_turn,
            "together_bytes": both, "policy_cells": policy, "prm_cells": prm}),
    );
    Ok(())
}

/// How to run a model here.
struct Advice {
    fits: bool,
    text: String,
    flags: String,
}

impl Advice {
    /// On a machine with `memory`, perhaps with a device of `card` bytes.
    fn on(needs: &MemoryNeeds, memory: Option<Memory>, card: Option<u64>) -> Self {
        let setting = Workload::ROLLOUTS;
        let all_layers = needs.layers + 1;
        let most = card.and_then(|card| needs.max_cells(usable(card), &setting));
        if let Some(most) = most.filter(|most| *most >= CELLS / 2) {
            let cells = most.min(65_536);
            return Self {
                fits: true,
                text: format!("fits the card whole, with a cache of up to {most} positions"),
                flags: format!("--gpu-layers {all_layers} --context {cells} --parallel {}", parallel(cells, 64)),
            };
        }
        let available = memory.map(|memory| usable(memory.available));
        let cells = available.map_or(Some(CELLS), |available| needs.max_cells(available, &setting));
        let Some(cells) = cells.map(|cells| cells.min(16_384)) else {
            return Self {
                fits: false,
                text: format!(
                    "does not fit: it takes {} and the machine has {} available; a smaller type may (mmprm quantize)",
                    bytes(needs.total(256, &setting)),
                    bytes(memory.map_or(0, |memory| memory.available)),
                ),
                flags: String::new(),
            };
        };
        let layers = card.map_or(0, |card| needs.layers_on_device(usable(card), cells, &setting));
        let (text, gpu) = if layers > 0 {
            (format!("{layers} of {all_layers} layers fit the card"), format!("--gpu-layers {layers} "))
        } else {
            ("fits the memory of the machine".to_owned(), String::new())
        };
        Self { fits: true, text, flags: format!("{gpu}--context {cells} --parallel {}", parallel(cells, 16)) }
    }
}

/// Rollouts side by side: up to `most`, as many as have 512 positions each.
fn parallel(cells: u32, most: u32) -> u32 {
    (cells / 512).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
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
        let memory = |gib: u64| Some(Memory { total: gib << 30, available: gib << 30 });
        let whole = Advice::on(&needs, memory(16), Some(24 << 30));
        assert!(whole.flags.contains("--gpu-layers 33 "), "{}", whole.flags);
        let part = Advice::on(&needs, memory(16), Some(4 << 30));
        assert!(part.text.contains(" of 33 layers"), "{}", part.text);
        assert!(Advice::on(&needs, memory(16), None).flags.starts_with("--context 16384 "));
        assert!(!Advice::on(&needs, memory(4), None).fits);
    }
}
