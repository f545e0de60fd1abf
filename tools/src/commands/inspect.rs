//! `mmprm inspect`: shows the content of a GGUF file.

use std::ops::ControlFlow;
use std::path::PathBuf;

use mmprm::engine::QwenEncoder;
use mmprm::prm::form;
use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue};
use mmprm_quant::head::{Activation, HeadShape};
use mmprm_quant::hf::origin::TASK_KEY;
use mmprm_quant::hf::source::ARCHITECTURE_KEY;
use mmprm_quant::inspect::{Summary, content_hash, summary};
use mmprm_quant::progress::Progress;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::models;
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Show what a GGUF file is: its kind, sizes, metadata and content hash.
///
/// The hash covers only the tensors (names, shapes, types, data): files with equal weights have
/// equal hashes, whatever their metadata. In JSON, a list of more than 1024 elements or a text of
/// more than 64 KiB is an object with its type, its length and its beginning (`first`).
#[derive(clap::Args)]
pub struct Args {
    /// GGUF file.
    #[arg(value_name = "FILE.gguf")]
    file: PathBuf,

    /// List every tensor, as -v does.
    #[arg(long)]
    tensors: bool,
}

/// Maximum number of characters shown of a value.
const MAX_SHOWN: usize = 60;
/// Maximum number of characters shown of a key or of a tensor's name.
const MAX_NAME: usize = 100;

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    models::check(&args.file)?;
    let file = GgufFile::open_outline(&args.file)?;
    let head = HeadShape::read(&file)?;
    let summary = summary(&file);
    let bar = ui.bar("hashing", summary.bytes, "B");
    let hash = content_hash(&file, &mut |progress: Progress<'_>| {
        bar.set_position(progress.done);
        if ui.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let Some(hash) = hash else { return Ok(Exit::Interrupted) };

    let mut metadata = Table::new(["key", "type", "value"]);
    for (key, value) in file.metadata() {
        metadata.row([one_line(key, MAX_NAME), type_name(value, file.full_length(key)), brief(value)]);
    }
    ui.say(format_args!("{}: {}", args.file.display(), kind(&file)))?;
    for line in facts(&file, &summary, head.as_ref()) {
        ui.say(format_args!("  {line}"))?;
    }
    ui.say(format_args!("  content sha256 {hash}"))?;
    ui.say_lines(format_args!("\n{metadata}"))?;
    if args.tensors || ui.is_verbose() {
        let mut tensors = Table::new(["tensor", "shape", "type", "bytes"]);
        for tensor in file.tensors() {
            let shape: Vec<String> = tensor.dims.iter().map(u64::to_string).collect();
            tensors.row([
                one_line(&tensor.name, MAX_NAME),
                shape.join("x"),
                tensor.ggml_type.to_string(),
                tensor.size.to_string(),
            ]);
        }
        ui.say_lines(&tensors)?;
    }
    let mut types = Table::new(["type", "tensors", "parameters", "bytes"]);
    for size in &summary.types {
        types.row([
            size.ggml_type.to_string(),
            size.tensors.to_string(),
            size.parameters.to_string(),
            size.bytes.to_string(),
        ]);
    }
    ui.say_lines(&types)?;

    let keys: Map<String, Value> =
        file.metadata().iter().map(|(key, value)| (key.clone(), shown(value, file.full_length(key)))).collect();
    let tensors: Vec<Value> = file
        .tensors()
        .iter()
        .map(|tensor| {
            json!({"name": tensor.name, "shape": tensor.dims, "type": tensor.ggml_type.to_string(), "bytes": tensor.size})
        })
        .collect();
    ui.result(&json!({
        "file": args.file, "version": file.version(), "file_bytes": file.file_size(), "metadata": keys,
        "tensors": tensors, "parameters": summary.parameters, "content_sha256": hash, "kind": kind(&file),
        "bits_per_weight": summary.bits_per_parameter(),
        "prm_form": form::of_file(&file).and_then(Result::ok).map(|form| form.to_string()),
        "head": head.map(|head| json!({"widths": head.widths,
            "activation": head.activation.map(Activation::name)})),
    }))?;
    Ok(Exit::Done)
}

/// What a file is for, in a few words.
fn kind(file: &GgufFile) -> String {
    let text = |key: &str| file.get_str(key).unwrap_or_default();
    if text("general.architecture") == "clip" {
        return format!("vision projector ({})", text("clip.projector_type"));
    }
    let what = if text("general.type") == "adapter" { "LoRA adapter" } else { "language model" };
    match (form::of_file(file), text(TASK_KEY)) {
        (Some(Ok(form)), _) => format!("{what}, a process reward model of the form {form}"),
        (Some(Err(error)), _) => format!("{what}, a process reward model that cannot be used: {error}"),
        (None, "") => format!("{what}; what it was trained for is not recorded"),
        (None, "policy") => format!("{what}, a policy: it writes solutions"),
        (None, other) => format!("{what} for {other}"),
    }
}

/// The sizes of a file, one a line.
fn facts(file: &GgufFile, summary: &Summary, head: Option<&HeadShape>) -> Vec<String> {
    let architecture = file.get_str("general.architecture").unwrap_or_default();
    let name = file.get_str("general.name").map_or_else(|_| String::new(), |name| format!(" ({name})"));
    let number = |key: &str| file.get_u32(key).ok();
    let of = |key: &str| number(&format!("{architecture}.{key}"));
    let class = file.get_str(ARCHITECTURE_KEY).map_or_else(|_| String::new(), |class| format!(", from {class}"));
    let mut lines = vec![
        format!("family: {architecture}{name}{class}, GGUF version {}", file.version()),
        format!(
            "size: {} parameters at {:.2} bits each, {}",
            summary.parameters,
            summary.bits_per_parameter(),
            bytes(file.file_size())
        ),
    ];
    if let (Some(context), Some(layers), Some(width)) =
        (of("context_length"), of("block_count"), of("embedding_length"))
    {
        lines.push(format!("context: {context} tokens; {layers} layers of width {width}"));
    }
    if let Some(Ok(form)) = form::of_file(file) {
        let images = if form.has_images() { "" } else { ", without images" };
        lines.push(format!("PRM form: {form}: a step's score is {}{images}", form.summary()));
        lines.extend(form.source().map(|source| format!("PRM form from: {source}")));
    }
    lines.extend(whole_images(file));
    let tile = number("mmprm.image.size").or(number("clip.vision.image_size"));
    let tile = tile.filter(|_| !QwenEncoder::is_for(file));
    match (tile, number("mmprm.image.max_tiles"), number("clip.vision.projection_dim")) {
        (Some(tile), _, Some(width)) => {
            lines.push(format!("images: tiles of {tile} pixels, projected to width {width}"));
        }
        (Some(tile), Some(max), None) => {
            lines.push(format!("images: up to {max} tiles of {tile} pixels, through its vision projector (mmproj)"));
        }
        _ => {}
    }
    if let Some(HeadShape { widths, activation }) = head {
        let widths: Vec<String> = widths.iter().map(usize::to_string).collect();
        let between =
            activation.map_or_else(String::new, |activation| format!(", {} between layers", activation.name()));
        lines.push(format!("head: scores positions from the hidden state, {}{between}", widths.join(" → ")));
    }
    lines
}

/// What a file of Qwen-VL, which reads images whole, says about them.
fn whole_images(file: &GgufFile) -> Option<String> {
    let number = |key: &str| file.get(key).and_then(GgufValue::as_u32).map(u64::from);
    if QwenEncoder::is_for(file) {
        let (side, width) = (2 * number("clip.vision.patch_size")?, number("clip.vision.projection_dim")?);
        return Some(format!("images: read whole, a token for {side}×{side} pixels, projected to width {width}"));
    }
    let (side, min, max) =
        (number("mmprm.image.token_size")?, number("mmprm.image.min_pixels")?, number("mmprm.image.max_pixels")?);
    let [min, max] = [min, max].map(|pixels| pixels / side.pow(2).max(1));
    Some(format!(
        "images: read whole, {min} to {max} tokens of {side}×{side} pixels (at most {} by default), through its vision \
         projector (mmproj)",
        max.min(QwenEncoder::DEFAULT_MAX_TOKENS as u64)
    ))
}

fn type_name(value: &GgufValue, full_length: Option<usize>) -> String {
    match value {
        GgufValue::Array(array) => {
            format!("{}[{}]", array.type_name(), full_length.unwrap_or(array.len()))
        }
        other => other.type_name().to_owned(),
    }
}

/// Returns a value on one line, truncated.
fn brief(value: &GgufValue) -> String {
    match to_json(value) {
        Value::String(text) => one_line(&text, MAX_SHOWN),
        other => one_line(&other.to_string(), MAX_SHOWN),
    }
}

/// Returns the beginning of a text, without control characters.
fn one_line(text: &str, max_chars: usize) -> String {
    let mut line: String = text.chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max_chars).is_some() {
        line.push('…');
    }
    line
}

/// Returns a value, or the type, length and beginning of one that is too long.
fn shown(value: &GgufValue, full_length: Option<usize>) -> Value {
    match full_length {
        Some(length) => json!({"type": value.type_name(), "length": length, "first": to_json(value)}),
        None => to_json(value),
    }
}

fn to_json(value: &GgufValue) -> Value {
    match value {
        GgufValue::U8(number) => json!(number),
        GgufValue::I8(number) => json!(number),
        GgufValue::U16(number) => json!(number),
        GgufValue::I16(number) => json!(number),
        GgufValue::U32(number) => json!(number),
        GgufValue::I32(number) => json!(number),
        GgufValue::U64(number) => json!(number),
        GgufValue::I64(number) => json!(number),
        GgufValue::F32(number) => json!(number),
        GgufValue::F64(number) => json!(number),
        GgufValue::Bool(truth) => json!(truth),
        GgufValue::String(text) => json!(text),
        GgufValue::Array(array) => match array {
            GgufArray::U8(items) => json!(items),
            GgufArray::I8(items) => json!(items),
            GgufArray::U16(items) => json!(items),
            GgufArray::I16(items) => json!(items),
            GgufArray::U32(items) => json!(items),
            GgufArray::I32(items) => json!(items),
            GgufArray::U64(items) => json!(items),
            GgufArray::I64(items) => json!(items),
            GgufArray::F32(items) => json!(items),
            GgufArray::F64(items) => json!(items),
            GgufArray::Bool(items) => json!(items),
            GgufArray::String(items) => items.iter().collect(),
        },
    }
}
