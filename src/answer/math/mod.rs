//! Expression trees, and equality of two expressions as functions.
//!
//! The grammar reads text to an [`Expr`]. Equality is decided by evaluation at random points, not
//! by rewriting, in two domains at once. In a prime field, polynomials and their quotients are
//! exact; agreement at random points proves equality up to a probability of about 2⁻⁵⁸. Complex
//! floating-point numbers add roots, logarithms and angles. Answers, units and wording
//! are left to other modules.

mod curves;
mod equality;
mod evaluate;
mod expr;
mod field;
mod gamma;
mod huge;
mod matrix;
mod number;
mod positive;

pub use curves::{Solutions, regions_differ, solutions};
pub use equality::{Equality, Ratio, Tolerance, equality, proportion};
pub use evaluate::{Point, evaluate};
pub use expr::{Constant, Expr, Function};
pub use matrix::expand_matrices;
pub use number::Number;
