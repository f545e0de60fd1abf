//! What an answer is: a value, a list, a set, a relation, or words.

use crate::answer::math::Expr;

/// The shape of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A number, an expression or a matrix, and the unit or words that follow it (empty for none).
    Value(Expr, String),
    /// Things side by side, without brackets.
    List(Vec<Shape>),
    /// Things in brackets: a point, an interval, a set.
    Bracketed(Bracket, Vec<Shape>, Bracket),
    /// Sets joined.
    Union(Vec<Shape>),
    /// Two or more sides with a relation between each and the next.
    Chain(Vec<Shape>, Vec<Relation>),
    /// `a : b : c`.
    Ratio(Vec<Expr>),
    /// The set that a condition on a variable describes.
    SetOf(String, Box<Shape>),
    /// Anything else, canonical.
    Words(String),
}

/// A bracket that stands around several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bracket {
    Round,
    Square,
    /// Those of a set.
    Curly,
}

/// A relation between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equal,
    Unequal,
    Less,
    Greater,
    AtMost,
    AtLeast,
    Approximately,
    In,
    Congruent,
}

impl Relation {
    /// The relation of the sides exchanged.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::Greater => Self::Less,
            Self::AtMost => Self::AtLeast,
            Self::AtLeast => Self::AtMost,
            other => other,
        }
    }

    /// Whether it is `<`, `>`, `≤` or `≥`.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::Greater | Self::AtMost | Self::AtLeast)
    }
}

impl Shape {
    /// A value without a unit.
    pub fn value(expr: Expr) -> Self {
        Self::Value(expr, String::new())
    }

    /// The expression of a value, whatever its unit.
    pub fn expr(&self) -> Option<&Expr> {
        if let Self::Value(expr, _) = self { Some(expr) } else { None }
    }
}
