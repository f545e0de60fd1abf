//! Whether two shapes mean the same.

use super::{quantity, relation, sets, words};
use crate::answer::grammar::{Bracket, Shape};
use crate::answer::math::{Expr, Tolerance};
use crate::answer::{Finding, Outcome, Precision, Setting};

/// How exact numbers must be, and the unit of a bare one.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    setting: &'a Setting,
    part: usize,
}

impl<'a> Terms<'a> {
    pub fn of(setting: &'a Setting) -> Self {
        Self { setting, part: 0 }
    }

    /// The terms of the part with this index.
    pub fn part(self, part: usize) -> Self {
        Self { part, ..self }
    }

    pub fn tolerance(self) -> Tolerance {
        match &self.setting.precision {
            None => Tolerance::Exact,
            Some(Precision::Decimals(places)) => Tolerance::Decimals(*places),
            Some(Precision::Within(distances)) => distances
                .get(self.part)
                .or(distances.last())
                .map_or(Tolerance::Exact, |limit| Tolerance::Within(*limit)),
        }
    }

    pub fn sets_apart(self) -> bool {
        self.setting.sets_apart
    }

    pub fn unit(self) -> Option<&'a str> {
        self.setting.unit.as_deref()
    }
}

/// Compares two shapes.
pub fn agree(gold: &Shape, said: &Shape, terms: &Terms<'_>) -> Finding {
    let (gold, said) = (expanded(gold), expanded(said));
    match (&gold, &said) {
        (Shape::Words(gold), Shape::Words(said)) => words::compare(gold, said),
        (Shape::Words(text), other) | (other, Shape::Words(text)) => worded(text, other, terms),
        (Shape::Value(a, unit), Shape::Value(b, other)) => quantity::compare((a, unit), (b, other), terms),
        (Shape::Chain(..), _) | (_, Shape::Chain(..)) => relation::compare(&gold, &said, terms),
        (Shape::Ratio(_), _) | (_, Shape::Ratio(_)) => relation::ratios(&gold, &said, terms),
        (Shape::List(a), Shape::List(b)) => unordered(a, b, terms),
        (Shape::Bracketed(open, a, close), Shape::Bracketed(other_open, b, other_close)) => {
            match (*open == Bracket::Curly, *other_open == Bracket::Curly) {
                (true, true) => unordered(a, b, terms),
                (false, false) => {
                    let items = ordered(a, b, terms);
                    let alike = open == other_open && close == other_close;
                    if items.outcome == Outcome::Equal && !alike { Finding::different("other brackets") } else { items }
                }
                _ => sets::compare(&gold, &said, terms)
                    .unwrap_or_else(|| not_equal(unordered(a, b, terms), "a set and an ordered tuple")),
            }
        }
        (Shape::List(a), Shape::Bracketed(open, b, close)) | (Shape::Bracketed(open, b, close), Shape::List(a)) => {
            let tuple = *open == Bracket::Round && *close == Bracket::Round;
            if tuple && b.len() > 1 { ordered(a, b, terms) } else { unordered(a, b, terms) }
        }
        (Shape::Value(matrix, unit), Shape::Bracketed(_, items, _))
        | (Shape::Bracketed(_, items, _), Shape::Value(matrix, unit))
            if unit.is_empty() && vector(matrix).is_some() =>
        {
            let cells: Vec<Shape> =
                vector(matrix).into_iter().flatten().map(|cell| Shape::value(cell.clone())).collect();
            ordered(&cells, items, terms)
        }
        (Shape::Bracketed(Bracket::Curly, items, _), other) | (other, Shape::Bracketed(Bracket::Curly, items, _))
            if items.len() == 1 =>
        {
            agree(&items[0], other, terms)
        }
        _ => sets::compare(&gold, &said, terms).unwrap_or_else(|| Finding::different("another kind of answer")),
    }
}

/// An agreement that is not enough; a difference stays one.
fn not_equal(finding: Finding, why: &'static str) -> Finding {
    if finding.outcome == Outcome::Different { finding } else { Finding::undecided(why) }
}

/// ± written out: two values or two relations.
fn expanded(shape: &Shape) -> Shape {
    let signed = |shape: &Shape, upper: bool| match shape {
        Shape::Value(expr, unit) => Shape::Value(expr.with_sign(upper), unit.clone()),
        other => other.clone(),
    };
    match shape {
        Shape::Value(expr, _) if expr.has_plus_minus() => Shape::List(vec![signed(shape, true), signed(shape, false)]),
        Shape::Chain(sides, relations) if sides.iter().any(|side| side.expr().is_some_and(Expr::has_plus_minus)) => {
            let of = |upper| Shape::Chain(sides.iter().map(|side| signed(side, upper)).collect(), relations.clone());
            Shape::List(vec![of(true), of(false)])
        }
        Shape::List(items) => Shape::List(flattened(items)),
        Shape::Bracketed(Bracket::Curly, items, close) => Shape::Bracketed(Bracket::Curly, flattened(items), *close),
        other => other.clone(),
    }
}

fn flattened(items: &[Shape]) -> Vec<Shape> {
    let mut result = Vec::new();
    for item in items {
        match (item, expanded(item)) {
            // Only what a ± made: lists that were written as such are parts.
            (Shape::Value(..) | Shape::Chain(..), Shape::List(both)) => result.extend(both),
            (_, other) => result.push(other),
        }
    }
    result
}

/// The cells of a matrix with one row or one column.
fn vector(expr: &Expr) -> Option<Vec<&Expr>> {
    let Expr::Matrix(rows) = expr else { return None };
    (rows.len() == 1 || rows[0].len() == 1).then(|| rows.iter().flatten().collect())
}

/// Part by part.
pub fn ordered(gold: &[Shape], said: &[Shape], terms: &Terms<'_>) -> Finding {
    if gold.len() != said.len() {
        return Finding::different("another number of parts");
    }
    let mut undecided = None;
    for (index, (gold, said)) in gold.iter().zip(said).enumerate() {
        let finding = agree(gold, said, &terms.part(index));
        match finding.outcome {
            Outcome::Equal => {}
            Outcome::Different => return finding,
            Outcome::Undecided => undecided = Some(finding),
        }
    }
    undecided.unwrap_or_else(|| Finding::equal("the same parts in the same order"))
}

/// Each part of one with a part of the other, in any order; what is said twice counts once.
pub fn unordered(gold: &[Shape], said: &[Shape], terms: &Terms<'_>) -> Finding {
    let mut matched = vec![false; said.len()];
    let mut undecided = None;
    for (index, gold) in gold.iter().enumerate() {
        let mut found = false;
        for (said, matched) in said.iter().zip(&mut matched) {
            let finding = agree(gold, said, &terms.part(index));
            match finding.outcome {
                Outcome::Equal => {
                    *matched = true;
                    found = true;
                }
                Outcome::Undecided => undecided = undecided.or(Some(finding)),
                Outcome::Different => {}
            }
        }
        if !found {
            return undecided.unwrap_or(Finding::different("a part is missing"));
        }
    }
    if matched.into_iter().all(|matched| matched) {
        return Finding::equal("the same parts");
    }
    undecided.unwrap_or(Finding::different("a part too many"))
}

/// Words against something else: a number word, a set in words, or nothing that rules can compare.
fn worded(text: &str, other: &Shape, terms: &Terms<'_>) -> Finding {
    if let Some(number) = words::number(text) {
        return agree(&Shape::value(number), other, terms);
    }
    if let Some(finding) = sets::compare(&Shape::Words(text.to_owned()), other, terms) {
        return finding;
    }
    match other {
        // A name is no number, and a number no name; words that count something may be either.
        Shape::Value(expr, _) if expr.is_constant() && words::names_no_number(text) => {
            Finding::different("words and a number")
        }
        _ => Finding::undecided("words that are not understood"),
    }
}
