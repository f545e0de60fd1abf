//! Adapts the number of compute threads to other programs that use the cores.
//!
//! llama.cpp's threads synchronise after every operation, hundreds of times per token, and spin
//! while they wait. When another program takes one thread's core, all others wait for it: threads
//! that share cores are several times slower than fewer threads with a core each
//! (`benches/records`). The processor time spent per decoding time shows how many cores are
//! available; that many threads compute, and all of them are retried at growing intervals. Results
//! do not depend on it.

use std::time::Duration;

/// Decoding time per decision: long compared with the operating system's time slices, short for a
/// caller.
const WINDOW: Duration = Duration::from_millis(100);
/// Decoding time after which all threads are retried: initial and maximum.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// Tolerated deficit in cores, since the threads start late and end early.
const SLACK: f64 = 0.3;

/// The threads of a context and the number of them that compute.
#[derive(Debug)]
pub(in crate::engine) struct ThreadGovernor {
    max: u32,
    working: u32,
    /// Decoding time and processor time of the current window.
    window: [Duration; 2],
    /// Decoding time since the number of threads was reduced.
    reduced: Duration,
    /// The value of `reduced` at which all threads are retried.
    retry_after: Duration,
}

impl ThreadGovernor {
    /// Starts with `max` computing threads.
    pub fn new(max: u32) -> Self {
        let (window, reduced) = ([Duration::ZERO; 2], Duration::ZERO);
        Self { max, working: max, window, reduced, retry_after: RETRY_AFTER[0] }
    }

    /// Records a decode that took `elapsed` and used `processor` time. Returns the new number of
    /// computing threads, if it changes.
    pub fn after(&mut self, elapsed: Duration, processor: Duration) -> Option<u32> {
        let before = self.working;
        self.window[0] += elapsed;
        self.window[1] += processor;
        if before < self.max {
            self.reduced += elapsed;
        }
        if self.window[0] >= WINDOW {
            let cores = self.window[1].as_secs_f64() / self.window[0].as_secs_f64();
            self.window = [Duration::ZERO; 2];
            self.decide(cores);
        }
        (self.working != before).then_some(self.working)
    }

    fn decide(&mut self, cores: f64) {
        if self.working > 1 && cores + SLACK < f64::from(self.working) {
            // The retry of all threads came too early.
            if self.working == self.max && self.reduced > Duration::ZERO {
                self.retry_after = (2 * self.retry_after).min(RETRY_AFTER[1]);
            }
            self.working = ((cores + SLACK) as u32).max(1);
            self.reduced = Duration::ZERO;
        } else if self.working == self.max {
            (self.reduced, self.retry_after) = (Duration::ZERO, RETRY_AFTER[0]);
        } else if self.reduced >= self.retry_after {
            self.working = self.max;
        }
    }
}

/// Returns the processor time used by all threads of this process; `None` where the system does not
/// report it.
#[cfg(unix)]
pub(in crate::engine) fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).ok()
}

#[cfg(not(unix))]
pub(in crate::engine) fn processor_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes for `time` in steps of 10 ms on a machine with `cores` available.
    fn decode(governor: &mut ThreadGovernor, time: Duration, cores: f64) -> Vec<u32> {
        let step = Duration::from_millis(10);
        let steps = (time.as_millis() / step.as_millis()) as usize;
        let mut changes = Vec::new();
        for _ in 0..steps {
            changes.extend(governor.after(step, step.mul_f64(cores.min(f64::from(governor.working)))));
        }
        changes
    }

    #[test]
    fn all_threads_compute_while_each_has_a_core() {
        let mut governor = ThreadGovernor::new(4);
        assert!(decode(&mut governor, Duration::from_mins(1), 3.8).is_empty());
    }

    #[test]
    fn on_a_busy_machine_one_thread_per_free_core_computes_and_retries_become_rare() {
        let mut governor = ThreadGovernor::new(4);
        assert_eq!(decode(&mut governor, Duration::from_millis(100), 2.5), [2]);
        assert!(decode(&mut governor, Duration::from_millis(1900), 2.5).is_empty());
        assert_eq!(decode(&mut governor, Duration::from_millis(200), 2.5), [4, 2]);
        let changes = decode(&mut governor, Duration::from_mins(1), 2.5);
        assert_eq!(changes, [4, 2, 4, 2, 4, 2, 4, 2], "after 4, 8, 16 and 30 seconds");
    }

    #[test]
    fn all_threads_compute_again_once_the_cores_are_free() {
        let mut governor = ThreadGovernor::new(2);
        assert_eq!(decode(&mut governor, Duration::from_secs(1), 0.7), [1]);
        assert_eq!(decode(&mut governor, Duration::from_mins(1), 2.0), [2]);
        // The next interval is as short as the first.
        assert_eq!(decode(&mut governor, Duration::from_millis(2300), 1.0), [1, 2, 1]);
    }

    #[test]
    fn a_single_thread_always_computes() {
        assert!(decode(&mut ThreadGovernor::new(1), Duration::from_secs(9), 0.2).is_empty());
    }

    #[test]
    fn processor_time_grows() {
        let Some(before) = processor_time() else { return };
        let mut sum = 0_u64;
        while processor_time().unwrap() == before {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(processor_time().unwrap() > before, "{sum}");
    }
}
