//! The same work on many items, by scoped threads that take the next item when they are done with
//! one.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::cancel::CancelToken;

/// Runs `work` on every item with up to `workers` threads and hands each result, with the item's
/// index, to `on_result` on the calling thread, in order of completion.
///
/// Items are begun in their order. Once `stop` is cancelled or `on_result` has failed, no further
/// item is begun; items in progress are finished.
///
/// # Errors
/// The first error of `on_result`; later results are dropped.
pub(crate) fn run<T: Sync, R: Send, E>(
    items: &[T],
    workers: usize,
    stop: &CancelToken,
    work: impl Fn(&T) -> R + Sync,
    mut on_result: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let stop = stop.child();
    std::thread::scope(|scope| {
        let (send, results) = mpsc::channel();
        for _ in 0..workers.max(1).min(items.len()) {
            let (send, next, stop, work) = (send.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.is_cancelled() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if send.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        // The channel ends when the last worker drops its sender.
        drop(send);
        for (index, result) in results {
            if let Err(error) = on_result(index, result) {
                stop.cancel();
                return Err(error);
            }
        }
        Ok(())
    })
}

/// Returns `work` of each item, in the items' order, computed by up to `workers` threads; on the
/// calling thread where one is enough.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], workers: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if workers.min(items.len()) <= 1 {
        return items.iter().map(work).collect();
    }
    let mut results = Vec::with_capacity(items.len());
    let keep = |index: usize, result: R| -> Result<(), Infallible> {
        results.push((index, result));
        Ok(())
    };
    let Ok(()) = run(items, workers, &CancelToken::new(), work, keep);
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn mapped_results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..20).collect();
        let slow_first = |item: &u64| {
            std::thread::sleep(Duration::from_millis(20 - item));
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

    #[test]
    fn nothing_is_begun_after_cancellation_or_an_error() {
        let stop = CancelToken::new();
        stop.cancel();
        run(&[1, 2], 2, &stop, |_| panic!("nothing may begin"), |_, ()| Ok::<(), ()>(())).unwrap();

        let begun = AtomicUsize::new(0);
        let items = [0; 1000];
        let work = |_: &i32| {
            begun.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        };
        let result = run(&items, 2, &CancelToken::new(), work, |_, ()| Err("full"));
        assert_eq!(result, Err("full"));
        assert!(begun.into_inner() < items.len());
    }

    #[test]
    fn results_are_handed_over_with_their_index_on_the_calling_thread() {
        let here = std::thread::current().id();
        let mut sum = 0;
        let keep = |index: usize, item: usize| {
            assert_eq!((index * 10, std::thread::current().id()), (item, here));
            sum += item;
            Ok::<(), ()>(())
        };
        run(&[0, 10, 20, 30], 3, &CancelToken::new(), |&item| item, keep).unwrap();
        assert_eq!(sum, 60);
    }
}
