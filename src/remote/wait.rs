//! Waiting: for a place among the requests under way, and between tries.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest wait between two tries, whatever the server asks for.
const LONGEST: Duration = Duration::from_mins(1);
/// How often a wait looks whether the run is being stopped.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Places for so many requests at once.
#[derive(Debug)]
pub(super) struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place taken; dropping it frees it.
pub(super) struct Place<'a>(&'a Places);

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Takes a place, waiting until one is free.
    pub(super) fn take(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// How long to wait after the failed try `index` (from 0): what the server asks for, or else `first` doubled each time; at
/// most a minute. A random part of up to half keeps clients that failed together from coming back together.
pub(super) fn pause(first: Duration, index: u32, asked: Option<Duration>) -> Duration {
    if let Some(asked) = asked {
        return asked.min(LONGEST);
    }
    let doubled = first.saturating_mul(1 << index.min(16)).min(LONGEST);
    // Every hasher of this kind has random keys: randomness enough to spread requests.
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    doubled.mul_f64(0.5 + random / 2.0)
}

/// Sleeps; false as soon as it `is_cancelled`.
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
        std::thread::sleep(left.min(LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_a_random_part_and_are_bounded() {
        let first = Duration::from_secs(1);
        for (index, most) in [(0, 1.0), (1, 2.0), (3, 8.0), (9, 60.0), (u32::MAX, 60.0)] {
            let seconds = pause(first, index, None).as_secs_f64();
            assert!((most / 2.0..=most).contains(&seconds), "try {index}: {seconds} s");
        }
        assert_eq!(pause(first, 0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(first, 0, Some(Duration::from_hours(24))), LONGEST);
    }

    #[test]
    fn a_sleep_ends_when_the_run_is_stopped() {
        let started = Instant::now();
        assert!(!sleep(Duration::from_mins(1), &|| true));
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(sleep(Duration::from_millis(1), &|| false));
    }

    #[test]
    fn no_more_than_the_places_are_taken_at_once() {
        let places = Places::new(2);
        let (now, most) = (Mutex::new(0), Mutex::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _place = places.take();
                    *now.lock().unwrap() += 1;
                    let inside = *now.lock().unwrap();
                    let mut most = most.lock().unwrap();
                    *most = inside.max(*most);
                    drop(most);
                    std::thread::sleep(Duration::from_millis(2));
                    *now.lock().unwrap() -= 1;
                });
            }
        });
        assert!((1..=2).contains(&*most.lock().unwrap()));
    }
}
