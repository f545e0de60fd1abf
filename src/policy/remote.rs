//! A policy on an OpenAI-compatible server.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::{
    Detail, GenerationOptions, PolicyError, RolloutModel, RolloutRequest, SampledRollout, Speculation, logprob,
    step_tokens,
};
use crate::data::solution::{self, Continue};
use crate::engine::{Sampling, Stream};
use crate::image::{self, Limits};
use crate::prompt::{self, ChatTemplate, Images, Piece};
use crate::remote::reply::{self, ReplyError};
use crate::remote::special::{END_OF_TURN, SPECIAL_TEXTS, without_turns};
use crate::remote::{ChatRequest, Endpoint, EndpointError, SetupError, images};
use crate::util::pool;

/// The window of llama-server's repetition penalty in tokens: more than a prompt and a rollout have
/// together. It has no value for "all of them".
const PENALTY_WINDOW: u32 = 1 << 16;

/// Begins a step.
const STEP_BEGIN: &str = "<step>";
/// Ends a step, and a rollout of one step.
const STEP_END: &str = "</step>";

/// The largest seed that every server accepts, plus one.
const SEEDS: f64 = (1_u64 << 31) as f64;

/// Maximum size of a reply in bytes, without the generated text.
const REPLY_FRAME: u64 = 1 << 20;
/// Maximum average size of a token in a reply in bytes: without and with log-probabilities.
const TOKEN_BYTES: [u64; 2] = [64, 512];
/// Maximum size of any reply in bytes.
const MAX_REPLY: u64 = 256 << 20;

/// What a [`RemotePolicy`] received so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Requests answered.
    pub requests: u64,
    /// Rollouts in their replies.
    pub rollouts: u64,
    /// Prompt tokens by the server's count, once per request.
    pub prompt_tokens: u64,
    /// Generated tokens by the server's count.
    pub generated: u64,
}

/// A [`RolloutModel`] behind an [`Endpoint`]: vLLM, `SGLang`, llama-server, or another
/// OpenAI-compatible server of a vision model.
///
/// A request is a chat completion: the template's system message, and MM-PRM's user message with
/// its images inline as data URLs. The rollouts of one prompt are requested at once (`n`); where a
/// server refuses that or returns fewer, the others are requested one by one, in parallel.
///
/// Every request carries the seed of its first rollout, which depends only on the run's seed, the
/// problem, the node and the rollout's index. vLLM and llama-server give the rollouts of one
/// request this seed and the following ones, and reproduce them as far as rounding in their batches
/// allows; `SGLang` only with its deterministic inference, others perhaps not at all.
///
/// `temperature`, `top_p`, `top_k`, `min_p` (0), `repetition_penalty` and `max_tokens` are always
/// sent, so that no default of the server or model applies; the penalty also under llama-server's
/// name, `repeat_penalty`, with `repeat_last_n`. Servers ignore unknown fields: vLLM and
/// `SGLang` these two, llama-server `repetition_penalty` and `skip_special_tokens`, Ollama `top_k`,
/// `min_p` and the penalty under either name.
///
/// With [`Continue::Assistant`] the conversation ends in an assistant's message with the steps so
/// far as the server sent them, to be continued (`continue_final_message` without
/// `add_generation_prompt`, as vLLM and `SGLang` name it; llama-server continues such a message by
/// itself). A server that refuses this ends the run; one that silently begins a new message cannot
/// be detected.
///
/// [`Detail::Logprobs`] returns what the server reports.
#[derive(Debug)]
pub struct RemotePolicy {
    endpoint: Endpoint,
    options: GenerationOptions,
    /// Whether the server is known to write one completion per request, whatever `n` is.
    one_by_one: AtomicBool,
    /// Whether the server has continued a message before.
    continued: AtomicBool,
    stopped_by: OnceLock<EndpointError>,
    requests: AtomicU64,
    rollouts: AtomicU64,
    prompt_tokens: AtomicU64,
    generated: AtomicU64,
}

/// A completion: its text, and its tokens with their log-probabilities where the server reports
/// them.
struct Completion {
    text: String,
    tokens: Vec<(String, f64)>,
    /// Whether it ended at the maximum length.
    is_cut: bool,
}

impl RemotePolicy {
    /// A policy behind `endpoint`; sends nothing yet.
    pub fn new(endpoint: Endpoint, options: GenerationOptions) -> Self {
        Self {
            endpoint,
            options,
            one_by_one: AtomicBool::new(false),
            continued: AtomicBool::new(false),
            stopped_by: OnceLock::new(),
            requests: AtomicU64::new(0),
            rollouts: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            generated: AtomicU64::new(0),
        }
    }

    /// The counters so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            rollouts: self.rollouts.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            generated: self.generated.load(Ordering::Relaxed),
        }
    }

    /// Why the server cannot be used at all, once that is known. The policy then cancels the tokens
    /// of its endpoint and of its options, and its requests end with [`PolicyError::Cancelled`]:
    /// the run is over, and no problem has failed.
    pub fn stopped_by(&self) -> Option<&EndpointError> {
        self.stopped_by.get()
    }

    fn complete(&self, request: &RolloutRequest<'_>) -> Result<Vec<Completion>, PolicyError> {
        let messages = self.messages(request)?;
        let failure = |error| self.failure(error, self.is_continuation(request));
        let ask = |first: usize, count: usize| self.ask(&messages, request, first, count);
        let mut choices: Vec<Completion> = Vec::with_capacity(request.count);
        let mut one_by_one = self.one_by_one.load(Ordering::Relaxed);
        while !one_by_one && choices.len() + 1 < request.count {
            match ask(choices.len(), request.count - choices.len()) {
                Ok(some) => {
                    one_by_one = some.len() == 1;
                    choices.extend(some);
                }
                Err(EndpointError::SeveralRefused { .. }) => one_by_one = true,
                Err(error) => return Err(failure(error)),
            }
        }
        let rest: Vec<usize> = (choices.len()..request.count).collect();
        let broken = AtomicBool::new(false);
        let others = pool::map(&rest, self.endpoint.parallel(), |&index| {
            // One failure fails the request, so the remaining completions are not requested.
            if broken.load(Ordering::Relaxed) {
                return None;
            }
            let choice = ask(index, 1);
            broken.fetch_or(choice.is_err(), Ordering::Relaxed);
            Some(choice)
        });
        for other in others.into_iter().flatten() {
            choices.extend(other.map_err(failure)?);
        }
        // Only now: a server that refuses a single completion too had another reason to refuse
        // several.
        self.one_by_one.fetch_or(one_by_one, Ordering::Relaxed);
        self.continued.fetch_or(self.is_continuation(request), Ordering::Relaxed);
        Ok(choices)
    }

    /// The conversation that a rollout continues.
    fn messages(&self, request: &RolloutRequest<'_>) -> Result<Value, PolicyError> {
        let &RolloutRequest { problem, prefix, .. } = request;
        let load = |path: &String| {
            let path = image::resolve(&self.options.data_root, path)?;
            // Decoded here, since a server would report an unreadable image as an error of the
            // request.
            image::load(&path, &Limits::default())?;
            images::data_url(&path)
        };
        let images = problem.images.iter().map(load).collect::<Result<Vec<_>, _>>().map_err(PolicyError::problem)?;
        let in_user_message = if self.is_continuation(request) { &[] } else { prefix };
        let pieces = ChatTemplate::rollout_message(&problem.question, in_user_message, images.len(), Images::All);
        let mut messages = Vec::new();
        if let Some(system) = self.options.template.clone().unwrap_or_default().system() {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": content(&pieces, &images)}));
        if self.is_continuation(request) {
            let steps =
                step_tokens::text(request.step_tokens, prefix.len()).unwrap_or_else(|| prompt::tagged_steps(prefix));
            messages.push(json!({"role": "assistant", "content": without_turns(&steps)}));
        }
        Ok(Value::Array(messages))
    }

    /// Whether the conversation ends in an assistant's message with the steps before a rollout.
    fn is_continuation(&self, request: &RolloutRequest<'_>) -> bool {
        self.options.continues == Continue::Assistant && !request.prefix.is_empty()
    }

    /// Requests `count` completions, the first of which is rollout `first`; returns one to `count`
    /// of them.
    fn ask(
        &self,
        messages: &Value,
        request: &RolloutRequest<'_>,
        first: usize,
        count: usize,
    ) -> Result<Vec<Completion>, EndpointError> {
        let stream =
            Stream::named(self.options.seed, &request.problem.id, request.node, (request.first + first) as u64);
        let seed = (stream.uniform(0) * SEEDS) as u32;
        let logprobs = request.detail == Detail::Logprobs;
        let tokens = (count as u64).saturating_mul(self.options.max_tokens as u64);
        let max_reply = tokens.saturating_mul(TOKEN_BYTES[usize::from(logprobs)]).saturating_add(REPLY_FRAME);
        let max_reply = max_reply.min(MAX_REPLY);
        let mut fields = request_fields(&self.options, seed, count, logprobs);
        if request.one_step {
            fields.insert("stop".into(), json!([END_OF_TURN, STEP_END]));
        }
        if self.is_continuation(request) {
            fields.insert("continue_final_message".into(), json!(true));
            fields.insert("add_generation_prompt".into(), json!(false));
        }
        let is_cancelled =
            || self.options.cancel.is_cancelled() || request.speculation.is_some_and(Speculation::is_cancelled);
        let chat = ChatRequest { messages, fields, max_reply, is_cancelled: &is_cancelled };
        let (choices, usage) = self.endpoint.chat(chat, |reply| read(reply, count))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.rollouts.fetch_add(choices.len() as u64, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(usage[0], Ordering::Relaxed);
        self.generated.fetch_add(usage[1], Ordering::Relaxed);
        Ok(choices)
    }

    fn failure(&self, error: EndpointError, is_continuation: bool) -> PolicyError {
        let error = match error {
            // The message to be continued is all that is new in such a request.
            EndpointError::Refused { address, reply } if is_continuation && !self.continued.load(Ordering::Relaxed) => {
                SetupError::NoContinuation { address, reply }.into()
            }
            error => error,
        };
        match error {
            EndpointError::Cancelled => PolicyError::Cancelled,
            error if error.ends_the_run() => {
                let _ = self.stopped_by.set(error);
                self.endpoint.stop();
                self.options.cancel.cancel();
                PolicyError::Cancelled
            }
            EndpointError::Failed { .. } => PolicyError::model(error),
            refused => PolicyError::problem(refused),
        }
    }

    fn sampled(&self, completion: Completion, request: &RolloutRequest<'_>) -> SampledRollout {
        let Completion { mut text, tokens, is_cut } = completion;
        let detail = request.detail;
        // A server leaves out the text that it stops at.
        if request.one_step && !is_cut && text.matches(STEP_BEGIN).count() > text.matches(STEP_END).count() {
            text.push_str(STEP_END);
        }
        let rollout = solution::parse(&text, &SPECIAL_TEXTS);
        let unfinished = request.one_step && solution::is_unfinished(&text);
        let step_tokens = match (detail, self.options.continues) {
            (Detail::Tokens, Continue::Assistant) => step_tokens::from_text(&text, &SPECIAL_TEXTS, &rollout),
            _ => None,
        };
        let logprobs = match detail {
            Detail::Logprobs => logprob::of_steps(tokens, &SPECIAL_TEXTS, &rollout),
            Detail::Text | Detail::Tokens => None,
        };
        SampledRollout { rollout, unfinished, step_tokens, logprobs }
    }
}

impl RolloutModel for RemotePolicy {
    fn continues(&self) -> Continue {
        self.options.continues
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let completions = self.complete(request)?;
        Ok(completions.into_iter().map(|completion| self.sampled(completion, request)).collect())
    }
}

/// A message's content: a string, which every server inserts verbatim, or parts with images. Its
/// server's template would recognise special tokens in it, so that those are removed.
fn content(pieces: &[Piece], images: &[String]) -> Value {
    if !pieces.iter().any(|piece| matches!(piece, Piece::Image(_))) {
        return json!(without_turns(&prompt::render(pieces, &[])));
    }
    let is_text = |piece: &Piece| !matches!(piece, Piece::Image(_));
    let part = |pieces: &[Piece]| match pieces {
        [Piece::Image(index)] => json!({"type": "image_url", "image_url": {"url": images.get(*index)}}),
        text => json!({"type": "text", "text": without_turns(&prompt::render(text, &[]))}),
    };
    pieces.chunk_by(|piece, next| is_text(piece) && is_text(next)).map(part).collect()
}

/// The fields of a request besides model and messages.
fn request_fields(options: &GenerationOptions, seed: u32, count: usize, logprobs: bool) -> Map<String, Value> {
    let Sampling { temperature, top_k, top_p, repetition_penalty } = options.sampling;
    // "No limit" is 0 or −1, depending on the server; all accept −1.
    let top_k = if top_k == 0 { json!(-1) } else { json!(top_k) };
    let mut fields = vec![
        ("max_tokens", json!(options.max_tokens)),
        ("temperature", decimal(temperature)),
        ("top_p", decimal(top_p)),
        ("top_k", top_k),
        ("min_p", json!(0.0)),
        ("repetition_penalty", decimal(repetition_penalty)),
        ("repeat_penalty", decimal(repetition_penalty)),
        ("repeat_last_n", json!(PENALTY_WINDOW)),
        ("seed", json!(seed)),
        ("stop", json!([END_OF_TURN])),
        ("skip_special_tokens", json!(false)),
    ];
    if count > 1 {
        fields.push(("n", json!(count)));
    }
    if logprobs {
        fields.push(("logprobs", json!(true)));
    }
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The shortest decimal of a number: 0.9 rather than 0.8999999761581421.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// At most `max` completions of a reply, and its counts of prompt tokens and generated tokens.
fn read(reply: &Value, max: usize) -> Result<(Vec<Completion>, [u64; 2]), ReplyError> {
    let choices = reply::choices(reply)?.into_iter().take(max).map(completion).collect::<Result<_, _>>()?;
    let usage = ["prompt_tokens", "completion_tokens"].map(|kind| reply["usage"][kind].as_u64().unwrap_or(0));
    Ok((choices, usage))
}

fn completion(choice: &Value) -> Result<Completion, ReplyError> {
    // A completion that the server aborted must not become a rollout, which would count as
    // incorrect.
    if let Some(reason @ ("abort" | "error" | "content_filter")) = choice["finish_reason"].as_str() {
        return Err(ReplyError::Form(format!("the completion broke off ({reason})")));
    }
    let text = reply::content(choice)?.to_owned();
    let token = |entry: &Value| Some((entry["token"].as_str()?.to_owned(), entry["logprob"].as_f64()?));
    let tokens = choice["logprobs"]["content"].as_array();
    let tokens = tokens.and_then(|tokens| tokens.iter().map(token).collect()).unwrap_or_default();
    let is_cut = choice["finish_reason"].as_str() == Some("length");
    Ok(Completion { text, tokens, is_cut })
}
