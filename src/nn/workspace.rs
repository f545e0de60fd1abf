//! Packing buffers that threads keep, so that products neither allocate nor fault pages in again.

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
