//! Compares numbers and expressions with their units.

use super::part_spec::PartSpec;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::grammar::Shape;
use crate::answer::math::{Equality, Expr, Number, Tolerance, equality, expand_matrices};
use crate::answer::units::Unit;

/// Returns whether letters that were read as units may be variables.
pub fn may_be_variables(shape: &Shape) -> bool {
    match shape {
        Shape::Value(_, unit) => {
            !unit.is_empty() && unit.len() <= 3 && unit.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'/')
        }
        Shape::List(all) | Shape::Bracketed(_, all, _) | Shape::Chain(all, _) => all.iter().any(may_be_variables),
        _ => false,
    }
}

/// Compares two values with their units or the words after them.
pub fn compare((a, unit): (&Expr, &str), (b, other): (&Expr, &str), spec: &PartSpec<'_>) -> Comparison {
    if let Some((a, unit)) = multiplied(a, unit) {
        return compare((&a, unit), (b, other), spec);
    }
    if let Some((b, other)) = multiplied(b, other) {
        return compare((a, unit), (&b, other), spec);
    }
    let (a, unit) = degrees(a, unit);
    let (b, other) = degrees(b, other);
    let bare = || values(a, b, spec);
    match (unit, other) {
        ("", "") => bare(),
        ("", named) => named_and_bare((b, named), a, spec),
        (named, "") => named_and_bare((a, named), b, spec),
        _ => match (Unit::parse(unit), Unit::parse(other)) {
            (Some(first), Some(second)) if first == second => bare(),
            (Some(first), Some(second)) if first.dimension == second.dimension => {
                values(&converted(a, &first), &converted(b, &second), spec)
            }
            (Some(_), Some(_)) => Comparison::different("units of different dimensions"),
            _ if unit == other => bare(),
            _ if unit.starts_with('_') && other.starts_with('_') => Comparison::undecided("numbers in different bases"),
            _ if same_words(unit, other) => bare(),
            _ => match bare() {
                comparison if comparison.outcome == Outcome::Equal => {
                    Comparison::undecided("the same value with different words")
                }
                comparison => comparison,
            },
        },
    }
}

/// Multiplies a value by the number word after it: `12 thousand`, `3 million dollars`.
fn multiplied<'a>(value: &Expr, unit: &'a str) -> Option<(Expr, &'a str)> {
    const WORDS: [(&str, u64); 9] = [
        ("hundred", 100),
        ("thousand", 1000),
        ("million", 1_000_000),
        ("billion", 1_000_000_000),
        ("trillion", 1_000_000_000_000),
        ("dozen", 12),
        ("万", 10_000),
        ("亿", 100_000_000),
        ("百万", 1_000_000),
    ];
    let (factor, rest) = WORDS.iter().find_map(|(word, factor)| Some((*factor, unit.strip_prefix(word)?)))?;
    let ends = rest.is_empty() || rest.starts_with(' ') || !unit.is_ascii() && rest != "元";
    ends.then(|| (Expr::Product(vec![value.clone(), Expr::integer(factor)]), rest.trim_start()))
}

/// Returns degrees as a unit.
fn degrees<'a>(expr: &'a Expr, unit: &'a str) -> (&'a Expr, &'a str) {
    match expr {
        Expr::Degrees(inner) if unit.is_empty() => (inner, "^\\circ"),
        _ => (expr, unit),
    }
}

/// Compares a value with a unit or words to one without. The bare value has the same unit, the
/// problem's unit, or (for an angle) radians.
fn named_and_bare((named, unit): (&Expr, &str), bare: &Expr, spec: &PartSpec<'_>) -> Comparison {
    let unit = Unit::parse(unit);
    if unit.is_some() && matches!(bare, Expr::Percent(_)) {
        return Comparison::different("a percentage and a quantity");
    }
    let comparison = values(named, bare, spec);
    let Some(unit) = unit.filter(|_| comparison.outcome != Outcome::Equal) else { return comparison };
    let given = match spec.unit() {
        Some(name) => Unit::parse(name),
        None if unit.dimension[7] == 1 => Unit::parse("rad"),
        None => None,
    };
    match given {
        Some(given) if given.dimension == unit.dimension && given != unit => {
            let as_given = values(&converted(named, &unit), &converted(bare, &given), spec);
            if as_given.outcome == Outcome::Equal { as_given } else { comparison }
        }
        _ => comparison,
    }
}

/// Converts a value to the base unit of its dimension.
fn converted(value: &Expr, unit: &Unit) -> Expr {
    let mut factors = vec![value.clone()];
    for (literal, power) in &unit.factor {
        let Some(number) = Number::parse(literal) else { continue };
        let size = Expr::integer(u64::from(power.unsigned_abs()));
        let exponent = if *power < 0 { size.negated() } else { size };
        factors.push(Expr::Power(Box::new(Expr::Number(number)), Box::new(exponent)));
    }
    Expr::Product(factors)
}

/// Returns whether the words after two values name the same thing.
fn same_words(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().trim_end_matches('s').to_owned();
    let (a, b) = (plain(a), plain(b));
    // An unnamed unit may be squared in words or in digits.
    let unnamed = |text: &str| text.contains("unit");
    a == b || a.contains(&b) || b.contains(&a) || unnamed(&a) && unnamed(&b)
}

/// Compares two values without units; a percentage may mean itself or its hundredth.
fn values(a: &Expr, b: &Expr, spec: &PartSpec<'_>) -> Comparison {
    match (a, b) {
        (Expr::Percent(a), Expr::Percent(b)) => exprs(a, b, spec),
        (Expr::Percent(inner), other) | (other, Expr::Percent(inner)) => {
            let as_written = exprs(a, b, spec);
            if as_written.outcome == Outcome::Equal { as_written } else { exprs(inner, other, spec) }
        }
        _ => exprs(a, b, spec),
    }
}

/// Returns whether an expression contains an unevaluated sum, product, integral or limit.
fn is_open(expr: &Expr) -> bool {
    const BIG: [&str; 6] = ["sum", "prod", "int", "iint", "oint", "lim"];
    expr.any(&|part| matches!(part, Expr::Opaque(name, _) if BIG.iter().any(|big| name.starts_with(big))))
}

/// Returns whether two expressions are the same function when case and vector arrows are ignored.
fn equal_ignoring_spelling(a: &Expr, b: &Expr) -> bool {
    let plain = |expr: &Expr| {
        expr.replaced(&|part| match part {
            Expr::Symbol(name) => Some(Expr::Symbol(name.strip_prefix("\\vec ").unwrap_or(name).to_lowercase())),
            _ => None,
        })
    };
    let (first, second) = (plain(a), plain(b));
    let distinct = |expr: &Expr, plain: &Expr| expr.symbols().len() == plain.symbols().len();
    distinct(a, &first) && distinct(b, &second) && equality(&first, &second, Tolerance::Exact) == Equality::Equal
}

fn exprs(a: &Expr, b: &Expr, spec: &PartSpec<'_>) -> Comparison {
    let (a, b) = (expand_matrices(a), expand_matrices(b));
    match (&*a, &*b) {
        (Expr::Matrix(first), Expr::Matrix(second)) => {
            if first.len() != second.len() || first[0].len() != second[0].len() {
                return Comparison::different("matrices of different sizes");
            }
            let cells = first.iter().flatten().zip(second.iter().flatten());
            let mut unknown = false;
            for (first, second) in cells {
                match equality(first, second, spec.tolerance()) {
                    Equality::Equal => {}
                    Equality::Different => return Comparison::different("different matrices"),
                    Equality::Unknown => unknown = true,
                }
            }
            if unknown {
                Comparison::undecided("cells that cannot be evaluated")
            } else {
                Comparison::equal("the same matrix")
            }
        }
        (Expr::Matrix(_), _) | (_, Expr::Matrix(_)) => Comparison::different("a matrix and another kind of answer"),
        _ => match equality(&a, &b, spec.tolerance()) {
            Equality::Different if is_open(&a) != is_open(&b) => {
                Comparison::undecided("an unevaluated sum, integral or limit")
            }
            Equality::Different if !a.is_constant() && equal_ignoring_spelling(&a, &b) => {
                Comparison::undecided("equal except for case or vector arrows")
            }
            Equality::Equal => Comparison::equal(if a.is_constant() { "the same number" } else { "the same function" }),
            Equality::Different if a.is_constant() && b.is_constant() => Comparison::different("different numbers"),
            Equality::Different => Comparison::different("different functions"),
            Equality::Unknown => Comparison::undecided("values that cannot be evaluated or distinguished"),
        },
    }
}
