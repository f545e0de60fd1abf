//! The loop: batches, gradients, steps, validations, saves, over and over until done, stopped or asked to stop.
//!
//! Every step depends on the recipe, the samples and the state before it alone, so a run that was killed and goes on from
//! its last save ends with the same bits as one that was not. What is computed on a batch is a
//! [`Learner`]'s business; this module knows tensors by their names only.
//!
//! `cargo doc` cannot run a training; `tests/train.rs` does, and [`run`] says what it needs.

mod directory;
mod event;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::data::{Dataset, Sample};
use super::learner::Learner;
use super::log::Log;
use super::optim::{LossScale, Optimizer, clip_factor, global_norm, warmup_steps};
use super::pack::{Batch, Packing, Sequence, divisor};
use super::recipe::{Compute, Recipe};
use super::state::{self, Position};
use super::validation::{Validation, validate};
use crate::util::cancel::CancelToken;

use directory::Directory;
pub use event::{Event, RunError, Step, Summary};

/// What a run learns from.
#[derive(Debug)]
pub struct Data {
    /// To learn from.
    pub train: Dataset,
    /// To validate on; may be empty.
    pub held_out: Vec<Sample>,
    /// Hashes of the files that it came from, by their use.
    pub fingerprints: Value,
}

/// The recipe's keys that change no result.
const FREE: &[&str] = &["out", "features", "save_every"];

/// What the results of a run depend on.
fn identity(recipe: &Recipe, data: &Data) -> Value {
    let mut keys = serde_json::to_value(recipe).expect("a recipe is JSON");
    if let Some(keys) = keys.as_object_mut() {
        keys.retain(|key, _| !FREE.contains(&key.as_str()));
        keys.insert("files".into(), data.fingerprints.clone());
    }
    keys
}

/// Trains as a recipe says, in its directory, which gets `recipe.toml`, `log.jsonl` and an event file, `last` and `best`
/// checkpoints, and the state. Goes on where the same recipe was left. `cancel` ends the run after the step under way,
/// saved.
///
/// # Errors
/// [`RunError`]; the last save stays.
pub fn run(
    learner: &mut dyn Learner,
    data: &Data,
    recipe: &Recipe,
    watch: &mut dyn FnMut(&Event),
    cancel: &CancelToken,
) -> Result<Summary, RunError> {
    let _directory = Directory::open(&recipe.out)?;
    let mut session = Session::open(learner, data, recipe, watch)?;
    let outcome = session.train(cancel)?;
    Ok(session.summary(outcome))
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Interrupted,
    Stale,
}

struct Session<'a> {
    held_out: Dataset,
    learner: &'a mut dyn Learner,
    data: &'a Data,
    recipe: &'a Recipe,
    watch: &'a mut dyn FnMut(&Event),
    packing: Packing,
    names: Vec<String>,
    optimizer: Optimizer,
    log: Log,
    warmup: u64,
    began: Instant,
    began_at: u64,
    position: Position,
    total: u64,
    loss: Option<f64>,
    validation: Option<Validation>,
}

impl<'a> Session<'a> {
    fn open(
        learner: &'a mut dyn Learner,
        data: &'a Data,
        recipe: &'a Recipe,
        watch: &'a mut dyn FnMut(&Event),
    ) -> Result<Self, RunError> {
        let identity = identity(recipe, data);
        let tensors = learner.tensors();
        let shapes = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
        let mut optimizer = Optimizer::new(recipe.optim(), shapes);
        let names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        let position = match state::load(&recipe.out)? {
            None => {
                let dynamic = recipe.precision == Compute::F16;
                let scale = if dynamic { LossScale::dynamic() } else { LossScale::none() };
                Position { scale, identity, ..Position::default() }
            }
            Some(saved) => {
                if let Some(key) = difference(&saved.position.identity, &identity) {
                    return Err(RunError::OtherRun { path: recipe.out.clone(), key });
                }
                saved.restore(&mut optimizer)?;
                let mut filled = Ok(());
                learner.each(&mut |index, parameter| {
                    if filled.is_ok() {
                        filled = saved.values(&names[index], parameter.values);
                    }
                });
                filled?;
                learner.updated();
                watch(&Event::Resumed { step: saved.position.step });
                saved.position
            }
        };
        let packing = Packing::new(&data.train.samples, data.train.words.context, &recipe.limits(), recipe.seed);
        let planned: u64 = (0..recipe.epochs).map(|epoch| packing.epoch(epoch).len() as u64).sum();
        let total = recipe.steps.map_or(planned, |most| planned.min(most));
        let has_next = position.step >= total || position.batch < packing.epoch(position.epoch).len();
        if !has_next {
            return Err(RunError::OtherRun { path: recipe.out.clone(), key: "position".into() });
        }
        let log = Log::open(&recipe.out, position.step)?;
        mmprm_quant::atomic::write(&recipe.out.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        Ok(Self {
            held_out: Dataset { samples: data.held_out.clone(), ..data.train.without_samples() },
            learner,
            data,
            recipe,
            watch,
            packing,
            names,
            optimizer,
            log,
            warmup: warmup_steps(recipe.warmup, total),
            began: Instant::now(),
            began_at: position.step,
            position,
            total,
            loss: None,
            validation: None,
        })
    }

    fn train(&mut self, cancel: &CancelToken) -> Result<Outcome, RunError> {
        while self.position.step < self.total && !self.is_stale() {
            let batches = self.packing.epoch(self.position.epoch);
            self.step(&batches[self.position.batch])?;
            let (ends_epoch, done) = (self.position.batch == batches.len(), self.position.step == self.total);
            let step = self.position.step;
            let due = |every: u64| done || if every == 0 { ends_epoch } else { step.is_multiple_of(every) };
            if ends_epoch {
                self.position.epoch += 1;
                self.position.batch = 0;
            }
            if due(self.recipe.evaluate_every) && !self.held_out.samples.is_empty() {
                self.validate()?;
            }
            let interrupted = cancel.is_cancelled() && !done;
            if due(self.recipe.save_every) || self.is_stale() || interrupted {
                self.save()?;
            }
            if interrupted {
                return Ok(Outcome::Interrupted);
            }
        }
        Ok(if self.is_stale() { Outcome::Stale } else { Outcome::Done })
    }

    /// Whether validations have got no better for too long.
    fn is_stale(&self) -> bool {
        self.recipe.patience.is_some_and(|patience| self.position.stale >= patience)
    }

    fn step(&mut self, batch: &Batch) -> Result<(), RunError> {
        let began = Instant::now();
        let sequences = self.packing.sequences(&self.data.train.samples, batch);
        let weights: Vec<f64> = sequences.iter().map(Sequence::weight).collect();
        let (all, count) = (divisor(weights.iter().sum()), sequences.len() as f64);
        let scale = self.position.scale.factor();
        let step = self.position.step + 1;
        self.learner.begin(step);
        let mut loss = 0.0;
        for (sequence, weight) in sequences.iter().zip(&weights) {
            let mean = if self.recipe.reference_loss { divisor(*weight) * count } else { all };
            loss += self.learner.gradients(sequence, scale / mean)?.loss / scale;
        }
        let norm = global_norm(self.learner.sums()) / scale;
        let factor = self.recipe.schedule.factor(self.position.step, self.warmup, self.total);
        let sound = norm.is_finite() && loss.is_finite();
        if sound {
            self.position.scale.passed();
            let clip = if self.recipe.clip > 0.0 { clip_factor(norm, self.recipe.clip) } else { 1.0 };
            let mut update = self.optimizer.step(factor, (clip / scale) as f32);
            self.learner.each(&mut |index, parameter| update.update(index, parameter));
            self.learner.updated();
            self.position.updates += 1;
        } else if !self.position.scale.overflowed() {
            let what = if loss.is_finite() { self.culprit() } else { "the loss".to_owned() };
            return Err(RunError::NotFinite { step, what });
        }
        let tokens = sequences.iter().map(|sequence| sequence.tokens.len()).sum::<usize>();
        let effective_tokens = sequences.iter().map(|sequence| sequence.effective).sum::<usize>();
        self.position.step = step;
        self.position.batch += 1;
        self.position.tokens += tokens as u64;
        self.position.effective += effective_tokens as u64;
        if !sound {
            let scale = self.position.scale.factor();
            self.log.write(step, &json!({"skipped": true, "loss_scale": scale}))?;
            (self.watch)(&Event::Skipped { step, scale });
            return Ok(());
        }
        self.loss = Some(loss);
        let done = Step {
            step,
            total: self.total,
            epoch: self.position.epoch + 1,
            loss,
            lr: self.recipe.lr * factor,
            grad_norm: norm,
            tokens,
            effective_tokens,
            tokens_per_second: tokens as f64 / began.elapsed().as_secs_f64().max(1e-9),
            left: self.time_left(),
        };
        self.log.write(step, &json!(done))?;
        (self.watch)(&Event::Step(done));
        Ok(())
    }

    /// The tensor whose gradient is not finite.
    fn culprit(&self) -> String {
        let is_sound = |gradient: &&[f32]| gradient.iter().all(|value| value.is_finite());
        match self.learner.sums().iter().position(|gradient| !is_sound(gradient)) {
            Some(index) => format!("the gradient of `{}`", self.names[index]),
            None => "the length of the gradient".to_owned(),
        }
    }

    fn time_left(&self) -> Duration {
        let (done, left) = (self.position.step - self.began_at, self.total - self.position.step);
        self.began.elapsed().mul_f64(left as f64 / done.max(1) as f64)
    }

    fn validate(&mut self) -> Result<(), RunError> {
        let results = validate(&mut *self.learner, &self.held_out, &self.recipe.limits())?;
        let step = self.position.step;
        let best = self.position.best.is_none_or(|(lowest, _)| results.loss < lowest);
        if best {
            self.position.best = Some((results.loss, step));
            self.position.stale = 0;
            self.learner.save(&self.recipe.out.join("best"))?;
        } else {
            self.position.stale += 1;
        }
        let fields = [("loss", Some(results.loss)), ("accuracy", results.accuracy), ("auc", results.auc)];
        let named = fields.iter().filter_map(|(name, value)| Some((format!("validation_{name}"), (*value)?.into())));
        self.log.write(step, &Value::Object(named.collect()))?;
        self.validation = Some(results);
        (self.watch)(&Event::Validated { step, results, best });
        Ok(())
    }

    /// The checkpoint first: whoever finds a state finds a checkpoint that is no older.
    fn save(&mut self) -> Result<(), RunError> {
        self.learner.save(&self.recipe.out.join("last"))?;
        state::save(&self.recipe.out, &self.names, &self.learner.values(), &self.optimizer, &self.position)?;
        (self.watch)(&Event::Saved { step: self.position.step });
        Ok(())
    }

    fn summary(&self, outcome: Outcome) -> Summary {
        Summary {
            steps: self.position.step,
            total: self.total,
            interrupted: outcome == Outcome::Interrupted,
            stopped_early: outcome == Outcome::Stale,
            skipped: self.position.scale.skipped(),
            loss: self.loss,
            validation: self.validation,
            best: self.position.best,
            tokens: self.position.tokens,
            effective_tokens: self.position.effective,
        }
    }
}

/// A key in which two identities differ.
fn difference(saved: &Value, now: &Value) -> Option<String> {
    let (Some(saved), Some(now)) = (saved.as_object(), now.as_object()) else { return Some("recipe".into()) };
    let keys = now.keys().chain(saved.keys());
    keys.into_iter().find(|key| saved.get(*key) != now.get(*key)).cloned()
}
