//! `mmprm bench score`: step scores per second, time to the first score, and peak memory.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use mmprm::engine::memory::{MemoryNeeds, Workload};
use mmprm::engine::{Chunk, Engine, EngineError, Prompt, Token};
use mmprm::util::machine;
use mmprm::vision::prompts::PromptEncoder;
use mmprm_quant::gguf::GgufFile;
use serde_json::{Value, json};

use super::measure::{Arm, Report, in_turns};
use super::subject::{Mini, ModelArgs, RandomTokens, Subject, demo, prompt, start};
use super::{CompareArgs, MeasureArgs};
use crate::args::EngineArgs;
use crate::exit::Exit;
use crate::ui::Ui;

/// The maximum difference of a score between two ways to compute it that rounding explains.
const TOLERANCE: f64 = 0.05;
/// Bytes per mebibyte.
const MIB: f64 = (1 << 20) as f64;

/// Step scores per second: candidates of several steps with a common prefix.
///
/// All candidates go to the engine at once, which computes their common prefixes once. With
/// --compare naive each goes alone and its whole prompt is computed again. Also prints the time
/// from the start of the program to the first score (a candidate of one step, with the first image
/// of demo/ if there is a projector), and the peak memory: total, and beyond weights, cache and
/// llama.cpp's scratch buffers. Works with any language model: for one without step and label
/// tokens other tokens are read.
#[derive(clap::Args)]
pub struct Args {
    /// Number of candidates.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    candidates: usize,

    /// Steps per candidate.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    steps: usize,

    /// Tokens per step, including the step token.
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = RangedU64ValueParser::<usize>::new().range(2..=4096))]
    step_tokens: usize,

    /// Tokens before the steps, equal for all candidates.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    prefix: usize,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    measure: MeasureArgs,

    #[command(flatten)]
    compare: CompareArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let (model, mmproj) = args.model.files(Mini::Prm)?;
    let length = args.prefix + args.steps * args.step_tokens;
    let engine = start(&model, &args.engine, 1, Some(length + 1024), true)?;
    let reading = Reading::of(&engine);
    let image = first_score(args, &engine, mmproj.as_deref(), &reading)?;
    let first = ui.seconds();

    let candidates = candidates(args, &engine, &reading)?;
    let (mut shared, mut naive) = (Vec::new(), Vec::new());
    let mut ratio = 0.0;
    let mut arms: Vec<Arm<'_>> = vec![Box::new(|_| {
        let (started, before) = (Instant::now(), engine.stats());
        engine.forget()?;
        shared = reading.scores(&engine, candidates.clone())?;
        let (seconds, after) = (started.elapsed().as_secs_f64(), engine.stats());
        ratio = (after.processed - before.processed) as f64 / (after.unique - before.unique) as f64;
        Ok(seconds)
    })];
    if args.compare.compare.is_some() {
        arms.push(Box::new(|_| {
            let started = Instant::now();
            naive.clear();
            for candidate in &candidates {
                engine.forget()?;
                naive.extend(reading.scores(&engine, vec![candidate.clone()])?);
            }
            Ok(started.elapsed().as_secs_f64())
        }));
    }
    let times = in_turns("score", args.measure.repetitions, &mut arms, ui)?;
    drop(arms);
    let mut report = Report::new("score");
    let subject = Subject::of(&engine, &args.engine);
    let steps = (args.candidates * args.steps) as f64;
    let work = format!("{} × {} steps after {} tokens", args.candidates, args.steps, args.prefix);
    report.row(&subject, work.clone(), "steps/s", times[0].rate(steps));
    report.fact("processed_per_unique", ratio, format!("processed / unique prompt tokens: {ratio:.3}"));
    let mut exit = Exit::Done;
    if let Some(slow) = times.get(1) {
        report.row(&subject, format!("{work}, each prompt alone"), "steps/s", slow.rate(steps));
        report.speedup(&times[0], slow);
        let difference = largest_difference(&shared, &naive);
        report.fact(
            "agreement",
            json!({"largest_difference": difference}),
            format!("scores computed in both ways differ by at most {difference:.2e}"),
        );
        if difference > TOLERANCE {
            ui.warn(format_args!(
                "scores differ by {difference:.3}, more than rounding explains ({TOLERANCE}): the times are not comparable"
            ));
            exit = Exit::Failed;
        }
    }
    report.fact("first_score_s", first, format!("first score after {first:.3} s{image}"));
    memory(&engine, mmproj.as_deref(), &mut report)?;
    report.print(ui)?;
    Ok(exit)
}

/// Where scores are read: after each step token, from the logits of the two label tokens.
struct Reading {
    step: Token,
    labels: [Token; 2],
}

impl Reading {
    fn of(engine: &Engine) -> Self {
        let model = engine.model();
        let last = model.vocabulary_size() as Token - 1;
        let token = |text: &str, instead: Token| model.token(text).unwrap_or(instead);
        Self { step: token("<prm>", last), labels: [token("Yes", 1), token("No", 2)] }
    }

    fn scores(&self, engine: &Engine, prompts: Vec<Prompt>) -> Result<Vec<Vec<f64>>, EngineError> {
        let score = |row: &Vec<f32>| 1.0 / (1.0 + f64::from(row[1] - row[0]).exp());
        let readings = engine.probe(prompts, self.step, &self.labels)?;
        Ok(readings.iter().map(|rows| rows.iter().map(score).collect()).collect())
    }
}

/// Scores one step, so that everything is loaded and has run once. Returns what the report adds
/// about it.
fn first_score(args: &Args, engine: &Engine, mmproj: Option<&Path>, reading: &Reading) -> anyhow::Result<&'static str> {
    let mut random = RandomTokens::new(engine.model(), &[reading.step], args.measure.seed);
    let encoder = PromptEncoder::load(engine.model().clone(), mmproj, args.engine.encoder_options(None))
        .context("cannot use the vision projector")?;
    let image = match mmproj {
        Some(_) => demo("--model without --mmproj").ok().map(|demo| demo.join("mini-k12/test/images")),
        None => None,
    };
    let image = image.and_then(|folder| std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).min());
    let mut chunks = Vec::new();
    if let Some(image) = &image {
        chunks.push(Chunk::Tokens(random.take(4)));
        chunks.push(Chunk::Image(encoder.image(image)?));
    }
    let mut tokens = random.take(28);
    tokens.push(reading.step);
    chunks.push(Chunk::Tokens(tokens));
    reading.scores(engine, vec![Prompt::new(chunks)?])?;
    Ok(if image.is_some() { ", with an image" } else { "" })
}

/// The prompts to score, equal up to the prefix.
fn candidates(args: &Args, engine: &Engine, reading: &Reading) -> Result<Vec<Prompt>, EngineError> {
    let mut random = RandomTokens::new(engine.model(), &[reading.step], args.measure.seed);
    let prefix = random.take(args.prefix);
    let mut candidate = || {
        let mut tokens = prefix.clone();
        for _ in 0..args.steps {
            tokens.extend(random.take(args.step_tokens - 1));
            tokens.push(reading.step);
        }
        prompt(tokens)
    };
    (0..args.candidates).map(|_| candidate()).collect()
}

fn largest_difference(one: &[Vec<f64>], other: &[Vec<f64>]) -> f64 {
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Adds the peak memory so far, and how much of it is beyond what the model itself needs.
fn memory(engine: &Engine, mmproj: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let Some(peak) = machine::peak() else {
        report.fact("peak_memory_mib", Value::Null, "peak memory: unknown on this system");
        return Ok(());
    };
    let peak = peak as f64 / MIB;
    report.fact("peak_memory_mib", peak, format!("peak memory: {peak:.0} MiB"));
    if engine.model().is_offloaded() {
        // The model's memory is on the GPU, and the memory here includes the driver's.
        report.fact("above_model_mib", Value::Null, "  without weights and cache, which are on the GPU");
        return Ok(());
    }
    let mmproj = mmproj.map(GgufFile::open).transpose()?;
    let needs = MemoryNeeds::of_files(engine.model().file(), mmproj.as_ref())?;
    let cells = engine.stats().cells as u32;
    let model = needs.total(cells, &Workload::SCORES);
    let above = peak - model as f64 / MIB;
    report.fact(
        "above_model_mib",
        above,
        format!("  of which beyond weights, cache and scratch buffers: {above:.0} MiB"),
    );
    Ok(())
}
