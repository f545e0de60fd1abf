//! Compares several answers at once: ordered or unordered, named or unnamed, and piecewise
//! functions.

use super::combine;
use super::combine::undecided_unless_different;
use super::part_spec::PartSpec;
use super::shapes::compare_shapes;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::{Bracket, Relation, Shape};
use crate::answer::math::Expr;

/// Compares part by part.
pub fn ordered(gold: &[Shape], prediction: &[Shape], spec: &PartSpec<'_>) -> Comparison {
    if gold.len() != prediction.len() {
        return Comparison::different("different numbers of parts");
    }
    let comparisons = gold
        .iter()
        .zip(prediction)
        .enumerate()
        .map(|(index, (gold, prediction))| compare_shapes(gold, prediction, &spec.part(index)));
    combine::all(comparisons, "the same parts in the same order")
}

/// Matches each part of one with a part of the other, in any order; repetitions count once.
pub fn unordered(gold: &[Shape], prediction: &[Shape], spec: &PartSpec<'_>) -> Comparison {
    let comparisons: Vec<Vec<Comparison>> = gold
        .iter()
        .enumerate()
        .map(|(index, gold)| {
            prediction.iter().map(|prediction| compare_shapes(gold, prediction, &spec.part(index))).collect()
        })
        .collect();
    let has = |part: &mut dyn Iterator<Item = &Comparison>| -> Option<Comparison> {
        let mut undecided = None;
        for comparison in part {
            match comparison.outcome {
                Outcome::Equal => return Some(comparison.clone()),
                Outcome::Undecided => undecided = undecided.or(Some(comparison.clone())),
                Outcome::Different => {}
            }
        }
        undecided
    };
    let mut undecided = None;
    let rows = comparisons.iter().map(|row| (has(&mut row.iter()), "a missing part"));
    let columns = (0..prediction.len()).map(|at| (has(&mut comparisons.iter().map(|row| &row[at])), "an extra part"));
    for (best, otherwise) in rows.chain(columns) {
        match best {
            None => return Comparison::different(otherwise),
            Some(best) if best.outcome == Outcome::Undecided => undecided = undecided.or(Some(best)),
            Some(_) => {}
        }
    }
    undecided.unwrap_or_else(|| Comparison::equal("the same parts"))
}

/// Returns whether equal parts are equally frequent in both.
fn as_often(gold: &[Shape], prediction: &[Shape], spec: &PartSpec<'_>) -> bool {
    let mut left: Vec<&Shape> = prediction.iter().collect();
    gold.len() == prediction.len()
        && gold.iter().enumerate().all(|(index, gold)| {
            let place = left
                .iter()
                .position(|prediction| compare_shapes(gold, prediction, &spec.part(index)).outcome == Outcome::Equal);
            place.map(|place| left.swap_remove(place)).is_some()
        })
}

/// Compares lists without brackets: by name if the parts have names, otherwise in any order.
pub fn lists(gold: &[Shape], prediction: &[Shape], spec: &PartSpec<'_>) -> Comparison {
    if gold.len() != prediction.len() {
        // One may group its parts while the other does not.
        let (first, second) = (leaves(gold), leaves(prediction));
        let comparison = unordered(gold, prediction, spec);
        return match comparison.outcome {
            // A point may be named twice; a repeated number may be two answers.
            Outcome::Equal if gold.iter().all(|part| matches!(part, Shape::Bracketed(..))) => comparison,
            Outcome::Equal => Comparison::undecided("the same parts, some repeated"),
            _ if first.len() == second.len() => ordered(&first, &second, spec),
            _ => comparison,
        };
    }
    let comparison = unordered(gold, prediction, spec);
    match comparison.outcome {
        Outcome::Equal if as_often(gold, prediction, spec) => {}
        Outcome::Equal => return Comparison::undecided("the same parts with different frequencies"),
        _ => return comparison,
    }
    let in_order = match (names(gold), names(prediction)) {
        (Some(first), Some(second)) => {
            let places: Option<Vec<usize>> =
                first.iter().map(|name| second.iter().position(|other| other == name)).collect();
            let renamed =
                places.map(|places| places.into_iter().map(|place| prediction[place].clone()).collect::<Vec<_>>());
            Some(ordered(gold, renamed.as_deref().unwrap_or(prediction), spec))
        }
        (Some(_), None) if unnamed(prediction) => Some(ordered(gold, prediction, spec)),
        (None, Some(_)) if unnamed(gold) => Some(ordered(gold, prediction, spec)),
        _ => None,
    };
    match in_order {
        Some(in_order) if in_order.outcome == Outcome::Different => {
            undecided_unless_different(comparison, "the same values for different names")
        }
        Some(in_order) => in_order,
        None => comparison,
    }
}

/// Returns the names of parts that each assign a value to a name; `None` if one has no name, or if
/// two names differ only in their indices.
fn names(parts: &[Shape]) -> Option<Vec<&Expr>> {
    let mut names: Vec<&Expr> = Vec::new();
    for part in parts {
        let Shape::Chain(sides, relations) = part else { return None };
        let [Shape::Value(name, _), _] = sides.as_slice() else { return None };
        let alike = |other: &&Expr| match (*other, name) {
            (Expr::Symbol(other), Expr::Symbol(name)) => other.split('_').next() == name.split('_').next(),
            (other, name) => other == name,
        };
        if relations[..] != [Relation::Equal] || !name.is_name() || names.iter().any(alike) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// Returns the first of two parts if the second is a condition on its variables: `y = 2x, x > 0`.
pub fn under_condition(parts: &[Shape]) -> Option<&Shape> {
    let [main, Shape::Chain(sides, relations)] = parts else { return None };
    let limits =
        |relations: &[Relation]| relations.iter().all(|relation| relation.is_order() || *relation == Relation::Unequal);
    let variables = |shapes: &[Shape]| -> Vec<String> {
        shapes.iter().filter_map(Shape::expr).flat_map(|expr| expr.symbols()).map(str::to_owned).collect()
    };
    let occurring = match main {
        Shape::Chain(_, main) if limits(main) => return None,
        Shape::Chain(sides, _) => variables(sides),
        other => variables(std::slice::from_ref(other)),
    };
    let limited = variables(sides);
    let about = !limited.is_empty() && limited.iter().all(|name| occurring.contains(name));
    (limits(relations) && about).then_some(main)
}

fn unnamed(parts: &[Shape]) -> bool {
    !parts.iter().any(|part| matches!(part, Shape::Chain(..)))
}

/// Compares the answers to several blanks, each in its place.
pub fn in_blanks(gold: &Shape, prediction: &Shape, spec: &PartSpec<'_>) -> Comparison {
    let several = |shape: &Shape| match shape {
        Shape::Parts(parts) | Shape::List(parts) => leaves(parts),
        Shape::Bracketed(Bracket::Round, parts, Bracket::Round) => parts.clone(),
        other => vec![other.clone()],
    };
    let (gold, prediction) = (several(gold), several(prediction));
    let comparison = ordered(&gold, &prediction, spec);
    if comparison.outcome == Outcome::Different && gold.len() == prediction.len() {
        return undecided_unless_different(unordered(&gold, &prediction, spec), "the same parts in a different order");
    }
    comparison
}

/// Returns the parts of nested lists, in order.
fn leaves(parts: &[Shape]) -> Vec<Shape> {
    let mut found = Vec::new();
    for part in parts {
        match part {
            Shape::Parts(parts) | Shape::List(parts) => found.extend(leaves(parts)),
            other => found.push(other.clone()),
        }
    }
    found
}

/// Compares piecewise functions: the same values under the same conditions, in any order.
pub fn piecewise(gold: &[[Shape; 2]], prediction: &[[Shape; 2]], spec: &PartSpec<'_>) -> Comparison {
    let part =
        |pieces: &[[Shape; 2]], place: usize| pieces.iter().map(|piece| piece[place].clone()).collect::<Vec<_>>();
    let rows = |pieces: &[[Shape; 2]]| {
        let row = |piece: &[Shape; 2]| Shape::Bracketed(Bracket::Round, piece.to_vec(), Bracket::Round);
        pieces.iter().map(row).collect::<Vec<_>>()
    };
    let comparison = unordered(&rows(gold), &rows(prediction), spec);
    if comparison.outcome != Outcome::Different {
        return comparison;
    }
    // At the boundary of a continuous function either piece may include the point.
    undecided_unless_different(
        unordered(&part(gold, 0), &part(prediction, 0), spec),
        "the same pieces under different conditions",
    )
}
