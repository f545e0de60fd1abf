//! Expressions and whether two of them are the same function.
//!
//! An [`Expr`] is what the grammar reads. Whether two are equal is not decided by rewriting them but by evaluating both at
//! random points, in two domains at once: in a prime field, where polynomials and fractions of them are exact and an
//! agreement at random points proves equality but for odds of about 2⁻⁵⁸, and in complex floating-point numbers, which know
//! roots, logarithms and angles. Nothing here knows of answers, units or wordings.

mod equality;
mod evaluate;
mod expr;
mod field;
mod gamma;
mod matrix;
mod number;

pub use equality::{Equality, Ratio, Tolerance, equality, proportion};
pub use evaluate::{Point, evaluate};
pub use expr::{Constant, Expr, Function};
pub use matrix::expand_matrices;
pub use number::Number;
