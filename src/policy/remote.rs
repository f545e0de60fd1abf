//! A policy behind an OpenAI-compatible server.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::{Drawn, PolicyError, RolloutModel, RolloutRequest, Speculation, Traced, logprob, step_tokens};
use crate::data::solution::{self, Continue, Rollout};
use crate::engine::{Sampling, Stream};
use crate::image::{self, Limits};
use crate::prompt::{self, ChatTemplate, Images, Piece};
use crate::remote::reply::{self, Unread};
use crate::remote::{Endpoint, EndpointError, Question, images};
use crate::util::pool;

/// The special tokens of InternVL2.5's vocabularies, less the four tags: servers are asked to write special tokens out, since
/// the tags may be among them.
const SPECIAL_TEXTS: [&str; 19] = [
    END_OF_TURN,
    "<|im_start|>",
    "<|endoftext|>",
    "<|action_start|>",
    "<|action_end|>",
    "<|interpreter|>",
    "<|plugin|>",
    "<s>",
    "</s>",
    "<unk>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
];

/// Ends the policy's turn.
const END_OF_TURN: &str = "<|im_end|>";

/// The tokens that llama-server looks back over to penalise repetition: more than a prompt and a rollout have together. It
/// has no number for all of them.
const PENALTY_WINDOW: u32 = 1 << 16;

/// The largest seed that every server takes, plus one.
const SEEDS: f64 = (1_u64 << 31) as f64;

/// Bytes that a reply may have besides what the model wrote.
const REPLY_FRAME: u64 = 1 << 20;
/// Bytes that a token may have in a reply, on average: its text, and its entry among the log-probabilities.
const TOKEN_BYTES: [u64; 2] = [64, 512];
/// The largest reply that is read, whatever was asked for, in bytes.
const MOST_REPLY: u64 = 256 << 20;

/// How a [`RemotePolicy`] draws.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// How tokens are drawn; see [`RemotePolicy`] for what servers make of it.
    pub sampling: Sampling,
    /// Most tokens in a rollout.
    pub max_tokens: usize,
    /// Names the random streams of the run.
    pub seed: u64,
    /// Folder that image paths are relative to, and confined to.
    pub data_root: PathBuf,
    /// The conversation; the server writes its turns, so that only its system message is used.
    pub template: ChatTemplate,
    /// Where the steps before a rollout stand.
    pub continues: Continue,
}

/// What a [`RemotePolicy`] was given so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Requests answered.
    pub requests: u64,
    /// Rollouts in their replies.
    pub rollouts: u64,
    /// Prompt tokens, as the server counts them, once a request.
    pub prompt_tokens: u64,
    /// Tokens drawn, as the server counts them.
    pub generated: u64,
}

/// A [`RolloutModel`] behind an [`Endpoint`]: vLLM, `SGLang`, llama-server, or another OpenAI-compatible server of a vision model.
///
/// A request is a chat completion: the template's system message, and the user's message of the reference with its images
/// as data URLs in their places. The rollouts of one prompt are asked for in one request (`n`); where a server refuses that
/// or gives fewer, the others are asked for one by one, side by side.
///
/// Every request has the seed of its first rollout, which depends on the run's seed, the problem, the node and the rollout's
/// index alone. vLLM and llama-server give the rollouts of one request this seed and the ones after it, and keep to seeds as
/// far as rounding in their batches allows; `SGLang` keeps to them only with its deterministic inference, others perhaps
/// not at all.
///
/// `temperature`, `top_p`, `top_k`, `min_p` (0), `repetition_penalty` and `max_tokens` are always sent, so that a server's or a
/// model's own defaults do not apply; the penalty also by its name in llama-server, `repeat_penalty`, with `repeat_last_n`.
/// Servers pass over what they do not know: vLLM and `SGLang` these two, llama-server `repetition_penalty` and
/// `skip_special_tokens`, Ollama `top_k`, `min_p` and the penalty under either name.
///
/// With [`Continue::Assistant`] the conversation ends in a message of the assistant with the steps so far as the server sent
/// them, to be continued (`continue_final_message` without `add_generation_prompt`, as vLLM and `SGLang` name it; llama-server
/// continues such a message by itself). A server that refuses this ends the run; one that does not, but begins another
/// message, cannot be told from one that does.
///
/// Logprobs are told where the server gives log-probabilities, as it reckons them.
#[derive(Debug)]
pub struct RemotePolicy {
    endpoint: Endpoint,
    options: RemoteOptions,
    /// Whether the server is known to write one completion a request, whatever it is asked.
    one_by_one: AtomicBool,
    /// Whether the server was seen to continue a message.
    continued: AtomicBool,
    stopped_by: OnceLock<EndpointError>,
    requests: AtomicU64,
    rollouts: AtomicU64,
    prompt_tokens: AtomicU64,
    generated: AtomicU64,
}

/// A completion: its text, and its tokens with the logarithms of their probabilities where the server tells them.
struct Choice {
    text: String,
    tokens: Vec<(String, f64)>,
}

impl RemotePolicy {
    /// A policy behind `endpoint`; nothing is asked yet.
    pub fn new(endpoint: Endpoint, options: RemoteOptions) -> Self {
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

    /// What it was given so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            rollouts: self.rollouts.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            generated: self.generated.load(Ordering::Relaxed),
        }
    }

    /// Why the server cannot be used at all, if that came out. The policy then sets its endpoint's `cancel` flag, and its
    /// requests end with [`PolicyError::Cancelled`]: the run is over, and no problem has failed.
    pub fn stopped_by(&self) -> Option<&EndpointError> {
        self.stopped_by.get()
    }

    fn complete(&self, request: &RolloutRequest<'_>, logprob: bool) -> Result<Vec<Choice>, PolicyError> {
        let messages = self.messages(request)?;
        let failure = |error| self.failure(error, self.has_begun(request));
        let ask = |first: usize, count: usize| self.ask(&messages, request, first, count, logprob);
        let mut choices: Vec<Choice> = Vec::with_capacity(request.count);
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
            // One that fails is enough: the problem fails, and the others would be lost.
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
        // A server that refuses one completion too had another reason.
        self.one_by_one.fetch_or(one_by_one, Ordering::Relaxed);
        self.continued.fetch_or(self.has_begun(request), Ordering::Relaxed);
        Ok(choices)
    }

    /// The conversation before a rollout.
    fn messages(&self, request: &RolloutRequest<'_>) -> Result<Value, PolicyError> {
        let &RolloutRequest { problem, prefix, .. } = request;
        let load = |path: &String| {
            let failed = |error: image::ImageError| PolicyError::Problem(error.to_string());
            let path = image::resolve(&self.options.data_root, path).map_err(failed)?;
            // A image that no server can read would come back as a fault of the request.
            image::load(&path, &Limits::default()).map_err(failed)?;
            images::data_url(&path).map_err(PolicyError::Problem)
        };
        let images = problem.images.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let asked = if self.has_begun(request) { &[] } else { prefix };
        let pieces = ChatTemplate::rollout_message(&problem.question, asked, images.len(), Images::All);
        let mut messages = Vec::new();
        if let Some(system) = self.options.template.system() {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": content(&pieces, &images)}));
        if self.has_begun(request) {
            let begun = step_tokens::text(request.written, prefix.len()).unwrap_or_else(|| prompt::tagged_steps(prefix));
            messages.push(json!({"role": "assistant", "content": begun}));
        }
        Ok(Value::Array(messages))
    }

    /// Whether the assistant's message has begun with the steps before a rollout.
    fn has_begun(&self, request: &RolloutRequest<'_>) -> bool {
        self.options.continues == Continue::Assistant && !request.prefix.is_empty()
    }

    /// Asks for `count` completions, the first of them rollout `first`; at least one comes, and perhaps fewer than asked for.
    fn ask(
        &self,
        messages: &Value,
        request: &RolloutRequest<'_>,
        first: usize,
        count: usize,
        logprob: bool,
    ) -> Result<Vec<Choice>, EndpointError> {
        let stream =
            Stream::named(self.options.seed, &request.problem.id, request.node, (request.first + first) as u64);
        let seed = (stream.uniform(0) * SEEDS) as u32;
        let tokens = (count as u64).saturating_mul(self.options.max_tokens as u64);
        let most_reply = tokens.saturating_mul(TOKEN_BYTES[usize::from(logprob)]).saturating_add(REPLY_FRAME);
        let mut settings = settings(&self.options, seed, count, logprob);
        if self.has_begun(request) {
            settings.insert("continue_final_message".into(), json!(true));
            settings.insert("add_generation_prompt".into(), json!(false));
        }
        let is_dropped = || request.guess.is_some_and(Speculation::is_dropped);
        let most_reply = most_reply.min(MOST_REPLY);
        let question = Question { messages, settings, most_reply, is_dropped: &is_dropped };
        let (choices, usage) = self.endpoint.ask(question, |reply| read(reply, count))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.rollouts.fetch_add(choices.len() as u64, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(usage[0], Ordering::Relaxed);
        self.generated.fetch_add(usage[1], Ordering::Relaxed);
        Ok(choices)
    }

    fn failure(&self, error: EndpointError, has_begun: bool) -> PolicyError {
        let error = match error {
            // All that is new in such a request is the message to be continued.
            EndpointError::Refused { address, told } if has_begun && !self.continued.load(Ordering::Relaxed) => {
                EndpointError::Setup(format!(
                    "the server at {address} does not continue an assistant's message ({told}); let it have the steps in \
                     the user's message (--continue user)"
                ))
            }
            error => error,
        };
        match error {
            error if error.ends_the_run() => {
                let _ = self.stopped_by.set(error);
                self.endpoint.stop();
                PolicyError::Cancelled
            }
            EndpointError::Cancelled => PolicyError::Cancelled,
            EndpointError::Failed { .. } => PolicyError::Engine(error.to_string()),
            refused => PolicyError::Problem(refused.to_string()),
        }
    }
}

impl RolloutModel for RemotePolicy {
    fn continues(&self) -> Continue {
        self.options.continues
    }

    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError> {
        Ok(self.complete(request, false)?.iter().map(|choice| solution::parse(&choice.text, &SPECIAL_TEXTS)).collect())
    }

    fn traced(&self, request: &RolloutRequest<'_>) -> Result<Vec<Traced>, PolicyError> {
        let traced = |choice: Choice| {
            let rollout = solution::parse(&choice.text, &SPECIAL_TEXTS);
            let written = match self.options.continues {
                Continue::User => Vec::new(),
                Continue::Assistant => step_tokens::in_text(&choice.text, &SPECIAL_TEXTS, &rollout),
            };
            Traced { rollout, written }
        };
        Ok(self.complete(request, false)?.into_iter().map(traced).collect())
    }

    fn drawn(&self, request: &RolloutRequest<'_>) -> Result<Vec<Drawn>, PolicyError> {
        let drawn = |choice: Choice| {
            let rollout = solution::parse(&choice.text, &SPECIAL_TEXTS);
            let logprob = logprob::of_elements(choice.tokens, &SPECIAL_TEXTS, &rollout);
            Drawn { rollout, logprob }
        };
        Ok(self.complete(request, true)?.into_iter().map(drawn).collect())
    }
}

/// A message's content: plain text, which every server puts between its turns as it is, or parts with images.
fn content(pieces: &[Piece], images: &[String]) -> Value {
    if let [Piece::Text(text)] = pieces {
        return json!(text);
    }
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => json!({"type": "text", "text": text}),
        Piece::Image(index) => json!({"type": "image_url", "image_url": {"url": images.get(*index)}}),
    };
    pieces.iter().map(part).collect()
}

fn settings(options: &RemoteOptions, seed: u32, count: usize, logprob: bool) -> Map<String, Value> {
    let Sampling { temperature, top_k, top_p, repetition_penalty } = options.sampling;
    // No limit is 0 or −1, depending on the server; all know the latter.
    let top_k = if top_k == 0 { json!(-1) } else { json!(top_k) };
    let mut settings = vec![
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
        settings.push(("n", json!(count)));
    }
    if logprob {
        settings.push(("logprobs", json!(true)));
    }
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A number as people write it: 0.9 rather than the 0.8999999761581421 that is nearest to it.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// At most `most` completions of a reply, and its count of prompt tokens and of tokens drawn.
fn read(reply: &Value, most: usize) -> Result<(Vec<Choice>, [u64; 2]), Unread> {
    let choices = reply::choices(reply)?.into_iter().take(most).map(choice).collect::<Result<_, _>>()?;
    let usage = ["prompt_tokens", "completion_tokens"].map(|kind| reply["usage"][kind].as_u64().unwrap_or(0));
    Ok((choices, usage))
}

fn choice(choice: &Value) -> Result<Choice, Unread> {
    // What broke off for the server's reasons is no rollout: it would count as wrong.
    if let Some(reason @ ("abort" | "error" | "content_filter")) = choice["finish_reason"].as_str() {
        return Err(Unread::Form(format!("the completion broke off ({reason})")));
    }
    let text = reply::words(choice)?.to_owned();
    let token = |entry: &Value| Some((entry["token"].as_str()?.to_owned(), entry["logprob"].as_f64()?));
    let tokens = choice["logprobs"]["content"].as_array();
    let tokens = tokens.and_then(|tokens| tokens.iter().map(token).collect()).unwrap_or_default();
    Ok(Choice { text, tokens })
}
