//! The thread that owns a context: takes requests from a channel and runs them on one of the two executors.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use super::batching::{Batching, Limits};
use super::ffi::Context;
use super::job::Reply;
use super::prompt::Prompt;
use super::serial::{Reading, SerialExecutor};
use super::stats::{Phase, Stats};
use super::trie;
use super::{EngineError, GenerateRequest};

/// A request and where its answer goes. A caller that has gone away is not an error.
pub(super) enum Command {
    Generate(GenerateRequest, Reply),
    Probe(ProbeRequest, Sender<Result<Vec<Vec<Vec<f32>>>, EngineError>>),
    /// Forgets all cached prefixes.
    Forget(Sender<()>),
}

/// Prompts to run and what to read in them.
pub(super) struct ProbeRequest {
    pub prompts: Vec<Prompt>,
    pub reading: Reading,
}

/// Whose cells are in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Batching,
    SerialExecutor,
}

/// How requests are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Everything on the fixed schedule.
    pub deterministic: bool,
    /// All prompts of a probe together, instead of one by one on the fixed schedule.
    pub probe_together: bool,
}

/// Runs until all senders are gone and all work is done.
pub(super) fn run(
    mut context: Context,
    limits: Limits,
    Mode { deterministic, probe_together }: Mode,
    commands: &Receiver<Command>,
    stats: &Arc<Stats>,
) {
    let mut batching = Batching::new(limits);
    let mut serial = SerialExecutor::default();
    let mut owner = if deterministic { Owner::SerialExecutor } else { Owner::Batching };
    loop {
        // A request for the serial waits until the batching executor is idle; until then nothing new is taken in, so that
        // neither starves the other.
        let mut exclusive = None;
        while exclusive.is_none() {
            let command = if batching.is_idle() {
                commands.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                commands.try_recv()
            };
            match command {
                Ok(Command::Generate(request, reply)) if !deterministic => {
                    if owner == Owner::SerialExecutor {
                        serial.clear(&mut context);
                        owner = Owner::Batching;
                    }
                    batching.submit(request, reply, &context, stats);
                }
                Ok(command) => exclusive = Some(command),
                Err(TryRecvError::Disconnected) if batching.is_idle() => return,
                // All that waits is taken in before the next step.
                Err(_) => step(&mut batching, &mut context, stats),
            }
        }
        while !batching.is_idle() {
            step(&mut batching, &mut context, stats);
        }
        if owner == Owner::Batching {
            batching.clear(&mut context);
            owner = Owner::SerialExecutor;
        }
        if let Some(command) = exclusive {
            stats.timed(Phase::Busy, || run_exclusive(command, probe_together, &mut serial, &mut context, stats));
        }
    }
}

fn step(batching: &mut Batching, context: &mut Context, stats: &Stats) {
    stats.timed(Phase::Busy, || {
        if let Err(error) = batching.step(context, stats) {
            batching.fail_all(context, &error);
        }
    });
}

fn run_exclusive(
    command: Command,
    probe_together: bool,
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
            let result = if probe_together {
                serial.clear(context);
                trie::probe(context, &request.prompts, &request.reading, stats)
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

/// Runs prompts in the order of their keys, so that neighbours share the most; answers in the order asked.
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
