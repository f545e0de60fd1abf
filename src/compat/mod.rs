//! What must equal `CPython`'s output: random numbers, JSON and white space, used only where MM-PRM's bytes are reproduced.

pub mod json;
pub mod random;
pub mod text;
