//! Reads tokens as an expression, by recursive descent.

use std::borrow::Cow;

use super::error::Unreadable;
use super::functions::{ends_expression, function, function_prefix};
use super::lex::Token;
use crate::answer::math::{Constant, Expr, Function, Number};

/// Maximum nesting depth.
const MAX_DEPTH: usize = 40;

/// Reads expressions from tokens.
pub struct Parser<'a> {
    pub(super) list: Cow<'a, [Token]>,
    pub(super) space_before: Cow<'a, [bool]>,
    pub(super) at: usize,
    depth: usize,
    bars: usize,
    /// Returns whether tokens, given whether a space precedes each, are a unit.
    is_unit: &'a dyn Fn(&[Token], &[bool]) -> bool,
}

pub(super) type Read = Result<Expr, Unreadable>;

impl<'a> Parser<'a> {
    pub fn new(list: &'a [Token], space_before: &'a [bool], is_unit: &'a dyn Fn(&[Token], &[bool]) -> bool) -> Self {
        Self { list: Cow::Borrowed(list), space_before: Cow::Borrowed(space_before), at: 0, depth: 0, bars: 0, is_unit }
    }

    /// Returns the unread tokens.
    pub fn rest(&self) -> &[Token] {
        &self.list[self.at..]
    }

    /// Returns whether the unread tokens are a unit, perhaps followed by a smaller one: `1 h 30
    /// min`.
    fn at_unit(&self) -> bool {
        let (rest, space_before) = (self.rest(), &self.space_before[self.at..]);
        let next = rest.iter().zip(space_before).position(|(token, space)| *space && matches!(token, Token::Number(_)));
        (self.is_unit)(rest, space_before)
            || next.is_some_and(|next| (self.is_unit)(&rest[..next], &space_before[..next]))
    }

    /// Reads the longest sum.
    pub fn sum(&mut self) -> Read {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unreadable::TooLarge);
        }
        let mut terms = vec![self.product()?];
        loop {
            let term = match self.peek() {
                Some(Token::Sign('+')) => self.take().product()?,
                Some(Token::Sign('-')) => self.take().product()?.negated(),
                Some(Token::Command(name)) if name == "pm" || name == "mp" => {
                    let minus_first = name == "mp";
                    Expr::PlusMinus(minus_first, Box::new(self.take().product()?))
                }
                _ => break,
            };
            terms.push(term);
        }
        let sum = if terms.len() == 1 { terms.remove(0) } else { Expr::Sum(terms) };
        // TeX's `\over` and `\choose` are infix operators.
        let joined = match self.peek() {
            Some(Token::Command(name)) if name == "over" => sum.over(self.take().sum()?),
            Some(Token::Command(name)) if name == "choose" => {
                Expr::Call(Function::Binomial, vec![sum, self.take().sum()?])
            }
            _ => sum,
        };
        self.depth -= 1;
        Ok(joined)
    }

    pub(super) fn product(&mut self) -> Read {
        let mut product = self.factor()?;
        loop {
            match self.peek() {
                Some(Token::Sign('*')) => {
                    let factor = self.take().factor()?;
                    product = multiplied(product, factor);
                }
                Some(Token::Sign('/')) => {
                    if self.depth == 1 && product.is_constant() && self.at_unit() {
                        break;
                    }
                    let divisor = self.take().divisor()?;
                    product = product.over(divisor);
                }
                Some(Token::Word(word)) if word.eq_ignore_ascii_case("x") && self.between_numbers() => {
                    let factor = self.take().factor()?;
                    product = multiplied(product, factor);
                }
                _ if self.starts_factor() && !self.at_tail(&product) => {
                    let factor = self.factor()?;
                    product = multiplied(product, factor);
                }
                _ => break,
            }
        }
        Ok(product)
    }

    /// Reads the operand of a slash; the capital letters of a segment belong together: `AB/CD`.
    fn divisor(&mut self) -> Read {
        let letters = match self.peek() {
            Some(Token::Word(word)) if word.bytes().all(|letter| letter.is_ascii_uppercase()) => word.len(),
            _ => 1,
        };
        let mut divisor = self.factor()?;
        for _ in 1..letters {
            let factor = self.factor()?;
            divisor = multiplied(divisor, factor);
        }
        Ok(divisor)
    }

    /// Returns whether the next letter is between two numbers, with spaces: `4 x 8` is a product.
    fn between_numbers(&self) -> bool {
        let number = |token: Option<&Token>| matches!(token, Some(Token::Number(_)));
        self.at > 0
            && number(self.list.get(self.at - 1))
            && number(self.list.get(self.at + 1))
            && self.space_before[self.at]
            && self.space_before[self.at + 1]
    }

    /// Returns whether a unit or other words follow a value at the top level, rather than a factor.
    fn at_tail(&self, product: &Expr) -> bool {
        if self.depth > 1 {
            return false;
        }
        match self.peek() {
            // One Latin letter may be a variable; one character of another script is a measure
            // word.
            Some(Token::Text(text)) if text.trim().chars().count() > 1 || !text.is_ascii() => true,
            Some(Token::Open('{')) => match &self.list[self.at + 1..] {
                [Token::Word(word), ..] => word.len() > 3 && unknown(word),
                [Token::Text(text), ..] => text.trim().chars().count() > 1,
                _ => false,
            },
            Some(Token::Word(word)) if word.len() > 3 && unknown(word) || word == "pct" => true,
            Some(Token::Word(word)) if !product.is_constant() => {
                word.len() > 1 && self.space_before[self.at] && self.at_unit()
            }
            Some(Token::Text(_) | Token::Word(_) | Token::Command(_)) => product.is_constant() && self.at_unit(),
            _ => false,
        }
    }

    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            // A number is not a factor after another number, nor after letters and a space.
            Some(Token::Number(_)) => match self.at.checked_sub(1).and_then(|before| self.list.get(before)) {
                Some(Token::Number(_)) => false,
                Some(Token::Word(_)) => !self.space_before[self.at],
                _ => true,
            },
            Some(Token::Word(_) | Token::Open('(' | '{')) => true,
            Some(Token::Command(name)) => !ends_expression(name) && name != "pm" && name != "mp",
            Some(Token::Text(text)) => text.trim().chars().count() <= 1,
            Some(Token::Sign('|')) => self.bars == 0,
            _ => false,
        }
    }

    pub(super) fn factor(&mut self) -> Read {
        // A run of signs recurses and counts as nesting.
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unreadable::TooLarge);
        }
        let result = match self.peek() {
            Some(Token::Sign('-')) => self.take().factor().map(Expr::negated),
            Some(Token::Sign('+')) => self.take().factor(),
            Some(Token::Command(name)) if name == "pm" || name == "mp" => {
                let minus_first = name == "mp";
                self.take().factor().map(|inner| Expr::PlusMinus(minus_first, Box::new(inner)))
            }
            _ => {
                self.depth -= 1;
                let primary = self.primary()?;
                let result = self.postfix(primary);
                self.depth += 1;
                result
            }
        };
        self.depth -= 1;
        result
    }

    pub(super) fn postfix(&mut self, mut base: Expr) -> Read {
        loop {
            match self.peek() {
                Some(Token::Sign('!')) => {
                    self.take();
                    base = Expr::Call(Function::Factorial, vec![base]);
                }
                Some(Token::Sign('%')) => {
                    self.take();
                    base = Expr::Percent(Box::new(base));
                }
                Some(Token::Sign('^')) => {
                    let start = self.at;
                    self.take();
                    if self.take_circle() {
                        if matches!(self.peek(), Some(Token::Word(word)) if ["C", "F", "K"].contains(&word.as_str())) {
                            self.at = start;
                            return Ok(base);
                        }
                        base = Expr::Degrees(Box::new(self.minutes(base)));
                        continue;
                    }
                    let exponent = self.exponent()?;
                    base = Expr::Power(Box::new(base), Box::new(exponent));
                }
                _ => return Ok(base),
            }
        }
    }

    /// Reads `\circ` or `{\circ}` after a caret.
    fn take_circle(&mut self) -> bool {
        let circle = |token: Option<&Token>| matches!(token, Some(Token::Command(name)) if name == "circ");
        if circle(self.peek()) {
            self.take();
            return true;
        }
        let grouped = self.peek() == Some(&Token::Open('{'))
            && circle(self.list.get(self.at + 1))
            && self.list.get(self.at + 2) == Some(&Token::Close('}'));
        if grouped {
            self.at += 3;
        }
        grouped
    }

    /// Reads minutes and seconds of arc after degrees: 30°15′36″.
    fn minutes(&mut self, degrees: Expr) -> Expr {
        let mut terms = vec![degrees];
        for (mark, part) in [('\'', 60), ('"', 3600)] {
            let after = self.list.get(self.at + 1);
            // The last mark may have been dropped as a closing quotation mark.
            let marked = after == Some(&Token::Sign(mark)) || after.is_none() && terms.len() == 2;
            if let Some(Token::Number(number)) = self.peek()
                && marked
                && let Some(number) = Number::parse(number)
            {
                self.at = (self.at + 2).min(self.list.len());
                terms.push(Expr::Number(number).over(Expr::integer(part)));
            }
        }
        if terms.len() == 1 { terms.remove(0) } else { Expr::Sum(terms) }
    }

    /// Reads the operand of a caret: a group, or one number, symbol or bracket with its sign.
    pub(super) fn exponent(&mut self) -> Read {
        match self.peek() {
            Some(Token::Open('{')) => self.bracketed('}'),
            Some(Token::Sign('-')) => Ok(self.take().exponent()?.negated()),
            Some(Token::Sign('+')) => self.take().exponent(),
            Some(Token::Word(word)) if word.len() > 1 => {
                self.split_word(1);
                self.primary()
            }
            _ => {
                let primary = self.primary()?;
                // 2^3^4 means 2^(3^4), and 2^n! means 2^(n!).
                if self.peek() == Some(&Token::Sign('^')) { self.postfix(primary) } else { Ok(primary) }
            }
        }
    }

    pub(super) fn primary(&mut self) -> Read {
        let Some(token) = self.peek().cloned() else { return Err(Unreadable::Grammar) };
        match token {
            Token::Number(text) => {
                self.take();
                self.number(&text)
            }
            Token::Word(word) => self.word(&word),
            Token::Text(text) => {
                self.take();
                let name = text.trim();
                match name {
                    "e" => Ok(Expr::Constant(Constant::E)),
                    "i" => Ok(Expr::Constant(Constant::ImaginaryUnit)),
                    _ if function(name).is_some() => self.function_call(function(name).ok_or(Unreadable::Grammar)?),
                    _ if name.chars().count() == 1 && name.chars().all(char::is_alphabetic) => {
                        self.symbol(name.to_owned())
                    }
                    _ => Err(Unreadable::Grammar),
                }
            }
            Token::Command(name) => {
                self.take();
                self.command(&name)
            }
            Token::Open('(') => self.bracketed(')'),
            Token::Open('[') => self.bracketed(']'),
            Token::Open('{') => self.bracketed('}'),
            Token::Sign('|') => {
                self.take();
                self.bars += 1;
                let inside = self.sum()?;
                self.bars -= 1;
                self.expect(&Token::Sign('|'))?;
                Ok(Expr::Call(Function::Abs, vec![inside]))
            }
            _ => Err(Unreadable::Grammar),
        }
    }

    /// Reads a sum between the next bracket and `close`.
    pub(super) fn bracketed(&mut self, close: char) -> Read {
        self.take();
        let bars = std::mem::take(&mut self.bars);
        let inside = self.sum()?;
        self.bars = bars;
        self.expect(&Token::Close(close))?;
        Ok(inside)
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.list.get(self.at)
    }

    pub(super) fn take(&mut self) -> &mut Self {
        self.at += 1;
        self
    }

    /// Consumes `token`. A truncated text may lack its closing brackets.
    pub(super) fn expect(&mut self, token: &Token) -> Result<(), Unreadable> {
        if self.peek().is_none() && matches!(token, Token::Close('}' | ')')) {
            return Ok(());
        }
        if self.peek() == Some(token) {
            self.take();
            return Ok(());
        }
        Err(Unreadable::Grammar)
    }

    /// Splits the next word after `length` letters.
    pub(super) fn split_word(&mut self, length: usize) {
        if let Some(Token::Word(word)) = self.list.get(self.at) {
            let (first, second) = (Token::Word(word[..length].to_owned()), Token::Word(word[length..].to_owned()));
            let list = self.list.to_mut();
            list[self.at] = second;
            list.insert(self.at, first);
            self.space_before.to_mut().insert(self.at + 1, false);
        }
    }
}

fn multiplied(product: Expr, factor: Expr) -> Expr {
    match product {
        Expr::Product(mut factors) => {
            factors.push(factor);
            Expr::Product(factors)
        }
        other => Expr::Product(vec![other, factor]),
    }
}

/// Returns whether a word is neither a function nor letters that name variables or points.
pub(super) fn unknown(word: &str) -> bool {
    let capitals = word.bytes().all(|byte| byte.is_ascii_uppercase());
    function(word).is_none()
        && function_prefix(word).is_none()
        && !capitals
        && !["sqrt", "infty", "infinity"].contains(&word)
}
