//! Waiting: for a permit among the requests in flight, and between attempts.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum wait between two attempts, whatever the server asks for.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// How often a wait checks for cancellation.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A counting semaphore for requests in flight.
#[derive(Debug)]
pub(super) struct Permits {
    free: Mutex<usize>,
    freed: Condvar,
}

/// An acquired permit; dropping it releases it.
pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Acquires a permit, waiting until one is free.
    pub(super) fn acquire(&self) -> Permit<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// The wait after failed attempt `index` (from 0): what the server asks for, else `first` doubled
/// each time; at most a minute. Random jitter of up to half spreads clients that failed at the same
/// time.
pub(super) fn pause(first: Duration, index: u32, asked: Option<Duration>) -> Duration {
    if let Some(asked) = asked {
        return asked.min(MAX_PAUSE);
    }
    let doubled = first.saturating_mul(1 << index.min(16)).min(MAX_PAUSE);
    // Every `RandomState` has random keys, which is enough randomness to spread requests.
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    doubled.mul_f64(0.5 + random / 2.0)
}

/// Sleeps for `duration`; returns false as soon as it `is_cancelled`.
pub(super) fn sleep(duration: Duration, is_cancelled: &dyn Fn() -> bool) -> bool {
    let end = Instant::now() + duration;
    loop {
        if is_cancelled() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(POLL_INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_and_are_bounded() {
        let first = Duration::from_secs(1);
        for (index, max) in [(0, 1.0), (1, 2.0), (3, 8.0), (9, 60.0), (u32::MAX, 60.0)] {
            let seconds = pause(first, index, None).as_secs_f64();
            assert!((max / 2.0..=max).contains(&seconds), "attempt {index}: {seconds} s");
        }
        assert_eq!(pause(first, 0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(first, 0, Some(Duration::from_hours(24))), MAX_PAUSE);
    }

    #[test]
    fn a_sleep_ends_on_cancellation() {
        let started = Instant::now();
        assert!(!sleep(Duration::from_mins(1), &|| true));
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(sleep(Duration::from_millis(1), &|| false));
    }

    #[test]
    fn no_more_than_the_permits_are_held_at_once() {
        let permits = Permits::new(2);
        let (now, max) = (Mutex::new(0), Mutex::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _permit = permits.acquire();
                    *now.lock().unwrap() += 1;
                    let inside = *now.lock().unwrap();
                    let mut max = max.lock().unwrap();
                    *max = inside.max(*max);
                    drop(max);
                    std::thread::sleep(Duration::from_millis(2));
                    *now.lock().unwrap() -= 1;
                });
            }
        });
        assert!((1..=2).contains(&*max.lock().unwrap()));
    }
}
