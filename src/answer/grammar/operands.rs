//! Reads numbers and names inside expressions.

use super::error::Unreadable;
use super::expression::{Parser, Read, unknown};
use super::functions::{function, function_prefix};
use super::lex::{Token, spell};
use crate::answer::math::{Constant, Expr, Function, Number};

impl Parser<'_> {
    pub(super) fn number(&mut self, text: &str) -> Read {
        if let Some(period) = self.period() {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            return Number::repeating(whole, fraction, &period).map(Expr::Number).ok_or(Unreadable::Grammar);
        }
        let number = Number::parse(text).map(Expr::Number).ok_or(Unreadable::TooLarge)?;
        if text.bytes().all(|byte| byte.is_ascii_digit())
            && let Some(fraction) = self.mixed()
        {
            return Ok(Expr::Sum(vec![number, fraction]));
        }
        Ok(number)
    }

    /// Reads the repeating digits under `\overline`, `\bar` or `\dot`.
    fn period(&mut self) -> Option<String> {
        let Token::Command(name) = self.peek()? else { return None };
        if !["overline", "bar", "dot"].contains(&name.as_str()) {
            return None;
        }
        match self.list.get(self.at + 1..self.at + 4)? {
            [Token::Open('{'), Token::Number(digits), Token::Close('}')]
                if digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                let digits = digits.clone();
                self.at += 4;
                Some(digits)
            }
            _ => None,
        }
    }

    /// Reads the proper fraction of a mixed number after its whole part: `\frac{1}{2}`, or `1/2`
    /// after a space.
    fn mixed(&mut self) -> Option<Expr> {
        let proper = |top: &str, bottom: &str| {
            let (top, bottom): (u64, u64) = (top.parse().ok()?, bottom.parse().ok()?);
            (top < bottom).then(|| Expr::integer(top).over(Expr::integer(bottom)))
        };
        let rest = self.rest();
        let (fraction, length) = match rest {
            [
                Token::Command(frac),
                Token::Open('{'),
                Token::Number(top),
                Token::Close('}'),
                Token::Open('{'),
                Token::Number(bottom),
                Token::Close('}'),
                ..,
            ] if frac == "frac" => (proper(top, bottom)?, 7),
            [Token::Command(frac), Token::Number(both), ..] if frac == "frac" && both.len() == 2 => {
                (proper(&both[..1], &both[1..])?, 2)
            }
            [Token::Number(top), Token::Sign('/'), Token::Number(bottom), ..] if self.space_before[self.at] => {
                (proper(top, bottom)?, 3)
            }
            _ => return None,
        };
        self.at += length;
        Some(fraction)
    }

    pub(super) fn word(&mut self, word: &str) -> Read {
        if let Some(known) = function(word) {
            return self.take().function_call(known);
        }
        match word {
            // Words of a sentence, which would otherwise be read as products of variables.
            "of" | "the" | "for" | "per" | "mod" | "is" | "are" => return Err(Unreadable::Grammar),
            "sqrt" => {
                self.take();
                return Ok(Expr::Root(Box::new(self.argument()?), 2));
            }
            "pi" => {
                self.take();
                return Ok(Expr::Constant(Constant::Pi));
            }
            "inf" | "infty" | "infinity" | "oo" => {
                self.take();
                return Ok(Expr::Constant(Constant::Infinity));
            }
            _ => {}
        }
        if let Some((known, length)) = function_prefix(word) {
            self.split_word(length);
            return self.take().function_call(known);
        }
        if word.len() > 3 && unknown(word) {
            return Err(Unreadable::Grammar);
        }
        if word.len() > 1 {
            self.split_word(1);
        }
        self.take();
        self.letter(&word[..1])
    }

    /// Reads one letter: a constant or a variable.
    fn letter(&mut self, letter: &str) -> Read {
        let marked = matches!(self.peek(), Some(Token::Sign('_' | '\'')));
        match letter {
            "e" if !marked => Ok(Expr::Constant(Constant::E)),
            "i" if !marked => Ok(Expr::Constant(Constant::ImaginaryUnit)),
            _ => self.symbol(letter.to_owned()),
        }
    }

    /// Reads a variable with its indices and primes, and the arguments of an unknown function.
    pub(super) fn symbol(&mut self, mut name: String) -> Read {
        loop {
            if let Some(length) = self.inverse_mark(&name) {
                self.at += length;
                name.push_str("^-1");
            }
            match self.peek() {
                Some(Token::Sign('_')) => {
                    self.take();
                    name.push('_');
                    name.push_str(&self.script()?);
                    if let Some(count) = self.selections(&name) {
                        return count;
                    }
                }
                Some(Token::Sign('\'')) => {
                    self.take();
                    name.push('\'');
                }
                Some(Token::Sign('^')) if self.raised_mark() => {
                    self.take();
                    name.push_str(&self.script()?);
                }
                _ => break,
            }
        }
        let applies = name.starts_with(['f', 'g', 'h', 'F', 'G', 'H']) && self.peek() == Some(&Token::Open('('));
        if applies { Ok(Expr::Opaque(name, self.arguments()?)) } else { Ok(Expr::Symbol(name)) }
    }

    /// Returns the length of a `^{-1}` between the name of a function and its argument.
    fn inverse_mark(&self, name: &str) -> Option<usize> {
        use Token::{Close, Number, Open, Sign};
        let (exponent, length) = match self.rest() {
            [Sign('^'), Open('{'), Sign('-'), Number(exponent), Close('}'), Open('('), ..] => (exponent, 5),
            [Sign('^'), Sign('-'), Number(exponent), Open('('), ..] => (exponent, 3),
            _ => return None,
        };
        (exponent == "1" && ["f", "g", "h"].contains(&name)).then_some(length)
    }

    /// Reads the number of combinations `C_n^k` or of arrangements `A_n^k`, after the name and its
    /// index n.
    fn selections(&mut self, name: &str) -> Option<Read> {
        let (of, whole) = name.split_once('_').filter(|(of, _)| ["C", "A", "P"].contains(of))?;
        let whole: u64 = whole.parse().ok()?;
        let digits = |token: &Token| if let Token::Number(text) = token { text.parse::<u64>().ok() } else { None };
        let (part, length) = match self.rest() {
            [Token::Sign('^'), Token::Open('{'), part, Token::Close('}'), ..] => (digits(part)?, 4),
            [Token::Sign('^'), part, ..] => (digits(part)?, 2),
            _ => return None,
        };
        let rest = whole.checked_sub(part)?;
        self.at += length;
        let factorial = |number| Expr::Call(Function::Factorial, vec![Expr::integer(number)]);
        Some(Ok(if of == "C" {
            Expr::Call(Function::Binomial, vec![Expr::integer(whole), Expr::integer(part)])
        } else {
            factorial(whole).over(factorial(rest))
        }))
    }

    /// Returns whether a caret raises a prime or a star, which belong to the name, rather than an
    /// exponent.
    fn raised_mark(&self) -> bool {
        let mark = |token: Option<&Token>| matches!(token, Some(Token::Sign('\'' | '*')));
        mark(self.list.get(self.at + 1))
            || self.list.get(self.at + 1) == Some(&Token::Open('{'))
                && mark(self.list.get(self.at + 2))
                && self.list.get(self.at + 3) == Some(&Token::Close('}'))
    }

    /// Reads the text of an index: a group or one token, without spaces and typefaces.
    pub(super) fn script(&mut self) -> Result<String, Unreadable> {
        if self.peek() != Some(&Token::Open('{')) {
            if matches!(self.peek(), Some(Token::Word(word)) if word.len() > 1) {
                self.split_word(1);
            }
            let token = self.peek().cloned().ok_or(Unreadable::Grammar)?;
            self.take();
            return Ok(spell(&[token]));
        }
        let start = self.at + 1;
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            depth += usize::from(matches!(token, Token::Open('{')));
            depth -= usize::from(matches!(token, Token::Close('}')));
            self.take();
            if depth == 0 {
                return Ok(spell(&self.list[start..self.at - 1]));
            }
        }
        Err(Unreadable::Grammar)
    }
}
