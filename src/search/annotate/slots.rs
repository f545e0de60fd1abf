//! Which probes may be asked for ahead: those for which the policy has room beside all that is needed.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::policy::{PolicyError, Speculation};

/// How often a waiting guess looks whether it is needed or dropped.
const LOOK: Duration = Duration::from_millis(1);

/// The rollouts that are under way, of all searches of a run.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    under_way: Mutex<UnderWay>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct UnderWay {
    needed: usize,
    guessed: usize,
}

impl Slots {
    /// Room for `most` rollouts at once.
    pub(super) fn new(most: usize) -> Self {
        Self { most, under_way: Mutex::default(), changed: Condvar::new() }
    }

    /// Draws `count` rollouts. What is needed never waits here; a guess waits until there is room for it beside something
    /// that is needed, so that it is not before the probe that its search waits for.
    pub(super) fn draw<T>(
        &self,
        count: usize,
        guess: Option<&Speculation>,
        is_cancelled: impl Fn() -> bool,
        draw: impl FnOnce() -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let guessed = if let Some(guess) = guess {
            while !guess.is_needed()
                && (under_way.needed == 0 || under_way.needed + under_way.guessed + count > self.most)
            {
                if guess.is_dropped() || is_cancelled() {
                    return Err(PolicyError::Cancelled);
                }
                let waited = self.changed.wait_timeout(under_way, LOOK).unwrap_or_else(PoisonError::into_inner);
                under_way = waited.0;
            }
            under_way.guessed += count;
            true
        } else {
            under_way.needed += count;
            false
        };
        drop(under_way);
        let _place = Place { slots: self, count, guessed };
        self.changed.notify_all();
        draw()
    }
}

/// Rollouts under way; dropping it ends them, also where the policy panics.
struct Place<'a> {
    slots: &'a Slots,
    count: usize,
    guessed: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.slots.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if self.guessed { &mut under_way.guessed } else { &mut under_way.needed };
        *kind -= self.count;
        drop(under_way);
        self.slots.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;

    #[test]
    fn a_guess_waits_for_room_beside_what_is_needed() {
        let slots = Slots::new(8);
        let guess = Speculation::default();
        let (send, events) = mpsc::channel();
        std::thread::scope(|scope| {
            let (slots, guess) = (&slots, &guess);
            let guessed = send.clone();
            scope.spawn(move || slots.draw(4, Some(guess), || false, || Ok(guessed.send("guess"))));
            let draw = || {
                send.send("needed").unwrap();
                // It is let in while this is under way, and not before.
                assert_eq!([events.recv().unwrap(), events.recv().unwrap()], ["needed", "guess"]);
                Ok(())
            };
            slots.draw(4, None, || false, draw).unwrap();
        });
    }

    #[test]
    fn without_room_a_guess_waits_until_it_is_needed_or_dropped_or_the_run_ends() {
        let slots = Slots::new(8);
        let full = |inner: &dyn Fn()| {
            let draw = || {
                inner();
                Ok(())
            };
            slots.draw(5, None, || false, draw).unwrap();
        };
        full(&|| {
            let guess = Speculation::default();
            guess.cancel();
            let dropped = slots.draw(4, Some(&guess), || false, || Ok(()));
            assert!(matches!(dropped, Err(PolicyError::Cancelled)));
            let cancelled = slots.draw(4, Some(&Speculation::default()), || true, || Ok(()));
            assert!(matches!(cancelled, Err(PolicyError::Cancelled)));
            let guess = Speculation::default();
            guess.commit();
            assert!(slots.draw(4, Some(&guess), || false, || Ok(())).is_ok());
        });
    }
}
