//! Admission of speculative probes: they run only where the policy has room beside all needed
//! requests.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::policy::{PolicyError, Speculation};

/// How often a waiting probe checks for the cancellation of its run. Everything else wakes it.
const RECHECK: Duration = Duration::from_millis(100);

/// Rollouts in flight, of all searches of a run.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    recheck: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    in_flight: Mutex<InFlight>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct InFlight {
    needed: usize,
    speculative: usize,
}

impl Slots {
    /// Room for `max` rollouts in flight.
    pub(super) fn new(max: usize) -> Self {
        Self { max, recheck: RECHECK, shared: Arc::default() }
    }

    /// Runs `sample`, a request for `count` rollouts. A needed request never waits here. A
    /// speculative one waits until it is committed or there is room for it beside at least one
    /// needed request, so that it never precedes the probe that its search waits for.
    pub(super) fn run<T>(
        &self,
        count: usize,
        speculation: Option<&Speculation>,
        is_cancelled: impl Fn() -> bool,
        sample: impl FnOnce() -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        if let Some(speculation) = speculation {
            speculation.wake_on_change(Waker::from(Arc::clone(&self.shared)));
        }
        let mut in_flight = self.shared.lock();
        if let Some(speculation) = speculation {
            while !speculation.is_committed()
                && (in_flight.needed == 0 || in_flight.needed + in_flight.speculative + count > self.max)
            {
                if speculation.is_cancelled() || is_cancelled() {
                    return Err(PolicyError::Cancelled);
                }
                let waited = self.shared.changed.wait_timeout(in_flight, self.recheck);
                in_flight = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let is_speculative = speculation.is_some();
        *in_flight.count_mut(is_speculative) += count;
        drop(in_flight);
        let _occupied = Occupied { shared: &self.shared, count, is_speculative };
        self.shared.changed.notify_all();
        sample()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        // A waiter holds the lock from reading its state until it sleeps.
        drop(self.lock());
        self.changed.notify_all();
    }
}

impl InFlight {
    fn count_mut(&mut self, is_speculative: bool) -> &mut usize {
        if is_speculative { &mut self.speculative } else { &mut self.needed }
    }
}

/// Occupied room; dropping it releases it, also where the policy panics.
struct Occupied<'a> {
    shared: &'a Shared,
    count: usize,
    is_speculative: bool,
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        *self.shared.lock().count_mut(self.is_speculative) -= self.count;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::sleep;

    use super::*;

    #[test]
    fn a_speculative_request_waits_for_room_beside_a_needed_one() {
        let slots = Slots::new(8);
        let speculation = Speculation::default();
        let (send, admitted) = mpsc::channel();
        std::thread::scope(|scope| {
            let (slots, speculation) = (&slots, &speculation);
            let sample = move || Ok(send.send(slots.shared.lock().needed));
            scope.spawn(move || slots.run(4, Some(speculation), || false, sample));
            // It is admitted while this request is in flight, and not before.
            let needed = || slots.run(4, None, || false, || Ok(admitted.recv().unwrap())).unwrap();
            assert_eq!(needed(), 4);
        });
    }

    #[test]
    fn without_room_a_speculative_request_waits_until_committed_cancelled_or_the_run_ends() {
        let slots = Slots::new(8);
        let full = |inner: &dyn Fn()| {
            let sample = || {
                inner();
                Ok(())
            };
            slots.run(5, None, || false, sample).unwrap();
        };
        full(&|| {
            let speculation = Speculation::default();
            speculation.cancel();
            let cancelled = slots.run(4, Some(&speculation), || false, || Ok(()));
            assert!(matches!(cancelled, Err(PolicyError::Cancelled)));
            let run_ended = slots.run(4, Some(&Speculation::default()), || true, || Ok(()));
            assert!(matches!(run_ended, Err(PolicyError::Cancelled)));
            let speculation = Speculation::default();
            speculation.commit();
            assert!(slots.run(4, Some(&speculation), || false, || Ok(())).is_ok());
        });
    }

    /// Starts a speculative request that has no room, then `change`s something; returns whether it
    /// was admitted. It never checks by itself within the time of the test.
    fn admitted_after(change: impl FnOnce(&Speculation, &mpsc::Sender<()>)) -> bool {
        let slots = Slots { recheck: Duration::from_hours(1), ..Slots::new(8) };
        let speculation = Speculation::default();
        std::thread::scope(|scope| {
            let (slots, speculation) = (&slots, &speculation);
            let (release, released) = mpsc::channel();
            let (send, result) = mpsc::channel();
            let hold = move || released.recv().map_err(|_| PolicyError::Cancelled);
            scope.spawn(move || {
                slots.run(
                    4,
                    None,
                    || false,
                    || slots.run(4, None, || false, hold).map(|()| sleep(Duration::from_secs(1))),
                )
            });
            while slots.shared.lock().needed < 8 {
                sleep(Duration::from_millis(1));
            }
            scope.spawn(move || send.send(slots.run(4, Some(speculation), || false, || Ok(())).is_ok()));
            sleep(Duration::from_millis(30));
            assert!(result.try_recv().is_err(), "admitted without room");
            change(speculation, &release);
            result.recv_timeout(Duration::from_secs(50)).expect("a change of state wakes the request")
        })
    }

    #[test]
    fn a_waiting_request_is_woken_by_release_commit_and_cancel() {
        assert!(admitted_after(|_, release| release.send(()).unwrap()));
        assert!(admitted_after(|speculation, _| speculation.commit()));
        assert!(!admitted_after(|speculation, _| speculation.cancel()));
    }
}
