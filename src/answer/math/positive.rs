//! Finds the variables that an answer takes to be positive: those whose product or quotient is under
//! an even root, as in √(2h/g).

use super::evaluate::Point;
use super::expr::Expr;
use super::number::Number;

/// Returns both expressions with such variables marked as positive; `None` if there are none.
pub fn assumed(a: &Expr, b: &Expr) -> Option<(Expr, Expr)> {
    let mut names = Vec::new();
    collect(a, &mut names);
    collect(b, &mut names);
    if names.is_empty() {
        return None;
    }
    let mark = |expr: &Expr| {
        expr.replaced(&|part| match part {
            Expr::Symbol(name) if names.contains(name) => Some(Expr::Symbol(format!("{}{name}", Point::POSITIVE))),
            _ => None,
        })
    };
    Some((mark(a), mark(b)))
}

/// Collects the variables that are factors of a radicand, to an odd power, beside other such
/// factors.
fn collect(expr: &Expr, names: &mut Vec<String>) {
    let half = |exponent: &Expr| match exponent {
        Expr::Quotient(_, bottom) => matches!(&**bottom, Expr::Number(number) if number.float() % 2.0 == 0.0),
        Expr::Number(number) => (number.float() * 2.0).fract() == 0.0 && number.float().fract() != 0.0,
        _ => false,
    };
    let radicand = match expr {
        Expr::Root(radicand, degree) if degree % 2 == 0 => Some(radicand),
        Expr::Power(base, exponent) if half(exponent) => Some(base),
        _ => None,
    };
    if let Some(radicand) = radicand {
        let mut odd = Vec::new();
        if factors(radicand, &mut odd) && odd.len() > 1 {
            for (index, factor) in odd.iter().enumerate() {
                let Expr::Symbol(name) = factor else { continue };
                let others = odd.iter().enumerate().filter(|(other, _)| *other != index);
                if !others.into_iter().any(|(_, other)| other.any(&|part| part == *factor)) && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
    }
    expr.children().into_iter().for_each(|child| collect(child, names));
}

/// Collects the factors of odd power; returns `false` for a negative sign.
fn factors<'a>(expr: &'a Expr, odd: &mut Vec<&'a Expr>) -> bool {
    match expr {
        Expr::Negative(_) => false,
        Expr::Product(all) => all.iter().all(|factor| factors(factor, odd)),
        Expr::Quotient(top, bottom) => factors(top, odd) && factors(bottom, odd),
        Expr::Power(base, exponent) => match &**exponent {
            Expr::Number(number) if is_even(*number) => true,
            Expr::Number(number) if number.float().fract() == 0.0 => factors(base, odd),
            _ => false,
        },
        _ if expr.is_constant() => true,
        other => {
            // An even number of equal factors is a square.
            match odd.iter().position(|known| *known == other) {
                Some(place) => {
                    odd.swap_remove(place);
                }
                None => odd.push(other),
            }
            true
        }
    }
}

fn is_even(number: Number) -> bool {
    number.float() % 2.0 == 0.0
}
