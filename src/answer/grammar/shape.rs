//! What an answer is: a value, a list, a set, a relation, or words.

use crate::answer::math::Expr;

/// The shape of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A number, an expression or a matrix, and the unit or words that follow it (empty for none).
    Value(Expr, String),
    /// Things side by side, without brackets.
    List(Vec<Shape>),
    /// Answers one after the other, as blanks are filled in: on lines of their own, or with only spaces between.
    Parts(Vec<Shape>),
    /// Values, each with the condition under which it holds.
    Piecewise(Vec<[Shape; 2]>),
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
    /// This shape with its expressions changed.
    pub fn map_exprs(&self, change: &impl Fn(&Expr) -> Expr) -> Self {
        let all = |shapes: &[Self]| shapes.iter().map(|shape| shape.map_exprs(change)).collect();
        match self {
            Self::Value(expr, unit) => Self::Value(change(expr), unit.clone()),
            Self::List(parts) => Self::List(all(parts)),
            Self::Parts(parts) => Self::Parts(all(parts)),
            Self::Piecewise(pieces) => Self::Piecewise(
                pieces.iter().map(|piece| piece.each_ref().map(|part| part.map_exprs(change))).collect(),
            ),
            Self::Bracketed(open, parts, close) => Self::Bracketed(*open, all(parts), *close),
            Self::Union(parts) => Self::Union(all(parts)),
            Self::Chain(sides, relations) => Self::Chain(all(sides), relations.clone()),
            Self::Ratio(sides) => Self::Ratio(sides.iter().map(change).collect()),
            Self::SetOf(name, condition) => Self::SetOf(name.clone(), Box::new(condition.map_exprs(change))),
            Self::Words(text) => Self::Words(text.clone()),
        }
    }

    /// A value without a unit.
    pub fn value(expr: Expr) -> Self {
        Self::Value(expr, String::new())
    }

    /// The expression of a value, whatever its unit.
    pub fn expr(&self) -> Option<&Expr> {
        if let Self::Value(expr, _) = self { Some(expr) } else { None }
    }
}
