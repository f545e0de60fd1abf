//! How many compute threads work while other programs want the cores too.
//!
//! llama.cpp's threads meet after every operation, hundreds of times a token, and spin while they wait. Where one has lost its
//! core to another program, the others wait until it is back: threads that share cores are several times slower than fewer
//! threads with a core each (`benches/records`). The processor time that decoding got tells how many cores there are; that
//! many threads go on, and now and then all of them are tried again. Results do not depend on it.

use std::time::Duration;

/// Decoding time that is judged at once: long against a scheduler's slices, short for whoever waits.
const WINDOW: Duration = Duration::from_millis(100);
/// Decoding time after which all threads are tried again, at first and at most.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// Cores that may be missing: threads of this process start late and end early.
const SLACK: f64 = 0.3;

/// The threads of a context, and how many of them work.
#[derive(Debug)]
pub(super) struct ThreadGovernor {
    most: u32,
    working: u32,
    /// Decoding time and processor time of the present window.
    window: [Duration; 2],
    /// Decoding time with fewer threads than there are, and when that is enough.
    reduced: Duration,
    patience: Duration,
}

impl ThreadGovernor {
    /// `most` threads, all of which work.
    pub fn new(most: u32) -> Self {
        Self { most, working: most, window: [Duration::ZERO; 2], reduced: Duration::ZERO, patience: PATIENCE[0] }
    }

    /// Takes note of a decode that took `elapsed` and got `processor` time; tells how many threads are to work from now on, if
    /// that changes.
    pub fn after(&mut self, elapsed: Duration, processor: Duration) -> Option<u32> {
        let before = self.working;
        self.window[0] += elapsed;
        self.window[1] += processor;
        if before < self.most {
            self.reduced += elapsed;
        }
        if self.window[0] >= WINDOW {
            let cores = self.window[1].as_secs_f64() / self.window[0].as_secs_f64();
            self.window = [Duration::ZERO; 2];
            self.judge(cores);
        }
        (self.working != before).then_some(self.working)
    }

    fn judge(&mut self, cores: f64) {
        if self.working > 1 && cores + SLACK < f64::from(self.working) {
            // All were tried too early.
            if self.working == self.most && self.reduced > Duration::ZERO {
                self.patience = (2 * self.patience).min(PATIENCE[1]);
            }
            self.working = ((cores + SLACK) as u32).max(1);
            self.reduced = Duration::ZERO;
        } else if self.working == self.most {
            (self.reduced, self.patience) = (Duration::ZERO, PATIENCE[0]);
        } else if self.reduced >= self.patience {
            self.working = self.most;
        }
    }
}

/// The processor time that this process has had, of all its threads; nothing where the system does not tell.
#[cfg(unix)]
pub(super) fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).ok()
}

#[cfg(not(unix))]
pub(super) fn processor_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes for `time` in steps of 10 ms on a machine that has `cores` for us.
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
    fn with_a_core_each_all_threads_work() {
        let mut governor = ThreadGovernor::new(4);
        assert!(decode(&mut governor, Duration::from_mins(1), 3.8).is_empty());
    }

    #[test]
    fn on_a_busy_machine_as_many_work_as_have_cores_and_all_are_tried_less_and_less_often() {
        let mut governor = ThreadGovernor::new(4);
        assert_eq!(decode(&mut governor, Duration::from_millis(100), 2.5), [2]);
        assert!(decode(&mut governor, Duration::from_millis(1900), 2.5).is_empty());
        assert_eq!(decode(&mut governor, Duration::from_millis(200), 2.5), [4, 2]);
        let changes = decode(&mut governor, Duration::from_mins(1), 2.5);
        assert_eq!(changes, [4, 2, 4, 2, 4, 2, 4, 2], "after 4, 8, 16 and 30 seconds");
    }

    #[test]
    fn when_the_others_are_gone_all_threads_work_again() {
        let mut governor = ThreadGovernor::new(2);
        assert_eq!(decode(&mut governor, Duration::from_secs(1), 0.7), [1]);
        assert_eq!(decode(&mut governor, Duration::from_mins(1), 2.0), [2]);
        // And the next time it is patient for as short as the first.
        assert_eq!(decode(&mut governor, Duration::from_millis(2300), 1.0), [1, 2, 1]);
    }

    #[test]
    fn one_thread_is_never_too_many() {
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
