//! Compares times of day.

use crate::answer::comparison::Comparison;
use crate::answer::grammar::{Clock, Shape};
use crate::answer::math::Expr;

/// Compares two shapes of which at least one is a time of day.
pub fn compare(gold: &Shape, prediction: &Shape) -> Comparison {
    match (time(gold), time(prediction)) {
        (Some(first), Some(second)) => times(first, second),
        _ if matches!((gold, prediction), (Shape::Time(_), Shape::Ratio(_)) | (Shape::Ratio(_), Shape::Time(_))) => {
            Comparison::different("a time and a ratio")
        }
        (None, None) => Comparison::different("different ratios"),
        _ => Comparison::undecided("a time and another kind of answer"),
    }
}

/// Returns the time that a shape is or may be.
fn time(shape: &Shape) -> Option<Clock> {
    match shape {
        Shape::Time(clock) => Some(*clock),
        Shape::Ratio(sides) => ratio(sides),
        _ => None,
    }
}

/// Reads a ratio as a time of day.
pub fn ratio(sides: &[Expr]) -> Option<Clock> {
    let whole = |expr: &Expr| match expr {
        Expr::Number(number) => {
            (number.float().fract() == 0.0 && number.float() < 100.0).then_some(number.float() as u32)
        }
        _ => None,
    };
    let minutes = |expr: &Expr| whole(expr).filter(|value| *value >= 10);
    match sides {
        [hour, minute] => Clock::new(whole(hour)?, minutes(minute)?, 0),
        [hour, minute, second] => Clock::new(whole(hour)?, minutes(minute)?, minutes(second)?),
        _ => None,
    }
}

/// Returns whether a ratio may be a time of day: the minutes have two digits.
pub fn may_be_time(sides: &[Expr]) -> bool {
    let within = |expr: &Expr, low: f64, high: f64| matches!(expr, Expr::Number(number) if (low..=high).contains(&number.float()));
    sides.len() == 2 && within(&sides[0], 0.0, 24.0) && sides[1..].iter().all(|part| within(part, 10.0, 60.0))
}

fn times(a: Clock, b: Clock) -> Comparison {
    let of_day = |clock: Clock| clock.hour % 24;
    if (a.minute, a.second) != (b.minute, b.second) || a.hour % 12 != b.hour % 12 {
        return Comparison::different("different times");
    }
    if of_day(a) == of_day(b) && a.half_is_known == b.half_is_known || a.hour == b.hour && !a.half_is_known {
        return if a.half_is_known == b.half_is_known {
            Comparison::equal("the same time")
        } else {
            Comparison::undecided("times of which one may be in the other half of the day")
        };
    }
    if a.half_is_known && b.half_is_known {
        return Comparison::different("times in different halves of the day");
    }
    Comparison::undecided("times of which one may be in the other half of the day")
}
