//! The shape of an answer: a value, a list, a set, a relation, or words.

use super::clock::Clock;
use crate::answer::math::Expr;

/// The shape of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A number, an expression or a matrix, with its unit or the words after it (empty for none).
    Value(Expr, String),
    /// Items without brackets.
    List(Vec<Shape>),
    /// Answers to several blanks, on separate lines or separated only by spaces.
    Parts(Vec<Shape>),
    /// Values, each with the condition under which it holds.
    Piecewise(Vec<[Shape; 2]>),
    /// Items in brackets: a point, an interval, a set.
    Bracketed(Bracket, Vec<Shape>, Bracket),
    /// A union of sets.
    Union(Vec<Shape>),
    /// The first set without the numbers of the second.
    Without(Box<Shape>, Box<Shape>),
    /// Conditions on one variable, or sets, of which all have to hold, or at least one.
    Joined(Joint, Vec<Shape>),
    /// Two or more sides, with a relation between each and the next.
    Chain(Vec<Shape>, Vec<Relation>),
    /// `a : b : c`.
    Ratio(Vec<Expr>),
    /// A time of day.
    Time(Clock),
    /// The set of the values of a variable for which a condition holds.
    SetOf(String, Box<Shape>),
    /// Anything else, as normalised text.
    Words(String),
}

/// A bracket around several items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bracket {
    Round,
    Square,
    /// The bracket of a set.
    Curly,
}

/// How conditions are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    And,
    Or,
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
    /// Returns the relation with its sides exchanged.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::Greater => Self::Less,
            Self::AtMost => Self::AtLeast,
            Self::AtLeast => Self::AtMost,
            other => other,
        }
    }

    /// Returns whether it is `<`, `>`, `≤` or `≥`.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::Greater | Self::AtMost | Self::AtLeast)
    }
}

impl Shape {
    /// Applies `change` to every expression.
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
            Self::Without(set, removed) => {
                Self::Without(Box::new(set.map_exprs(change)), Box::new(removed.map_exprs(change)))
            }
            Self::Joined(joint, parts) => Self::Joined(*joint, all(parts)),
            Self::Chain(sides, relations) => Self::Chain(all(sides), relations.clone()),
            Self::Ratio(sides) => Self::Ratio(sides.iter().map(change).collect()),
            Self::SetOf(name, condition) => Self::SetOf(name.clone(), Box::new(condition.map_exprs(change))),
            Self::Time(clock) => Self::Time(*clock),
            Self::Words(text) => Self::Words(text.clone()),
        }
    }

    /// Makes a value without a unit.
    pub fn value(expr: Expr) -> Self {
        Self::Value(expr, String::new())
    }

    /// Returns the only variable of a condition: `x` for `1 < x`, `x ≠ 2` and `x ∈ [0, 1]`.
    pub fn condition_variable(&self) -> Option<&str> {
        let Self::Chain(sides, relations) = self else { return None };
        let limits = |relation: &Relation| relation.is_order() || matches!(relation, Relation::Unequal | Relation::In);
        if !relations.iter().all(limits) {
            return None;
        }
        let symbols = sides.iter().filter_map(Self::expr).flat_map(Expr::symbols);
        let mut variables =
            symbols.filter(|name| !name.starts_with("\\mathbb") && *name != "R" && *name != "\\emptyset");
        let first = variables.next()?;
        variables.all(|other| other == first).then_some(first)
    }

    /// Returns the expression of a value.
    pub fn expr(&self) -> Option<&Expr> {
        if let Self::Value(expr, _) = self { Some(expr) } else { None }
    }
}
