//! Evaluates sums and products of matrices cell by cell.

use std::borrow::Cow;

use super::expr::Expr;

/// Maximum number of matrices in one expression; each factor doubles the size of the cells.
const MAX_MATRICES: usize = 5;

/// Evaluates the matrix operations in `expr` to one matrix of expressions. Returns `expr` unchanged
/// if it has no matrix or more than [`MAX_MATRICES`].
pub fn expand_matrices(expr: &Expr) -> Cow<'_, Expr> {
    if !expr.any(&|part| matches!(part, Expr::Matrix(_))) || matrices(expr) > MAX_MATRICES {
        return Cow::Borrowed(expr);
    }
    Cow::Owned(expand(expr))
}

fn matrices(expr: &Expr) -> usize {
    usize::from(matches!(expr, Expr::Matrix(_))) + expr.children().into_iter().map(matrices).sum::<usize>()
}

fn expand(expr: &Expr) -> Expr {
    match expr {
        Expr::Negative(a) => map_cells(expand(a), &Expr::negated),
        Expr::Sum(terms) => terms.iter().map(expand).reduce(add).unwrap_or_else(|| expr.clone()),
        Expr::Product(factors) => factors.iter().map(expand).reduce(multiply).unwrap_or_else(|| expr.clone()),
        Expr::Quotient(a, b) => map_cells(expand(a), &|cell| cell.over((**b).clone())),
        other => other.clone(),
    }
}

fn map_cells(expr: Expr, change: &impl Fn(Expr) -> Expr) -> Expr {
    match expr {
        Expr::Matrix(rows) => Expr::Matrix(rows.into_iter().map(|row| row.into_iter().map(change).collect()).collect()),
        other => change(other),
    }
}

fn add(a: Expr, b: Expr) -> Expr {
    match (a, b) {
        (Expr::Matrix(a), Expr::Matrix(b)) if a.len() == b.len() && a[0].len() == b[0].len() => {
            let row =
                |(a, b): (Vec<Expr>, Vec<Expr>)| a.into_iter().zip(b).map(|(a, b)| Expr::Sum(vec![a, b])).collect();
            Expr::Matrix(a.into_iter().zip(b).map(row).collect())
        }
        (a, b) => Expr::Sum(vec![a, b]),
    }
}

fn multiply(a: Expr, b: Expr) -> Expr {
    match (a, b) {
        (Expr::Matrix(a), Expr::Matrix(b)) if a[0].len() == b.len() => {
            let cell = |row: &[Expr], column: usize| {
                Expr::Sum(
                    row.iter()
                        .zip(&b)
                        .map(|(x, other)| Expr::Product(vec![x.clone(), other[column].clone()]))
                        .collect(),
                )
            };
            Expr::Matrix(a.iter().map(|row| (0..b[0].len()).map(|column| cell(row, column)).collect()).collect())
        }
        (scalar, matrix @ Expr::Matrix(_)) | (matrix @ Expr::Matrix(_), scalar) => {
            map_cells(matrix, &|cell| Expr::Product(vec![scalar.clone(), cell]))
        }
        (a, b) => Expr::Product(vec![a, b]),
    }
}
