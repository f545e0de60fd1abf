//! A parallel map for work that mostly waits.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maps `work` over `items` on up to `workers` threads and returns the results in the items' order.
/// Runs on the calling thread where one worker is enough.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], workers: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = workers.min(items.len());
    if workers <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_whoever_is_done_first() {
        let items: Vec<u64> = (0..20).collect();
        let slow_first = |item: &u64| {
            std::thread::sleep(std::time::Duration::from_millis(20 - item));
            item * item
        };
        assert_eq!(map(&items, 8, slow_first), items.iter().map(|item| item * item).collect::<Vec<_>>());
        assert_eq!(map(&items[..0], 8, slow_first), [0; 0]);
    }

    #[test]
    fn one_worker_is_the_calling_thread() {
        let here = std::thread::current().id();
        assert!(map(&[1, 2, 3], 1, |_| std::thread::current().id()).iter().all(|id| *id == here));
    }
}
