//! `mmprm bench infer`: prompt and decode tokens per second.

use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use mmprm::engine::{Completion, Engine, EngineError, GenerateRequest, Prompt, Sampling, Stream};
use serde_json::json;

use super::measure::{Arm, Report, Series, in_turns};
use super::subject::{Mini, ModelArgs, RandomTokens, Subject, prompt, start};
use super::{CompareArgs, MeasureArgs};
use crate::args::EngineArgs;
use crate::exit::Exit;
use crate::ui::Ui;

/// Prompt and decode tokens per second at several batch sizes.
///
/// As llama-bench does: `pp512 × 4` processes four prompts of 512 tokens at once, `tg64 × 4`
/// decodes 64 tokens for each of four rollouts at once (with default sampling, which is part of the
/// time; end-of-text tokens are ignored). With --compare naive: the largest batch of rollouts after
/// one prompt of --prompt tokens, against the same rollouts one by one, each of which processes the
/// prompt again.
#[derive(clap::Args)]
pub struct Args {
    /// Tokens per prompt.
    #[arg(short, long, value_name = "N", default_value_t = 512, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    prompt: usize,

    /// Tokens decoded per rollout.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    generate: usize,

    /// Batch sizes: prompts or rollouts at once.
    #[arg(short, long, value_name = "N,…", default_value = "1,4,16", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=128))]
    batch: Vec<u32>,

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
    let largest = args.batch.iter().copied().max().unwrap_or(1);
    let cells = largest as usize * (args.prompt + args.generate) + args.prompt;
    let engine = start(&args.model.files(Mini::Policy)?.0, &args.engine, largest, Some(cells), false)?;
    let subject = Subject::of(&engine, &args.engine);
    let mut tokens = RandomTokens::new(engine.model(), &[], args.measure.seed);
    let prompts: Vec<Prompt> =
        (0..largest).map(|_| prompt(tokens.take(args.prompt))).collect::<Result<_, EngineError>>()?;
    let mut report = Report::new("infer");
    let repetitions = args.measure.repetitions;
    if args.compare.compare.is_some() {
        compare(args, &engine, &subject, &prompts[0], largest as usize, &mut report, ui)?;
        report.print(ui)?;
        return Ok(Exit::Done);
    }
    let start = prompt(tokens.take(1))?;
    let (engine, start) = (&engine, &start);
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for &batch in &args.batch {
        let prompts = &prompts[..batch as usize];
        arms.push(Box::new(move |_| timed(|| process(engine, prompts))));
        arms.push(Box::new(move |_| {
            let rollouts = Rollouts { prompt: start, tokens: args.generate, seed: args.measure.seed, logprob: false };
            timed(|| rollouts.together(engine, batch as usize).map(drop))
        }));
    }
    let times = in_turns("infer", repetitions, &mut arms, ui)?;
    for (&batch, times) in args.batch.iter().zip(times.chunks(2)) {
        let rate = |times: &Series, tokens: usize| times.rate((tokens * batch as usize) as f64);
        report.row(&subject, format!("pp{} × {batch}", args.prompt), "tokens/s", rate(&times[0], args.prompt));
        report.row(&subject, format!("tg{} × {batch}", args.generate), "tokens/s", rate(&times[1], args.generate));
    }
    report.print(ui)?;
    Ok(Exit::Done)
}

/// Measures the rollouts of one prompt, together and one by one.
fn compare(
    args: &Args,
    engine: &Engine,
    subject: &Subject,
    prompt: &Prompt,
    count: usize,
    report: &mut Report,
    ui: &Ui,
) -> anyhow::Result<()> {
    let rollouts = Rollouts { prompt, tokens: args.generate, seed: args.measure.seed, logprob: false };
    let mut arms: Vec<Arm<'_>> = vec![
        Box::new(|_| timed(|| rollouts.together(engine, count).map(drop))),
        Box::new(|_| timed(|| rollouts.one_by_one(engine, count).map(drop))),
    ];
    let times = in_turns("infer", args.measure.repetitions, &mut arms, ui)?;
    let work = format!("{count} rollouts × {} tokens after {}", args.generate, args.prompt);
    let tokens = (count * args.generate) as f64;
    report.row(subject, work.clone(), "tokens/s", times[0].rate(tokens));
    report.row(subject, format!("{work}, one by one"), "tokens/s", times[1].rate(tokens));
    report.speedup(&times[0], &times[1]);
    let with_logprobs = Rollouts { logprob: true, ..rollouts };
    let agreement = Agreement::of(&with_logprobs.together(engine, count)?, &with_logprobs.one_by_one(engine, count)?);
    report.fact(
        "agreement",
        json!({"rollouts": count, "equal": agreement.equal, "largest_difference": agreement.difference}),
        format!(
            "{} of {count} rollouts equal token by token; before the first different token, log-probabilities differ by \
             at most {:.4}",
            agreement.equal, agreement.difference
        ),
    );
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), EngineError>) -> anyhow::Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Processes all prompts at once.
fn process(engine: &Engine, prompts: &[Prompt]) -> Result<(), EngineError> {
    let one = |prompt: &Prompt| {
        let streams = vec![Stream::named(0, "bench", 0, 0)];
        let request = GenerateRequest::new(prompt.clone(), Sampling::GREEDY, streams, 1);
        engine.generate(GenerateRequest { keep: false, ..request }).map(drop)
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| one(prompt))).collect();
        callers.into_iter().try_for_each(|caller| caller.join().unwrap_or(Err(EngineError::Stopped)))
    })
}

/// Rollouts of one prompt, all of the same length.
#[derive(Clone, Copy)]
struct Rollouts<'a> {
    prompt: &'a Prompt,
    tokens: usize,
    seed: u64,
    logprob: bool,
}

impl Rollouts<'_> {
    fn draw(&self, engine: &Engine, indices: std::ops::Range<usize>) -> Result<Vec<Completion>, EngineError> {
        let streams = indices.map(|index| Stream::named(self.seed, "bench", 0, index as u64)).collect();
        let request = GenerateRequest::new(self.prompt.clone(), Sampling::default(), streams, self.tokens);
        engine.generate(GenerateRequest { keep: false, ignore_ends: true, logprob: self.logprob, ..request })
    }

    /// Processes the prompt once and decodes all rollouts in one batch.
    fn together(&self, engine: &Engine, count: usize) -> Result<Vec<Completion>, EngineError> {
        engine.forget()?;
        self.draw(engine, 0..count)
    }

    /// Processes the prompt again for each rollout and decodes it alone.
    fn one_by_one(&self, engine: &Engine, count: usize) -> Result<Vec<Completion>, EngineError> {
        let mut completions = Vec::with_capacity(count);
        for index in 0..count {
            engine.forget()?;
            completions.extend(self.draw(engine, index..index + 1)?);
        }
        Ok(completions)
    }
}

/// How far rollouts decoded in two ways agree.
struct Agreement {
    equal: usize,
    /// The maximum difference of a token's log-probability, over tokens before the first different
    /// one.
    difference: f32,
}

impl Agreement {
    fn of(one: &[Completion], other: &[Completion]) -> Self {
        let mut agreement = Self { equal: 0, difference: 0.0 };
        for (one, other) in one.iter().zip(other) {
            agreement.equal += usize::from(one.tokens == other.tokens);
            let tokens = one.tokens.iter().zip(&other.tokens);
            let logprobs = one.logprob.iter().zip(&other.logprob);
            for (_, (a, b)) in tokens.zip(logprobs).take_while(|((a, b), _)| a == b) {
                agreement.difference = agreement.difference.max((a - b).abs());
            }
        }
        agreement
    }
}
