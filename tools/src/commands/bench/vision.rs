//! `mmprm bench vision`: image tiles encoded per second.

use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use mmprm::engine::{EngineError, LlamaEncoder, Model, Stream};
use mmprm_quant::gguf::GgufFile;

use super::MeasureArgs;
use super::measure::{Arm, Report, in_turns};
use super::subject::{Mini, ModelArgs, Subject};
use crate::args::EngineArgs;
use crate::exit::{Exit, Usage};
use crate::ui::Ui;

/// Image tiles encoded per second by llama.cpp's vision encoder.
///
/// Encodes tiles of noise of the vision tower's input size one after the other, as images are
/// encoded.
#[derive(clap::Args)]
pub struct Args {
    /// Tiles per run.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    tiles: usize,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    measure: MeasureArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let (model, mmproj) = args.model.files(Mini::Policy)?;
    let Some(mmproj) = mmproj else {
        return Err(Usage("expected --mmproj: this benchmark measures a vision projector".into()).into());
    };
    let options = args.engine.encoder_options(None);
    let model = Model::load(&model, args.engine.model_options())?;
    let vision = LlamaEncoder::load(&mmproj, &model, options.threads, options.gpu)?;
    let side = vision.tile_size();
    let tiles: Vec<Vec<u8>> = (0..args.tiles).map(|index| noise(side, args.measure.seed, index as u64)).collect();
    let encode = |_| -> anyhow::Result<f64> {
        let started = Instant::now();
        tiles.iter().try_for_each(|tile| vision.encode(tile).map(drop))?;
        Ok(started.elapsed().as_secs_f64())
    };
    let mut arms: Vec<Arm<'_>> = vec![Box::new(encode)];
    let times = in_turns("vision", args.measure.repetitions, &mut arms, ui)?;
    let file = GgufFile::open(&mmproj).map_err(EngineError::from)?;
    let subject = Subject::of_file(&mmproj, &file, args.engine.backend(), vision.threads().into());
    let mut report = Report::new("vision");
    report.row(&subject, format!("llama.cpp, {side}×{side}"), "tiles/s", times[0].rate(args.tiles as f64));
    report.print(ui)?;
    Ok(Exit::Done)
}

/// RGB bytes of a random tile of `side × side` pixels.
fn noise(side: usize, seed: u64, index: u64) -> Vec<u8> {
    let stream = Stream::named(seed, "tile", 0, index);
    (0..3 * side * side).map(|at| (stream.uniform(at as u64) * 256.0) as u8).collect()
}
