//! Attention over packed segments, forward and backward, with grouped key and value heads.
//!
//! The forward iterates over tiles of queries and chunks of keys with an online softmax (arXiv
//! 2205.14135) and saves only the log-sum-exp of each row; the backward recomputes the tiles. No
//! tokens × tokens matrix exists. A tile reads only the keys that are visible to it by
//! [`Segments`], so that masked pairs cost nothing. Query head h uses key and value head h / (query
//! heads / key heads).
//!
//! ```
//! use mmprm::nn::attention::{Attention, Heads, Mask, Segments};
//! use mmprm::nn::tensor::{Mat, MatMut};
//! // A prompt of one token, and two continuations of one token each that do not attend to each other.
//! let segments = Segments::new(&[(1, None), (1, Some(0)), (1, Some(0))], Mask::Causal);
//! let attention = Attention::new(Heads { query: 1, key: 1, dim: 1 }, &segments);
//! let (q, k, v) = ([0.0f32; 3], [0.0f32; 3], [1.0f32, 3.0, 5.0]);
//! let (mut out, mut lse) = ([0.0; 3], [0.0; 3]);
//! let one = |values| Mat::new(values, 3, 1);
//! attention.forward(one(&q), one(&k), one(&v), MatMut::new(&mut out, 3, 1), MatMut::new(&mut lse, 3, 1));
//! assert_eq!(out, [1.0, 2.0, 3.0]); // means over {1}, {1, 3}, {1, 5}
//! ```

mod backward;
mod forward;
mod segments;
mod tile;

pub use backward::SavedAttention;
pub use segments::{Mask, Segments};
pub use tile::{Attention, Heads};

#[cfg(test)]
mod tests;
