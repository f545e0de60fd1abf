//! Reads LaTeX commands and function calls inside expressions.

use super::error::Unreadable;
use super::expression::{Parser, Read};
use super::functions::{function, inverse_function, is_accent};
use super::lex::Token;
use crate::answer::math::{Constant, Expr, Function};

/// Maximum number of matrix cells.
const MAX_CELLS: usize = 144;

impl Parser<'_> {
    /// Reads what a command means; its name has been consumed.
    pub(super) fn command(&mut self, name: &str) -> Read {
        if let Some(known) = function(name) {
            return self.function_call(known);
        }
        match name {
            "frac" => {
                let top = self.argument()?;
                Ok(top.over(self.argument()?))
            }
            "sqrt" => self.root(),
            "binom" => Ok(Expr::Call(Function::Binomial, vec![self.argument()?, self.argument()?])),
            "pi" => Ok(Expr::Constant(Constant::Pi)),
            "infty" => Ok(Expr::Constant(Constant::Infinity)),
            "lfloor" => self.between("rfloor", Function::Floor),
            "lceil" => self.between("rceil", Function::Ceil),
            "begin" => self.matrix(),
            "sum" | "prod" | "int" | "iint" | "oint" | "lim" => self.large_operator(name),
            "operatorname" | "mathrm" | "text" => Err(Unreadable::Grammar),
            _ if is_accent(name) => self.accented(name),
            _ => self.symbol(format!("\\{name}")),
        }
    }

    /// Reads the argument of a command: a group, or one digit, letter or command.
    pub(super) fn argument(&mut self) -> Read {
        match self.peek().cloned() {
            Some(Token::Open('{')) => self.bracketed('}'),
            Some(Token::Open('(')) => self.bracketed(')'),
            Some(Token::Number(digits)) if digits.len() > 1 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.list.to_mut()[self.at] = Token::Number(digits[1..].to_owned());
                Ok(Expr::integer(u64::from(digits.as_bytes()[0] - b'0')))
            }
            Some(Token::Word(word))
                if word.len() > 1 && function(&word).is_none() && word != "pi" && word != "sqrt" =>
            {
                self.split_word(1);
                self.primary()
            }
            _ => self.primary(),
        }
    }

    fn root(&mut self) -> Read {
        let mut degree = 2;
        if self.peek() == Some(&Token::Open('[')) {
            degree = match self.list.get(self.at + 1..self.at + 3) {
                Some([Token::Number(degree), Token::Close(']')]) => degree.parse().map_err(|_| Unreadable::Grammar)?,
                _ => return Err(Unreadable::Grammar),
            };
            self.at += 3;
        }
        if !(2..=64).contains(&degree) {
            return Err(Unreadable::Grammar);
        }
        // `\sqrt10` means the root of ten to its writer, although LaTeX sets the root of one.
        let radicand = if matches!(self.peek(), Some(Token::Number(_))) { self.primary()? } else { self.argument()? };
        Ok(Expr::Root(Box::new(radicand), degree))
    }

    fn between(&mut self, close: &str, function: Function) -> Read {
        let inside = self.sum()?;
        self.expect(&Token::Command(close.to_owned()))?;
        Ok(Expr::Call(function, vec![inside]))
    }

    /// Reads an accent over letters or a number as one name: a vector, an angle.
    fn accented(&mut self, name: &str) -> Read {
        let letters = match self.peek().cloned() {
            Some(Token::Open('{')) => self.script()?,
            Some(Token::Word(word) | Token::Number(word)) => {
                self.take();
                word
            }
            Some(Token::Command(inner)) => {
                self.take();
                inner
            }
            _ => String::new(),
        };
        let capitals = letters.bytes().all(|letter| letter.is_ascii_uppercase());
        match (name, letters.len()) {
            // A segment equals the product of its end points, with or without a bar.
            ("overline", 2) if capitals => {
                Ok(Expr::Product(letters.chars().map(|letter| Expr::Symbol(letter.into())).collect()))
            }
            // The ends of an angle and the corners of a triangle have no order.
            ("angle" | "measuredangle", 3) if capitals => {
                let reversed: String = letters.chars().rev().collect();
                self.symbol(format!("\\angle {}", letters.min(reversed)))
            }
            ("triangle", 3) if capitals => {
                let mut corners: Vec<char> = letters.chars().collect();
                corners.sort_unstable();
                self.symbol(format!("\\triangle {}", String::from_iter(corners)))
            }
            _ => self.symbol(format!("\\{name} {letters}")),
        }
    }

    /// Reads the call of a known function; its name has been consumed.
    pub(super) fn function_call(&mut self, function: Function) -> Read {
        let mut function = function;
        let mut base = None;
        let mut exponent = None;
        loop {
            match self.peek() {
                Some(Token::Sign('_')) if function == Function::Log => {
                    self.take();
                    base = Some(self.argument()?);
                }
                Some(Token::Sign('^')) if exponent.is_none() => {
                    self.take();
                    exponent = Some(self.exponent()?);
                }
                _ => break,
            }
        }
        let one = Expr::integer(1);
        if let (Some(Expr::Negative(inner)), Some(undo)) = (&exponent, inverse_function(function))
            && **inner == one
        {
            function = undo;
            exponent = None;
        }
        let mut arguments = match self.peek() {
            Some(Token::Open('(')) => self.arguments()?,
            Some(Token::Open('<')) if matches!(function, Function::Max | Function::Min) => self.arguments()?,
            Some(Token::Open('{')) => vec![self.bracketed('}')?],
            Some(Token::Open('[')) => vec![self.bracketed(']')?],
            _ => vec![self.bare_argument()?],
        };
        let count = arguments.len();
        if function == Function::Log {
            arguments.insert(0, base.unwrap_or_else(|| Expr::integer(10)));
        } else if function == Function::Exp {
            return Ok(Expr::Power(Box::new(Expr::Constant(Constant::E)), Box::new(arguments.remove(0))));
        }
        if count != 1 && !matches!(function, Function::Max | Function::Min) {
            return Err(Unreadable::Grammar);
        }
        let call = Expr::Call(function, arguments);
        Ok(match exponent {
            Some(exponent) => Expr::Power(Box::new(call), Box::new(exponent)),
            None => call,
        })
    }

    /// Reads the argument of a function without brackets: the factors up to a sign or the next
    /// function.
    fn bare_argument(&mut self) -> Read {
        if self.peek() == Some(&Token::Sign('-')) {
            return Ok(self.take().bare_argument()?.negated());
        }
        let mut factors = Vec::new();
        loop {
            let primary = self.primary()?;
            factors.push(self.postfix(primary)?);
            let next_is_function = match self.peek() {
                Some(Token::Word(word)) => function(word).is_some() || word.len() > 2,
                Some(Token::Command(name)) => function(name).is_some() || name == "frac" || name == "sqrt",
                Some(Token::Open(_) | Token::Sign('|')) => true,
                _ => false,
            };
            if next_is_function || !self.starts_factor() {
                break;
            }
        }
        Ok(if factors.len() == 1 { factors.remove(0) } else { Expr::Product(factors) })
    }

    /// Reads arguments in brackets, separated by commas.
    pub(super) fn arguments(&mut self) -> Result<Vec<Expr>, Unreadable> {
        let close = if self.peek() == Some(&Token::Open('<')) { '>' } else { ')' };
        self.take();
        let mut arguments = vec![self.sum()?];
        while self.peek() == Some(&Token::Sign(',')) {
            arguments.push(self.take().sum()?);
        }
        self.expect(&Token::Close(close))?;
        Ok(arguments)
    }

    /// Reads a sum, product, integral or limit. None is evaluated; two are equal if their parts
    /// are.
    fn large_operator(&mut self, name: &str) -> Read {
        let mut label = name.to_owned();
        let mut arguments = Vec::new();
        let mut bound = None;
        while let Some(Token::Sign(sign @ ('_' | '^'))) = self.peek().cloned() {
            self.take();
            if self.peek() != Some(&Token::Open('{')) {
                label.push(sign);
                arguments.push(self.argument()?);
                continue;
            }
            let indexed = sign == '_' && matches!(self.list.get(self.at + 2), Some(Token::Compare('=')));
            if let (Some(Token::Word(index)), true) = (self.list.get(self.at + 1).cloned(), indexed) {
                self.at += 3;
                bound = Some(index);
                arguments.push(self.sum()?);
                self.expect(&Token::Close('}'))?;
            } else {
                label.push(sign);
                label.push_str(&self.script()?);
            }
        }
        let body = self.product()?;
        arguments.push(match bound {
            Some(index) => body.replaced(&|part| {
                let is_index = match part {
                    Expr::Symbol(name) => *name == index,
                    Expr::Constant(Constant::ImaginaryUnit) => index == "i",
                    _ => false,
                };
                is_index.then(|| Expr::Symbol("\\bound".to_owned()))
            }),
            None => body,
        });
        Ok(Expr::Opaque(label, arguments))
    }

    fn matrix(&mut self) -> Read {
        let kind = self.environment()?;
        if !kind.ends_with("matrix") && kind != "array" {
            return Err(Unreadable::Grammar);
        }
        if kind == "array" && self.peek() == Some(&Token::Open('{')) {
            self.script()?;
        }
        let mut rows = vec![Vec::new()];
        let mut cells = 0;
        loop {
            match self.peek() {
                Some(Token::Row) => {
                    self.take();
                    rows.push(Vec::new());
                }
                Some(Token::Sign('&')) => {
                    self.take();
                }
                Some(Token::Command(name)) if name == "end" => {
                    self.take();
                    self.environment()?;
                    break;
                }
                Some(Token::Command(name)) if name == "hline" => {
                    self.take();
                }
                Some(_) => {
                    let cell = self.sum()?;
                    rows.last_mut().ok_or(Unreadable::Grammar)?.push(cell);
                    cells += 1;
                }
                None => return Err(Unreadable::Grammar),
            }
            if cells > MAX_CELLS {
                return Err(Unreadable::TooLarge);
            }
        }
        rows.retain(|row| !row.is_empty());
        let even = rows.first().is_some_and(|first| rows.iter().all(|row| row.len() == first.len()));
        let matrix = Expr::Matrix(rows);
        match even {
            true if kind == "vmatrix" => Ok(Expr::Opaque("det".into(), vec![matrix])),
            true => Ok(matrix),
            false => Err(Unreadable::Grammar),
        }
    }

    /// Reads the name of an environment in braces.
    fn environment(&mut self) -> Result<String, Unreadable> {
        if self.peek() != Some(&Token::Open('{')) {
            return Err(Unreadable::Grammar);
        }
        self.script()
    }
}
