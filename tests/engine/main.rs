//! The engine on the mini policy: what callers may rely on, whatever runs beside them and however
//! full the cache is.

#[path = "../support/mod.rs"]
mod support;

mod cancellation;
mod defaults;
mod determinism;
mod errors;
mod full_cache;
mod images;
mod limits;
mod probing;
mod sharing;
mod trained;

use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use mmprm::engine::{
    Chunk, Completion, Engine, EngineOptions, GenerateRequest, Model, Prompt, Sampling, Stream, Token,
};
use mmprm_quant::convert::WeightType;
use support::Pair;

/// MM-PRM's annotation settings without top-k and top-p: long rollouts that differ.
const LOOSE: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.05 };
/// Greedy, with a penalty that prevents long repetitions.
const STEADY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.05 };

const TEXTS: [&str; 8] = [
    "What is 3 + 4?",
    "Question: In the figure, the side is 5. Find the area.\nStep 1: ",
    "<|im_start|>user\nhello<|im_end|><|im_start|>assistant\n",
    "a b c d e f",
    "The rectangle is 6 wide and 7 high. What is its area?",
    "Question: In the figure, the side is 5. Find the sum of the sides.\nStep 1: ",
    "What is 3 + 9 - 2?",
    "Subtract",
];

fn converted(weight_type: WeightType, slot: &'static OnceLock<(Pair, Arc<Model>)>) -> Arc<Model> {
    let (_, model) = slot.get_or_init(|| {
        let pair = support::convert(&support::repository().join("demo/checkpoints/mini-mm-policy"), weight_type);
        let model = support::load(&pair);
        (pair, model)
    });
    Arc::clone(model)
}

/// The mini policy in f32.
fn model() -> Arc<Model> {
    static SLOT: OnceLock<(Pair, Arc<Model>)> = OnceLock::new();
    converted(WeightType::F32, &SLOT)
}

/// The mini policy in f16.
fn half_model() -> Arc<Model> {
    static SLOT: OnceLock<(Pair, Arc<Model>)> = OnceLock::new();
    converted(WeightType::F16, &SLOT)
}

fn start(model: &Arc<Model>, options: EngineOptions) -> Engine {
    Engine::start(model, EngineOptions { threads: options.threads.or(Some(1)), ..options }).unwrap()
}

/// An engine with `context` cells and 16 rollouts in parallel.
fn engine(context: u32, deterministic: bool) -> Engine {
    let (context, parallel) = (Some(context), Some(16));
    start(&model(), EngineOptions { context, parallel, deterministic, ..EngineOptions::default() })
}

fn prompt(text: &str) -> Prompt {
    of_tokens(model().tokenize(text, true).unwrap())
}

fn of_tokens(tokens: Vec<Token>) -> Prompt {
    Prompt::new([Chunk::Tokens(tokens)]).unwrap()
}

/// `length` tokens; prompts of one `first` token share their prefix.
fn filler(first: Token, length: usize) -> Prompt {
    of_tokens((0..length as Token).map(|index| if index == 0 { first } else { 100 + index * 7 % 400 }).collect())
}

fn request(prompt: Prompt, sampling: Sampling, count: u64, max_tokens: usize) -> GenerateRequest {
    let streams = (0..count).map(|index| Stream::named(7, "engine", 0, index)).collect();
    GenerateRequest::new(prompt, sampling, streams, max_tokens)
}

fn generate(engine: &Engine, text: &str, sampling: Sampling, count: u64, max_tokens: usize) -> Vec<Completion> {
    engine.generate(request(prompt(text), sampling, count, max_tokens)).unwrap()
}

/// Fails if `work` takes longer than ten minutes, so that a scheduler that loops does not hang the tests. It takes seconds; a
/// busy machine is slower.
fn guarded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    let worker = std::thread::spawn(move || done.send(work()));
    match finished.recv_timeout(Duration::from_mins(10)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running after ten minutes"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("a worker that ends without a panic has sent its result"),
        },
    }
}
