//! The thread that owns a context: takes requests from a channel and runs them on an executor.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use super::batched::{BatchedExecutor, Limits};
use super::job::Reply;
use super::serial::SerialExecutor;
use super::trie::TrieExecutor;
use crate::engine::ffi::Context;
use crate::engine::request::ProbeRequest;
use crate::engine::stats::{Phase, Stats};
use crate::engine::{EngineError, GenerateRequest};

/// A request and the channel for its answer. A caller that has dropped its end is not an error.
pub(in crate::engine) enum Command {
    Generate(GenerateRequest, Reply),
    Probe(ProbeRequest, Sender<Result<Vec<Vec<Vec<f32>>>, EngineError>>),
    /// Clears all cached prefixes.
    Forget(Sender<()>),
}

/// The executor whose sequences are in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Batched,
    Serial,
}

/// Which executors run requests.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct ExecutionMode {
    /// Run everything on the fixed schedule.
    pub deterministic: bool,
    /// Run all prompts of a probe together, instead of one by one on the fixed schedule.
    pub probe_together: bool,
}

/// Runs until all senders are dropped and all requests have finished.
pub(in crate::engine) fn run(
    mut context: Context,
    limits: Limits,
    mode: ExecutionMode,
    commands: &Receiver<Command>,
    stats: &Arc<Stats>,
) {
    let mut batched = BatchedExecutor::new(limits);
    let mut serial = SerialExecutor::default();
    let mut owner = if mode.deterministic { Owner::Serial } else { Owner::Batched };
    loop {
        // A request for the serial executor waits until the batched one is idle. No request is
        // accepted in the meantime, so that neither executor starves the other.
        let mut exclusive = None;
        while exclusive.is_none() {
            let command = if batched.is_idle() {
                commands.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                commands.try_recv()
            };
            match command {
                Ok(Command::Generate(request, reply)) if !mode.deterministic => {
                    if owner == Owner::Serial {
                        serial.clear(&mut context);
                        owner = Owner::Batched;
                    }
                    batched.submit(request, reply, &context, stats);
                }
                Ok(command) => exclusive = Some(command),
                Err(TryRecvError::Disconnected) if batched.is_idle() => return,
                // All waiting requests are accepted before the next step.
                Err(_) => step(&mut batched, &mut context, stats),
            }
        }
        while !batched.is_idle() {
            step(&mut batched, &mut context, stats);
        }
        if owner == Owner::Batched {
            batched.clear(&mut context);
            owner = Owner::Serial;
        }
        if let Some(command) = exclusive {
            stats.timed(Phase::Busy, || run_exclusive(command, mode, &mut serial, &mut context, stats));
        }
    }
}

fn step(batched: &mut BatchedExecutor, context: &mut Context, stats: &Stats) {
    stats.timed(Phase::Busy, || {
        if let Err(error) = batched.step(context, stats) {
            batched.fail_all(context, &error);
        }
    });
}

fn run_exclusive(
    command: Command,
    mode: ExecutionMode,
    serial: &mut SerialExecutor,
    context: &mut Context,
    stats: &Stats,
) {
    match command {
        Command::Generate(request, reply) => {
            let result = serial.generate(context, &request, stats);
            if result.is_err() {
                serial.clear(context);
            }
            let _ = reply.send(result);
        }
        Command::Probe(request, reply) => {
            let result = if mode.probe_together {
                serial.clear(context);
                TrieExecutor::new(context, &request.reading, stats).probe(&request.prompts)
            } else {
                probe(&request, serial, context, stats)
            };
            if result.is_err() {
                serial.clear(context);
            }
            let _ = reply.send(result);
        }
        Command::Forget(reply) => {
            serial.clear(context);
            stats.forget();
            let _ = reply.send(());
        }
    }
}

/// Runs prompts in the order of their keys, so that neighbours share the longest prefixes. Answers
/// in the order of the request.
fn probe(
    request: &ProbeRequest,
    serial: &mut SerialExecutor,
    context: &mut Context,
    stats: &Stats,
) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
    let mut order: Vec<usize> = (0..request.prompts.len()).collect();
    order.sort_by(|&a, &b| request.prompts[a].keys().cmp(request.prompts[b].keys()));
    let mut readings = vec![Vec::new(); request.prompts.len()];
    for index in order {
        readings[index] = serial.probe(context, &request.prompts[index], &request.reading, stats)?;
    }
    Ok(readings)
}
