//! Buffers that are used again, so that neither products nor layers have the system map, clear and unmap pages all the time.
//!
//! Threads keep their packing buffers for good ([`with`]). A pass through a model keeps those of its layers, which are alike,
//! until it ends ([`recycling`], [`take`], [`give`]).

use std::cell::RefCell;

use crate::nn::simd::transpose::Word;

/// A word that packed panels are made of.
pub(crate) trait Unit: Word {
    /// Run `visit` on this thread's idle buffers.
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

/// Cache lines, and the widest vectors, have 64 bytes.
const ALIGNMENT: usize = 64;

/// Run `work` with a buffer of `length` units at a multiple of 64 bytes, with anything in it.
///
/// A thread that waits for others may take up another product, which then gets a buffer of its own.
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
    /// Buffers that a pass has given back; nothing outside of a pass.
    static GIVEN: RefCell<Option<Vec<Vec<f32>>>> = const { RefCell::new(None) };
}

/// Until it is dropped, buffers that this thread [gives](give) back are [taken](take) again.
#[must_use]
pub(crate) struct Recycling {
    /// Whether it is not inside of another.
    outermost: bool,
}

/// Begin to use buffers again.
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

/// A buffer of `length` values with anything in it.
pub(crate) fn take(length: usize) -> Vec<f32> {
    let given = GIVEN.with_borrow_mut(|given| {
        let given = given.as_mut()?;
        let place = given.iter().position(|buffer| buffer.len() == length)?;
        Some(given.swap_remove(place))
    });
    given.unwrap_or_else(|| vec![0.0; length])
}

/// Give a buffer back.
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
    fn buffers_come_back_within_a_pass_only() {
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
