//! The expression tree.

use super::number::Number;

/// A mathematical expression as written; nothing is simplified.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Number(Number),
    Constant(Constant),
    /// A variable, with its index and primes: `x`, `a_n`, `ω'`.
    Symbol(String),
    Negative(Box<Expr>),
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Quotient(Box<Expr>, Box<Expr>),
    Power(Box<Expr>, Box<Expr>),
    /// Radicand and degree.
    Root(Box<Expr>, u32),
    Call(Function, Vec<Expr>),
    /// An unknown function, or a sum or integral that is not evaluated; two are equal if name and
    /// arguments are.
    Opaque(String, Vec<Expr>),
    /// Plus or minus; `true` if the upper sign is minus.
    PlusMinus(bool, Box<Expr>),
    Percent(Box<Expr>),
    Degrees(Box<Expr>),
    Matrix(Vec<Vec<Expr>>),
}

/// Named numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constant {
    Pi,
    E,
    ImaginaryUnit,
    Infinity,
}

/// Functions with known values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    /// Base and argument.
    Log,
    Exp,
    Abs,
    Floor,
    Ceil,
    Factorial,
    /// The binomial coefficient, n over k.
    Binomial,
    Max,
    Min,
}

impl Expr {
    pub fn integer(value: u64) -> Self {
        Self::Number(Number::integer(value))
    }

    pub fn negated(self) -> Self {
        Self::Negative(Box::new(self))
    }

    pub fn over(self, divisor: Self) -> Self {
        Self::Quotient(Box::new(self), Box::new(divisor))
    }

    pub fn minus(self, other: Self) -> Self {
        Self::Sum(vec![self, other.negated()])
    }

    /// Returns the direct children.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::Constant(_) | Self::Symbol(_) => Vec::new(),
            Self::Negative(a) | Self::Root(a, _) | Self::PlusMinus(_, a) | Self::Percent(a) | Self::Degrees(a) => {
                vec![a]
            }
            Self::Quotient(a, b) | Self::Power(a, b) => vec![a, b],
            Self::Sum(all) | Self::Product(all) | Self::Call(_, all) | Self::Opaque(_, all) => all.iter().collect(),
            Self::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// Returns whether `test` holds for this expression or any below it.
    pub fn any(&self, test: &impl Fn(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::Number(_) | Self::Constant(_) | Self::Symbol(_) => false,
                Self::Negative(a) | Self::Root(a, _) | Self::PlusMinus(_, a) | Self::Percent(a) | Self::Degrees(a) => {
                    a.any(test)
                }
                Self::Quotient(a, b) | Self::Power(a, b) => a.any(test) || b.any(test),
                Self::Sum(all) | Self::Product(all) | Self::Call(_, all) | Self::Opaque(_, all) => {
                    all.iter().any(|child| child.any(test))
                }
                Self::Matrix(rows) => rows.iter().flatten().any(|child| child.any(test)),
            }
    }

    /// Returns whether the expression contains no variable and no unknown function.
    pub fn is_constant(&self) -> bool {
        !self.any(&|expr| matches!(expr, Self::Symbol(_) | Self::Opaque(..)))
    }

    /// Returns the names of all variables, without repetition.
    pub fn symbols(&self) -> Vec<&str> {
        fn collect<'a>(expr: &'a Expr, found: &mut Vec<&'a str>) {
            match expr {
                Expr::Symbol(name) if !found.contains(&name.as_str()) => found.push(name),
                _ => expr.children().into_iter().for_each(|child| collect(child, found)),
            }
        }
        let mut found = Vec::new();
        collect(self, &mut found);
        found
    }

    /// Returns whether the expression only names something, so that `it = value` says no more than
    /// the value: `x`, `f(x)`, `AB`, `NO/BO`, `|AB|`, `V_1`.
    pub fn is_name(&self) -> bool {
        match self {
            Self::Symbol(_) | Self::Opaque(..) | Self::Constant(Constant::E | Constant::ImaginaryUnit) => true,
            Self::Quotient(a, b) => a.is_name() && b.is_name(),
            Self::Product(all) | Self::Call(Function::Abs, all) => all.iter().all(Self::is_name),
            _ => false,
        }
    }

    /// Replaces each part for which `change` returns an expression.
    pub fn replaced(&self, change: &impl Fn(&Self) -> Option<Self>) -> Self {
        if let Some(other) = change(self) {
            return other;
        }
        let one = |expr: &Self| Box::new(expr.replaced(change));
        let all = |exprs: &[Self]| exprs.iter().map(|expr| expr.replaced(change)).collect();
        match self {
            Self::Number(_) | Self::Constant(_) | Self::Symbol(_) => self.clone(),
            Self::PlusMinus(minus_first, a) => Self::PlusMinus(*minus_first, one(a)),
            Self::Negative(a) => Self::Negative(one(a)),
            Self::Root(a, degree) => Self::Root(one(a), *degree),
            Self::Percent(a) => Self::Percent(one(a)),
            Self::Degrees(a) => Self::Degrees(one(a)),
            Self::Quotient(a, b) => Self::Quotient(one(a), one(b)),
            Self::Power(a, b) => Self::Power(one(a), one(b)),
            Self::Sum(exprs) => Self::Sum(all(exprs)),
            Self::Product(exprs) => Self::Product(all(exprs)),
            Self::Call(function, exprs) => Self::Call(*function, all(exprs)),
            Self::Opaque(name, exprs) => Self::Opaque(name.clone(), all(exprs)),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|row| all(row)).collect()),
        }
    }

    /// Replaces each ± by its upper (`true`) or lower sign.
    pub fn with_sign(&self, upper: bool) -> Self {
        self.replaced(&|expr| match expr {
            Self::PlusMinus(minus_first, a) if *minus_first == upper => Some(a.with_sign(upper).negated()),
            Self::PlusMinus(_, a) => Some(a.with_sign(upper)),
            _ => None,
        })
    }

    /// Renames the variable `from` to `to`.
    pub fn renamed(&self, from: &str, to: &str) -> Self {
        self.replaced(&|expr| matches!(expr, Self::Symbol(name) if name == from).then(|| Self::Symbol(to.to_owned())))
    }

    /// Returns whether the expression contains a decimal fraction.
    pub fn has_decimal(&self) -> bool {
        self.any(&|expr| matches!(expr, Self::Number(number) if number.is_decimal()))
    }

    /// Returns whether the expression contains a ±.
    pub fn has_plus_minus(&self) -> bool {
        self.any(&|expr| matches!(expr, Self::PlusMinus(..)))
    }
}
