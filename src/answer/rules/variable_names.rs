//! Decides whether the names of two values may mean the same thing.

use crate::answer::math::Expr;

/// Whether two names mean the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// They do, or one is general enough to: `y` and `f(x)`, `∠ABC` and `∠CBA`, `S` and `S_1`.
    Same,
    /// They are different variables.
    Other,
    /// Undecidable without the problem: `AB` and `BC`, `S` and `A`.
    Unclear,
}

/// Compares two names.
pub fn naming(a: &Expr, b: &Expr) -> Naming {
    let indexed = |expr: &Expr| matches!(expr, Expr::Symbol(name) if name.contains('_'));
    let variable =
        |expr: &Expr| matches!(expr, Expr::Symbol(name) if name.len() == 1 && name.as_bytes()[0].is_ascii_lowercase());
    match (a, b) {
        (Expr::Opaque(f, _), Expr::Opaque(g, _)) if f != g => Naming::Unclear,
        (Expr::Opaque(..), _) | (_, Expr::Opaque(..)) => Naming::Same,
        // A quotient has a direction.
        (Expr::Quotient(top, bottom), Expr::Quotient(other_top, other_bottom)) => {
            match (naming(top, other_top), naming(bottom, other_bottom)) {
                (Naming::Same, Naming::Same) => Naming::Same,
                _ => Naming::Unclear,
            }
        }
        (Expr::Quotient(..), _) | (_, Expr::Quotient(..)) => Naming::Unclear,
        _ if letters(a).eq_ignore_ascii_case(&letters(b)) => {
            if indexed(a) && indexed(b) && a != b {
                Naming::Unclear
            } else {
                Naming::Same
            }
        }
        _ if variable(a) && variable(b) => Naming::Other,
        _ => Naming::Unclear,
    }
}

/// Returns whether an expression is named after several points, or decorated as a name: `AB`, `∠A`.
pub fn names_points(expr: &Expr) -> bool {
    let marked = matches!(expr, Expr::Symbol(name) if name.contains(' '));
    expr.is_name() && !matches!(expr, Expr::Opaque(..)) && (marked || letters(expr).len() > 1)
}

/// Returns the sorted letters of a name without accents, indices and function arguments: A, B, C
/// for `∠ABC`, W for `W(n)`.
fn letters(name: &Expr) -> String {
    let small = |expr: &Expr| matches!(expr, Expr::Symbol(name) if name.starts_with(|c: char| c.is_ascii_lowercase()));
    let symbols = match name {
        Expr::Product(factors) if !small(&factors[0]) && factors[1..].iter().all(small) => factors[0].symbols(),
        other => other.symbols(),
    };
    let base = |symbol: &str| {
        let bare = symbol.rsplit_once(' ').map_or(symbol, |(_, letters)| letters);
        bare.split('_').next().unwrap_or_default().to_owned()
    };
    let mut letters: Vec<char> =
        symbols.into_iter().flat_map(|symbol| base(symbol).into_bytes()).map(char::from).collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared() {
        let symbol = |name: &str| Expr::Symbol(name.to_owned());
        let segment = |name: &str| Expr::Product(name.chars().map(|letter| Expr::Symbol(letter.into())).collect());
        let f = Expr::Opaque("f".into(), vec![symbol("x")]);
        assert_eq!(naming(&symbol("y"), &f), Naming::Same);
        assert_eq!(naming(&segment("AB"), &segment("BA")), Naming::Same);
        assert_eq!(naming(&symbol("S_1"), &symbol("S")), Naming::Same);
        assert_eq!(naming(&symbol("n"), &symbol("N")), Naming::Same);
        assert_eq!(naming(&segment("Wn"), &segment("Wx")), Naming::Same);
        assert_eq!(naming(&symbol("x"), &symbol("y")), Naming::Other);
        assert_eq!(naming(&segment("AB"), &segment("BC")), Naming::Unclear);
        assert_eq!(naming(&symbol("x_1"), &symbol("x_2")), Naming::Unclear);
        assert!(names_points(&segment("AB")) && names_points(&symbol("\\angle A")) && !names_points(&symbol("x")));
    }
}
