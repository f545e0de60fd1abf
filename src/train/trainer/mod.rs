//! The training loop: batches, gradients, updates, validations and saves until done, stopped early or cancelled.
//!
//! Every step depends on the recipe, the samples and the state before it alone, so a killed run resumes bit-exactly from its
//! last save. How a batch is computed is up to the [`Learner`]; the loop sees named tensors only.
//! [`crate::train::train_with`] is the whole job; its tests are in `tests/train`.

mod directory;
mod event;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::data::Dataset;
use super::learner::Learner;
use super::log::Log;
use super::optim::{LossScale, Optimizer, clip_factor, global_norm, warmup_steps};
use super::pack::{Batch, Packing, Sequence, divisor};
use super::prepare::TrainingData;
use super::recipe::{Compute, Recipe};
use super::state::{self, TrainerState};
use super::validation::{Validation, validate};
use crate::util::cancel::CancelToken;

use directory::Directory;
pub use event::{Event, Ready, RunError, Step, Summary};

/// Recipe keys that do not change results.
const NEUTRAL_KEYS: &[&str] = &["output", "features", "save_every"];
/// Keys that have other names in states saved by earlier versions.
const FORMER_KEYS: &[(&str, &str)] = &[("likelihood_of", "logprob_of")];

/// All that the results of a run depend on.
fn identity(recipe: &Recipe, data: &TrainingData) -> Value {
    let mut keys = serde_json::to_value(recipe).expect("a recipe is JSON");
    if let Some(keys) = keys.as_object_mut() {
        keys.retain(|key, _| !NEUTRAL_KEYS.contains(&key.as_str()));
        keys.insert("files".into(), data.fingerprints.clone());
    }
    keys
}

/// Trains `learner` by a recipe. The recipe's directory gets `recipe.toml`, `log.jsonl` and an event file, the checkpoints
/// `last` and `best`, and the state. A run left there with the same recipe and samples is resumed. `cancel` ends the run
/// after the current step, saved.
///
/// # Errors
/// [`RunError`]; the last save stays valid.
pub fn run(
    learner: &mut dyn Learner,
    data: &TrainingData,
    recipe: &Recipe,
    on_event: &mut dyn FnMut(&Event),
    cancel: &CancelToken,
) -> Result<Summary, RunError> {
    let _directory = Directory::open(&recipe.output)?;
    let mut trainer = Trainer::open(learner, data, recipe, on_event)?;
    let outcome = trainer.train(cancel)?;
    Ok(trainer.summary(outcome))
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Interrupted,
    Stale,
}

struct Trainer<'a> {
    held_out: Dataset,
    learner: &'a mut dyn Learner,
    data: &'a TrainingData,
    recipe: &'a Recipe,
    on_event: &'a mut dyn FnMut(&Event),
    packing: Packing,
    names: Vec<String>,
    optimizer: Optimizer,
    log: Log,
    warmup: u64,
    began: Instant,
    began_at: u64,
    state: TrainerState,
    total: u64,
    loss: Option<f64>,
    validation: Option<Validation>,
}

impl<'a> Trainer<'a> {
    fn open(
        learner: &'a mut dyn Learner,
        data: &'a TrainingData,
        recipe: &'a Recipe,
        on_event: &'a mut dyn FnMut(&Event),
    ) -> Result<Self, RunError> {
        let identity = identity(recipe, data);
        let tensors = learner.tensors();
        let shapes = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
        let mut optimizer = Optimizer::new(recipe.optimizer_options(), shapes);
        let names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        let state = match state::load(&recipe.output)? {
            None => {
                let dynamic = recipe.precision == Compute::F16;
                let scale = if dynamic { LossScale::dynamic() } else { LossScale::none() };
                TrainerState { scale, identity, ..TrainerState::default() }
            }
            Some(mut saved) => {
                rename_keys(&mut saved.trainer.identity);
                add_keys(&mut saved.trainer.identity);
                if let Some(key) = difference(&saved.trainer.identity, &identity) {
                    return Err(RunError::OtherRun { path: recipe.output.clone(), key });
                }
                saved.restore_optimizer(&mut optimizer)?;
                let mut filled = Ok(());
                learner.for_each_parameter(&mut |index, parameter| {
                    if filled.is_ok() {
                        filled = saved.restore_values(&names[index], parameter.values);
                    }
                });
                filled?;
                learner.on_update();
                on_event(&Event::Resumed { step: saved.trainer.step });
                saved.trainer
            }
        };
        let packing =
            Packing::new(&data.train.samples, data.train.special.context, &recipe.packing_limits(), recipe.seed);
        let limit = recipe.steps.unwrap_or(u64::MAX);
        let mut total = 0;
        for epoch in 0..recipe.epochs {
            total = limit.min(total + packing.epoch(epoch).len() as u64);
            // Each epoch is packed to count its steps.
            if total == limit {
                break;
            }
        }
        let has_next = state.step >= total || state.batch < packing.epoch(state.epoch).len();
        if !has_next {
            return Err(RunError::OtherRun { path: recipe.output.clone(), key: "position".into() });
        }
        let log = Log::open(&recipe.output, state.step)?;
        mmprm_quant::atomic::write(&recipe.output.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        Ok(Self {
            held_out: Dataset { samples: data.held_out.clone(), ..data.train.without_samples() },
            learner,
            data,
            recipe,
            on_event,
            packing,
            names,
            optimizer,
            log,
            warmup: warmup_steps(recipe.warmup, total),
            began: Instant::now(),
            began_at: state.step,
            state,
            total,
            loss: None,
            validation: None,
        })
    }

    fn train(&mut self, cancel: &CancelToken) -> Result<Outcome, RunError> {
        while self.state.step < self.total && !self.is_stale() {
            let batches = self.packing.epoch(self.state.epoch);
            self.step(&batches[self.state.batch])?;
            let (ends_epoch, done) = (self.state.batch == batches.len(), self.state.step == self.total);
            let step = self.state.step;
            let due = |every: u64| done || if every == 0 { ends_epoch } else { step.is_multiple_of(every) };
            if ends_epoch {
                self.state.epoch += 1;
                self.state.batch = 0;
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

    /// Whether the last `patience` validations brought no improvement.
    fn is_stale(&self) -> bool {
        self.recipe.patience.is_some_and(|patience| self.state.stale >= patience)
    }

    fn step(&mut self, batch: &Batch) -> Result<(), RunError> {
        let began = Instant::now();
        let sequences = self.packing.sequences(&self.data.train.samples, batch);
        let weights: Vec<f64> = sequences.iter().map(Sequence::weight).collect();
        let (all, count) = (divisor(weights.iter().sum()), sequences.len() as f64);
        let scale = self.state.scale.factor();
        let step = self.state.step + 1;
        self.learner.begin_step(step);
        let mut loss = 0.0;
        for (sequence, weight) in sequences.iter().zip(&weights) {
            let mean = if self.recipe.reference_loss { divisor(*weight) * count } else { all };
            loss += self.learner.accumulate(sequence, scale / mean)?.loss / scale;
        }
        let norm = global_norm(self.learner.gradients()) / scale;
        let factor = self.recipe.schedule.factor(self.state.step, self.warmup, self.total);
        let finite = norm.is_finite() && loss.is_finite();
        if finite {
            self.state.scale.passed();
            let clip = if self.recipe.clip > 0.0 { clip_factor(norm, self.recipe.clip) } else { 1.0 };
            let mut update = self.optimizer.step(factor, (clip / scale) as f32);
            self.learner.for_each_parameter(&mut |index, parameter| update.update(index, parameter));
            self.learner.on_update();
            self.state.updates += 1;
        } else if !self.state.scale.overflowed() {
            let what = if loss.is_finite() { self.name_of_non_finite() } else { "the loss".to_owned() };
            return Err(RunError::NotFinite { step, what });
        }
        let tokens = sequences.iter().map(|sequence| sequence.tokens.len()).sum::<usize>();
        let effective_tokens = sequences.iter().map(|sequence| sequence.effective_tokens).sum::<usize>();
        self.state.step = step;
        self.state.batch += 1;
        self.state.tokens += tokens as u64;
        self.state.effective += effective_tokens as u64;
        if !finite {
            let scale = self.state.scale.factor();
            self.log.write(step, &json!({"skipped": true, "loss_scale": scale}))?;
            (self.on_event)(&Event::Skipped { step, scale });
            return Ok(());
        }
        self.loss = Some(loss);
        let done = Step {
            step,
            total: self.total,
            epoch: self.state.epoch + 1,
            loss,
            lr: self.recipe.lr * factor,
            grad_norm: norm,
            tokens,
            effective_tokens,
            tokens_per_second: tokens as f64 / began.elapsed().as_secs_f64().max(1e-9),
            left: self.time_left(),
        };
        self.log.write(step, &json!(done))?;
        (self.on_event)(&Event::Step(done));
        Ok(())
    }

    /// Describes the gradient that is not finite.
    fn name_of_non_finite(&self) -> String {
        let is_finite = |gradient: &&[f32]| gradient.iter().all(|value| value.is_finite());
        match self.learner.gradients().iter().position(|gradient| !is_finite(gradient)) {
            Some(index) => format!("the gradient of `{}`", self.names[index]),
            None => "the norm of the gradient".to_owned(),
        }
    }

    fn time_left(&self) -> Duration {
        let (done, left) = (self.state.step - self.began_at, self.total - self.state.step);
        self.began.elapsed().mul_f64(left as f64 / done.max(1) as f64)
    }

    fn validate(&mut self) -> Result<(), RunError> {
        let results = validate(&mut *self.learner, &self.held_out, &self.recipe.packing_limits())?;
        let step = self.state.step;
        let best = self.state.best.is_none_or(|(lowest, _)| results.loss < lowest);
        if best {
            self.state.best = Some((results.loss, step));
            self.state.stale = 0;
            self.learner.save(&self.recipe.output.join("best"))?;
        } else {
            self.state.stale += 1;
        }
        let fields = [
            ("loss", Some(results.loss)),
            ("accuracy", results.accuracy),
            ("auc", results.auc),
            ("best_of_n", results.best_of_n),
        ];
        let named = fields.iter().filter_map(|(name, value)| Some((format!("validation_{name}"), (*value)?.into())));
        self.log.write(step, &Value::Object(named.collect()))?;
        self.validation = Some(results);
        (self.on_event)(&Event::Validated { step, results, best });
        Ok(())
    }

    /// Saves the checkpoint before the state, so that the checkpoint is never older than the state.
    fn save(&mut self) -> Result<(), RunError> {
        self.learner.save(&self.recipe.output.join("last"))?;
        state::save(&self.recipe.output, &self.names, &self.learner.values(), &self.optimizer, &self.state)?;
        (self.on_event)(&Event::Saved { step: self.state.step });
        Ok(())
    }

    fn summary(&self, outcome: Outcome) -> Summary {
        Summary {
            steps: self.state.step,
            total: self.total,
            interrupted: outcome == Outcome::Interrupted,
            stopped_early: outcome == Outcome::Stale,
            skipped: self.state.scale.skipped(),
            loss: self.loss,
            validation: self.validation,
            best: self.state.best,
            tokens: self.state.tokens,
            effective_tokens: self.state.effective,
        }
    }
}

/// Replaces former names of keys in a saved identity.
fn rename_keys(identity: &mut Value) {
    let Some(keys) = identity.as_object_mut() else { return };
    for (old, new) in FORMER_KEYS {
        if let Some(value) = keys.remove(*old) {
            keys.insert((*new).to_owned(), value);
        }
    }
}

/// Adds the keys that a saved identity of an earlier version lacks, with their defaults: what that version did.
fn add_keys(identity: &mut Value) {
    let defaults = serde_json::to_value(Recipe::default()).expect("a recipe is JSON");
    let (Some(keys), Value::Object(defaults)) = (identity.as_object_mut(), defaults) else { return };
    for (key, value) in defaults.into_iter().filter(|(key, _)| !NEUTRAL_KEYS.contains(&key.as_str())) {
        keys.entry(key).or_insert(value);
    }
}

/// A key in which two identities differ.
fn difference(saved: &Value, now: &Value) -> Option<String> {
    let (Some(saved), Some(now)) = (saved.as_object(), now.as_object()) else { return Some("recipe".into()) };
    let keys = now.keys().chain(saved.keys());
    keys.into_iter().find(|key| saved.get(*key) != now.get(*key)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_with_former_key_names_are_the_same_run() {
        let mut saved = json!({"lr": 1.0, "likelihood_of": null});
        rename_keys(&mut saved);
        assert_eq!(difference(&saved, &json!({"lr": 1.0, "logprob_of": null})), None);
        assert_eq!(difference(&saved, &json!({"lr": 2.0, "logprob_of": null})), Some("lr".into()));
    }

    #[test]
    fn states_that_lack_a_new_key_are_of_a_run_with_its_default() {
        let mut now = serde_json::to_value(Recipe::default()).unwrap();
        now.as_object_mut().unwrap().retain(|key, _| !NEUTRAL_KEYS.contains(&key.as_str()));
        let mut saved = now.clone();
        for key in ["loss", "right_above", "margin"] {
            assert!(saved.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        add_keys(&mut saved);
        assert_eq!(difference(&saved, &now), None);
        now["loss"] = json!("mse");
        assert_eq!(difference(&saved, &now), Some("loss".into()));
    }
}
