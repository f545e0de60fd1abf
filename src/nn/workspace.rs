//! Reusable buffers, so that products and layers do not make the system map, clear and unmap pages
//! all the time.
//!
//! Each thread keeps its packing buffers until it ends ([`with`]). A pass through a model reuses
//! the buffers of its layers, which have the same sizes, until the pass ends ([`recycling`],
//! [`take`], [`give`]).

use std::cell::RefCell;

use crate::nn::simd::transpose::Word;

/// An element of packed panels.
pub(crate) trait Unit: Word {
    /// Runs `visit` on this thread's idle buffers.
    fn idle<R>(visit: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R;
}

macro_rules! unit {
    ($unit:ty) => {
        impl Unit for $unit {
            fn idle<R>(visit: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R {
                thread_local!(static IDLE: RefCell<Vec<Vec<$unit>>> = const { RefCell::new(Vec::new()) });
                IDLE.with_borrow_mut(visit)
            }
        }
    };
}
unit!(f32);
unit!(u32);

/// Size of cache lines and of the widest vectors, in bytes.
const ALIGNMENT: usize = 64;

/// Runs `work` with a buffer of `length` units, aligned to 64 bytes and with arbitrary contents.
///
/// A thread that waits inside `work` may start another product, which gets a separate buffer.
pub(crate) fn with<U: Unit, R>(length: usize, work: impl FnOnce(&mut [U]) -> R) -> R {
    let mut buffer = U::idle(Vec::pop).unwrap_or_default();
    let padded = length + ALIGNMENT / size_of::<U>();
    if buffer.len() < padded {
        buffer.resize(padded, U::default());
    }
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let result = work(&mut buffer[start..start + length]);
    U::idle(|idle| idle.push(buffer));
    result
}

thread_local! {
    /// Buffers given back during a pass; `None` outside a pass.
    static GIVEN: RefCell<Option<Vec<Vec<f32>>>> = const { RefCell::new(None) };
}

/// While it lives, [`take`] reuses the buffers that this thread has passed to [`give`].
#[must_use]
pub(crate) struct Recycling {
    /// Whether no other recycling encloses this one.
    outermost: bool,
}

/// Starts reusing buffers on this thread.
pub(crate) fn recycling() -> Recycling {
    GIVEN.with_borrow_mut(|given| {
        let outermost = given.is_none();
        given.get_or_insert_default();
        Recycling { outermost }
    })
}

impl Drop for Recycling {
    fn drop(&mut self) {
        if self.outermost {
            GIVEN.set(None);
        }
    }
}

/// Returns a buffer of `length` values with arbitrary contents.
pub(crate) fn take(length: usize) -> Vec<f32> {
    let given = GIVEN.with_borrow_mut(|given| {
        let given = given.as_mut()?;
        let place = given.iter().position(|buffer| buffer.len() == length)?;
        Some(given.swap_remove(place))
    });
    given.unwrap_or_else(|| vec![0.0; length])
}

/// Gives a buffer back for reuse.
pub(crate) fn give(buffer: Vec<f32>) {
    GIVEN.with_borrow_mut(|given| {
        if let Some(given) = given {
            given.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_within_a_pass_only() {
        give(vec![1.0; 3]);
        assert_eq!(take(3), [0.0; 3]);
        let pass = recycling();
        let inner = recycling();
        give(vec![2.0; 3]);
        drop(inner);
        assert_eq!(take(4), [0.0; 4]);
        assert_eq!(take(3), [2.0; 3]);
        assert_eq!(take(3), [0.0; 3]);
        give(vec![3.0; 3]);
        drop(pass);
        assert_eq!(take(3), [0.0; 3]);
    }
}
