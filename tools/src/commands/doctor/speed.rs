//! Decode speed of the demo's policy on this machine, measured for a few seconds.

use std::path::Path;
use std::time::{Duration, Instant};

use mmprm::engine::{
    Chunk, Engine, EngineError, EngineOptions, GenerateRequest, Model, ModelOptions, Prompt, Sampling, Stream,
};
use serde_json::{Map, Value, json};

use crate::models;
use crate::ui::Ui;

/// Rollouts decoded together in the second measurement.
const TOGETHER: u32 = 16;
/// Tokens of a rollout.
const TOKENS: usize = 64;
/// Seconds of each of the two measurements.
const SECONDS: u64 = 2;

/// Measures and prints the speed; says nothing where there is no demo.
pub fn measure(result: &mut Map<String, Value>, ui: &Ui) -> anyhow::Result<()> {
    let Some(policy) = models::demo().map(|demo| demo.join("models/policy-q8_0.gguf")) else { return Ok(()) };
    let bar = ui.spinner("decoding");
    let rates = rates(&policy, ui)?;
    bar.finish_and_clear();
    let [alone, together] = rates;
    ui.say_lines(format_args!(
        "\ndecode speed of the demo's policy, measured here: {alone:.0} tokens/s alone, {together:.0} tokens/s with {TOGETHER} \
         rollouts in parallel"
    ))?;
    result.insert("speed".into(), json!({"file": policy, "alone": alone, "together": together, "parallel": TOGETHER}));
    Ok(())
}

/// Tokens per second of one rollout, and of [`TOGETHER`] rollouts.
fn rates(policy: &Path, ui: &Ui) -> Result<[f64; 2], EngineError> {
    let model = Model::load(policy, ModelOptions::default())?;
    let engine = Engine::start(&model, EngineOptions { parallel: Some(TOGETHER), ..EngineOptions::default() })?;
    let prompt = Prompt::new([Chunk::Tokens(model.tokenize("1 + 1", true)?)])?;
    let run = |count: u32, round: u64| {
        let streams = (0..count).map(|index| Stream::named(round, "doctor", 0, index.into())).collect();
        let request = GenerateRequest::new(prompt.clone(), Sampling::default(), streams, TOKENS);
        engine.generate(GenerateRequest { ignore_ends: true, ..request }).map(drop)
    };
    let rate = |count: u32| -> Result<f64, EngineError> {
        run(count, 0)?;
        let (started, mut rounds) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(SECONDS) {
            if ui.is_interrupted() {
                return Err(EngineError::Cancelled);
            }
            rounds += 1;
            run(count, rounds)?;
        }
        Ok((rounds * u64::from(count) * TOKENS as u64) as f64 / started.elapsed().as_secs_f64())
    };
    Ok([rate(1)?, rate(TOGETHER)?])
}
